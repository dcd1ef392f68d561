"""Folders of others read no file outside themselves: links that lead out of them are refused.

An archive may hold links as well as files: ``barcodes.tsv`` may lead to a private key, which would
then be copied into results. The cache of the Hugging Face hub is made of links from snapshots to
blobs beside them; these are followed. A folder or a file that the user names may itself be a link.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from rankformer.errors import RankformerError

TRUST_VARIABLE = "RANKFORMER_FOLLOW_LINKS"
_YES = ("1", "true", "yes", "on")


def expect_own_files(
    folder: Path,
    error: type[RankformerError],
    *,
    names: Iterable[str] | None = None,
    within: bool = False,
) -> None:
    """Refuse a folder in which a file is a link that leads out of it.

    Nothing is looked at where the environment variable ``RANKFORMER_FOLLOW_LINKS`` is 1.

    Parameters
    ----------
    folder
        Of any kind that is read as one: a model, a reference, a dataset, a run, a store.
    error
        What is raised.
    names
        The files in it that are read; all of them unless given.
    within
        Look at the folders in it, too.

    Raises
    ------
    RankformerError
        Of the class `error`, if there is such a link.
    """
    if os.environ.get(TRUST_VARIABLE, "").lower() in _YES:
        return
    home = folder.resolve()
    roots = (home, *_blobs(home))
    wanted = None if names is None else set(names)
    for link in _links(home, within=within):
        if wanted is not None and link.name not in wanted:
            continue
        target = link.resolve()
        if not any(target.is_relative_to(root) for root in roots):
            raise error(
                f"In {folder}, {link.relative_to(home)} is a link that leads out of the folder, to "
                f"{target}.",
                "Files of its own: who made the folder could otherwise have any file of this "
                "machine read.",
                "Put a copy in the place of the link (cp -rL copies a folder so). Where you or a "
                f"workflow made the links, set {TRUST_VARIABLE}=1, and they are followed.",
            )


def expect_plain_names(folder: Path, names: Iterable[str]) -> None:
    """Refuse names, read from a file of a folder, that lead out of the folder.

    Raises
    ------
    ValueError
        If one is not the name of a file or folder in it.
    """
    for name in names:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ValueError(f"{name!r} is named, which is no file in {folder}")


def _blobs(home: Path) -> Iterator[Path]:
    """Where the files of a snapshot in the cache of the Hugging Face hub lie."""
    for each in home.parents:
        if each.name == "snapshots" and "--" in each.parent.name:
            yield each.parent / "blobs"


def _links(home: Path, *, within: bool) -> Iterator[Path]:
    for folder, folders, files in os.walk(home):
        # Without what is in them, folders are not read.
        for name in (*folders, *files) if within else files:
            path = Path(folder, name)
            if path.is_symlink():
                yield path
        if not within:
            return
