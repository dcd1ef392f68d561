"""Lists of genes that users write: on the command line, and in text files."""

import re
from pathlib import Path

from rankformer.errors import MissingFileError, SettingsError

ALL = "all"
_FORMAT = (
    "A text file with one gene a line, or, of genes that are perturbed together, with the genes of "
    "a group on each line, separated by commas, tabs or blanks."
)


def names_in(genes: str) -> str | tuple[str, ...]:
    """What ``--genes`` says: ``all``, names with commas between, or ``@FILE``."""
    if genes.strip() == ALL:
        return ALL
    if genes.startswith("@"):
        return read_gene_list(Path(genes[1:]))
    return tuple(filter(None, map(str.strip, genes.split(","))))


def read_gene_list(path: Path) -> tuple[str, ...]:
    """Names in a text file, one a line; what follows a ``#`` is left out.

    Raises
    ------
    MissingFileError, SettingsError
        If there is no such file, or no text in it.
    """
    return tuple(name for group in read_gene_groups(path) for name in group)


def read_gene_groups(path: Path) -> tuple[tuple[str, ...], ...]:
    """Groups of names in a text file, one group a line; see `read_gene_list`."""
    groups = (re.split(r"[,;\s]+", line) for line in read_lines(path, _FORMAT))
    return tuple(tuple(filter(None, group)) for group in groups)


def read_lines(path: Path, expected: str) -> list[str]:
    """Lines of a text file that hold more than a comment behind a ``#``.

    Raises
    ------
    MissingFileError, SettingsError
        If there is no such file, or no line; `expected` says what it should hold.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} does not exist.", expected, "Check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} could not be read: {error}.", expected, "Save it as plain text."
        ) from error
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    found = [line for line in lines if line.strip(",;")]
    if not found:
        raise SettingsError(f"{path} names no gene.", expected, "Name genes in it.")
    return found
