"""Dropout in training, beside transformers' BERT of the same weights."""

import numpy as np
import pytest
import torch
from tests.conftest import save_small_checkpoint, small_vocabulary
from transformers import BertModel

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.model.encoder import PackedBatch

N_CELLS, LENGTH = 400, 12


@pytest.mark.parametrize(
    ("rates", "layer"),
    [
        ({"dropout": 0.3, "attention_dropout": 0.0}, 0),
        ({"dropout": 0.3, "attention_dropout": 0.0}, 1),
        ({"dropout": 0.0, "attention_dropout": 0.5}, 1),
    ],
    ids=["embeddings", "hidden states", "attention"],
)
def test_dropout_scatters_what_is_trained_as_much_as_in_bert(rates, layer, tmp_path):
    """The same cell many times over: how far its hidden states scatter tells how much is dropped.

    The standard errors of both sides are near 0.5 %; leaving one dropout out changes over 10 %.
    """
    vocabulary = small_vocabulary()
    # Weights so large that each product counts beside the state that it is added to.
    folder = save_small_checkpoint(
        tmp_path / "model", vocabulary, n_layers=1, initializer_range=0.3, **rates
    )
    theirs = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager")
    ours = Checkpoint.open(folder).encoder()
    tokens = np.random.default_rng(0).choice(vocabulary.tokens, LENGTH).astype(np.int32)
    many = np.tile(tokens, N_CELLS), np.arange(N_CELLS + 1) * LENGTH
    batch = PackedBatch.pack(many, 0, N_CELLS)
    torch.manual_seed(0)
    with torch.no_grad():
        found = ours.train()(batch, layer).view(N_CELLS, LENGTH, -1)
        expected = theirs.train()(
            torch.from_numpy(many[0]).long().view(N_CELLS, LENGTH), output_hidden_states=True
        ).hidden_states[layer]
        assert (ours.eval()(batch, layer).view(N_CELLS, LENGTH, -1).std(dim=0) < 1e-5).all()
    scatter, reference = (float(each.var(dim=0).mean()) for each in (found, expected))
    assert reference > 1e-3
    assert scatter == pytest.approx(reference, rel=0.05)
