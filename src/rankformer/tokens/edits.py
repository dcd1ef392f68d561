"""Edits of cells' tokens: genes that are deleted, overexpressed, inhibited or activated in silico.

A cell is its genes by rank, so that an edit takes genes out, or moves them to other ranks
(Theodoris et al., Nature 618, 616, 2023):

- ``delete``: the gene is taken out, and those behind it move up;
- ``overexpress``: it goes to the top; a gene that the cell lacks is put in there;
- ``inhibit`` and ``activate``: it goes down or up by a share of the cell's ranks, at most to the
  end or to the top.

An edited cell is not written out: it is indices into its original's tokens, behind which the genes
stand that were put in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.ragged import Ragged
from rankformer.tokens.edit_kernels import aim, fill_indices, find_ranks
from rankformer.tokens.edit_types import EDIT_TYPES, SHARE_OF_RANKS, EditType, check_edits
from rankformer.vocabulary.vocabulary import Vocabulary


class Frame(NamedTuple):
    """What stands around the genes of a cell, and how much the model takes.

    Attributes
    ----------
    n_before, n_behind
        Special tokens before the genes and behind them.
    input_length
        The most tokens of a cell.
    """

    n_before: int
    n_behind: int
    input_length: int

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "Frame":
        return cls(
            int(vocabulary.cls_token is not None),
            int(vocabulary.eos_token is not None),
            vocabulary.input_length,
        )

    @property
    def n_tokens(self) -> int:
        return self.n_before + self.n_behind


@dataclass(frozen=True, eq=False)
class Edits:
    """Edits of some cells, cell after cell; each is of one gene, or of several together.

    Attributes
    ----------
    cells
        (n_edits,) int64: the cell that is edited.
    groups
        (n_edits,) int64: the place of its genes in what was asked for; -1 where all were.
    offsets
        (n_edits + 1,) int64: edit e is of the genes ``offsets[e]`` … ``offsets[e + 1] - 1``.
    tokens, ranks, targets
        (n_genes_edited,) int32: which gene, its rank in the cell from 0, or -1 where the cell lacks
        it, and the rank that it goes to, or -1 where it is taken out. Targets ascend within an
        edit.
    lengths
        (n_edits,) int64: tokens of the edited cell, special tokens included.
    n_cropped
        (n_edits,) int64: how many of the original's last genes the edited cell has no place for.
    """

    cells: NDArray[np.int64]
    groups: NDArray[np.int64]
    offsets: NDArray[np.int64]
    tokens: NDArray[np.int32]
    ranks: NDArray[np.int32]
    targets: NDArray[np.int32]
    lengths: NDArray[np.int64]
    n_cropped: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def token_offsets(self) -> NDArray[np.int64]:
        """(n_edits + 1,) where each edited cell would begin, laid end to end."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def pool(self, ragged: Ragged) -> NDArray[np.int32]:
        """What indices point into: the tokens of the originals, then the genes that are edited."""
        return np.concatenate([ragged[0], self.tokens])

    def indices(self, ragged: Ragged, frame: Frame, start: int, stop: int) -> NDArray[np.int32]:
        """The edited cells start … stop - 1, end to end, as indices into the `pool`.

        Parameters
        ----------
        ragged
            Tokens of the originals.
        frame
            As when the edits were planned.
        start, stop
            Which edits.

        Returns
        -------
        (sum of their lengths,) int32. What stands in the original has an index below
        ``len(ragged[0])``, its own place there.
        """
        lengths = self.lengths[start:stop]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        out = np.empty(ends[-1], np.int32)
        fill_indices(
            ragged[1], self.cells[start:stop], self.offsets[start : stop + 1], self.ranks,
            self.targets, len(ragged[0]), frame.n_before, frame.n_behind, ends, out,
        )  # fmt: skip
        return out

    def select(self, chosen: NDArray[np.int64]) -> "Edits":
        """Some of the edits, in the order given."""
        sizes = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
        own = np.repeat(self.offsets[:-1][chosen], sizes) + within
        return Edits(
            self.cells[chosen], self.groups[chosen], offsets, self.tokens[own], self.ranks[own],
            self.targets[own], self.lengths[chosen], self.n_cropped[chosen],
        )  # fmt: skip


