"""CUDA kernels of the rules in `records.global_rules`: sums over all coordinates, the memory, and the learning rates.

The sums of a block are in the precision of x, as on the CPU.  They are added in double precision in a fixed order, so
the same arrays give the same bits.  The memory and its factor of the learning rate are in double precision.
"""

from typing import Any, NamedTuple

from numba import cuda

from ...compiler.jit import bind, load, method, pick, store
from ...cuda.memory import load_as, load_from
from ...cuda.primitives import BLOCK_SIZE, block_sum
from ...records.global_rules import totals
from ...records.transforms import transform_at
from .cuda_array_update import coordinate_of
from .cuda_small_arrays import thread_range

new_memory, rate_factor = method("update_memory"), method("rate_factor")


class TotalsBuffers(NamedTuple):
    """The memory before an update, and the array of the sums of all blocks of all arrays.

    `memory` has an array with one entry for each number, and `zeros` a zero for each term of `totals`.  The sum of
    term j over block b of an array is parts[j * n_parts + first + b].
    """

    memory: Any
    zeros: Any
    parts: Any
    n_parts: Any
    first: Any


def load_memory(memory, like):
    """Return the numbers of the memory in the precision of the array `like`."""
    return tuple(like.dtype.type(number[0]) for number in memory)


@bind(load_memory)
def _overload_load_memory(memory, like):
    if len(memory) == 0:
        return lambda memory, like: ()
    dtype = like.dtype
    return lambda memory, like: (dtype(memory[0][0]),) + load_memory(memory[1:], like)


def add_terms(sums, terms, like):
    """Return the elementwise sum of two tuples in the precision of the array `like`."""
    return tuple(like.dtype.type(a + b) for a, b in zip(sums, terms, strict=True))


@bind(add_terms)
def _overload_add_terms(sums, terms, like):
    if len(sums) == 0:
        return lambda sums, terms, like: ()
    dtype = like.dtype
    return lambda sums, terms, like: (dtype(sums[0] + terms[0]),) + add_terms(sums[1:], terms[1:], like)


@cuda.jit(device=True)
def _store_block_sums(shared, sums, buffers):
    """Write the sums of each term over the threads of the block."""
    for j in range(len(sums)):
        total = block_sum(shared, sums[j])
        if cuda.threadIdx.x == 0:
            buffers.parts[j * buffers.n_parts + buffers.first + cuda.blockIdx.x] = total


@cuda.jit
def sum_totals(update, where, x, g, s, lr, buffers):
    """Write sum_k totals(x[i], g[k], s[i]) over the k of each block to `buffers`, with i = where.coordinate_of(k)."""
    shared = cuda.shared.array(BLOCK_SIZE, x.dtype)
    memory, sums = load_memory(buffers.memory, x), buffers.zeros
    k = cuda.grid(1)
    while k < g.shape[0]:
        i = coordinate_of(where, k)
        if i >= 0:
            rate = pick(lr, i)
            _, gk = transform_at(update.transforms, x[i], load_as(g, k, x), rate, i)
            sums = add_terms(sums, totals(update.rule, x[i], gk, load(s, i), rate, memory), x)
        k += cuda.gridsize(1)
    _store_block_sums(shared, sums, buffers)


@cuda.jit
def multi_sum_totals(update, table, s, lr, buffers):
    """Write sum_j totals(x[k][j], g[k][j], s[i]) over the entries j of each block, with i = offsets[k] + j."""
    shared = cuda.shared.array(BLOCK_SIZE, table.like.dtype)
    memory, sums = load_memory(buffers.memory, table.like), buffers.zeros
    x, g, j, stop, begin = thread_range(table)
    while j < stop:
        i = begin + j
        xj, rate = load_from(x, j, table.like), pick(lr, i)
        _, gj = transform_at(update.transforms, xj, load_from(g, j, table.like), rate, i)
        sums = add_terms(sums, totals(update.rule, xj, gj, load(s, i), rate, memory), table.like)
        j += cuda.blockDim.x
    _store_block_sums(shared, sums, buffers)


@cuda.jit
def update_memory(rule, memory, parts, n_parts, sums, factor, lr, rate):
    """memory = update_memory(memory, sums), factor[0] = rate_factor(memory), rate[0] = lr * factor[0], by one block

    sums[j][0] = sum_b parts[j * n_parts + b].
    """
    shared = cuda.shared.array(BLOCK_SIZE, parts.dtype)
    for j in range(len(sums)):
        partial = parts.dtype.type(0)
        b = cuda.threadIdx.x
        while b < n_parts:
            partial += parts[j * n_parts + b]
            b += cuda.blockDim.x
        total = block_sum(shared, partial)
        if cuda.threadIdx.x == 0:
            sums[j][0] = total
    if cuda.threadIdx.x == 0:
        store(memory, 0, new_memory(rule, load(memory, 0), load(sums, 0)))
        factor[0] = rate_factor(rule, load(memory, 0))
        rate[0] = pick(lr, 0) * factor[0]


@cuda.jit
def scale_rates(lr, factor, rates):
    """rates[i] = lr[i] * factor[0], rounded once; lr is a number, a `DeviceScalar` or an array"""
    i = cuda.grid(1)
    while i < rates.shape[0]:
        rates[i] = pick(lr, i) * factor[0]
        i += cuda.gridsize(1)
