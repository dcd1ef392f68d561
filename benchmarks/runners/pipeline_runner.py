"""One run of the pipeline in a process of its own: how busy the model is, or its peak memory.

Runs in rankformer's environment.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from measuring import Stages, versions, write_figures

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from rankformer.checkpoints.checkpoint import Checkpoint
    from rankformer.ragged import Ragged

PACKAGES = ("rankformer", "torch", "anndata", "h5py", "numba", "numpy")
BATCH = 64
D_MODEL = 512
OVERLAPPED = ("rankformer.embed.cells.read_ahead", "rankformer.tokens.tokenize.read_ahead")


class PacedModel:
    """Stands in for a model on a GPU: takes 1 / rate seconds a cell, and no core meanwhile."""

    def __init__(self, checkpoint: Checkpoint, rate: float) -> None:
        self.checkpoint = checkpoint
        self.rate = rate
        self.busy = 0.0
        self.began: float | None = None
        self.ended = 0.0

    def cell_batches(
        self, ragged: Ragged, _: str
    ) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Vectors of zeros, a batch at a time, each when a real model would have them."""
        import numpy as np

        n_cells = len(ragged[1]) - 1
        for start in range(0, n_cells, BATCH):
            stop = min(start + BATCH, n_cells)
            if self.began is None:
                self.began = time.perf_counter()
            seconds = (stop - start) / self.rate
            time.sleep(seconds)
            self.busy += seconds
            self.ended = time.perf_counter()
            yield start, stop, np.zeros((stop - start, D_MODEL), np.float32)


def measure_overlap(arguments: argparse.Namespace) -> dict[str, Any]:
    """Share of the time from the first batch to the last in which the model is at work."""
    import numpy as np

    from rankformer.checkpoints.checkpoint import Checkpoint
    from rankformer.embed.cells import fill_vectors
    from rankformer.tokens.reading_options import ReadingOptions
    from rankformer.tokens.tokenize import open_tokens

    checkpoint = Checkpoint.open(arguments.checkpoint)
    options = ReadingOptions(n_threads=arguments.threads)
    model = PacedModel(checkpoint, arguments.rate)
    with ExitStack() as stack:
        if arguments.in_turn:
            for name in OVERLAPPED:
                stack.enter_context(patch(name, nullcontext))
        stream = stack.enter_context(
            closing(open_tokens(arguments.cells, checkpoint.vocabulary, options))
        )
        vectors = np.empty((len(stream), D_MODEL), np.float32)
        fill_vectors(vectors, [stream], model, mode="cell")  # type: ignore[arg-type]
    seconds = model.ended - (model.began or 0)
    return {"n_cells": len(vectors), "seconds": seconds, "busy_share": model.busy / seconds}


def measure_job(arguments: argparse.Namespace) -> dict[str, Any]:
    """A command's work from file to file, and the peak memory of its process."""
    import torch
    from rankformer.tokens.files import tokenize_files

    from rankformer.embed.files import embed_files
    from rankformer.embed.settings import EmbedJob

    torch.set_num_threads(arguments.threads)
    stages = Stages()
    target = arguments.target
    if target.suffix:
        mode = "gene" if target.stem == "genes" else "cell"
        job = EmbedJob((arguments.cells,), target, mode)
        settings = {"dtype": arguments.dtype, "emb_layer": arguments.layer}
        streams: Any = embed_files(job, arguments.checkpoint, **settings).sources
    else:
        streams = tokenize_files([arguments.cells], target, arguments.checkpoint).sources
    stages.end("job")
    obs = streams[0].obs
    return {
        "n_cells": len(streams[0]),
        "obs_mb": round(obs.memory_usage(deep=True).sum() / 2**20, 1),
        **stages.figures(),
    }


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="an .h5ad file of counts")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--layer", type=int, default=-1)
    parser.add_argument("--rate", type=float, help="cells/s of a model that only waits")
    parser.add_argument("--in-turn", action="store_true", help="read nothing ahead")
    parser.add_argument("--target", type=Path, help="genes.parquet, cells.npy, or a folder")
    parser.add_argument("--out", type=Path, required=True, help="JSON of the figures")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_arguments()
    figures = measure_overlap(given) if given.rate else measure_job(given)
    write_figures(given.out, {"versions": versions(*PACKAGES), **figures})
