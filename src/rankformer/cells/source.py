"""Cells in: any source, read in chunks of rows, with its counts found and checked."""

import logging
import os
from bisect import bisect_left
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from rankformer.cells.cell_budget import CellBudget, is_out_of_memory
from rankformer.cells.count_search import CountSearch, FoundCounts, MatrixSurvey
from rankformer.cells.counts import CountKind, ValueFigures, check_values, undo_log
from rankformer.cells.estimated_counts import check_mostly_whole
from rankformer.cells.file_kinds import FileKind, each_once, find_files, identify, reading
from rankformer.cells.open_sources import OpenSource, open_source
from rankformer.cells.row_matrices import make_canonical
from rankformer.errors import CountsError, SettingsError
from rankformer.printable import printable

__all__ = [
    "CellSource",
    "CountChunk",
    "CountKind",
    "FileKind",
    "MatrixSurvey",
    "ValueFigures",
    "each_once",
    "find_files",
    "identify",
    "open_cells",
    "read_var",
    "survey_matrices",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CountChunk:
    """Some consecutive cells of a source.

    Attributes
    ----------
    counts
        (n_cells, n_vars) CSR, integers, float32 or float64 as they lie; variables ascending in
        each row, none twice, no explicit zeros. May share memory with AnnData: do not write to it.
    start, stop
        Rows of the source, from 0; `stop` is not included.
    obs_names
        Names of these cells.
    """

    counts: csr_matrix
    start: int
    stop: int
    obs_names: pd.Index

    @property
    def n_empty(self) -> int:
        """Cells without any count."""
        return int((np.diff(self.counts.indptr) == 0).sum())


class CellSource:
    """Cells of a file or of AnnData, with the matrix that holds their counts.

    Made by `open_cells`; a context manager, which closes the file.

    Attributes
    ----------
    name
        Path as it was given, or ``AnnData``.
    path
        None for AnnData in memory.
    obs
        All cells, in order; the index holds their names.
    var
        Variables of the matrix that is used. For raw, columns that only `var` has are added by
        name. For 10x files the index holds feature ids, ``gene_symbols`` is a column.
    location
        Where the counts lie: ``X``, ``raw.X`` or ``layers["counts"]``.
    kind, figures
        What kind of values a look at some cells found there, and the figures.
    note
        What was found, and why this matrix was taken, in sentences.
    """

    def __init__(self, source: OpenSource, found: FoundCounts, *, check: bool) -> None:
        self._source = source
        self._matrix = source.matrix(found.location)
        self._log_base = found.log_base
        self._whole = check and found.figures.kind is CountKind.COUNTS
        self._mostly_whole = check and found.figures.kind is CountKind.ESTIMATED
        self._closed = False
        self.name: str = source.name
        self.path: Path | None = source.path
        self.obs: pd.DataFrame = source.obs
        self.var: pd.DataFrame = source.var(found.location)
        self.location: str = found.location
        self.figures: ValueFigures = found.figures
        self.kind: CountKind = found.figures.kind
        self.note: str = " ".join(filter(None, (found.note, source.note, _note_names(self.obs))))

    @property
    def n_cells(self) -> int:
        return self._matrix.shape[0]

    @property
    def n_vars(self) -> int:
        return self._matrix.shape[1]

    def chunks(
        self, n_rows: int = 2048, *, start: int = 0, stop: int | None = None
    ) -> Generator[CountChunk, None, None]:
        """Read cells in order, `n_rows` at a time; memory does not grow with their number.

        Where memory runs out, the same cells are read again, half as many at once.

        Parameters
        ----------
        n_rows
            Cells in a chunk; the last may have fewer.
        start, stop
            The rows to read, all by default.

        Raises
        ------
        CountsError
            If a cell holds a value that is no count (named with its cell and variable), or the
            file is damaged or closed.
        OutOfMemoryError
            If memory does not suffice for one cell.
        """
        if n_rows < 1:
            raise SettingsError(
                f"n_rows is {n_rows}.", "At least 1 cell in a chunk.", "Pass n_rows=2048."
            )
        last = self.n_cells if stop is None else min(stop, self.n_cells)
        budget = CellBudget(n_rows, f"read from {self.location} of {self.name}")
        yield from budget.run(self._read, start, last)

    def close(self) -> None:
        """Close the file and remove temporary ones; AnnData stays open."""
        self._closed = True
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"CellSource({self.name!r}: {self.n_cells:,} cells x {self.n_vars:,} variables, "
            f"{self.kind.value} in {self.location})"
        )

    def _read(self, start: int, stop: int) -> CountChunk:
        if self._closed:
            raise CountsError(
                f"{self.name} was closed.", "An open source.", "Read chunks inside the with block."
            )
        counts = self._read_rows(start, stop)
        self._check_values(counts, start)
        if self._log_base is not None:
            counts = undo_log(counts, self._log_base)
            self._check_values(counts, start)
        return CountChunk(counts, start, stop, self.obs.index[start:stop])

    def _read_rows(self, start: int, stop: int) -> csr_matrix:
        try:
            return make_canonical(self._matrix.rows(start, stop))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            first, last = _find_damage(self._reads, start, stop)
            with reading(self.name, f"Rows {first:,} to {last:,} of {self.location}"):
                raise

    def _reads(self, start: int, stop: int) -> bool:
        try:
            self._matrix.rows(start, stop)
        # As many kinds of errors as `reading` knows.
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return False
        return True

    def _check_values(self, counts: csr_matrix, start: int) -> None:
        check_values(
            counts,
            whole=self._whole,
            first_row=start,
            obs_names=self.obs.index,
            var_names=self.var.index,
            location=f"{self.location} of {self.name}",
        )
        if self._mostly_whole:
            check_mostly_whole(
                counts,
                first_row=start,
                obs_names=self.obs.index,
                location=f"{self.location} of {self.name}",
            )


