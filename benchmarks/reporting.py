"""Figures as Markdown tables: medians, with the range of the rounds behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any


def spread(values: Iterable[float]) -> str:
    """`median (least to most)`, or the one value where all are alike when written."""
    numbers = sorted(values)
    if not numbers:
        return "-"
    middle, low, high = (short(each) for each in (median(numbers), numbers[0], numbers[-1]))
    return middle if low == high else f"{middle} ({low} to {high})"


def short(number: float) -> str:
    """Three digits that count, and no more."""
    if number and abs(number) < 0.001:
        return f"{number:.1e}"
    decimals = 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2
    return f"{number:,.{decimals if abs(number) >= 0.1 else 3}f}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that GitHub and a terminal show."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_json(path: Path, report: dict[str, Any]) -> None:
    """Write a report, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
