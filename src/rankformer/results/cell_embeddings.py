"""Results on disk: in a copy of the AnnData file, or beside it. Whole under the final name, or not.

Vectors are first written to a memory-mapped file beside the target, so that memory does not grow
with the cells, and then put into the target's format.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.results.anndata_files import Addition, column_of_reasons, write_anndata
from rankformer.results.csv_tables import write_csv
from rankformer.results.output_checks import provenance_file
from rankformer.results.parquet_tables import (
    name_cells,
    open_parquet,
    schema_of_vectors,
    vectors_column,
)
from rankformer.scratch import blocks_of_rows, scratch_array, scratch_folder, whole_or_nothing


@dataclass(frozen=True, eq=False)
class CellEmbeddings:
    """Embeddings of all cells of a source.

    Attributes
    ----------
    vectors
        (n_cells, d_model) float32, in the source's order; NaN where a cell has none. An array, or
        what is read from the disk some rows at a time.
    missing
        (n_cells,) object: why a cell has no embedding, or None.
    obs
        The source's obs.
    provenance
        Model, layer, dtype, versions, hashes and figures of the gene mapping; plain values.
    sources
        (n_cells,) object: which of several inputs each cell is of, or None where there is one.
    """

    vectors: NDArray[np.float32]
    missing: NDArray[np.object_]
    obs: pd.DataFrame
    provenance: dict[str, Any]
    sources: NDArray[np.object_] | None = None


@contextmanager
def vectors_beside(path: Path, shape: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
    """A float32 array on disk beside `path`, for results on their way; removed at the end."""
    with scratch_folder(path) as folder:
        yield scratch_array(folder / "vectors", shape)


def write_cell_vectors(
    path: Path,
    embeddings: CellEmbeddings,
    *,
    key: str = "X_geneformer",
    copy_of: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write embeddings of cells in the format of the target's ending.

    Parameters
    ----------
    path
        ``.h5ad`` or ``.zarr``: AnnData with the vectors in ``obsm[key]``, provenance in
        ``uns["rankformer"][key]``, and reasons in ``obs[key + "_missing"]`` where cells have none.
        ``.npy``: the array alone, with provenance in a ``.json`` beside it. ``.csv``: a row a cell
        with ``cell``, ``source`` where there are several, and a column for each number, ``key_1``
        and so on, empty where a cell has none; provenance likewise beside it. ``.parquet``: a row a
        cell with ``cell`` and ``vector``, and ``source`` where there are several; provenance in
        the schema's metadata.
    embeddings
        Vectors, reasons, obs, sources and provenance.
    key
        Name in ``obsm``.
    copy_of
        A file of the target's own format to copy and add to; without it, AnnData gets obs alone.
    overwrite
        Replace what is there.

    Raises
    ------
    OutputError
        If the disk is full or not writable, or something is there. Nothing is left half-written.
    """
    with whole_or_nothing(path, overwrite=overwrite) as part:
        if path.suffix in (".npy", ".csv"):
            if path.suffix == ".npy":
                write_npy(part, embeddings.vectors)
            else:
                write_cell_csv(part, embeddings, key)
            with whole_or_nothing(provenance_file(path), overwrite=overwrite) as beside:
                beside.write_text(json.dumps(embeddings.provenance, indent=2) + "\n")
        elif path.suffix == ".parquet":
            write_cell_table(part, embeddings)
        else:
            addition = add_vectors(embeddings, key)
            write_anndata(part, path.suffix, addition, embeddings.obs, copy_of)


def add_vectors(embeddings: CellEmbeddings, key: str) -> Addition:
    """Embeddings as AnnData holds them: ``obsm``, ``uns``, and ``obs`` where cells have none."""
    return Addition(
        provenance={key: embeddings.provenance},
        obsm={key: embeddings.vectors},
        obs={f"{key}_missing": column_of_reasons(embeddings.missing)},
    )


def write_cell_table(part: Path, embeddings: CellEmbeddings) -> None:
    """Write one row a cell: ``cell``, ``source`` where there are several, and ``vector``."""
    import pyarrow as pa

    columns = name_cells(embeddings.obs, embeddings.sources)
    vectors = embeddings.vectors
    texts = dict.fromkeys(columns, pa.string())
    schema = schema_of_vectors(texts, vectors.shape[1], embeddings.provenance)
    with open_parquet(part, schema) as writer:
        for rows in blocks_of_rows(vectors):
            cells = [pa.array(column[rows], pa.string()) for column in columns.values()]
            writer.write_table(pa.table([*cells, vectors_column(vectors[rows])], schema=schema))


def write_cell_csv(part: Path, embeddings: CellEmbeddings, key: str) -> None:
    """Write one row a cell: its name, ``source`` where there are several, and its numbers."""
    names = pd.DataFrame(name_cells(embeddings.obs, embeddings.sources))
    vectors = embeddings.vectors
    columns = [f"{key}_{i}" for i in range(1, vectors.shape[1] + 1)]
    with part.open("w", encoding="utf-8", newline="") as stream:
        write_csv(pd.DataFrame(columns=[*names, *columns]), stream)
        for rows in blocks_of_rows(vectors):
            numbers = pd.DataFrame(vectors[rows], columns=columns, index=names.index[rows])
            write_csv(names[rows].join(numbers), stream, header=False)


def write_npy(part: Path, vectors: NDArray[np.float32]) -> None:
    """As `numpy.save`, which does not notice when the last bytes meet a full disk."""
    with part.open("wb") as stream:
        header = {
            "descr": np.lib.format.dtype_to_descr(vectors.dtype),
            "fortran_order": False,
            "shape": vectors.shape,
        }
        np.lib.format.write_array_header_1_0(stream, header)
        for rows in blocks_of_rows(vectors):
            stream.write(np.ascontiguousarray(vectors[rows]).data)
