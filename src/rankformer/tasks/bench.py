"""How fast the encoder runs here, beside what its products and its attention reach alone.

Shapes: T tokens, H heads, K head size, D hidden.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankformer.model.attention import Segments, attend
from rankformer.model.embedder import Embedder
from rankformer.model.encoder import Layer
from rankformer.model.workers import share_cores, start_workers
from rankformer.ragged import Ragged

# Genes of a cell in deep droplet data: a log-normal with a mean of about 1,440 tokens.
_MEDIAN_LENGTH, _LENGTH_SPREAD = 1_270, 0.5
_SHORTEST = 32
_MOST_CELLS = 4_096
_ROUNDS = 3
# One gibibyte is far beyond the caches.
_COPIED_BYTES = 2**30
Work = Callable[[], object]


@dataclass(frozen=True)
class Round:
    """One round: seconds of the encoder, and the rates of its parts alone, beside each other.

    Attributes
    ----------
    seconds
        From tokens to embeddings, all cells.
    product_rate, attention_rate
        FLOP/s of one layer's matrix products, and of attention, on the same cells; all cores.
    copy_rate
        Bytes read and written a second by a copy in the device's memory.
    """

    seconds: float
    product_rate: float
    attention_rate: float
    copy_rate: float


@dataclass(frozen=True)
class BenchResult:
    """What was measured: `rounds`, on `lengths` (n_cells,) tokens a cell."""

    embedder: Embedder
    lengths: NDArray[np.int64]
    rounds: tuple[Round, ...]
    memory_bytes: int

    @property
    def product_flops(self) -> int:
        """Of the matrix products of all cells and layers."""
        return self.embedder.checkpoint.spec.product_flops(int(self.lengths.sum()))

    @property
    def attention_flops(self) -> int:
        """Of the attention of all cells and layers."""
        spec = self.embedder.checkpoint.spec
        return sum(spec.attention_flops(int(length)) for length in self.lengths)

    @property
    def seconds(self) -> float:
        """The encoder's, median of the rounds."""
        return median(each.seconds for each in self.rounds)

    @property
    def flops_per_second(self) -> float:
        return (self.product_flops + self.attention_flops) / self.seconds

    def ratio_to_parts(self, each: Round) -> float:
        """The encoder's time over that of its products and attention at their rates alone."""
        products = self.product_flops / each.product_rate
        return each.seconds / (products + self.attention_flops / each.attention_rate)

    @property
    def ratios_to_parts(self) -> list[float]:
        return [self.ratio_to_parts(each) for each in self.rounds]


def run_bench(embedder: Embedder, *, seconds: float = 2.0, seed: int = 0) -> BenchResult:
    """Time an embedder on random tokens of realistic lengths.

    Parameters
    ----------
    embedder
        The model, ready.
    seconds
        About how long the encoder runs in each of three rounds.
    seed
        Of lengths and tokens.
    """
    n_cells = 2 * share_cores(_MOST_CELLS)[0]
    few = make_tokens(embedder, n_cells, seed)
    embedder.cells(few)
    each_cell = _seconds(lambda: embedder.cells(few)) / n_cells
    n_cells = int(np.clip(seconds / each_cell, n_cells, _MOST_CELLS))
    return measure_rounds(embedder, make_tokens(embedder, n_cells, seed), _ROUNDS)


def measure_rounds(embedder: Embedder, ragged: Ragged, n_rounds: int) -> BenchResult:
    """The encoder and its parts in turns, so that other work on the machine meets all alike."""
    rounds = tuple(_measure_round(embedder, ragged) for _ in range(n_rounds))
    return BenchResult(embedder, np.diff(ragged[1]), rounds, _memory_bytes(embedder.device))


def make_tokens(embedder: Embedder, n_cells: int, seed: int = 0) -> Ragged:
    """Random tokens of cells with lengths as in real cells, cropped to the model's input."""
    rng = np.random.default_rng(seed)
    vocabulary = embedder.checkpoint.vocabulary
    lengths = rng.lognormal(np.log(_MEDIAN_LENGTH), _LENGTH_SPREAD, n_cells)
    lengths = lengths.clip(_SHORTEST, vocabulary.input_length).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.choice(vocabulary.tokens, offsets[-1]).astype(np.int32)
    if vocabulary.cls_token is not None and vocabulary.eos_token is not None:
        values[offsets[:-1]], values[offsets[1:] - 1] = vocabulary.cls_token, vocabulary.eos_token
    return values, offsets


def _measure_round(embedder: Embedder, ragged: Ragged) -> Round:
    seconds = _seconds(lambda: embedder.cells(ragged))
    return Round(
        seconds,
        _product_rate(embedder, ragged),
        _attention_rate(embedder, ragged),
        _copy_rate(embedder.device),
    )


def _product_rate(embedder: Embedder, ragged: Ragged) -> float:
    """Of one layer's four products, on batches as the encoder has them."""
    layer = embedder.encoder.layers[0]
    assert isinstance(layer, Layer)  # noqa: S101  # for the type
    spec, offsets = embedder.checkpoint.spec, ragged[1]
    n_tokens = int(offsets[embedder.budget.next_stop(offsets, 0)])
    hidden_TD = _random(embedder, n_tokens, spec.d_model)
    fed_TF = _random(embedder, n_tokens, spec.d_ff)

    def work() -> None:
        for part in (layer.qkv, layer.attention_out, layer.ffn_in):
            part(hidden_TD)
        layer.ffn_out(fed_TF)

    seconds = _seconds_a_work(work, embedder.device)
    return spec.product_flops(n_tokens) / spec.n_layers / seconds


def _attention_rate(embedder: Embedder, ragged: Ragged) -> float:
    """Of one layer's attention, on the cells of the first batches, a batch for each core."""
    spec, offsets = embedder.checkpoint.spec, ragged[1]
    batches, first = [], 0
    while first < len(offsets) - 1 and len(batches) < 16:
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


def _copy_rate(device: torch.device) -> float:
    source = torch.zeros(_COPIED_BYTES // 8, dtype=torch.int64, device=device)
    target = torch.zeros_like(source)
    return 2 * _COPIED_BYTES / _seconds(lambda: _synchronize(target.copy_(source).device))


def _random(embedder: Embedder, *shape: int) -> Tensor:
    return torch.randn(shape, device=embedder.device, dtype=embedder.dtype)


def _seconds_a_work(work: Work, device: torch.device) -> float:
    """Seconds of one piece of work where each core has its own."""
    n_workers = share_cores(_MOST_CELLS)[0] if device.type == "cpu" else 1
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
            _synchronize(device)
            return
        with start_workers(*share_cores(len(works))) as submit:
            futures = [submit(lambda i, _: run(works[i]), i, i + 1) for i in range(len(works))]
            for future in futures:
                future.result()

    run_all()
    return _seconds(run_all)


def _seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _memory_bytes(device: torch.device) -> int:
    """The most that tensors took on a CUDA device; elsewhere what the process has."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import psutil

    return int(psutil.Process().memory_info().rss)
