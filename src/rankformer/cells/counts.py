"""What kind of values an expression matrix holds: counts, or what has been made of them.

The rank value encoding wants counts. Counts times one factor per cell (CPM, CP10k) give the same
ranks, so they are as good; their logarithm can be undone; estimates of counts are near them (see
`rankformer.cells.estimated_counts`). Anything else has lost the ranks.

Scaled counts are told by arithmetic: within a cell, every value is a whole multiple of one unit.
Each value is held against the rounding error that it can have, and is evidence only as far as a
value picked at random would have missed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.cells.estimated_counts import are_mostly_whole, why_not_estimated
from rankformer.cells.row_matrices import make_canonical
from rankformer.errors import CountsError

_CELLS_TESTED = 64
_PASSING_CELLS = 0.95
_PASSING_VALUES = 0.98
_ENOUGH_EVIDENCE = math.log(1e9)
# So many counts are not all 1, even of cells with few molecules: about one in twenty is more.
_ENOUGH_ONES = 500
_LOG_BASES = (math.e, 2.0, 10.0)
_UNITS = (1, 2, 3)  # a cell's smallest value is mostly 1 count, sometimes 2 or 3
_LEAST_TOLERANCE = 1e-3
_MOST_TOLERANCE = 0.1
_MOST_DECIMALS = 4
_BLOCK = 1 << 16


class CountKind(StrEnum):
    """What the values of a matrix are."""

    COUNTS = "counts"
    SCALED = "counts scaled per cell"
    ESTIMATED = "estimated counts"
    ESTIMATED_BY_OPTION = "estimated counts, by --estimated-counts"
    BINARY = "nothing but ones, as of counts made binary"
    LOG1P = "log1p of counts"
    NORMALIZED = "normalised values"
    CENTRED = "scaled or centred values"
    NOT_FINITE = "NaN or infinite values"
    EMPTY = "zeros only"


ESTIMATES = (CountKind.ESTIMATED, CountKind.ESTIMATED_BY_OPTION)


@dataclass(frozen=True)
class ValueFigures:
    """What a look at some cells of a matrix found.

    Attributes
    ----------
    kind
        The verdict.
    n_cells, n_empty
        Cells looked at, and those of them without any value.
    minimum, maximum
        Of the non-zero, finite values; 0 where there are none.
    integer_share
        Share of whole numbers among the non-zero values, 0 to 1.
    example
        A value that is not a whole number, or None.
    log_base
        Base of the logarithm where the kind is LOG1P: e, 2 or 10.
    why_not_estimated
        Where the kind is NORMALIZED, why these cannot be estimates of counts; None where they may.
    """

    kind: CountKind
    n_cells: int
    n_empty: int
    minimum: float = 0.0
    maximum: float = 0.0
    integer_share: float = 1.0
    example: float | None = None
    log_base: float | None = None
    why_not_estimated: str | None = None

    def __str__(self) -> str:
        details = ", ".join(self._details())
        return f"{self.kind.value} ({details})" if details else self.kind.value

    def _details(self) -> Iterator[str]:
        if self.kind is CountKind.EMPTY:
            return
        if self.kind is CountKind.COUNTS:
            yield "whole numbers"
        elif self.kind is CountKind.LOG1P and self.log_base != math.e:
            yield f"logarithm of base {self.log_base:g}"
        elif self.kind in (CountKind.NORMALIZED, *ESTIMATES):
            yield f"{math.floor(self.integer_share * 100)} % whole numbers"
            yield f"others such as {self.example:.6g}"
        elif self.kind is CountKind.BINARY:
            yield f"in {self.n_cells} cells"
            return
        if self.minimum < 0:
            yield f"min {self.minimum:.4g}"
        yield f"max {self.maximum:.4g} in {self.n_cells} cells"


def judge_values(cells: csr_matrix) -> ValueFigures:
    """Tell counts from normalised, log-normalised and centred values.

    Parameters
    ----------
    cells
        (n_cells, n_vars) a sample, some hundred cells; explicit zeros and duplicates are allowed.

    Returns
    -------
    The kind of values, with figures to show. LOG1P means the logarithm of COUNTS or SCALED.
    Where a sample is too small to prove that its values are scaled counts, they are NORMALIZED.
    """
    cells = make_canonical(cells)
    finite = cells.data[np.isfinite(cells.data)]
    is_whole = finite == np.rint(finite)
    broken = finite[~is_whole]
    kind, log_base = _name_kind(cells, all_whole=not broken.size)
    is_unknown = kind is CountKind.NORMALIZED
    return ValueFigures(
        kind=kind,
        why_not_estimated=why_not_estimated(cells) if is_unknown else None,
        n_cells=cells.shape[0],
        n_empty=int((np.diff(cells.indptr) == 0).sum()),
        minimum=float(finite.min()) if finite.size else 0.0,
        maximum=float(finite.max()) if finite.size else 0.0,
        integer_share=float(is_whole.mean()) if finite.size else 1.0,
        example=float(broken[0]) if broken.size else None,
        log_base=log_base,
    )


def undo_log(cells: csr_matrix, base: float) -> csr_matrix:
    """Take log(1 + x) back to x, in float64; equal values stay equal."""
    values = np.expm1(cells.data.astype(np.float64) * math.log(base))
    return csr_matrix((values, cells.indices, cells.indptr), shape=cells.shape)


def check_values(
    cells: csr_matrix,
    *,
    whole: bool,
    first_row: int,
    obs_names: pd.Index,
    var_names: pd.Index,
    location: str,
) -> None:
    """Refuse values in a chunk that no counts can have.

    Parameters
    ----------
    cells
        (n_cells, n_vars) in canonical format.
    whole
        Whether values must be whole numbers.
    first_row
        Row of the source that the first of `cells` is.
    obs_names, var_names
        Names of the source's cells and variables, for the message.
    location
        Where the values lie, such as ``pbmc.h5ad: raw.X``.

    Raises
    ------
    CountsError
        At the first value that is NaN, infinite, negative, or a fraction where `whole`. It names
        cell, variable and value.
    """
    values = cells.data
    if not values.size or values.dtype.kind == "u":
        return
    if values.min() >= 0 and np.isfinite(values.max()) and not (whole and _any_broken(values)):
        return
    bad = ~np.isfinite(values) | (values < 0)
    if whole:
        bad |= values != np.rint(values)
    entry = int(np.flatnonzero(bad)[0])
    row = first_row + int(np.searchsorted(cells.indptr, entry, side="right")) - 1
    raise CountsError(
        f"{location} holds {values[entry]:.6g} in the cell {obs_names[row]!r} (row {row:,}), "
        f"variable {var_names[cells.indices[entry]]!r}.",
        f"Counts are {'whole numbers, ' if whole else ''}finite and not negative, in every cell.",
        "Remove or repair this cell, or take the file with the raw counts."
        + (
            " To use values as they are, pass check=False (--no-check)."
            if _is_soft(bad, values)
            else ""
        ),
    )


def _any_broken(values: NDArray[np.number]) -> bool:
    if values.dtype.kind != "f":
        return False
    # A block at a time, whose rounded copy stays in the caches.
    blocks = (values[start:][:_BLOCK] for start in range(0, values.size, _BLOCK))
    return any(bool((block != np.rint(block)).any()) for block in blocks)


def _is_soft(bad: NDArray[np.bool_], values: NDArray[np.number]) -> bool:
    return bool(np.isfinite(values[bad]).all() and (values[bad] > 0).all())


def _name_kind(cells: csr_matrix, *, all_whole: bool) -> tuple[CountKind, float | None]:
    values = cells.data
    if not values.size:
        return CountKind.EMPTY, None
    if not np.isfinite(values).all():
        return CountKind.NOT_FINITE, None
    if values.min() < 0:
        return CountKind.CENTRED, None
    if all_whole and values.size >= _ENOUGH_ONES and values.min() == values.max() == 1:
        return CountKind.BINARY, None
    if all_whole:
        return CountKind.COUNTS, None
    return _name_fractions(cells)


def _name_fractions(cells: csr_matrix) -> tuple[CountKind, float | None]:
    distinct = list(_distinct_values(cells))
    half_decimal = _find_rounding(cells.data) / 2
    relative = 8 * max(np.finfo(cells.dtype).eps, np.finfo(np.float32).eps)

    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        errors: NDArray[np.float64] = np.maximum(values * relative, half_decimal)
        return errors

    if _are_multiples([(values, spread(values)) for values in distinct]):
        return CountKind.SCALED, None
    for base in _LOG_BASES:
        if _are_multiples([_without_log(values, spread(values), base) for values in distinct]):
            return CountKind.LOG1P, base
    return CountKind.ESTIMATED if are_mostly_whole(cells) else CountKind.NORMALIZED, None


def _distinct_values(cells: csr_matrix) -> Iterator[NDArray[np.float64]]:
    filled = np.flatnonzero(np.diff(cells.indptr))
    chosen = filled[np.linspace(0, filled.size - 1, min(filled.size, _CELLS_TESTED)).astype(int)]
    for row in chosen:
        values = cells.data[cells.indptr[row] : cells.indptr[row + 1]]
        yield np.unique(values.astype(np.float64))


def _find_rounding(values: NDArray[np.floating]) -> float:
    """The decimal that all values are rounded to, such as 0.001; 0 where there is none."""
    values = values.astype(np.float64)
    for decimals in range(1, _MOST_DECIMALS + 1):
        shifted = values * 10**decimals
        blur = shifted * 4 * np.finfo(np.float32).eps
        tested = blur < _MOST_TOLERANCE
        near = np.abs(shifted - np.rint(shifted)) <= blur + 1e-9
        if tested.sum() >= min(20, values.size) and near[tested].all():
            return float(10.0**-decimals)
    return 0.0


def _without_log(
    values: NDArray[np.float64], errors: NDArray[np.float64], base: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scale = math.log(base)
    with np.errstate(over="ignore", invalid="ignore"):
        plain = np.expm1(values * scale)
        return plain, (1 + plain) * scale * errors


def _are_multiples(cells: list[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> bool:
    verdicts = [_find_unit(values, errors) for values, errors in cells]
    passed = sum(share >= _PASSING_VALUES for share, evidence in verdicts if evidence)
    tested = sum(evidence > 0 for _, evidence in verdicts)
    total = sum(evidence for _, evidence in verdicts)
    return total >= _ENOUGH_EVIDENCE and passed >= _PASSING_CELLS * tested


def _find_unit(values: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, float]:
    """Share of a cell's values that are multiples of one unit, and the evidence for it in nats."""
    return max((_test_unit(values, errors, smallest) for smallest in _UNITS), key=lambda x: x[0])


def _test_unit(
    values: NDArray[np.float64], errors: NDArray[np.float64], smallest: int
) -> tuple[float, float]:
    # A share of a count that is nearly nothing makes others very many of it.
    with np.errstate(over="ignore"):
        multiples = values / values[0] * smallest
    tolerance = (smallest * errors + multiples * errors[0]) / values[0] + _LEAST_TOLERANCE
    # Values beside the smallest would pass whatever they are.
    tested = (tolerance <= _MOST_TOLERANCE) & (multiples > smallest * 1.01)
    if not tested.any():
        return 0.0, 0.0
    miss = np.abs(multiples[tested] - np.rint(multiples[tested]))
    return float((miss <= tolerance[tested]).mean()), float(-np.log(2 * tolerance[tested]).sum())
