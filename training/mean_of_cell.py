"""A last layer that adds the mean of its cell to each token, for the ablations.

`<cls>` and the vectors of genes then tell of the cell, as the mean over genes does. All heads of
the last layer but the first weigh all tokens alike, and their values are the dimensions of the cell
(`rankformer.pretraining.parts`), as many as these heads hold, less those of an average cell.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from rankformer.model.encoder import Layer, MaskedLanguageModel, PackedBatch
from rankformer.pretraining.parts import PartsOfWidth
from rankformer.training.cells import CountedCells

_MOST_CELLS = 200


@torch.no_grad()
def add_mean_of_cell(model: MaskedLanguageModel, parts: PartsOfWidth, times: float) -> None:
    """Let the last layer add the mean so many times, in place; the bias of the values stays."""
    layer = model.encoder.layers[-1]
    values = _values_of_cell(layer, parts)
    n_added = values.stop - values.start
    query, key, value = layer.qkv.weight.view(3, -1, layer.qkv.in_features)
    query_bias, key_bias, _ = layer.qkv.bias.view(3, -1)
    for rows in (query, key, value, query_bias, key_bias):
        rows[values.start :] = 0
    value[values, :n_added] = torch.eye(n_added)
    layer.attention_out.weight[:n_added, values] = times * torch.eye(n_added)


@torch.no_grad()
def take_average_away(
    model: MaskedLanguageModel,
    parts: PartsOfWidth,
    cells: CountedCells,
    rows: NDArray[np.int64],
) -> None:
    """Set the bias of the values such that the mean over at most 200 of these cells is 0."""
    model.eval()
    means = []
    for row in rows[:: -(-len(rows) // _MOST_CELLS)]:
        batch = PackedBatch.pack(cells.take(row[None]), 0, 1)
        means.append(model.encoder(batch, -2).mean(dim=0))
    layer = model.encoder.layers[-1]
    values = _values_of_cell(layer, parts)
    bias = layer.qkv.bias.view(3, -1)[2]
    bias[values] = -torch.stack(means).mean(dim=0)[: values.stop - values.start]


def _values_of_cell(layer: Layer, parts: PartsOfWidth) -> slice:
    """Which values of attention hold dimensions of the cell: those of all heads but the first."""
    width = layer.qkv.in_features
    head = width // layer.n_heads
    return slice(head, head + min(parts.n_of_cell, width - head))
