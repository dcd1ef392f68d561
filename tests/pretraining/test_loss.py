"""The losses of pretraining against `transformers` and plain formulas."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.conftest import save_small_checkpoint, small_vocabulary
from transformers import BertForMaskedLM

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.model import attention, attention_trials
from rankformer.model.attention_by_cell import attend_each
from rankformer.model.attention_trials import Situation, pick_backend
from rankformer.model.encoder import PackedBatch
from rankformer.model.resize import resize_token_embeddings
from rankformer.pretraining.loss import PretrainingLoss, contrast_views


@pytest.fixture
def checkpoint(tmp_path):
    shape = {"dropout": 0.0, "attention_dropout": 0.0}
    return Checkpoint.open(save_small_checkpoint(tmp_path / "model", small_vocabulary(), **shape))


@pytest.fixture
def cells(checkpoint):
    """Six framed cells of unequal length."""
    vocabulary, rng = checkpoint.vocabulary, np.random.default_rng(0)
    genes = [rng.permutation(vocabulary.tokens)[:n] for n in (40, 3, 17, 40, 3, 17)]
    return [np.array([vocabulary.cls_token, *own, vocabulary.eos_token]) for own in genes]


def pack(cells):
    values = np.concatenate(cells).astype(np.int32)
    batch = PackedBatch.pack((values, np.cumsum([0, *map(len, cells)])), 0, len(cells))
    return batch.tokens_T, batch.positions_T, torch.tensor(batch.offsets)


def objective_of(checkpoint, weight=0.0):
    special = list(checkpoint.vocabulary.special_tokens.values())
    return PretrainingLoss(checkpoint.masked_language_model().train(), special, weight)


def test_masked_loss_and_gradients_are_those_of_bert(checkpoint, cells):
    """Packed, beside padded rows with labels of -100 everywhere else."""
    tokens, positions, offsets = pack(cells)
    places = torch.tensor([1, 5, 43, 60, 70])
    genes = tokens[places].clone()
    tokens[places] = checkpoint.vocabulary.mask_token
    objective = objective_of(checkpoint)
    loss = objective(tokens, positions, offsets, places, genes)["loss"]
    loss.backward()

    labels = torch.full_like(tokens, -100).index_copy(0, places, genes)
    rows = [slice(*pair) for pair in pairwise(offsets)]
    pad = torch.nn.utils.rnn.pad_sequence
    padded = pad([tokens[row] for row in rows], batch_first=True)
    bert = BertForMaskedLM.from_pretrained(checkpoint.folder).train()
    expected = bert(
        padded,
        attention_mask=(padded != 0).long(),
        labels=pad([labels[row] for row in rows], batch_first=True, padding_value=-100),
    ).loss
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = dict(bert.named_parameters())
    ours = objective.model.encoder
    for found, name in (
        (ours.embeddings.token, "bert.embeddings.word_embeddings"),
        (ours.layers[0].ffn_in, "bert.encoder.layer.0.intermediate.dense"),
        (ours.layers[2].attention_out, "bert.encoder.layer.2.attention.output.dense"),
    ):
        torch.testing.assert_close(
            found.weight.grad, gradients[f"{name}.weight"].grad, atol=1e-6, rtol=1e-4
        )


def plain_contrast(vectors, temperature):
    """The NT-Xent loss of what differs from the mean of all, cell by cell, in float64."""
    own = vectors - vectors.mean(axis=0)
    unit = own / np.linalg.norm(own, axis=1, keepdims=True)
    n, losses = len(unit), []
    for i in range(n):
        scores = {j: unit[i] @ unit[j] / temperature for j in range(n) if j != i}
        other = (i + n // 2) % n
        losses.append(np.log(sum(np.exp(each) for each in scores.values())) - scores[other])
    return np.mean(losses)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_contrast_is_the_plain_formula(temperature):
    vectors = np.random.default_rng(0).normal(size=(10, 7))
    found = contrast_views(torch.from_numpy(vectors), temperature)
    assert found.item() == pytest.approx(plain_contrast(vectors, temperature), rel=1e-9)


def test_what_all_cells_share_does_not_matter_to_the_contrast():
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(10, 7)))
    shared = 100 * torch.ones(7, dtype=vectors.dtype)
    assert contrast_views(vectors + shared).item() == pytest.approx(contrast_views(vectors).item())


def test_contrast_takes_the_mean_of_genes_alone(checkpoint, cells):
    tokens, positions, offsets = pack(cells)
    places = torch.tensor([1, 2])
    plain, both = (objective_of(checkpoint, weight).eval() for weight in (0.0, 0.5))
    arguments = tokens, positions, offsets, places, tokens[places]
    batch = PackedBatch(tokens, positions, tuple(offsets.tolist()))
    hidden = both.model.encoder(batch).detach().double().numpy()
    means = [hidden[start + 1 : stop - 1].mean(axis=0)
             for start, stop in pairwise(offsets)]  # fmt: skip
    expected = plain(*arguments)["loss"].item() + 0.5 * plain_contrast(np.stack(means), 0.1)
    assert both(*arguments)["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("has_choice", [False, True])
def test_recomputing_changes_no_gradient(checkpoint, cells, monkeypatch, has_choice):
    """Also where a back end of attention is chosen in the first step, as on CUDA."""
    if has_choice:
        candidates = [lambda *each: attend_each(*each), attend_each]
        monkeypatch.setattr(attention_trials, "_TIMED_LENGTHS", (64,) * 4)

        def choose(device, dtype, **how):
            return pick_backend(candidates, Situation(device, dtype, **how))

        monkeypatch.setattr(attention, "choose_backend", choose)
    tokens, positions, offsets = pack(cells)
    gradients = []
    for recompute in (False, True):
        objective = objective_of(checkpoint, 0.3)
        objective.model.encoder.recompute = recompute
        loss = objective(tokens, positions, offsets, torch.tensor([1, 50]), tokens[[1, 50]])["loss"]
        loss.backward()
        gradients.append([each.grad for each in objective.parameters()])
    for before, after in zip(*gradients, strict=True):
        torch.testing.assert_close(before, after)


def test_a_grown_model_gives_old_genes_the_same_logits(checkpoint, cells):
    tokens, positions, offsets = pack(cells)
    batch = PackedBatch(tokens, positions, tuple(offsets.tolist()))
    model = checkpoint.masked_language_model()
    size = checkpoint.vocabulary.size
    with torch.inference_mode():
        before = model(batch)
        grown = resize_token_embeddings(model, size + 30).eval()
        after = grown(batch)
    assert after.shape == (int(offsets[-1]), size + 30)
    torch.testing.assert_close(after[:, :size], before, rtol=0, atol=1e-6)
    assert grown.encoder.embeddings.token.weight[size:].std().item() == pytest.approx(0.02, rel=0.2)
