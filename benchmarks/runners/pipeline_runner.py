"""One run of the pipeline in a process of its own: its peak memory.

Runs in rankformer's environment.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measuring import Stages, versions, write_figures

PACKAGES = ("rankformer", "torch", "anndata", "h5py", "numba", "numpy")


def measure_job(arguments: argparse.Namespace) -> dict[str, Any]:
    """A command's work from file to file, and the peak memory of its process."""
    import torch

    from rankformer.embed.files import embed_files
    from rankformer.embed.settings import EmbedJob
    from rankformer.runs.settings import TokenizeJob
    from rankformer.runs.token_runs import tokenize_files

    torch.set_num_threads(arguments.threads)
    stages = Stages()
    target = arguments.target
    if target.suffix:
        mode = "gene" if target.stem == "genes" else "cell"
        embedding = EmbedJob((arguments.cells,), output=target, mode=mode)
        settings = {"dtype": arguments.dtype, "emb_layer": arguments.layer}
        streams: Any = embed_files(embedding, arguments.checkpoint, **settings).sources
    else:
        job = TokenizeJob(sources=(arguments.cells,), output=target)
        streams = tokenize_files(job, arguments.checkpoint).sources
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
    parser.add_argument(
        "--target", type=Path, required=True, help="genes.parquet, cells.npy, or a folder"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON of the figures")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_arguments()
    write_figures(given.out, {"versions": versions(*PACKAGES), **measure_job(given)})
