"""The part of the width that tells of the cell is left alone by layers and by training."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.conftest import small_vocabulary

import rankformer
from rankformer import PretrainingHyperparameters, PretrainingSettings
from rankformer.errors import SettingsError
from rankformer.model.encoder import PackedBatch
from rankformer.model.spec import EncoderSpec
from rankformer.pretraining.loss import PretrainingLoss
from rankformer.pretraining.parts import PartsOfWidth, keep_apart
from rankformer.pretraining.pretrain import draw_model

SHAPE = {"n_layers": 2, "d_model": 48, "n_heads": 2, "d_ff": 64, "attention_dropout": 0.0}


@given(head=st.integers(1, 128), n_heads=st.integers(1, 16))
def test_the_parts_are_the_whole_width_and_their_codes_fit_a_head(head, n_heads):
    width = head * n_heads
    spec = EncoderSpec(
        vocab_size=9, max_positions=9, n_layers=1, d_model=width, n_heads=n_heads, d_ff=8
    )
    if head < 3 or width < 20:
        with pytest.raises(SettingsError, match=f"The width is {width}"):
            PartsOfWidth.of(spec)
        return
    parts = PartsOfWidth.of(spec)
    told = [list(range(width))[each] for each in (parts.cell, parts.places, parts.medians)]
    assert [*told[0], *told[1], *told[2]] == list(range(width))
    assert list(range(width))[parts.beside] == told[1] + told[2]
    for each in told[1:]:
        assert len(each) <= head
        assert len(each) % 2 == 1 or not each
        assert len(each) >= 3 or each == told[2]
    assert len(told[0]) >= 0.7 * width


def parted_model():
    """A model of random weights, kept apart, and its parts."""
    model = draw_model(small_vocabulary(), SHAPE, seed=0)
    parts = PartsOfWidth.of(model.encoder.spec)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for each in model.encoder.parameters():
            if each.dim() > 1:
                each.copy_(torch.randn(each.shape, generator=generator))
    keep_apart(model, parts)
    return model.eval(), parts


def of_genes(model, n_genes=12):
    tokens = np.array(small_vocabulary().tokens[:n_genes], np.int32)
    return tokens, PackedBatch.pack((tokens, np.array([0, n_genes])), 0, 1)


@torch.inference_mode()
def test_layers_turn_no_vector_of_a_gene_in_the_dimensions_of_the_cell():
    model, parts = parted_model()
    tokens, batch = of_genes(model)
    vectors = model.encoder.embeddings.token.weight[torch.from_numpy(tokens).long()]
    own = vectors[:, parts.cell] - vectors.mean(dim=1, keepdim=True)
    hidden = model.encoder(batch)
    # A norm takes the mean of a gene's whole vector away, and scales what is left.
    likeness = torch.cosine_similarity(hidden[:, parts.cell], own)
    torch.testing.assert_close(likeness, torch.ones(len(tokens)), atol=1e-4, rtol=0)
    beside = torch.cosine_similarity(hidden[:, parts.beside], vectors[:, parts.beside])
    assert (beside < 0.9).all()


def test_the_contrast_moves_the_dimensions_of_the_cell_alone():
    model, parts = parted_model()
    tokens = torch.from_numpy(small_vocabulary().tokens[:12].astype(np.int64))
    batch = {
        "tokens": tokens, "positions": torch.arange(3).repeat(4),
        "offsets": np.arange(0, 13, 3), "places": torch.tensor([1]), "genes": tokens[1:2],
    }  # fmt: skip
    gradients = []
    for weight in (0.0, 1.0):
        model.zero_grad()
        PretrainingLoss(model, [0, 1], weight, parts)(**batch)["loss"].backward()
        gradients.append(model.encoder.layers[-1].ffn_norm.weight.grad.clone())
    changed = (gradients[1] - gradients[0]).abs()
    assert changed[parts.cell].all()
    assert not changed[parts.beside].any()


@pytest.mark.parametrize("objective", ["mlm", "mlm+contrastive"])
def test_training_keeps_apart_what_began_from_coexpression(tmp_path, objective):
    example = rankformer.datasets.blood_cells()[:60].copy()
    vocabulary = rankformer.build_vocabulary(example, names_from="rankformer-mini", min_cells=3)
    own = PretrainingHyperparameters(
        objective=objective, coexpression=True, max_steps=4, warmup_steps=1, batch_size=8,
        held_out_share=0, learning_rate=0.01, save_steps=2,
    )  # fmt: skip
    rankformer.pretrain(
        example, tmp_path / "model", draw_model(vocabulary, SHAPE, seed=0), vocabulary,
        settings=PretrainingSettings(own, device="cpu", dtype="float32"),
    )  # fmt: skip
    n_of_cell, n_of_places = 48 - 7 - 5, 7
    for folder in (tmp_path / "model", tmp_path / "model.run" / "checkpoint-2" / "model"):
        weights = load_file(folder / "model.safetensors")
        added = [
            each for name, each in weights.items()
            if name.endswith(("output.dense.weight", "output.dense.bias"))
        ]  # fmt: skip
        assert len(added) == 8
        places = weights["bert.embeddings.position_embeddings.weight"]
        assert not places[:, :n_of_cell].any()
        assert not places[:, n_of_cell + n_of_places :].any()
        own = slice(n_of_cell, n_of_cell + n_of_places)
        assert places[:, own].any()
        assert not weights["bert.embeddings.word_embeddings.weight"][:, own].any()
        for each in added:
            assert not each[:n_of_cell].any()
            assert each[n_of_cell:].abs().max() > 1e-3
            torch.testing.assert_close(
                each.mean(dim=0), torch.zeros_like(each.mean(dim=0)), atol=1e-6, rtol=0
            )
