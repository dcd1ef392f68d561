"""Sound cells, from which the bad ones are made."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from tests.conftest import small_counts

N_CELLS, N_VARS = 300, 120


def counts(n_cells: int = N_CELLS, mean: float = 2.0) -> csr_matrix:
    return small_counts(n_cells, N_VARS, seed=3, mean=mean)


def adata_of(values, names=None, **more) -> ad.AnnData:
    """Cells with genes that the small models know, unless other names are given."""
    names = [f"G{i}" for i in range(1, N_VARS + 1)] if names is None else list(names)
    adata = ad.AnnData(values, var=pd.DataFrame(index=pd.Index(names, dtype=object)), **more)
    adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
    adata.obs["cell_type"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "B", "T"))
    return adata


def log_normalised(values: csr_matrix) -> csr_matrix:
    """As scanpy's normalize_total(target_sum=1e4) and log1p make them."""
    sums = np.asarray(values.sum(axis=1)).ravel()
    scaled = csr_matrix(values.multiply(1e4 / sums[:, None]), dtype=np.float32)
    return scaled.log1p()


def write(folder: Path, values=None, names=None, **more) -> Path:
    path = folder / "pbmc.h5ad"
    adata_of(counts() if values is None else values, names, **more).write_h5ad(path)
    return path
