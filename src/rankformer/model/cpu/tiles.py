"""Products of 16-bit whole numbers for kernels, by an instruction that numba has no name for.

A tile is what the registers hold: some rows of the left factor by some columns of the right one.
Factors hold pairs of 16-bit numbers in 32 bits, as vpdpwssd multiplies and adds them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from rankformer.compilation import compile_kernel

TILE_ROWS, _LANES, _VECTORS = 8, 16, 2
TILE_COLUMNS = _LANES * _VECTORS
NEEDED = "avx512_vnni"
"""What the CPU must have, as Linux names it."""

_PAIR, _SIZE = ir.IntType(32), ir.IntType(64)
_PAIRS, _NUMBERS = ir.VectorType(_PAIR, _LANES), ir.VectorType(ir.IntType(16), 2 * _LANES)
_ZEROS, _ANYTHING = ir.Constant(_PAIRS, None), ir.Constant(_PAIRS, ir.Undefined)


def _type_tile(_typing, left, left_stride, right, n_pairs, sums, sums_stride):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Put one tile of products in its place.

    Addresses, and strides in bytes: a row of `left` holds its pairs; `right`, for each pair, those
    of the columns; `sums` has rows of 32-bit numbers. A compiler finds neither the instruction by
    itself, nor that all sums can stay in registers.
    """
    return types.void(*[types.intp] * 6), _write_tile


def _write_tile(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    left, left_stride, right, n_pairs, sums, sums_stride = arguments
    # With the addition behind it, this becomes vpdpwssd.
    kind = ir.FunctionType(_PAIRS, [_NUMBERS, _NUMBERS])
    name = "llvm.x86.avx512.pmaddw.d.512"
    multiply = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]

    def load(place: Any, kind: Any) -> Any:
        return builder.load(builder.inttoptr(place, kind.as_pointer()), align=4)

    def row_of(base: Any, stride: Any, index: int) -> Any:
        return builder.add(base, builder.mul(stride, _SIZE(index)))

    def vector_of(base: Any, index: int) -> Any:
        return builder.add(base, _SIZE(4 * _LANES * index))

    def fill(pair: Any) -> Any:
        one = builder.insert_element(_ANYTHING, pair, _PAIR(0))
        return builder.bitcast(builder.shuffle_vector(one, _ANYTHING, _ZEROS), _NUMBERS)

    make = partial(cgutils.alloca_once, builder, _PAIRS)
    tile = [[make() for _ in range(_VECTORS)] for _ in range(TILE_ROWS)]
    for row in tile:
        for vector in row:
            builder.store(_ZEROS, vector)
    with cgutils.for_range(builder, n_pairs, intp=_SIZE) as loop:
        first = builder.add(right, builder.mul(loop.index, _SIZE(4 * TILE_COLUMNS)))
        columns = [
            builder.bitcast(load(vector_of(first, i), _PAIRS), _NUMBERS) for i in range(_VECTORS)
        ]
        own = builder.add(left, builder.mul(loop.index, _SIZE(4)))
        for index, row in enumerate(tile):
            filled = fill(load(row_of(own, left_stride, index), _PAIR))
            for vector, column in zip(row, columns, strict=True):
                product = builder.call(multiply, [filled, column])
                builder.store(builder.add(builder.load(vector), product), vector)
    for index, row in enumerate(tile):
        target = row_of(sums, sums_stride, index)
        for i, vector in enumerate(row):
            place = builder.inttoptr(vector_of(target, i), _PAIRS.as_pointer())
            builder.store(builder.load(vector), place, align=4)
    return context.get_dummy_value()


def _type_float(_typing, bits):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return types.float32(types.int32), _write_float


def _write_float(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    return builder.bitcast(arguments[0], ir.FloatType())


_multiply_tile: Callable[..., Any] = intrinsic(_type_tile)
as_float: Callable[..., Any] = intrinsic(_type_float)
"""In kernels: the float32 of these 32 bits."""


@compile_kernel
def multiply_tiles(left, n_rows, right, n_pairs, sums):  # type: ignore[no-untyped-def]
    """In kernels: products of rows with the columns of one tile, exact where 32 bits hold them.

    Parameters
    ----------
    left
        int16, two numbers a pair; `n_rows` rows, rounded up to whole tiles, are read.
    right
        (`n_pairs`, TILE_COLUMNS) int32, each a pair, the first number in the lower half.
    sums
        int32; as many rows and TILE_COLUMNS columns are written.
    """
    for row in range(0, n_rows, TILE_ROWS):
        _multiply_tile(
            left[row:].ctypes.data, left.strides[0], right.ctypes.data, n_pairs,
            sums[row:].ctypes.data, sums.strides[0],
        )  # fmt: skip
