"""Harmony, which mixes batches in a space, where it is installed."""

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.extras import install_command
from rankformer.quiet_loggers import quiet_loggers


def expect_integration(integrate: str) -> None:
    """Refuse, before any work, what cannot be run.

    Raises
    ------
    SettingsError
        If it is ``"harmony"``, and harmonypy is not installed.
    """
    if integrate == "harmony" and find_spec("harmonypy") is None:
        raise SettingsError(
            "harmonypy is not installed, and it was asked for to integrate reference and query.",
            "harmonypy in this environment.",
            f"Install it with `{install_command('harmony')}`, or leave out integrate "
            "(--integrate).",
        )


def integrate_harmony(
    points: NDArray[np.float32], batches: NDArray[np.object_], seed: int
) -> NDArray[np.float32]:
    """Harmony (Korsunsky et al. 2019, doi:10.1038/s41592-019-0619-0) of points of a space.

    Parameters
    ----------
    points
        (n_cells, width), such as principal components or embeddings.
    batches
        (n_cells,) names.

    Returns
    -------
    (n_cells, width) float32.
    """
    import pandas as pd
    from harmonypy import run_harmony

    table, shape = pd.DataFrame({"batch": batches}), points.shape
    if shape[0] == shape[1]:
        # It takes points for cells by the shape alone, and would take these the wrong way round.
        points = np.hstack([points, np.zeros((len(points), 1), points.dtype)])
    with quiet_loggers("harmonypy"):
        found = run_harmony(points.astype(np.float64), table, "batch", random_state=seed)
    # Its releases differ in which way round the result lies.
    corrected = np.asarray(found.Z_corr, dtype=np.float32)
    corrected = corrected if corrected.shape == points.shape else corrected.T
    return corrected[:, : shape[1]]
