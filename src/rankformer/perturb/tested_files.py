"""Tables of tested perturbations on disk."""

from pathlib import Path
from typing import Any

import pandas as pd

from rankformer.errors import SettingsError
from rankformer.results.csv_tables import write_csv
from rankformer.results.output_checks import PICTURE_FORMATS, check_target
from rankformer.results.parquet_tables import indented_table
from rankformer.scratch import whole_or_nothing
from rankformer.summary import Summary, Written

_MOST_TOLD = 10
_SIGNIFICANT = 0.05
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
            write_csv(tested, part)
        else:
            tested.to_parquet(part, index=False)


def summarize_tested(tested: pd.DataFrame, output: Path, plot: Path | None) -> Summary:
    """Where the table is, and its first rows."""
    names = ("symbol", "n_cells", "effect", "excess", "impact", "p_value", "q_value")
    shown = tested[[name for name in names if name in tested]].head(_MOST_TOLD)
    written = [Written(output, f"{len(tested):,} perturbations")]
    if plot is not None:
        written.append(Written(plot, "effects against how certain they are"))
    figures: dict[str, Any] = {"n_perturbations": len(tested)}
    if "q_value" in tested:
        figures["n_significant"] = int((tested["q_value"] < _SIGNIFICANT).sum())
        figures["q_value_below"] = _SIGNIFICANT
    told = f"The first of them:\n{indented_table(shown)}"
    tables = {"first": shown.to_dict(orient="records")}
    return Summary(tuple(written), figures, tables, (told,))
