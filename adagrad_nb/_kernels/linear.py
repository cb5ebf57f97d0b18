"""Online learning of linear models from compressed sparse rows, with penalties applied when a coordinate is next met.

Work per stored value: w and G are gathered and scattered (two random reads, two writes), the square root and the
division run over small contiguous buffers, where they vectorise.  Without the buffers the same loop takes a third
longer.
"""

import math
from typing import Any, NamedTuple

from .._jit import jit, load, method, narrow, plain, prefetch, prefetch_each, store
from ..dual import point
from ..losses import slope, value
from ..penalties import prox, repeat
from ..rules import reach, width
from ..schedules import at
from .coordinate import move

DONE, OUTSIDE, UNSORTED, NOT_FINITE = range(4)

# From this many weights on, which no longer fit into the caches near a core, the next row is asked for beforehand.
FAR = 2**18

_current = method("current")
_collect = method("collect")
_lags = method("lags")
mark = method("mark")


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


class Recipe(NamedTuple):
    """How to learn: `free` moves the intercept, if `intercept` is 1; `lapse` brings coordinates up to date."""

    loss: Any
    update: Any
    free: Any
    schedule: Any
    lapse: Any
    intercept: int


class Prompt(NamedTuple):
    """No update moves a coordinate that it does not touch."""

    def lags(self):
        return False

    def collect(self, last, i, room, k):
        pass

    def current(self, recipe, x, s, last, k, i, t):
        return x

    def mark(self, last, i, t):
        pass


class Closed(NamedTuple):
    """One rate for all updates: the closed form.  `last` holds the update up to which each coordinate is current."""

    def lags(self):
        return True

    def collect(self, last, i, room, k):
        room[k] = last[i]

    def current(self, recipe, x, s, last, k, i, t):
        # No shortcut for a coordinate that is current: without a branch the loop over a row vectorises.
        lr = type(x)(at(recipe.schedule, last[k]))
        return repeat(recipe.update.penalty, x, width(recipe.update.rule, s, lr), t - last[k], i)

    def mark(self, last, i, t):
        last[i] = t


class Stepwise(NamedTuple):
    """A rate that changes: each update that was passed over with its own."""

    def lags(self):
        return True

    def collect(self, last, i, room, k):
        room[k] = last[i]

    def current(self, recipe, x, s, last, k, i, t):
        for passed in range(last[k], t):
            lr = type(x)(at(recipe.schedule, passed))
            x = prox(recipe.update.penalty, x, width(recipe.update.rule, s, lr), i)
        return x

    def mark(self, last, i, t):
        last[i] = t


class Anew(NamedTuple):
    """A rule of dual averaging: x is found anew from its accumulators and t, whenever it was last met."""

    def lags(self):
        return True

    def collect(self, last, i, room, k):
        pass

    def current(self, recipe, x, s, last, k, i, t):
        if t == 0:
            return x
        lr = type(x)(at(recipe.schedule, t - 1))
        rule = recipe.update.rule
        return prox(recipe.update.penalty, point(rule, x, s, lr), reach(rule, s, lr, t), i)

    def mark(self, last, i, t):
        pass


@plain
def current(recipe, x, s, last, i, t):
    """x after all updates before t, whether they touched it or not"""
    return _current(recipe.lapse, recipe, x, s, last, i, i, t)


@plain
def fault(indices, n):
    """OUTSIDE, UNSORTED or DONE for the indices of a row; as unsigned numbers, negative ones are too large."""
    if indices.shape[0] == 0:
        return DONE
    falls = 0
    for k in range(1, indices.shape[0]):
        falls += indices[k] <= indices[k - 1]
    top = indices[indices.shape[0] - 1]
    if falls > 0:
        for k in range(indices.shape[0]):
            top = max(top, indices[k])
    if top >= n:
        return OUTSIDE
    return UNSORTED if falls > 0 else DONE


@plain
def fetch(w, s, indices):
    """Ask for w[i] and s[i] of a row that comes later; what is wrong with its indices will show then."""
    for k in range(indices.shape[0]):
        prefetch(w, indices[k])
        prefetch_each(s, indices[k])


@jit
def learn(recipe, rows, weights, buffers, tally, t, start, stop):
    """w = move(w, slope(y, w·x + b) x) for the rows order[start:stop]; return (next position, status, next t).

    A row that is refused, and all after it, has changed nothing.
    """
    indptr, indices, data, y, weight, order = rows
    w, s, last, bias, bias_s = weights
    wr, sr, lastr = buffers
    far = w.shape[0] >= FAR
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
        if far and position + 1 < stop:
            after = order[position + 1]
            fetch(w, s, indices[indptr[after] : indptr[after + 1]])
        p = bias[0]
        for k in range(stored.shape[0]):
            i = stored[k]
            wr[k] = w[i]
            store(sr, k, load(s, i))
            _collect(recipe.lapse, last, i, lastr, k)
            p += wr[k] * x[k]
        if _lags(recipe.lapse):  # known at compile time: what stands above is summed in vain, or this is left out
            for k in range(stored.shape[0]):
                wr[k] = _current(recipe.lapse, recipe, wr[k], load(sr, k), lastr, k, stored[k], t)
            p = bias[0]
            for k in range(stored.shape[0]):
                p += wr[k] * x[k]
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
        t += 1
        for k in range(stored.shape[0]):
            i = stored[k]
            w[i] = wr[k]
            store(s, i, load(sr, k))
            mark(recipe.lapse, last, i, t)
    return stop, DONE, t


@jit
def settled(recipe, weights, t, out):
    """out[i] = w[i] after all updates before t"""
    w, s, last, _, _ = weights
    for i in range(w.shape[0]):
        out[i] = current(recipe, w[i], load(s, i), last, i, t)


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
