"""What a command says when it is done: what lies where, and how to go on."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from rankformer.results.cell_labels import CellLabels

logger = logging.getLogger(__name__)
_MOST_LABELS = 25
_WITHOUT = "no label"


def tell_vectors(output: Path, key: str, n_cells: int, d_model: int, model: str, mode: str) -> None:
    """Say where embeddings of cells lie, and how scanpy takes them."""
    shape = f"{n_cells:,} x {d_model:,}, {model}, mode {mode}"
    if output.suffix not in (".h5ad", ".zarr"):
        logger.info("Wrote %s: a row for each cell in the order of the input, %s.", output, shape)
        return
    read = f"read_{output.suffix[1:]}"
    logger.info('Wrote %s: obsm["%s"], %s.', output, key, shape)
    logger.info(
        'Go on with scanpy:\n  adata = anndata.%s("%s"); sc.pp.neighbors(adata, use_rep="%s")',
        read, output, key,
    )  # fmt: skip


def tell_labels(output: Path, labels: Mapping[str, CellLabels]) -> None:
    """Say where labels lie, and how many cells got each; of numbers, their range."""
    where = "obs" if output.suffix in (".h5ad", ".zarr") else "columns"
    n_cells = len(next(iter(labels.values())).values)
    logger.info(
        "Wrote %s: %s of %s cells in %s.", output, " and ".join(labels), f"{n_cells:,}", where
    )
    for key, each in labels.items():
        told = _range(each) if each.probability is None else count_table(each.values)
        logger.info("%s\n%s", key, told)


def count_table(values: Iterable[object]) -> str:
    """Labels and the numbers of cells that have them, most frequent first, in two columns."""
    counts = Counter(_WITHOUT if each is None else str(each) for each in values)
    rows = [(name, f"{n:,}") for name, n in counts.most_common(_MOST_LABELS)]
    n_others = len(counts) - len(rows)
    if n_others:
        rest = sum(counts.values()) - sum(n for _, n in counts.most_common(_MOST_LABELS))
        rows.append((f"{n_others:,} other labels", f"{rest:,}"))
    width, digits = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(f"  {name:<{width}}  {n:>{digits}}" for name, n in rows)


def _range(labels: CellLabels) -> str:
    numbers = labels.values.astype(float)
    if np.isnan(numbers).all():
        return f"  {_WITHOUT}"
    quartiles = np.nanquantile(numbers, [0, 0.25, 0.5, 0.75, 1])
    names = ("least", "first quartile", "median", "third quartile", "most")
    return "  " + ", ".join(f"{n} {q:.4g}" for n, q in zip(names, quartiles, strict=True))
