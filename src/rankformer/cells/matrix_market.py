"""Matrix Market files (``matrix.mtx``) of features by barcodes, read by cells.

scipy parses the text; a file beyond `IN_MEMORY_BYTES` is handed to it in blocks of whole lines.
"""

import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from scipy.io import mmread
from scipy.sparse import coo_matrix

from rankformer.cells import csc_rows
from rankformer.cells.row_matrices import CompressedRows, RowMatrix
from rankformer.cells.spilled_rows import Entries, spill_rows

BLOCK_BYTES = 32 << 20
_ENTRY_BYTES = 16  # two int32 positions and a value of 8 bytes
_OF_NUMBERS = b"0123456789+-.eE \t\r\n" + b"nNaAiIfFtTyY"


@dataclass(frozen=True)
class MatrixMarketHeader:
    """What stands above the entries: the banner's field, and the size."""

    field: str
    n_features: int
    n_barcodes: int
    n_entries: int

    @property
    def dtype(self) -> np.dtype[np.int64] | np.dtype[np.float64]:
        return np.dtype(np.float64) if self.field == "real" else np.dtype(np.int64)


def open_text(path: Path) -> IO[bytes]:
    """Open a plain or gzip-compressed file for reading."""
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def read_header(stream: IO[bytes]) -> MatrixMarketHeader:
    """Read the lines above the entries, and leave `stream` at the first entry."""
    banner = stream.readline().decode("latin-1").lower().split()
    if banner[:3] != ["%%matrixmarket", "matrix", "coordinate"] or banner[4:] != ["general"]:
        raise ValueError(
            f"it begins with {' '.join(banner)[:60]!r}, not a general coordinate matrix"
        )
    if banner[3] not in ("integer", "real", "pattern"):
        raise ValueError(f"it holds {banner[3]} values")
    line = stream.readline()
    while line.startswith(b"%") or line == b"\n":
        line = stream.readline()
    n_features, n_barcodes, n_entries = (int(number) for number in line.split())
    return MatrixMarketHeader(banner[3], n_features, n_barcodes, n_entries)


def read_matrix_market(path: Path) -> RowMatrix:
    """Read a matrix of features by barcodes as rows of cells.

    Parameters
    ----------
    path
        ``matrix.mtx`` or ``matrix.mtx.gz``; entries in any order, duplicates allowed.

    Returns
    -------
    (n_barcodes, n_features): int64 for integer and pattern files, float64 for real ones.

    Raises
    ------
    ValueError
        If the text is no such matrix or holds fewer or more entries than it says.
    """
    with open_text(path) as stream:
        header = read_header(stream)
    shape = (header.n_barcodes, header.n_features)
    if header.n_entries * _ENTRY_BYTES > csc_rows.IN_MEMORY_BYTES:
        return spill_rows(lambda: _read_blocks(path), shape, header.dtype, "mtx")
    rows, columns, values = _join(list(_read_blocks(path)), header)
    cells = coo_matrix((values, (rows, columns)), shape=shape).tocsr()
    matrix = CompressedRows(cells.data, cells.indices, cells.indptr, shape)
    matrix.layout = "mtx"
    return matrix


def _join(blocks: list[Entries], header: MatrixMarketHeader) -> Entries:
    if not blocks:
        return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, header.dtype)
    rows, columns, values = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return rows, columns, values


def _read_blocks(path: Path) -> Iterator[Entries]:
    seen = 0
    with open_text(path) as stream:
        header = read_header(stream)
        while lines := stream.read(BLOCK_BYTES) + stream.readline():
            block = _parse(lines, header)
            seen += block.nnz
            yield block.col, block.row, block.data.astype(header.dtype, copy=False)
    if seen != header.n_entries:
        raise ValueError(f"it holds {seen:,} entries, but its header says {header.n_entries:,}")


def _parse(lines: bytes, header: MatrixMarketHeader) -> coo_matrix:
    """Hand whole lines to scipy under a header of their own."""
    lines = lines.strip()
    # scipy crashes on some bytes that are no text.
    odd = lines.translate(None, _OF_NUMBERS)
    if odd:
        raise ValueError(f"its entries hold {odd[:10]!r} beside numbers")
    if b"\n\n" in lines:
        lines = re.sub(rb"\n\s+", b"\n", lines)
    n_lines = lines.count(b"\n") + 1 if lines else 0
    top = (
        f"%%MatrixMarket matrix coordinate {header.field} general\n"
        f"{header.n_features} {header.n_barcodes} {n_lines}\n"
    )
    try:
        return mmread(io.BytesIO(top.encode() + lines + b"\n"))
    except ValueError as error:
        # scipy counts lines from the beginning of the block.
        reason = str(error).rpartition(": ")[2]
        raise ValueError(f"an entry is damaged: {reason}") from error
