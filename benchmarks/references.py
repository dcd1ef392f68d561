"""Neighbours in large references: building and searching the graph, and what it misses.

    python benchmarks/references.py --cells FOLDER --out results/references.json

Embeddings of real cells by rankformer-mini are repeated with noise about as large as the distance
to the nearest other cell. Recall is the share of the 15 nearest by all distances that the graph
finds too, and agreement how often both give the same majority of a label, the file of the cell.
Each size is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, write_json
from runners.measuring import peak_rss_mb

from rankformer import Checkpoint, Embedder, ReadingOptions, embed_cells
from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit

FILES = ("pbmc3k", "ifnb", "sc_mixology", "pbmc_donor_a", "pbmc_1k_v2", "pbmc_1k_5prime")
K, N_QUERIES, N_CHECKED = 15, 10_000, 500
HEADER = ("reference", "build, s", "cells/s", "search, queries/s", "by all distances, queries/s",
          "recall", "agreement", "peak, MB", "vectors, MB")  # fmt: skip


def embed_files(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors of length 1 of all cells, and the number of their file."""
    embedder = Embedder(Checkpoint.open("rankformer-mini"), dtype="float32")
    options = ReadingOptions(gene_ids="ensembl_id")
    parts = [
        embed_cells(folder / f"{name}.h5ad", embedder, options=options).vectors for name in FILES
    ]
    vectors = np.concatenate(parts)
    scale_to_unit(vectors)
    return vectors, np.repeat(np.arange(len(FILES)), list(map(len, parts)))


def noise_of(vectors: NDArray[np.float32]) -> float:
    """Standard deviation, a dimension, of noise as long as the median distance to the nearest."""
    sample = vectors[:: max(1, len(vectors) // 1000)]
    similarity = sample @ vectors.T
    nearest = 1 - np.partition(similarity, -2, axis=1)[:, -2]
    return float(np.sqrt(2 * np.median(nearest) / vectors.shape[1]))


def draw(
    vectors: NDArray[np.float32], n: int, sigma: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cells drawn again with noise, and which they were."""
    rows = rng.integers(0, len(vectors), n)
    drawn = vectors[rows]
    for start in range(0, n, 100_000):
        block = drawn[start : start + 100_000]
        block += sigma * rng.standard_normal(block.shape, dtype=np.float32)
    scale_to_unit(drawn)
    return drawn, rows


def measure(saved: Path, n_cells: int) -> dict[str, Any]:
    """Figures of one size."""
    with np.load(saved) as file:
        vectors, labels = file["vectors"], file["labels"]
    rng, sigma = np.random.default_rng(0), noise_of(vectors)
    reference, rows = draw(vectors, n_cells, sigma, rng)
    queries, _ = draw(vectors, N_QUERIES, sigma, rng)
    began = time.perf_counter()
    index = NeighbourIndex.build(reference, exact_up_to=0)
    built = time.perf_counter()
    found, _ = index.search(queries, K)
    searched = time.perf_counter()
    peak = peak_rss_mb()
    exact, _ = NeighbourIndex(reference).search(queries[:N_CHECKED], K)
    ended = time.perf_counter()
    own = found[:N_CHECKED]
    votes = [[np.bincount(labels[rows[each]]).argmax() for each in side] for side in (own, exact)]
    shared = [len(np.intersect1d(*both)) for both in zip(own, exact, strict=True)]
    return {
        "n_cells": n_cells, "build_s": built - began, "search_s": searched - built,
        "exact_s": ended - searched, "peak_mb": peak, "vectors_mb": reference.nbytes / 2**20,
        "recall": float(np.mean(shared)) / K,
        "agreement": float(np.mean(np.array(votes[0]) == votes[1])),
    }  # fmt: skip


def row(each: dict[str, Any]) -> list[str]:
    added = each["n_cells"] / each["build_s"]
    return [
        f"{each['n_cells']:,}", f"{each['build_s']:.0f}", f"{added:,.0f}",
        f"{N_QUERIES / each['search_s']:,.0f}", f"{N_CHECKED / each['exact_s']:,.0f}",
        f"{each['recall']:.4f}", f"{each['agreement']:.4f}", f"{each['peak_mb']:,.0f}",
        f"{each['vectors_mb']:,.0f}",
    ]  # fmt: skip


def main() -> None:
    """Measure each size in a process of its own, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True, help="folder of the six files")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.sizes[0])))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "vectors.npz"
        vectors, labels = embed_files(arguments.cells)
        np.savez(saved, vectors=vectors, labels=labels)
        for size in arguments.sizes:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", saved, "--sizes", size]
            done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE)
            results.append(json.loads(done.stdout))
            write_json(arguments.out, {"machine": describe_machine(), "k": K, "results": results})
    print(markdown_table(HEADER, [row(each) for each in results]))


if __name__ == "__main__":
    main()
