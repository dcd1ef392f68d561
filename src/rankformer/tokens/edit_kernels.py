"""Kernels that find what is edited and where, for `rankformer.tokens.edits`."""

import numpy as np
from numpy.typing import NDArray

from rankformer.compilation import compile_kernel


@compile_kernel
def find_ranks(
    values: NDArray[np.int32],
    offsets: NDArray[np.int64],
    n_before: int,
    n_behind: int,
    tokens: NDArray[np.int32],
) -> NDArray[np.int32]:
    """(n_cells, n_tokens): the rank of each token in each cell, or -1."""
    n_cells = len(offsets) - 1
    largest = 0
    for token in tokens:
        largest = max(largest, token)
    rank_of = np.full(largest + 1, -1, np.int32)
    found = np.empty((n_cells, len(tokens)), np.int32)
    for cell in range(n_cells):
        first, last = offsets[cell] + n_before, offsets[cell + 1] - n_behind
        for place in range(first, last):
            if values[place] <= largest:
                rank_of[values[place]] = place - first
        for i in range(len(tokens)):
            found[cell, i] = rank_of[tokens[i]]
        for place in range(first, last):
            if values[place] <= largest:
                rank_of[values[place]] = -1
    return found


@compile_kernel
def aim(
    kind: int,
    ends: NDArray[np.int64],
    tokens: NDArray[np.int32],
    ranks: NDArray[np.int32],
    step: NDArray[np.int64],
    n_genes: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Genes of each edit, their ranks and where they go, in ascending targets; those absent."""
    delete, overexpress, inhibit = 0, 1, 2
    out_tokens, out_ranks = tokens.copy(), ranks.copy()
    targets = np.full(len(tokens), -1, np.int32)
    n_absent = np.zeros(len(ends) - 1, np.int64)
    for edit in range(len(ends) - 1):
        first, last = ends[edit], ends[edit + 1]
        for i in range(first, last):
            n_absent[edit] += ranks[i] < 0
        if kind == overexpress:
            for i in range(first, last):
                targets[i] = i - first
        elif kind != delete:
            order = np.argsort(ranks[first:last])
            for j in range(last - first):
                i = first + j
                out_tokens[i], out_ranks[i] = tokens[first + order[j]], ranks[first + order[j]]
                # Genes that meet at an end stay in their order.
                if kind == inhibit:
                    lowest = n_genes[edit] - (last - i)
                    targets[i] = min(out_ranks[i] + step[edit], lowest)
                else:
                    targets[i] = max(out_ranks[i] - step[edit], j)
    return out_tokens, out_ranks, targets, n_absent


@compile_kernel
def fill_indices(  # noqa: PLR0913  # a kernel takes arrays, no objects
    cell_offsets: NDArray[np.int64],
    cells: NDArray[np.int64],
    offsets: NDArray[np.int64],
    ranks: NDArray[np.int32],
    targets: NDArray[np.int32],
    n_values: int,
    n_before: int,
    n_behind: int,
    ends: NDArray[np.int64],
    out: NDArray[np.int32],
) -> None:
    longest = 0
    for cell in cells:
        longest = max(longest, cell_offsets[cell + 1] - cell_offsets[cell])
    is_edited = np.zeros(longest + 1, np.bool_)
    for edit in range(len(cells)):
        begin, end = cell_offsets[cells[edit]], cell_offsets[cells[edit] + 1]
        first, last = offsets[edit], offsets[edit + 1]
        for i in range(first, last):
            if ranks[i] >= 0:
                is_edited[ranks[i]] = True
        at = ends[edit]
        for place in range(n_before):
            out[at + place] = begin + place
        at += n_before
        n_genes = ends[edit + 1] - at - n_behind
        source, move = 0, first
        for rank in range(n_genes):
            if move < last and targets[move] == rank:
                if ranks[move] >= 0:
                    out[at + rank] = begin + n_before + ranks[move]
                else:
                    out[at + rank] = n_values + move
                move += 1
            else:
                while is_edited[source]:
                    source += 1
                out[at + rank] = begin + n_before + source
                source += 1
        for place in range(n_behind):
            out[at + n_genes + place] = end - n_behind + place
        for i in range(first, last):
            if ranks[i] >= 0:
                is_edited[ranks[i]] = False
