"""The CUDA loops of linear models: the slopes of a mini-batch, the move of the coordinates that it touches, margins.

Some neighbouring threads, LANES at most, have a row together: they read it side by side and add up in pairs.
"""

import math
from typing import Any, NamedTuple

from numba import cuda

from .._jit import load, store
from ..losses import slope, value
from .coordinate import move
from .gpu import BLOCK, block_sum
from .lapses import current, mark

LANES = 32


class Entries(NamedTuple):
    """What a batch makes: slope and loss of each row, and column and gradient of each stored value.

    The stored values of the row visited as number `position` go to those from `starts[position]` on; `refused[0]` is
    the first position whose prediction is not finite.
    """

    z: Any
    loss: Any
    where: Any
    g: Any
    starts: Any
    refused: Any


@cuda.jit(device=True)
def lane_sum(room, mine, lanes):
    """The sum of `mine` over the threads that have a row."""
    j, half = cuda.threadIdx.x, lanes >> 1
    cuda.syncthreads()
    room[j] = mine
    cuda.syncthreads()
    while half > 0:
        if j % lanes < half:
            room[j] += room[j + half]
        cuda.syncthreads()
        half >>= 1
    return room[j - j % lanes]


@cuda.jit
def slopes(recipe, rows, weights, entries, t, first, count):
    """z = h slope(y, w·x + b) for the rows order[first : first + count], and z x for each stored value of theirs"""
    room = cuda.shared.array(BLOCK, weights.w.dtype)
    lanes = min(LANES, cuda.blockDim.x)
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
            p += current(recipe, weights.w[i], load(weights.s, i), weights.last, i, t) * rows.data[k]
            k += lanes
        p = lane_sum(room, p, lanes) + weights.bias[0]
        if n < count:
            r = rows.order[first + n]
            h = rows.weight[r]
            z = h * slope(recipe.loss, rows.y[r], p)
            if lane == 0:
                entries.z[n] = z
                entries.loss[n] = h * value(recipe.loss, rows.y[r], p)
                if not math.isfinite(p):
                    cuda.atomic.min(entries.refused, 0, first + n)
            k, spot = begin + lane, entries.starts[first + n] - entries.starts[first] + lane
            while k < end:
                entries.where[spot] = rows.indices[k]
                entries.g[spot] = z * rows.data[k]
                k += lanes
                spot += lanes
        base += together * cuda.gridDim.x


@cuda.jit
def learn(recipe, weights, where, g, share, lr, t):
    """w[i], s[i] = move(w[i], g[k] / share), i = where[k], with the penalty of the updates that passed i over"""
    w, s, last = weights.w, weights.s, weights.last
    k = cuda.grid(1)
    while k < where.shape[0]:
        i = where[k]
        if i >= 0:
            si = load(s, i)
            wi = current(recipe, w[i], si, last, i, t)
            wi, si = move(recipe.update, wi, g[k] / share, si, lr, t, i)
            mark(recipe, weights, wi, i, t + 1)
            w[i] = wi
            store(s, i, si)
        k += cuda.gridsize(1)


@cuda.jit
def learn_bias(recipe, weights, z, share, lr, t):
    """b = move(b, sum_n z[n] / share), in one block"""
    room = cuda.shared.array(BLOCK, z.dtype)
    mine = z.dtype.type(0)
    n = cuda.threadIdx.x
    while n < z.shape[0]:
        mine += z[n]
        n += cuda.blockDim.x
    total = block_sum(room, mine)
    if cuda.threadIdx.x == 0:
        bias, s = weights.bias, weights.bias_s
        bias[0], scalars = move(recipe.free, bias[0], total / share, load(s, 0), lr, t, 0)
        store(s, 0, scalars)


@cuda.jit
def tally(rows, losses, first, sums):
    """sums += (sum_n losses[n], sum of the weights of those rows), in one block; double precision, as on the CPU"""
    room = cuda.shared.array(BLOCK, sums.dtype)
    loss = weight = sums.dtype.type(0)
    n = cuda.threadIdx.x
    while n < losses.shape[0]:
        loss += losses[n]
        weight += rows.weight[rows.order[first + n]]
        n += cuda.blockDim.x
    loss = block_sum(room, loss)
    weight = block_sum(room, weight)
    if cuda.threadIdx.x == 0:
        sums[0] += loss
        sums[1] += weight


@cuda.jit
def margins(indptr, indices, data, w, bias, out):
    """out[r] = w·x[r] + bias"""
    room = cuda.shared.array(BLOCK, w.dtype)
    lanes = min(LANES, cuda.blockDim.x)
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
        p = lane_sum(room, p, lanes)
        if r < out.shape[0] and lane == 0:
            out[r] = p + bias
        base += together * cuda.gridDim.x
