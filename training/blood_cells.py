"""Make the example cells that ship with rankformer from the ones that ship with scanpy.

scanpy's ``pbmc68k_reduced`` holds, in ``raw``, log(1 + counts x 10,000 / n_counts) to three
decimals, and in ``obs["n_counts"]`` the total of each cell over all of its genes. So the counts
come back as whole numbers: ``python training/blood_cells.py`` writes them, and
tests/test_datasets.py compares.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from scipy import sparse

PER_CELL = 10_000
FILE = Path(__file__).parents[1] / "src" / "rankformer" / "packaged_cells" / "blood_cells.h5ad"


def main() -> None:
    cells = sc.datasets.pbmc68k_reduced()
    obs = pd.DataFrame(
        {
            "cell_type": cells.obs["bulk_labels"],
            "louvain": cells.obs["louvain"],
            "phase": cells.obs["phase"],
            "n_genes": cells.obs["n_genes"].astype(np.int32),
            "n_counts": cells.obs["n_counts"].astype(np.float32),
            "percent_mito": cells.obs["percent_mito"].astype(np.float32),
        }
    )
    obs.index.name = None
    counts = recover_counts(cells.raw.X, cells.obs["n_counts"].to_numpy(np.float64))
    # Whole numbers of a dense matrix take half the disk of a sparse one here.
    names = pd.DataFrame(index=pd.Index(cells.raw.var_names, name=None))
    adata = AnnData(counts.toarray().astype(np.uint16), obs=obs, var=names)
    FILE.parent.mkdir(exist_ok=True)
    adata.write_h5ad(FILE, compression="gzip", compression_opts=9)


def recover_counts(values: sparse.csr_matrix, n_counts: np.ndarray) -> sparse.csr_matrix:
    """Whole counts; ends in an error where one is far from a whole number."""
    counts = sparse.csr_matrix(values, dtype=np.float64)
    each = np.repeat(n_counts, np.diff(counts.indptr))
    found = np.expm1(counts.data) * each / PER_CELL
    counts.data = np.round(found)
    farthest = np.abs(found - counts.data).max()
    if farthest > 0.25:
        raise ValueError(f"A count is {farthest:.2f} from a whole number.")
    print(f"The farthest from a whole number is {farthest:.3f}; the largest is {found.max():.0f}.")
    return counts


if __name__ == "__main__":
    main()
