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
from ..penalties import prox, repeat, total
from ..rules import reach, width
from ..schedules import at
from .coordinate import move
from .trail import catch_up, passed

DONE, OUTSIDE, UNSORTED, NOT_FINITE = range(4)

# From this many weights on, which do not fit into the caches next to a core, the next row is asked for beforehand.
FAR = 2**18


@plain
def _unnoted(lapse, weights, t):
    """Most lapses note nothing of the intercept."""


@plain
def _at_once(lapse, recipe, x, s, last, i, t):
    """Most lapses bring a coordinate of a row up to date when they read it."""
    return current(recipe, x, s, last, i, t)


@plain
def _nothing(lapse, last, i, room, k):
    """Most lapses then need no room for their notes."""


@plain
def _never(lapse):
    """And have nothing left to do."""
    return False


@plain
def _unchanged(lapse, recipe, x, s, room, k, i, t):
    return x


_current = method("current")
_read = method("read", default=_at_once)
_collect = method("collect", default=_nothing)
_lags = method("lags", default=_never)
_overtake = method("overtake", default=_unchanged)
_mark = method("mark")
_mark_bias = method("mark_bias", default=_unnoted)


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


class Prompt(NamedTuple):
    """No update moves a coordinate that it does not touch."""

    def current(self, recipe, x, s, last, i, t):
        return x

    def mark(self, recipe, weights, last, x, i, t):
        pass

    def summed(self, recipe, x, s, first, k, i):
        return type(x)(k) * x


class Closed(NamedTuple):
    """One rate for all updates: the closed form.  `last` holds the update up to which each coordinate is current.

    The coordinates of a row are brought up to date in a loop of its own, which vectorises: half as long for `L1`.
    """

    def lags(self):
        return True

    def read(self, recipe, x, s, last, i, t):
        return x

    def collect(self, last, i, room, k):
        room[k] = last[i]

    def overtake(self, recipe, x, s, room, k, i, t):
        return catch_up(self, recipe, x, s, room[k], t - room[k], i)

    def current(self, recipe, x, s, last, i, t):
        first = last[i]
        return x if first >= t else catch_up(self, recipe, x, s, first, t - first, i)

    def catch_up(self, recipe, x, s, first, k, i):
        lr = type(x)(at(recipe.schedule, first))
        return repeat(recipe.update.penalty, x, width(recipe.update.rule, s, lr), k, i)

    def mark(self, recipe, weights, last, x, i, t):
        last[i] = t

    def summed(self, recipe, x, s, first, k, i):
        lr = type(x)(at(recipe.schedule, first))
        return total(recipe.update.penalty, x, width(recipe.update.rule, s, lr), k, i)


class Stepwise(NamedTuple):
    """A rate that changes: each update that was passed over with its own."""

    def current(self, recipe, x, s, last, i, t):
        first = last[i]
        return catch_up(self, recipe, x, s, first, t - first, i)

    def catch_up(self, recipe, x, s, first, k, i):
        for t in range(first, first + k):
            lr = type(x)(at(recipe.schedule, t))
            x = prox(recipe.update.penalty, x, width(recipe.update.rule, s, lr), i)
        return x

    def mark(self, recipe, weights, last, x, i, t):
        last[i] = t

    def summed(self, recipe, x, s, first, k, i):
        whole = x - x
        for t in range(first, first + k):
            x = catch_up(self, recipe, x, s, t, 1, i)
            whole += x
        return whole


@plain
def found(update, schedule, x, s, i, t):
    """Where dual averaging finds coordinate i after all updates before t; x where it has not been yet"""
    if t == 0:
        return x
    lr = type(x)(at(schedule, t - 1))
    return prox(update.penalty, point(update.rule, x, s, lr), reach(update.rule, s, lr, t), i)


class Anew(NamedTuple):
    """A rule of dual averaging: x is found anew from its accumulators and t, whenever it was last met."""

    def lags(self):
        return True

    def read(self, recipe, x, s, last, i, t):
        return x

    def overtake(self, recipe, x, s, room, k, i, t):
        return found(recipe.update, recipe.schedule, x, s, i, t)

    def current(self, recipe, x, s, last, i, t):
        return found(recipe.update, recipe.schedule, x, s, i, t)

    def mark(self, recipe, weights, last, x, i, t):
        pass

    def summed(self, recipe, x, s, first, k, i):
        whole = x - x
        for t in range(first + 1, first + k + 1):
            whole += found(recipe.update, recipe.schedule, x, s, i, t)
        return whole


@plain
def current(recipe, x, s, last, i, t):
    """x after all updates before t, whether they touched it or not"""
    return _current(recipe.lapse, recipe, x, s, last, i, t)


@plain
def mark(recipe, weights, x, i, t):
    """Note that coordinate i, of which `weights` still has what it was before, has become x in update t - 1."""
    _mark(recipe.lapse, recipe, weights, weights.last, x, i, t)


@plain
def mark_bias(recipe, weights, t):
    """Note that the intercept has become what it is in update t - 1."""
    _mark_bias(recipe.lapse, weights, t)


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
    """Ask for the coordinates of a row that comes later; what is wrong with its indices will show then."""
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
        if w.shape[0] >= FAR and position + 1 < stop:
            after = order[position + 1]
            fetch(w, s, indices[indptr[after] : indptr[after + 1]])
        p = bias[0]
        for k in range(stored.shape[0]):
            i = stored[k]
            si = load(s, i)
            wi = _read(recipe.lapse, recipe, w[i], si, last, i, t)
            _collect(recipe.lapse, last, i, room, k)
            wr[k] = wi
            store(sr, k, si)
            p += wi * x[k]
        if _lags(recipe.lapse):  # known when this is compiled: either the sum above is left out, or all of this
            for k in range(stored.shape[0]):
                wr[k] = _overtake(recipe.lapse, recipe, wr[k], load(sr, k), room, k, stored[k], t)
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
            mark_bias(recipe, weights, t + 1)
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
