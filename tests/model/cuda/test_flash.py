"""Flash kernels that may be installed: which of them are tried for what, and how they are called.

None of them runs on a CPU. Modules with their functions' parameters stand in for them, which
compute attention plainly; as on a GPU, what they give is compared before it is used.
"""

import logging
import sys
from itertools import pairwise
from types import ModuleType

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from rankformer.extras import install_command
from rankformer.model import attention_trials
from rankformer.model.attention_by_cell import attend_each
from rankformer.model.attention_trials import Situation, pick_backend
from rankformer.model.cuda import flash
from rankformer.model.cuda.flash import KINDS, find_backends, load_backend
from rankformer.model.segments import Segments

FA3, FORWARD, FA4, TORCH, FA2, TORCH_FA2, SAVING = KINDS
# What any torch for CUDA has, in half precision.
ALWAYS = [TORCH_FA2, SAVING]


def mix(query, key, value, offsets, longest):
    """By cumulative lengths, as all of them take them."""
    assert offsets.dtype == torch.int32
    stops = offsets.tolist()
    assert longest == max(b - a for a, b in pairwise(stops))
    parts = [
        scaled_dot_product_attention(
            *(each[a:b].transpose(0, 1)[None] for each in (query, key, value))
        )[0].transpose(0, 1)
        for a, b in pairwise(stops)
    ]
    return torch.cat(parts)


def fa3(  # noqa: PLR0913  # theirs
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, seqused_q=None,
    softmax_scale=None, causal=False, num_splits=0,
):  # fmt: skip
    assert num_splits == 1
    assert cu_seqlens_k is cu_seqlens_q
    return mix(q, k, v, cu_seqlens_q, max_seqlen_q)


def fa3_forward(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, num_splits=1):
    return mix(q.detach(), k.detach(), v.detach(), cu_seqlens_q, max_seqlen_k)


def fa4(q, k, v, cu_seqlens_q=None, cu_seqlens_k=None, causal=False, num_splits=1):
    """It finds the longest itself, and gives the sums of the weights too."""
    lengths = cu_seqlens_k.diff()
    return mix(q, k, v, cu_seqlens_q, int(lengths.max())), lengths


def fa2(  # noqa: PLR0913  # theirs
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, causal=False
):
    assert dropout_p == 0.25
    return mix(q, k, v, cu_seqlens_q, max_seqlen_q)


def torchs(  # noqa: PLR0913  # theirs
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, num_splits=None
):  # fmt: skip
    assert num_splits == 1
    return mix(query, key, value, cu_seq_q, max_k)


FUNCTIONS = {FA3: fa3, FORWARD: fa3_forward, FA4: fa4, TORCH: torchs, FA2: fa2}


@pytest.fixture
def install(monkeypatch):
    """Put modules with these functions in place of packages; the others are not there."""

    def put(functions):
        load_backend.cache_clear()
        for kind in KINDS:
            module = None
            if kind in functions:
                module = ModuleType(kind.module)
                setattr(module, kind.function, functions[kind])
            for name in (kind.module.partition(".")[0], kind.module):
                # torch itself stays.
                if not name.startswith(("torch", "rankformer")):
                    monkeypatch.setitem(sys.modules, name, module)

    yield put
    load_backend.cache_clear()


def names(generation, dtype=torch.bfloat16, *, has_dropout=False, has_gradients=False):
    found = find_backends(generation, dtype, has_dropout=has_dropout, has_gradients=has_gradients)
    return [each.kind for each in found]


def test_which_are_tried_and_in_which_order(install):
    install(FUNCTIONS)
    assert names(7) == [SAVING]
    assert names(8) == [TORCH, FA2, *ALWAYS]
    assert names(9) == [FA3, FORWARD, FA4, TORCH, FA2, *ALWAYS]
    assert names(9, torch.float16) == [FA3, FA4, TORCH, FA2, *ALWAYS]
    assert names(9, has_gradients=True) == [FA3, FA4, TORCH, FA2, *ALWAYS]
    assert names(9, has_gradients=True, has_dropout=True) == [FA2, *ALWAYS]
    assert names(10) == [FA4, TORCH, FA2, *ALWAYS]
    assert names(12) == [TORCH, FA2, *ALWAYS]
    assert names(9, torch.float32) == [SAVING]


def test_what_is_not_installed_is_not_tried(install):
    install({FORWARD: fa3_forward, FA2: fa2})
    assert names(9) == [FORWARD, TORCH, FA2, *ALWAYS]
    install({})
    assert names(9) == [TORCH, *ALWAYS]
    assert names(9, has_dropout=True, has_gradients=True) == ALWAYS


