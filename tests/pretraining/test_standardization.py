"""What all cells have in common is taken out of their vectors; scores of genes stay."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM

import rankformer
from rankformer import Checkpoint, PretrainingHyperparameters, PretrainingSettings
from rankformer.pretraining.parts import PartsOfWidth
from rankformer.pretraining.standardization import standardize_cells
from rankformer.tokens.tokenize import open_tokens
from rankformer.training.cells import gather_training_cells

SHAPE = {"n_layers": 2, "d_model": 32, "n_heads": 2, "d_ff": 64, "attention_dropout": 0.0}


@pytest.fixture(scope="module")
def example():
    return rankformer.datasets.blood_cells()[:60].copy()


@pytest.fixture(scope="module", params=["whole", "in parts"])
def parts(request):
    """The parts of the width, where it has some."""
    return PartsOfWidth(24, 5, 3) if request.param == "in parts" else None


@pytest.fixture(scope="module")
def drawn(example, parts, tmp_path_factory):
    """A model with a direction that all cells share, and the same model, centred."""
    vocabulary = rankformer.build_vocabulary(example, names_from="rankformer-mini", min_cells=3)
    model = rankformer.draw_model(vocabulary, SHAPE, seed=0)
    model.encoder.layers[-1].ffn_norm.bias.data += torch.linspace(-3, 3, 32)
    folder = tmp_path_factory.mktemp("models")
    before = rankformer.save_checkpoint(folder / "before", model, vocabulary)
    cells = gather_training_cells([open_tokens(example, vocabulary)])
    standardize_cells(model, cells, np.arange(len(cells)), 0, parts)
    assert model.training
    return before, rankformer.save_checkpoint(folder / "after", model, vocabulary)


def vectors_of(example, model):
    return rankformer.embed_cells(
        example, rankformer.Embedder(model, device="cpu", dtype="float32")
    ).vectors.astype(np.float64)


def test_the_mean_becomes_zero_and_distances_change_by_one_factor(example, drawn, parts):
    before, after = (vectors_of(example, model) for model in drawn)
    assert np.linalg.norm(before.mean(axis=0)) > 5
    # The shift is a number of bfloat16, of which the last digit is 1/256.
    assert np.abs(after.mean(axis=0)).max() < np.abs(before.mean(axis=0)).max() / 10
    assert np.square(after).sum(axis=1).mean() == pytest.approx(32, rel=0.01)
    ends = [0, 32] if parts is None else [0, 24, 32]
    for start, stop in pairwise(ends):
        moved = [(each - each[0])[:, start:stop] for each in (before, after)]
        scale = np.linalg.norm(moved[1][1]) / np.linalg.norm(moved[0][1])
        np.testing.assert_allclose(scale * moved[0], moved[1], atol=1e-3)


def test_a_hundredth_tells_of_places_and_medians(example, drawn, parts):
    if parts is None:
        pytest.skip("the width has no parts")
    squares = np.square(vectors_of(example, drawn[1])).sum(axis=0)
    assert squares[24:].sum() / squares.sum() == pytest.approx(0.01, rel=0.05)


def test_scores_of_masked_genes_stay_by_transformers(example, drawn):
    vocabulary = Checkpoint.open(drawn[0]).vocabulary
    tokens = rankformer.tokenize_cells(example, vocabulary).table["input_ids"][0].as_py()
    tokens[5] = vocabulary.mask_token
    before, after = (
        BertForMaskedLM.from_pretrained(model).eval()(torch.tensor([tokens])).logits[0, 5]
        for model in drawn
    )
    assert before.std() > 0.05
    torch.testing.assert_close(before, after, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("objective", "is_centred"), [("mlm", False), ("mlm+contrastive", True)])
def test_only_a_model_that_compared_cells_is_centred(example, tmp_path, objective, is_centred):
    vocabulary = rankformer.build_vocabulary(example, names_from="rankformer-mini", min_cells=3)
    own = PretrainingHyperparameters(
        objective=objective, max_steps=3, warmup_steps=1, batch_size=8, held_out_share=0
    )
    trained = rankformer.pretrain(
        example, tmp_path / "model", rankformer.draw_model(vocabulary, SHAPE, seed=0), vocabulary,
        settings=PretrainingSettings(own, device="cpu", dtype="float32"),
    )  # fmt: skip
    mean = vectors_of(example, trained).mean(axis=0)
    assert (np.linalg.norm(mean) < 0.5) == is_centred


def test_a_model_that_saw_one_cell_stays_as_it_was(example):
    """One cell is its own mean: there is nothing to tell from it."""
    vocabulary = rankformer.build_vocabulary(example, names_from="rankformer-mini", min_cells=3)
    model = rankformer.draw_model(vocabulary, SHAPE, seed=0)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    cells = gather_training_cells([open_tokens(example[:1].copy(), vocabulary)])
    standardize_cells(model, cells, np.array([0]), seed=0)
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
