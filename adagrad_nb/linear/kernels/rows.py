"""Online learning of linear models from compressed sparse rows, with penalties applied when a coordinate is next met.

Work per stored value: w and G, which models lay side by side, are gathered and scattered (a random cache line read and
written); the square root and the division run over small contiguous buffers, where they vectorise.  Without the
buffers the same loop takes a third longer.  At 77 values a row a value takes 2.4 ns in float64, 2.0 in float32: 0.1 for
the check of the indices, a third each for gathering, moving and scattering.
"""

import math
from typing import Any, NamedTuple

from ...compiler.intrinsics import prefetch, prefetch_each
from ...compiler.jit import borrow_arrays, cast_like, force_inline, jit, jitable, load, store
from ...records.coordinate import apply_update
from ...records.losses import inverse_link, slope, value
from ...records.schedules import at
from .lazy import arrive_bias, collect, current, lags, mark, overtake, passed, read

DONE, OUTSIDE, UNSORTED, NOT_FINITE = range(4)

# From this many weights on, which do not fit into the caches next to a core, the next row is asked for beforehand.
FAR = 2**18


class Rows(NamedTuple):
    """A chunk of data: CSR with unsigned indices, targets, weights, and the order in which rows are visited."""

    indptr: Any
    indices: Any
    data: Any
    y: Any
    weight: Any
    order: Any


class Weights(NamedTuple):
    """What is learnt.  `last` is what the lapse notes of each coordinate; () if that is nothing."""

    w: Any
    s: Any
    last: Any
    bias: Any
    bias_s: Any


class Buffers(NamedTuple):
    """Room for the longest row."""

    w: Any
    s: Any
    last: Any

    def part(self, k):
        return Buffers(self.w[k], load(self.s, k), self.last[k])


class Recipe(NamedTuple):
    """How to learn: `free` moves the intercept, if `intercept` is 1; `lapse` brings coordinates up to date."""

    loss: Any
    update: Any
    free: Any
    schedule: Any
    lapse: Any
    intercept: int


@jitable
def disorder(indices, n):
    """OUTSIDE or UNSORTED for the indices of a row that do not increase."""
    top = indices[0]
    for k in range(indices.shape[0]):
        top = max(top, indices[k])
    return OUTSIDE if top >= n else UNSORTED


@force_inline()
def fault(indices, n):
    """OUTSIDE, UNSORTED or DONE for the indices of a row; as unsigned numbers, negative ones are too large."""
    count, falls = indices.shape[0], 0
    for k in range(1, count):
        falls += indices[k] <= indices[k - 1]
    if falls > 0:
        return disorder(indices, n)
    return OUTSIDE if count > 0 and indices[count - 1] >= n else DONE


@jitable
def announce(rows, w, s, position, stop):
    """Ask for the coordinates of the row at a position, if it is to come; what is wrong with it will show then."""
    if w.shape[0] < FAR or position >= stop:
        return
    r = rows.order[position]
    for k in range(rows.indptr[r], rows.indptr[r + 1]):
        prefetch(w, rows.indices[k])
        prefetch_each(s, rows.indices[k])


@jit
def learn(recipe, rows, weights, buffers, tally, t, start, stop):
    """w = move(w, slope(y, w·x + b) x) for the rows order[start:stop]; return (next position, status, next t).

    A row that is refused, and all after it, has changed nothing.
    """
    rows, weights, buffers = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(buffers)
    indptr, indices, data, y, weight, order = rows
    w, s, last, bias, bias_s = weights
    wr, sr, room = buffers
    for position in range(start, stop):
        r = order[position]
        h = weight[r]
        if h == 0:
            continue
        first = indptr[r]
        stored = indices[first : indptr[r + 1]]
        x = data[first : indptr[r + 1]]
        status = fault(stored, w.shape[0])
        if status != DONE:
            return position, status, t
        announce(rows, w, s, position + 1, stop)
        p = bias[0]
        for k in range(stored.shape[0]):
            i = stored[k]
            si = load(s, i)
            wi = read(recipe.lapse, recipe, w[i], si, last, i, t)
            collect(recipe.lapse, last, i, room, k)
            wr[k] = wi
            store(sr, k, si)
            p += wi * x[k]
        if lags(recipe.lapse):  # known when this is compiled: either the sum above is left out, or all of this
            for k in range(stored.shape[0]):
                wr[k] = overtake(recipe.lapse, recipe, wr[k], load(sr, k), room, k, stored[k], t)
            p = bias[0]
            for k in range(stored.shape[0]):
                p += wr[k] * x[k]
        if not math.isfinite(p):
            return position, NOT_FINITE, t
        tally[0] += h * value(recipe.loss, y[r], p)
        tally[1] += h
        lr = cast_like(at(recipe.schedule, t), w)
        z = h * slope(recipe.loss, y[r], p)
        for k in range(stored.shape[0]):
            wr[k], sk = apply_update(recipe.update, wr[k], z * x[k], load(sr, k), lr, t, stored[k])
            store(sr, k, sk)
        if recipe.intercept:
            bias[0], sk = apply_update(recipe.free, bias[0], z, load(bias_s, 0), lr, t, 0)
            store(bias_s, 0, sk)
            arrive_bias(recipe.lapse, last, bias[0], 0, t + 1)
        t += 1
        for k in range(stored.shape[0]):
            i = stored[k]
            mark(recipe, weights, wr[k], i, t)
            w[i] = wr[k]
            store(s, i, load(sr, k))
    return stop, DONE, t


@jit
def settled(recipe, weights, t, out):
    """out[i] = w[i] after all updates before t"""
    w, s, last, _, _ = weights
    for i in range(w.shape[0]):
        out[i] = current(recipe, w[i], load(s, i), last, i, t)


@jit
def iterate_sums(recipe, weights, t, out):
    """out[i] = the sum of the iterates of coordinate i after each update before t that counts"""
    w, s, trail, _, _ = weights
    for i in range(w.shape[0]):
        out[i] = trail.total[i] + passed(recipe, w[i], load(s, i), trail.last[i], trail.since, t, i)


@jit
def decision_values(indptr, indices, data, w, bias, out):
    """out[r] = w·x[r] + bias; return the first row that is refused, or the number of rows"""
    for r in range(out.shape[0]):
        p = bias
        for k in range(indptr[r], indptr[r + 1]):
            i = indices[k]
            if i >= w.shape[0]:
                return r
            p += w[i] * data[k]
        if not math.isfinite(p):
            return r
        out[r] = p
    return out.shape[0]


@jit
def inverse_links(loss, scores, out):
    """out[r] = inverse_link(scores[r])"""
    for r in range(out.shape[0]):
        out[r] = inverse_link(loss, scores[r])


@jit
def losses(loss, y, scores, out):
    """out[r] = loss of the score scores[r] at the target y[r]"""
    for r in range(out.shape[0]):
        out[r] = value(loss, y[r], scores[r])
