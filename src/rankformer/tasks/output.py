"""Results on disk: in a copy of the AnnData file, or beside it. Whole under the final name, or not.

Vectors are first written to a memory-mapped file beside the target, so that memory does not grow
with the cells, and then put into the target's format.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.model.embedder import GeneVectors
from rankformer.scratch import scratch_array, scratch_folder, whole_or_nothing
from rankformer.tasks.anndata_output import UNS_KEY, Addition, column_of_reasons, write_anndata
from rankformer.tasks.embed import CellEmbeddings
from rankformer.tasks.gene_summary import GeneSummary
from rankformer.tasks.targets import no_genes_to_report, provenance_file
from rankformer.tasks.tokenize import TokenSource, TokenStream
from rankformer.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_ROWS_AT_ONCE = 8192


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
        ``.npy``: the array alone, with provenance in a ``.json`` beside it. ``.parquet``: a row a
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
        if path.suffix == ".npy":
            write_npy(part, embeddings.vectors)
            with whole_or_nothing(provenance_file(path), overwrite=overwrite) as beside:
                beside.write_text(json.dumps(embeddings.provenance, indent=2) + "\n")
        elif path.suffix == ".parquet":
            _write_cell_parquet(part, embeddings)
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


def write_gene_vectors(
    path: Path,
    blocks: Iterable[tuple[NDArray[np.int64], GeneVectors]],
    cells: Mapping[str, NDArray[np.object_]],
    vocabulary: Vocabulary,
    provenance: dict[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write one long Parquet table, block after block: a row for each gene of each cell.

    Columns: those of `cells`, each (n_cells,) texts such as the cell's name; ``ensembl_id``,
    ``rank`` (1 = the cell's first gene) and ``vector`` (d_model float32). Cells are in the input's
    order, genes in rank order.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = pa.array(vocabulary.ensembl_id_of, pa.string())
    writer = None
    with whole_or_nothing(path, overwrite=overwrite) as part:
        try:
            for rows, genes in blocks:
                lengths = np.diff(genes.offsets)
                ranks = np.arange(len(genes.tokens)) - np.repeat(genes.offsets[:-1], lengths) + 1
                table = pa.table(
                    {
                        **{
                            name: pa.array(np.repeat(column[rows], lengths), pa.string())
                            for name, column in cells.items()
                        },
                        "ensembl_id": ids.take(pa.array(genes.tokens)),
                        "rank": pa.array(ranks, pa.int32()),
                        "vector": _vectors_column(genes.vectors),
                    },
                    metadata=schema_metadata(provenance),
                )
                writer = writer or pq.ParquetWriter(part, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()


def write_gene_summary(
    path: Path,
    summary: GeneSummary,
    vocabulary: Vocabulary,
    provenance: dict[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write one row a gene as Parquet: ``ensembl_id``, ``symbol``, ``n_cells``, ``vector``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    symbols = [vocabulary.symbol_of.get(gene) for gene in summary.ensembl_ids]
    table = pa.table(
        {
            "ensembl_id": pa.array(summary.ensembl_ids, pa.string()),
            "symbol": pa.array(symbols, pa.string()),
            "n_cells": summary.n_cells,
            "vector": _vectors_column(summary.vectors),
        },
        metadata=schema_metadata(provenance),
    )
    with whole_or_nothing(path, overwrite=overwrite) as part:
        pq.write_table(table, part, compression="zstd")


def write_gene_report(
    path: Path, streams: Iterable[TokenSource], *, overwrite: bool = False
) -> None:
    """Write what became of each variable, as CSV; with a column ``source`` where several were."""
    import pandas as pd

    reports = {
        stream.name: stream.mapping.report()
        for stream in streams
        if isinstance(stream, TokenStream)
    }
    if not reports:
        raise no_genes_to_report()
    if len(reports) == 1:
        (table,) = reports.values()
    else:
        table = pd.concat(reports, names=["source", None]).reset_index(level=0)
    with whole_or_nothing(path, overwrite=overwrite) as part:
        table.to_csv(part, index=False)


def write_npy(part: Path, vectors: NDArray[np.float32]) -> None:
    """As `numpy.save`, which does not notice when the last bytes meet a full disk."""
    with part.open("wb") as stream:
        header = np.lib.format.header_data_from_array_1_0(vectors)
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            stream.write(np.ascontiguousarray(vectors[start : start + _ROWS_AT_ONCE]).data)


def _write_cell_parquet(part: Path, embeddings: CellEmbeddings) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = name_cells(embeddings.obs, embeddings.sources)
    vectors = embeddings.vectors
    schema = pa.schema(
        [
            *((name, pa.string()) for name in columns),
            ("vector", pa.list_(pa.float32(), vectors.shape[1])),
        ],
        metadata=schema_metadata(embeddings.provenance),
    )
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            cells = [pa.array(column[rows], pa.string()) for column in columns.values()]
            writer.write_table(pa.table([*cells, _vectors_column(vectors[rows])], schema=schema))


def name_cells(
    obs: "pd.DataFrame", sources: NDArray[np.object_] | None
) -> dict[str, NDArray[np.object_]]:
    """The columns of a table that tell cells apart: their names and, of several, their sources."""
    names = {"cell": obs.index.astype(str).to_numpy(dtype=object)}
    return names if sources is None else {**names, "source": sources}


def _vectors_column(vectors: NDArray[np.float32]) -> "pa.FixedSizeListArray":
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(
        np.ascontiguousarray(vectors).ravel(), vectors.shape[1]
    )


def schema_metadata(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Provenance as the metadata of an Arrow schema."""
    return {UNS_KEY: json.dumps(provenance)}
