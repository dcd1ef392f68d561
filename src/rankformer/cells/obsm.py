"""Vectors and probabilities of cells that lie in ``obsm``: of AnnData in memory or on disk."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import issparse

from rankformer.cells.file_kinds import IN_MEMORY, FileKind, identify, locate_table, reading
from rankformer.cells.open_sources import open_zarr
from rankformer.errors import CountsError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

_WITH_OBSM = (FileKind.H5AD, FileKind.ZARR)


def read_obsm(
    source: "AnnData | str | os.PathLike[str]", keys: Sequence[str], n_cells: int
) -> dict[str, NDArray[np.float32]]:
    """Read vectors of all cells.

    Parameters
    ----------
    source
        AnnData, or the path of a ``.h5ad`` or ``.zarr``.
    keys
        Names in ``obsm``.
    n_cells
        Rows that each must have.

    Returns
    -------
    For each key (n_cells, width) float32.

    Raises
    ------
    SettingsError
        If there is none of a name; the message lists those there are.
    CountsError
        If one is no table of numbers, or has another number of rows.
    """
    name = _name(source)
    with _open_parts(source) as (obsm, _):
        _check_keys(name, keys, obsm)
        vectors = {}
        for key in keys:
            with reading(name, f"obsm[{key!r}]"):
                vectors[key] = _as_vectors(obsm[key])
            _check_shape(name, key, vectors[key], n_cells)
    return vectors


def read_class_probabilities(
    source: "AnnData | str | os.PathLike[str]", key: str, n_cells: int
) -> tuple[tuple[str, ...], NDArray[np.float32]] | None:
    """Read the probabilities of classes that `rankformer predict` wrote beside ``obs[key]``.

    They lie in ``obsm[key + "_probabilities"]``, and the classes in
    ``uns["rankformer"][key]["classes"]``.

    Returns
    -------
    The classes and (n_cells, n_classes) float32, or None where they are not there.

    Raises
    ------
    CountsError
        If they cannot be read or do not fit the cells.
    """
    place, name = f"{key}_probabilities", _name(source)
    with _open_parts(source) as (obsm, uns), reading(name, f"obsm[{place!r}]"):
        own = uns.get("rankformer", {}).get(key, {})
        if place not in obsm or "classes" not in own:
            return None
        values = _as_vectors(obsm[place])
        names = tuple(map(str, _as_element(own["classes"])))
    _check_shape(name, place, values, n_cells)
    return (names, values) if len(names) == values.shape[1] else None


def list_obsm(source: "AnnData | str | os.PathLike[str]") -> list[str]:
    """Names in ``obsm``; none where the source is of a kind that has no obsm."""
    if isinstance(source, str | os.PathLike) and identify(Path(source)) not in _WITH_OBSM:
        return []
    with _open_parts(source) as (obsm, _):
        return sorted(map(str, obsm))


def read_provenance(
    source: "AnnData | str | os.PathLike[str]", key: str
) -> Mapping[str, Any] | None:
    """What ``uns["rankformer"][key]`` says of an embedding, or None where it says nothing."""
    with _open_parts(source) as (_, uns), reading(_name(source), 'uns["rankformer"]'):
        own = uns.get("rankformer", {})
        found = _as_plain(_as_element(own[key])) if key in own else None
    return found if isinstance(found, Mapping) else None


_Parts = tuple[Mapping[str, Any], Mapping[str, Any]]


@contextmanager
def _open_parts(source: "AnnData | str | os.PathLike[str]") -> "Iterator[_Parts]":
    """The ``obsm`` and the ``uns`` of a source."""
    if not isinstance(source, str | os.PathLike):
        yield source.obsm, source.uns
        return
    path = Path(source)
    kind = identify(path, parts=("obsm", "uns"))
    if kind is FileKind.H5AD:
        import h5py

        with h5py.File(path, "r") as file:
            yield file.get("obsm", {}), file.get("uns", {})
    elif kind is FileKind.ZARR:
        with reading(str(path)):
            group = open_zarr(locate_table(path))
        yield group.get("obsm", {}), group.get("uns", {})
    else:
        raise SettingsError(
            f"{path} is of the kind {kind.value}, of which counts alone are read, no obsm.",
            "A .h5ad or .zarr with embeddings in obsm.",
            "Embed it first: `rankformer embed FILE -o embedded.h5ad --model NAME`.",
        )


def _name(source: "AnnData | str | os.PathLike[str]") -> str:
    return str(source) if isinstance(source, str | os.PathLike) else IN_MEMORY


def _check_keys(name: str, keys: Iterable[str], obsm: Mapping[str, Any]) -> None:
    missing = [key for key in keys if key not in obsm]
    if missing:
        raise SettingsError(
            f"{name} has no {', '.join(map(repr, missing))} in obsm.",
            f"One of {', '.join(sorted(obsm))}." if len(obsm) else "An embedding in obsm.",
            "Correct keys (--key), or embed the cells first with `rankformer embed`.",
        )


def _as_vectors(element: Any) -> NDArray[np.float32]:
    element = _as_element(element)
    if issparse(element):
        element = element.toarray()
    return np.asarray(element, dtype=np.float32)


def _as_element(element: Any) -> Any:
    """An element in memory; DataFrames have attributes too, but no file behind them."""
    if hasattr(element, "attrs") and not isinstance(element, pd.DataFrame):
        from anndata.io import read_elem

        return read_elem(element)
    return element


def _as_plain(value: Any) -> Any:
    """Nested dictionaries with numbers and texts of Python in place of numpy's."""
    if isinstance(value, Mapping):
        return {str(key): _as_plain(each) for key, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _check_shape(name: str, key: str, vectors: NDArray[np.float32], n_cells: int) -> None:
    if vectors.ndim != 2 or len(vectors) != n_cells or not vectors.shape[1]:
        raise CountsError(
            f"obsm[{key!r}] of {name} has the shape {vectors.shape}, for {n_cells:,} cells in obs.",
            "One row a cell, and at least one column.",
            "The file is damaged or was put together wrongly: embed the cells again.",
        )
