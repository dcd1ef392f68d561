"""Tables of tested perturbations on disk."""

import logging
from pathlib import Path

import pandas as pd

from rankformer.errors import SettingsError
from rankformer.results.output_checks import PICTURE_FORMATS, check_target
from rankformer.scratch import whole_or_nothing

logger = logging.getLogger(__name__)
_MOST_TOLD = 10
TABLES = (".csv", ".parquet")


def check_outputs(output: Path, plot: Path | None, against: str, *, overwrite: bool) -> None:
    """Refuse, before any work, outputs that cannot be written.

    Raises
    ------
    OutputError, SettingsError
        If it is so, or there would be nothing to draw.
    """
    check_target(output, TABLES, overwrite)
    if plot is None:
        return
    check_target(plot, PICTURE_FORMATS, overwrite)
    if against in ("mixture", "aggregate"):
        raise SettingsError(
            f"A picture of certainty was asked for, with a comparison ({against}) that has none.",
            "A comparison with p values: like_rank, random or null.",
            "Leave --plot out, or compare otherwise (--against).",
        )


def write_tested(tested: pd.DataFrame, output: Path, *, overwrite: bool) -> None:
    """Write the table, whole or not at all."""
    with whole_or_nothing(output, overwrite=overwrite) as part:
        if output.suffix == ".csv":
            tested.to_csv(part, index=False)
        else:
            tested.to_parquet(part, index=False)


def tell_tested(tested: pd.DataFrame, output: Path) -> None:
    """Say where the table is, and show its first rows."""
    names = ("symbol", "n_cells", "effect", "excess", "impact", "p_value", "q_value")
    shown = tested[[name for name in names if name in tested]].head(_MOST_TOLD)
    logger.info(
        "Wrote %s: %s perturbations. The first of them:\n%s", output, f"{len(tested):,}",
        shown.to_string(index=False, float_format=lambda x: f"{x:.3g}"),
    )  # fmt: skip
