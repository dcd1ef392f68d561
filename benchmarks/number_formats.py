"""How near bfloat16 and int8 come to float32 with rankformer-mini, on real cells.

    python benchmarks/number_formats.py FILE.h5ad … --out benchmarks/results/number_formats.json

Cosines between the vectors of one cell in two formats, of a hundred cells of each file.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import anndata as ad
import numpy as np
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, write_json

import rankformer
from rankformer import Embedder, ReadingOptions

FORMATS = ("bfloat16", "int8")
N_CELLS, SEED = 100, 0


def main() -> None:
    """Measure each file, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="AnnData files with counts")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    found = {path.stem: measure(path) for path in options.files}
    write_json(options.out, {"machine": describe_machine(), "cosines": found})
    rows = [
        [name, *(f"{each[key]['least']:.4f}, {each[key]['median']:.4f}" for key in FORMATS)]
        for name, each in found.items()
    ]
    print(markdown_table(("cells", *(f"{key}: least, median" for key in FORMATS)), rows))


def measure(path: Path) -> dict[str, dict[str, float]]:
    """Least and median cosine to float32 of each format."""
    adata = ad.read_h5ad(path)
    drawn = np.random.default_rng(SEED).permutation(adata.n_obs)[:N_CELLS]
    adata = adata[np.sort(drawn)].copy()
    reading = ReadingOptions(gene_ids="ensembl_id" if "ensembl_id" in adata.var else None)
    exact, *others = (
        np.asarray(
            rankformer.embed_cells(
                adata, Embedder("rankformer-mini", device="cpu", dtype=dtype), options=reading
            ).vectors
        )
        for dtype in ("float32", *FORMATS)
    )
    return {
        key: {"least": float(cosines.min()), "median": float(np.median(cosines))}
        for key, cosines in zip(FORMATS, (cosines_of(exact, each) for each in others), strict=True)
    }


def cosines_of(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n_cells,) of the rows of two arrays."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / lengths


if __name__ == "__main__":
    main()
