"""What is perturbed, how it is measured, and how it is tested."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Literal, get_args

from rankformer.errors import SettingsError
from rankformer.names import as_names, name_of, parse_attributes
from rankformer.perturb.gene_lists import ALL, names_in, read_gene_groups
from rankformer.runs.settings import RunSettings
from rankformer.settings import setting, settings
from rankformer.tokens.edit_types import SHARE_OF_RANKS, EditType, check_edits
from rankformer.tokens.reading_options import InputFiles

ReadOut = Literal["cell", "cls", "gene"]
READ_OUTS: tuple[ReadOut, ...] = get_args(ReadOut)
StateStatistic = Literal["mean", "median"]
Method = Literal["exact", "screen"]
METHODS: tuple[Method, ...] = get_args(Method)
Against = Literal["like_rank", "random", "null", "mixture", "aggregate"]
AGAINST: tuple[Against, ...] = get_args(Against)
_WHICH, _HOW = "Which genes are perturbed", "How exactly"


@settings("Between states of cells")
class States:
    """Which cells are perturbed, and towards which others shifts are measured."""

    state: str = setting(
        common=True,
        text="The column of obs that holds the states of the cells, such as disease. It needs "
        "--start and --goal beside it.",
    )
    start: str = setting(common=True, text="The state whose cells are perturbed.")
    goal: str = setting(common=True, text="The state towards which perturbed cells should move.")
    alternatives: tuple[str, ...] = setting(
        default=(), options=("--alternative",),
        text="A further state towards which the shift of the perturbed cells is measured.",
    )  # fmt: skip
    state_statistic: StateStatistic = setting(
        default="mean", text="How the embedding of a state is computed from those of its cells."
    )

    def __post_init__(self) -> None:
        for name in ("start", "goal"):
            object.__setattr__(self, name, name_of(getattr(self, name), name))
        others = self.alternatives
        if isinstance(others, Sequence) and not isinstance(others, str):
            others = tuple(name_of(each, "alternatives") for each in others)
        object.__setattr__(self, "alternatives", as_names(others, "alternatives"))
        if self.state_statistic not in get_args(StateStatistic):
            raise SettingsError(
                f"The statistic of states is {self.state_statistic!r}.",
                "mean or median.",
                "Correct it (--state-statistic).",
            )
        if len(set(self.names)) < len(self.names):
            raise SettingsError(
                f"The states are {', '.join(self.names)}.",
                "Different states to begin from, to turn into, and beside these.",
                "Name each state once.",
            )

    @classmethod
    def asked_for(
        cls,
        state: str | None = None,
        start: object = None,
        goal: object = None,
        alternatives: str | Sequence[object] = (),
        state_statistic: StateStatistic = "mean",
    ) -> "States | None":
        """The states, or None where none is named.

        Raises
        ------
        SettingsError
            If only some of column, start and goal are given.
        """
        given = {"--state": state, "--start": start, "--goal": goal}
        # A state may be called 0.
        missing = [name for name, value in given.items() if value is None or value == ""]
        if len(missing) == len(given) and not alternatives:
            return None
        if missing or state is None:
            raise SettingsError(
                f"Of the states, {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing.",
                "The column of obs, the state whose cells are perturbed, and the one they should "
                "turn into.",
                "Give all of state, start and goal (--state, --start, --goal), or none.",
            )
        return cls(state, start, goal, alternatives, state_statistic)  # type: ignore[arg-type]

    @property
    def names(self) -> tuple[str, ...]:
        """Goal, start and alternatives."""
        return (self.goal, self.start, *self.alternatives)


@settings(_HOW)
class ScreenSettings:
    """How closely a screen estimates."""

    n_exact: int = setting(
        default=4, options=("--exact-runs",),
        text="With --method screen: the number of genes of each cell that are run exactly, to "
        "correct the estimates and to measure how far they can be trusted; at least 1.",
    )  # fmt: skip
    n_directions: int = setting(
        default=6, options=("--directions",),
        text="With --method screen: the number of directions, beside those of the states, along "
        "which the movement of a cell is estimated. More are slower and closer.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.n_exact < 1 or self.n_directions < 0:
            raise SettingsError(
                f"A screen with {self.n_exact} exact runs a cell and {self.n_directions} "
                "directions was asked for.",
                "At least 1 exact run, and 0 or more directions.",
                "Correct n_exact (--exact-runs) and n_directions (--directions).",
            )


@settings(kw_only=True)
class Perturbation:
    """What is done to which genes of which cells, and what is read."""

    genes: str | Sequence[str] = setting(
        common=True, default=ALL, panel=_WHICH, kind=str, parse=names_in,
        text="The genes to perturb, one at a time, with commas between; all is every gene that a "
        "cell expresses. Genes are symbols or Ensembl ids. @FILE reads them from a text file with "
        "one gene a line.",
    )  # fmt: skip
    groups: Sequence[Sequence[str]] = setting(
        default=(), panel=_WHICH, kind=Path, parse=read_gene_groups,
        text="Groups of genes to perturb together, in place of --genes: a text file with the "
        "genes of one group on each line.",
    )  # fmt: skip
    anchor: str | None = setting(
        default=None, panel=_WHICH, text="A gene that is perturbed along with each of the others."
    )
    kind: EditType = setting(
        common=True, default="delete", panel=_WHICH, options=("--type",),
        text="What is done to a gene: delete, overexpress, inhibit or activate. The genes of a "
        "cell are ordered by their expression: a gene is taken out (delete), put before all others "
        "(overexpress), or moved down or up among them (inhibit, activate).",
    )  # fmt: skip
    share: float = setting(
        default=SHARE_OF_RANKS, panel=_WHICH,
        text="With --type inhibit or activate: how far a gene moves, as a share of the number of "
        "genes in the cell.",
    )  # fmt: skip
    read_out: ReadOut = setting(
        default="cell",
        text="The embedding that is compared with that of the unperturbed cell: the mean of its "
        "genes' vectors (cell), the vector of the <cls> token (cls), or also the vector of each "
        "gene by itself (gene).",
    )
    states: States | None = setting(
        default=None, text="Perturb the cells of one state, and measure shifts towards others."
    )
    method: Method = setting(
        common=True, default="exact", panel=_HOW,
        text="How effects are computed: exact or screen. exact runs the model once for each gene "
        "of each cell. screen estimates all genes of a cell from a few runs of the model.",
    )  # fmt: skip
    top: int | None = setting(
        common=True, default=None, panel=_HOW,
        text="With --method screen: run this many of the best genes exactly. They are those with "
        "the largest estimated effect, and run afterwards.",
    )  # fmt: skip
    exact_cells: int | None = setting(
        default=None, panel=_HOW,
        text="With --top: run them in this many cells at most, drawn at random. By default, all "
        "cells are taken.",
    )  # fmt: skip
    screen: ScreenSettings = setting(
        default_factory=ScreenSettings, text="How closely a screen estimates."
    )
    n_cells: int | None = setting(
        common=True,
        default=None,
        text="The maximum number of cells to perturb, drawn at random. By default, all cells are.",
    )
    seed: int = setting(default=0, text="The seed that decides which cells are drawn.")
    as_published: bool = setting(
        default=False,
        text="Treat cells that fill the input of the model as the published geneformer package "
        "does, to repeat its numbers.",
    )

    def __post_init__(self) -> None:
        check_edits(self.kind, self.share)
        options = {"n_cells": "--n-cells", "top": "--top", "exact_cells": "--exact-cells"}
        for name, option in options.items():
            number = getattr(self, name)
            if number is not None and number < 1:
                raise SettingsError(
                    f"{name} is {number}.", "At least 1.",
                    f"Correct {name} ({option}), or leave it out.",
                )  # fmt: skip
        if self.method not in METHODS:
            raise SettingsError(
                f"The method is {self.method!r}.", "exact or screen.", "Correct it (--method)."
            )
        self._expect_what_is_read()

    def _expect_what_is_read(self) -> None:
        """Refuse settings that the method or the choice of genes would leave unread."""
        if self.groups and self.genes != ALL:
            raise SettingsError(
                "Both --genes and --groups were given (genes and groups).",
                "One of the two.",
                "Leave one out.",
            )
        if self.method == "exact" and (self.top or self.exact_cells):
            raise SettingsError(
                "The best genes of a screen were asked for, without a screen.",
                'The method "screen" beside top and exact_cells.',
                "Add --method screen, or leave --top and --exact-cells out.",
            )
        if self.method == "exact" and self.screen != ScreenSettings():
            raise SettingsError(
                "How closely a screen estimates was given, without a screen.",
                'The method "screen" beside exact runs and directions.',
                "Add --method screen, or leave --exact-runs and --directions out.",
            )
        if self.method == "screen" and self.as_published:
            raise SettingsError(
                "A screen as published was asked for.",
                "The exact method: the published package has no screen.",
                "Leave out one of --method screen and --as-published.",
            )


@settings(kw_only=True)
class PerturbJob(InputFiles):
    """What to perturb, and what to write."""

    output: Path = setting(
        options=("--output", "-o"),
        text="The .parquet table to write, or a folder of shards, which `rankformer merge` joins. "
        "It has a row for each gene of each cell. With --read-out gene, NAME.affected.parquet "
        "beside it holds the genes that are affected.",
    )
    perturbation: Perturbation = setting(
        default_factory=Perturbation, text="What is done; see `Perturbation`."
    )
    n_affected: int | None = setting(
        default=100, options=("--affected",),
        text="With --read-out gene: the most affected genes that are kept for each perturbation; 0 "
        "keeps all.",
    )  # fmt: skip
    attributes: Mapping[str, str] = setting(
        default_factory=dict, options=("--attribute",), kind=list[str], parse=parse_attributes,
        text="A column of obs to carry over into the table, such as donor; NEW=NAME renames it.",
    )  # fmt: skip
    overwrite: bool = setting(common=True, default=False, text="Replace the output if it exists.")
    run: RunSettings = setting(
        default_factory=RunSettings, text="How a long run is cut and gone on with."
    )

    def __post_init__(self) -> None:
        if self.n_affected is not None and self.n_affected < 0:
            raise SettingsError(
                f"n_affected is {self.n_affected}.", "At least 1; 0 keeps all.",
                "Correct n_affected (--affected).",
            )  # fmt: skip


def affected_beside(output: Path) -> Path:
    """Where the table of affected genes stands, beside that of perturbations."""
    return output.with_name(f"{output.stem}.affected.parquet")


@settings()
class Comparison:
    """How perturbations are tested."""

    against: Against = setting(
        common=True,
        default="like_rank",
        text="What each gene is compared with. like_rank: genes of similar rank in the same "
        "cells; random: randomly drawn genes, as published; null: the same gene in another table "
        "of cells; mixture: two normal distributions that are fitted to all genes; aggregate: "
        "nothing.",
    )
    goal: str | None = setting(
        common=True,
        default=None,
        text="The state towards which the shift is tested; by default the --goal of the run. "
        "Without states, the movement of the embedding is tested.",
    )
    replicate: str | None = setting(
        common=True,
        default=None,
        text="The column of the table that names the replicates, such as the donor. Differences "
        "are then tested between replicates, not between cells.",
    )
    min_cells: int = setting(
        default=3, text="The minimum number of cells in which a gene must have been perturbed."
    )
    seed: int = setting(default=0, text="The seed of all that is drawn at random.")

    def __post_init__(self) -> None:
        if self.against not in AGAINST:
            raise SettingsError(
                f"The comparison is against {self.against!r}.",
                f"One of {', '.join(AGAINST)}.",
                "Correct against (--against).",
            )
        if not isinstance(self.min_cells, Integral) or self.min_cells < 1:
            raise SettingsError(
                f"min_cells is {self.min_cells!r}.",
                "A whole number, at least 1.",
                "Correct min_cells (--min-cells).",
            )