def test_what_cannot_be_imported_is_told(install, monkeypatch, caplog):
    def fail(name):
        raise OSError("undefined symbol: _ZNK3c10")

    install({})
    monkeypatch.setattr(flash, "import_module", fail)
    caplog.set_level(logging.INFO)
    assert load_backend(FORWARD) is None
    assert "FlashAttention-3 (fa3-fwd) cannot be imported: undefined symbol" in caplog.text


@pytest.mark.parametrize("kind", FUNCTIONS, ids=lambda each: each.name)
def test_each_is_called_by_the_names_of_its_parameters(install, monkeypatch, kind):
    install(FUNCTIONS)
    if kind is TORCH:
        from torch.nn.attention import varlen

        monkeypatch.setattr(varlen, "varlen_attn", torchs)
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(300, 3, 2, 64, generator=generator).unbind(1)
    segments = Segments.between((0, 40, 41, 300))
    mixed = load_backend(kind)(*qkv, segments, 0.25)
    torch.testing.assert_close(mixed, attend_each(*qkv, segments, 0.0))


@pytest.mark.parametrize("kind", ALWAYS, ids=lambda each: each.name)
def test_torchs_kernels_with_dropout_take_what_is_passed_and_give_gradients(kind):
    """On the device "meta", where shapes are computed, and no numbers."""
    load_backend.cache_clear()
    leaf = torch.empty(300, 3, 2, 64, device="meta", dtype=torch.bfloat16, requires_grad=True)
    segments = Segments((0, 40, 300), torch.tensor([0, 40, 300], dtype=torch.int32).to("meta"), 260)
    mixed = load_backend(kind)(*leaf.unbind(1), segments, 0.25)
    assert (mixed.shape, mixed.dtype) == ((300, 2, 64), torch.bfloat16)
    (gradient,) = torch.autograd.grad(mixed, leaf, mixed)
    assert gradient.shape == leaf.shape


def test_torchs_own_takes_what_is_passed_to_it():
    """The parameters of the function that this torch has."""
    varlen = pytest.importorskip("torch.nn.attention.varlen")
    load_backend.cache_clear()
    backend = load_backend(TORCH)
    assert backend.function is varlen.varlen_attn
    taken = set(flash._parameters(varlen.varlen_attn))
    assert {"cu_seq_q", "cu_seq_k", "max_q", "max_k"} <= taken


def only_first_cell(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k):
    return mix(q, k, v, cu_seqlens_q[[0, -1]], len(q))


@pytest.mark.parametrize(
    ("function", "said"),
    [(fa3_forward, None), (only_first_cell, "is off by"), (None, "does not run")],
)
def test_one_that_is_wrong_on_this_card_is_refused(install, monkeypatch, caplog, function, said):
    def broken(q, k, v, cu_seqlens_q):
        raise RuntimeError("no kernel image is available for execution on the device")

    monkeypatch.setattr(attention_trials, "_TIMED_LENGTHS", (30, 60))
    monkeypatch.setattr(attention_trials, "_TOLERATED_SLOWNESS", 50)
    install({FORWARD: function or broken})
    (backend,) = (each for each in find_backends(
        9, torch.bfloat16, has_dropout=False, has_gradients=False
    ) if each.kind is FORWARD)  # fmt: skip
    caplog.set_level(logging.INFO)
    situation = Situation(torch.device("cpu"), torch.bfloat16, has_gradients=False)
    chosen = pick_backend([backend, attend_each], situation)
    assert chosen is (attend_each if said else backend)
    assert (said or "Attention on cpu in bfloat16: FlashAttention-3 (fa3-fwd)") in caplog.text


@pytest.mark.parametrize(
    ("generation", "functions", "dtype", "has_gradients", "advised"),
    [
        (9, {}, torch.bfloat16, False, True),
        (9, {FORWARD: fa3_forward}, torch.bfloat16, False, False),
        (9, {FA3: fa3}, torch.bfloat16, False, False),
        (9, {}, torch.bfloat16, True, False),
        (9, {}, torch.float16, False, False),
        (8, {}, torch.bfloat16, False, False),
    ],
)
def test_on_hopper_cards_the_log_advises_flash_attention_3(
    install, monkeypatch, caplog, generation, functions, dtype, has_gradients, advised
):
    """A card that this machine does not have: what torch says of it is put in place."""
    flash._advise.cache_clear()
    install(functions)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (generation, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    caplog.set_level(logging.INFO)
    for _ in range(2):
        flash.installed_backends(
            torch.device("cuda"), dtype, has_dropout=False, has_gradients=has_gradients
        )
    assert caplog.text.count("FlashAttention-3 is not installed") == advised
    assert not advised or install_command("flash") in caplog.text
