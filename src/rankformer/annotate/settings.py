"""How neighbours vote, and what is annotated by what."""

import math
from pathlib import Path
from typing import Any, Literal

from rankformer.embed.settings import CellMode
from rankformer.errors import SettingsError
from rankformer.runs.settings import RunSettings
from rankformer.settings import setting, settings

COMPUTED = "computed"
Method = Literal["auto", "neighbours", "logistic", "pca", "agreement"]
Integration = Literal["none", "harmony"]


# Neighbours alone, and all ways, have these settings.
def _n_neighbors() -> Any:
    return setting(
        default=15, text="The number of nearest cells of the reference that vote on a label."
    )


_DISTANCE = (
    "How far from the reference a cell may lie before it is called unknown, as a quantile of the "
    "distances among the reference's own cells of the label: with 0.95, as far as the nearest 95 % "
    "of them."
)


def _allow_shift() -> Any:
    return setting(
        default=True, options=("--shift/--no-shift",),
        panel="Where all cells lie far from the reference",
        text="With a limit of distance: allow for a batch effect. All cells may lie farther from "
        "the reference, by as much as the median cell does. This assumes that at least half of the "
        "cells are of kinds that the reference has.",
    )  # fmt: skip


@settings("How labels are decided")
class NeighbourVote:
    """How neighbours vote, and when a cell comes out unknown.

    The `n_neighbors` nearest reference cells vote, nearer ones with more weight (Dudani 1976, doi
    10.1109/TSMC.1976.5408784): ``exp(-(d / d_k)²)`` for the cosine distance d, scaled by that of
    the farthest of them, d_k, as Zelnik-Manor and Perona (2004) scale affinities. The share of
    the weights that the winner gets is the cell's probability; that an uncertain vote is no label
    follows the weighted neighbours of scArches (Lotfollahi et al. 2022, doi
    10.1038/s41587-021-01001-7).

    A cell is far when its mean distance to these neighbours (the outlier score of Angiulli and
    Pizzuti 2002, doi 10.1007/3-540-45681-3_2) is beyond the `distance_quantile` of the same
    distance among reference cells of the winning label, each left out in turn: a threshold for
    each class, as class-conditional conformal prediction has. Cells of another laboratory lie
    farther off as a whole; with `allow_shift`, the limits move by the median of what the query's
    cells have more than the middle cell of their label, if that is above zero.
    """

    n_neighbors: int = _n_neighbors()
    min_share: float = setting(
        default=0.5,
        text="The minimum share of the votes, from 0 to 1, that a label must get. A cell with less "
        "is called unknown.",
    )
    distance_quantile: float = setting(default=0.95, text=_DISTANCE)
    allow_shift: bool = _allow_shift()

    def __post_init__(self) -> None:
        if self.n_neighbors < 1:
            raise SettingsError(
                f"{self.n_neighbors} neighbours were asked for.",
                "A whole number, at least 1.",
                "Leave n_neighbors (--n-neighbors) out for 15.",
            )
        for name in ("min_share", "distance_quantile"):
            if not 0 <= getattr(self, name) <= 1:
                option = f"--{name.replace('_', '-')}"
                raise SettingsError(
                    f"{name} is {getattr(self, name)}.",
                    "A number from 0 to 1.",
                    f"Correct {name} ({option}), or leave it out.",
                )


