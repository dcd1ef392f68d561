"""Reading, encoding, model and writing at once: what memory they take, over the number of cells.

Cells are those of a file, over and over with fresh Poisson noise, in a compressed .h5ad. A model of
one small layer with random weights does the whole job, from file to file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from machine import describe_machine
from processes import RUNNERS, run_measured
from reporting import markdown_table, write_json
from scipy.sparse import csr_matrix, vstack

MEMORY_HEADER = ("output", "cells", "obs, MB", "peak, MB", "more than the fewest, MB", "cells/s")
TARGETS = ("cells.npy", "cells.h5ad", "cells.parquet", "genes.parquet", "tokens")


def repeat_with_noise(path: Path, n_cells: int, out: Path) -> Path:
    """Write `n_cells` cells whose counts are drawn anew, around the counts of real ones."""
    adata = anndata.read_h5ad(path)
    real, rng = csr_matrix(adata.X), np.random.default_rng(0)
    blocks = []
    for start in range(0, n_cells, adata.n_obs):
        block = real[: n_cells - start].copy()
        block.data = rng.poisson(block.data).astype(np.float32)
        block.eliminate_zeros()
        blocks.append(block)
    many = anndata.AnnData(vstack(blocks, format="csr"), var=adata.var)
    many.obs_names = [f"cell{index}" for index in range(n_cells)]
    many.obs["sample"] = "noisy"
    many.write_h5ad(out, compression="gzip")
    return out


def save_small_model(arguments: argparse.Namespace, folder: Path) -> Path:
    """Random weights of one layer, with a published vocabulary but for the input length."""
    from rankformer.checkpoints.save import save_checkpoint
    from rankformer.model.encoder import Encoder, MaskedLanguageModel
    from rankformer.model.spec import EncoderSpec
    from rankformer.vocabulary.vocabulary import Vocabulary

    published = Vocabulary.load(arguments.dictionaries)
    vocabulary = replace(published, input_length=arguments.input_length or published.input_length)
    d_model = arguments.d_model
    spec = EncoderSpec(
        vocab_size=vocabulary.size, n_layers=1, d_model=d_model, n_heads=d_model // 64,
        d_ff=64, max_positions=vocabulary.input_length,
    )  # fmt: skip
    return save_checkpoint(folder, MaskedLanguageModel(Encoder(spec)), vocabulary)


def measure_memory(
    arguments: argparse.Namespace, common: list[Any], folder: Path
) -> list[dict[str, Any]]:
    """Each output from few cells and from many."""
    results = []
    for n_cells in arguments.memory_cells:
        cells = repeat_with_noise(arguments.cells, n_cells, folder / f"cells{n_cells}.h5ad")
        for target in arguments.targets:
            print(f"{n_cells:,} cells to {target} …", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(dir=folder) as place:
                command = [*common, "--cells", cells, "--target", Path(place) / target]
                command += ["--dtype", arguments.dtype, "--layer", str(arguments.layer)]
                results.append({"target": target, **run_measured(command)})
    return results


def memory_rows(results: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each output and number of cells."""
    least = {}
    for each in results:
        least.setdefault(each["target"], each["peak_rss_mb"]["job"])
    return [
        [each["target"], f"{each['n_cells']:,}", f"{each['obs_mb']:.1f}",
         f"{each['peak_rss_mb']['job']:,.0f}",
         f"{each['peak_rss_mb']['job'] - least[each['target']]:,.0f}",
         f"{each['n_cells'] / each['seconds']['job']:,.0f}"]
        for each in results
    ]  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="a file of real counts")
    parser.add_argument("--dictionaries", type=Path, required=True, help="pickles of one release")
    parser.add_argument("--memory-cells", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--dtype", default="float32", help="of the model")
    parser.add_argument("--layer", type=int, default=-1, help="0 runs none: the rest alone")
    parser.add_argument("--d-model", type=int, default=512, help="of the model")
    parser.add_argument("--input-length", type=int, help="tokens of a cell, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    return parser.parse_args()


def main() -> None:
    """Measure, write the JSON, print the tables."""
    arguments = parse_arguments()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = save_small_model(arguments, folder / "model")
        common = [sys.executable, RUNNERS / "pipeline_runner.py", "--checkpoint", model]
        common += ["--threads", str(arguments.threads)]
        results = measure_memory(arguments, common, folder)
    names = ("threads", "d_model", "input_length", "dtype", "layer")
    settings = {name: getattr(arguments, name) for name in names}
    write_json(arguments.out, {"machine": machine, **settings, "memory": results})
    print(markdown_table(MEMORY_HEADER, memory_rows(results)))


if __name__ == "__main__":
    main()
