"""The CUDA loops over many arrays in one launch: a block of threads for each stretch of CHUNK entries of an array."""

from typing import Any, NamedTuple

from numba import cuda

from ...compiler.jit import load, pick, store
from ...cuda.memory import peek, poke
from ...cuda.primitives import BLOCK, block_sum
from ...records.averaging import mix
from ...records.coordinate import apply_update
from ...records.transforms import transform_at

CHUNK = 1024


class Addresses(NamedTuple):
    """Where the arrays are, as addresses of their first entries, and which stretch each block of threads has.

    Block b has the entries from `first[b]` on of array `array[b]`, which the accumulators have from
    `borders[array[b]]` on.
    """

    x: Any
    g: Any
    array: Any
    first: Any
    borders: Any


@cuda.jit(device=True)
def stretch(table):
    """Array, first and last entry of this thread, and where the accumulators of the array begin."""
    b = cuda.blockIdx.x
    k = table.array[b]
    begin, end = table.borders[k], table.borders[k + 1]
    return k, table.first[b] + cuda.threadIdx.x, min(table.first[b] + CHUNK, end - begin), begin


@cuda.jit
def many(update, table, s, lr, t):
    """x[k][j], s[i] = move(x[k][j], g[k][j]), i = borders[k] + j"""
    k, j, stop, begin = stretch(table)
    while j < stop:
        i = begin + j
        xj, gj = peek(table.x, k, j, s[0]), peek(table.g, k, j, s[0])
        xj, scalars = apply_update(update, xj, gj, load(s, i), pick(lr, i), t, i)
        poke(table.x, k, j, xj, s[0])
        store(s, i, scalars)
        j += cuda.blockDim.x


@cuda.jit
def many_squares(transforms, table, lr, parts):
    """parts[b] = sum of transform(g[k][j])**2 over the stretch of block b"""
    room = cuda.shared.array(BLOCK, parts.dtype)
    k, j, stop, begin = stretch(table)
    mine = parts.dtype.type(0)
    while j < stop:
        xj, gj = peek(table.x, k, j, parts), peek(table.g, k, j, parts)
        _, gj = transform_at(transforms, xj, gj, pick(lr, begin + j), begin + j)
        mine += gj * gj
        j += cuda.blockDim.x
    total = block_sum(room, mine)
    if cuda.threadIdx.x == 0:
        parts[cuda.blockIdx.x] = total


@cuda.jit
def many_wrong(transforms, table, s, lr, counts):
    """counts[0] = how many threads met a transform(g[k][j]) that is not finite, added to what is there"""
    k, j, stop, begin = stretch(table)
    mine = 0
    while j < stop:
        xj, gj = peek(table.x, k, j, s[0]), peek(table.g, k, j, s[0])
        _, gj = transform_at(transforms, xj, gj, pick(lr, begin + j), begin + j)
        if abs(gj - gj) != 0:
            mine = 1
        j += cuda.blockDim.x
    if mine:
        cuda.atomic.add(counts, 0, 1)


@cuda.jit
def many_blend(average, table, mean, weight, overwrite):
    """mean[i] = mix(mean[i], x[k][j], weight), and if overwrite, x[k][j] = mean[i]"""
    k, j, stop, begin = stretch(table)
    while j < stop:
        m = mix(average, mean[begin + j], peek(table.x, k, j, mean), weight)
        mean[begin + j] = m
        if overwrite:
            poke(table.x, k, j, m, mean)
        j += cuda.blockDim.x
