"""Online learning of several linear models in the same pass: a lane each, side by side in memory.

The weights of a feature are a row of lanes, and each of its accumulators another row beside it: one or a few cache
lines in all, which a row of the data asks for once, for all models.  Work per stored value: one vector of eight lanes
after the other is loaded, moved and stored.  The lanes of the next row of the data are asked for before this one is
learnt from; where the table is larger than the cache, half of the time was spent on waiting for them.
"""

import math
from typing import Any, NamedTuple

from .._jit import bind, jit, load, method, plain, prefetch, store
from .._vector import WIDTH, fetch, pieces, put
from ..schedules import at
from .coordinate import move
from .lapses import Prompt, arrive, arrive_bias, current, passing, renew
from .linear import DONE, NOT_FINITE, Recipe, fault
from .trail import passed

CACHE = 1 << 20  # bytes; a table that is not larger is in the second-level cache, where nothing is to be asked for

gradient = method("gradient")
sound = method("sound")


class LaneBuffers(NamedTuple):
    """Margins, slopes and rates of one row, a lane each, of shape (1, lanes); `rates` are the factors of the lanes.

    `rates` has an entry for each lane in use; the others, up to a multiple of eight, stay at zero.
    """

    p: Any
    z: Any
    lr: Any
    rates: Any


class Scaled(NamedTuple):
    """The schedule of a lane."""

    schedule: Any
    rate: float

    def at(self, t):
        return self.rate * at(self.schedule, t)


# --- one feature -------------------------------------------------------------------------------------------------


def shift(update, w, s, i, z, x, lr, t):
    """The lanes of feature i move by the gradients z x."""
    for c in range(w.shape[1]):
        w[i, c], state = move(update, w[i, c], z[0, c] * x, load(s, (i, c)), lr[0, c], t, i)
        store(s, (i, c), state)


def _branchless(record):
    """Whether the methods of a record choose by `choose` alone."""
    return getattr(getattr(record, "instance_class", None), "branchless", False)


@bind(shift)
def _shift(update, w, s, i, z, x, lr, t):
    parts = dict(zip(update.fields, update.types, strict=True))
    if not all(_branchless(part) for part in parts.values()):

        def each(update, w, s, i, z, x, lr, t):
            for c in range(w.shape[1]):
                w[i, c], state = move(update, w[i, c], z[0, c] * x, load(s, (i, c)), lr[0, c], t, i)
                store(s, (i, c), state)

        return each

    def together(update, w, s, i, z, x, lr, t):
        for piece in range(pieces(w.shape[1])):
            c = piece * WIDTH
            value, state = move(update, fetch(w, i, c), fetch(z, 0, c) * x, _fetch_all(s, i, c), fetch(lr, 0, c), t, i)
            put(w, i, c, value)
            _put_all(s, i, c, state)

    return together


def _fetch_all(arrays, i, c):
    """The vectors at (i, c) of a tuple of arrays; compiled only."""


def _put_all(arrays, i, c, values):
    """Write vectors to (i, c) of a tuple of arrays; compiled only."""


@bind(_fetch_all)
def _fetch_each(arrays, i, c):
    if len(arrays) == 0:
        return lambda arrays, i, c: ()
    return lambda arrays, i, c: (fetch(arrays[0], i, c),) + _fetch_all(arrays[1:], i, c)


@bind(_put_all)
def _put_each(arrays, i, c, values):
    if len(arrays) == 0:
        return lambda arrays, i, c, values: None

    def each(arrays, i, c, values):
        put(arrays[0], i, c, values[0])
        _put_all(arrays[1:], i, c, values[1:])

    return each


# --- what a feature is due ---------------------------------------------------------------------------------------


@plain
def lane(recipe, rate):
    """How one lane learns: its rate is multiplied."""
    loss, update, free, schedule, lapse, intercept = recipe
    return Recipe(loss, update, free, Scaled(schedule, rate), lapse, intercept)


def overtake(recipe, weights, rates, stored, t):
    """The lanes of the features of a row are brought up to date with all updates before t."""
    if not isinstance(recipe.lapse, Prompt):
        _overtake(recipe, weights, rates, stored, t)


@plain
def _overtake(recipe, weights, rates, stored, t):
    w, s, last, _, _ = weights
    for k in range(stored.shape[0]):
        i = stored[k]
        for c in range(rates.shape[0]):
            own = lane(recipe, rates[c])
            x, state = w[i, c], load(s, (i, c))
            passing(own.lapse, own, last, x, state, (i, c), i, t)
            w[i, c] = current(own, x, state, last, i, t)
        renew(recipe.lapse, recipe, last, i, t)


def note(recipe, weights, rates, stored, t):
    """Note that update t - 1 has moved the lanes of the features of a row, and of the intercept."""
    if not isinstance(recipe.lapse, Prompt):
        _note(recipe, weights, rates, stored, t)


@plain
def _note(recipe, weights, rates, stored, t):
    w, _, last, bias, _ = weights
    for k in range(stored.shape[0]):
        for c in range(rates.shape[0]):
            arrive(recipe.lapse, last, w[stored[k], c], (stored[k], c), t)
        renew(recipe.lapse, recipe, last, stored[k], t)
    for c in range(rates.shape[0]):
        arrive_bias(recipe.lapse, last, bias[0, c], (0, c), t)


