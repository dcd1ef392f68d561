"""A trial of FP8 products: whether they are worth it, by the rate and by what embeddings they give.

Products of 8-bit floats with a scale for each token and each output (`torch._scaled_mm`), which a
later version may keep where the encoder is at least 1.15 times as fast as in bfloat16 and no
embedding has a cosine below 0.9995 to that in float32.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gpu_models import Sizes, draw_encoder, make_checkpoint, make_embedder
from torch import Tensor, nn

from rankformer.embed.bench import make_tokens

if TYPE_CHECKING:
    from rankformer.embed.embedder import Embedder
    from rankformer.ragged import Ragged

MODELS = {"gf-12L-104M-i4096": 512, "gf-18L-316M-i4096": 192}
"""The widest ones, and the cells that they are timed on."""
LEAST_RATIO, LEAST_COSINE = 1.15, 0.9995
_FORMAT = torch.float8_e4m3fn
_LARGEST = torch.finfo(_FORMAT).max


class Float8Linear(nn.Module):
    """A linear layer whose product takes 8-bit floats."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight_OI, self.scale_O1 = quantize(linear.weight.detach())
        self.bias_O = linear.bias.detach()

    def forward(self, inputs_TI: Tensor) -> Tensor:
        rounded_TI, scale_T1 = quantize(inputs_TI)
        return torch._scaled_mm(
            rounded_TI, self.weight_OI.t(), scale_a=scale_T1, scale_b=self.scale_O1.t(),
            bias=self.bias_O, out_dtype=inputs_TI.dtype, use_fast_accum=True,
        )  # fmt: skip


def quantize(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as 8-bit floats, and (n, 1) float32 by what they are multiplied."""
    scale = rows.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / _LARGEST
    return (rows / scale).to(_FORMAT), scale


def put_float8_products(embedder: Embedder) -> None:
    """Replace the four products of each layer."""
    for layer in embedder.encoder.layers:
        for name in ("qkv", "attention_out", "ffn_in", "ffn_out"):
            setattr(layer, name, Float8Linear(getattr(layer, name)))


def try_products(sizes: Sizes) -> dict[str, Any]:
    """Both models, or the reason why not."""
    report: dict[str, Any] = {"least_ratio": LEAST_RATIO, "least_cosine": LEAST_COSINE}
    for name, n_cells in MODELS.items():
        try:
            report[name] = compare(name, 4 if sizes.is_tiny else n_cells, sizes)
        # A card or a torch without such products says so in many ways.
        except (RuntimeError, NotImplementedError, ValueError) as error:
            report[name] = {"not_run": str(error).splitlines()[0]}
    found = [report[name] for name in MODELS]
    report["is_worth_it"] = all(
        each.get("ratio", 0) >= LEAST_RATIO and each.get("cosine", 0) >= LEAST_COSINE
        for each in found
    )
    return report


def compare(name: str, n_cells: int, sizes: Sizes) -> dict[str, Any]:
    """The rate beside bfloat16, and the least cosine to float32, of random weights and tokens."""
    checkpoint = make_checkpoint(name, sizes)
    encoder = draw_encoder(checkpoint.spec, sizes.device)
    exact, half, rough = (
        make_embedder(checkpoint, encoder, sizes, dtype=dtype)
        for dtype in ("float32", "bfloat16", "bfloat16")
    )
    put_float8_products(rough)
    ragged = make_tokens(half, n_cells)
    few = ragged[0][: ragged[1][4]], ragged[1][:5]
    a, b = exact.cells(few), rough.cells(few)
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    seconds = {"bfloat16": rate(half, ragged), "float8": rate(rough, ragged)}
    return {
        "cells_per_second": {key: n_cells / each for key, each in seconds.items()},
        "ratio": seconds["bfloat16"] / seconds["float8"],
        "cosine": float(cosines.min()),
        "rounding_of_inputs": "by torch's own operations, several passes over memory",
    }


def rate(embedder: Embedder, ragged: Ragged) -> float:
    """Seconds of all cells."""
    embedder.cells(ragged)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        embedder.cells(ragged)
        seconds.append(time.perf_counter() - began)
    return median(seconds)
