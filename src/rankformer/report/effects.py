"""Effects of perturbations for the page: a volcano, and the table of the first genes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rankformer.errors import MissingFileError, TableError
from rankformer.perturb.result_files import read_results
from rankformer.perturb.statistics import compare_genes
from rankformer.results.csv_tables import read_csv
from rankformer.show.perturbation_plots import (
    check_tested,
    describe_effect,
    effect_column,
    most_certain,
)

LEVEL = 0.05
_MOST_DOTS, _N_NAMED, _MOST_ROWS = 4_000, 8, 30
# Where dots lie, in the picture's units.
WIDTH, HEIGHT, MARGIN = 560, 380, 44
_LINE = 12


@dataclass(frozen=True)
class Dot:
    """A perturbed gene in the picture."""

    x: float
    y: float
    kind: str
    text: str


@dataclass(frozen=True)
class Name:
    """The name of a gene in the picture, beside its dot."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what it says."""

    place: float
    text: str


@dataclass(frozen=True, eq=False)
class Effects:
    """Tested perturbations.

    Attributes
    ----------
    tested
        A row a gene, the most certain first; see `compare_genes`.
    column
        The column that the picture's x shows: ``excess`` or ``effect``.
    label
        What it is called.
    n_called
        Genes at a false discovery rate of 0.05.
    dots, names
        Of the picture.
    ticks
        Along x, and along y: where, and what they say.
    zero
        Where x = 0 lies.
    threshold
        Where the false discovery rate of 0.05 lies.
    """

    tested: pd.DataFrame
    column: str
    label: str
    n_called: int
    dots: tuple[Dot, ...]
    names: tuple[Name, ...]
    ticks: tuple[tuple[Tick, ...], tuple[Tick, ...]]
    zero: float
    threshold: float

    @property
    def has_replicates(self) -> bool:
        """Whether donors or the like were the replicates; otherwise cells were."""
        return "n_replicates" in self.tested

    @property
    def first(self) -> pd.DataFrame:
        """The first rows, with the columns that a reader needs."""
        names = ("symbol", "n_cells", "mean_rank", "effect", "excess", "p_value", "q_value")
        return self.tested[[name for name in names if name in self.tested]].head(_MOST_ROWS)

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The values of `first`."""
        return list(self.first.itertuples(index=False, name=None))


def read_effects(path: Path) -> Effects:
    """Read a table of `rankformer perturb`, which is then tested, or of `perturb-test`.

    Raises
    ------
    TableError
        If it is neither, or its test gave no q values.
    """
    tested = _read_tested(path)
    check_tested(tested, "q_value")
    return draw_effects(tested)


def _read_tested(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise MissingFileError(
            f"{path} does not exist.",
            "A table of `rankformer perturb` or `rankformer perturb-test`.",
            "Correct the path (perturbed, --perturbed).",
        )
    if path.suffix == ".csv":
        try:
            return read_csv(path)
        except (ValueError, UnicodeDecodeError) as error:
            raise TableError(
                f"{path} cannot be read as a table: {error}.",
                "A table of `rankformer perturb` or `rankformer perturb-test`.",
                "Name such a table (perturbed, --perturbed).",
            ) from error
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        if "cell" not in pq.read_schema(path).names:
            return pd.read_parquet(path)
    return compare_genes(read_results([path]))


def draw_effects(tested: pd.DataFrame) -> Effects:
    """Place the dots of a volcano: effect against certainty."""
    column = effect_column(tested)
    numbers = {name: pd.to_numeric(tested[name], errors="coerce") for name in (column, "q_value")}
    tested = tested.assign(**numbers).sort_values("q_value", kind="stable")
    is_known = np.isfinite(tested[[column, "q_value"]].to_numpy(float)).all(axis=1)
    shown = tested.loc[is_known].reset_index(drop=True)
    shown = shown.head(_MOST_DOTS)
    x, q = shown[column].to_numpy(float), shown["q_value"].to_numpy(float)
    y = -np.log10(np.maximum(q, q[q > 0].min(initial=1.0)))
    widest = float(np.abs(x).max(initial=0)) or 1.0
    highest = max(float(y.max(initial=0)), -math.log10(LEVEL)) * 1.05
    across = MARGIN + (x / widest + 1) / 2 * (WIDTH - 2 * MARGIN)
    down = HEIGHT - MARGIN - y / highest * (HEIGHT - 2 * MARGIN)
    dots = tuple(
        Dot(
            round(float(across[i]), 1), round(float(down[i]), 1), _kind_of(x[i], q[i]),
            f"{symbol}: {column} {x[i]:.3g}, q {q[i]:.2g}",
        )
        for i, symbol in enumerate(shown["symbol"].astype(str))
    )  # fmt: skip
    symbols = shown["symbol"].astype(str)
    named = {side: most_certain(x, y, q <= LEVEL, side)[:_N_NAMED].tolist() for side in (1, -1)}
    names = tuple(
        name for side, own in named.items() for name in _place_names(dots, own, symbols, side)
    )
    threshold = HEIGHT - MARGIN + math.log10(LEVEL) / highest * (HEIGHT - 2 * MARGIN)
    n_called = int((tested["q_value"] <= LEVEL).sum())
    return Effects(
        tested, column, describe_effect(shown), n_called, dots, names, _ticks(widest, highest),
        WIDTH / 2, round(threshold, 1),
    )  # fmt: skip


def _ticks(widest: float, highest: float) -> tuple[tuple[Tick, ...], tuple[Tick, ...]]:
    """Both ends and the middle of x; the whole decades of y, five at most."""
    across = [
        Tick(round(MARGIN + (share + 1) / 2 * (WIDTH - 2 * MARGIN), 1), f"{share * widest:.2g}")
        for share in (-1, -0.5, 0, 0.5, 1)
    ]
    step = max(1, math.ceil(highest / 5))
    up = [
        Tick(round(HEIGHT - MARGIN - decade / highest * (HEIGHT - 2 * MARGIN), 1), str(decade))
        for decade in range(0, int(highest) + 1, step)
    ]
    return tuple(across), tuple(up)


def _kind_of(effect: float, q_value: float) -> str:
    if q_value > LEVEL:
        return "uncertain"
    return "up" if effect > 0 else "down"


def _place_names(
    dots: Sequence[Dot], named: Sequence[int], symbols: "pd.Series[Any]", side: int
) -> Iterator[Name]:
    """Names beside their dots, from above, each below the one before where they would meet."""
    last = -math.inf
    for i in sorted(named, key=lambda i: (dots[i].y, i)):
        last = max(dots[i].y + 4, last + _LINE)
        outward = dots[i].x + side * 6
        # Names at the edge are written inwards.
        is_near_edge = abs(outward - WIDTH / 2) > WIDTH / 2 - 70
        x = dots[i].x - side * 6 if is_near_edge else outward
        anchor = "start" if (side > 0) != is_near_edge else "end"
        yield Name(round(x, 1), round(last, 1), anchor, str(symbols.iloc[i]))
