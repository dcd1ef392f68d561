"""Nearest neighbours by cosine distance: exact in small sets, by a graph in large ones."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.extras import install_command

if TYPE_CHECKING:
    from usearch.index import Index

EXACT_UP_TO = 50_000
_DISTANCES_AT_ONCE = 2**24
_ROWS_AT_ONCE = 8192
_QUERIES_AT_ONCE = 1024
# Of HNSW; wider than usearch's own, for a recall that annotation does not notice.
_CONNECTIVITY, _EXPANSION = 32, 256

Neighbours = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class NeighbourIndex:
    """Vectors among which neighbours are looked for.

    Attributes
    ----------
    vectors
        (n_cells, d_model) float32 of length 1, in memory or mapped from a file.
    graph
        A hierarchical navigable small world (Malkov and Yashunin 2018, doi
        10.1109/TPAMI.2018.2889473) of them in half precision, or None: all are looked at.
    """

    vectors: NDArray[np.float32]
    graph: "Index | None" = None

    @classmethod
    def build(
        cls, vectors: NDArray[np.float32], exact_up_to: int = EXACT_UP_TO
    ) -> "NeighbourIndex":
        """Index vectors of length 1; with a graph where there are more than `exact_up_to`."""
        if len(vectors) <= exact_up_to:
            return cls(vectors)
        graph = require_usearch()(
            ndim=vectors.shape[1], metric="cos", dtype="f16",
            connectivity=_CONNECTIVITY, expansion_add=_EXPANSION, expansion_search=_EXPANSION,
        )  # fmt: skip
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            block = np.ascontiguousarray(vectors[start : start + _ROWS_AT_ONCE])
            graph.add(np.arange(start, start + len(block)), block)
        return cls(vectors, graph)

    def search(self, queries: NDArray[np.float32], k: int) -> Neighbours:
        """The `k` nearest of each query, nearest first.

        Parameters
        ----------
        queries
            (n, d_model) float32 of length 1.
        k
            At most the number of vectors.

        Returns
        -------
        Rows, (n, k) int64, and cosine distances from 0 to 2, (n, k) float32.
        """
        rows = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        step = _QUERIES_AT_ONCE if self.graph else max(1, _DISTANCES_AT_ONCE // len(self.vectors))
        for start in range(0, len(queries), step):
            block = np.ascontiguousarray(queries[start : start + step])
            found = self._by_graph(block, k) if self.graph else self._exact(block, k)
            rows[start : start + step], distances[start : start + step] = found
        return rows, distances

    def search_others(self, rows: NDArray[np.int64], k: int) -> Neighbours:
        """As `search`, for some of the vectors themselves, each of which is left out."""
        found, distances = self.search(self.vectors[rows], k + 1)
        own = found == rows[:, None]
        own[~own.any(axis=1), -1] = True
        shape = len(rows), k
        return found[~own].reshape(shape), distances[~own].reshape(shape)

    def _exact(self, queries: NDArray[np.float32], k: int) -> Neighbours:
        distances = 1 - queries @ self.vectors.T
        nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
        return _in_order(nearest, np.take_along_axis(distances, nearest, axis=1))

    def _by_graph(self, queries: NDArray[np.float32], k: int) -> Neighbours:
        """Neighbours by the graph; their distances anew, in full precision."""
        assert self.graph is not None  # noqa: S101
        # For a single query usearch answers in another shape.
        matches: Any = self.graph.search(np.concatenate([queries, queries[-1:]]), k)
        whole = (matches.counts == k)[:-1]
        nearest = np.where(whole[:, None], matches.keys[:-1], 0).astype(np.int64)
        distances = 1 - np.einsum("nd,nkd->nk", queries, self.vectors[nearest])
        if not whole.all():
            nearest[~whole], distances[~whole] = self._exact(queries[~whole], k)
        return _in_order(nearest, distances)


def scale_to_unit(vectors: NDArray[np.float32]) -> None:
    """Divide each vector by its length, in place; a vector of zeros stays."""
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        block = vectors[start : start + _ROWS_AT_ONCE]
        block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12)


def require_usearch() -> "type[Index]":
    """Usearch's index.

    Raises
    ------
    SettingsError
        If it is not installed.
    """
    try:
        from usearch.index import Index
    except ImportError as error:
        raise SettingsError(
            f"The library usearch is not installed, and a reference of more than {EXACT_UP_TO:,} "
            "cells is searched with it.",
            "usearch in this environment.",
            f"Install it with `{install_command('annotate')}`.",
        ) from error
    return Index


def _in_order(rows: NDArray[np.int64], distances: NDArray[np.float32]) -> Neighbours:
    order = np.argsort(distances, axis=1, kind="stable")
    rounded_up = np.maximum(np.take_along_axis(distances, order, axis=1), 0)
    return np.take_along_axis(rows, order, axis=1), rounded_up
