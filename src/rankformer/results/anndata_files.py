"""Results in AnnData: in memory, in a copy of a file, or in a new file.

A copy is made of the file's bytes, and only what is added is read or written: the counts are never
in memory.
"""

import json
import logging
import os
import shutil
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.scratch import blocks_of_rows, take_disk

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

logger = logging.getLogger(__name__)
UNS_KEY = "rankformer"
_ROOM_FOR_NAMES = 2**20


@dataclass(frozen=True, eq=False)
class Addition:
    """What a result adds to AnnData.

    Attributes
    ----------
    provenance
        Key → nested plain values, for ``uns["rankformer"]``.
    obsm
        Key → (n_cells, n) array, or None to remove what an earlier run put there.
    obs
        Name → (n_cells,) column, or None to remove what an earlier run said under this name.
    """

    provenance: Mapping[str, dict[str, Any]]
    obsm: Mapping[str, NDArray[Any] | None] = field(default_factory=dict)
    obs: Mapping[str, Any] = field(default_factory=dict)


def add_to(adata: "AnnData", addition: Addition) -> None:
    """Add a result to AnnData in memory."""
    for key, values in addition.obsm.items():
        if values is None:
            adata.obsm.pop(key, None)
        else:
            adata.obsm[key] = np.asarray(values)
    adata.uns[UNS_KEY] = {**adata.uns.get(UNS_KEY, {}), **addition.provenance}
    _set_columns(adata.obs, addition)


def column_of_reasons(missing: NDArray[np.object_]) -> "pd.Categorical | None":
    """Why cells have no result, as a column of ``obs``; None where all have one."""
    import pandas as pd

    return pd.Categorical(missing) if any(missing) else None


def write_anndata(
    part: Path, suffix: str, addition: Addition, obs: "pd.DataFrame", copy_of: Path | None
) -> None:
    """Write a result as ``.h5ad`` or ``.zarr``: added to a copy, or to AnnData of `obs` alone."""
    n_bytes = _added_bytes(addition, obs)
    if copy_of is None:
        _write_obs(part, suffix, obs, n_bytes)
    elif suffix == ".h5ad":
        shutil.copyfile(copy_of, part)
    else:
        _copy_folder(copy_of, part)
    _add_to_file(part, suffix, addition, n_bytes)


def _write_obs(part: Path, suffix: str, obs: "pd.DataFrame", n_bytes: int) -> None:
    from anndata import AnnData

    if not obs.index.is_unique:
        logger.info(
            "%s of %s cells have a name that another cell has too. Where a package needs names "
            "that differ, make them so with adata.obs_names_make_unique().",
            f"{int(obs.index.duplicated(keep=False).sum()):,}", f"{len(obs):,}",
        )  # fmt: skip
    with warnings.catch_warnings():
        # It was said.
        warnings.filterwarnings("ignore", message="Observation names are not unique")
        adata = AnnData(obs=obs.copy())
    if suffix == ".h5ad":
        part.write_bytes(b"")
        take_disk(part, n_bytes)
        adata.write_h5ad(part)
        return
    with warnings.catch_warnings():
        # anndata announces its next default format at each write.
        warnings.filterwarnings("ignore", message="Writing zarr v2 data")
        adata.write_zarr(part)


def _add_to_file(part: Path, suffix: str, addition: Addition, n_bytes: int) -> None:
    if suffix == ".h5ad":
        import h5py

        take_disk(part, n_bytes)
        with h5py.File(part, "r+") as file:
            _add_elements(file, addition)
    else:
        import zarr

        group = zarr.open_group(part, mode="r+", use_consolidated=False)
        _add_elements(group, addition)
        _renew_consolidated(part, group)


def _renew_consolidated(part: Path, group: Any) -> None:
    """Gather the metadata of a store again where that was done; where columns differ in case alone,
    for which anndata then finds no metadata, leave them where they lie.
    """
    import zarr

    beside, root = part / ".zmetadata", part / "zarr.json"
    within = json.loads(root.read_text("utf-8")) if root.exists() else {}
    if not beside.exists() and not within.get("consolidated_metadata"):
        return
    columns = [[name.lower() for name in group[each]] for each in ("obs", "var") if each in group]
    if all(len(set(names)) == len(names) for names in columns):
        with warnings.catch_warnings():
            # It warns that format 3 does not describe them yet; anndata writes them all the same.
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
            zarr.consolidate_metadata(group.store)
        return
    beside.unlink(missing_ok=True)
    if within.pop("consolidated_metadata", None):
        root.write_text(json.dumps(within), encoding="utf-8")


def _copy_folder(source: Path, target: Path) -> None:
    """Copy what is in it without its permissions: a copy of what is read-only is added to."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for folder, _, _ in os.walk(target):
        Path(folder).chmod(Path(folder).stat().st_mode | stat.S_IRWXU)


def _added_bytes(addition: Addition, obs: "pd.DataFrame") -> int:
    """What is added to a file, rather too much: HDF5 gives back what it does not need."""
    import pandas as pd

    arrays = sum(int(each.nbytes) for each in addition.obsm.values() if each is not None)
    columns = sum(
        int(pd.Series(column).memory_usage(deep=True))
        for column in addition.obs.values()
        if column is not None
    )
    return arrays + 2 * (int(obs.memory_usage(deep=True).sum()) + columns) + _ROOM_FOR_NAMES


def _add_elements(file: Any, addition: Addition) -> None:
    from anndata.io import read_elem, write_elem

    for group in ("obsm", "uns", f"uns/{UNS_KEY}"):
        if group not in file:
            write_elem(file, group, {})
    for key, values in addition.obsm.items():
        if values is not None:
            _add_array(file["obsm"], key, values)
        elif key in file["obsm"]:
            del file["obsm"][key]
    for key, provenance in addition.provenance.items():
        write_elem(file, f"uns/{UNS_KEY}/{key}", provenance)
    present = file["obs"]
    if any(column is not None or name in present for name, column in addition.obs.items()):
        obs = read_elem(present)
        _set_columns(obs, addition)
        write_elem(file, "obs", obs)


def _add_array(group: Any, key: str, values: NDArray[Any]) -> None:
    """As anndata writes an array, but some rows at a time."""
    if key in group:
        del group[key]
    create = group.create_array if hasattr(group, "create_array") else group.create_dataset
    array = create(key, shape=values.shape, dtype=values.dtype)
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for rows in blocks_of_rows(values, multiple_of=array.chunks[0] if array.chunks else 1):
        array[rows] = values[rows]


def _set_columns(obs: "pd.DataFrame", addition: Addition) -> None:
    for name, column in addition.obs.items():
        if column is not None:
            obs[name] = column
        elif name in obs:
            del obs[name]
