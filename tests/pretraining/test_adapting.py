"""A model that goes on with one's own cells, without labels, places their kinds better."""

import numpy as np
import pytest

import rankformer
from rankformer import PretrainingHyperparameters, PretrainingSettings

SHAPE = {"n_layers": 2, "d_model": 32, "n_heads": 2, "d_ff": 64, "attention_dropout": 0.0}


def settings_of(objective, n_steps, **more):
    """Unlike a published model's, for so few cells."""
    return PretrainingSettings(
        PretrainingHyperparameters(
            objective=objective, max_steps=n_steps, warmup_steps=10, batch_size=32,
            learning_rate=3e-3, weight_decay=0.01, **more,
        ),
        device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def halves():
    """Cells to go on with, and others of the same donor to judge by."""
    cells = rankformer.datasets.blood_cells()
    is_own = np.random.default_rng(0).permutation(cells.n_obs) < cells.n_obs // 2
    return cells[is_own].copy(), cells[~is_own].copy()


@pytest.fixture(scope="module")
def stand_in(halves, tmp_path_factory):
    """Trained as the published models were, on masked genes alone."""
    own, _ = halves
    vocabulary = rankformer.build_vocabulary(own, names_from="rankformer-mini", input_length=128)
    model = rankformer.draw_model(vocabulary, SHAPE, seed=0)
    folder = tmp_path_factory.mktemp("stand-in") / "model"
    return rankformer.pretrain(own, folder, model, vocabulary, settings=settings_of("mlm", 60))


def neighbours_tell(cells, model):
    """Macro-F1 of labels by neighbours, in five folds."""
    key = "X_judged"
    rankformer.tl.embed(cells, model=model, dtype="float32", key_added=key)
    evaluation = rankformer.evaluate_embeddings(cells, key, label="cell_type", n_seeds=1)
    return evaluation.summary().loc[(key, "knn_macro_f1"), "mean"]


def test_neighbours_tell_kinds_apart_better_than_at_the_start(halves, stand_in, tmp_path):
    own, others = halves
    settings = settings_of("mlm+contrastive", 100, contrast_weight=0.5)
    adapted = rankformer.pretrain(own, tmp_path / "adapted", stand_in, settings=settings)
    before, after = neighbours_tell(others, stand_in), neighbours_tell(others, adapted)
    assert after > before + 0.05
