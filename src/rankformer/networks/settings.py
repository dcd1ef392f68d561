"""Between which genes a network is measured, and between which states genes are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args

from rankformer.embed.settings import HOW_THE_MODEL_RUNS, Dtype, Running
from rankformer.errors import SettingsError
from rankformer.names import name_of, parse_values
from rankformer.perturb.gene_lists import ALL, names_in
from rankformer.settings import setting, settings
from rankformer.tokens.edit_types import SHARE_OF_RANKS, EditType, check_edits
from rankformer.tokens.reading_options import InputFiles

By = Literal["perturbation", "attention", "similarity"]
BY: tuple[By, ...] = get_args(By)
_WHICH, _HOW = "Which cells and genes", "How it is measured"
# Name → option, and the least that it can be.
_OPTIONS = {"n_cells": ("--n-cells", 1), "top": ("--top", 0), "min_cells": ("--min-cells", 1)}
# Settings that mean something by one method alone, and their options.
_OF_METHOD: dict[str, tuple[By, str]] = {
    "kind": ("perturbation", "--type"),
    "share": ("perturbation", "--share"),
    "layers": ("attention", "--attention-layer"),
    "heads": ("attention", "--head"),
}


@settings(kw_only=True)
class NetworkSettings:
    """What is measured between genes, of which, and in which cells."""

    by: By = setting(
        common=True,
        default="perturbation",
        text="What is measured between two genes of a cell. perturbation: how far deleting one "
        "moves the vector of the other. attention: how much the other attends to it. similarity: "
        "the cosine of their vectors.",
    )
    top: int | None = setting(
        common=True,
        default=1000,
        text="The number of pairs that are kept, those that are most certain; 0 keeps all.",
    )
    genes: str | Sequence[str] = setting(
        common=True, default=ALL, panel=_WHICH, kind=str, parse=names_in,
        text="The genes whose effect on all others is measured, with commas between; or all. "
        "Genes are symbols or Ensembl ids. @FILE reads them from a text file with one gene a line.",
    )  # fmt: skip
    n_cells: int | None = setting(
        common=True, default=None, panel=_WHICH,
        text="The maximum number of cells to measure in, drawn at random. By default, all "
        "cells are taken.",
    )  # fmt: skip
    min_cells: int = setting(
        default=10, panel=_WHICH,
        text="The minimum number of cells that must have a gene, and a pair of genes.",
    )  # fmt: skip
    seed: int = setting(
        default=0, panel=_WHICH, text="The seed that decides which cells are drawn."
    )
    kind: EditType = setting(
        default="delete", panel=_HOW, options=("--type",),
        text="With --by perturbation: what is done to a gene.",
    )  # fmt: skip
    share: float = setting(
        default=SHARE_OF_RANKS, panel=_HOW,
        text="With --type inhibit or activate: how far a gene moves, as a share of the number of "
        "genes in the cell.",
    )  # fmt: skip
    layers: int | Sequence[int] = setting(
        default=(-1,), panel=_HOW, options=("--attention-layer",), kind=list[int],
        text="With --by attention: the layer, counted from 1; -1 is the last. Of several layers "
        "the mean is taken.",
    )  # fmt: skip
    heads: int | Sequence[int] = setting(
        default=(), panel=_HOW, options=("--head",), kind=list[int],
        text="With --by attention: the attention head, counted from 0. Of several heads, and of "
        "all unless one is given, the mean is taken.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.by not in BY:
            raise SettingsError(
                f"The network is to be made by {self.by!r}.",
                f"One of {', '.join(BY)}.",
                "Correct by (--by).",
            )
        check_edits(self.kind, self.share)
        for name, (option, least) in _OPTIONS.items():
            number = getattr(self, name)
            if number is None and name != "min_cells":
                continue
            if not isinstance(number, Integral) or number < least:
                raise SettingsError(
                    f"{name} is {number!r}.",
                    f"A whole number, at least {least}.",
                    f"Correct {name} ({option}).",
                )
        for name in ("layers", "heads"):
            object.__setattr__(self, name, _whole_numbers(getattr(self, name), name))
        if self.n_cells is not None and self.n_cells < self.min_cells:
            raise SettingsError(
                f"A network of {self.n_cells:,} cells, with genes that {self.min_cells:,} of them "
                "have, was asked for.",
                "As many cells as a gene must have, or more.",
                "Raise n_cells (--n-cells), or lower min_cells (--min-cells).",
            )
        self._expect_what_is_read()

    def _expect_what_is_read(self) -> None:
        """Refuse settings of another method than that of the network."""
        for each in fields(self):
            method, option = _OF_METHOD.get(each.name, (self.by, ""))
            given = getattr(self, each.name)
            if method != self.by and given != each.default:
                raise SettingsError(
                    f"{each.name} is {given!r}, and the network is made by {self.by}.",
                    f"{each.name} with a network by {method}.",
                    f"Leave {each.name} ({option}) out, or make it by {method} (--by {method}).",
                )


def _whole_numbers(given: Any, name: str) -> tuple[int, ...]:
    """One number, or several."""
    numbers = given if isinstance(given, list | tuple | range) else [given]
    if not all(isinstance(each, Integral) for each in numbers):
        raise SettingsError(
            f"{name} is {given!r}.",
            "A whole number, or a list of whole numbers.",
            f"Correct {name}.",
        )
    return tuple(int(each) for each in numbers)


@settings(HOW_THE_MODEL_RUNS)
class NetworkRunning(Running):
    """How a model runs for a network, whose effects are small: with float32 unless asked."""

    dtype: Dtype = setting(
        default="float32",
        text="The number format of the computation. float32 is the most precise; bfloat16 and "
        "float16 are faster on many machines, and blur small effects.",
    )


@settings(kw_only=True)
class NetworkJob(InputFiles):
    """Of which cells a network is made, and where it goes."""

    output: Path = setting(
        options=("--output", "-o"),
        text="The file to write: .graphml, which networkx and Cytoscape open, or a .parquet table "
        "with a row for each pair.",
    )
    settings: NetworkSettings = setting(
        default_factory=NetworkSettings, text="What is measured; see `NetworkSettings`."
    )
    where: Mapping[str, str] = setting(
        common=True, default_factory=dict, panel=_WHICH, kind=list[str], parse=parse_values,
        text="COLUMN=VALUE: take the cells with this value in a column of obs, such as "
        "cell_type=B.",
    )  # fmt: skip
    known: Path | None = setting(
        default=None,
        text="A text file of pairs of genes that are known to act on each other, the one that acts "
        "first. How well the network finds them is reported, and written to NAME.known.csv.",
    )
    overwrite: bool = setting(common=True, default=False, text="Replace the output if it exists.")

    @property
    def curves_output(self) -> Path:
        return self.output.with_name(f"{self.output.stem}.known.csv")


@settings()
class ShiftSettings:
    """Between which states genes are compared, and how."""

    state: str = setting(text="The column of obs that holds the states.")
    start: str = setting(text="The state that is compared.")
    goal: str = setting(text="The state that it is compared with.")
    within: str | None = setting(
        default=None,
        text="A column of obs, such as the donor: states are permuted among its cells of one value "
        "alone, so that what differs between donors is not taken for the state.",
    )
    min_cells: int = setting(
        default=10, text="The minimum number of cells of each state that must have a gene."
    )
    n_permutations: int = setting(
        default=1000,
        text="How often states are permuted: p values are multiples of 1 / (n_permutations + 1).",
    )
    n_cells: int | None = setting(
        common=True,
        default=None,
        text="The maximum number of cells of each state, drawn at random; by default all.",
    )
    seed: int = setting(default=0, text="The seed of all that is drawn at random.")

    def __post_init__(self) -> None:
        for name in ("start", "goal"):
            object.__setattr__(self, name, name_of(getattr(self, name), name))
        if self.start == self.goal:
            raise SettingsError(
                f"Both states are {self.start!r}.", "Two states.", "Correct start or goal."
            )
        for name in ("min_cells", "n_permutations", "n_cells"):
            number = getattr(self, name)
            if number is None and name == "n_cells":
                continue
            if not isinstance(number, Integral) or number < 1:
                raise SettingsError(
                    f"{name} is {number!r}.", "A whole number, at least 1.", f"Correct {name}."
                )
