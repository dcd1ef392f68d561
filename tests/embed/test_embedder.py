"""Pooling, layers, order and settings of the embedder, on small models."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import save_small_checkpoint, small_vocabulary
from transformers import BertModel

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.embedder import Embedder
from rankformer.errors import CheckpointError, SettingsError
from rankformer.model.encoder import Encoder, MaskedLanguageModel, PackedBatch
from rankformer.model.spec import EncoderSpec


def cells_of(vocabulary, lengths, seed=0):
    """Ragged tokens of cells with so many genes, framed as the vocabulary frames them."""
    rng = np.random.default_rng(seed)
    cells = []
    for length in lengths:
        genes = rng.choice(vocabulary.tokens, length, replace=False)
        framed = [vocabulary.cls_token, *genes, vocabulary.eos_token]
        cells.append([token for token in framed if token is not None])
    values = np.array([token for cell in cells for token in cell], np.int32)
    return values, np.cumsum([0, *map(len, cells)])


@pytest.fixture
def checkpoint(checkpoint_folder):
    return Checkpoint.open(checkpoint_folder)


def test_cells_are_means_of_their_genes(checkpoint):
    ragged = cells_of(checkpoint.vocabulary, [5, 1, 30])
    embedder = Embedder(checkpoint, device="cpu", dtype="float32")
    blocks = list(embedder.genes(ragged))
    means = [
        block.vectors[a:b].mean(axis=0) for block in blocks for a, b in pairwise(block.offsets)
    ]
    np.testing.assert_allclose(embedder.cells(ragged), means, atol=1e-6)


def bert(folder, ragged):
    """What BERT of transformers makes of each cell by itself: hidden states and attention."""
    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    values, offsets = ragged
    with torch.no_grad():
        for first, stop in pairwise(offsets):
            tokens = torch.from_numpy(values[first:stop].astype(np.int64))[None]
            yield model(tokens, output_hidden_states=True, output_attentions=True)


@pytest.mark.parametrize("emb_layer", [0, 1, 2, 3, -1, -2])
def test_each_layer_is_that_of_bert(checkpoint, checkpoint_folder, emb_layer):
    vocabulary = checkpoint.vocabulary
    ragged = cells_of(vocabulary, [5, 1, 30, 12])
    embedder = Embedder(checkpoint, emb_layer=emb_layer, device="cpu", dtype="float32")
    frame = slice(1, -1) if vocabulary.n_frame_tokens else slice(None)
    hidden = [each.hidden_states[emb_layer][0] for each in bert(checkpoint_folder, ragged)]
    genes = [each[frame].numpy() for each in hidden]
    means = [each.mean(axis=0) for each in genes]
    np.testing.assert_allclose(embedder.cells(ragged), means, atol=1e-5)
    found = np.concatenate([block.vectors for block in embedder.genes(ragged)])
    np.testing.assert_allclose(found, np.concatenate(genes), atol=1e-5)
    if vocabulary.cls_token is not None:
        first = [each[0].numpy() for each in hidden]
        np.testing.assert_allclose(embedder.cells(ragged, "cls"), first, atol=1e-5)


@pytest.mark.parametrize("emb_layer", [1, 3, -2])
def test_attention_is_that_of_bert(checkpoint, checkpoint_folder, emb_layer):
    ragged = cells_of(checkpoint.vocabulary, [6, 11, 1])
    embedder = Embedder(checkpoint, emb_layer=emb_layer, device="cpu", dtype="float32")
    layer = checkpoint.spec.hidden_state_index(emb_layer)
    theirs = [each.attentions[layer - 1][0].numpy() for each in bert(checkpoint_folder, ragged)]
    for own, expected in zip(embedder.attention(ragged), theirs, strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_have_no_more_cells_than_asked_for(checkpoint, batch_size):
    ragged = cells_of(checkpoint.vocabulary, [4] * 8)
    embedder = Embedder(checkpoint, device="cpu", batch_size=batch_size)
    batches = [(start, stop) for start, stop, _ in embedder.cell_batches(ragged)]
    assert [cell for each in batches for cell in range(*each)] == list(range(8))
    assert max(stop - start for start, stop in batches) == batch_size


def test_a_model_in_training_embeds_by_its_own_weights_and_stays_as_it_is(checkpoint, tmp_path):
    other = save_small_checkpoint(tmp_path / "other", checkpoint.vocabulary, seed=5)
    trained = Checkpoint.open(other).encoder(torch.float32).train()
    ragged = cells_of(checkpoint.vocabulary, [5, 9])
    embedder = Embedder(checkpoint, device="cpu", dtype="bfloat16", encoder=trained)
    expected = Embedder(Checkpoint.open(other), device="cpu", dtype="bfloat16").cells(ragged)
    np.testing.assert_array_equal(embedder.cells(ragged), expected)
    assert trained.training
    assert {each.dtype for each in trained.parameters()} == {torch.float32}


def test_results_are_float32_and_near_in_bfloat16(checkpoint):
    ragged = cells_of(checkpoint.vocabulary, [20, 7])
    exact, rounded = (
        Embedder(checkpoint, device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16")
    )
    assert (exact.precision, rounded.precision) == ("float32", "bfloat16")
    found, expected = rounded.cells(ragged), exact.cells(ragged)
    assert found.dtype == expected.dtype == np.float32
    assert not np.array_equal(found, expected)
    cosine = (found * expected).sum(axis=1)
    cosine /= np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert (cosine > 0.999).all()


def test_gene_vectors_carry_their_tokens_in_rank_order(checkpoint):
    lengths = [5, 0, 30, 2]
    ragged = cells_of(checkpoint.vocabulary, lengths)
    embedder = Embedder(checkpoint, device="cpu", batch_size=2)
    blocks = list(embedder.genes(ragged))
    assert [block.start for block in blocks] == [0, 2]
    assert np.concatenate([np.diff(block.offsets) for block in blocks]).tolist() == lengths
    special = list(checkpoint.vocabulary.special_tokens.values())
    genes = ragged[0][~np.isin(ragged[0], special)]
    assert np.concatenate([block.tokens for block in blocks]).tolist() == genes.tolist()
    assert sum(len(block.vectors) for block in blocks) == len(genes)


@pytest.mark.parametrize("empties", [[0], [0, 3, 0, 0, 7], [3, 0]])
def test_cells_without_genes_are_nan_and_disturb_no_others(checkpoint, empties):
    ragged = cells_of(checkpoint.vocabulary, empties)
    vectors = Embedder(checkpoint, device="cpu", dtype="float32").cells(ragged)
    assert np.isnan(vectors).all(axis=1).tolist() == [n == 0 for n in empties]
    values, offsets = ragged
    for cell in np.flatnonzero(empties):
        own = values[offsets[cell] : offsets[cell + 1]]
        alone = Embedder(checkpoint, device="cpu", dtype="float32").cells(
            (own, np.array([0, len(own)]))
        )
        np.testing.assert_allclose(vectors[cell], alone[0], atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=12),
    n_tokens=st.integers(1, 300),
    batch_size=st.none() | st.integers(1, 4),
)
def test_batches_never_change_results(tmp_path_factory, lengths, n_tokens, batch_size):
    vocabulary = small_vocabulary()
    folder = tmp_path_factory.mktemp("m") / "small"
    checkpoint = Checkpoint.open(save_small_checkpoint(folder, vocabulary))
    ragged = cells_of(vocabulary, lengths)
    embedder = Embedder(checkpoint, device="cpu", dtype="float32")
    whole = embedder.cells(ragged)
    embedder.budget.n_tokens, embedder.budget.batch_size = n_tokens, batch_size
    np.testing.assert_allclose(embedder.cells(ragged), whole, atol=1e-6)


def test_no_layer_above_the_one_asked_for_is_run(checkpoint):
    embedder = Embedder(checkpoint, emb_layer=1, device="cpu")
    ran = []
    for index, layer in enumerate(embedder.encoder.layers):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    embedder.cells(cells_of(checkpoint.vocabulary, [4]))
    assert ran == [0]


def test_both_layer_numberings():
    spec = EncoderSpec(100, 6, 8, 2, 16, 64)
    by_hugging_face = {0: 0, 1: 1, 6: 6, -1: 6, -2: 5, -7: 0}
    by_the_published_package = {0: 6, -1: 5, -2: 4, -6: 0}
    assert all(spec.hidden_state_index(k) == v for k, v in by_hugging_face.items())
    assert all(
        spec.hidden_state_index(k, "published") == v for k, v in by_the_published_package.items()
    )
    for layer, layer_numbering in (
        (7, "hidden_states"),
        (-8, "hidden_states"),
        (1, "published"),
        (-7, "published"),
    ):
        with pytest.raises(SettingsError, match="6 layers"):
            spec.hidden_state_index(layer, layer_numbering)
    with pytest.raises(SettingsError, match="numbering is 'helical'"):
        spec.hidden_state_index(-1, "helical")


def test_cls_needs_a_model_with_cls(tmp_path):
    folder = save_small_checkpoint(tmp_path / "v1", small_vocabulary(special=False))
    embedder = Embedder(Checkpoint.open(folder), device="cpu")
    with pytest.raises(SettingsError, match="no <cls> token"):
        embedder.cells(cells_of(embedder.checkpoint.vocabulary, [3]), "cls")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"device": "tpu9"}, "'tpu9' was asked for"),
        ({"device": "cuda:99"}, "'cuda:99' was asked for"),
        ({"dtype": "float8"}, "'float8' was asked for"),
        ({"emb_layer": 9}, "Layer 9 was asked for"),
        ({"batch_size": 0}, "batch size of 0"),
    ],
)
def test_impossible_settings_are_refused(checkpoint, wrong, message):
    with pytest.raises(SettingsError, match=message):
        Embedder(checkpoint, **wrong)


def test_attention_rows_sum_to_one_and_each_cell_sees_itself_alone(checkpoint):
    ragged = cells_of(checkpoint.vocabulary, [6, 11])
    embedder = Embedder(checkpoint, device="cpu", dtype="float32")
    weights = embedder.attention(ragged)
    lengths = np.diff(ragged[1])
    assert [each.shape for each in weights] == [(2, n, n) for n in lengths]
    for each in weights:
        np.testing.assert_allclose(each.sum(axis=-1), 1, atol=1e-5)
    with pytest.raises(SettingsError, match="embedding layer"):
        Embedder(checkpoint, emb_layer=0, device="cpu").attention(ragged)


def test_gradients_reach_every_weight():
    """The module that embeds is the one that trains."""
    torch.manual_seed(0)
    model = MaskedLanguageModel(Encoder(EncoderSpec(60, 2, 16, 2, 32, 64))).train()
    ragged = np.arange(4, 44, dtype=np.int32), np.array([0, 25, 40])
    batch = PackedBatch.pack(ragged, 0, 2)
    loss = torch.nn.functional.cross_entropy(model(batch), batch.tokens_T[:40])
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    encoder = Encoder(EncoderSpec(60, 2, 16, 2, 32, 64, dropout=0.5))
    batch = PackedBatch.pack((np.arange(4, 44, dtype=np.int32), np.array([0, 40])), 0, 1)
    encoder.eval()
    assert torch.equal(encoder(batch), encoder(batch))
    encoder.train()
    assert not torch.equal(encoder(batch), encoder(batch))


def test_batches_come_in_few_numbers_of_rows():
    """A matrix library may keep a product for each number of rows that it has met."""
    ragged = np.zeros(3000, np.int32), np.arange(3001)
    n_rows = {len(PackedBatch.pack(ragged, 0, stop).tokens_T) for stop in range(1, 3001, 7)}
    assert len(n_rows) < 50
    assert max(n_rows) < 3000 * 1.05


@pytest.mark.parametrize("layer", ["embeddings.token", "layers.2.ffn_norm"])
def test_embeddings_that_are_not_finite_are_an_error(checkpoint, layer):
    """As of weights that overflow in a narrow dtype; cells without genes are NaN all the same."""
    embedder = Embedder(checkpoint, device="cpu", dtype="float32")
    ragged = cells_of(checkpoint.vocabulary, [5, 0, 30])
    assert np.isnan(embedder.cells(ragged)).all(axis=1).tolist() == [False, True, False]
    with torch.no_grad():
        embedder.encoder.get_submodule(layer).weight.fill_(float("inf"))
    for compute in (embedder.cells, lambda cells: list(embedder.genes(cells))):
        with pytest.raises(CheckpointError, match=r"hold NaN or infinite values.*--dtype float32"):
            compute(ragged)
