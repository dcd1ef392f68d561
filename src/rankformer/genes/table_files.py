"""Files of tables that name genes: read as text, and refused where they are not whole."""

import csv
import gzip
import warnings
import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from rankformer.errors import GeneError


def read_rows(path: Path, what: str, argument: str) -> pd.DataFrame:
    """Read a table with a header line as text: CSV or tab-separated, gzipped or not.

    Parameters
    ----------
    path
        The file.
    what, argument
        What it is and how it was given, for the message.

    Raises
    ------
    GeneError
        If it cannot be read, a row has more fields than the header line, or the file ends before
        the last field of its last row.
    """
    try:
        with _open_text(path) as stream:
            header = stream.readline()
            separator = "\t" if "\t" in header else ","
            _expect_whole_end(path, what, (header, stream.read()), separator)
        # Else the first field of a row with one more than the header names the row.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path, sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
    except GeneError:
        raise
    except pd.errors.ParserWarning as error:
        raise _too_many_fields(path, separator, what) from error
    except (OSError, EOFError, UnicodeDecodeError, ValueError, csv.Error, zlib.error) as error:
        raise GeneError(
            f"The {what} {path} cannot be read: {error}.",
            "CSV or tab-separated text with a header line, gzipped or not.",
            f"Check the path ({argument}), or download the table again.",
        ) from error


def _expect_whole_end(path: Path, what: str, texts: tuple[str, str], separator: str) -> None:
    """Refuse a file that was cut: its last row has no end, and fewer fields than the header.

    A cut within the last field of a row does not show.
    """
    header, last = texts[0], texts[1].rpartition("\n")[2]
    named, own = (next(csv.reader([line], delimiter=separator), []) for line in (header, last))
    if last.strip() and len(own) < len(named):
        raise GeneError(
            f"The {what} {path} was cut: it ends within its last row, which has {len(own)} of the "
            f"{len(named)} fields of the header line.",
            "A whole table, whose last row has as many fields as the header line.",
            "Download the table again.",
        )


def _too_many_fields(path: Path, separator: str, what: str) -> GeneError:
    with _open_text(path) as stream:
        lines = csv.reader(stream, delimiter=separator)
        n_named = len(next(lines))
        first = next((row for row in lines if any(row[n_named:])), [])
    return GeneError(
        f"In the {what} {path}, line {lines.line_num} has {len(first)} fields, and the header line "
        f"has {n_named}.",
        "As many fields in each row as in the header line.",
        "Correct this row, or name its last column in the header line.",
    )


def _open_text(path: Path) -> Any:
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
