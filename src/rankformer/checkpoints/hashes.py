"""Hashes of files, written beside them as `sha256sum` writes and checks them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from rankformer.errors import CheckpointError


def hash_of(file: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_file(file: Path) -> Path:
    """Where the hash of a file stands: beside it.

    Not in config.json, which transformers copies to weights that it has trained on.
    """
    return file.with_name(f"{file.name}.sha256")


def write_hash(file: Path) -> None:
    """Bind a file to what it is now."""
    hash_file(file).write_text(list_hashes([file]), encoding="utf-8")


def written_hash(file: Path) -> str | None:
    """The hash that a file had when it was written, or None where that is not known."""
    beside = hash_file(file)
    if not beside.is_file():
        return None
    words = beside.read_text(encoding="utf-8", errors="replace").split()
    return words[0] if words else ""


def list_hashes(files: Iterable[Path]) -> str:
    """A line a file, with its hash and its name."""
    return "".join(f"{hash_of(file)}  {file.name}\n" for file in files)


def check_hash(file: Path, found: str, written: str | None) -> None:
    """Refuse weights that are not those that were written; None where these are not known.

    Raises
    ------
    CheckpointError
        If the hashes differ.
    """
    if written in (None, found):
        return
    raise CheckpointError(
        f"{file} has the hash {found[:8]}.",
        f"The weights as they were written, of the hash {str(written)[:8]}.",
        "The file was changed or damaged since: take the folder from where it came from again. "
        f"Where you changed it knowingly, remove {hash_file(file)}.",
    )
