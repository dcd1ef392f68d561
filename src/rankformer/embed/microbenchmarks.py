"""The rates of the encoder's parts alone on this machine: what it could reach without the rest.

All cores work, as they do when the encoder runs. Shapes: T tokens, H heads, K head size, D hidden,
F feed-forward.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankformer.embed.embedder import Embedder
from rankformer.model.cpu.workers import share_cores, start_workers
from rankformer.model.device import synchronize
from rankformer.model.encoder import Layer
from rankformer.model.segments import Segments

_TIMED_BATCHES = 16
# Far beyond the caches.
_COPIED_BYTES = 2**29
Work = Callable[[], object]


def product_rate(embedder: Embedder, offsets: NDArray[np.int64]) -> float:
    """FLOP/s of one layer's four products, on batches as the encoder has them."""
    layer = _first_layer(embedder)
    spec = embedder.checkpoint.spec
    n_tokens = int(offsets[embedder.budget.next_stop(offsets, 0)])
    hidden_TD = _random(embedder, n_tokens, spec.d_model)
    fed_TF = _random(embedder, n_tokens, spec.d_ff)

    def work() -> None:
        for part in (layer.qkv, layer.attention_out, layer.ffn_in):
            part(hidden_TD)
        layer.ffn_out(fed_TF)

    seconds = _seconds_a_work(work, embedder.device)
    return spec.product_flops(n_tokens) / spec.n_layers / seconds


def attention_rate(embedder: Embedder, offsets: NDArray[np.int64]) -> float:
    """FLOP/s of one layer's attention, on the cells of the first batches."""
    spec, attend = embedder.checkpoint.spec, _first_layer(embedder).attend
    batches: list[NDArray[np.int64]] = []
    first = 0
    while first < len(offsets) - 1 and len(batches) < _TIMED_BATCHES:
        stop = embedder.budget.next_stop(offsets, first)
        batches.append(offsets[first : stop + 1] - offsets[first])
        first = stop

    def one(own: NDArray[np.int64]) -> Work:
        segments = Segments.between(own.tolist(), embedder.device)
        query_THK = _random(embedder, int(own[-1]), spec.n_heads, spec.head_size)
        return lambda: attend(query_THK, query_THK, query_THK, segments, 0.0)

    works = [one(own) for own in batches]
    seconds = _seconds_of(works, embedder.device)
    flops = sum(spec.attention_flops(int(n)) for own in batches for n in np.diff(own))
    return flops / spec.n_layers / seconds


def copy_rate(device: torch.device) -> float:
    """Bytes read and written a second by a copy in the device's memory."""
    source = torch.zeros(_COPIED_BYTES // 8, dtype=torch.int64, device=device)
    target = torch.zeros_like(source)
    return 2 * _COPIED_BYTES / time_once(lambda: synchronize(target.copy_(source).device))


def _first_layer(embedder: Embedder) -> Layer:
    layer = embedder.encoder.layers[0]
    assert isinstance(layer, Layer)  # noqa: S101
    return layer


def _random(embedder: Embedder, *shape: int) -> Tensor:
    return torch.randn(shape, device=embedder.device, dtype=embedder.dtype)


def _seconds_a_work(work: Work, device: torch.device) -> float:
    """Seconds of one piece of work where each core has its own."""
    n_workers = torch.get_num_threads() if device.type == "cpu" else 1
    n_works = 4 * n_workers
    return _seconds_of([work] * n_works, device) / n_works


def _seconds_of(works: list[Work], device: torch.device) -> float:
    """Seconds of all `works`, run as the encoder runs batches; the second time counts."""

    @torch.inference_mode()
    def run(work: Work) -> None:
        work()

    def run_all() -> None:
        if device.type != "cpu":
            for work in works:
                run(work)
            synchronize(device)
            return
        with start_workers(*share_cores(len(works))) as submit:
            futures = [submit(lambda i, _: run(works[i]), i, i + 1) for i in range(len(works))]
            for future in futures:
                future.result()

    run_all()
    return time_once(run_all)


def time_once(work: Work) -> float:
    """Seconds of one run."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
