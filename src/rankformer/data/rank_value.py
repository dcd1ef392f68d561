"""Rank value encoding: a cell's genes in the order of their expression over the corpus median.

For a cell with counts x, gene g of the vocabulary has the value

    value_g = x_g / n_counts * 10,000 / median_g

and the cell is the tokens of its non-zero genes by descending value (Theodoris et al., Nature 618,
616, 2023). Here the value is x_g / median_g: n_counts and 10,000 scale a whole cell and leave the
order as it is. Variables of one gene are summed first. Ties go by ascending token, so that every
machine, chunk size and number of threads gives the same tokens.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from rankformer.errors import TokensError
from rankformer.ragged import Ragged
from rankformer.vocabulary import Vocabulary


def encode_rank_values(
    counts: csr_matrix | csr_array,
    token_of_var: NDArray[np.int32],
    vocabulary: Vocabulary,
    *,
    n_threads: int = 1,
) -> Ragged:
    """Encode cells as tokens.

    Parameters
    ----------
    counts
        (n_cells, n_vars), CSR, any real dtype, non-negative: counts, or counts scaled per cell.
        Explicit zeros are skipped, several entries of one variable summed.
    token_of_var
        (n_vars,) the vocabulary's token of each variable, -1 for none. Variables may share one.
    vocabulary
        Gives medians, special tokens and the input length.
    n_threads
        Threads that encode; the kernel does not hold the interpreter's lock.

    Returns
    -------
    values : (n_tokens,) int32
        Tokens of all cells, end to end, with ``<cls>`` and ``<eos>`` where the vocabulary has them.
    offsets : (n_cells + 1,) int64
        Cell i has ``values[offsets[i] : offsets[i + 1]]``.

    Raises
    ------
    TokensError
        If `token_of_var` does not fit the counts or the vocabulary.
    """
    _check_token_of_var(token_of_var, counts.shape[1], vocabulary)
    data = counts.data if counts.dtype == np.float32 else counts.data.astype(np.float64, copy=False)
    indptr = counts.indptr.astype(np.int64, copy=False)
    indices = counts.indices.astype(np.int32, copy=False)
    frame = np.array([_or_none(vocabulary.cls_token), _or_none(vocabulary.eos_token)], np.int32)
    room = vocabulary.input_length - vocabulary.n_frame_tokens

    lengths_at_most = np.minimum(np.diff(indptr), room) + vocabulary.n_frame_tokens
    starts = _offsets(lengths_at_most)
    spread = np.empty(starts[-1], np.int32)
    lengths = np.empty(counts.shape[0], np.int64)

    def encode(first: int, last: int) -> None:
        _encode_cells(
            data, indices, indptr, token_of_var, vocabulary.median_of_token, frame, room,
            first, last, starts, spread, lengths,
        )  # fmt: skip

    _run_blocks(encode, _split(indptr, n_threads), n_threads)
    return _close_gaps(spread, starts, lengths)


def _check_token_of_var(
    token_of_var: NDArray[np.int32], n_vars: int, vocabulary: Vocabulary
) -> None:
    genes = token_of_var[token_of_var >= 0]
    fits = genes.size == 0 or (
        genes.max() < vocabulary.size and np.isin(genes, vocabulary.tokens).all()
    )
    if len(token_of_var) != n_vars or not fits:
        raise TokensError(
            f"{len(token_of_var):,} tokens for {n_vars:,} variables"
            + ("." if fits else f", some of which are no genes of {vocabulary.name}."),
            "A gene token of the vocabulary, or -1, for each variable.",
            "Map the variables with map_genes and the vocabulary that encodes.",
        )


def _or_none(token: int | None) -> int:
    return -1 if token is None else token


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _split(indptr: NDArray[np.int64], n_blocks: int) -> list[tuple[int, int]]:
    """Cut the cells into consecutive blocks of about equally many entries."""
    n_cells = len(indptr) - 1
    targets = indptr[0] + (indptr[-1] - indptr[0]) * np.arange(1, n_blocks) // n_blocks
    cuts = [0, *np.searchsorted(indptr, targets).clip(0, n_cells).tolist(), n_cells]
    return [(first, last) for first, last in pairwise(cuts) if first < last]


def _run_blocks(
    encode: Callable[[int, int], None], blocks: Iterable[tuple[int, int]], n_threads: int
) -> None:
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(encode, *block) for block in blocks]:
            done.result()


def _close_gaps(
    spread: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Ragged:
    offsets = _offsets(lengths)
    if offsets[-1] == len(spread):
        return spread, offsets
    values = np.empty(offsets[-1], np.int32)
    _copy_cells(spread, starts, offsets, values)
    return values, offsets


@numba.njit(nogil=True, cache=True)
def _copy_cells(spread, starts, offsets, values):  # type: ignore[no-untyped-def]
    for cell in range(len(offsets) - 1):
        n = offsets[cell + 1] - offsets[cell]
        values[offsets[cell] : offsets[cell + 1]] = spread[starts[cell] : starts[cell] + n]


@numba.njit(nogil=True, cache=True)
def _encode_cells(  # type: ignore[no-untyped-def]
    data, indices, indptr, token_of_var, median_of_token, frame, room,
    first, last, starts, spread, lengths,
):  # fmt: skip
    """Encode cells first … last - 1 into `spread` at `starts`; see `encode_rank_values`.

    Sorted are 64-bit keys: the value as float32, inverted, above the token. Rounding to float32
    keeps the order of values but may merge close ones; `_order_equal_keys` sorts those runs by the
    exact float64 value.
    """
    value_of_token = np.zeros(len(median_of_token), np.float64)
    seen = np.empty(len(median_of_token), np.int32)
    keys = np.empty(len(median_of_token), np.uint64)
    as_float = np.empty(1, np.float32)
    as_bits = as_float.view(np.uint32)
    for cell in range(first, last):
        n_seen = 0
        for entry in range(indptr[cell], indptr[cell + 1]):
            token = token_of_var[indices[entry]]
            count = np.float64(data[entry])
            if token >= 0 and count != 0:
                if value_of_token[token] == 0:
                    seen[n_seen] = token
                    n_seen += 1
                value_of_token[token] += count
        for i in range(n_seen):
            token = seen[i]
            value_of_token[token] /= median_of_token[token]
            as_float[0] = value_of_token[token]
            keys[i] = (np.uint64(~as_bits[0]) << np.uint64(32)) | np.uint64(token)
        keys[:n_seen].sort()
        _order_equal_keys(keys[:n_seen], value_of_token)

        at = starts[cell]
        if frame[0] >= 0:
            spread[at] = frame[0]
            at += 1
        for i in range(min(n_seen, room)):
            spread[at] = np.int32(keys[i] & np.uint64(0xFFFFFFFF))
            at += 1
        if frame[1] >= 0:
            spread[at] = frame[1]
            at += 1
        lengths[cell] = at - starts[cell]
        for i in range(n_seen):
            value_of_token[seen[i]] = 0


@numba.njit(nogil=True, cache=True)
def _order_equal_keys(keys, value_of_token):  # type: ignore[no-untyped-def]
    """Within runs of one float32 value, sort by exact value descending, then token ascending."""
    low = np.uint64(0xFFFFFFFF)
    for i in range(1, len(keys)):
        key = keys[i]
        value = value_of_token[np.int64(key & low)]
        j = i
        # Keys of a run are in ascending order of token, so a strict comparison keeps ties right.
        while j > 0 and (keys[j - 1] >> np.uint64(32)) == (key >> np.uint64(32)):
            if value_of_token[np.int64(keys[j - 1] & low)] >= value:
                break
            keys[j] = keys[j - 1]
            j -= 1
        keys[j] = key