@settings("How labels are decided")
class Labelling:
    """By which way cells are named, and when a cell comes out unknown.

    Four ways are there. ``"neighbours"``: the nearest cells in the embedding vote, see
    `NeighbourVote`. ``"logistic"``: logistic regression on the log-normalised counts.
    ``"pca"``: the nearest cells vote as before, among the principal components of highly variable
    genes. ``"agreement"``: the mean of the probabilities of these three, or of the best two. With
    ``"auto"``, each is tried on the reference itself: some of its cells are held out, whole donors
    or batches at a time where `group` names them, and named by the others. Of all ways the one with
    the highest macro-F1 is taken, the mean over the labels of the F1 score. But the agreement of
    all gives way to that of two, and this to a single way, only if that is better in 95 % of 200
    draws of the held-out cells (bootstrap): it holds better on cells of other laboratories.

    Cells of another laboratory differ as a whole. Where counts are known, the ways see the cells to
    be named less the shift that they have beside reference cells of the same labels, as these are
    named by the regression: a label that is rarer in one of the two is not taken for a shift. The
    shift stays where two ways give the same label to more cells with it than without it.

    Where counts are known, a cell is unknown by its doubt: how far it lies from the reference,
    less the shift, beside the middle cell of the query. Both are averaged with their four nearest
    cells, and distances are taken in the embedding and among principal components. Otherwise a cell
    is unknown where the winner's probability is low, or it lies far from the reference in the
    embedding, see `NeighbourVote`. The limit of the doubt, or of the probability, is found on the
    reference: each label is left out once, and the limit is that which best tells its cells, of
    which each label counts the same, from rightly named cells of labels that are there; of these,
    at least 19 in 20 keep their name.
    """

    method: Method = setting(
        common=True, default="auto",
        text="How cells are named: by nearest cells in the embedding (neighbours) or by principal "
        "components of variable genes (pca), by logistic regression on the counts (logistic), by "
        "the mean of these (agreement), or by what does best on the reference (auto).",
    )  # fmt: skip
    group: str | None = setting(
        default=None,
        text="The column of the reference's obs with its donors or batches. The ways are then "
        "tried on whole donors that were held out, as the cells of a query are of another one. "
        "Without it, single cells are held out.",
    )
    n_neighbors: int = _n_neighbors()
    max_doubt: float | None = setting(
        default=None,
        text="How many times as far from the reference as the median cell of the query a cell may "
        "lie before it is called unknown; neighbourhoods of cells are compared. By default, it is "
        "calibrated on the reference, or 1.5 where that is too small.",
    )
    use_doubt: bool = setting(
        default=True, options=("--doubt/--no-doubt",),
        text="Call cells unknown by their doubt, where counts are known. Otherwise the probability "
        "and the distance decide.",
    )  # fmt: skip
    min_share: float | None = setting(
        default=None,
        text="The minimum probability, from 0 to 1, that a label must have. A cell with less is "
        "called unknown. By default, the doubt decides instead; where no counts are known, it is "
        "calibrated on the reference, or 0.5 where that is too small.",
    )
    distance_quantile: float | None = setting(
        default=None,
        text=f"{_DISTANCE} By default, the doubt decides instead; where no counts are known, 0.95. "
        "With 1, cells are named even where, as a whole, they are unlike the reference.",
    )
    allow_shift: bool = _allow_shift()
    share_genes: bool = setting(
        default=True, options=("--shared-genes/--all-genes",),
        panel="Where reference and query have different genes",
        text="Rank the cells of reference and query among the genes that both measured. Otherwise "
        "each file is ranked among all of its own: the same cell then differs from itself where "
        "the genes of the files differ.",
    )  # fmt: skip
    integrate: Integration = setting(
        default="none", panel="Where all cells lie far from the reference",
        text="Mix the embeddings of reference and query by Harmony (harmony) before cells are "
        "named, or take them as they are (none). All cells of both are mixed at once, in memory. "
        "It needs harmonypy.",
    )  # fmt: skip
    probabilities: bool = setting(
        default=False, options=("--probabilities",),
        text="Also write the probability of each label for each cell: into obsm, or as columns of "
        "a table.",
    )  # fmt: skip

    majority_vote: str | None = setting(
        default=None,
        text="A column of the query's obs with clusters, or computed for many small clusters of "
        "the embeddings. The label that more than half of a cluster's cells resemble most is "
        "written beside the label of each of its cells.",
    )

    def __post_init__(self) -> None:
        # They have the same bounds.
        self.vote()
        if self.max_doubt is not None and not 0 < self.max_doubt < math.inf:
            raise SettingsError(
                f"max_doubt is {self.max_doubt}.",
                "A number above 0: how many times as far as the middle cell, such as 1.5.",
                "Correct max_doubt (--max-doubt), or leave it out. To decide without the doubt, "
                "pass use_doubt=False (--no-doubt).",
            )
        if self.max_doubt is not None and not self.use_doubt:
            raise SettingsError(
                f"max_doubt is {self.max_doubt}, and the doubt is not to be used.",
                "A limit of the doubt only where the doubt decides.",
                "Leave out either max_doubt (--max-doubt) or use_doubt=False (--no-doubt).",
            )

    def vote(self, min_share: float = 0.5) -> NeighbourVote:
        """How neighbours vote, with this least share where none was asked for."""
        share = min_share if self.min_share is None else self.min_share
        quantile = 0.95 if self.distance_quantile is None else self.distance_quantile
        return NeighbourVote(self.n_neighbors, share, quantile, self.allow_shift)