def plan_edits(
    ragged: Ragged,
    frame: Frame,
    kind: EditType,
    *,
    groups: Sequence[Sequence[int]] | None = None,
    anchor: int | None = None,
    share: float = SHARE_OF_RANKS,
) -> Edits:
    """Say what is done to each cell.

    Parameters
    ----------
    ragged
        Tokens of the cells, with their special tokens, each at most once a cell.
    frame
        What stands around the genes.
    kind
        What is done to genes.
    groups
        Tokens of genes that are edited together, one sequence an edit; all genes of each cell, one
        at a time, unless given. In the order given they go to the top. A cell that lacks one of a
        group is left out, but when genes are overexpressed: there it is put in.
    anchor
        The token of a gene that is edited along with each of the others. It goes to the top first.
    share
        Of the cell's ranks, by which ``inhibit`` and ``activate`` move.

    Returns
    -------
    The edits, cell after cell; within a cell in the order of the ranks, or of `groups`. Left out
    are, of all genes, those that would stay where they are, and edits that leave a cell no gene.

    Raises
    ------
    SettingsError
        If `kind`, `groups` or `share` are not as they should be.
    """
    check_edits(kind, share)
    _check_groups(groups)
    offsets = ragged[1]
    if groups is None:
        cells, own, sizes, tokens, ranks = _every_gene(ragged, frame)
    else:
        cells, own, sizes, tokens, ranks = _genes_of_groups(ragged, frame, groups)
    if anchor is not None:
        cells, own, sizes, tokens, ranks = _join_anchor(
            (cells, own, sizes, tokens, ranks), ragged, frame, anchor
        )
    n_genes = np.diff(offsets)[cells] - frame.n_tokens
    ends = np.concatenate([[0], np.cumsum(sizes)])
    step = np.rint(share * n_genes).astype(np.int64)
    tokens, ranks, targets, n_absent = aim(
        EDIT_TYPES.index(kind), ends, tokens, ranks, step, n_genes
    )
    n_tokens = np.diff(offsets)[cells]
    if kind == "delete":
        lengths, n_cropped = n_tokens - sizes, np.zeros(len(cells), np.int64)
    else:
        lengths = np.minimum(n_tokens + n_absent, np.maximum(frame.input_length, n_tokens))
        n_cropped = n_tokens + n_absent - lengths
    edits = Edits(cells, own, ends, tokens, ranks, targets, lengths, n_cropped)
    kept = lengths > frame.n_tokens
    if kind in ("delete", "inhibit", "activate"):
        kept &= n_absent == 0
    kept &= n_cropped < n_genes
    if groups is None and anchor is None:
        kept &= ranks != targets
    return edits if kept.all() else edits.select(np.flatnonzero(kept))


class Originals(NamedTuple):
    """The unedited cells that edited ones are compared with.

    Attributes
    ----------
    cells
        Each cell as it is, without an edit; behind them, cropped ones where an edited cell has no
        place for all genes, so that both hold the same genes beside those that are edited.
    of_edit
        (n_edits,) int64: which of them an edit is compared with.
    """

    cells: Edits
    of_edit: NDArray[np.int64]


