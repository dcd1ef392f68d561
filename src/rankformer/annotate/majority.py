"""The label that most cells of a cluster have, for all of its cells, as CellTypist gives it."""

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.annotate.reference import UNKNOWN
from rankformer.annotate.settings import COMPUTED
from rankformer.errors import SettingsError
from rankformer.extras import install_command

logger = logging.getLogger(__name__)

_CELLS_OF_A_CLUSTER, _MOST_CLUSTERS = 40, 500


def clusters_of(
    obs: pd.DataFrame, vectors: NDArray[np.float32], cells: NDArray[np.int64], column: str
) -> NDArray[np.object_]:
    """The cluster of each cell with a vector.

    Parameters
    ----------
    obs
        Of all cells.
    vectors
        (n_cells, d_model) float32, of all cells.
    cells
        Rows of those with a vector.
    column
        Of obs; or ``"computed"``: many small clusters are made of the vectors by k-means, of about
        40 cells each.

    Raises
    ------
    SettingsError
        If obs has no such column, or scikit-learn, which makes clusters, is not installed.
    """
    if column != COMPUTED:
        expect_clusters(obs, column, "the query")
        return np.array([str(each) for each in obs[column].iloc[cells]], dtype=object)
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise SettingsError(
            "The library scikit-learn is not installed, and clusters are computed with it.",
            "scikit-learn in this environment, or a column of obs with clusters.",
            f"Install it with `{install_command('annotate')}`, or name a column.",
        ) from error
    if not len(cells):
        return np.zeros(0, object)
    n_clusters = min(_MOST_CLUSTERS, max(1, len(cells) // _CELLS_OF_A_CLUSTER))
    means = MiniBatchKMeans(n_clusters, random_state=0, n_init=1)
    found = means.fit_predict(np.asarray(vectors[cells]))
    logger.info("The cells were cut into %s clusters of like cells.", f"{len(set(found)):,}")
    return np.array([str(each) for each in found], dtype=object)


def expect_clusters(obs: pd.DataFrame, column: str, name: str) -> None:
    """Refuse a column of clusters that there is not.

    Raises
    ------
    SettingsError
        If so.
    """
    if column != COMPUTED and column not in obs:
        raise SettingsError(
            f"obs of {name} has no column {column!r} with clusters.",
            f"Columns of obs: {', '.join(map(str, obs.columns)) or '(none)'}; or {COMPUTED}, for "
            "clusters of the embeddings.",
            "Correct majority_vote (--majority-vote).",
        )


def majority_labels(
    best: NDArray[np.object_], clusters: NDArray[np.object_]
) -> NDArray[np.object_]:
    """The label that more than half of the cells of a cluster resemble most, for each cell.

    Parameters
    ----------
    best
        (n,) the label that each cell resembles most.
    clusters
        (n,) the cluster of each cell.

    Returns
    -------
    (n,) texts; ``"unknown"`` in a cluster of which no label has more than half.
    """
    if not len(best):
        return np.zeros(0, object)
    table = pd.crosstab(pd.Series(clusters), pd.Series(best), normalize="index")
    winners, shares = table.idxmax(axis=1), table.max(axis=1)
    of_cluster = winners.where(shares > 0.5, UNKNOWN).to_dict()
    return np.array([of_cluster[each] for each in clusters], dtype=object)
