"""A training step asks for no number on the host, which on a GPU would wait for all that runs."""

from collections import Counter

import numpy as np
import pytest
import torch
from tests.conftest import save_small_checkpoint, small_vocabulary
from torch.utils._python_dispatch import TorchDispatchMode

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.finetuning.batches import LabelledBatches
from rankformer.model.heads import (
    FineTuningLoss,
    HeadedEncoder,
    cross_entropy,
    draw_head,
    squared_error,
)
from rankformer.pretraining.batches import MaskedBatches
from rankformer.pretraining.loss import PretrainingLoss
from rankformer.training.inputs import move_inputs

# Operations whose result, or its shape, is known only when they are done.
WAITING = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal",
    "aten::is_nonzero", "aten::_unique2", "aten::unique_consecutive", "aten::bincount",
}  # fmt: skip
LENGTHS = (30, 1, 0, 30, 17, 44)


class Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name
        by_bool = name in ("aten::index", "aten::index_put", "aten::_index_put_impl_") and any(
            each is not None and each.dtype == torch.bool for each in args[1]
        )
        if name in WAITING or by_bool:
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


class Cells:
    """Made-up cells in place of a file."""

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary
        rng = np.random.default_rng(0)
        self.ragged = (
            rng.choice(vocabulary.tokens, sum(LENGTHS)).astype(np.int32),
            np.cumsum([0, *LENGTHS]),
        )

    def __len__(self):
        return len(LENGTHS)

    def take(self, rows):
        assert rows.tolist() == list(range(len(self)))
        return self.ragged


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return Checkpoint.open(
        save_small_checkpoint(
            tmp_path_factory.mktemp("small") / "model",
            small_vocabulary(),
            dropout=0.1,
            attention_dropout=0.1,
        )
    )


def pretraining_step(checkpoint, device):
    special = list(checkpoint.vocabulary.special_tokens.values())
    objective = PretrainingLoss(checkpoint.masked_language_model().train(), special, 0.5)
    batches = MaskedBatches(Cells(checkpoint.vocabulary), seed=0, masked_share=0.3)
    return objective.to(device), batches(range(len(LENGTHS)))


def finetuning_step(checkpoint, device, unit="cell", mode="cell"):
    vocabulary = checkpoint.vocabulary
    model = HeadedEncoder(
        checkpoint.encoder(), [draw_head(checkpoint.spec.d_model, n, 0.02) for n in (3, 1)],
        unit=unit, mode=mode, special_tokens=list(vocabulary.special_tokens.values()),
        dropout=0.1,
    ).train()  # fmt: skip
    losses = [cross_entropy(torch.tensor([1.0, 2.0, 0.5]), 0.1), squared_error]
    objective = FineTuningLoss(model, losses, [1.0, 0.3])
    truth = np.full((2, len(LENGTHS)), np.nan, np.float32)
    truth[:, ::2] = 1
    of_genes = unit == "gene"
    if of_genes:
        truth = np.full((2, vocabulary.size), np.nan, np.float32)
        truth[:, ::2] = 1
    batches = LabelledBatches(Cells(vocabulary), truth, of_genes=of_genes)
    return objective.to(device), batches(range(len(LENGTHS)))


STEPS = {
    "pretraining": pretraining_step,
    "cells": finetuning_step,
    "cls": lambda *where: finetuning_step(*where, mode="cls"),
    "genes": lambda *where: finetuning_step(*where, unit="gene"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_asks_for_no_number(checkpoint, step):
    objective, inputs = STEPS[step](checkpoint, "cpu")
    optimizer = torch.optim.AdamW(objective.parameters(), fused=True)
    with Counting() as counting:
        objective(**inputs)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
    assert not counting.found


def test_what_would_wait_is_counted():
    with Counting() as counting:
        float(torch.ones(()))
        torch.arange(3)[torch.arange(3) > 1]
    assert counting.found == {"aten::_local_scalar_dense": 1, "aten::index": 1}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_on_a_gpu_never_waits(checkpoint, step):
    objective, inputs = STEPS[step](checkpoint, "cuda")
    optimizer = torch.optim.AdamW(objective.parameters(), fused=True)
    for turn in range(2):
        own = move_inputs(inputs, "cuda")
        # The first step chooses back ends.
        torch.cuda.set_sync_debug_mode("error" if turn else "default")
        try:
            with torch.autocast("cuda", torch.bfloat16):
                loss = objective(**own)["loss"]
            loss.backward()
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_fused_adamw_is_adamw():
    found = []
    for fused in (False, True):
        torch.manual_seed(0)
        weights = torch.randn(50, 7, requires_grad=True)
        optimizer = torch.optim.AdamW([weights], lr=0.01, weight_decay=0.1, fused=fused)
        for _ in range(20):
            optimizer.zero_grad()
            (weights.square() * torch.arange(7)).sum().backward()
            optimizer.step()
        found.append(weights.detach())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