def find_originals(edits: Edits, ragged: Ragged, frame: Frame) -> Originals:
    """Say what each edited cell is compared with."""
    n_tokens = np.diff(ragged[1])
    of_edit = edits.cells.copy()
    lost: dict[tuple[int, ...], int] = {}
    for edit in np.flatnonzero(edits.n_cropped):
        cell = int(edits.cells[edit])
        ranks = edits.ranks[edits.offsets[edit] : edits.offsets[edit + 1]]
        n_genes, n_lost = int(n_tokens[cell]) - frame.n_tokens, int(edits.n_cropped[edit])
        tail = [*range(n_genes - 1, -1, -1)]
        if ranks.max() >= n_genes - n_lost:
            tail = [rank for rank in tail if rank not in ranks]
        own = tail[:n_lost]
        of_edit[edit] = lost.setdefault((cell, *own), len(n_tokens) + len(lost))
    cells = np.array([*range(len(n_tokens)), *(key[0] for key in lost)], np.int64)
    n_cropped = np.array([0] * len(n_tokens) + [len(key) - 1 for key in lost], np.int64)
    ranks = np.array([rank for key in lost for rank in key[1:]], np.int32)
    originals = crop_cells(ragged, frame, cells, n_cropped, ranks)
    return Originals(originals, of_edit)


def crop_cells(
    ragged: Ragged,
    frame: Frame,
    cells: NDArray[np.int64],
    n_cropped: NDArray[np.int64],
    ranks: NDArray[np.int32],
) -> Edits:
    """Cells without some of their genes, as edits: of each `n_cropped`, at `ranks` end to end."""
    places = ragged[1][np.repeat(cells, n_cropped)] + frame.n_before + ranks
    return Edits(
        cells=cells,
        groups=np.full(len(cells), -1),
        offsets=np.concatenate([[0], np.cumsum(n_cropped)]),
        tokens=ragged[0][places],
        ranks=ranks,
        targets=np.full(len(ranks), -1, np.int32),
        lengths=np.diff(ragged[1])[cells] - n_cropped,
        n_cropped=n_cropped,
    )


_Listed = tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]
]


def _every_gene(ragged: Ragged, frame: Frame) -> _Listed:
    values, offsets = ragged
    n_genes = np.diff(offsets) - frame.n_tokens
    cells = np.repeat(np.arange(len(n_genes)), n_genes)
    ends = np.concatenate([[0], np.cumsum(n_genes)])
    ranks = np.arange(ends[-1]) - ends[cells]
    tokens = values[offsets[cells] + frame.n_before + ranks]
    ones = np.ones(len(cells), np.int64)
    return cells, -ones, ones, tokens, ranks.astype(np.int32)


def _genes_of_groups(ragged: Ragged, frame: Frame, groups: Sequence[Sequence[int]]) -> _Listed:
    n_cells, n_groups = len(ragged[1]) - 1, len(groups)
    tokens = np.array([token for group in groups for token in group], np.int32)
    sizes = np.array([len(group) for group in groups], np.int64)
    ranks = find_ranks(*ragged, frame.n_before, frame.n_behind, tokens)
    return (
        np.repeat(np.arange(n_cells), n_groups),
        np.tile(np.arange(n_groups), n_cells),
        np.tile(sizes, n_cells),
        np.tile(tokens, n_cells),
        ranks.ravel(),
    )


def _join_anchor(listed: _Listed, ragged: Ragged, frame: Frame, anchor: int) -> _Listed:
    """Put the anchor before the genes of each edit; edits of the anchor itself go."""
    cells, own, sizes, tokens, ranks = listed
    is_own = np.add.reduceat(tokens == anchor, np.cumsum(sizes) - sizes) if len(sizes) else sizes
    kept = is_own == 0
    kept_genes = np.repeat(kept, sizes)
    cells, own, sizes = cells[kept], own[kept], sizes[kept]
    starts = np.cumsum(sizes) - sizes
    of_anchor = find_ranks(*ragged, frame.n_before, frame.n_behind, np.array([anchor], np.int32))[
        :, 0
    ]
    return (
        cells,
        own,
        sizes + 1,
        np.insert(tokens[kept_genes], starts, anchor),
        np.insert(ranks[kept_genes], starts, of_anchor[cells]),
    )


def _check_groups(groups: Sequence[Sequence[int]] | None) -> None:
    for group in groups or ():
        if not len(group) or len(set(group)) < len(group):
            raise SettingsError(
                "A group of genes is empty, or holds a gene twice.",
                "Groups of different genes.",
                "Correct the groups.",
            )
