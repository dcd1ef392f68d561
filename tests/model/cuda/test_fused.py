"""The fused kernels against float64 statements of what they compute; on CPUs in the interpreter."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from rankformer.embed.embedder import Embedder
from rankformer.model.cuda.chosen_operations import Situation, pick_operations
from rankformer.model.encoder import Embeddings, Encoder, Layer, PackedBatch
from rankformer.model.operations import PLAIN
from rankformer.model.segments import Segments
from rankformer.model.spec import EncoderSpec

triton = pytest.importorskip("triton")

from rankformer.model.cuda import fused  # noqa: E402  # needs Triton

# Published widths, the widest one, and odd ones.
WIDTHS = (256, 512, 768, 896, 1152, 100, 33)
COMPILED = (256, 1152, 64)
ROUNDING = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
DTYPES = list(ROUNDING)


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ]
)
def device(request):
    if request.param == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("kernels run on a CPU in Triton's interpreter alone: TRITON_INTERPRET=1")
    return request.param


def draw(*shape, seed, device="cpu", dtype=torch.float32, level=0.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(level, 1, shape)).to(device, dtype)


def spare_compiler(device, width):
    """Each width and dtype is compiled anew, and time on a GPU is short."""
    if device == "cuda" and width not in COMPILED:
        pytest.skip("other widths are tried in the interpreter, and in whole models")


def norm_of(width, device, dtype):
    norm = torch.nn.LayerNorm(width, eps=1e-12).to(device, dtype)
    with torch.no_grad():
        norm.weight.copy_(draw(width, seed=1, level=1.0))
        norm.bias.copy_(draw(width, seed=2))
    return norm


def plain_norm(rows, weight, bias):
    """Float64, in the words of its definition."""
    centred = rows - rows.mean(dim=1, keepdim=True)
    variance = (centred**2).mean(dim=1, keepdim=True)
    return centred / (variance + 1e-12).sqrt() * weight + bias


def assert_gradients(found, expected, inputs, tolerance):
    """In the dtype of their inputs, and off by no more than this share of the largest."""
    for own, exact, given in zip(found, expected, inputs, strict=True):
        assert own.dtype == given.dtype
        assert (own.double() - exact).abs().max() <= tolerance * exact.abs().max()


def assert_rounded_once(found, exact, dtype):
    """As near as the dtype can be, and a little for sums in float32."""
    distance = (found.double() - exact).abs()
    # Triton's interpreter cuts bfloat16 off, where a GPU rounds it.
    rounding = ROUNDING[dtype] * (2 if found.device.type == "cpu" else 1)
    assert found.dtype == dtype
    assert (distance <= rounding * exact.abs() + 3e-6 * exact.abs().max()).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("n_rows", "width"),
    [*((37, width) for width in WIDTHS), (1, 512), (3, 896), (127, 256), (1000, 64)],
)
def test_the_norm_of_a_sum(device, n_rows, width, dtype):
    spare_compiler(device, width)
    update, hidden = (
        draw(n_rows, width, seed=seed, device=device, dtype=dtype, level=3.0) for seed in (3, 4)
    )
    norm = norm_of(width, device, dtype)
    exact = plain_norm(
        update.double() + hidden.double(), norm.weight.double(), norm.bias.double()
    ).detach()
    with torch.inference_mode():
        found = fused.add_norm(update, hidden, norm, 0.0)
    assert_rounded_once(found, exact, dtype)


def test_rows_that_are_all_alike_and_no_rows(device):
    norm = norm_of(256, device, torch.float32)
    same = torch.full((5, 256), 7.0, device=device)
    torch.testing.assert_close(fused.add_norm(same, same, norm, 0.0), norm.bias.expand(5, 256))
    assert fused.add_norm(same[:0], same[:0], norm, 0.0).shape == (0, 256)


@pytest.mark.parametrize(
    ("update_dtype", "hidden_dtype"),
    [*((dtype, dtype) for dtype in DTYPES), (torch.bfloat16, torch.float32)],
    ids=str,
)
@pytest.mark.parametrize(("n_rows", "width"), [(1, 256), (19, 1152), (150, 100)])
def test_gradients_of_the_norm_of_a_sum(device, n_rows, width, update_dtype, hidden_dtype):
    """The last pair of dtypes is what training within autocast has on CUDA."""
    spare_compiler(device, width)
    update = draw(n_rows, width, seed=5, device=device, dtype=update_dtype).requires_grad_()
    hidden = draw(n_rows, width, seed=6, device=device, dtype=hidden_dtype).requires_grad_()
    norm = norm_of(width, device, hidden_dtype)
    inputs = update, hidden, norm.weight, norm.bias
    found = fused._AddNorm.apply(*inputs, fused._Norming(norm.eps, hidden_dtype, keeps=True))
    assert found.dtype == hidden_dtype
    along = draw(n_rows, width, seed=7, device=device, dtype=found.dtype)
    gradients = torch.autograd.grad(found, inputs, along)
    exact_inputs = [each.detach().double().requires_grad_() for each in inputs]
    exact = plain_norm(exact_inputs[0] + exact_inputs[1], *exact_inputs[2:])
    expected = torch.autograd.grad(exact, exact_inputs, along.double())
    assert_rounded_once(found, exact.detach(), hidden_dtype)
    # The sum is stored in the dtype of the update, as torch stores it.
    tolerance = 8 * ROUNDING[update_dtype] + 1e-6
    assert_gradients(gradients, expected, inputs, tolerance)


def embeddings_of(width, device, dtype):
    spec = EncoderSpec(50, 1, width, 1, 8, max_positions=200, dropout=0.0)
    parts = Embeddings(spec).to(device, dtype)
    with torch.no_grad():
        for seed, each in enumerate(parts.parameters()):
            each.copy_(draw(*each.shape, seed=10 + seed))
    tokens = (torch.arange(127) * 7 % 50).to(device)
    positions = torch.arange(127).flip(0).to(device)
    tables = [each.double() for each in parts.parameters()]
    summed = tables[0][tokens] + tables[1][positions] + tables[2][0]
    exact = plain_norm(summed, tables[3], tables[4])
    return parts, tokens, positions, exact


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [256, 100])
def test_embeddings(device, width, dtype):
    parts, tokens, positions, exact = embeddings_of(width, device, dtype)
    with torch.inference_mode():
        found = fused.embed(parts, tokens, positions)
    assert_rounded_once(found, exact.detach(), dtype)


def test_gradients_of_embeddings(device):
    parts, tokens, positions, exact = embeddings_of(256, device, torch.float32)
    along = draw(127, 256, seed=8, device=device)
    found = torch.autograd.grad(
        fused.embed(parts, tokens, positions), list(parts.parameters()), along
    )
    expected = torch.autograd.grad(exact, list(parts.parameters()), along.double())
    # <pad> stays as it is: token 0, which torch's embedding gives no gradient.
    expected[0][0] = 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [256, 100])
def test_means_of_cells(device, width, dtype):
    lengths = [1, 0, 40, 16, 17, 300]
    offsets = np.cumsum([0, *lengths])
    hidden = draw(400, width, seed=9, device=device, dtype=dtype, level=3.0)
    places = np.random.default_rng(0).permutation(400)[: offsets[-1]]
    found = fused.mean_of_places(hidden, places, offsets).cpu().double()
    rows = hidden.double().cpu()[places]
    for mean, cell in zip(found, rows.split(lengths), strict=True):
        expected = cell.mean(dim=0) if len(cell) else torch.full((width,), torch.nan).double()
        torch.testing.assert_close(mean, expected, rtol=0, atol=1e-6, equal_nan=True)
    assert fused.mean_of_places(hidden, places[:0], np.zeros(1, np.int64)).shape == (0, width)


@pytest.mark.parametrize(
    ("update_dtype", "hidden_dtype"),
    [*((dtype, dtype) for dtype in DTYPES), (torch.bfloat16, torch.float32)],
    ids=str,
)
@pytest.mark.parametrize(("n_rows", "width", "share"), [(19, 1152, 0.02), (150, 100, 0.3)])
def test_dropout_within_the_norm_of_a_sum(device, n_rows, width, share, update_dtype, hidden_dtype):
    """What was dropped has no gradient; with that mask, all is as the definition has it."""
    spare_compiler(device, width)
    update = draw(n_rows, width, seed=5, device=device, dtype=update_dtype).requires_grad_()
    hidden = draw(n_rows, width, seed=6, device=device, dtype=hidden_dtype).requires_grad_()
    norm = norm_of(width, device, hidden_dtype)
    inputs = update, hidden, norm.weight, norm.bias
    along = draw(n_rows, width, seed=7, device=device, dtype=hidden_dtype)

    def run():
        how = fused._Norming(norm.eps, hidden_dtype, keeps=True, dropout=share)
        found = fused._AddNorm.apply(*inputs, how)
        return found, torch.autograd.grad(found, inputs, along)

    torch.manual_seed(3)
    (found, gradients), (_, others) = run(), run()
    torch.manual_seed(3)
    again, gradients_again = run()
    assert torch.equal(found, again)
    assert all(map(torch.equal, gradients, gradients_again))
    kept = gradients[0] != 0
    assert not torch.equal(kept, others[0] != 0)
    # Five standard errors.
    spread = (share * (1 - share) / kept.numel()) ** 0.5
    assert abs(1 - float(kept.double().mean()) - share) < 5 * spread
    exact_inputs = [each.detach().double().requires_grad_() for each in inputs]
    left = exact_inputs[0] * kept / (1 - share)
    exact = plain_norm(left + exact_inputs[1], *exact_inputs[2:])
    expected = torch.autograd.grad(exact, exact_inputs, along.double())
    assert_rounded_once(found, exact.detach(), hidden_dtype)
    tolerance = 8 * ROUNDING[update_dtype] + 1e-6
    assert_gradients(gradients, expected, inputs, tolerance)


def test_what_is_dropped_has_no_pattern(device):
    """Neither along rows nor along columns, nor from one seed to the next."""
    n_rows, width, share = 400, 256, 0.25
    update = torch.ones(n_rows, width, device=device, requires_grad=True)
    hidden = draw(n_rows, width, seed=6, device=device)
    norm = norm_of(width, device, torch.float32)
    masks = []
    for _ in range(2):
        found = fused.add_norm(update, hidden, norm, share)
        (gradient,) = torch.autograd.grad(found, update, hidden)
        masks.append((gradient == 0).double().cpu())
    for one, other in (
        (masks[0], masks[1]), (masks[0][1:], masks[0][:-1]), (masks[0][:, 1:], masks[0][:, :-1]),
    ):  # fmt: skip
        both = torch.stack([one.flatten(), other.flatten()])
        assert torch.corrcoef(both)[0, 1].abs() < 5 / both.shape[1] ** 0.5
    for along in (0, 1):
        shares = masks[0].mean(dim=along)
        spread = (share * (1 - share) / masks[0].shape[along]) ** 0.5
        assert (shares - share).abs().max() < 5 * spread
        assert float(shares.std()) == pytest.approx(spread, rel=0.3)


def test_dropout_repeats_where_layers_are_recomputed(device):
    encoder = small_encoder(device, torch.float32, dropout=0.3, attention_dropout=0.0).train()
    found = []
    for encoder.recompute in (False, True):
        torch.manual_seed(1)
        found.append(gradients_of(encoder, fused.FUSED, device, is_mixed=False))
    torch.testing.assert_close(*found, rtol=0, atol=1e-5 * float(found[0].abs().max()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_of_a_product_with_relu_in_its_end(device, dtype):
    linear = torch.nn.Linear(100, 60).to(device, dtype)
    hidden = draw(37, 100, seed=11, device=device, dtype=dtype).requires_grad_()
    along = draw(37, 60, seed=12, device=device, dtype=dtype)
    inputs = hidden, linear.weight, linear.bias
    found = torch.autograd.grad(fused.expand(linear, hidden, "relu"), inputs, along)
    exact_inputs = [each.detach().double().requires_grad_() for each in inputs]
    exact = (exact_inputs[0] @ exact_inputs[1].T + exact_inputs[2]).clamp(min=0)
    expected = torch.autograd.grad(exact, exact_inputs, along.double())
    for one, other in zip(found, expected, strict=True):
        tolerance = (4 * ROUNDING[dtype] + 1e-6) * float(other.abs().max())
        torch.testing.assert_close(one.double(), other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_product_with_relu_in_its_end(device, dtype):
    linear = torch.nn.Linear(100, 60).to(device, dtype)
    hidden = draw(37, 100, seed=11, device=device, dtype=dtype)
    exact = (hidden.double() @ linear.weight.double().T + linear.bias.double()).clamp(min=0)
    with torch.inference_mode():
        found = fused.expand(linear, hidden, "relu")
        gelu = fused.expand(linear, hidden, "gelu")
    tolerance = (4 * ROUNDING[dtype] + 1e-6) * float(exact.detach().abs().max())
    torch.testing.assert_close(found.double(), exact.detach(), rtol=0, atol=tolerance)
    assert (gelu < 0).any()


def small_encoder(device, dtype, **changes):
    spec = EncoderSpec(
        60, n_layers=2, d_model=96, n_heads=3, d_ff=192, max_positions=64, initializer_range=0.2
    )
    torch.manual_seed(0)
    encoder = Encoder(replace(spec, **changes))
    with torch.no_grad():
        for each in encoder.parameters():
            if each.dim() == 1:
                each.add_(torch.randn_like(each), alpha=0.2)
    return encoder.to(device, dtype)


def batch_on(device):
    lengths = np.array([3, 0, 64, 20, 41])
    offsets = np.cumsum([0, *lengths])
    values = np.random.default_rng(0).integers(1, 60, offsets[-1]).astype(np.int32)
    return PackedBatch.pack((values, offsets), 0, len(lengths), device)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_encoder_gives_the_same_with_fused_operations(device, activation):
    encoder = small_encoder(device, torch.float32, activation=activation).eval()
    batch = batch_on(device)
    results = []
    for operations in (PLAIN, fused.FUSED):
        encoder.operate_by(operations)
        with torch.inference_mode():
            results.append([encoder(batch, layer) for layer in (0, 1, 2)])
    for plain, own in zip(*results, strict=True):
        torch.testing.assert_close(own, plain, rtol=0, atol=1e-5)


def test_the_packaged_model_gives_the_same_embeddings(device):
    """Its real weights, and the means of cells."""
    embedder = Embedder("rankformer-mini", device=device, dtype="float32")
    embedder.encoder.operate_by(PLAIN)
    rng, lengths = np.random.default_rng(0), np.array([60, 5, 131])
    offsets = np.cumsum([0, *lengths])
    values = rng.choice(embedder.checkpoint.vocabulary.tokens, offsets[-1]).astype(np.int32)
    expected = embedder.cells((values, offsets))
    embedder.encoder.operate_by(fused.FUSED)
    genes = embedder.gene_places(offsets)
    with torch.inference_mode():
        hidden = embedder.encoder(PackedBatch.pack((values, offsets), 0, 3, device))
        found = fused.mean_of_places(hidden, genes.places, genes.offsets)
    atol = 1e-5 * float(np.abs(expected).max())
    np.testing.assert_allclose(found.cpu(), expected, rtol=0, atol=atol)


def test_an_encoder_in_bfloat16_points_the_same_way(device):
    exact = small_encoder(device, torch.float32).eval()
    encoder = small_encoder(device, torch.bfloat16).eval()
    encoder.operate_by(fused.FUSED)
    with torch.inference_mode():
        found = encoder(batch_on(device)).float()
        expected = exact(batch_on(device))
    assert (torch.cosine_similarity(found, expected, dim=1) > 0.999).all()


def gradients_of(encoder, operations, device, *, is_mixed):
    """Of all parameters, in one vector."""
    batch = batch_on(device)
    along = draw(batch.offsets[-1], 96, seed=12, device=device)
    encoder.operate_by(operations)
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_mixed):
        hidden = encoder(batch)
    # On a CPU, autocast leaves the norm of bfloat16 as it is.
    assert hidden.dtype == (torch.bfloat16 if is_mixed and device == "cpu" else torch.float32)
    found = torch.autograd.grad((hidden * along).sum(), list(encoder.parameters()))
    return torch.cat([each.flatten() for each in found])


@pytest.mark.parametrize("recompute", [False, True])
def test_training_has_the_same_gradients(device, recompute):
    encoder = small_encoder(device, torch.float32, dropout=0.0, attention_dropout=0.0).train()
    encoder.recompute = recompute
    plain, own = (
        gradients_of(encoder, each, device, is_mixed=False) for each in (PLAIN, fused.FUSED)
    )
    # On a GPU, torch adds up some of them in no fixed order.
    tolerance = 1e-5 if device == "cpu" else 1e-4
    assert (own - plain).abs().max() <= tolerance * plain.abs().max()


def test_training_within_autocast_is_as_near_as_the_plain_one(device):
    """To the gradients in float32."""
    encoder = small_encoder(device, torch.float32, dropout=0.0, attention_dropout=0.0).train()
    exact = gradients_of(encoder, PLAIN, device, is_mixed=False)
    plain, own = (
        gradients_of(encoder, each, device, is_mixed=True) for each in (PLAIN, fused.FUSED)
    )
    assert (own - exact).norm() <= 1.5 * (plain - exact).norm()
    assert torch.cosine_similarity(own, plain, dim=0) > 0.99


def test_a_layer_takes_several_gradients_of_one_pass(device):
    """As the screen of perturbations does, along several directions."""
    spec = EncoderSpec(60, 1, 96, 3, 192, max_positions=64, dropout=0.0, attention_dropout=0.0)
    layer = Layer(spec).to(device)
    given = draw(20, 96, seed=13, device=device)
    gradients = []
    for operations in (PLAIN, fused.FUSED):
        layer.operations = operations
        leaf = given.clone().requires_grad_()
        out = layer(leaf, Segments.between((0, 7, 20), device))
        gradients.append(
            [torch.autograd.grad(each, leaf, retain_graph=True)[0] for each in out.sum(dim=0)[:3]]
        )
    for plain, own in zip(*gradients, strict=True):
        torch.testing.assert_close(own, plain, rtol=0, atol=1e-5)


def test_what_is_no_plain_norm_or_product_is_computed_plainly(device):
    """Such as a layer that LoRA or int8 put in its place."""
    update, hidden = (draw(4, 96, seed=seed, device=device) for seed in (14, 15))
    without = torch.nn.LayerNorm(96, elementwise_affine=False).to(device)
    expected = without(update + hidden)
    torch.testing.assert_close(fused.add_norm(update.clone(), hidden, without, 0.0), expected)
    wrapped = torch.nn.Sequential(torch.nn.Linear(96, 8)).to(device)
    with torch.inference_mode():
        found = fused.expand(wrapped, hidden, "relu")
        torch.testing.assert_close(found, wrapped(hidden).relu())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [64, 100])
@pytest.mark.parametrize("has_gradients", [False, True])
def test_the_kernels_are_taken(device, caplog, dtype, width, has_gradients):
    """They agree with the plain operations wherever they may be chosen."""
    spare_compiler(device, width)
    caplog.set_level("INFO")
    situation = Situation(torch.device(device), dtype, dtype, width, has_gradients)
    assert pick_operations(lambda: fused.FUSED, situation) is fused.FUSED
    assert "fused kernels of Triton" in caplog.text


def test_the_kernels_are_taken_within_autocast(device):
    situation = Situation(torch.device(device), torch.float32, torch.bfloat16, 64, True)
    assert pick_operations(lambda: fused.FUSED, situation) is fused.FUSED
