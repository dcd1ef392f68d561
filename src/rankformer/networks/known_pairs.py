"""How well a network finds pairs of genes that are known to act on each other."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.genes.rules import GeneResolver
from rankformer.perturb.gene_lists import read_lines
from rankformer.vocabulary.vocabulary import Vocabulary

logger = logging.getLogger(__name__)
SCORES = ("place", "effect", "coexpression")
_AT = 100
_FORMAT = "A text file with two names on each line: the gene that acts, and the one acted upon."
_SOURCES = ("source", "tf", "regulator", "from", "gene1", "gene 1", "source gene")
_TARGETS = ("target", "to", "gene2", "gene 2", "target gene")


KnownPairs: TypeAlias = Sequence[Sequence[str]] | pd.DataFrame | str | os.PathLike[str] | None
"""Pairs of names, a table whose first two columns hold them, or a file; see `read_known_pairs`."""


def list_known_pairs(known: KnownPairs) -> Sequence[Sequence[str]]:
    """Known pairs as pairs of names, however they are given.

    Raises
    ------
    MissingFileError, SettingsError
        If they are no pairs of texts, or a file cannot be read.
    """
    if known is None:
        return ()
    if isinstance(known, str | os.PathLike):
        return read_known_pairs(Path(known))
    if isinstance(known, pd.DataFrame):
        known = known.iloc[:, :2].to_numpy().tolist()
    pairs = [pair if isinstance(pair, list | tuple) else () for pair in known]
    if not all(len(pair) == 2 and all(isinstance(name, str) for name in pair) for pair in pairs):
        raise SettingsError(
            "Of the known pairs, one is not of two names.",
            'Pairs of names, such as [("IRF7", "ISG15")], a data frame of two columns, or a file.',
            "Correct known.",
        )
    return pairs


def read_known_pairs(path: Path) -> tuple[tuple[str, str], ...]:
    """Pairs of names in a text file or a table: the gene that acts, and the one acted upon.

    They are its first two columns, or those that a header calls source and target (or tf, from,
    regulator; to, target gene); other columns are ignored. Columns are separated by tabs, else by
    commas, else by blanks.

    Raises
    ------
    MissingFileError, SettingsError
        If there is no such file, or a line does not name two genes.
    """
    lines = read_lines(path, _FORMAT)
    separator = next((each for each in "\t,;" if each in lines[0]), None)
    rows = [[field.strip(" \"'") for field in line.split(separator)] for line in lines]
    header = [field.lower().replace("_", " ") for field in rows[0]]
    found = [
        [place for place, name in enumerate(header) if name in names]
        for names in (_SOURCES, _TARGETS)
    ]
    columns = (0, 1)
    if all(found):
        columns = (found[0][0], found[1][0])
        lines, rows = lines[1:], rows[1:]
    odd = [line for line, row in zip(lines, rows, strict=True) if not all(_pick(row, columns))]
    if odd or not rows:
        raise SettingsError(
            f"{path} has the line {odd[0]!r}." if odd else f"{path} has a header and no pair.",
            _FORMAT,
            "Correct the file (--known).",
        )
    return tuple(_pick(row, columns) for row in rows)


def _pick(row: Sequence[str], columns: tuple[int, int]) -> tuple[str, str]:
    """Two fields; what is not there is empty."""
    first, second = (row[place] if place < len(row) else "" for place in columns)
    return first, second


def find_known_pairs(pairs: Iterable[Sequence[str]], vocabulary: Vocabulary) -> NDArray[np.int64]:
    """(n_pairs, 2) tokens of known pairs; those of unknown names, or of one gene, are left out.

    Raises
    ------
    SettingsError
        If none is left.
    """
    named = [(first, second) for first, second in pairs]
    resolver = GeneResolver(vocabulary)
    ids = {name: resolver.resolve(name).ensembl_id for name in {n for pair in named for n in pair}}
    token_of = {
        name: vocabulary.token_of[own]
        for name, own in ids.items()
        if own is not None and own in vocabulary.token_of
    }
    found = [(token_of[a], token_of[b]) for a, b in named if a in token_of and b in token_of]
    found = [pair for pair in dict.fromkeys(found) if pair[0] != pair[1]]
    if not found:
        raise SettingsError(
            f"Of {len(named):,} known pairs none is of two genes of the vocabulary.",
            f"Symbols or Ensembl ids of genes in the vocabulary {vocabulary.name}.",
            "Correct the names (known, --known).",
        )
    if len(found) < len(named):
        logger.info(
            "%s of %s known pairs have both genes in the vocabulary.",
            f"{len(found):,}", f"{len(named):,}",
        )  # fmt: skip
    return np.array(found, np.int64)


def mark_known(
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    known: NDArray[np.int64],
    *,
    is_directed: bool,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pairs of tokens are known, and which could be: both genes occur in known ones.

    A pair could be known where its source is the source of a known one and its target the target of
    one, as networks of regulators and their genes are judged.
    """
    if not is_directed:
        known = np.concatenate([known, known[:, ::-1]])
    base = int(max(known.max(), sources.max(initial=0), targets.max(initial=0))) + 1
    is_known = np.isin(sources * base + targets, known[:, 0] * base + known[:, 1])
    could_be = np.isin(sources, known[:, 0]) & np.isin(targets, known[:, 1])
    return is_known, could_be


def check_met(known: NDArray[np.int64], tokens: NDArray[np.int64]) -> None:
    """Refuse, before any work, known pairs of which a network has none.

    Raises
    ------
    SettingsError
        If both genes of no pair are among its `tokens`.
    """
    if not np.isin(known, tokens).all(axis=1).any():
        raise SettingsError(
            f"Of {len(known):,} known pairs the network has both genes of none.",
            "Pairs of genes that enough of the cells express.",
            "Take more cells, lower min_cells (--min-cells), or name other pairs.",
        )


def measure_recovery(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Precision and recall of known pairs, by each score of a network.

    Parameters
    ----------
    table
        Pairs that could be known, with a column ``known`` and those of `SCORES` that there are.

    Returns
    -------
    A row a score: ``score``, ``n_pairs``, ``n_known``, ``share_known`` (what chance would get),
    ``average_precision``, ``times_chance`` and ``precision_at_100``. And the curves: ``score``,
    ``n_best``, ``precision`` and ``recall``, a row for each known pair that is met.
    None where none of the pairs is known, or all are.
    """
    is_known = table["known"].to_numpy(bool)
    n_known = int(is_known.sum())
    if not 0 < n_known < len(is_known):
        logger.warning(
            "How well known pairs are found cannot be said: of %s pairs whose genes occur in known "
            "ones, %s are known.", f"{len(is_known):,}", f"{n_known:,}",
        )  # fmt: skip
        return None
    rows, curves = [], []
    for score in SCORES:
        if score not in table:
            continue
        values = table[score].to_numpy(float)
        # The last of them, in an order that does not know which are known.
        order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
        hits = np.flatnonzero(is_known[order])
        precision = np.arange(1, n_known + 1) / (hits + 1)
        share = n_known / len(is_known)
        rows.append({
            "score": score, "n_pairs": len(is_known), "n_known": n_known, "share_known": share,
            "average_precision": precision.mean(), "times_chance": precision.mean() / share,
            f"precision_at_{_AT}": float((hits < _AT).sum() / min(_AT, len(is_known))),
        })  # fmt: skip
        curves.append(pd.DataFrame({
            "score": score, "n_best": hits + 1, "precision": precision,
            "recall": np.arange(1, n_known + 1) / n_known,
        }))  # fmt: skip
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)
