"""Rank value encoding: a cell's genes in the order of their expression over the corpus median.

For a cell with counts x, gene g of the vocabulary has the value

    value_g = x_g / n_counts * 10,000 / median_g

and the cell is the tokens of its non-zero genes by descending value (Theodoris et al., Nature 618,
616, 2023). Here the value is x_g / median_g: n_counts and 10,000 scale a whole cell and leave the
order as it is. Variables of one gene are summed first. Ties go by ascending token, so that every
machine, chunk size and number of threads gives the same tokens.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from rankformer.compilation import compile_kernel
from rankformer.errors import TokensError
from rankformer.ragged import Ragged
from rankformer.threads import run_in_threads
from rankformer.vocabulary.vocabulary import Vocabulary

# What is sorted: 20 bits of a key, 24 of an index into a cell's values, 20 of a token.
# One pass of the sort looks at half of the key.
_DIGIT = 10
_KEY, _INDEX = np.uint64(44), np.uint64(20)
_INDEX_MASK, _TOKEN_MASK = np.uint64(2**24 - 1), np.uint64(2**20 - 1)


def encode_rank_values(
    counts: csr_matrix | csr_array,
    token_of_var: NDArray[np.int32],
    vocabulary: Vocabulary,
    *,
    n_threads: int = 1,
) -> Ragged:
    """Encode cells as tokens.

    See `rankformer.tokens.gene_tokens.encode_rank_values`, which also takes the name of a model.
    """
    _check_token_of_var(token_of_var, counts.shape[1], vocabulary)
    _check_sizes(counts, vocabulary)
    _check_indices(counts)
    data = counts.data if counts.dtype == np.float32 else counts.data.astype(np.float64, copy=False)
    indptr = counts.indptr.astype(np.int64, copy=False)
    indices = counts.indices.astype(np.int32, copy=False)
    shared = _find_shared(token_of_var, apart=counts.has_canonical_format)
    medians = _medians_of_vars(token_of_var, shared, vocabulary)
    frame = np.array([_or_none(vocabulary.cls_token), _or_none(vocabulary.eos_token)], np.int32)
    room = vocabulary.input_length - vocabulary.n_frame_tokens

    blocks = _split(indptr, n_threads)
    lengths_at_most = np.minimum(np.diff(indptr), room) + vocabulary.n_frame_tokens
    starts = _offsets(lengths_at_most)
    tokens = np.empty(starts[-1], np.int32)
    lengths = np.empty(counts.shape[0], np.int64)

    def encode(first: int, last: int) -> None:
        _encode_cells(
            data, indices, indptr, token_of_var, medians, shared, vocabulary.median_of_token,
            frame, room, first, last, tokens[starts[first] : starts[last]], lengths,
        )  # fmt: skip

    run_in_threads(encode, blocks, n_threads)
    offsets = _offsets(lengths)
    for first, last in blocks[1:]:
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


def _check_sizes(counts: csr_matrix | csr_array, vocabulary: Vocabulary) -> None:
    most = int(np.diff(counts.indptr).max(initial=0)) + vocabulary.size
    if vocabulary.size > _TOKEN_MASK or most > _INDEX_MASK:
        raise TokensError(
            f"A vocabulary of {vocabulary.size:,} tokens, and cells of up to "
            f"{most - vocabulary.size:,} entries.",
            f"At most {_TOKEN_MASK:,} tokens, and {_INDEX_MASK:,} tokens and entries.",
            "Sum duplicate entries first (counts.sum_duplicates()), or use a smaller vocabulary.",
        )


def _check_indices(counts: csr_matrix | csr_array) -> None:
    """The kernel looks up each variable unchecked."""
    indices = counts.indices
    if counts.has_canonical_format and len(indices):
        # They ascend: the first and the last of each row stand for all.
        filled = np.flatnonzero(np.diff(counts.indptr))
        indices = indices[np.concatenate([counts.indptr[filled], counts.indptr[filled + 1] - 1])]
    if len(indices) and (indices.min() < 0 or indices.max() >= counts.shape[1]):
        raise TokensError(
            f"The counts have values of variables {indices.min():,} to {indices.max():,}.",
            f"Variables from 0 to {counts.shape[1] - 1:,}, as their shape says.",
            "The matrix was put together wrongly; counts.check_format() of scipy tells where.",
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


def _find_shared(token_of_var: NDArray[np.int32], *, apart: bool) -> NDArray[np.bool_]:
    """Variables of which several entries of a cell may be of one gene; none if no variable is."""
    n_vars = np.bincount(token_of_var[token_of_var >= 0], minlength=1)
    shared = (token_of_var >= 0) & ((n_vars[token_of_var] > 1) | (not apart))
    return shared if shared.any() else shared[:0]


def _medians_of_vars(
    token_of_var: NDArray[np.int32], shared: NDArray[np.bool_], vocabulary: Vocabulary
) -> NDArray[np.float64]:
    """Infinite where a variable alone gives no value."""
    medians = np.where(token_of_var >= 0, vocabulary.median_of_token[token_of_var], np.inf)
    medians[: len(shared)][shared] = np.inf
    return medians


@compile_kernel
def _encode_cells(  # type: ignore[no-untyped-def]  # noqa: PLR0913  # a kernel takes arrays
    data, indices, indptr, token_of_var, medians, shared, median_of_token,
    frame, room, first, last, tokens, lengths
):  # fmt: skip
    """Encode cells first … last - 1 into `tokens`, end to end; see `encode_rank_values`."""
    totals = np.zeros(len(median_of_token), np.float64)
    most = 1
    for cell in range(first, last):
        most = max(most, indptr[cell + 1] - indptr[cell])
    if len(shared):
        most += len(median_of_token)
    token_of = np.empty(most, np.int32)
    values = np.empty(most, np.float64)
    items = np.empty((2, most + 1), np.uint64)
    ends = np.empty((2, 2**_DIGIT + 1), np.uint32)
    at = 0
    for cell in range(first, last):
        row = slice(indptr[cell], indptr[cell + 1])
        n = len(data[row])
        _divide(data[row], indices[row], token_of_var, medians, token_of, values)
        if len(shared):
            n = _add_shared(
                data[row], indices[row], token_of_var, shared, median_of_token, totals,
                token_of, values
            )  # fmt: skip
        n = _sort_positive(values[:n], token_of, items, ends)
        order = items[0, :n]
        _order_equal_keys(order, values)
        start = at
        if frame[0] >= 0:
            tokens[at] = frame[0]
            at += 1
        n = min(n, room)
        own = tokens[at : at + n]
        for i in range(n):
            own[i] = order[i] & _TOKEN_MASK
        at += n
        if frame[1] >= 0:
            tokens[at] = frame[1]
            at += 1
        lengths[cell] = at - start


@compile_kernel
def _divide(data, indices, token_of_var, medians, token_of, values):  # type: ignore[no-untyped-def]
    """Values of the variables that have a gene to themselves; 0 of others."""
    for entry in range(len(indices)):
        values[entry] = data[entry] / medians[indices[entry]]
        token_of[entry] = token_of_var[indices[entry]]


@compile_kernel
def _add_shared(  # type: ignore[no-untyped-def]
    data, indices, token_of_var, shared, median_of_token, totals, token_of, values
):  # fmt: skip
    """Append genes that several entries share; `totals` is zero before and after."""
    n = len(indices)
    for entry in range(len(indices)):
        if shared[indices[entry]] and data[entry] > 0:
            token = token_of_var[indices[entry]]
            if totals[token] == 0:
                token_of[n] = token
                n += 1
            totals[token] += data[entry]
    for i in range(len(indices), n):
        values[i] = totals[token_of[i]] / median_of_token[token_of[i]]
        totals[token_of[i]] = 0
    return n


@compile_kernel
def _sort_positive(values, token_of, items, ends):  # type: ignore[no-untyped-def]
    """Radix-sort by descending value, as far as keys of two digits tell values apart.

    The bits of a positive float ascend with its value. A key is the distance of the bits from
    those of the largest value, cut to two digits: never does a larger value get a larger key.

    Returns how many values are positive; their items are the first of ``items[0]``.
    """
    bits = values.view(np.int64)
    largest, smallest = np.int64(0), np.int64(2**63 - 1)
    for i in range(len(bits)):
        is_positive = values[i] > 0
        largest = max(largest, bits[i] if is_positive else np.int64(0))
        smallest = min(smallest, bits[i] if is_positive else np.int64(2**63 - 1))
    shift = 0
    while (largest - smallest) >> shift >= 2 ** (2 * _DIGIT):
        shift += 1

    n = 0
    first = items[0]
    for i in range(len(bits)):
        key = np.uint64((largest - bits[i]) >> shift)
        first[n] = key << _KEY | np.uint64(i) << _INDEX | np.uint64(np.uint32(token_of[i]))
        n += int(values[i] > 0)

    _count_digits(first[:n], ends)
    for digit in range(2):
        _pass(items[digit, :n], items[1 - digit], ends[digit], _KEY + np.uint64(_DIGIT * digit))
    return n


@compile_kernel
def _count_digits(items, ends):  # type: ignore[no-untyped-def]
    """Where each value of each digit begins."""
    ends[:] = 0
    for item in items:
        key = np.int64(item >> _KEY)
        ends[0, (key & (2**_DIGIT - 1)) + 1] += 1
        ends[1, (key >> _DIGIT) + 1] += 1
    for digit in range(2):
        total = np.uint32(0)
        for i in range(1, 2**_DIGIT):
            total += ends[digit, i]
            ends[digit, i] = total


@compile_kernel
def _pass(items, sorted_items, ends, shift):  # type: ignore[no-untyped-def]
    for item in items:
        digit = (item >> shift) & np.uint64(2**_DIGIT - 1)
        place = ends[digit]
        sorted_items[place] = item
        ends[digit] = place + np.uint32(1)


@compile_kernel
def _order_equal_keys(order, values):  # type: ignore[no-untyped-def]
    """Within runs of one key, sort by exact value descending, then token ascending."""
    first = 0
    for i in range(1, len(order) + 1):
        if i == len(order) or (order[i] ^ order[i - 1]) >> _KEY:
            if i - first > 1:
                _shell_sort(order[first:i], values)
            first = i


@compile_kernel
def _shell_sort(run, values):  # type: ignore[no-untyped-def]
    gap = 1
    while 3 * gap < len(run):
        gap = 3 * gap + 1
    while gap:
        for i in range(gap, len(run)):
            item = run[i]
            j = i
            while j >= gap and _is_before(item, run[j - gap], values):
                run[j] = run[j - gap]
                j -= gap
            run[j] = item
        gap //= 3


@compile_kernel
def _is_before(item, other, values):  # type: ignore[no-untyped-def]
    own = values[np.int64((item >> _INDEX) & _INDEX_MASK)]
    others = values[np.int64((other >> _INDEX) & _INDEX_MASK)]
    return own > others or (own == others and item & _TOKEN_MASK < other & _TOKEN_MASK)
