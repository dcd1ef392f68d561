"""The encoder of a published shape on a GPU: four ways to compute it, and how near they are."""

from __future__ import annotations

import gc
import logging
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import padded_bert
import torch
from gpu_models import MODELS, Sizes, draw_encoder, make_checkpoint, make_embedder

from rankformer import MaskedLanguageModel
from rankformer.embed.bench import make_tokens
from rankformer.embed.microbenchmarks import attention_rate, copy_rate, product_rate
from rankformer.model.attention import attend
from rankformer.model.attention_by_cell import attend_each
from rankformer.model.cuda.flash import KINDS, FlashKind, load_backend
from rankformer.model.device import synchronize
from rankformer.model.operations import PLAIN, Operations

if TYPE_CHECKING:
    from rankformer import Checkpoint, Encoder
    from rankformer.embed.embedder import Embedder
    from rankformer.model.segments import Backend
    from rankformer.ragged import Ragged

WAYS = {
    "plain": (False, False), "fused": (True, False), "fa3": (False, True), "both": (True, True),
}  # fmt: skip
# Tokens of the cells that are compared with the CPU, which is slow: few and short, and unlike.
_COMPARED_LENGTHS = (200, 37, 150, 3)


def measure_model(name: str, sizes: Sizes) -> dict[str, Any]:
    """All figures of one model, and what the log told meanwhile."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("rankformer")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        return {**_measure(name, sizes), "log": said}
    finally:
        logger.removeHandler(handler)


def _measure(name: str, sizes: Sizes) -> dict[str, Any]:
    checkpoint = make_checkpoint(name, sizes)
    encoder = draw_encoder(checkpoint.spec, sizes.device)
    embedder = make_embedder(checkpoint, encoder, sizes, dtype=sizes.dtype)
    ragged = make_tokens(embedder, sizes.n_cells[MODELS.index(name)])
    report: dict[str, Any] = {
        "model": name,
        "dtype": sizes.dtype,
        "n_cells": len(ragged[1]) - 1,
        "mean_tokens": float(np.diff(ragged[1]).mean()),
        "weights": "random",
        "tokens": "random, with lengths as in real cells",
        "copy_rate": None if sizes.is_tiny else copy_rate(embedder.device),
        "ways": {way: measure_way(embedder, ragged, way, sizes) for way in WAYS},
        "chosen": measure_chosen(embedder, ragged, sizes),
        "parity": measure_parity(checkpoint, encoder, ragged, sizes),
    }
    del embedder
    release_memory(sizes)
    report["stand_in"] = measure_stand_in(encoder, ragged, sizes)
    release_memory(sizes)
    return report


def measure_way(embedder: Embedder, ragged: Ragged, way: str, sizes: Sizes) -> dict[str, Any]:
    """One way to compute sums, norms and attention."""
    has_fused, has_fa3 = WAYS[way]
    operations = load_fused() if has_fused else PLAIN
    backend = find_attention(embedder, has_fa3=has_fa3)
    if operations is None or backend is None:
        lacking = "Triton" if operations is None else "FlashAttention-3"
        return {"not_run": f"{lacking} is not installed, or not for this machine"}
    embedder.encoder.operate_by(operations)
    embedder.encoder.attend_by(backend)
    name = "torch's, a cell at a time" if backend is attend_each else str(backend)
    return {"attention": name, **time_encoder(embedder, ragged, sizes)}


def measure_chosen(embedder: Embedder, ragged: Ragged, sizes: Sizes) -> dict[str, Any]:
    """What a user gets: all that is chosen."""
    embedder.encoder.operate_by(None)
    embedder.encoder.attend_by(attend)
    began = time.perf_counter()
    embedder.cells((ragged[0][: ragged[1][1]], ragged[1][:2]))
    seconds = time.perf_counter() - began
    return {"first_cell_seconds": seconds, **time_encoder(embedder, ragged, sizes)}


def load_fused() -> Operations | None:
    """The fused operations, without a comparison: their results are compared here."""
    try:
        from rankformer.model.cuda.fused import FUSED
    except ImportError:
        return None
    return FUSED


def find_attention(embedder: Embedder, *, has_fa3: bool) -> Backend | None:
    """FlashAttention-3, or what torch has."""

    def takes(kind: FlashKind) -> bool:
        named = "FlashAttention-3" in kind.name if has_fa3 else "torch's" in kind.name
        generation = torch.cuda.get_device_capability(embedder.device)[0]
        return named and kind.fits(
            generation, embedder.dtype, has_dropout=False, has_gradients=False
        )

    if embedder.device.type != "cuda":
        return None if has_fa3 else attend_each
    found = [load_backend(kind) for kind in KINDS if takes(kind)]
    return next(filter(None, found), None if has_fa3 else attend_each)


def time_encoder(embedder: Embedder, ragged: Ragged, sizes: Sizes) -> dict[str, Any]:
    """Cells a second, and the time over that of products and attention alone."""
    spec, lengths = embedder.checkpoint.spec, np.diff(ragged[1])
    # Kernels are compiled, and memory is taken, on some batches.
    n_first = min(len(lengths), 2 * embedder.budget.next_stop(ragged[1], 0))
    embedder.cells((ragged[0][: ragged[1][n_first]], ragged[1][: n_first + 1]))
    seconds = []
    for _ in range(sizes.rounds):
        began = time.perf_counter()
        embedder.cells(ragged)
        seconds.append(time.perf_counter() - began)
    product = spec.product_flops(int(lengths.sum()))
    attention = sum(spec.attention_flops(int(each)) for each in lengths)
    rates = product_rate(embedder, ragged[1]), attention_rate(embedder, ragged[1])
    parts = product / rates[0] + attention / rates[1]
    taken = median(seconds)
    return {
        "seconds": seconds,
        "cells_per_second": len(lengths) / taken,
        "flops_per_second": (product + attention) / taken,
        "product_rate": rates[0],
        "attention_rate": rates[1],
        "time_over_parts": taken / parts,
        "peak_memory_gb": peak_memory(embedder),
    }


def measure_parity(
    checkpoint: Checkpoint, encoder: Encoder, ragged: Ragged, sizes: Sizes
) -> dict[str, float]:
    """Largest differences and the least cosine of embeddings of the same weights and cells."""
    few = shorten(ragged)
    exact = make_embedder(checkpoint, encoder, sizes, dtype="float32", device="cpu").cells(few)
    embedder = make_embedder(checkpoint, encoder, sizes, dtype="float32")
    chosen = embedder.cells(few)
    embedder.encoder.operate_by(load_fused())
    fused = embedder.cells(few)
    embedder.encoder.operate_by(PLAIN)
    plain = embedder.cells(few)
    whole = slice_cells(ragged, min(8, len(ragged[1]) - 1))
    full = embedder.cells(whole)
    half = make_embedder(checkpoint, encoder, sizes, dtype=sizes.dtype).cells(whole)
    norms = np.linalg.norm(full, axis=1) * np.linalg.norm(half, axis=1)
    tokens = padded_bert.pad(few, 0, len(few[1]) - 1, sizes.device)
    with torch.inference_mode():
        hidden = padded_bert.hidden_states(model_of(encoder), tokens)
    rows = [row[:length] for row, length in zip(hidden, np.diff(few[1]), strict=True)]
    means = embedder.pool(torch.cat(rows), few[1], "cell")
    return {
        "float32_to_cpu": float(np.abs(chosen - exact).max()),
        "float32_fused_to_plain": float(np.abs(fused - plain).max()),
        "float32_to_stand_in": float(np.abs(chosen - means.cpu().numpy()).max()),
        "bfloat16_least_cosine": float(((full * half).sum(axis=1) / norms).min()),
    }


def measure_stand_in(encoder: Encoder, ragged: Ragged, sizes: Sizes) -> dict[str, Any]:
    """float32, padded batches in the cells' order, the masked-LM head at every place."""
    model = model_of(encoder)

    @torch.inference_mode()
    def run(start: int, stop: int) -> None:
        tokens = padded_bert.pad(ragged, start, stop, sizes.device)
        padded_bert.logits(model, padded_bert.hidden_states(model, tokens))
        synchronize(torch.device(sizes.device))

    size = sizes.stand_in_batch
    run(0, size)
    began = time.perf_counter()
    for start in range(0, sizes.n_stand_in, size):
        run(start, start + size)
    seconds = time.perf_counter() - began
    return {
        "name": padded_bert.NAME,
        "dtype": "float32",
        "batch_size": size,
        "cells_per_second": sizes.n_stand_in / seconds,
    }


def model_of(encoder: Encoder) -> MaskedLanguageModel:
    device = encoder.embeddings.token.weight.device
    return MaskedLanguageModel(encoder).to(device).eval()


def slice_cells(ragged: Ragged, n_cells: int) -> Ragged:
    """The first cells."""
    return ragged[0][: ragged[1][n_cells]], ragged[1][: n_cells + 1]


def shorten(ragged: Ragged) -> Ragged:
    """The first tokens of the first cells."""
    cells = np.split(ragged[0], ragged[1][1:-1])
    cells = [each[:length] for each, length in zip(cells, _COMPARED_LENGTHS, strict=False)]
    return np.concatenate(cells), np.cumsum([0, *map(len, cells)])


def peak_memory(embedder: Embedder) -> float | None:
    if embedder.device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(embedder.device) / 2**30, 2)


def release_memory(sizes: Sizes) -> None:
    """What the last model held is not to weigh on the next."""
    gc.collect()
    if sizes.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
