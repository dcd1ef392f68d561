"""How fast cells come in the shuffled order of training, from tokens and from counts.

The cells of a file are repeated to the number asked for and written twice: as a tokenized dataset,
and as .h5ad, compressed as it was. Cells are taken in batches, as the data loader takes them, for
one epoch; counts are encoded on the way. One thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from reporting import markdown_table, spread, write_json

from cells import repeat_cells
from rankformer import ReadingOptions, Vocabulary, tokenize_cells
from rankformer.tokens.block_shuffle import shuffle_in_blocks
from rankformer.tokens.tokenize import open_sources
from rankformer.training.cells import gather_training_cells

HEADER = ("from", "cells", "cells/s", "tokens/s")


def read_epoch(source: Path, vocabulary: Vocabulary, batch_size: int) -> dict[str, float]:
    """One epoch: seconds and tokens."""
    options = ReadingOptions(gene_ids="ensembl_id")
    cells = gather_training_cells(list(open_sources([source], vocabulary, options)))
    order = chain.from_iterable(shuffle_in_blocks(np.arange(len(cells)), seed=0, epoch=0))
    rows = np.fromiter(order, np.int64, len(cells))
    n_tokens, began = 0, time.perf_counter()
    for start in range(0, len(rows), batch_size):
        n_tokens += len(cells.take(rows[start : start + batch_size])[0])
    return {"seconds": time.perf_counter() - began, "cells": len(cells), "tokens": n_tokens}


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="raw counts, var['ensembl_id']")
    parser.add_argument("--vocabulary", type=Path, required=True, help="file or dictionaries")
    parser.add_argument("--n-cells", type=int, default=30_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    vocabulary = Vocabulary.load(arguments.vocabulary)
    with tempfile.TemporaryDirectory() as temporary:
        counts = Path(temporary) / "cells.h5ad"
        repeat_cells(arguments.cells, arguments.n_cells, counts)
        options = ReadingOptions(gene_ids="ensembl_id")
        tokens = tokenize_cells(counts, vocabulary, options).save(Path(temporary) / "tokens")
        found: dict[str, list[dict[str, Any]]] = {"tokens": [], "compressed .h5ad": []}
        for _ in range(arguments.rounds):
            for name, source in (("tokens", tokens), ("compressed .h5ad", counts)):
                found[name].append(read_epoch(source, vocabulary, arguments.batch_size))
    write_json(arguments.out, {"machine": describe_machine(), "rounds": found})
    rows = [
        [
            name,
            f"{rounds[0]['cells']:,}",
            spread(each["cells"] / each["seconds"] for each in rounds),
            spread(each["tokens"] / each["seconds"] for each in rounds),
        ]
        for name, rounds in found.items()
    ]
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    main()
