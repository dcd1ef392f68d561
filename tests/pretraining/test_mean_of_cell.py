"""An ablation of the training: the last layer adds the mean of its cell to each token."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import small_vocabulary

from rankformer.model.encoder import PackedBatch
from rankformer.pretraining.parts import PartsOfWidth, keep_apart
from rankformer.pretraining.pretrain import draw_model

SCRIPT = Path(__file__).parents[2] / "training" / "mean_of_cell.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("mean_of_cell", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("n_heads", "n_added"), [(1, 0), (2, 24), (6, 36)])
@torch.inference_mode()
def test_each_token_gets_the_mean_of_the_cell_less_a_bias(script, n_heads, n_added):
    shape = {"n_layers": 2, "d_model": 48, "n_heads": n_heads, "d_ff": 64}
    vocabulary, generator = small_vocabulary(), torch.Generator().manual_seed(1)
    model = draw_model(vocabulary, shape, seed=0).eval()
    parts = PartsOfWidth.of(model.encoder.spec)
    assert parts.n_of_cell == 36
    for name, each in model.encoder.named_parameters():
        if each.dim() > 1 or name.endswith("qkv.bias"):
            each.copy_(torch.randn(each.shape, generator=generator))
    keep_apart(model, parts)
    script.add_mean_of_cell(model, parts, 8.0)
    tokens = np.array(vocabulary.tokens[:12], np.int32)
    batch = PackedBatch.pack((tokens, np.array([0, 12])), 0, 1)
    below, above = (model.encoder(batch, layer).double()[:, parts.cell] for layer in (-2, -1))
    bias = model.encoder.layers[-1].qkv.bias[2 * 48 + 48 // n_heads :].double()
    expected = below.clone()
    expected[:, :n_added] += 8 * (below.mean(dim=0)[:n_added] + bias[:n_added])
    # Norms take one number from all dimensions of a token, and scale what is left.
    above, expected = (each - each.mean(dim=1, keepdim=True) for each in (above, expected))
    likeness = torch.cosine_similarity(above, expected)
    torch.testing.assert_close(likeness, torch.ones_like(likeness), atol=1e-5, rtol=0)
