"""Whether tokens are those of a vocabulary: in its range, framed as its cells are, and of genes."""

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import TokensError
from rankformer.vocabulary.vocabulary import Vocabulary


def check_tokens(
    values: NDArray[np.int32],
    offsets: NDArray[np.int64],
    vocabulary: Vocabulary,
    *,
    is_known: bool,
) -> None:
    """Refuse tokens of some cells that are not of a vocabulary.

    Parameters
    ----------
    values, offsets
        Tokens end to end, and where each cell begins.
    vocabulary
        Of the model that is to read them.
    is_known
        Whether it is known that they were made with it.

    Raises
    ------
    TokensError
        If it is so.
    """
    _check_range(values, offsets, vocabulary)
    if vocabulary.cls_token is not None:
        _check_frame(values, offsets, vocabulary)
    elif not is_known:
        _check_unframed(values, offsets, vocabulary)
    _check_genes(values, offsets, vocabulary)


def _check_range(
    values: NDArray[np.int32], offsets: NDArray[np.int64], vocabulary: Vocabulary
) -> None:
    if values.min() < 0 or values.max() >= vocabulary.size:
        raise foreign_tokens(f"range from {values.min()} to {values.max()}", vocabulary)
    lengths = np.diff(offsets)
    if lengths.max() > vocabulary.input_length:
        raise foreign_tokens(f"are up to {lengths.max():,} a cell", vocabulary)


def _check_frame(
    values: NDArray[np.int32], offsets: NDArray[np.int64], vocabulary: Vocabulary
) -> None:
    first, last = _ends(values, offsets)
    if (first == vocabulary.cls_token).all() and (last == vocabulary.pad_token).any():
        raise _padded(int((last == vocabulary.pad_token).sum()), len(last))
    if (first != vocabulary.cls_token).any() or (last != vocabulary.eos_token).any():
        raise foreign_tokens("are not framed by <cls> and <eos> in every cell", vocabulary)


def _check_unframed(
    values: NDArray[np.int32], offsets: NDArray[np.int64], vocabulary: Vocabulary
) -> None:
    first, last = _ends(values, offsets)
    if len(first) > 1 and len(np.unique(first)) == 1 and len(np.unique(last)) == 1:
        raise foreign_tokens(
            f"begin with {first[0]} and end with {last[0]} in every cell, as special tokens do",
            vocabulary,
        )


def _check_genes(
    values: NDArray[np.int32], offsets: NDArray[np.int64], vocabulary: Vocabulary
) -> None:
    """Refuse special tokens where genes are to be."""
    is_special = np.zeros(vocabulary.size, bool)
    is_special[list(vocabulary.special_tokens.values())] = True
    misplaced = is_special[values]
    if vocabulary.cls_token is not None:
        filled = np.diff(offsets) > 0
        misplaced[offsets[:-1][filled]] = misplaced[offsets[1:][filled] - 1] = False
    places = np.flatnonzero(misplaced)
    if not len(places):
        return
    n_cells = len(np.unique(np.searchsorted(offsets, places, side="right")))
    if (values[places] == vocabulary.pad_token).any():
        raise _padded(n_cells, len(offsets) - 1)
    names = {token: name for name, token in vocabulary.special_tokens.items()}
    found = ", ".join(names[token] for token in np.unique(values[places]).tolist())
    raise TokensError(
        f"{n_cells:,} of {len(offsets) - 1:,} cells hold {found} among their genes.",
        "Tokens of genes, which <cls> and <eos> may frame.",
        "Take the tokens as they were before they were masked or changed.",
    )


def _ends(
    values: NDArray[np.int32], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First and last token of each cell that has some."""
    filled = np.diff(offsets) > 0
    return values[offsets[:-1][filled]], values[offsets[1:][filled] - 1]


def _padded(n_cells: int, n_all: int) -> TokensError:
    return TokensError(
        f"{n_cells:,} of {n_all:,} cells are padded with <pad>.",
        "Cells of their own lengths: no padding is needed, and it would be taken for a gene.",
        "Remove the padding from input_ids, or take the dataset as it was before it was padded.",
    )


def foreign_tokens(found: str, vocabulary: Vocabulary) -> TokensError:
    """The error for tokens of another vocabulary; `found` says what shows it."""
    return TokensError(
        f"The tokens {found}.",
        f"Tokens of {vocabulary.name}: {vocabulary.size:,} ids, at most "
        f"{vocabulary.input_length:,} a cell, vocabulary {vocabulary.sha256[:8]}.",
        "Tokenize the cells with the model that is to embed them: process_data of its Geneformer, "
        "or `rankformer tokenize --model`.",
    )
