"""Products of 8 bits: near those of float32, and the same whatever a cell is embedded beside."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import save_small_checkpoint, small_vocabulary

from rankformer import Checkpoint, Embedder
from rankformer.embed.cells import describe_run
from rankformer.errors import SettingsError
from rankformer.model.cpu import int8
from rankformer.model.cpu.flags import cpu_flags
from rankformer.model.cpu.int8 import Int8Linear, check_int8

pytestmark = pytest.mark.skipif(
    "avx512_vnni" not in cpu_flags(), reason="needs a CPU with AVX512-VNNI"
)


def linear(weight, bias):
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def rounded(rows):
    """Whole numbers from -127 to 127, and by what they are multiplied; in float64."""
    largest = np.abs(rows.astype(np.float64)).max(axis=1, keepdims=True)
    scale = np.where(largest > 0, largest, 1) / 127
    return np.rint(rows / scale), scale


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(2, 40), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_it_is_the_product_of_what_was_rounded(n_tokens, n_inputs, n_outputs, seed):
    rng = np.random.default_rng(seed)
    tokens = rng.normal(scale=10.0 ** rng.integers(-6, 6), size=(n_tokens, n_inputs))
    tokens[rng.random(n_tokens) < 0.1] = 0
    weight, bias = rng.normal(size=(n_outputs, n_inputs)), rng.normal(size=n_outputs)
    tokens, weight, bias = (each.astype(np.float32) for each in (tokens, weight, bias))
    found = Int8Linear(linear(weight, bias))(torch.from_numpy(tokens)).numpy()
    (q, s), (w, t) = rounded(tokens), rounded(weight)
    expected = (q @ w.T) * s * t.T + bias
    error = np.abs(found - expected)
    rounding = 1e-6 * ((np.abs(q) @ np.abs(w).T) * s * t.T + np.abs(bias))
    # What lies half-way between two whole numbers, but for float32, may go to either.
    assert (error <= rounding + 2 * 127 * s * t.T).all()
    assert (error > rounding).mean() <= 0.1


def test_whole_numbers_are_exact():
    """Each row holds 127, so that its scale is 1, and nothing is lost."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(-127, 128, (33, 64)).astype(np.float32)
    weight = rng.integers(-127, 128, (24, 64)).astype(np.float32)
    tokens[:, 5], weight[:, 7] = 127, -127
    bias = rng.integers(-9, 10, 24).astype(np.float32)
    found = Int8Linear(linear(weight, bias))(torch.from_numpy(tokens)).numpy()
    np.testing.assert_array_equal(found, tokens @ weight.T + bias)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small"
    return Checkpoint.open(save_small_checkpoint(folder, small_vocabulary(), n_layers=2))


def cells(vocabulary, lengths, seed=0):
    rng = np.random.default_rng(seed)
    own = [rng.permutation(vocabulary.tokens)[:n] for n in lengths]
    offsets = np.cumsum([0, *map(len, own)])
    return np.concatenate(own).astype(np.int32), offsets


def test_a_cell_is_the_same_whatever_is_beside_it(checkpoint):
    values, offsets = cells(checkpoint.vocabulary, [5, 40, 33, 20])
    embedder = Embedder(checkpoint, device="cpu", dtype="int8")
    together = embedder.cells((values, offsets))
    for i in range(4):
        own = values[offsets[i] : offsets[i + 1]]
        alone = embedder.cells((own, np.array([0, len(own)])))
        np.testing.assert_allclose(alone[0], together[i], rtol=0, atol=2e-6)


def test_a_trained_model_says_nearly_the_same():
    """On the model that ships: as near as vectors of a cosine of 0.999 lie.

    Against the length of the tokens of a cell, as what all cells have in common is not in the
    model's vectors.
    """
    checkpoint = Checkpoint.open("rankformer-mini")
    ragged = cells(checkpoint.vocabulary, [40, 200, 500] * 8)
    full, few = (
        Embedder(checkpoint, device="cpu", dtype=dtype).cells(ragged)
        for dtype in ("float32", "int8")
    )
    length = float(checkpoint.encoder().layers[-1].ffn_norm.weight.detach().norm())
    error = np.linalg.norm(full - few, axis=1) / length
    assert error.max() < np.arccos(0.999)
    assert error.min() > 0


def test_it_is_for_cpus_that_multiply_so(monkeypatch):
    check_int8(torch.device("cpu"))
    with pytest.raises(SettingsError, match="int8 was asked for on cuda"):
        check_int8(torch.device("cuda"))
    monkeypatch.setattr(int8, "cpu_flags", lambda: {"avx2", "avx_vnni"})
    with pytest.raises(SettingsError, match="a CPU without AVX512-VNNI"):
        check_int8(torch.device("cpu"))


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_results_tell_it(checkpoint, dtype):
    embedder = Embedder(checkpoint, device="cpu", dtype=dtype)
    assert describe_run(embedder, "cell", [])["dtype"] == dtype
