"""What plain expression can do: HVG + PCA, and logistic regression on log counts.

Each learns from training cells alone which genes vary, and everything else that it learns.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.cells.normalise import log_normalise
from rankformer.errors import SettingsError

N_GENES = 2000
N_COMPONENTS = 50


def choose_variable_genes(values: csr_matrix, n_genes: int = N_GENES) -> NDArray[np.int64]:
    """Columns of the genes that vary most, by scanpy's ``highly_variable_genes`` ("seurat").

    Parameters
    ----------
    values
        (n_cells, n_vars) log-normalised, of training cells.
    n_genes
        All that are not constant, where there are fewer.

    Returns
    -------
    Ascending.
    """
    import scanpy as sc
    from anndata import AnnData

    varying = np.flatnonzero(np.asarray(values.power(2).mean(axis=0) - np.square(
        values.mean(axis=0))).ravel() > 0)  # fmt: skip
    if len(varying) <= n_genes:
        return varying
    with warnings.catch_warnings():
        # pandas on scanpy's bins; genes without counts.
        warnings.simplefilter("ignore")
        table = sc.pp.highly_variable_genes(
            AnnData(values[:, varying]), n_top_genes=n_genes, flavor="seurat", inplace=False
        )
    return varying[np.flatnonzero(table["highly_variable"].to_numpy())]


@dataclass(frozen=True, eq=False)
class ComponentsOfGenes:
    """Principal components of highly variable genes, as learned from some cells.

    Attributes
    ----------
    genes
        Columns, ascending.
    pca
        The fitted `sklearn.decomposition.PCA`.
    """

    genes: NDArray[np.int64]
    pca: Any

    @classmethod
    def fit(cls, values: csr_matrix) -> "ComponentsOfGenes":
        """Learn from (n_cells, n_vars) log-normalised values; genes are centred, not scaled."""
        from sklearn.decomposition import PCA

        genes = choose_variable_genes(values)
        n_components = min(N_COMPONENTS, len(genes) - 1, values.shape[0] - 1)
        if n_components < 1:
            raise SettingsError(
                f"{values.shape[0]:,} cells have {len(genes):,} genes that vary.",
                "At least two cells and two genes that vary, for HVG + PCA.",
                "Evaluate more cells, or lower n_folds (--folds).",
            )
        pca = PCA(n_components, svd_solver="arpack", random_state=0)
        return cls(genes, pca.fit(values[:, genes]))

    def transform(self, values: csr_matrix) -> NDArray[np.float32]:
        """Components of (n_cells, n_vars) log-normalised values."""
        return np.asarray(self.pca.transform(values[:, self.genes]), dtype=np.float32)


def fit_baseline(
    train_counts: csr_matrix,
    train_labels: Sequence[str] | NDArray[Any],
    test_counts: csr_matrix,
    *,
    classes: Sequence[str] | None = None,
    n_genes: int = N_GENES,
) -> NDArray[np.float64]:
    """Logistic regression on log counts: probabilities of test cells.

    Counts are scaled to 10,000 a cell, log1p is taken, and the `n_genes` genes that vary most in
    the training cells are kept; the regression is scikit-learn's, with its L2 penalty of C = 1.

    Parameters
    ----------
    train_counts, test_counts
        (n_train, n_vars) and (n_test, n_vars): the same genes in the same order.
    train_labels
        (n_train,) names of classes.
    classes
        The order of the columns; the sorted training labels unless given. One without a training
        cell has probability 0.

    Returns
    -------
    (n_test, n_classes) float64; each row sums to 1.

    Raises
    ------
    SettingsError
        If the training cells are of one class or of one that is not among `classes`, or the
        numbers of genes differ.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> train, test = adata[:20], adata[20:]
    >>> probabilities = rankformer.fit_baseline(train.X, train.obs["cell_type"], test.X)
    >>> probabilities.shape
    (10, 2)
    """
    from sklearn.linear_model import LogisticRegression

    labels = np.asarray(train_labels, dtype=str)
    columns = sorted(set(labels)) if classes is None else list(map(str, classes))
    _check_baseline(train_counts, labels, test_counts, columns)
    train, test = log_normalise(train_counts), log_normalise(test_counts)
    genes = choose_variable_genes(train, n_genes)
    regression = LogisticRegression(max_iter=1000).fit(train[:, genes], labels)
    probabilities = np.zeros((test.shape[0], len(columns)))
    places = [columns.index(each) for each in regression.classes_]
    probabilities[:, places] = regression.predict_proba(test[:, genes])
    return probabilities


def _check_baseline(
    train: csr_matrix, labels: NDArray[np.str_], test: csr_matrix, classes: list[str]
) -> None:
    unknown = sorted(set(labels) - set(classes))
    if unknown or len(set(labels)) < 2:
        raise SettingsError(
            f"The training cells of the baseline are of {', '.join(sorted(set(labels))[:5])}.",
            f"At least two classes, all among {', '.join(classes[:5])}.",
            "Pass the classes of the training labels.",
        )
    if train.shape[1] != test.shape[1] or train.shape[0] != len(labels):
        raise SettingsError(
            f"The baseline was given {train.shape[0]:,} x {train.shape[1]:,} counts to train on, "
            f"{len(labels):,} labels, and {test.shape[0]:,} x {test.shape[1]:,} counts to test.",
            "A label for each training cell, and the same genes in both.",
            "Take both from one source.",
        )
