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
# Below this UMAP has too few neighbours to begin with.
_LEAST_FOR_UMAP = 30


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
    import scanpy as sc
    from anndata import AnnData

    adata = AnnData(obsm={"X": vectors})
    n_neighbours = min(_N_NEIGHBOURS, len(vectors) - 1)
    with warnings.catch_warnings():
        # umap-learn: that a seed is set, and few cells.
        warnings.simplefilter("ignore")
        sc.pp.neighbors(adata, n_neighbors=n_neighbours, use_rep="X", random_state=_SEED)
        sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False, random_state=_SEED)
        if len(vectors) < _LEAST_FOR_UMAP:
            return Layout(f"{name}, principal axes", _main_axes(vectors), _clusters(adata))
        sc.tl.umap(adata, random_state=_SEED)
    coordinates = np.asarray(adata.obsm["X_umap"], dtype=np.float32)
    return Layout(f"{name}, UMAP", coordinates, _clusters(adata))


def _clusters(adata: "object") -> NDArray[np.int64]:
    return adata.obs["leiden"].astype(np.int64).to_numpy()  # type: ignore[attr-defined,no-any-return]


def _main_axes(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2), dtype=np.float32)
    places[:, : len(axes[:2])] = centred @ axes[:2].T
    return places
