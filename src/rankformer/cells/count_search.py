"""Where a source's counts lie: where the user says, or where a look at some cells finds them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.cells.counts import ESTIMATES, CountKind, ValueFigures, judge_values
from rankformer.cells.file_kinds import reading
from rankformer.cells.open_sources import RAW_X, MatrixPlace, OpenSource, X
from rankformer.cells.row_matrices import RowMatrix
from rankformer.errors import CountsError, SettingsError

_SAMPLE_BLOCKS = 8
_SAMPLE_ROWS = 32
_SCAN_ROWS = 2048
_COUNT_LAYERS = ("counts", "raw_counts", "raw", "count", "umi", "umi_counts", "umis")
_LAST_LAYERS = ("spliced", "mature")
# Counts, but only of a part of each cell's molecules.
_PART_LAYERS = ("unspliced", "ambiguous", "nascent", "spanning")
_USABLE = (CountKind.COUNTS, CountKind.SCALED, *ESTIMATES)
_NEVER = (CountKind.CENTRED, CountKind.NOT_FINITE, CountKind.EMPTY)
_EXPECTED = "Raw counts (whole numbers), or counts scaled per cell (CPM, CP10k)."


@dataclass(frozen=True)
class MatrixSurvey:
    """What one matrix of a source holds.

    Attributes
    ----------
    location
        ``X``, ``raw.X`` or ``layers["counts"]``.
    shape
        (n_cells, n_vars), or None where it cannot be read.
    dtype
        Of the values as they lie.
    layout
        ``csr``, ``csc``, ``dense`` or ``mtx``.
    figures
        What a look at some cells found, or None where it cannot be read.
    problem
        Why it cannot be read, or None.
    """

    location: str
    shape: tuple[int, int] | None = None
    dtype: str = ""
    layout: str = ""
    figures: ValueFigures | None = None
    problem: CountsError | None = None

    def __str__(self) -> str:
        if self.figures:
            return f"{self.location} holds {self.figures}"
        return f"{self.location} cannot be read"


@dataclass(frozen=True)
class FoundCounts:
    """Which matrix is used, and what becomes of its values.

    Attributes
    ----------
    location
        Where it lies.
    figures
        What a look at it found.
    log_base
        Base of the logarithm to undo, or None.
    note
        What was found, in sentences.
    """

    location: str
    figures: ValueFigures
    log_base: float | None
    note: str


class CountSearch:
    """Looks at the matrices of a source, each once, and picks the one with the counts.

    Parameters
    ----------
    source
        The opened source.
    undo_log1p
        Whether log1p values may be used, their logarithm undone.
    check
        Whether values that are no counts are refused.
    estimated_counts
        Whether values that may be estimates of counts are taken for them.
    """

    def __init__(
        self,
        source: OpenSource,
        *,
        undo_log1p: bool = False,
        check: bool = True,
        estimated_counts: bool = False,
    ) -> None:
        self._source, self._undo_log1p, self._check = source, undo_log1p, check
        self._estimated = estimated_counts
        self._surveys: dict[str, MatrixSurvey] = {}

    def survey(self, location: str) -> MatrixSurvey:
        """Look at one matrix; of one that cannot be read, say why."""
        if location not in self._surveys:
            self._surveys[location] = self._with_option(_survey(self._source, location))
        return self._surveys[location]

    def find(self, layer: str | None, use_raw: bool | None) -> FoundCounts:
        """Take the matrix that the user names, or else the first that holds counts.

        Raises
        ------
        CountsError
            If there is none, or it holds something else; the message says what each holds.
        SettingsError
            If both a layer and raw are asked for.
        """
        location = _named_location(self._source, layer, use_raw)
        if location:
            return self._take(location)
        order = _search_order(self._source, use_raw)
        for kind in (*_USABLE, *((CountKind.LOG1P,) if self._undo_log1p else ())):
            for each in order:
                if self._holds(each, kind):
                    return self._found(each, undo=kind is CountKind.LOG1P)
        for each in order:
            if self._is_mask(each) and each in (X, RAW_X):
                return self._found(each, undo=False)
        if len(order) == 1 or not self._check:
            return self._take(order[0])
        raise self._refuse(order)

    def _take(self, location: str) -> FoundCounts:
        figures = self._look(location)
        if figures.kind in _USABLE and self._undo_log1p:
            raise CountsError(
                f"{location} of {self._source.name} holds {figures}.",
                "Log1p values, as there is a logarithm to undo.",
                "Leave out undo_log1p (--undo-log1p).",
            )
        undo = self._undo_log1p and (figures.kind is CountKind.LOG1P or not self._check)
        as_given = not self._check and figures.kind not in _NEVER
        if figures.kind in _USABLE or undo or as_given:
            return self._found(location, undo=undo)
        raise self._refuse([location])

    def _with_option(self, survey: MatrixSurvey) -> MatrixSurvey:
        """Values that may be estimates of counts are such where the user says so."""
        figures = survey.figures
        if not self._estimated or figures is None or figures.kind is not CountKind.NORMALIZED:
            return survey
        if figures.why_not_estimated is not None:
            return survey
        return replace(survey, figures=replace(figures, kind=CountKind.ESTIMATED_BY_OPTION))

    def _look(self, location: str) -> ValueFigures:
        survey = self.survey(location)
        if survey.figures is None:
            raise survey.problem or CountsError(str(survey), _EXPECTED, "Name another matrix.")
        return survey.figures

    def _holds(self, location: str, kind: CountKind) -> bool:
        return self._kind(location) is kind and not self._is_mask(location)

    def _is_mask(self, location: str) -> bool:
        """Whether it holds zeros and ones, too few to tell marks of something from counts."""
        figures = self.survey(location).figures
        return (
            figures is not None
            and figures.kind is CountKind.COUNTS
            and figures.minimum == figures.maximum == 1
        )

    def _found(self, location: str, *, undo: bool) -> FoundCounts:
        figures = self._look(location)
        base = (figures.log_base or math.e) if undo else None
        return FoundCounts(location, figures, base, " ".join(self._notes(location, base)))

    def _notes(self, location: str, base: float | None) -> Iterator[str]:
        figures = self._look(location)
        yield f"Counts are taken from {location}: {figures}."
        if base:
            yield "Their logarithm is undone."
        elif figures.kind is CountKind.SCALED:
            yield "One factor a cell does not change its ranks."
        elif figures.kind is CountKind.ESTIMATED:
            yield (
                "They are taken for counts that were shared out among genes, as alevin-fry, "
                "salmon, kallisto, STARsolo and RSEM do."
            )
        elif figures.kind is CountKind.ESTIMATED_BY_OPTION:
            yield "They are taken for estimates of counts (estimated_counts=True)."
        elif figures.kind is not CountKind.COUNTS:
            yield "They are used as they are, unchecked (check=False)."
        others = [str(each) for key, each in self._surveys.items() if key != location]
        if others:
            yield f"{'; '.join(others)}."
        if location == X and self._raw_is_wider():
            n_vars = len(self._source.var(RAW_X))
            yield f"raw.X holds counts of {n_vars:,} variables: pass use_raw=True to take them."

    def _raw_is_wider(self) -> bool:
        if RAW_X not in self._source.places:
            return False
        if len(self._source.var(RAW_X)) <= len(self._source.var(X)):
            return False
        return self._holds(RAW_X, CountKind.COUNTS)

    def _refuse(self, looked: list[str]) -> CountsError:
        held = "; ".join(str(self.survey(each)) for each in looked)
        return CountsError(f"In {self._source.name}, {held}.", _EXPECTED, self._advise(looked))

    def _advise(self, looked: list[str]) -> str:
        rest = [each for each in _search_order(self._source, None) if each not in looked]
        for kind in _USABLE:
            for each in rest:
                if self._holds(each, kind):
                    return f"{kind.value.capitalize()} are in {each}: {_argument(each)}."
        kinds = {each: self._kind(each) for each in looked}
        for location in looked:
            if kinds[location] is CountKind.LOG1P and not self._undo_log1p:
                named = f" and {_argument(location)}" if location != X else ""
                return (
                    "Take the file with the raw counts; or pass undo_log1p=True (--undo-log1p)"
                    f"{named}: the ranks are those of the counts."
                )
        if CountKind.BINARY in kinds.values() and self._check:
            return (
                "Take the file with the raw counts; or pass check=False (--no-check) to use them "
                "as they are: the genes of a cell are then in the order of their medians alone."
            )
        if CountKind.NORMALIZED in kinds.values() and self._check:
            return self._advise_on_estimates(looked)
        return 'Take the file with the raw counts, often kept as adata.raw or layers["counts"].'

    def _advise_on_estimates(self, looked: list[str]) -> str:
        figures = [self.survey(each).figures for each in looked]
        unknown = [each for each in figures if each and each.kind is CountKind.NORMALIZED]
        if any(each.why_not_estimated is None for each in unknown):
            return (
                "Take the file with the raw counts; or, where these are estimates of counts "
                "(SoupX, decontX, RSEM), say so: estimated_counts=True (--estimated-counts)."
            )
        return (
            "Take the file with the raw counts. These are hardly estimates of counts, as of RSEM "
            f"or decontX: {unknown[0].why_not_estimated}. If they are all the same, pass "
            "check=False (--no-check) to use them as they are."
        )

    def _kind(self, location: str) -> CountKind | None:
        figures = self.survey(location).figures
        return figures.kind if figures else None


def _named_location(source: OpenSource, layer: str | None, use_raw: bool | None) -> str | None:
    if layer is not None and use_raw:
        raise SettingsError(
            f"Both layer={layer!r} and use_raw=True were given.",
            "One place for the counts.",
            "Leave out one of them.",
        )
    wanted = RAW_X if use_raw else layer
    if wanted is None:
        return None
    for place in source.places.values():
        if wanted in (place.layer, place.location):
            return place.location
    if use_raw:
        found, fix = f"{source.name} has no raw.", "Leave out use_raw (--use-raw)."
    else:
        found = f"{source.name} has no layer {wanted!r}."
        fix = "Name one of these with layer (--layer), or none to have the counts found."
    raise CountsError(found, f"One of {', '.join(source.places) or 'no matrix'}.", fix)


def _search_order(source: OpenSource, use_raw: bool | None) -> list[str]:
    """X, raw.X, layers named as counts, other layers; never counts of a part of the molecules."""
    ranks: dict[str, int] = {}
    for location, place in source.places.items():
        if not (location == RAW_X and use_raw is False) and place.layer not in _PART_LAYERS:
            ranks[location] = _rank(place)
    if ranks:
        return sorted(ranks, key=lambda location: ranks[location])
    raise CountsError(
        f"{source.name} holds {', '.join(source.places) or 'no matrix'}.",
        "Counts in X, raw.X or a layer.",
        "Name the layer to take with layer (--layer)."
        if source.places
        else "Take the file that holds the counts.",
    )


def _rank(place: MatrixPlace) -> int:
    if place.layer is None:
        return 0 if place.location == X else 1
    name = place.layer.casefold()
    if name in _COUNT_LAYERS:
        return 2 + _COUNT_LAYERS.index(name)
    return 200 if name in _LAST_LAYERS else 100


def _argument(location: str) -> str:
    if location == RAW_X:
        return "pass use_raw=True (--use-raw)"
    layer = location.removeprefix('layers["').removesuffix('"]')
    return f'pass layer="{layer}" (--layer {layer})'


def _survey(source: OpenSource, location: str) -> MatrixSurvey:
    try:
        matrix = source.matrix(location)
        with reading(source.name, location):
            figures = judge_values(_sample(matrix))
    except CountsError as problem:
        return MatrixSurvey(location, problem=problem)
    return MatrixSurvey(location, matrix.shape, str(matrix.dtype), matrix.layout, figures)


def _sample(matrix: RowMatrix) -> csr_matrix:
    """Some cells from all over the matrix, empty ones left aside where that costs nothing."""
    sizes = matrix.row_sizes()
    filled = np.arange(matrix.shape[0]) if sizes is None else np.flatnonzero(sizes)
    cells = matrix.sample(filled[_spread(filled.size)])
    start = 0
    while not np.any(cells.data) and start < matrix.shape[0]:
        cells = matrix.rows(start, min(start + _SCAN_ROWS, matrix.shape[0]))
        start += _SCAN_ROWS
    return cells


def _spread(n_cells: int) -> NDArray[np.int64]:
    """Positions of a sample: all of few cells, or blocks at equal distances."""
    if n_cells <= _SAMPLE_BLOCKS * _SAMPLE_ROWS:
        return np.arange(n_cells)
    starts = np.linspace(0, n_cells - _SAMPLE_ROWS, _SAMPLE_BLOCKS).astype(np.int64)
    blocks: NDArray[np.int64] = starts[:, None] + np.arange(_SAMPLE_ROWS)
    return blocks.ravel()
