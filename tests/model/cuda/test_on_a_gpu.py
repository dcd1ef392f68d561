"""On a GPU: what is chosen there, and that it computes what the CPU does.

The shapes are those of the published models, with fewer layers and genes.
"""

import logging

import numpy as np
import pytest
import torch
from tests.conftest import save_small_checkpoint, small_vocabulary

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.registry import MODELS
from rankformer.embed.embedder import Embedder
from rankformer.model.attention import choose_backend
from rankformer.model.attention_by_cell import attend_each
from rankformer.model.attention_by_length import attend_by_length
from rankformer.model.cuda.chosen_operations import choose_operations, operations_for
from rankformer.model.encoder import PackedBatch
from rankformer.model.operations import PLAIN

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SHAPES = sorted({(model.d_model, model.n_heads, model.d_ff) for model in MODELS})
LENGTHS = (3, 170, 40, 391, 2, 1000)


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def checkpoint(request, tmp_path_factory):
    d_model, n_heads, d_ff = request.param
    folder = save_small_checkpoint(
        tmp_path_factory.mktemp("shape") / "model", small_vocabulary(n_genes=2000), n_layers=3,
        d_model=d_model, n_heads=n_heads, d_ff=d_ff, max_positions=1024,
    )  # fmt: skip
    return Checkpoint.open(folder)


@pytest.fixture(scope="module")
def ragged(checkpoint):
    rng = np.random.default_rng(0)
    vocabulary = checkpoint.vocabulary
    frame = vocabulary.cls_token, vocabulary.eos_token
    cells = [
        np.array([frame[0], *rng.choice(vocabulary.tokens, length), frame[1]]) for length in LENGTHS
    ]
    return np.concatenate(cells).astype(np.int32), np.cumsum([0, *map(len, cells)])


@pytest.mark.parametrize("mode", ["cell", "cls"])
def test_embeddings_are_those_of_the_cpu(checkpoint, ragged, mode):
    exact = Embedder(checkpoint, dtype="float32", device="cpu").cells(ragged, mode)
    on_gpu = Embedder(checkpoint, dtype="float32", device="cuda").cells(ragged, mode)
    np.testing.assert_allclose(on_gpu, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_points_the_same_way(checkpoint, ragged, dtype):
    exact = Embedder(checkpoint, dtype="float32", device="cpu").cells(ragged)
    rough = Embedder(checkpoint, dtype=dtype, device="cuda").cells(ragged)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rough, axis=1)
    assert ((exact * rough).sum(axis=1) / norms >= 0.9995).all()


def test_the_other_cells_of_a_batch_change_nothing(checkpoint, ragged):
    embedder = Embedder(checkpoint, dtype="bfloat16", device="cuda")
    together = embedder.cells(ragged)
    embedder.budget.batch_size = 1
    np.testing.assert_allclose(embedder.cells(ragged), together, rtol=0, atol=5e-2)


def test_results_that_are_read_late_are_those_of_each_part_alone(checkpoint, ragged):
    """Copies to and from the card run beside what is computed: none may meet another's memory."""
    embedder = Embedder(checkpoint, dtype="float32", device="cuda", batch_size=2)
    values, offsets = ragged
    parts = [(np.roll(values, shift), offsets) for shift in range(24)]
    late = [batch for *_, batch in embedder.stream_cells(iter(parts), lambda part: part)]
    late = np.concatenate([batch.vectors() for batch in late])
    alone = np.concatenate([embedder.cells(part) for part in parts])
    np.testing.assert_allclose(late, alone, rtol=0, atol=1e-6)
    genes = [batch for *_, batch in embedder.stream_genes(iter(parts[:6]), lambda part: part)]
    genes = np.concatenate([batch.vectors(0).vectors for batch in genes])
    alone = [each.vectors for part in parts[:6] for each in embedder.genes(part)]
    np.testing.assert_allclose(genes, np.concatenate(alone), rtol=0, atol=1e-6)


def test_fused_operations_are_chosen_and_told(checkpoint, caplog):
    pytest.importorskip("triton")
    caplog.set_level(logging.INFO)
    choose_operations.cache_clear()
    states = torch.zeros(4, checkpoint.spec.d_model, device="cuda", dtype=torch.bfloat16)
    with torch.inference_mode():
        assert operations_for(states) is not PLAIN
    assert operations_for(states) is not PLAIN
    assert caplog.text.count("fused kernels of Triton") == 2


@pytest.mark.parametrize("is_mixed", [False, True])
def test_gradients_are_those_of_the_plain_operations(checkpoint, ragged, is_mixed):
    encoder = checkpoint.encoder().cuda().train()
    encoder.operate_by(None)
    batch = PackedBatch.pack(ragged, 0, len(LENGTHS), "cuda")
    generator = torch.Generator("cuda").manual_seed(0)
    along = torch.randn(
        batch.offsets[-1], checkpoint.spec.d_model, device="cuda", generator=generator
    )
    gradients = []
    for operations in (PLAIN, None):
        encoder.operate_by(operations)
        encoder.embeddings.dropout = 0.0
        for layer in encoder.layers:
            layer.dropout = layer.attention_dropout = 0.0
        with torch.autocast("cuda", torch.bfloat16, enabled=is_mixed):
            hidden = encoder(batch)
        gradients.append(torch.autograd.grad((hidden * along).sum(), list(encoder.parameters())))
    tolerance = 0.05 if is_mixed else 1e-3
    for plain, own in zip(*gradients, strict=True):
        assert (own - plain).norm() <= tolerance * plain.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_with_dropout_a_seed_repeats_a_step_also_where_layers_are_recomputed(
    checkpoint, ragged, dtype
):
    encoder = checkpoint.encoder().cuda().train()
    encoder.embeddings.dropout = 0.1
    for layer in encoder.layers:
        layer.dropout = layer.attention_dropout = 0.1
    batch = PackedBatch.pack(ragged, 0, len(LENGTHS), "cuda")
    found = []
    # The first pass chooses back ends.
    for seed, recompute in ((0, False), (1, False), (1, True), (2, False)):
        encoder.recompute = recompute
        torch.manual_seed(seed)
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
            hidden = encoder(batch)
        loss = hidden.float().square().sum() / hidden.numel()
        found.append(torch.autograd.grad(loss, encoder.layers[0].qkv.weight)[0])
    _, first, again, other = found
    # Some kernels add gradients up in no fixed order.
    assert (again - first).norm() <= 1e-2 * first.norm()
    assert (other - first).norm() > 0.1 * first.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_attention_with_dropout_takes_all_cells_in_one_call(dtype):
    chosen = choose_backend(torch.device("cuda"), dtype, has_dropout=True, has_gradients=True)
    assert chosen not in (attend_each, attend_by_length)
