"""Triton kernels: each reads what it needs once and writes its result once.

A program computes a tile of whole rows. Widths that are no power of two are masked. All sums are
of float32, whatever is stored.

Shapes: R rows of a tile, D hidden (WIDTH, padded to COLUMNS).
"""

import triton
import triton.language as tl


@triton.jit
def _load(table, places, inside):
    return tl.load(table + places, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _normalise(sum_RD, inside_RD, eps, WIDTH: tl.constexpr):
    """Rows of mean 0 and variance 1, their means, and what they were multiplied by."""
    mean_R = tl.sum(sum_RD, axis=1) / WIDTH
    centred_RD = tl.where(inside_RD, sum_RD - mean_R[:, None], 0.0)
    scale_R = tl.rsqrt(tl.sum(centred_RD * centred_RD, axis=1) / WIDTH + eps)
    return centred_RD * scale_R[:, None], mean_R, scale_R


@triton.jit
def _factors(seed, rows_R, columns_D, dropout):
    """What dropout multiplies by: nothing, or the inverse of the share that is kept.

    A place of the whole array has the same factor in every kernel, whatever its tiles.
    """
    zero_RD = (rows_R[:, None] * 0 + columns_D[None, :] * 0).to(tl.uint32)
    drawn_RD, _, _, _ = tl.philox(
        seed, zero_RD + columns_D[None, :].to(tl.uint32), zero_RD + rows_R[:, None].to(tl.uint32),
        zero_RD, zero_RD, 7,
    )  # fmt: skip
    # The upper 24 bits, as many as float32 has.
    chance_RD = (drawn_RD >> 8).to(tl.float32) * 5.9604644775390625e-08
    return tl.where(chance_RD >= dropout, 1.0 / (1.0 - dropout), 0.0)


@triton.jit(do_not_specialize=["n_rows", "seed"])
def add_norm_rows(  # noqa: PLR0913  # arrays, shape and tile
    update, hidden, weight, bias, out, summed, means, scales, n_rows, eps, seed, dropout,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, KEEPS: tl.constexpr,
    DROPS: tl.constexpr,
):  # fmt: skip
    """The norm of a sum; for the backward pass also the sum, and mean and scale of its rows."""
    rows_R = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns_D = tl.arange(0, COLUMNS)
    inside_RD = (rows_R < n_rows)[:, None] & (columns_D < WIDTH)[None, :]
    places_RD = rows_R[:, None] * WIDTH + columns_D[None, :]
    sum_RD = _load(update, places_RD, inside_RD)
    if DROPS:
        sum_RD *= _factors(seed, rows_R, columns_D, dropout)
    sum_RD += _load(hidden, places_RD, inside_RD)
    norm_RD, mean_R, scale_R = _normalise(sum_RD, inside_RD, eps, WIDTH)
    weight_D = _load(weight, columns_D, columns_D < WIDTH)
    bias_D = _load(bias, columns_D, columns_D < WIDTH)
    out_RD = norm_RD * weight_D[None, :] + bias_D[None, :]
    tl.store(out + places_RD, out_RD.to(out.dtype.element_ty), mask=inside_RD)
    if KEEPS:
        tl.store(summed + places_RD, sum_RD.to(summed.dtype.element_ty), mask=inside_RD)
        tl.store(means + rows_R, mean_R, mask=rows_R < n_rows)
        tl.store(scales + rows_R, scale_R, mask=rows_R < n_rows)


@triton.jit(do_not_specialize=["n_rows", "n_tiles", "seed"])
def add_norm_gradients(  # noqa: PLR0913  # arrays, shape and tile
    gradient, summed, means, scales, weight, of_sum, of_update, of_weight, of_bias, n_rows,
    n_tiles, seed, dropout,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """Gradients of a sum from those of its norm; and, a row a program, of weight and bias.

    Where the update was dropped, its gradient is another one than the sum's, and stored beside it.

    Each program takes every n-th tile, so that few rows of these are left to be summed.
    """
    columns_D = tl.arange(0, COLUMNS)
    weight_D = _load(weight, columns_D, columns_D < WIDTH)
    of_weight_D = tl.zeros([COLUMNS], dtype=tl.float32)
    of_bias_D = tl.zeros([COLUMNS], dtype=tl.float32)
    for tile in tl.range(tl.program_id(0), n_tiles, tl.num_programs(0)):
        rows_R = (tile * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        inside_RD = (rows_R < n_rows)[:, None] & (columns_D < WIDTH)[None, :]
        places_RD = rows_R[:, None] * WIDTH + columns_D[None, :]
        mean_R = _load(means, rows_R, rows_R < n_rows)
        scale_R = _load(scales, rows_R, rows_R < n_rows)
        centred_RD = _load(summed, places_RD, inside_RD) - mean_R[:, None]
        norm_RD = tl.where(inside_RD, centred_RD * scale_R[:, None], 0.0)
        gradient_RD = _load(gradient, places_RD, inside_RD)
        of_weight_D += tl.sum(gradient_RD * norm_RD, axis=0)
        of_bias_D += tl.sum(gradient_RD, axis=0)
        of_norm_RD = gradient_RD * weight_D[None, :]
        along_R = tl.sum(of_norm_RD * norm_RD, axis=1) / WIDTH
        level_R = tl.sum(of_norm_RD, axis=1) / WIDTH
        of_sum_RD = of_norm_RD - level_R[:, None] - norm_RD * along_R[:, None]
        of_sum_RD = of_sum_RD * scale_R[:, None]
        tl.store(of_sum + places_RD, of_sum_RD.to(of_sum.dtype.element_ty), mask=inside_RD)
        if DROPS:
            of_update_RD = of_sum_RD * _factors(seed, rows_R, columns_D, dropout)
            tl.store(
                of_update + places_RD, of_update_RD.to(of_update.dtype.element_ty), mask=inside_RD
            )
    own_D = tl.program_id(0) * WIDTH + columns_D
    tl.store(of_weight + own_D, of_weight_D, mask=columns_D < WIDTH)
    tl.store(of_bias + own_D, of_bias_D, mask=columns_D < WIDTH)


@triton.jit(do_not_specialize=["n_rows"])
def embed_norm_rows(  # noqa: PLR0913  # arrays, shape and tile
    tokens, positions, token_table, position_table, type_row, weight, bias, out, n_rows, eps,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Token + position + type, normalised."""
    rows_R = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns_D = tl.arange(0, COLUMNS)
    inside_RD = (rows_R < n_rows)[:, None] & (columns_D < WIDTH)[None, :]
    token_R = tl.load(tokens + rows_R, mask=rows_R < n_rows, other=0)
    position_R = tl.load(positions + rows_R, mask=rows_R < n_rows, other=0)
    sum_RD = _load(token_table, token_R[:, None] * WIDTH + columns_D[None, :], inside_RD)
    sum_RD += _load(position_table, position_R[:, None] * WIDTH + columns_D[None, :], inside_RD)
    type_D = _load(type_row, columns_D, columns_D < WIDTH)
    sum_RD = tl.where(inside_RD, sum_RD + type_D[None, :], 0.0)
    norm_RD, _, _ = _normalise(sum_RD, inside_RD, eps, WIDTH)
    weight_D = _load(weight, columns_D, columns_D < WIDTH)
    bias_D = _load(bias, columns_D, columns_D < WIDTH)
    out_RD = norm_RD * weight_D[None, :] + bias_D[None, :]
    places_RD = rows_R[:, None] * WIDTH + columns_D[None, :]
    tl.store(out + places_RD, out_RD.to(out.dtype.element_ty), mask=inside_RD)


@triton.jit
def mean_rows(
    hidden, places, offsets, out,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """The mean of a cell's rows: sums of ROWS of them in float32, then sums of these in float64."""
    cell = tl.program_id(0).to(tl.int64)
    columns_D = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    start = tl.load(offsets + cell)
    stop = tl.load(offsets + cell + 1)
    sum_D = tl.zeros([COLUMNS], dtype=tl.float64)
    for first in tl.range(start, stop, ROWS):
        within_R = first + tl.arange(0, ROWS)
        row_R = tl.load(places + within_R, mask=within_R < stop, other=0)
        inside_RD = (within_R < stop)[:, None] & (columns_D < WIDTH)[None, :]
        rows_RD = _load(hidden, row_R[:, None] * WIDTH + columns_D[None, :], inside_RD)
        sum_D += tl.sum(rows_RD, axis=0).to(tl.float64)
    n_rows = (stop - start).to(tl.float64)
    mean_D = tl.where(n_rows > 0, sum_D / tl.maximum(n_rows, 1.0), float("nan"))
    tl.store(out + cell * WIDTH + columns_D, mean_D.to(tl.float32), mask=columns_D < WIDTH)
