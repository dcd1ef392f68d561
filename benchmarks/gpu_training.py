"""Pretraining steps on a GPU: ours on packed cells, with and without dropout, and the stand-in.

Long cells with each way of attention, and small batches, in which the host is the limit. Forward
and backward are in bfloat16 by autocast, with AdamW. Operations of a step are those of three
forward passes of the cells' tokens and masked genes; their rate is held against that of one large
product.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import padded_bert
import torch
from gpu_models import Sizes, draw_encoder, make_spec, make_vocabulary
from torch import Tensor
from torch.nn import functional
from training_flops import product_rate, step_flops

from rankformer import MaskedLanguageModel
from rankformer.model.attention import choose_backend
from rankformer.model.attention_by_cell import attend_each
from rankformer.model.attention_by_length import attend_by_length
from rankformer.model.attention_trials import name_of
from rankformer.model.cuda.flash import installed_backends
from rankformer.model.device import synchronize
from rankformer.model.operations import PLAIN, Operations
from rankformer.pretraining.batches import MaskedBatches
from rankformer.pretraining.loss import PretrainingLoss
from rankformer.training.inputs import Inputs, move_inputs

if TYPE_CHECKING:
    from rankformer import EncoderSpec, Vocabulary
    from rankformer.model.segments import Backend

# Steps of what is slow or one of many; the first of each side is not counted.
_FEW_STEPS = 3
_PLAIN_ATTENTION = {
    "cells of like length, padded": attend_by_length,
    "a cell at a time": attend_each,
}


@dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes
    ----------
    model
        Whose shape.
    batch, length, steps
        Cells of a step, their mean tokens, and steps.
    has_ways
        Whether each way of attention is measured beside the others.
    """

    model: str
    batch: int
    length: int
    steps: int
    has_ways: bool


def choose_workloads(sizes: Sizes) -> dict[str, Workload]:
    """Long cells, where the card is the limit, and small batches, where the host is."""
    length, steps = sizes.training_length, sizes.training_steps
    short = length // 14
    return {
        f"{length:,} tokens a cell": Workload(
            "gf-12L-95M-i4096", sizes.training_batch, length, steps, has_ways=True
        ),
        "small batches": Workload(
            "gf-6L-30M-i2048", sizes.training_batch // 2, short, 3 * steps, has_ways=False
        ),
    }


def measure_steps(sizes: Sizes) -> dict[str, Any]:
    """Tokens a second of each side of each workload."""
    dtype = torch.bfloat16
    return {
        "product_flops_per_second": product_rate(sizes.device, dtype),
        "stand_in": padded_bert.NAME,
        "workloads": {
            name: measure_workload(workload, sizes)
            for name, workload in choose_workloads(sizes).items()
        },
    }


def measure_workload(workload: Workload, sizes: Sizes) -> dict[str, Any]:
    """All sides on the same batches, with the published dropout but where it is said."""
    spec = make_spec(workload.model, sizes)
    vocabulary = make_vocabulary(spec, workload.model)
    batches = [make_batch(vocabulary, workload, seed) for seed in range(workload.steps)]
    few = batches[:_FEW_STEPS]
    none_in_attention = replace(spec, attention_dropout=0.0)
    without = replace(none_in_attention, dropout=0.0)
    sides = {
        "packed": run_packed(spec, vocabulary, batches, sizes),
        "packed, no dropout in attention": run_packed(
            none_in_attention, vocabulary, batches, sizes
        ),
        "packed, no dropout": run_packed(without, vocabulary, batches, sizes),
        "packed, plain sums and norms": run_packed(
            spec, vocabulary, batches, sizes, operations=PLAIN
        ),
        padded_bert.NAME: run_padded(spec, few, sizes),
    }
    if workload.has_ways:
        for name, backend in find_ways(sizes).items():
            sides[f"packed, attention by {name}"] = run_way(backend, spec, vocabulary, few, sizes)
    chosen = choose_backend(
        torch.device(sizes.device), torch.bfloat16, has_dropout=True, has_gradients=True
    )
    return {
        "model": workload.model,
        "mean_tokens_of_a_cell": workload.length,
        "dropout": spec.dropout,
        "attention_with_dropout_by": name_of(chosen),
        "sides": sides,
    }


def find_ways(sizes: Sizes) -> dict[str, Backend]:
    """All ways of attention with dropout that are there."""
    device = torch.device(sizes.device)
    found = installed_backends(device, torch.bfloat16, has_dropout=True, has_gradients=True)
    return {str(each): each for each in found} | _PLAIN_ATTENTION


def run_way(
    backend: Backend,
    spec: EncoderSpec,
    vocabulary: Vocabulary,
    batches: list[Inputs],
    sizes: Sizes,
) -> dict[str, Any]:
    """One of them may lack a kernel for this card."""
    try:
        return run_packed(spec, vocabulary, batches, sizes, attend=backend)
    except RuntimeError as error:
        gc.collect()
        return {"not_run": str(error).splitlines()[0]}


