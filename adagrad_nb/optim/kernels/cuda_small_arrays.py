"""CUDA kernels over several arrays in one launch: each block of threads has ENTRIES_PER_BLOCK entries of an array."""

import math
from typing import Any, NamedTuple

from numba import cuda

from ...compiler.jit import load, pick, store
from ...compiler.simd import is_accurate_norm, rescale_norm
from ...cuda.memory import load_from, store_to
from ...cuda.primitives import BLOCK_SIZE, block_max, block_sum
from ...records.averaging import mix
from ...records.coordinate import apply_update
from ...records.transforms import transform_at

ENTRIES_PER_BLOCK = 4096


class PointerTable(NamedTuple):
    """Addresses of the arrays and of their gradients, and the range of entries of each block of threads.

    Block b has the entries from `first_of_block[b]` on of array k = `array_of_block[b]`.  The accumulators of array k
    begin at `offsets[k]`.  `like` is an array of their precision.
    """

    x: Any
    g: Any
    array_of_block: Any
    first_of_block: Any
    offsets: Any
    like: Any


@cuda.jit(device=True)
def thread_range(table):
    """Return x and g of this thread, its first entry, the end of its range and the offset of the accumulators.

    x and g are addresses.  Loops keep them in registers, as the compiler cannot know that stores leave the table alone.
    """
    b = cuda.blockIdx.x
    k = table.array_of_block[b]
    begin, end = table.offsets[k], table.offsets[k + 1]
    return (
        table.x[k],
        table.g[k],
        table.first_of_block[b] + cuda.threadIdx.x,
        min(table.first_of_block[b] + ENTRIES_PER_BLOCK, end - begin),
        begin,
    )


@cuda.jit
def multi_update(update, table, s, lr, t):
    """x[k][j], s[i] = update(x[k][j], g[k][j], s[i]) with i = offsets[k] + j"""
    x, g, j, stop, begin = thread_range(table)
    while j < stop:
        i = begin + j
        xj, gj = load_from(x, j, table.like), load_from(g, j, table.like)
        xj, scalars = apply_update(update, xj, gj, load(s, i), pick(lr, i), t, i)
        store_to(x, j, xj, table.like)
        store(s, i, scalars)
        j += cuda.blockDim.x


@cuda.jit(device=True)
def _reduce_thread(transforms, table, lr, scale, like):
    """Return sum_j (transform(g[k][j]) / scale)**2 of a thread, or max_j abs(transform(g[k][j])) if scale is 0."""
    x, g, j, stop, begin = thread_range(table)
    partial = scale - scale
    while j < stop:
        xj, gj = load_from(x, j, like), load_from(g, j, like)
        _, gj = transform_at(transforms, xj, gj, pick(lr, begin + j), begin + j)
        partial = partial + (gj / scale) * (gj / scale) if scale > 0 else max(partial, abs(gj))
        j += cuda.blockDim.x
    return partial


@cuda.jit
def multi_sum_squares(transforms, table, lr, parts):
    """parts[b] = sum_j transform(g[k][j])**2 over the entries of block b; parts[n_blocks + b] = the norm of these"""
    shared = cuda.shared.array(BLOCK_SIZE, parts.dtype)
    x, g, j, stop, begin = thread_range(table)
    partial = parts.dtype.type(0)
    while j < stop:
        xj, gj = load_from(x, j, parts), load_from(g, j, parts)
        _, gj = transform_at(transforms, xj, gj, pick(lr, begin + j), begin + j)
        partial += gj * gj
        j += cuda.blockDim.x
    total = block_sum(shared, partial)
    norm = math.sqrt(total)
    if not is_accurate_norm(norm):
        norm = block_max(shared, _reduce_thread(transforms, table, lr, parts.dtype.type(0), parts))
        if 0 < norm < math.inf:
            norm = rescale_norm(norm, block_sum(shared, _reduce_thread(transforms, table, lr, norm, parts)))
    if cuda.threadIdx.x == 0:
        parts[cuda.blockIdx.x] = total
        parts[cuda.gridDim.x + cuda.blockIdx.x] = norm


@cuda.jit
def multi_count_nonfinite(transforms, table, lr, counts):
    """counts[0] += the number of threads with a transform(g[k][j]) that is not finite"""
    x, g, j, stop, begin = thread_range(table)
    partial = 0
    while j < stop:
        xj, gj = load_from(x, j, table.like), load_from(g, j, table.like)
        _, gj = transform_at(transforms, xj, gj, pick(lr, begin + j), begin + j)
        if abs(gj - gj) != 0:
            partial = 1
        j += cuda.blockDim.x
    if partial:
        cuda.atomic.add(counts, 0, 1)


@cuda.jit
def multi_update_average(average, table, mean, weight, overwrite):
    """mean[i] = mix(mean[i], x[k][j], weight); if overwrite, x[k][j] = mean[i]"""
    x, _, j, stop, begin = thread_range(table)
    while j < stop:
        m = mix(average, mean[begin + j], load_from(x, j, mean), weight)
        mean[begin + j] = m
        if overwrite:
            store_to(x, j, m, mean)
        j += cuda.blockDim.x
