"""Cells in two dimensions, and in clusters: by their embedding, and by plain expression."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.errors import SettingsError
from rankformer.evaluate.expression_baselines import ComponentsOfGenes

_N_NEIGHBOURS = 15
_SEED = 0
_LEAST_DISTANCE = 0.5


@dataclass(frozen=True, eq=False)
class Layout:
    """Where cells stand in a picture.

    Attributes
    ----------
    title
        What the picture shows.
    coordinates
        (n_cells, 2) float32.
    clusters
        (n_cells,) int64: Leiden clusters, the largest first.
    """

    title: str
    coordinates: NDArray[np.float32]
    clusters: NDArray[np.int64]


def lay_out_embedding(vectors: NDArray[np.float32], name: str) -> Layout:
    """Lay cells out by their embedding: (n_cells, width)."""
    return _lay_out(vectors, name)


def lay_out_expression(log_counts: csr_matrix) -> Layout | str:
    """Lay cells out by HVG + PCA of (n_cells, n_vars) log counts; or say why it cannot be done."""
    try:
        components = ComponentsOfGenes.fit(log_counts)
    except SettingsError as error:
        return str(error)
    return _lay_out(components.transform(log_counts), "HVG + PCA")


def _lay_out(vectors: NDArray[np.float32], name: str) -> Layout:
    """UMAP, and Leiden clusters of the graph that it makes: scanpy's defaults for both."""
    import scanpy as sc
    from anndata import AnnData
    from umap import UMAP

    n_neighbours = min(_N_NEIGHBOURS, len(vectors) - 1)
    # Principal components are as good a beginning as the graph's eigenvectors (Kobak and Linderman
    # 2021, doi 10.1038/s41587-020-00809-z), which take hours where the graph falls into many parts.
    init = "pca" if min(vectors.shape) > 2 else "random"
    with warnings.catch_warnings():
        # umap-learn: that a seed is set, and few cells.
        warnings.simplefilter("ignore")
        umap = UMAP(
            n_neighbors=n_neighbours, min_dist=_LEAST_DISTANCE, init=init, random_state=_SEED
        )
        coordinates = np.asarray(umap.fit_transform(vectors), dtype=np.float32)
        adata = AnnData(shape=(len(vectors), 0))
        sc.tl.leiden(
            adata, adjacency=csr_matrix(umap.graph_), flavor="igraph", n_iterations=2,
            directed=False, random_state=_SEED,
        )  # fmt: skip
    clusters = adata.obs["leiden"].astype(np.int64).to_numpy()
    return Layout(f"{name}, UMAP", coordinates, clusters)