def make_batch(vocabulary: Vocabulary, workload: Workload, seed: int) -> Inputs:
    """Masked cells of random genes, with lengths about the mean."""
    rng = np.random.default_rng(seed)
    middle = workload.length
    longest = min(vocabulary.input_length, 2 * middle)
    lengths = rng.integers(max(middle // 2, 1), longest - middle // 2 + 1, workload.batch)
    offsets = np.cumsum([0, *lengths])
    values = rng.choice(vocabulary.tokens, offsets[-1]).astype(np.int32)
    cells: Any = SimpleNamespace(vocabulary=vocabulary)
    return MaskedBatches(cells, seed=seed, masked_share=0.15).mask((values, offsets), rng)


def run_packed(
    spec: EncoderSpec,
    vocabulary: Vocabulary,
    batches: list[Inputs],
    sizes: Sizes,
    *,
    operations: Operations | None = None,
    attend: Backend | None = None,
) -> dict[str, Any]:
    """As `rankformer pretrain` computes a step, or with other operations or attention."""
    model = MaskedLanguageModel(draw_encoder(spec, sizes.device)).to(sizes.device)
    model.encoder.operate_by(operations)
    if attend is not None:
        model.encoder.attend_by(attend)
    special = list(vocabulary.special_tokens.values())
    objective = PretrainingLoss(model, special).to(sizes.device).train()
    return time_steps(objective, lambda batch: objective(**batch)["loss"], spec, batches, sizes)


def run_padded(spec: EncoderSpec, batches: list[Inputs], sizes: Sizes) -> dict[str, Any]:
    """The loss of logits at every place."""
    model = MaskedLanguageModel(draw_encoder(spec, sizes.device)).to(sizes.device).train()

    def loss(batch: Inputs) -> Tensor:
        tokens, labels = pad_batch(batch)
        scores = padded_bert.logits(model, padded_bert.hidden_states(model, tokens))
        return functional.cross_entropy(scores.flatten(0, 1).float(), labels.flatten())

    # At every place, logits take so much memory that batches are cut until they fit.
    own = batches
    while True:
        try:
            return time_steps(model, loss, spec, own, sizes)
        except torch.OutOfMemoryError:
            # What it holds is let go of when this is left.
            pass
        gc.collect()
        torch.cuda.empty_cache()
        own = [cut(batch) for batch in own]


def pad_batch(batch: Inputs) -> tuple[Tensor, Tensor]:
    """(B, L) tokens and labels; -100 where no gene was masked."""
    tokens, offsets = batch["tokens"], batch["offsets"]
    labels = torch.full_like(tokens, -100).index_copy(0, batch["places"], batch["genes"])
    lengths = np.diff(offsets).tolist()
    n_tokens = int(offsets[-1])
    stack = torch.nn.utils.rnn.pad_sequence
    return (
        stack(list(tokens[:n_tokens].split(lengths)), batch_first=True),
        stack(list(labels[:n_tokens].split(lengths)), batch_first=True, padding_value=-100),
    )


def cut(batch: Inputs) -> Inputs:
    """The first half of the cells."""
    offsets = batch["offsets"][: (len(batch["offsets"]) + 1) // 2]
    is_kept = batch["places"] < int(offsets[-1])
    return {
        "tokens": batch["tokens"][: offsets[-1]],
        "positions": batch["positions"][: offsets[-1]],
        "offsets": offsets,
        "places": batch["places"][is_kept],
        "genes": batch["genes"][is_kept],
    }


def time_steps(
    module: torch.nn.Module,
    loss: Callable[[Inputs], Tensor],
    spec: EncoderSpec,
    batches: list[Inputs],
    sizes: Sizes,
) -> dict[str, Any]:
    """Seconds of all steps but the first, in one go: no step waits for the one before."""
    device = torch.device(sizes.device)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=1e-4, weight_decay=0.001, fused=device.type == "cuda"
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    on_device = [move_inputs(batch, device) for batch in batches]
    losses = []
    for number, batch in enumerate(on_device):
        if number == 1:
            synchronize(device)
            began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            value = loss(batch)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.detach())
    synchronize(device)
    seconds = time.perf_counter() - began
    counted = batches[1:]
    return {
        "cells_of_a_step": len(batches[0]["offsets"]) - 1,
        "seconds_of_a_step": seconds / len(counted),
        "tokens_per_second": sum(int(each["offsets"][-1]) for each in counted) / seconds,
        "flops_per_second": sum(step_flops(spec, each) for each in counted) / seconds,
        "peak_memory_gb": (
            torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
        ),
        "losses": [float(each) for each in losses],
    }
