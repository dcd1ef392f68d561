"""In silico perturbation as the published package computes it, where that differs from ours.

Of an overexpressed gene that the cell lacks, the published package counts the place it takes twice
where the edited cell reaches the input length: the unedited cell is cropped by as many genes as are
put in, also where the edited cell lost fewer or none. Genes behind the end are then compared with
padding. These numbers are reproduced to test old results anew; `ExactPerturber` crops both alike.
"""

from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rankformer.model.encoder import PackedBatch
from rankformer.model.segments import Segments
from rankformer.perturb.exact import ExactPerturber, OriginalStates
from rankformer.ragged import Ragged
from rankformer.tokens.edits import Edits, Originals, crop_cells


class PublishedPerturber(ExactPerturber):
    """As `ExactPerturber`, with unedited cells cropped as the published package crops them."""

    def find_originals(self, edits: Edits, ragged: Ragged) -> Originals:
        n_tokens = np.diff(ragged[1])
        n_absent = np.zeros(len(edits), np.int64)
        np.add.at(n_absent, np.repeat(np.arange(len(edits)), np.diff(edits.offsets)),
                  (edits.ranks < 0).astype(np.int64))  # fmt: skip
        over = edits.lengths + n_absent - self.frame.input_length
        n_cropped = np.where((n_absent > 0) & (over > 0), over, 0)
        pairs, of_edit = np.unique(np.stack([edits.cells, n_cropped]), axis=1, return_inverse=True)
        cells, n_lost = pairs
        offsets = np.concatenate([[0], np.cumsum(n_lost)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], n_lost)
        n_genes = n_tokens[cells] - self.frame.n_tokens
        ranks = (np.repeat(n_genes - n_lost, n_lost) + within).astype(np.int32)
        return Originals(crop_cells(ragged, self.frame, cells, n_lost, ranks), of_edit)

    def run_originals(self, ragged: Ragged, originals: Edits) -> OriginalStates:
        states = super().run_originals(ragged, originals)
        if states.hidden_TD is None or not originals.n_cropped.any():
            return states
        hidden, row_of_place = [states.hidden_TD], states.row_of_place.copy()
        n_rows = len(states.hidden_TD)
        for original in np.flatnonzero(originals.n_cropped).tolist():
            own = originals.indices(ragged, self.frame, original, original + 1)
            n_lost = int(originals.n_cropped[original])
            hidden.append(self._padding(ragged[0][own], n_lost))
            end = states.row_offsets[original + 1] - self.frame.n_behind
            row_of_place[end - n_lost : end] = n_rows + np.arange(n_lost)
            n_rows += n_lost
        return OriginalStates(
            states.vectors_CD, torch.cat(hidden), states.row_offsets, row_of_place
        )

    @torch.inference_mode()
    def _padding(self, tokens: NDArray[np.int32], n_padding: int) -> Tensor:
        """(n_padding, D) hidden states of padding behind a cell, which no gene attends to."""
        embedder = self.embedder
        pad = embedder.checkpoint.vocabulary.pad_token
        padded = np.append(tokens, np.full(n_padding, pad, np.int32))
        batch = PackedBatch.pack((padded, np.array([0, len(padded)])), 0, 1, embedder.device)
        attend = partial(_attend_to_first, n_keys=len(tokens))
        hidden_TD = embedder.encoder(batch, embedder.layer, attend)
        return hidden_TD[len(tokens) :]  # type: ignore[no-any-return]


def _attend_to_first(
    query_THK: Tensor,
    key_THK: Tensor,
    value_THK: Tensor,
    segments: Segments,
    dropout: float,
    *,
    n_keys: int,
) -> Tensor:
    """All tokens of the first cell attend to its first `n_keys`; what is behind it is filler."""
    mixed = []
    for start, stop in pairwise(segments.offsets):
        last = n_keys if start == 0 else stop
        query, key, value = (
            each.transpose(0, 1).unsqueeze(0)
            for each in (query_THK[start:stop], key_THK[start:last], value_THK[start:last])
        )
        mixed_HLK = scaled_dot_product_attention(query, key, value, dropout_p=dropout)[0]
        mixed.append(mixed_HLK.transpose(0, 1))
    return torch.cat(mixed)
