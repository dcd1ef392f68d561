"""Small data sets that ship with rankformer, to try things out; nothing is downloaded."""

import os
from pathlib import Path

from anndata import AnnData, read_h5ad
from scipy.sparse import csr_matrix

from rankformer.results.output_checks import check_target
from rankformer.scratch import whole_or_nothing

__all__ = ["blood_cells", "write_blood_cells"]


def __dir__() -> list[str]:
    return sorted(__all__)


def blood_cells() -> AnnData:
    """Read 700 blood cells of one healthy donor, with counts and the names of their types.

    These are the cells of ``scanpy.datasets.pbmc68k_reduced()``, measured by Zheng et al. (2017).
    scanpy ships log-normalised values and the total count of each cell, from which the counts were
    recovered: each is within 0.09 of a whole number, and was rounded to it.

    Only 765 genes are left, chosen as highly variable, of the more than 30,000 that were measured.
    Geneformer models were trained on cells with all of their genes, so embeddings of these cells
    are for learning how rankformer works. Take files with all genes for research.

    Returns
    -------
    700 cells by 765 genes. ``X`` holds raw counts, CSR float32, and ``var_names`` symbols of genes.
    ``obs`` has ``cell_type`` (10 types, scanpy's ``bulk_labels``), ``louvain`` (clusters) and
    ``phase`` of the cell cycle; and, counted over all genes that were measured, ``n_genes``,
    ``n_counts`` and ``percent_mito``, a share from 0 to 1.

    References
    ----------
    Zheng et al., Nature Communications 8:14049 (2017), https://doi.org/10.1038/ncomms14049

    Examples
    --------
    >>> import rankformer
    >>> adata = rankformer.datasets.blood_cells()
    >>> adata.shape
    (700, 765)
    >>> adata.obs["cell_type"].value_counts().index[0]
    'Dendritic'
    """
    adata = read_h5ad(Path(__file__).parent / "packaged_cells" / "blood_cells.h5ad")
    adata.X = csr_matrix(adata.X, dtype="float32")
    return adata


def write_blood_cells(output: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the cells of `blood_cells` to a file, for the command line.

    Parameters
    ----------
    output
        The ``.h5ad`` file to write.
    overwrite
        Replace the file if it exists.

    Raises
    ------
    OutputError
        If the file has another ending, exists already, or cannot be written.

    Examples
    --------
    >>> import rankformer
    >>> rankformer.datasets.write_blood_cells("blood.h5ad")
    """
    target = check_target(output, (".h5ad",), overwrite)
    with whole_or_nothing(target, overwrite=overwrite) as part:
        blood_cells().write_h5ad(part, compression="gzip")
