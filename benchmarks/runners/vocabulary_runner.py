"""One vocabulary from files, in a process of its own: seconds and peak memory of each stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from measuring import Stages, limit_threads, versions, write_figures


def main() -> None:
    """Sketch the cells, build the vocabulary, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, nargs="+", required=True, help="files or folders")
    parser.add_argument("--out", type=Path, required=True, help="JSON of the figures")
    arguments = parser.parse_args()
    limit_threads(1)
    stages = Stages()
    from rankformer import build_vocabulary, sketch_expression

    stages.end("import")
    sketch = sketch_expression(arguments.cells)
    stages.end("sketch")
    vocabulary = build_vocabulary([sketch])
    stages.end("build")
    counted = {"n_cells": sketch.n_cells, "n_genes": len(sketch.ensembl_ids)}
    figures = {**counted, "n_tokens": vocabulary.size, **stages.figures()}
    write_figures(
        arguments.out, {**figures, "versions": versions("rankformer", "numba", "anndata")}
    )


if __name__ == "__main__":
    main()
