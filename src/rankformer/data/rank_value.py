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

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from rankformer.errors import TokensError
from rankformer.kernels import compile_kernel
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
    genes = _code_genes(token_of_var, apart=counts.has_canonical_format)
    frame = np.array([_or_none(vocabulary.cls_token), _or_none(vocabulary.eos_token)], np.int32)
    room = vocabulary.input_length - vocabulary.n_frame_tokens

    blocks = _split(indptr, n_threads)
    lengths_at_most = np.minimum(np.diff(indptr), room) + vocabulary.n_frame_tokens
    starts = _offsets(lengths_at_most)
    tokens = np.empty(starts[-1], np.int32)
    lengths = np.empty(counts.shape[0], np.int64)

    def encode(first: int, last: int) -> None:
        _encode_cells(
            data, indices, indptr, genes, vocabulary.median_of_token, frame, room,
            first, last, tokens[starts[first] : starts[last]], lengths,
        )  # fmt: skip

    _run_blocks(encode, blocks, n_threads)
    offsets = _offsets(lengths)
    for first, last in blocks:
        n_tokens = offsets[last] - offsets[first]
        tokens[offsets[first] :][:n_tokens] = tokens[starts[first] :][:n_tokens]
    return tokens[: offsets[-1]], offsets


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


def _code_genes(token_of_var: NDArray[np.int32], *, apart: bool) -> NDArray[np.int32]:
    """Tokens as the kernel takes them: -2 - token where several entries of a cell may share one."""
    n_vars = np.bincount(token_of_var[token_of_var >= 0], minlength=1)
    shared = (token_of_var >= 0) & ((n_vars[token_of_var] > 1) | (not apart))
    return np.where(shared, -2 - token_of_var, token_of_var).astype(np.int32)


# Bits of a key that one pass of the sort looks at. A key stands above the index of its value.
_DIGIT = 10
_LOW = np.uint64(2**32 - 1)
_HALF = np.uint64(32)


@compile_kernel
def _encode_cells(  # type: ignore[no-untyped-def]
    data, indices, indptr, genes, median_of_token, frame, room, first, last, tokens, lengths
):  # fmt: skip
    """Encode cells first … last - 1 into `tokens`, end to end; see `encode_rank_values`."""
    totals = np.zeros(len(median_of_token), np.float64)
    most = max(len(genes), len(median_of_token)) + 1
    token_of = np.empty(most, np.int32)
    values = np.empty(most, np.float64)
    keys = np.empty((2, most), np.uint64)
    ends = np.empty((2, 2**_DIGIT + 1), np.int32)
    at = 0
    for cell in range(first, last):
        row = slice(indptr[cell], indptr[cell + 1])
        n = _collect(data[row], indices[row], genes, median_of_token, totals, token_of, values)
        order = _sort_by_key(values[:n], keys, ends)
        _order_equal_keys(order, values, token_of)
        start = at
        if frame[0] >= 0:
            tokens[at] = frame[0]
            at += 1
        for i in range(min(n, room)):
            tokens[at] = token_of[np.int64(order[i] & _LOW)]
            at += 1
        if frame[1] >= 0:
            tokens[at] = frame[1]
            at += 1
        lengths[cell] = at - start


@compile_kernel
def _collect(data, indices, genes, median_of_token, totals, token_of, values):  # type: ignore[no-untyped-def]
    """The cell's genes and their values, in any order; `totals` is zero before and after."""
    n = 0
    n_shared = 0
    for entry in range(len(indices)):
        code = genes[indices[entry]]
        count = np.float64(data[entry])
        if code >= 0:
            token_of[n] = code
            values[n] = count / median_of_token[code]
            n += int(count > 0)
        elif code < -1 and count > 0:
            token = -2 - code
            # Shared genes are stacked from the end until their sums are known.
            token_of[-1 - n_shared] = token
            n_shared += totals[token] == 0
            totals[token] += count
    for i in range(n_shared):
        token = token_of[-1 - i]
        token_of[n] = token
        values[n] = totals[token] / median_of_token[token]
        totals[token] = 0
        n += 1
    return n


@compile_kernel
def _sort_by_key(values, keys, ends):  # type: ignore[no-untyped-def]
    """Radix-sort by descending value, as far as keys of two digits tell values apart.

    The bits of a positive float ascend with its value. A key is the distance of the bits from
    those of the largest value, cut to two digits: never does a larger value get a larger key.

    Returns keys above indices into `values`.
    """
    bits = values.view(np.int64)
    largest, smallest = 0, 2**63 - 1
    for i in range(len(bits)):
        largest = max(largest, bits[i])
        smallest = min(smallest, bits[i])
    shift = 0
    while (largest - smallest) >> shift >= 2 ** (2 * _DIGIT):
        shift += 1

    ends[:] = 0
    for i in range(len(bits)):
        key = (largest - bits[i]) >> shift
        keys[0, i] = np.uint64(key) << _HALF | np.uint64(i)
        ends[0, (key & (2**_DIGIT - 1)) + 1] += 1
        ends[1, (key >> _DIGIT) + 1] += 1
    for digit in range(2):
        for i in range(1, 2**_DIGIT):
            ends[digit, i] += ends[digit, i - 1]
    for digit in range(2):
        for i in range(len(bits)):
            shifted = np.int64(keys[digit, i] >> np.uint64(32 + _DIGIT * digit))
            place = shifted & (2**_DIGIT - 1)
            keys[1 - digit, ends[digit, place]] = keys[digit, i]
            ends[digit, place] += 1
    return keys[0, : len(bits)]


@compile_kernel
def _order_equal_keys(order, values, token_of):  # type: ignore[no-untyped-def]
    """Within runs of one key, sort by exact value descending, then token ascending."""
    first = 0
    for i in range(1, len(order) + 1):
        if i == len(order) or order[i] >> _HALF != order[first] >> _HALF:
            if i - first > 1:
                _shell_sort(order[first:i], values, token_of)
            first = i


@compile_kernel
def _shell_sort(run, values, token_of):  # type: ignore[no-untyped-def]
    gap = 1
    while 3 * gap < len(run):
        gap = 3 * gap + 1
    while gap:
        for i in range(gap, len(run)):
            key = run[i]
            own = np.int64(key & _LOW)
            j = i
            while j >= gap:
                other = np.int64(run[j - gap] & _LOW)
                if values[other] > values[own] or (
                    values[other] == values[own] and token_of[other] < token_of[own]
                ):
                    break
                run[j] = run[j - gap]
                j -= gap
            run[j] = key
        gap //= 3