def _unless_prompt(work):
    """Work on a row, which is none where no update moves what it does not touch."""

    def resolve(recipe, weights, rates, stored, t):
        if recipe.types[recipe.fields.index("lapse")].instance_class is Prompt:
            return lambda recipe, weights, rates, stored, t: None
        return lambda recipe, weights, rates, stored, t: work(recipe, weights, rates, stored, t)

    return resolve


bind(overtake)(_unless_prompt(_overtake))
bind(note)(_unless_prompt(_note))


# --- one row -----------------------------------------------------------------------------------------------------


def dot(w, stored, x, bias, p):
    """p = sum of x[k] w[stored[k]] + bias, in each lane."""
    for c in range(w.shape[1]):
        total = bias[0, c]
        for k in range(stored.shape[0]):
            total += w[stored[k], c] * x[k]
        p[0, c] = total


@bind(dot)
def _dot(w, stored, x, bias, p):
    def together(w, stored, x, bias, p):
        for piece in range(pieces(w.shape[1])):
            c = piece * WIDTH
            total = fetch(bias, 0, c)
            for k in range(stored.shape[0]):
                total = total + fetch(w, stored[k], c) * x[k]
            put(p, 0, c, total)

    return together


@plain
def announce(rows, w, s, position, stop):
    """Ask for the lanes of the row at a position, if it is to come."""
    if position >= stop:
        return
    r = rows.order[position]
    line = 64 // w.itemsize
    width = w.shape[1] * (len(s) + 1)
    for k in range(rows.indptr[r], rows.indptr[r + 1]):
        for c in range(0, width, line):
            prefetch(w, rows.indices[k], c)


@jit
def learn(recipe, rows, weights, buffers, tally, t, start, stop):
    """w[:, l] = move(w[:, l], z[l] x) for the rows order[start:stop]; return (next position, status, next t).

    `tally` sums the losses, of each lane or of the row, and the weights in its last entry.  A row that is refused,
    and all after it, has changed nothing but that penalties that were due are applied.
    """
    indptr, indices, data, y, weight, order = rows
    w, s, _, bias, bias_s = weights
    p, z, lr, rates = buffers
    used = rates.shape[0]
    one = w.dtype.type(1)
    far = w.shape[0] * w.shape[1] * (len(s) + 1) * w.itemsize > CACHE
    held = -1.0
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
        overtake(recipe, weights, rates, stored, t)
        dot(w, stored, x, bias, p)
        if not sound(recipe.loss, p[0, :used]):
            return position, NOT_FINITE, t
        gradient(recipe.loss, y[r], p[0, :used], z[0, :used], h, tally)
        tally[-1] += h
        now = at(recipe.schedule, t) * 1.0
        if now != held:
            held = now
            for c in range(used):
                lr[0, c] = rates[c] * now
        if far:
            announce(rows, w, s, position + 1, stop)
        for k in range(stored.shape[0]):
            shift(recipe.update, w, s, stored[k], z, x[k], lr, t)
        if recipe.intercept:
            shift(recipe.free, bias, bias_s, 0, z, one, lr, t)
        t += 1
        note(recipe, weights, rates, stored, t)
    return stop, DONE, t


@jit
def settled(recipe, weights, rates, t, out):
    """out[i] = the lanes of feature i after all updates before t; what is learnt stays as it is"""
    w, s, last, _, _ = weights
    for i in range(w.shape[0]):
        for c in range(rates.shape[0]):
            out[i, c] = current(lane(recipe, rates[c]), w[i, c], load(s, (i, c)), last, i, t)


@jit
def totals(recipe, weights, rates, t, out):
    """out[i] = the sums of the iterates of the lanes of feature i after each update before t that counts"""
    w, s, trail, _, _ = weights
    for i in range(w.shape[0]):
        for c in range(rates.shape[0]):
            own = lane(recipe, rates[c])
            more = passed(own, w[i, c], load(s, (i, c)), trail.last[i], trail.since, t, i)
            out[i, c] = trail.total[i, c] + more


@jit
def margins(indptr, indices, data, w, bias, out):
    """out[r] = w·x[r] + bias in each lane; return the first row that is refused, or the number of rows"""
    for r in range(out.shape[0]):
        stored = indices[indptr[r] : indptr[r + 1]]
        for k in range(stored.shape[0]):
            if stored[k] >= w.shape[0]:
                return r
        dot(w, stored, data[indptr[r] : indptr[r + 1]], bias, out[r : r + 1])
        for c in range(out.shape[1]):
            if not math.isfinite(out[r, c]):
                return r
    return out.shape[0]


@jit
def losses(loss, y, p, z, out):
    """out[r] = the loss of the predictions p[r] where y[r] is true"""
    tally = out[:1].copy()
    for r in range(out.shape[0]):
        tally[0] = 0
        gradient(loss, y[r], p[r], z, tally[0] + 1, tally)
        out[r] = tally[0]
