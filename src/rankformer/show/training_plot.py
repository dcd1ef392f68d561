"""What a training made of its model: figures by step, of trained and of held-out cells."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.results.metric_names import spoken_name
from rankformer.show.canvas import ONE_COLUMN, add_legend, literal, plain
from rankformer.show.cell_values import did_you_mean
from rankformer.show.palette import colour_categories
from rankformer.training.run_log import Log, read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Run = str | os.PathLike[str]
CURVES_SIZE = (ONE_COLUMN, 2.4)
_HELD_OUT = "eval_"
# Entries of the Trainer that are no curves.
_NO_FIGURES = frozenset(("step", "epoch", "total_flos", "train_loss"))
_OF_TIME = ("runtime", "per_second")


@dataclass(frozen=True, eq=False)
class Curve:
    """Figures by step.

    Attributes
    ----------
    name
        Of the run, "" where there is one.
    steps, values
        (n,) each.
    is_held_out
        Whether they are of held-out cells.
    """

    name: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    is_held_out: bool


def read_runs(run: Run | Mapping[str, Any]) -> dict[str, Log]:
    """The logs of one run, without a name, or of several with their names.

    Raises
    ------
    MissingFileError, TableError
        If there is none.
    """
    if not isinstance(run, Mapping) or {"log", "log_history"} & set(run):
        return {"": read_log(run)}
    return {str(name): read_log(each) for name, each in run.items()}


def choose_curves(logs: Mapping[str, Log], figure: str) -> list[Curve]:
    """Curves of a figure, of each run: on cells trained on, and on held-out ones.

    Raises
    ------
    SettingsError
        If no run has it.
    """
    curves = []
    for name, log in logs.items():
        for key, is_held_out in ((figure, False), (f"{_HELD_OUT}{figure}", True)):
            own = [(each["step"], each[key]) for each in log if key in each]
            if own:
                steps, values = zip(*own, strict=True)
                curves.append(Curve(name, np.array(steps), np.array(values, float), is_held_out))
    if not curves:
        known = _figures(logs)
        raise SettingsError(
            f"The log has no {figure!r}{did_you_mean(figure, known)}",
            f"One of {', '.join(known)}.",
            "Correct figure.",
        )
    return curves


def draw_curves(ax: "Axes", curves: Sequence[Curve], figure: str) -> None:
    """Lines by step: thin on cells trained on, with dots on held-out ones."""
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(each.name for each in curves))
    colours = colour_categories(names)
    handles, labels = [], []
    for each in curves:
        style: dict[str, Any] = {"color": colours[each.name]}
        if each.is_held_out:
            style |= {"marker": "o", "markersize": 3, "linewidth": 1.1}
        else:
            style |= {"linewidth": 0.9, "alpha": 0.65 if _has_held_out(curves, each.name) else 1}
        ax.plot(each.steps, each.values, **style)
        handles.append(Line2D([], [], **style))
        part = "held-out cells" if each.is_held_out else "cells trained on"
        part = "" if figure == "learning_rate" else part
        labels.append(", ".join(filter(None, [literal(each.name) if each.name else "", part])))
    ax.set(xlabel="step", ylabel=literal(spoken_name(figure).replace("_", " "), 60))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.margins(x=0.02)
    plain(ax)
    ax.locator_params(axis="x", integer=True)
    if any(labels):
        add_legend(ax, handles, labels, loc="best", handletextpad=0.6)


def _has_held_out(curves: Sequence[Curve], name: str) -> bool:
    return any(each.is_held_out for each in curves if each.name == name)


def _figures(logs: Mapping[str, Log]) -> list[str]:
    names = {key.removeprefix(_HELD_OUT) for log in logs.values() for each in log for key in each}
    return sorted(each for each in names - _NO_FIGURES if not each.endswith(_OF_TIME))
