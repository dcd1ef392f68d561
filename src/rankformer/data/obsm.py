"""Vectors of cells that lie in ``obsm``: of AnnData in memory or on disk."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import issparse

from rankformer.data.file_kinds import IN_MEMORY, FileKind, identify, reading
from rankformer.errors import CountsError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData


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
    name = str(source) if isinstance(source, str | os.PathLike) else IN_MEMORY
    with _open_obsm(source) as obsm:
        _check_keys(name, keys, obsm)
        vectors = {}
        for key in keys:
            with reading(name, f"obsm[{key!r}]"):
                vectors[key] = _as_vectors(obsm[key])
            _check_shape(name, key, vectors[key], n_cells)
    return vectors


@contextmanager
def _open_obsm(source: "AnnData | str | os.PathLike[str]") -> "Iterator[Mapping[str, Any]]":
    if not isinstance(source, str | os.PathLike):
        yield source.obsm
        return
    path = Path(source)
    kind = identify(path)
    if kind is FileKind.H5AD:
        import h5py

        with h5py.File(path, "r") as file:
            yield file.get("obsm", {})
    elif kind is FileKind.ZARR:
        import zarr

        with reading(str(path)):
            group: Any = zarr.open_group(str(path), mode="r")
        yield group.get("obsm", {})
    else:
        raise SettingsError(
            f"{path} is a file of counts alone (10x), which has no obsm.",
            "A .h5ad or .zarr with embeddings in obsm.",
            "Embed it first: rankformer embed FILE -o embedded.h5ad --model NAME.",
        )


def _check_keys(name: str, keys: Iterable[str], obsm: Mapping[str, Any]) -> None:
    missing = [key for key in keys if key not in obsm]
    if missing:
        raise SettingsError(
            f"{name} has no {', '.join(map(repr, missing))} in obsm.",
            f"One of {', '.join(sorted(obsm)) or '(nothing is in obsm)'}.",
            "Correct keys (--key), or embed the cells first: rankformer embed.",
        )


def _as_vectors(element: Any) -> NDArray[np.float32]:
    if (
        hasattr(element, "attrs")
        and hasattr(element, "name")
        and not isinstance(element, pd.DataFrame)
    ):
        from anndata.io import read_elem

        element = read_elem(element)
    if issparse(element):
        element = element.toarray()
    return np.asarray(element, dtype=np.float32)


def _check_shape(name: str, key: str, vectors: NDArray[np.float32], n_cells: int) -> None:
    if vectors.ndim != 2 or len(vectors) != n_cells or not vectors.shape[1]:
        raise CountsError(
            f"obsm[{key!r}] of {name} has the shape {vectors.shape}, for {n_cells:,} cells in obs.",
            "One row a cell, and at least one column.",
            "The file is damaged or was put together wrongly: embed the cells again.",
        )
