"""CUDA kernels for one output: slopes of a mini-batch, updates of the coordinates that it touches, and scores.

Up to `THREADS_PER_ROW` adjacent threads share a row: they read its values together and add in pairs.
"""

import math
from typing import Any, NamedTuple

from numba import cuda

from ...compiler.jit import jitable, load, pick, store
from ...cuda.primitives import BLOCK_SIZE, block_sum
from ...records.coordinate import apply_update
from ...records.losses import slope, value
from .lazy import caught_up, record_update

THREADS_PER_ROW = 32


class DeviceBatch(NamedTuple):
    """Slopes and losses of the rows of a batch, and column and gradient of each stored value.

    The stored values of the row at `position` begin at `starts[position]`.  `bad_row[0]` is the first position whose
    prediction is not finite.
    """

    z: Any
    loss: Any
    where: Any
    g: Any
    starts: Any
    bad_row: Any


@cuda.jit(device=True)
def row_sum(workspace, mine, lanes):
    """Return the sum of `mine` over the threads that share a row."""
    j, half = cuda.threadIdx.x, lanes >> 1
    cuda.syncthreads()
    workspace[j] = mine
    cuda.syncthreads()
    while half > 0:
        if j % lanes < half:
            workspace[j] += workspace[j + half]
        cuda.syncthreads()
        half >>= 1
    return workspace[j - j % lanes]


@cuda.jit
def row_slopes(spec, rows, weights, entries, t, first, count):
    """z = h slope(y, w·x + b) for the rows order[first : first + count], and z x for each of their stored values"""
    workspace = cuda.shared.array(BLOCK_SIZE, weights.w.dtype)
    lanes = min(THREADS_PER_ROW, cuda.blockDim.x)
    lane, together = cuda.threadIdx.x % lanes, cuda.blockDim.x // lanes
    base = cuda.blockIdx.x * together
    while base < count:
        n = base + cuda.threadIdx.x // lanes
        begin = end = 0
        if n < count:
            r = rows.order[first + n]
            begin, end = rows.indptr[r], rows.indptr[r + 1]
        p = weights.w.dtype.type(0)
        k = begin + lane
        while k < end:
            i = rows.indices[k]
            p += caught_up(spec, weights.w[i], load(weights.s, i), weights.last_update, i, t) * rows.data[k]
            k += lanes
        p = row_sum(workspace, p, lanes) + weights.bias[0]
        if n < count:
            r = rows.order[first + n]
            h = rows.weight[r]
            z = h * slope(spec.loss, rows.y[r], p)
            if lane == 0:
                entries.z[n] = z
                entries.loss[n] = h * value(spec.loss, rows.y[r], p)
                if not math.isfinite(p):
                    cuda.atomic.min(entries.bad_row, 0, first + n)
            k, slot = begin + lane, entries.starts[first + n] - entries.starts[first] + lane
            while k < end:
                entries.where[slot] = rows.indices[k]
                entries.g[slot] = z * rows.data[k]
                k += lanes
                slot += lanes
        base += together * cuda.gridDim.x


@jitable
def updated(spec, weights, slot, g, lr, t, i):
    """Return (x, s) of feature i after its missed updates and the gradient g; `slot` is its index in the arrays."""
    s = load(weights.s, slot)
    x = caught_up(spec, weights.w[slot], s, weights.last_update, i, t)
    return apply_update(spec.update, x, g, s, lr, t, i)


@cuda.jit
def cuda_learn(spec, weights, where, g, share, lr, t):
    """w[i], s[i] = update(w[i], g[k] / share), i = where[k], after the updates that i missed"""
    k = cuda.grid(1)
    while k < where.shape[0]:
        i = where[k]
        if i >= 0:
            x, scalars = updated(spec, weights, i, g[k] / share, lr, t, i)
            record_update(spec, weights, x, i, t + 1)
            weights.w[i] = x
            store(weights.s, i, scalars)
        k += cuda.gridsize(1)


@cuda.jit
def learn_bias(spec, weights, z, share, lr, t):
    """b[c] = update(b[c], sum_n z[n, c] / share); one block for each output c, with rate lr[c], or lr for all"""
    workspace = cuda.shared.array(BLOCK_SIZE, z.dtype)
    bias, s = weights.bias, weights.bias_s
    lanes, c = bias.shape[0], cuda.blockIdx.x
    mine = z.dtype.type(0)
    k = cuda.threadIdx.x * lanes + c
    while k < z.shape[0]:
        mine += z[k]
        k += cuda.blockDim.x * lanes
    total = block_sum(workspace, mine)
    if cuda.threadIdx.x == 0:
        bias[c], scalars = apply_update(spec.bias_update, bias[c], total / share, load(s, c), pick(lr, c), t, 0)
        store(s, c, scalars)


@cuda.jit
def add_losses(rows, losses, first, sums):
    """sums[l] += sum_n losses[n, l], sums[-1] += sample weights of these rows; one block each, in double precision"""
    workspace = cuda.shared.array(BLOCK_SIZE, sums.dtype)
    tallied, l = sums.shape[0] - 1, cuda.blockIdx.x
    mine = sums.dtype.type(0)
    n = cuda.threadIdx.x
    while n < losses.shape[0] // tallied:
        mine += losses[n * tallied + l] if l < tallied else rows.weight[rows.order[first + n]]
        n += cuda.blockDim.x
    mine = block_sum(workspace, mine)
    if cuda.threadIdx.x == 0:
        sums[l] += mine


@cuda.jit
def decision_values(indptr, indices, data, w, bias, out):
    """out[r] = w·x[r] + bias"""
    workspace = cuda.shared.array(BLOCK_SIZE, w.dtype)
    lanes = min(THREADS_PER_ROW, cuda.blockDim.x)
    lane, together = cuda.threadIdx.x % lanes, cuda.blockDim.x // lanes
    base = cuda.blockIdx.x * together
    while base < out.shape[0]:
        r = base + cuda.threadIdx.x // lanes
        p = w.dtype.type(0)
        if r < out.shape[0]:
            k = indptr[r] + lane
            while k < indptr[r + 1]:
                p += w[indices[k]] * data[k]
                k += lanes
        p = row_sum(workspace, p, lanes)
        if r < out.shape[0] and lane == 0:
            out[r] = p + bias
        base += together * cuda.gridDim.x
