"""Operations of a training step, and the rate of one large product to hold them against."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from rankformer import EncoderSpec
    from rankformer.training.inputs import Inputs

PRODUCT_SIZE = {"cpu": 2_048, "cuda": 8_192}
"""Rows and columns of the product that stands for what the device can do."""


def step_flops(spec: EncoderSpec, batch: Inputs) -> int:
    """Operations of one step on the cells' own tokens, whatever a side computes besides."""
    offsets = batch["offsets"].tolist()
    attention = sum(spec.attention_flops(stop - start) for start, stop in pairwise(offsets))
    each_masked = 2 * spec.d_model * (spec.d_model + spec.vocab_size)
    head = len(batch["places"]) * each_masked
    return 3 * (spec.product_flops(offsets[-1]) + attention + head)


def product_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of one large matrix product: what the device can do."""
    size = PRODUCT_SIZE[device]
    factors = torch.randn(2, size, size, device=device, dtype=dtype)

    def seconds() -> float:
        began = time.perf_counter()
        # Reading a number waits for the device.
        float((factors[0] @ factors[1])[0, 0])
        return time.perf_counter() - began

    return 2 * size**3 / min(seconds() for _ in range(6))