def open_cells(
    source: ad.AnnData | str | os.PathLike[str],
    *,
    layer: str | None = None,
    use_raw: bool | None = None,
    undo_log1p: bool = False,
    check: bool = True,
    estimated_counts: bool = False,
    n_threads: int = 1,
) -> CellSource:
    """Open cells, and find and check their counts.

    Parameters
    ----------
    source
        AnnData (in memory, backed, or a view), or the path of a ``.h5ad``, a ``.zarr``, a 10x
        ``.h5``, or a folder with ``matrix.mtx``.
    layer
        Where the counts lie: a layer's name, ``"X"`` or ``"raw.X"``.
    use_raw
        True takes raw.X, False leaves it out of the search.
    undo_log1p
        Use values that are log1p of counts, their logarithm undone. Counts are preferred where
        the place is not named.
    check
        False uses values that are no counts as they are. NaN, infinite and negative values are
        refused all the same.
    estimated_counts
        Take values that are no whole numbers for estimates of counts, as SoupX and decontX give
        them, unless they look like logarithms or normalised counts. Estimates that are mostly whole
        numbers are recognised without it.
    n_threads
        Threads that inflate what a file holds in gzip chunks.

    Returns
    -------
    The source. Without `layer` and `use_raw`, a look at up to 256 cells finds the counts: in X,
    raw.X, a layer named so (``counts``, ``raw_counts``, ``umi``, …), another layer; then counts
    scaled per cell in the same order.

    Raises
    ------
    CountsError
        If the source cannot be read or holds no counts there.
    SettingsError
        If both `layer` and `use_raw` are given.

    Examples
    --------
    >>> import rankformer
    >>> with rankformer.open_cells("pbmc.h5ad") as cells:
    ...     sum(chunk.counts.shape[0] for chunk in cells.chunks(10))
    30
    """
    opened = open_source(source)
    opened.n_threads = n_threads
    try:
        if not len(opened.obs):
            raise CountsError(
                f"{opened.name} has 0 cells.",
                "At least one cell.",
                "Check how the file was filtered before it was saved.",
            )
        found = CountSearch(
            opened, undo_log1p=undo_log1p, check=check, estimated_counts=estimated_counts
        ).find(layer, use_raw)
        cells = CellSource(opened, found, check=check)
    except BaseException:
        opened.close()
        raise
    logger.info("%s: %s", printable(cells.name), cells.note)
    if undo_log1p and found.log_base is None:
        logger.warning(
            "undo_log1p (--undo-log1p) is not used, as %s holds counts, not their logarithm.",
            printable(cells.location),
        )
    return cells


def survey_matrices(source: ad.AnnData | str | os.PathLike[str]) -> list[MatrixSurvey]:
    """Look at every matrix of a source: X, raw.X and each layer.

    Returns
    -------
    One survey each; a matrix that cannot be read has its `problem` in place of figures.

    Raises
    ------
    CountsError
        If the source itself cannot be read.
    """
    with closing(open_source(source)) as opened:
        search = CountSearch(opened)
        return [search.survey(location) for location in opened.places]


def read_var(source: ad.AnnData | str | os.PathLike[str]) -> pd.DataFrame | None:
    """Read the variables of the first matrix that has some, whatever values it holds.

    Returns
    -------
    As `CellSource.var`; None where there is no matrix.

    Raises
    ------
    CountsError
        If the source itself cannot be read.
    """
    with closing(open_source(source)) as opened:
        for location in opened.places:
            with suppress(CountsError):
                return opened.var(location)
    return None


def _find_damage(reads: Callable[[int, int], bool], start: int, stop: int) -> tuple[int, int]:
    """The first and the last of the rows start … stop - 1 that cannot be read, by halving."""
    ends = range(start + 1, stop)
    first = start + bisect_left(ends, True, key=lambda end: not reads(start, end))
    begins = range(first + 1, stop)
    return first, first + bisect_left(begins, True, key=lambda begin: reads(begin, stop))


def _note_names(obs: pd.DataFrame) -> str:
    n_repeated = int(obs.index.duplicated().sum())
    return f"{n_repeated:,} cell names occur more than once." if n_repeated else ""
