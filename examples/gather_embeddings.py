"""Gather the embeddings of several `.h5ad` files in one Parquet table: a row a cell.

Columns: `sample` (the file's name), `cell`, and a number for each dimension of the embedding.

    python gather_embeddings.py embeddings.parquet first.h5ad second.h5ad

The workflows beside it, for Snakemake and Nextflow, end with this step.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from anndata.io import read_elem

KEY = "X_geneformer"


def gather(files: Sequence[Path], output: Path) -> None:
    """Write the table, a file at a time; all files need embeddings by the same model."""
    tables = _tables(files)
    first = next(tables)
    with pq.ParquetWriter(output, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _tables(files: Sequence[Path]) -> Iterator[pa.Table]:
    weights: dict[str, Path] = {}
    for path in files:
        with h5py.File(path) as file:
            vectors = np.asarray(file["obsm"][KEY])
            cells = read_elem(file["obs"]).index
            weights.setdefault(read_elem(file["uns/rankformer"])[KEY]["weights_sha256"], path)
        if len(weights) > 1:
            raise SystemExit(f"{' and '.join(map(str, weights.values()))} are of different models.")
        columns = [f"{KEY}_{i}" for i in range(1, vectors.shape[1] + 1)]
        table = pd.DataFrame(vectors, columns=columns)
        table.insert(0, "sample", path.stem)
        table.insert(1, "cell", cells.astype(str))
        yield pa.Table.from_pandas(table, preserve_index=False)


if __name__ == "__main__":
    gather([Path(each) for each in sys.argv[2:]], Path(sys.argv[1]))
