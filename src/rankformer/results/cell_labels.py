"""Labels and numbers given to cells, as a result: in memory, and on disk."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from rankformer.results.anndata_files import Addition, add_to, column_of_reasons, write_anndata
from rankformer.results.csv_tables import write_csv
from rankformer.results.output_checks import provenance_file
from rankformer.results.parquet_tables import name_cells, schema_metadata
from rankformer.scratch import whole_or_nothing

# What a vote of neighbours says beside a label, and a classifier does not.
FURTHER_OF_NEIGHBOURS = ("best", "distance", "doubt", "why", "majority", "ontology_term_id")


@dataclass(frozen=True, eq=False)
class CellLabels:
    """What the cells of a source were called, or which number they were given, under one name.

    Attributes
    ----------
    values
        (n_cells,) object: a label, or None where a cell has none; or float32, NaN where none.
    probability
        (n_cells,) float32 from 0 to 1: how sure the label is; NaN where a cell has none. None for
        numbers.
    uncertain
        (n_cells,) bool: whether the label is not to be relied on; False where a cell has none.
        None for numbers.
    classes
        The labels there are, in the order of the columns of `class_probabilities`.
    class_probabilities
        (n_cells, n_classes) float32, NaN where a cell has none; or None.
    further
        More columns: what stands behind the key → (n_cells,) labels or numbers, as `values`.
    provenance
        What is to be said of this name alone; nested plain values.
    """

    values: NDArray[Any]
    probability: NDArray[np.float32] | None = None
    uncertain: NDArray[np.bool_] | None = None
    classes: tuple[str, ...] = ()
    class_probabilities: NDArray[np.float32] | None = None
    further: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LabelledCells:
    """The cells of a source with what they were called.

    Attributes
    ----------
    labels
        Key → labels: one, or several where a model has several heads.
    missing
        (n_cells,) object: why a cell was given nothing, or None.
    obs
        The source's obs.
    provenance
        Of all keys: model, layer, hashes and figures of the gene mapping; nested plain values.
    sources
        (n_cells,) object: which of several inputs each cell is of, or None where there is one.
    """

    labels: Mapping[str, CellLabels]
    missing: NDArray[np.object_]
    obs: pd.DataFrame
    provenance: Mapping[str, Any]
    sources: NDArray[np.object_] | None = None


def store_labels_in(adata: AnnData, cells: LabelledCells) -> None:
    """Put labels into `adata`; see `write_cell_labels` for what is added."""
    add_to(adata, _addition(cells))


def write_cell_labels(
    path: str | os.PathLike[str],
    cells: LabelledCells,
    *,
    copy_of: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write labels of cells in the format of the target's ending.

    Parameters
    ----------
    path
        ``.h5ad`` or ``.zarr``: AnnData with, for each key, ``obs[key]``, ``obs[key +
        "_probability"]`` and ``obs[key + "_uncertain"]`` where there are, further columns, reasons
        in ``obs[key + "_missing"]`` where cells have nothing, ``obsm[key + "_probabilities"]``
        where probabilities of classes are given, and provenance with the classes in
        ``uns["rankformer"][key]``. ``.csv`` and ``.parquet``: a row a cell with ``cell``,
        ``source`` where there are several, and the same columns, one for each class; provenance
        in a ``.json`` beside the ``.csv``, and in the schema's metadata of the ``.parquet``.
    cells
        Labels, reasons, obs, sources and provenance.
    copy_of
        A file of the target's own format to copy and add to; without it, AnnData gets obs alone.
    overwrite
        Replace what is there.

    Raises
    ------
    OutputError
        If the disk is full or not writable, or something is there. Nothing is left half-written.

    Examples
    --------
    >>> import rankformer
    >>> embedder = rankformer.Embedder("gf-12L-95M-i4096")
    >>> reference = rankformer.build_reference("pbmc.h5ad", embedder, ["cell_type"])
    >>> cells = rankformer.annotate_cells(
    ...     "pbmc.h5ad", reference, embedder, {"cell_type": "predicted"}
    ... )
    >>> rankformer.write_cell_labels("labels.csv", cells)
    """
    path = Path(path)
    with whole_or_nothing(path, overwrite=overwrite) as part:
        if path.suffix in (".h5ad", ".zarr"):
            write_anndata(part, path.suffix, _addition(cells), cells.obs, copy_of)
        elif path.suffix == ".parquet":
            _write_parquet(part, cells)
        else:
            write_csv(_table(cells), part)
            with whole_or_nothing(provenance_file(path), overwrite=overwrite) as beside:
                beside.write_text(json.dumps(_provenance(cells), indent=2) + "\n")


def _addition(cells: LabelledCells) -> Addition:
    return Addition(
        provenance=_provenance(cells),
        obs={
            name: column
            for key, labels in cells.labels.items()
            for name, column in _columns(key, labels, cells.missing).items()
        },
        obsm={
            f"{key}_probabilities": labels.class_probabilities
            for key, labels in cells.labels.items()
        },
    )


def _provenance(cells: LabelledCells) -> dict[str, dict[str, Any]]:
    return {
        key: {
            **cells.provenance,
            **labels.provenance,
            **({"classes": list(labels.classes)} if labels.classes else {}),
        }
        for key, labels in cells.labels.items()
    }


def _columns(key: str, labels: CellLabels, missing: NDArray[np.object_]) -> dict[str, Any]:
    """Name → column of obs, or None for one that an earlier run may have left."""
    return {
        key: _as_column(labels.values),
        **{f"{key}_{name}": None for name in FURTHER_OF_NEIGHBOURS},
        **{f"{key}_{name}": _as_column(values) for name, values in labels.further.items()},
        f"{key}_probability": labels.probability,
        f"{key}_uncertain": _marks(labels.uncertain, missing),
        f"{key}_missing": column_of_reasons(missing),
    }


def _as_column(values: NDArray[Any]) -> Any:
    import pandas as pd

    return pd.Categorical(values) if values.dtype == object else values


def _marks(uncertain: NDArray[np.bool_] | None, missing: NDArray[np.object_]) -> Any:
    """Neither yes nor no for a cell that has no label, so that nothing is made up."""
    import pandas as pd

    none = np.array([each is not None for each in missing], dtype=bool)
    if uncertain is None or not none.any():
        return uncertain
    return pd.arrays.BooleanArray(uncertain.astype(bool), none)


def _table(cells: LabelledCells) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = dict(name_cells(cells.obs, cells.sources))
    for key, labels in cells.labels.items():
        own = _columns(key, labels, cells.missing)
        columns.update({name: column for name, column in own.items() if column is not None})
        if labels.class_probabilities is not None:
            shares = zip(labels.classes, labels.class_probabilities.T, strict=True)
            columns.update({f"{key}_probability_{name}": share for name, share in shares})
    return pd.DataFrame(columns)


def _write_parquet(part: Path, cells: LabelledCells) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(_table(cells), preserve_index=False)
    pq.write_table(
        table.replace_schema_metadata(schema_metadata(_provenance(cells))), part, compression="zstd"
    )
