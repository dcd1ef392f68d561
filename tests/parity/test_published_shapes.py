"""Every published shape against `transformers`' BERT, one cell at a time, with random weights.

Matrices are drawn as BERT's are; biases and layer norms get noise, so that a mixed-up one shows.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.conftest import small_vocabulary
from transformers import BertConfig, BertForMaskedLM

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.registry import MODELS, V2
from rankformer.embed.embedder import Embedder
from rankformer.model.encoder import PackedBatch

# One model of each shape; those with over a hundred million parameters take minutes.
SHAPES = {(m.n_layers, m.d_model, m.n_heads, m.d_ff, m.release.size): m for m in MODELS}
ALL_SHAPES = [
    pytest.param(m, id=m.name, marks=pytest.mark.slow if m.n_parameters > 1e8 else ())
    for m in SHAPES.values()
]
LENGTHS = (3, 170, 40, 391)


class Pair:
    """A published shape with the same weights in `transformers` and in rankformer."""

    def __init__(self, model, vocabulary, folder):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=vocabulary.size,
            num_hidden_layers=model.n_layers,
            hidden_size=model.d_model,
            num_attention_heads=model.n_heads,
            intermediate_size=model.d_ff,
            max_position_embeddings=model.release.input_length,
            hidden_act="relu",
            layer_norm_eps=1e-12,
            attn_implementation="eager",
        )
        self.reference = BertForMaskedLM(config).eval()
        with torch.no_grad():
            for parameter in self.reference.parameters():
                if parameter.dim() == 1:
                    parameter.add_(torch.randn_like(parameter), alpha=0.02)
        self.reference.save_pretrained(folder)
        vocabulary.save(folder)
        self.checkpoint = Checkpoint.open(folder)
        self.vocabulary = vocabulary
        self.ragged = self._cells(np.random.default_rng(0))

    def _cells(self, rng):
        cells = [rng.choice(self.vocabulary.tokens, length, replace=False) for length in LENGTHS]
        if self.vocabulary.cls_token is not None:
            frame = self.vocabulary.cls_token, self.vocabulary.eos_token
            cells = [np.array([frame[0], *cell, frame[1]]) for cell in cells]
        offsets = np.cumsum([0, *map(len, cells)])
        return np.concatenate(cells).astype(np.int32), offsets

    def cells(self):
        values, offsets = self.ragged
        return [values[a:b] for a, b in pairwise(offsets)]

    def reference_states(self, cell):
        with torch.inference_mode():
            tokens = torch.tensor(cell.astype(np.int64))[None]
            states = self.reference.bert(tokens, output_hidden_states=True).hidden_states
        return [state[0].numpy() for state in states]


@pytest.fixture(scope="module", params=ALL_SHAPES)
def pair(request, tmp_path_factory):
    release = request.param.release
    special = release is V2
    vocabulary = small_vocabulary(special=special, n_genes=release.size - 2 - 2 * special)
    assert vocabulary.size == release.size
    return Pair(request.param, vocabulary, tmp_path_factory.mktemp("shape"))


def test_embeddings_equal_bert_run_one_cell_at_a_time(pair):
    frame = pair.vocabulary.n_frame_tokens // 2
    states = [pair.reference_states(cell) for cell in pair.cells()]
    for layer in (0, pair.checkpoint.spec.n_layers // 2, -2, -1):
        embedder = Embedder(pair.checkpoint, emb_layer=layer, dtype="float32", device="cpu")
        genes = [state[layer][frame : len(state[layer]) - frame] for state in states]
        means = np.stack([each.mean(axis=0) for each in genes])
        np.testing.assert_allclose(embedder.cells(pair.ragged), means, rtol=0, atol=1e-5)
        found = np.concatenate([block.vectors for block in embedder.genes(pair.ragged)])
        np.testing.assert_allclose(found, np.concatenate(genes), rtol=0, atol=1e-5)
        if frame:
            first = np.stack([state[layer][0] for state in states])
            found = embedder.cells(pair.ragged, "cls")
            np.testing.assert_allclose(found, first, rtol=0, atol=1e-5)


def test_the_other_cells_of_a_batch_change_nothing(pair):
    embedder = Embedder(pair.checkpoint, dtype="float32", device="cpu")
    together = embedder.cells(pair.ragged)
    embedder.budget.batch_size = 1
    alone = embedder.cells(pair.ragged)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_bfloat16_points_the_same_way(pair):
    exact = Embedder(pair.checkpoint, dtype="float32", device="cpu").cells(pair.ragged)
    rough = Embedder(pair.checkpoint, dtype="bfloat16", device="cpu").cells(pair.ragged)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rough, axis=1)
    assert ((exact * rough).sum(axis=1) / norms >= 0.9995).all()


def test_logits_and_attention_equal_bert(pair):
    cell = pair.cells()[1]
    batch = PackedBatch.pack((cell, np.array([0, len(cell)])), 0, 1)
    with torch.inference_mode():
        expected = pair.reference(batch.tokens_T[None, : batch.offsets[-1]], output_attentions=True)
        logits = pair.checkpoint.masked_language_model()(batch)
        np.testing.assert_allclose(logits, expected.logits[0], rtol=0, atol=1e-4)
        encoder = pair.checkpoint.encoder()
        for layer in (1, -1):
            (weights,) = encoder.attention(batch, layer)
            np.testing.assert_allclose(
                weights, expected.attentions[layer - 1 if layer > 0 else layer][0], atol=1e-5
            )
