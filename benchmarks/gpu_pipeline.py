"""From a file of many cells to their embeddings: how busy the GPU is, and where the time goes.

The file is an .h5ad with gzip, as people have them. Its counts are made up, with as many genes a
cell as pbmc cells have: compressed once for some thousand cells, and written over and over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from gpu_models import Sizes, draw_encoder, make_spec, make_vocabulary
from repeated_cells import write_repeated_cells
from scipy.sparse import csr_matrix

from rankformer import MaskedLanguageModel, save_checkpoint
from rankformer.embed import vector_runs
from rankformer.embed.embedder import Embedder
from rankformer.embed.files import embed_files
from rankformer.embed.settings import EmbedJob
from rankformer.model.encoder import Encoder

MODEL = "gf-12L-95M-i4096"
_BLOCK_CELLS = 2_000


def measure_file(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Embed the cells of a file, as `rankformer embed` does."""
    spec = make_spec(MODEL, sizes)
    cells, model = folder / "cells.h5ad", folder / "model"
    output = folder / "embeddings.npy"
    began = time.perf_counter()
    write_cells(cells, sizes, spec.vocab_size - 4)
    seconds_of_writing = time.perf_counter() - began
    if not model.exists():
        encoder = draw_encoder(spec, sizes.device).cpu()
        save_checkpoint(model, MaskedLanguageModel(encoder), make_vocabulary(spec, MODEL))
    watch = Watch(sizes.device)
    logging.getLogger("rankformer").setLevel(logging.INFO)
    logging.basicConfig(format="%(relativeCreated)d ms %(message)s")
    began = time.perf_counter()
    with watch:
        job = EmbedJob((cells,), output=output, overwrite=True)
        told = embed_files(job, model, device=sizes.device, dtype=sizes.dtype).figures
    seconds = time.perf_counter() - began
    vectors = np.load(output, mmap_mode="r")
    is_finite = bool(np.isfinite(vectors[:: max(len(vectors) // 1000, 1)]).all())
    file_mb = cells.stat().st_size / 2**20
    for each in (cells, output):
        each.unlink()
    return {
        "model": MODEL,
        "cells": len(vectors),
        "genes_of_a_cell": sizes.file_genes,
        "file_mb": round(file_mb, 1),
        "counts": "made up",
        "seconds_of_writing_the_file": seconds_of_writing,
        "seconds": seconds,
        "seconds_to_the_first_batch": watch.first - began,
        "cells_per_second": len(vectors) / seconds,
        "is_finite": is_finite,
        **watch.figures(),
        **{name: told[name] for name in ("slowest_stage", "seconds_of_stages")},
    }


class Watch:
    """Marks where each batch begins and ends on the device.

    On a GPU these are marks in its queue, and the device is busy from a batch's first mark to its
    last. On a CPU, where several batches run at once, it is busy while any does.
    """

    def __init__(self, device: str) -> None:
        self.is_gpu = device == "cuda"
        self.marks: list[tuple[Any, Any]] = []
        self.first = 0.0

    def mark(self) -> Any:
        if not self.is_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def __enter__(self) -> Watch:
        plain: dict[str, Callable[..., Any]] = {
            "run": Encoder.forward, "pool": Embedder.pool, "warm_up": vector_runs.warm_up
        }  # fmt: skip

        def forward(encoder: Encoder, *arguments: Any) -> Any:
            self.first = self.first or time.perf_counter()
            begin = self.mark()
            hidden = plain["run"](encoder, *arguments)
            hidden.begin = begin
            return hidden

        def pool(embedder: Embedder, hidden: Any, *arguments: Any) -> Any:
            begin = hidden.begin
            pooled = plain["pool"](embedder, hidden, *arguments)
            self.marks.append((begin, self.mark()))
            return pooled

        def warm_up(embedder: Embedder) -> None:
            """It is no batch of cells."""
            plain["warm_up"](embedder)
            self.marks.clear()
            self.first = 0.0

        self._patches = [
            patch.object(Encoder, "forward", forward), patch.object(Embedder, "pool", pool),
            patch.object(vector_runs, "warm_up", warm_up),
        ]  # fmt: skip
        for each in self._patches:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._patches:
            each.stop()

    def figures(self) -> dict[str, float]:
        """The share of the time from the first batch to the last in which the device is busy."""
        if self.is_gpu:
            torch.cuda.synchronize()
            zero = self.marks[0][0]
            spans = [
                (zero.elapsed_time(a) / 1e3, zero.elapsed_time(b) / 1e3) for a, b in self.marks
            ]
        else:
            zero = min(a for a, _ in self.marks)
            spans = [(a - zero, b - zero) for a, b in self.marks]
        spans.sort()
        whole = max(stop for _, stop in spans)
        busy = until = 0.0
        for start, stop in spans:
            busy += max(stop - max(start, until), 0.0)
            until = max(until, stop)
        return {
            "batches": len(spans),
            "seconds_from_first_batch_to_last": whole,
            "busy_share": busy / whole,
        }


def write_cells(path: Path, sizes: Sizes, n_vars: int) -> None:
    """Write cells to an .h5ad file, a block of them over and over."""
    n_cells = sizes.file_cells
    n_blocks = -(-n_cells // _BLOCK_CELLS)
    block = draw_block(min(_BLOCK_CELLS, n_cells), sizes.file_genes, n_vars)
    var = pd.DataFrame(index=[f"ENSG{index:011d}" for index in range(1, n_vars + 1)])
    write_repeated_cells(path, block, var, n_blocks)


def draw_block(n_cells: int, n_genes: int, n_vars: int) -> csr_matrix:
    """Genes of each cell in ascending order, and counts of which most are 1."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(np.log(n_genes) - 0.08, 0.4, n_cells).clip(8, n_vars // 2)
    lengths = lengths.astype(np.int64)
    # A few genes are in most cells, most are in few.
    chances = rng.gamma(0.3, 1.0, n_vars) + 1e-6
    keys = np.log(chances)[None, :].astype(np.float32)
    rows: list[Any] = []
    for start in range(0, n_cells, 500):
        own = lengths[start : start + 500]
        drawn = -keys - rng.gumbel(size=(len(own), n_vars)).astype(np.float32)
        likeliest = np.argpartition(drawn, int(own.max()), axis=1)[:, : own.max()]
        order = np.take_along_axis(drawn, likeliest, axis=1).argsort(axis=1)
        genes = np.take_along_axis(likeliest, order, axis=1)
        rows += [np.sort(row[:length]) for row, length in zip(genes, own, strict=True)]
    indices = np.concatenate(rows).astype(np.int32)
    counts = rng.geometric(0.6, len(indices)).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return csr_matrix((counts, indices, starts), shape=(n_cells, n_vars))
