"""How fast the encoder runs here, beside what its products and its attention reach alone."""

from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from rankformer.embed.embedder import Embedder
from rankformer.embed.microbenchmarks import attention_rate, copy_rate, product_rate, time_once
from rankformer.model.cpu.workers import share_cores
from rankformer.ragged import Ragged

# Genes of a cell in deep droplet data: a log-normal with a mean of about 1,440 tokens.
_MEDIAN_LENGTH, _LENGTH_SPREAD = 1_270, 0.5
_SHORTEST = 32
_MOST_CELLS = 4_096
_ROUNDS = 3


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

    def seconds_of_parts(self, each: Round) -> float:
        """What the products and the attention of all cells take at their rates alone."""
        return self.product_flops / each.product_rate + self.attention_flops / each.attention_rate

    @property
    def ratios_to_parts(self) -> list[float]:
        """The encoder's time over that of its parts alone, each round."""
        return [each.seconds / self.seconds_of_parts(each) for each in self.rounds]


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
    each_cell = time_once(lambda: embedder.cells(few)) / n_cells
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
    seconds = time_once(lambda: embedder.cells(ragged))
    return Round(
        seconds,
        product_rate(embedder, ragged[1]),
        attention_rate(embedder, ragged[1]),
        copy_rate(embedder.device),
    )


def _memory_bytes(device: torch.device) -> int:
    """The most that tensors took on a CUDA device; elsewhere what the process has."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import psutil

    return int(psutil.Process().memory_info().rss)
