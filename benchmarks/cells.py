"""Files of cells as a benchmark needs them: more cells, or fewer genes a cell."""

from __future__ import annotations

import sys
from pathlib import Path

import anndata
import numpy as np
from scipy.sparse import csr_matrix


def repeat_cells(path: Path, n_cells: int, out: Path) -> None:
    """Write the cells of a file over and over, `n_cells` in all, with what tokenizing needs."""
    adata = anndata.read_h5ad(path)
    times = -(-n_cells // adata.n_obs)
    many = anndata.concat([adata] * times, merge="same")[:n_cells].copy()
    many.obs_names = [f"cell{index}" for index in range(many.n_obs)]
    if many.var["ensembl_id"].duplicated().any():
        sys.exit(f"{path.name} has an Ensembl id twice, on which Helical 2.2.0 fails.")
    many.write_h5ad(out, compression="gzip")


def thin_cells(path: Path, n_genes: int, out: Path) -> None:
    """Write a file's cells with a share of their molecules: `n_genes` genes each on average.

    In a random order, as the cells of a batch or protocol stand together in the file.
    """
    adata, rng = anndata.read_h5ad(path), np.random.default_rng(0)
    adata = adata[rng.permutation(adata.n_obs)].copy()
    counts = csr_matrix(adata.X).astype(np.int64)
    low, high = 0.0, 1.0
    for _ in range(12):
        share = (low + high) / 2
        thinned = counts.copy()
        thinned.data = rng.binomial(counts.data, share)
        thinned.eliminate_zeros()
        low, high = (share, high) if thinned.nnz < n_genes * len(adata) else (low, share)
    adata.X = thinned.astype(np.float32)
    adata.write_h5ad(out)
