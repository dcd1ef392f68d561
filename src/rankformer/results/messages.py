"""What was made, in words and figures: vectors of cells, and labels."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rankformer.results.cell_labels import CellLabels
from rankformer.summary import Written

_MOST_LABELS = 25
_WITHOUT = "no label"
_QUARTILES = ("least", "first quartile", "median", "third quartile", "most")


def written_vectors(
    output: Path, key: str, shape: tuple[int, int], model: str, mode: str
) -> Written:
    """A file of embeddings of cells."""
    is_in_obsm = output.suffix in (".h5ad", ".zarr")
    where = f'obsm["{key}"]' if is_in_obsm else "a row for each cell in the order of the input"
    return Written(output, f"{where}, {shape[0]:,} x {shape[1]:,}, {model}, mode {mode}")


def written_labels(output: Path, labels: Mapping[str, CellLabels]) -> Written:
    """A file of labels of cells."""
    where = "obs" if output.suffix in (".h5ad", ".zarr") else "columns"
    n_cells = len(next(iter(labels.values())).values)
    return Written(output, f"{' and '.join(labels)} of {n_cells:,} cells in {where}")


def label_figures(labels: Mapping[str, CellLabels]) -> dict[str, Any]:
    """Key → number of cells of each label, and of those without one; of numbers, their range."""
    return {
        key: _range(each) if each.probability is None else count_labels(each.values)
        for key, each in labels.items()
    }


def label_lines(labels: Mapping[str, CellLabels]) -> tuple[str, ...]:
    """The same as texts."""
    return tuple(
        f"{key}\n{_range_line(each) if each.probability is None else count_table(each.values)}"
        for key, each in labels.items()
    )


def count_labels(values: Iterable[object]) -> dict[str, Any]:
    """Labels, most frequent first, and the number of those that have none."""
    counts = Counter(None if each is None else str(each) for each in values)
    n_without = counts.pop(None, 0)
    return {"labels": dict(counts.most_common()), "n_without_label": n_without}


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


def _range(labels: CellLabels) -> dict[str, Any]:
    numbers = labels.values.astype(float)
    n_without = int(np.isnan(numbers).sum())
    if n_without == len(numbers):
        return {"n_without_label": n_without}
    quartiles = np.nanquantile(numbers, [0, 0.25, 0.5, 0.75, 1]).tolist()
    keys = (each.replace(" ", "_") for each in _QUARTILES)
    return {**dict(zip(keys, quartiles, strict=True)), "n_without_label": n_without}


def _range_line(labels: CellLabels) -> str:
    found = _range(labels)
    told = [(each, found.get(each.replace(" ", "_"))) for each in _QUARTILES]
    known = [f"{name} {value:.4g}" for name, value in told if value is not None]
    return f"  {', '.join(known) or _WITHOUT}"
