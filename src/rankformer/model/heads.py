"""Heads on an encoder: classes or numbers, of cells or of genes; and the loss that trains them.

Shapes: T packed tokens, C cells, N labelled units (cells, or gene tokens), D hidden, K outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rankformer.model.encoder import PackedBatch
from rankformer.model.pooling import mean_by_cell

# Of a class, in the words of torch's cross-entropy.
_UNKNOWN = -100
Unit = Literal["cell", "gene"]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Of outputs (N, K) and truth (N,), float32: indices of classes, or numbers; NaN where unknown.

It is the mean over what is known, and 0 where nothing is. It looks at no number on the host: a GPU
would have to be waited for."""


@dataclass(frozen=True)
class Head:
    """What one head predicts, and how its outputs are read.

    Attributes
    ----------
    name
        Of the label: a column of ``obs``, or of a table of genes.
    classes
        Names in the order of the outputs; none where a number is predicted.
    weight
        Of its loss, beside other heads.
    temperature
        Divides the logits before the softmax, so that probabilities are calibrated.
    mean, scale
        A number is ``mean + scale * output``.
    """

    name: str
    classes: tuple[str, ...] = ()
    weight: float = 1.0
    temperature: float = 1.0
    mean: float = 0.0
    scale: float = 1.0

    @property
    def n_outputs(self) -> int:
        return len(self.classes) or 1


class HeadedEncoder(nn.Module):
    """An encoder with a head for each label.

    Parameters
    ----------
    encoder
        Gives hidden states of a `PackedBatch`.
    modules
        The heads' modules, each (N, D) → (N, K).
    unit
        Whether cells or gene tokens are labelled.
    mode
        How a cell becomes a vector: ``"cell"``, the mean of its genes, or ``"cls"``.
    special_tokens
        Tokens that are no genes.
    dropout
        Of vectors before the heads, in training.
    """

    def __init__(
        self,
        encoder: nn.Module,
        modules: Sequence[nn.Module],
        *,
        unit: Unit,
        mode: Literal["cell", "cls"],
        special_tokens: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.encoder, self.heads = encoder, nn.ModuleList(modules)
        self.unit, self.mode = unit, mode
        self.dropout = nn.Dropout(dropout)
        self.special: Tensor
        self.register_buffer("special", torch.tensor(list(special_tokens)), persistent=False)

    def forward(self, batch: PackedBatch, places_N: Tensor) -> list[Tensor]:
        """Outputs (N, K) of each head, float32: of all cells, or of the genes at `places_N`."""
        vectors_ND = self.dropout(self._vectors(batch, places_N))
        return [head(vectors_ND).float() for head in self.heads]

    def _vectors(self, batch: PackedBatch, places_N: Tensor) -> Tensor:
        hidden_TD: Tensor = self.encoder(batch)
        if self.unit == "gene":
            return hidden_TD[places_N]
        if self.mode == "cls":
            return hidden_TD[batch.offsets_on_device[:-1]]
        return mean_by_cell(hidden_TD, batch.tokens_T, batch.offsets_on_device, self.special)


def draw_head(d_model: int, n_outputs: int, initializer_range: float) -> nn.Linear:
    """A linear head, drawn as BERT's are."""
    head = nn.Linear(d_model, n_outputs)
    nn.init.normal_(head.weight, std=initializer_range)
    nn.init.zeros_(head.bias)
    return head


class FineTuningLoss(nn.Module):
    """A `HeadedEncoder` with its losses, as `transformers.Trainer` trains it.

    Parameters
    ----------
    model
        The model to train, in place.
    losses
        One for each head.
    weights
        Of the losses.
    """

    def __init__(
        self, model: HeadedEncoder, losses: Sequence[Loss], weights: Sequence[float]
    ) -> None:
        super().__init__()
        self.model, self.losses, self.weights = model, list(losses), list(weights)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        offsets: NDArray[np.int64],
        places: Tensor,
        truth: Tensor,
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Parameters
        ----------
        tokens, positions
            (T,) int64 of a `PackedBatch`.
        offsets
            (C + 1,) where each cell begins, on the host.
        places
            (N,) int64 indices of the labelled gene tokens; empty where cells are labelled.
        truth
            (n_heads, N) float32: indices of classes, or numbers; NaN where there is no label.

        Returns
        -------
        ``loss``: the weighted sum over the heads.
        """
        outputs = self.outputs(tokens, positions, offsets, places)
        return {"loss": self.loss(outputs, truth)}

    def outputs(
        self,
        tokens: Tensor,
        positions: Tensor,
        offsets: NDArray[np.int64],
        places: Tensor,
        **_: Tensor,
    ) -> list[Tensor]:
        """Outputs (N, K) of each head for a batch, as in `forward`."""
        batch = PackedBatch(tokens, positions, tuple(offsets.tolist()))
        outputs: list[Tensor] = self.model(batch, places)
        return outputs

    def loss(self, outputs: Sequence[Tensor], truth: Tensor) -> Tensor:
        """The weighted sum over the heads, each over the units that have its label."""
        terms = [
            weight * loss(output_NK, truth_N)
            for loss, weight, output_NK, truth_N in zip(
                self.losses, self.weights, outputs, truth, strict=True
            )
        ]
        return torch.stack(terms).sum()


def cross_entropy(class_weights: Tensor | None = None, smoothing: float = 0.0) -> Loss:
    """The loss of classes, in nats.

    Parameters
    ----------
    class_weights
        (K,) float32; all alike unless given.
    smoothing
        Share of each label that is spread over all classes.
    """
    return _CrossEntropy(class_weights, smoothing)


def squared_error(outputs_N1: Tensor, truth_N: Tensor) -> Tensor:
    """The loss of numbers, which were scaled to mean 0 and standard deviation 1."""
    known_N = ~truth_N.isnan()
    errors_N = (outputs_N1.squeeze(1) - truth_N.nan_to_num()) * known_N
    return _share(errors_N.square().sum(), known_N)


@dataclass(eq=False)
class _CrossEntropy:
    """See `cross_entropy`. Class weights go to the outputs' device once."""

    class_weights: Tensor | None
    smoothing: float

    def __call__(self, outputs_NK: Tensor, truth_N: Tensor) -> Tensor:
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(outputs_NK.device)
        known_N, class_N = ~truth_N.isnan(), truth_N.nan_to_num().long()
        summed = functional.cross_entropy(
            outputs_NK, class_N.masked_fill(~known_N, _UNKNOWN), weight=self.class_weights,
            label_smoothing=self.smoothing, ignore_index=_UNKNOWN, reduction="sum",
        )  # fmt: skip
        if self.class_weights is None:
            return _share(summed, known_N)
        return _share(summed, known_N * self.class_weights[class_N])


def _share(summed: Tensor, counts_N: Tensor) -> Tensor:
    """The mean; of nothing 0."""
    n_counted = counts_N.sum()
    return summed / torch.where(n_counted > 0, n_counted, 1)
