"""Methods and measures of other packages that an evaluation may stand beside, where installed."""

import logging
import sys
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.errors import CountsError, SettingsError
from rankformer.extras import install_command
from rankformer.quiet_loggers import quiet_loggers

logger = logging.getLogger(__name__)

HARMONY, SCVI = "harmony", "scvi"
METHODS = (HARMONY, SCVI)
_PACKAGES = {HARMONY: "harmonypy", SCVI: "scvi-tools"}
_MODULES = {HARMONY: "harmonypy", SCVI: "scvi"}


def check_methods(methods: tuple[str, ...], batch: str | None) -> None:
    """Refuse, before any work, methods that cannot be run.

    Raises
    ------
    SettingsError
        If one is unknown, is not installed, or there are no batches to integrate.
    """
    for method in methods:
        if method not in METHODS:
            raise SettingsError(
                f"The method {method!r} was asked for beside.",
                f"One of {', '.join(METHODS)}; HVG + PCA is always there.",
                "Correct beside (--beside).",
            )
        if batch is None:
            raise SettingsError(
                f"{method} was asked for beside, and no batch was given.",
                "A column of obs with the batches that it integrates.",
                "Name it with batch (--batch).",
            )
        if find_spec(_MODULES[method]) is None:
            raise SettingsError(
                f"{_PACKAGES[method]} is not installed.",
                f"{_PACKAGES[method]}, which runs {method}.",
                f"Install it with `{install_command(method)}`, or leave out --beside {method}.",
            )


def integrate_scvi(
    counts: csr_matrix, genes: NDArray[np.int64], batches: NDArray[np.object_], seed: int
) -> NDArray[np.float32]:
    """Latent variables of scVI (Lopez et al. 2018, doi:10.1038/s41592-018-0229-2).

    Trained with the settings of its package.

    Parameters
    ----------
    counts
        (n_cells, n_vars) raw counts.
    genes
        The columns that it models.
    batches
        (n_cells,) names.

    Returns
    -------
    (n_cells, 10) float32: their means.

    Raises
    ------
    CountsError
        If the counts are not whole numbers.
    """
    if np.any(counts.data % 1):
        raise CountsError(
            "scVI was asked for beside, and the counts were scaled per cell.",
            "Whole numbers, which it models.",
            "Take the file with the raw counts, or leave out --beside scvi.",
        )
    import pandas as pd
    import scvi
    from anndata import AnnData

    scvi.settings.seed = seed
    adata = AnnData(counts[:, genes].copy(), obs=pd.DataFrame({"batch": batches.astype(str)}))
    with warnings.catch_warnings(), quiet_loggers("scvi", "lightning.pytorch"):
        warnings.simplefilter("ignore")
        scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
        model = scvi.model.SCVI(adata)
        model.train(enable_progress_bar=False, logger=False)
        latent = model.get_latent_representation()
    return np.asarray(latent, dtype=np.float32)


def score_by_scib(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], batches: NDArray[np.int64]
) -> dict[str, float]:
    """``ilisi_scib`` and ``kbet_scib`` of scib-metrics, 0 to 1, 1 being mixed; nothing without it.

    Over the 90 nearest cells and within labels (kBET), as its benchmark does.
    """
    if find_spec("scib_metrics") is None:
        return {}
    if "scib_metrics" not in sys.modules:
        logger.info("scib-metrics scores the batches; it first compiles for about a minute.")
    import scib_metrics
    from scib_metrics.nearest_neighbors import NeighborsResults
    from sklearn.neighbors import NearestNeighbors

    n_neighbours = min(90, len(vectors) - 1)
    search = NearestNeighbors(n_neighbors=n_neighbours).fit(vectors)
    distances, indices = search.kneighbors(vectors)
    neighbours = NeighborsResults(indices=indices, distances=distances)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ilisi: Any = scib_metrics.ilisi_knn(neighbours, batches)
        kbet: Any = scib_metrics.kbet_per_label(neighbours, batches, codes)
    return {"ilisi_scib": float(ilisi), "kbet_scib": float(kbet)}
