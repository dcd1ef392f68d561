"""Which of a model's hidden dimensions tell of the cell, and which of places and medians.

A model that begins from co-expression keeps two things apart. Leading dimensions hold what kind of
cell it is: each gene brings its vector, layers add nothing to it, though their norms scale it, and
the mean of a cell's genes is what latent semantic analysis gives. The others hold what names masked
genes: where a gene stands, and which medians the genes near it have. Layers work there alone.
Without this separation, a model that learns masked genes loses what it knew of the cell.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rankformer.errors import SettingsError
from rankformer.model.encoder import MaskedLanguageModel
from rankformer.model.spec import EncoderSpec

_MOST_FOR_PLACES, _MOST_FOR_MEDIANS = 23, 17
_SHARE_FOR_PLACES, _SHARE_FOR_MEDIANS = 0.15, 0.11


@dataclass(frozen=True)
class PartsOfWidth:
    """How the width of a model is shared out: first the cell, then places, then medians.

    Attributes
    ----------
    n_of_cell, n_of_places, n_of_medians
        Dimensions of each; their sum is the width. The last two are odd, as codes of mean 0 for
        pairs of a sine and a cosine take one dimension more; medians have none in narrow models.
    """

    n_of_cell: int
    n_of_places: int
    n_of_medians: int

    @classmethod
    def of(cls, spec: EncoderSpec) -> "PartsOfWidth":
        """A quarter of the width for places and medians, or as much as their codes need.

        Raises
        ------
        SettingsError
            If the width or the heads are too narrow for a code of places.
        """
        head = spec.d_model // spec.n_heads
        n_of_places = _odd(min(_SHARE_FOR_PLACES * spec.d_model, head, _MOST_FOR_PLACES))
        if not n_of_places:
            raise SettingsError(
                f"The width is {spec.d_model}, in {spec.n_heads} heads.",
                "With coexpression a width of 20 or more, and 3 or more for each head.",
                "Raise d_model (--width), lower n_heads (--heads), or leave out coexpression "
                "(--coexpression).",
            )
        n_of_medians = _odd(min(_SHARE_FOR_MEDIANS * spec.d_model, head, _MOST_FOR_MEDIANS))
        return cls(spec.d_model - n_of_places - n_of_medians, n_of_places, n_of_medians)

    @property
    def cell(self) -> slice:
        """Dimensions of the cell."""
        return slice(0, self.n_of_cell)

    @property
    def places(self) -> slice:
        """Dimensions of a gene's place."""
        return slice(self.n_of_cell, self.n_of_cell + self.n_of_places)

    @property
    def medians(self) -> slice:
        """Dimensions of the medians of genes."""
        return slice(self.n_of_cell + self.n_of_places, None)

    @property
    def beside(self) -> slice:
        """Dimensions of both places and medians, where layers work."""
        return slice(self.n_of_cell, None)


@torch.no_grad()
def keep_apart(model: MaskedLanguageModel, parts: PartsOfWidth) -> None:
    """Take back, in place, what a step of training put where it does not belong.

    Layers add nothing to the dimensions of the cell. Vectors of genes tell no places, and vectors
    of places nothing else. What is added beside the cell has the mean 0: a layer norm would spread
    its mean over all.
    """
    embeddings = model.encoder.embeddings
    embeddings.token.weight[:, parts.places] = 0
    for weight in (embeddings.position.weight, embeddings.token_type.weight):
        weight[:, parts.cell] = 0
        weight[:, parts.medians] = 0
        weight[:, parts.places] -= weight[:, parts.places].mean(dim=1, keepdim=True)
    for layer in model.encoder.layers:
        for linear in (layer.attention_out, layer.ffn_out):
            for rows in (linear.weight, linear.bias):  # type: ignore[union-attr]
                _keep_beside(rows, parts)  # type: ignore[arg-type]


def _keep_beside(rows: Tensor, parts: PartsOfWidth) -> None:
    """(D, …) what is added to hidden dimensions: nothing to those of the cell."""
    rows[parts.cell] = 0
    rows[parts.beside] -= rows[parts.beside].mean(dim=0)


def _odd(number: float) -> int:
    """The largest odd number that is not larger, or 0 below 3: one dimension of mean 0 is 0."""
    return (int(number) + 1) // 2 * 2 - 1 if number >= 3 else 0
