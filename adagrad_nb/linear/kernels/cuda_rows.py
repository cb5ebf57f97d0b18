"""CUDA kernels for one output: slopes of a mini-batch, updates of the coordinates that it touches, and scores.

Up to `THREADS_PER_ROW` adjacent threads share a row: they read its values together and add in pairs.
"""

import math
from typing import Any, NamedTuple

from numba import cuda

from ...compiler.jit import jitable, load, pick, store
from ...cuda.memory import divide_index
from ...cuda.primitives import BLOCK_SIZE, block_sum, lane_sum
from ...records.coordinate import apply_update
from ...records.losses import slope, value
from .lazy import add_bias_iterate, caught_up, record_update

THREADS_PER_ROW = 32


class DeviceBatch(NamedTuple):
    """Slopes and losses of the rows of a batch, and column and gradient of each stored value.

    The stored values of the row at `position` begin at `value_offsets[position]`.  `bad_row[0]` is the first
    position whose prediction is not finite.
    """

    z: Any
    loss: Any
    columns: Any
    g: Any
    value_offsets: Any
    bad_row: Any


@cuda.jit
def row_slopes(spec, rows, weights, batch, t, first, count):
    """z = h slope(y, w·x + b) for the rows order[first : first + count], and z x for each of their stored values"""
    threads_per_row = min(THREADS_PER_ROW, cuda.blockDim.x)
    row, thread = divide_index(cuda.threadIdx.x, threads_per_row)
    rows_per_block, _ = divide_index(cuda.blockDim.x, threads_per_row)
    base = cuda.blockIdx.x * rows_per_block
    while base < count:
        n = base + row
        begin = end = 0
        if n < count:
            r = rows.order[first + n]
            begin, end = rows.indptr[r], rows.indptr[r + 1]
        p = weights.w.dtype.type(0)
        k = begin + thread
        while k < end:
            i = rows.indices[k]
            p += caught_up(spec, weights.w[i], load(weights.s, i), weights.last_update, i, t) * rows.data[k]
            k += threads_per_row
        p = lane_sum(p, threads_per_row) + weights.bias[0]
        if n < count:
            r = rows.order[first + n]
            h = rows.weight[r]
            z = h * slope(spec.loss, rows.y[r], p)
            if thread == 0:
                batch.z[n] = z
                batch.loss[n] = h * value(spec.loss, rows.y[r], p)
                if not math.isfinite(p):
                    cuda.atomic.min(batch.bad_row, 0, first + n)
            k, slot = begin + thread, batch.value_offsets[first + n] - batch.value_offsets[first] + thread
            while k < end:
                batch.columns[slot] = rows.indices[k]
                batch.g[slot] = z * rows.data[k]
                k += threads_per_row
                slot += threads_per_row
        base += rows_per_block * cuda.gridDim.x


@jitable
def catch_up_and_update(spec, weights, slot, g, lr, t, i):
    """Return (x, s) of feature i after its missed updates and the gradient g; `slot` is its index in the arrays."""
    s = load(weights.s, slot)
    x = caught_up(spec, weights.w[slot], s, weights.last_update, i, t)
    return apply_update(spec.update, x, g, s, lr, t, i)


@cuda.jit
def cuda_learn(spec, weights, columns, g, n_rows, lr, t):
    """w[i], s[i] = update(w[i], g[k] / n_rows), i = columns[k], after the updates that i missed"""
    k = cuda.grid(1)
    while k < columns.shape[0]:
        i = columns[k]
        if i >= 0:
            x, scalars = catch_up_and_update(spec, weights, i, g[k] / n_rows, lr, t, i)
            record_update(spec, weights, x, i, t + 1)
            weights.w[i] = x
            store(weights.s, i, scalars)
        k += cuda.gridsize(1)


@cuda.jit
def learn_bias(spec, weights, z, n_rows, lr, t):
    """b[c] = update(b[c], sum_n z[n, c] / n_rows); one block for each output c, with rate lr[c], or lr for all"""
    shared = cuda.shared.array(BLOCK_SIZE, z.dtype)
    bias, s = weights.bias, weights.bias_s
    n_outputs, c = bias.shape[0], cuda.blockIdx.x
    partial = z.dtype.type(0)
    k = cuda.threadIdx.x * n_outputs + c
    while k < z.shape[0]:
        partial += z[k]
        k += cuda.blockDim.x * n_outputs
    total = block_sum(shared, partial)
    if cuda.threadIdx.x == 0:
        bias[c], scalars = apply_update(spec.bias_update, bias[c], total / n_rows, load(s, c), pick(lr, c), t, 0)
        store(s, c, scalars)
        add_bias_iterate(spec.lazy, weights.last_update, bias[c], c, t + 1)


@cuda.jit
def add_losses(rows, losses, first, sums):
    """sums[l] += sum_n losses[n, l], sums[-1] += sample weights of these rows; one block each, in double precision"""
    shared = cuda.shared.array(BLOCK_SIZE, sums.dtype)
    n_sums, l = sums.shape[0] - 1, cuda.blockIdx.x
    partial = sums.dtype.type(0)
    n = cuda.threadIdx.x
    while n < losses.shape[0] // n_sums:
        partial += losses[n * n_sums + l] if l < n_sums else rows.weight[rows.order[first + n]]
        n += cuda.blockDim.x
    partial = block_sum(shared, partial)
    if cuda.threadIdx.x == 0:
        sums[l] += partial


@cuda.jit
def decision_values(indptr, indices, data, w, bias, out):
    """out[r] = w·x[r] + bias"""
    threads_per_row = min(THREADS_PER_ROW, cuda.blockDim.x)
    row, thread = divide_index(cuda.threadIdx.x, threads_per_row)
    rows_per_block, _ = divide_index(cuda.blockDim.x, threads_per_row)
    base = cuda.blockIdx.x * rows_per_block
    while base < out.shape[0]:
        r = base + row
        p = w.dtype.type(0)
        if r < out.shape[0]:
            k = indptr[r] + thread
            while k < indptr[r + 1]:
                p += w[indices[k]] * data[k]
                k += threads_per_row
        p = lane_sum(p, threads_per_row)
        if r < out.shape[0] and thread == 0:
            out[r] = p + bias
        base += rows_per_block * cuda.gridDim.x
