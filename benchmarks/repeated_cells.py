"""Files of many cells, written in seconds: some cells over and over, compressed once."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

# Numbers of a chunk of the file, of which a block of cells has a whole number.
_CHUNK = 2**13


def write_repeated_cells(path: Path, block: csr_matrix, var: pd.DataFrame, n_blocks: int) -> int:
    """Write an .h5ad with gzip that has the counts of a block of cells over and over.

    The last cells of the block lose some genes, so that a block is a whole number of chunks.

    Returns
    -------
    The number of cells.
    """
    block = csr_matrix(block)
    lengths = np.diff(block.indptr).astype(np.int64)
    n_values = block.nnz - block.nnz % _CHUNK
    lengths = np.diff(np.minimum(np.cumsum([0, *lengths]), n_values))
    n_cells = n_blocks * len(lengths)
    obs = pd.DataFrame(index=[f"cell{index}" for index in range(n_cells)])
    anndata.AnnData(obs=obs, var=var).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        matrix = file.create_group("X")
        matrix.attrs.update({
            "encoding-type": "csr_matrix", "encoding-version": "0.1.0",
            "shape": (n_cells, block.shape[1]),
        })  # fmt: skip
        offsets = np.concatenate([[0], np.cumsum(np.tile(lengths, n_blocks))])
        matrix.create_dataset("indptr", data=offsets.astype(np.int64))
        for name in ("indices", "data"):
            dtype = np.int32 if name == "indices" else np.float32
            values = getattr(block, name)[:n_values].astype(dtype)
            _write_over_and_over(matrix, name, values, n_blocks)
    return n_cells


def _write_over_and_over(
    matrix: h5py.Group, name: str, block: np.ndarray[Any, Any], n_blocks: int
) -> None:
    dataset = matrix.create_dataset(
        name, (len(block) * n_blocks,), block.dtype, chunks=(_CHUNK,), compression="gzip"
    )
    chunks = [zlib.compress(part.tobytes(), 4) for part in np.split(block, len(block) // _CHUNK)]
    for index in range(n_blocks):
        for number, each in enumerate(chunks):
            place = index * len(block) + number * _CHUNK
            dataset.id.write_direct_chunk((place,), each)
