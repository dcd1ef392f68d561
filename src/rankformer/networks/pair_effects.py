"""What each gene of a cell does to each other one: by perturbation, attention or similarity."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.perturb.exact import ExactPerturber
from rankformer.ragged import Ragged, select_rows
from rankformer.tokens.edit_types import SHARE_OF_RANKS, EditType
from rankformer.tokens.edits import Edits, plan_edits

logger = logging.getLogger(__name__)
# Genes beside those that were asked for, whose effects say what is to be expected at their ranks.
_N_BACKGROUND = 64
# What rounding leaves of a movement in float32, and far below any weight of attention that counts.
_LEAST_MOVEMENT, _LEAST_WEIGHT = 1e-7, 1e-12


@dataclass(frozen=True, eq=False)
class CellPairs:
    """Pairs of genes of one cell.

    Attributes
    ----------
    cell
        Which one of those given.
    ranks
        (n_sources,) int64, ascending: the genes that act, as ranks in the cell from 0.
    effects
        (n_sources, n_genes) float64: what each does to each gene of the cell, by rank. That of a
        gene on itself is not used.
    compared
        The same shape: what of it is compared with other pairs.
    """

    cell: int
    ranks: NDArray[np.int64]
    effects: NDArray[np.float64]
    compared: NDArray[np.float64]


class PairEffects(Protocol):
    """A way to measure what genes do to each other.

    Attributes
    ----------
    is_directed
        Whether A on B is another thing than B on A.
    """

    is_directed: bool

    def of_genes(self, tokens: NDArray[np.int64]) -> "PairEffects":
        """The same, where what other genes do need not be known."""
        ...

    def measure(self, ragged: Ragged) -> Iterator[CellPairs]: ...


class PerturbationEffects:
    """How far each gene's vector moves as another gene is perturbed: 1 - cosine, run exactly.

    Parameters
    ----------
    embedder
        The model.
    kind
        What is done to a gene that a cell expresses.
    share
        Of the ranks, by which ``inhibit`` and ``activate`` move it.
    tokens
        Genes that are perturbed; all unless given. Beside them some others of each cell are, spread
        over its ranks, which say what is to be expected.
    """

    is_directed = True

    def __init__(
        self,
        embedder: Embedder,
        kind: EditType = "delete",
        share: float = SHARE_OF_RANKS,
        tokens: NDArray[np.int64] | None = None,
    ) -> None:
        self.exact = ExactPerturber(embedder, "gene")
        self.kind, self.share, self.tokens = kind, share, tokens

    def of_genes(self, tokens: NDArray[np.int64]) -> "PerturbationEffects":
        return PerturbationEffects(self.exact.embedder, self.kind, self.share, tokens)

    def measure(self, ragged: Ragged) -> Iterator[CellPairs]:
        # The edits of one cell fill batches.
        for cell in range(len(ragged[1]) - 1):
            own = select_rows(ragged, np.array([cell]))
            edits = self.plan(own)
            if len(edits):
                effects = self._run(own, edits)
                compared = _logarithm(effects, _LEAST_MOVEMENT)
                yield CellPairs(cell, edits.ranks.astype(np.int64), effects, compared)

    def _run(self, cell: Ragged, edits: Edits) -> NDArray[np.float64]:
        """(n_edits, n_genes): how far each gene of a cell moved; 0 where it was edited."""
        frame = self.exact.frame
        genes = cell[0][frame.n_before : len(cell[0]) - frame.n_behind]
        place_of = np.empty(self.exact.embedder.checkpoint.vocabulary.size, np.int64)
        place_of[genes] = np.arange(len(genes))
        values = np.zeros((len(edits), len(genes)))
        for start, stop, responses in self.exact.run(cell, edits):
            moved = responses.affected
            assert moved is not None  # noqa: S101  # of this read-out
            rows = np.repeat(np.arange(start, stop), np.diff(moved.offsets))
            values[rows, place_of[moved.tokens]] = 1 - moved.cosines
        return values

    def plan(self, cell: Ragged) -> Edits:
        """One edit for each gene of a cell that is perturbed, by its rank."""
        edits = plan_edits(cell, self.exact.frame, self.kind, share=self.share)
        if self.tokens is None:
            return edits
        is_asked = np.isin(edits.tokens, self.tokens)
        if not is_asked.any():
            return edits.select(np.empty(0, np.int64))
        step = max(len(edits) // _N_BACKGROUND, 1)
        is_asked[step // 2 :: step] = True
        return edits.select(np.flatnonzero(is_asked))


class AttentionEffects:
    """How much each gene is attended to by another: what flows from it, as a weight.

    Parameters
    ----------
    embedder
        The model.
    layers
        Which layers, as Hugging Face counts: 1 is the first, -1 the last. Their mean is taken.
    heads
        Which heads of each, from 0; all unless given. Their mean is taken.

    Raises
    ------
    SettingsError
        If there is no such layer or head.
    """

    is_directed = True

    def __init__(
        self, embedder: Embedder, layers: Sequence[int] = (-1,), heads: Sequence[int] = ()
    ) -> None:
        spec = embedder.checkpoint.spec
        if embedder.layer != spec.n_layers:
            raise SettingsError(
                f"Vectors of layer {embedder.layer} were asked for, and attention has none.",
                "The layers of attention, which are named by themselves.",
                "Leave emb_layer (--emb-layer) out; name layers (--attention-layer).",
            )
        self.embedder = embedder
        self.layers = [spec.hidden_state_index(layer) for layer in layers]
        self.heads = list(heads) or list(range(spec.n_heads))
        if not self.layers or min(self.layers) < 1:
            raise SettingsError(
                f"Attention of the layers {list(layers)} was asked for.",
                f"Layers from 1 to {spec.n_layers}, or -{spec.n_layers} to -1: layer 0 does not "
                "attend.",
                "Correct layers (--attention-layer).",
            )
        if not all(0 <= head < spec.n_heads for head in self.heads):
            raise SettingsError(
                f"The heads {list(heads)} were asked for.",
                f"Heads from 0 to {spec.n_heads - 1}: the model has {spec.n_heads} in each layer.",
                "Correct heads (--head).",
            )

    def of_genes(self, tokens: NDArray[np.int64]) -> "AttentionEffects":  # noqa: ARG002
        return self

    def measure(self, ragged: Ragged) -> Iterator[CellPairs]:
        # One cell at a time: the weights of many do not fit into memory.
        for cell in range(len(ragged[1]) - 1):
            own = select_rows(ragged, np.array([cell]))
            genes = self.embedder.gene_places(own[1]).places
            if not len(genes):
                continue
            layers = [self.embedder.attention(own, layer)[0] for layer in self.layers]
            weights = np.mean([each[self.heads].mean(axis=0) for each in layers], axis=0)
            # Rows attend to columns; what is attended to acts.
            values = weights[np.ix_(genes, genes)].T.astype(np.float64)
            compared = _logarithm(values, _LEAST_WEIGHT)
            yield CellPairs(cell, np.arange(len(genes)), values, compared)


class SimilarityEffects:
    """How alike the vectors of two genes are in a cell: their cosine.

    Much of it is the same in every cell, as the vectors begin from the genes' own embeddings, which
    know no cell. So what is compared is the part of it that these do not explain: the residual of
    a line, in each cell, through the cosines of all pairs over those of their embeddings.

    Parameters
    ----------
    embedder
        The model.

    Raises
    ------
    SettingsError
        If the embedder's layer is the embedding layer, where there is no context.
    """

    is_directed = False

    def __init__(self, embedder: Embedder) -> None:
        if embedder.layer == 0:
            raise SettingsError(
                "A network by similarity of the embedding layer was asked for.",
                "A layer above it: there a gene's vector depends on the cell.",
                "Choose another layer (emb_layer, --emb-layer).",
            )
        self.embedder = embedder
        self._static = embedder.encoder.embeddings.token.weight.detach()

    def of_genes(self, tokens: NDArray[np.int64]) -> "SimilarityEffects":  # noqa: ARG002
        return self

    def measure(self, ragged: Ragged) -> Iterator[CellPairs]:
        for batch in self.embedder.genes(ragged):
            for cell in range(len(batch.offsets) - 1):
                own = slice(*batch.offsets[cell : cell + 2])
                tokens = batch.tokens[own]
                if len(tokens) < 2:
                    continue
                effects = _cosines(batch.vectors[own])
                static = _cosines(self._static[tokens.astype(np.int64)].float().cpu().numpy())
                compared = _beyond(effects, static)
                yield CellPairs(batch.start + cell, np.arange(len(tokens)), effects, compared)


def _logarithm(values: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """To base 2; values below the least cannot be told apart."""
    return np.asarray(np.log2(np.maximum(values, least)))


def _cosines(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def _beyond(values: NDArray[np.float64], of: NDArray[np.float64]) -> NDArray[np.float64]:
    """What of the pairs' values a line over others does not explain."""
    is_pair = ~np.eye(len(values), dtype=bool)
    y, x = values[is_pair], of[is_pair]
    spread = ((x - x.mean()) ** 2).sum()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / spread if spread > 0 else 0.0
    return np.asarray(values - y.mean() - slope * (of - x.mean()))
