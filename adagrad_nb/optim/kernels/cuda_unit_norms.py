"""CUDA kernels of the norms of units, which are the columns of a matrix, and of the factors of `AdaptiveClip`.

A block reduces `n_columns` adjacent columns, a power of two, each by the threads whose numbers have the same remainder.
"""

import math
from typing import Any, NamedTuple

from numba import cuda

from ...compiler.jit import method, pick
from ...compiler.simd import rescale_norm
from ...cuda.memory import divide_index, load_as
from ...cuda.primitives import BLOCK_SIZE
from ...records.transforms import scale_for_norms, transform_at

entry_at = method("entry_at")


class GradientEntries(NamedTuple):
    """The entries of a dense gradient after `transforms`."""

    transforms: Any
    x: Any
    g: Any
    lr: Any

    def entry_at(self, i):
        """Return entry i of the gradient after the transforms."""
        return transform_at(self.transforms, self.x[i], load_as(self.g, i, self.x), pick(self.lr, i), i)[1]


class ArrayEntries(NamedTuple):
    """The entries of an array."""

    values: Any

    def entry_at(self, i):
        """Return entry i of the array."""
        return self.values[i]


@cuda.jit(device=True)
def _column_sum(shared, value, n_columns):
    """Return the sum of `value` over the threads of a block with the same number modulo `n_columns`."""
    j, distance = cuda.threadIdx.x, cuda.blockDim.x >> 1
    cuda.syncthreads()
    shared[j] = value
    cuda.syncthreads()
    while distance >= n_columns:
        if j < distance:
            shared[j] += shared[j + distance]
        cuda.syncthreads()
        distance >>= 1
    return shared[j & (n_columns - 1)]


@cuda.jit(device=True)
def _column_max(shared, value, n_columns):
    """Return the maximum of `value` over the threads of a block with the same number modulo `n_columns`."""
    j, distance = cuda.threadIdx.x, cuda.blockDim.x >> 1
    cuda.syncthreads()
    shared[j] = value
    cuda.syncthreads()
    while distance >= n_columns:
        if j < distance:
            shared[j] = max(shared[j], shared[j + distance])
        cuda.syncthreads()
        distance >>= 1
    return shared[j & (n_columns - 1)]


@cuda.jit(device=True)
def _column_norm(shared, entries, first, stop, stride, n_columns):
    """Return the 2-norm of the entries first, first + stride, … of all threads of a column; squares do not overflow."""
    scale = shared.dtype.type(0)
    i = first
    while i < stop:
        scale = max(scale, abs(entry_at(entries, i)))
        i += stride
    scale = _column_max(shared, scale, n_columns)
    if not 0 < scale < math.inf:
        scale = shared.dtype.type(1)
    total = shared.dtype.type(0)
    i = first
    while i < stop:
        ratio = entry_at(entries, i) / scale
        total += ratio * ratio
        i += stride
    total = _column_sum(shared, total, n_columns)
    return rescale_norm(scale, total) if total < math.inf else total


@cuda.jit
def sum_units(gradient, n_units, n_columns, parts):
    """parts[p, u] = norm of part p of the rows of the gradient in unit u; parts[n_parts + p, u] = that of x"""
    shared = cuda.shared.array(BLOCK_SIZE, parts.dtype)
    n_tiles, _ = divide_index(n_units + n_columns - 1, n_columns)
    part, tile = divide_index(cuda.blockIdx.x, n_tiles)
    n_parts, _ = divide_index(cuda.gridDim.x, n_tiles)
    thread, column = divide_index(cuda.threadIdx.x, n_columns)
    rows_per_part, _ = divide_index(cuda.blockDim.x, n_columns)
    u, size = tile * n_columns + column, gradient.x.shape[0]
    first = (part * rows_per_part + thread) * n_units + u if u < n_units else size
    stride = n_parts * rows_per_part * n_units
    norm = _column_norm(shared, gradient, first, size, stride, n_columns)
    x_norm = _column_norm(shared, ArrayEntries(gradient.x), first, size, stride, n_columns)
    if thread == 0 and u < n_units:
        parts[part * n_units + u] = norm
        parts[(n_parts + part) * n_units + u] = x_norm


@cuda.jit
def compute_unit_factors(record, parts, n_columns, factors):
    """factors[u] = scale_for_norms(the norms of the gradient and of x in unit u), from the norms of their parts"""
    shared = cuda.shared.array(BLOCK_SIZE, parts.dtype)
    n_units, half = factors.shape[0], parts.shape[0] >> 1
    thread, column = divide_index(cuda.threadIdx.x, n_columns)
    rows_per_block, _ = divide_index(cuda.blockDim.x, n_columns)
    u = cuda.blockIdx.x * n_columns + column
    first, stride = thread * n_units + u if u < n_units else half, rows_per_block * n_units
    norm = _column_norm(shared, ArrayEntries(parts), first, half, stride, n_columns)
    first = half + first if u < n_units else parts.shape[0]
    x_norm = _column_norm(shared, ArrayEntries(parts), first, parts.shape[0], stride, n_columns)
    if thread == 0 and u < n_units:
        factors[u] = scale_for_norms(record, norm, x_norm)
