"""Time Helical's Geneformer on the first cells of a file and write the figures as JSON.

Runs in Helical's environment, on a cache that helical_cache.py has filled.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import resource
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

MODELS = Path(".cache/helical/models")
PACKAGES = ("helical", "torch", "transformers", "datasets", "anndata", "numpy")


class Stages:
    """Seconds and CPU seconds of each stage, and the process's peak memory in MB at its end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        self.peak_rss_mb = {"start": peak_rss_mb()}
        self._began = time.perf_counter(), time.process_time()

    def end(self, stage: str) -> None:
        """Close the stage that runs and begin the next."""
        wall, cpu = self._began
        self.seconds[stage] = round(time.perf_counter() - wall, 4)
        self.cpu_seconds[stage] = round(time.process_time() - cpu, 4)
        self.peak_rss_mb[stage] = peak_rss_mb()
        self._began = time.perf_counter(), time.process_time()


def peak_rss_mb() -> float:
    """Return the peak resident memory of this process in MB (1024² bytes)."""
    try:
        # A child inherits its parent's ru_maxrss on Linux; VmHWM is its own.
        status = Path("/proc/self/status").read_text()
        kilobytes = int(status.partition("VmHWM:")[2].split()[0])
    except OSError:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / 1024, 1)


def isolate(home: Path, threads: int) -> list[str]:
    """Point every cache below `home`, keep the network out, and limit the threads.

    Libraries read these variables on import, so this comes before the first of them.
    Returns a list that fills with the names of the files that Helical looks for.
    """
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    os.environ.update(dict.fromkeys(limits, str(threads)))
    os.environ.update(HOME=str(home.resolve()), HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    import torch
    from helical.utils.downloader import Downloader

    wanted: list[str] = []
    torch.set_num_threads(threads)
    Downloader.download_via_name = lambda _, name: wanted.append(name)
    return wanted


def sum_colliding_variables(adata: AnnData, mapping: dict[str, str]) -> AnnData:
    """Sum the variables that `mapping` sends to one Ensembl id; leave all others as they are.

    Helical 2.2.0 fails with KeyError: 'ensembl_id' where it meets such variables itself.
    """
    import anndata
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    ids = pd.Index([mapping.get(name.upper(), name) for name in adata.var["ensembl_id"]])
    if ids.is_unique:
        return adata
    groups, unique_ids = pd.factorize(ids)
    ones = np.ones(adata.n_vars, dtype=adata.X.dtype)
    indicator = sp.csr_matrix((ones, (np.arange(adata.n_vars), groups)))
    var = pd.DataFrame({"ensembl_id": unique_ids}, index=unique_ids)
    return anndata.AnnData(sp.csr_matrix(adata.X @ indicator), obs=adata.obs.copy(), var=var)


def stack_embeddings(embeddings: Any, mode: str) -> NDArray[np.floating]:
    """Return cells × d_model; in gene mode, the genes of all cells end to end × d_model."""
    import numpy as np

    if mode != "gene":
        return np.asarray(embeddings)
    return np.concatenate([np.stack(cell.to_numpy()) for cell in embeddings])


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run Helical stage by stage and return what was measured."""
    stages = Stages()
    wanted = isolate(arguments.home, arguments.threads)
    import anndata
    import numpy as np
    from helical.models.geneformer import Geneformer, GeneformerConfig

    stages.end("import")
    cells: AnnData = anndata.read_h5ad(arguments.cells)[: arguments.n_cells].copy()
    stages.end("read")
    config = GeneformerConfig(
        model_name=arguments.model_name, batch_size=arguments.batch_size, emb_mode=arguments.mode
    )
    geneformer = Geneformer(config)
    stages.end("construct")
    mapping_name = next(name for name in wanted if name.endswith("ensembl_mapping_dict.pkl"))
    mapping = pickle.loads((arguments.home / MODELS / mapping_name).read_bytes())
    adata = sum_colliding_variables(cells, mapping)
    stages.end("sum_colliding_variables")
    dataset = geneformer.process_data(adata, gene_names="ensembl_id")
    stages.end("tokenize")
    embeddings = geneformer.get_embeddings(dataset)
    stages.end("embed")

    rows = stack_embeddings(embeddings, arguments.mode)
    if arguments.embeddings:
        np.save(arguments.embeddings, rows)
    lengths = np.asarray(dataset["length"])
    return {
        "model_name": arguments.model_name,
        "cells_file": arguments.cells.name,
        "mode": arguments.mode,
        "batch_size": arguments.batch_size,
        "threads": arguments.threads,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "attention": geneformer.model.config._attn_implementation,
        "weights_dtype": str(geneformer.model.dtype).removeprefix("torch."),
        "n_vars": cells.n_vars,
        "n_vars_after_summing": adata.n_vars,
        "n_cells": adata.n_obs,
        "n_cells_embedded": len(embeddings),
        "embeddings_shape": rows.shape,
        "embeddings_dtype": str(rows.dtype),
        "tokens": int(lengths.sum()),
        "longest_cell": int(lengths.max()),
        "seconds": stages.seconds,
        "cpu_seconds": stages.cpu_seconds,
        "peak_rss_mb": stages.peak_rss_mb,
        **{
            f"{stage}_{unit}_per_second": round(count / stages.seconds[stage], 2)
            for stage in ("tokenize", "embed")
            for unit, count in (("cells", len(lengths)), ("tokens", int(lengths.sum())))
        },
    }


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="home folder of the cache")
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--cells", type=Path, required=True, help="raw counts, var['ensembl_id']")
    parser.add_argument("--n-cells", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--mode", choices=("cell", "gene", "cls"), default="cell")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON of the figures")
    parser.add_argument("--embeddings", type=Path, help=".npy of the embeddings")
    return parser.parse_args()


def main() -> None:
    """Measure, write the JSON, and say where it lies."""
    arguments = parse_arguments()
    figures = measure(arguments)
    arguments.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
