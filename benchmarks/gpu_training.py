"""A pretraining step on a GPU: ours on packed cells, with and without dropout, and the stand-in.

Forward and backward in bfloat16 by autocast, and AdamW. Operations of a step are those of three
forward passes of the cells' tokens and masked genes; their rate is held against that of one large
product.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
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
from rankformer.model.device import synchronize
from rankformer.model.operations import PLAIN
from rankformer.pretraining.batches import MaskedBatches
from rankformer.pretraining.loss import PretrainingLoss
from rankformer.training.inputs import Inputs, move_inputs

if TYPE_CHECKING:
    from rankformer import EncoderSpec, Vocabulary

MODEL = "gf-12L-95M-i4096"
# Steps of the stand-in, which are slow; the first of each side is not counted.
_STAND_IN_STEPS = 3


def measure_steps(sizes: Sizes) -> dict[str, Any]:
    """Tokens a second of each side."""
    spec = make_spec(MODEL, sizes)
    vocabulary = make_vocabulary(spec, MODEL)
    batches = [make_batch(vocabulary, sizes, seed) for seed in range(sizes.training_steps)]
    without = replace(spec, attention_dropout=0.0)
    dtype = torch.bfloat16
    report: dict[str, Any] = {
        "model": MODEL,
        "cells_of_a_step": sizes.training_batch,
        "tokens_of_a_cell": sizes.training_length,
        "dropout": spec.dropout,
        "product_flops_per_second": product_rate(sizes.device, dtype),
        "stand_in": padded_bert.NAME,
        "sides": {
            "packed, dropout everywhere": run_packed(spec, vocabulary, batches, sizes),
            "packed, none in attention": run_packed(without, vocabulary, batches, sizes),
            "packed, none in attention, plain sums and norms": run_packed(
                without, vocabulary, batches, sizes, is_plain=True
            ),
            padded_bert.NAME: run_padded(spec, batches[:_STAND_IN_STEPS], sizes),
        },
    }
    return report


def make_batch(vocabulary: Vocabulary, sizes: Sizes, seed: int) -> Inputs:
    """Masked cells of random genes, with lengths about the mean."""
    rng = np.random.default_rng(seed)
    middle = sizes.training_length
    longest = min(vocabulary.input_length, 2 * middle)
    lengths = rng.integers(middle // 2, longest - middle // 2 + 1, sizes.training_batch)
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
    is_plain: bool = False,
) -> dict[str, Any]:
    """As `rankformer pretrain` computes a step."""
    model = MaskedLanguageModel(draw_encoder(spec, sizes.device)).to(sizes.device)
    if is_plain:
        model.encoder.operate_by(PLAIN)
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
        "losses": [float(each) for each in losses],
    }