def as_labelling(how: "NeighbourVote | Labelling | None") -> Labelling:
    """What decides; a `NeighbourVote` alone means neighbours, and just these limits."""
    if isinstance(how, NeighbourVote):
        return Labelling(
            method="neighbours", n_neighbors=how.n_neighbors, min_share=how.min_share,
            distance_quantile=how.distance_quantile, allow_shift=how.allow_shift,
            use_doubt=False,
        )  # fmt: skip
    return how or Labelling()


@settings(kw_only=True)
class AnnotateJob:
    """What to annotate by what, and what to write."""

    queries: tuple[Path, ...] = setting(
        options=("FILE…",),
        text="Files with the raw counts of the cells to label: .h5ad, .zarr, 10x .h5, a 10x matrix "
        "folder, or a folder of such files. Tokens that `rankformer tokenize` saved are read too.",
    )
    references: tuple[Path, ...] = setting(
        options=("--reference", "-r"),
        text="A file with raw counts of labelled cells, a folder that --save-reference wrote, or "
        "blood. The last means 700 blood cells that ship, of one donor and 765 genes: for a first "
        "look at cells of blood.",
    )
    output: Path = setting(
        options=("--output", "-o"),
        text="The file to write, or a folder of shards, which `rankformer merge` joins. .h5ad and "
        ".zarr hold a copy of the input with the labels in obs; .csv and .parquet hold a table "
        "with a row for each cell. A name without an ending makes the folder.",
    )
    labels: tuple[str, ...] = setting(
        common=True, default=(), options=("--label",),
        text="The column of the reference's obs that holds the labels. It is required unless the "
        "reference was saved, of which all labels are taken by default, or ships.",
    )  # fmt: skip
    keys: tuple[str, ...] = setting(
        default=(), options=("--key",),
        text="The name of the result in obs, one for each --label; by default predicted_LABEL.",
    )  # fmt: skip
    save_to: Path | None = setting(
        default=None, options=("--save-reference",),
        text="A folder to save the embedded reference to, so that it can be used again at once.",
    )  # fmt: skip
    mode: CellMode = setting(
        common=True,
        default="cell",
        text="How a cell becomes a vector: the mean of its genes' vectors (cell), or the vector of "
        "the <cls> token, which V2 models have (cls).",
    )
    unlabelled: tuple[str, ...] = setting(
        common=True, default=(), panel="How labels are decided",
        text="A value of the labels that means that a cell has none, such as unassigned.",
    )  # fmt: skip
    overwrite: bool = setting(common=True, default=False, text="Replace the output if it exists.")
    run: RunSettings = setting(
        default_factory=RunSettings, text="How a long run is cut and gone on with."
    )
    vote: Labelling = setting(
        default_factory=Labelling, text="How labels are decided; see `Labelling`."
    )
