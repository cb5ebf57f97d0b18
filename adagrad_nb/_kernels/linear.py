"""Online learning of linear models from compressed sparse rows, with penalties applied when a coordinate is next met.

Work per stored value: w and G are gathered and scattered (two random reads, two writes), the square root and the
division run over small contiguous buffers, where they vectorise.  Without the buffers the same loop takes a third
longer.
"""

import math
from typing import Any, NamedTuple

from numba import types

from .._jit import bind, jit, load, narrow, plain, store
from ..losses import slope, value
from ..penalties import prox, repeat, total
from ..rules import width
from ..schedules import at
from .coordinate import move
from .trail import Trail, add, catch_up, passed

DONE, OUTSIDE, UNSORTED, NOT_FINITE = range(4)


class Rows(NamedTuple):
    """A chunk of data: CSR with unsigned indices, targets, weights, and the order in which rows are visited."""

    indptr: Any
    indices: Any
    data: Any
    y: Any
    weight: Any
    order: Any


class Weights(NamedTuple):
    """What is learnt.

    `last[i]` is the update up to which the penalty has been applied to w[i]; () if it never is, a `Trail` if the mean
    of the iterates is kept.
    """

    w: Any
    s: Any
    last: Any
    bias: Any
    bias_s: Any


class Buffers(NamedTuple):
    """Room for the longest row."""

    w: Any
    s: Any


class Recipe(NamedTuple):
    """How to learn: `free` moves the intercept, if `intercept` is 1; `lapse` catches up coordinates."""

    loss: Any
    update: Any
    free: Any
    schedule: Any
    lapse: Any
    intercept: int


class Closed(NamedTuple):
    """One rate for all updates: the closed form."""

    def catch_up(self, update, schedule, x, s, first, k, i):
        lr = type(x)(at(schedule, first))
        return repeat(update.penalty, x, width(update.rule, s, lr), k, i)

    def summed(self, update, schedule, x, s, first, k, i):
        lr = type(x)(at(schedule, first))
        return total(update.penalty, x, width(update.rule, s, lr), k, i)


class Stepwise(NamedTuple):
    """A rate that changes: each update that was passed over with its own."""

    def catch_up(self, update, schedule, x, s, first, k, i):
        for t in range(first, first + k):
            x = prox(update.penalty, x, width(update.rule, s, type(x)(at(schedule, t))), i)
        return x

    def summed(self, update, schedule, x, s, first, k, i):
        whole = x - x
        for t in range(first, first + k):
            x = prox(update.penalty, x, width(update.rule, s, type(x)(at(schedule, t))), i)
            whole += x
        return whole


def current(recipe, x, s, last, i, t):
    """x with the penalty of the updates that passed it over."""
    if isinstance(last, Trail):
        last = last.last
    if isinstance(last, tuple) or last[i] >= t:
        return x
    return catch_up(recipe.lapse, recipe.update, recipe.schedule, x, s, last[i], t - last[i], i)


def mark(recipe, weights, x, i, t):
    """Note that coordinate i, of which `weights` still has what it was before, has become x in update t - 1."""
    last = weights.last
    if isinstance(last, Trail):
        add(recipe, weights, last, x, i, t)
    elif not isinstance(last, tuple):
        last[i] = t


def mark_bias(last, bias, t):
    """Note that the intercept has become `bias` in update t - 1."""
    if isinstance(last, Trail) and t > last.since:
        last.bias_total[0] += bias


@bind(current)
def _current(recipe, x, s, last, i, t):
    if isinstance(last, types.BaseNamedTuple):
        return lambda recipe, x, s, last, i, t: current(recipe, x, s, last.last, i, t)
    if not isinstance(last, types.Array):
        return lambda recipe, x, s, last, i, t: x

    def overtake(recipe, x, s, last, i, t):
        first = last[i]
        if first >= t:
            return x
        return catch_up(recipe.lapse, recipe.update, recipe.schedule, x, s, first, t - first, i)

    return overtake


@bind(mark)
def _mark(recipe, weights, x, i, t):
    last = weights.types[weights.fields.index("last")]
    if isinstance(last, types.BaseNamedTuple):
        return lambda recipe, weights, x, i, t: add(recipe, weights, weights.last, x, i, t)
    if not isinstance(last, types.Array):
        return lambda recipe, weights, x, i, t: None

    def note(recipe, weights, x, i, t):
        weights.last[i] = t

    return note


@bind(mark_bias)
def _mark_bias(last, bias, t):
    if not isinstance(last, types.BaseNamedTuple):
        return lambda last, bias, t: None

    def note(last, bias, t):
        if t > last.since:
            last.bias_total[0] += bias

    return note


@plain
def fault(indices, n):
    """OUTSIDE, UNSORTED or DONE for the indices of a row; as unsigned numbers, negative ones are too large."""
    if indices.shape[0] == 0:
        return DONE
    top = indices[0]
    for k in range(indices.shape[0]):
        top = max(top, indices[k])
    if top >= n:
        return OUTSIDE
    falls = 0
    for k in range(1, indices.shape[0]):
        falls += indices[k] <= indices[k - 1]
    return UNSORTED if falls > 0 else DONE


@jit
def learn(recipe, rows, weights, buffers, tally, t, start, stop):
    """w = move(w, slope(y, w·x + b) x) for the rows order[start:stop]; return (next position, status, next t).

    A row that is refused, and all after it, has changed nothing.
    """
    indptr, indices, data, y, weight, order = rows
    w, s, last, bias, bias_s = weights
    wr, sr = buffers
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
        p = bias[0]
        for k in range(stored.shape[0]):
            i = stored[k]
            si = load(s, i)
            wi = current(recipe, w[i], si, last, i, t)
            wr[k] = wi
            store(sr, k, si)
            p += wi * x[k]
        if not math.isfinite(p):
            return position, NOT_FINITE, t
        tally[0] += h * value(recipe.loss, y[r], p)
        tally[1] += h
        lr = narrow(at(recipe.schedule, t), w)
        z = h * slope(recipe.loss, y[r], p)
        for k in range(stored.shape[0]):
            wr[k], sk = move(recipe.update, wr[k], z * x[k], load(sr, k), lr, t, stored[k])
            store(sr, k, sk)
        if recipe.intercept:
            bias[0], sk = move(recipe.free, bias[0], z, load(bias_s, 0), lr, t, 0)
            store(bias_s, 0, sk)
            mark_bias(last, bias[0], t + 1)
        t += 1
        for k in range(stored.shape[0]):
            i = stored[k]
            mark(recipe, weights, wr[k], i, t)
            w[i] = wr[k]
            store(s, i, load(sr, k))
    return stop, DONE, t


@jit
def settled(recipe, weights, t, out):
    """out[i] = w[i] with the penalty of all updates before t"""
    w, s, last, _, _ = weights
    for i in range(w.shape[0]):
        out[i] = current(recipe, w[i], load(s, i), last, i, t)


@jit
def totals(recipe, weights, t, out):
    """out[i] = the sum of the iterates of coordinate i after each update before t that counts"""
    w, s, trail, _, _ = weights
    for i in range(w.shape[0]):
        out[i] = trail.total[i] + passed(recipe, w[i], load(s, i), trail, i, t)


@jit
def margins(indptr, indices, data, w, bias, out):
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
