"""Attention on rounded inputs, for CPUs with AVX512-VNNI, which multiply these twice as fast.

Queries, keys, values and weights are rounded to whole numbers of 13 bits, sign included; bfloat16,
the usual way to save time, keeps 8. Sums of their products are exact. Softmax runs over blocks of
keys (Dao et al., FlashAttention, NeurIPS 2022). The mean of the keys is taken from them first,
which changes no weight and leaves more of the bits to what differs (Zhang et al., SageAttention,
ICLR 2025), and so with the values, whose mean is added again.

Shapes: T packed tokens, H heads, K head size; L tokens of one cell, Q queries of a block.
"""

from functools import partial
from itertools import pairwise
from math import isqrt, log2, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankformer.compilation import compile_fused_kernel
from rankformer.model.cpu.tiles import TILE_COLUMNS, as_float, multiply_tiles
from rankformer.model.segments import Segments
from rankformer.threads import run_in_threads

# A block of scores lies in the nearest cache.
_BLOCK_QUERIES, _BLOCK_KEYS = 32, 128
# The largest whole number; sums of that many products of two of them stay below 2³¹.
_LIMIT = 4095
_FAR_BELOW = -1e30
_LOG2_E = log2(np.e)


def attend_rounded(
    query_THK: Tensor,
    key_THK: Tensor,
    value_THK: Tensor,
    segments: Segments,
    dropout: float,  # noqa: ARG001  # a back end like the others; made for inference, it has none
) -> Tensor:
    """As `rankformer.model.attention.attend`, on a CPU with AVX512-VNNI; no gradients pass.

    Takes float32 and bfloat16.
    """
    mixed_THK = torch.empty(query_THK.shape, dtype=query_THK.dtype)
    _, n_heads, head_size = query_THK.shape
    # Two scores differ by less than 2³¹.
    limit = np.float32(min(_LIMIT, isqrt(2**30 // head_size)))
    offsets = np.array(segments.offsets)
    query, key, value = map(_bits, (query_THK, key_THK, value_THK))
    mixed = _as_integers(mixed_THK).numpy()
    run = partial(_attend_heads, query, key, value, offsets, limit, mixed)
    n_threads = min(torch.get_num_threads(), n_heads)
    shares = pairwise(np.linspace(0, n_heads, n_threads + 1).astype(int).tolist())
    run_in_threads(run, shares, n_threads)
    return mixed_THK


def _bits(values_THK: Tensor) -> tuple[NDArray[Any], int, int]:
    """The bits of floats, without a copy; one array, and how far tokens and heads lie apart in it.

    A kernel that knows that a head's numbers lie side by side takes many at once.
    """
    values_THK = _as_integers(values_THK)
    if values_THK.stride(2) != 1:
        values_THK = values_THK.contiguous()
    token, head, _ = values_THK.stride()
    n_tokens, n_heads, head_size = values_THK.shape
    length = (n_tokens - 1) * token + (n_heads - 1) * head + head_size
    return values_THK.as_strided((length,), (1,)).numpy(), token, head


def _as_integers(values: Tensor) -> Tensor:
    """The same bits: numpy knows no bfloat16."""
    kinds = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
    return values.detach().view(kinds[values.dtype])


@compile_fused_kernel
def _attend_heads(query, key, value, offsets, limit, mixed, first_head, stop_head):  # type: ignore[no-untyped-def]
    """Attention of the heads first_head … stop_head - 1, all cells; `mixed` is (T, H, K) bits."""
    head_size = mixed.shape[2]
    n_pairs, n_wide = (head_size + 1) // 2, -(-head_size // TILE_COLUMNS)
    longest = np.diff(offsets).max()
    n_panels = -(-longest // TILE_COLUMNS)
    n_rows = n_panels * TILE_COLUMNS
    rows, means = np.empty((longest, head_size), np.float32), np.empty(head_size, np.float32)
    rounded = np.zeros((n_rows, 2 * n_pairs), np.int16)
    scales = np.empty(n_rows, np.float32)
    keys = np.zeros((n_panels, n_pairs, TILE_COLUMNS), np.int32)
    values = np.zeros((n_wide, n_rows // 2, TILE_COLUMNS), np.int32)
    block = np.empty((_BLOCK_QUERIES, head_size), np.float32)
    for cell in range(len(offsets) - 1):
        begin, n_tokens = offsets[cell], offsets[cell + 1] - offsets[cell]
        own = rows[:n_tokens]
        for head in range(first_head, stop_head):
            _take(key, begin, head, own)
            _centre(own, means)
            key_scale = _round(own, limit, rounded)
            _lay_out_keys(rounded[:n_tokens], keys)
            _take(value, begin, head, own)
            _centre(own, means)
            value_scale = _round(own, limit, rounded)
            _lay_out_values(rounded[: n_tokens + n_tokens % 2], values)
            _take(query, begin, head, own)
            factor = key_scale * np.float32(_LOG2_E / sqrt(head_size))
            for token in range(n_tokens):
                one = slice(token, token + 1)
                scales[token] = factor * _round(own[one], limit, rounded[one])
            for first in range(0, n_tokens, _BLOCK_QUERIES):
                n_queries = min(_BLOCK_QUERIES, n_tokens - first)
                found = block[:n_queries]
                _attend_block(rounded[first:], scales[first:], keys, values, n_tokens, found)
                for row in range(n_queries):
                    for column in range(head_size):
                        found[row, column] = found[row, column] * value_scale + means[column]
                _put(found, mixed[begin + first :], head)


@compile_fused_kernel
def _take(source, begin, head, rows):  # type: ignore[no-untyped-def]
    """Bring the rows of one head, which lie apart and as bits, next to each other."""
    bits, token_stride, head_stride = source
    # bfloat16 is the upper half of a float32.
    shift = np.int32(32 - 8 * bits.itemsize)
    for row in range(len(rows)):
        first = (begin + row) * token_stride + head * head_stride
        own = bits[first : first + rows.shape[1]]
        for column in range(len(own)):
            rows[row, column] = as_float(np.int32(np.int32(own[column]) << shift))


@compile_fused_kernel
def _put(rows, mixed, head):  # type: ignore[no-untyped-def]
    """Write rows as bits, rounded to the nearest, to even ones at a tie."""
    shift = np.int32(32 - 8 * mixed.itemsize)
    below_half = np.int32((1 << shift) // 2 - 1)
    for row in range(len(rows)):
        bits, target = rows[row].view(np.int32), mixed[row, head]
        for column in range(len(bits)):
            own = bits[column]
            if shift:
                own = np.int32(own + below_half + (np.int32(own >> shift) & np.int32(1)))
            target[column] = own >> shift


@compile_fused_kernel
def _centre(rows, means):  # type: ignore[no-untyped-def]
    """Take the rows' mean from them."""
    means[:] = 0
    for row in range(len(rows)):
        for column in range(len(means)):
            means[column] += rows[row, column]
    means /= np.float32(len(rows))
    for row in range(len(rows)):
        for column in range(len(means)):
            rows[row, column] -= means[column]


@compile_fused_kernel
def _round(rows, limit, rounded):  # type: ignore[no-untyped-def]
    """Round rows to whole numbers of at most `limit`; returns by what these are multiplied."""
    largest = np.int32(0)
    for row in range(len(rows)):
        # Bits without the sign ascend with the absolute value, and many are compared at once.
        bits = rows[row].view(np.int32)
        for column in range(len(bits)):
            largest = max(largest, bits[column] & np.int32(0x7FFFFFFF))
    top = as_float(largest)
    factor = limit / top if top > 0 else np.float32(0)
    for row in range(len(rows)):
        for column in range(rows.shape[1]):
            rounded[row, column] = np.int16(np.rint(rows[row, column] * factor))
    return top / limit


@compile_fused_kernel
def _lay_out_keys(rounded, keys):  # type: ignore[no-untyped-def]
    """Pairs of numbers of each key, as tiles read them: (panel, pair, key of the panel)."""
    for token in range(len(rounded)):
        pairs = rounded[token].view(np.int32)
        for pair in range(len(pairs)):
            keys[token // TILE_COLUMNS, pair, token % TILE_COLUMNS] = pairs[pair]


@compile_fused_kernel
def _lay_out_values(rounded, values):  # type: ignore[no-untyped-def]
    """Numbers of pairs of tokens, as tiles read them: (panel, pair, column of the panel)."""
    for pair in range(len(rounded) // 2):
        first, second = rounded[2 * pair], rounded[2 * pair + 1]
        for panel in range(len(values)):
            target, before = values[panel, pair], panel * TILE_COLUMNS
            for column in range(min(TILE_COLUMNS, len(first) - before)):
                low = np.int32(first[before + column]) & np.int32(0xFFFF)
                target[column] = low | np.int32(np.int32(second[before + column]) << 16)


@compile_fused_kernel
def _attend_block(queries, scales, keys, values, n_tokens, mixed):  # type: ignore[no-untyped-def]
    """Attention of some queries of one head to all tokens of their cell, before the values' scale.

    `scales` turn their scores into powers of two. Rows behind the last query are computed too, as
    tiles are whole, and not looked at.
    """
    n_pairs, n_wide = keys.shape[1], len(values)
    n_queries = len(mixed)
    scores = np.empty((_BLOCK_QUERIES, _BLOCK_KEYS), np.int32)
    weights = np.zeros((_BLOCK_QUERIES, _BLOCK_KEYS), np.int16)
    sums = np.empty((_BLOCK_QUERIES, n_wide * TILE_COLUMNS), np.int32)
    tops = np.full(n_queries, _FAR_BELOW, np.float32)
    totals = np.zeros(n_queries, np.float32)
    block_tops, block_totals = np.empty(n_queries, np.int32), np.empty(n_queries, np.int32)
    shrink, weigh = np.empty(n_queries, np.float32), np.empty(n_queries, np.float32)
    mixed[:] = 0
    for first in range(0, n_tokens, _BLOCK_KEYS):
        n_keys = min(_BLOCK_KEYS, n_tokens - first)
        for column in range(0, n_keys, TILE_COLUMNS):
            panel = keys[(first + column) // TILE_COLUMNS]
            multiply_tiles(queries, n_queries, panel, n_pairs, scores[:, column:])
        for row in range(n_queries):
            found = _soften(scores[row, :n_keys], scales[row], weights[row])
            block_tops[row], block_totals[row] = found
            if n_keys % 2:
                weights[row, n_keys] = 0
        # Apart from the loop above, for all queries at once.
        for row in range(n_queries):
            own_top = np.float32(block_tops[row]) * scales[row]
            new_top = max(tops[row], own_top)
            shrink[row] = _power(tops[row] - new_top)
            weigh[row] = _power(own_top - new_top)
            totals[row] = totals[row] * shrink[row] + np.float32(block_totals[row]) * weigh[row]
            tops[row] = new_top
        for panel in range(n_wide):
            own = values[panel, first // 2 :]
            multiply_tiles(
                weights, n_queries, own, (n_keys + 1) // 2, sums[:, panel * TILE_COLUMNS :]
            )
        for row in range(n_queries):
            for column in range(mixed.shape[1]):
                added = np.float32(sums[row, column]) * weigh[row]
                mixed[row, column] = mixed[row, column] * shrink[row] + added
    for row in range(n_queries):
        mixed[row] /= totals[row]


@compile_fused_kernel
def _soften(scores, scale, weights):  # type: ignore[no-untyped-def]
    """Weights of one query's scores, from 0 to 4095; returns the largest score, and their sum."""
    top, total = scores[0], np.int32(0)
    for key in range(len(scores)):
        top = max(top, scores[key])
    for key in range(len(scores)):
        power = _power(np.float32(np.int32(scores[key] - top)) * scale)
        weight = np.int32(power * np.float32(_LIMIT) + np.float32(0.5))
        weights[key] = np.int16(weight)
        total = np.int32(total + weight)
    return top, total


@compile_fused_kernel
def _power(exponent):  # type: ignore[no-untyped-def]
    """2 to a power of at most 0, within 3e-6 of it; a polynomial between integers."""
    exponent = max(exponent, np.float32(-126))
    whole = np.rint(exponent)
    rest = exponent - whole
    power = np.float32(9.5700994e-3)
    power = power * rest + np.float32(5.5917859e-2)
    power = power * rest + np.float32(0.24024744)
    power = power * rest + np.float32(0.69312179)
    power = power * rest + np.float32(0.99999928)
    return power * as_float(np.int32(np.int32(np.int32(whole) + 127) << 23))
