"""Online learning of several linear models in the same pass: a lane each, side by side in memory.

The weights of a feature are a row of lanes, and each of its accumulators another row beside it: one or a few cache
lines in all, which a row of the data asks for once, for all models.  Work per stored value: one vector of lanes
after the other is loaded, moved and stored.  The lanes of the next row of the data are asked for before this one is
learnt from; where the table is larger than the cache, half of the time was spent on waiting for them.
"""

import math
from typing import Any, NamedTuple

from ...compiler.intrinsics import prefetch
from ...compiler.jit import FORCE_INLINE, bind, bind_inlined, borrow_arrays, force_inline, jit, load, method, store
from ...compiler.simd import LANES8, LANES16, load_lanes4, load_lanes8, load_lanes16, load_lanes_like, store_lanes
from ...records.coordinate import apply_update
from ...records.group_penalties import is_group_penalty
from ...records.losses import slope, value
from ...records.multiclass_losses import IndependentOutputs
from ...records.schedules import at
from .lazy import passed
from .multi_lazy import contract, knows_groups, lane, note, overtake, settle
from .rows import DONE, NOT_FINITE, fault

CACHE = 1 << 20  # bytes; a table that is not larger is in the second-level cache, where nothing is to be asked for

loss_and_gradient = method("loss_and_gradient", jit_options=FORCE_INLINE)
can_learn_from = method("can_learn_from", jit_options=FORCE_INLINE)


class LaneBuffers(NamedTuple):
    """Margins, slopes, losses and rates of one row, a lane each, of shape (1, lanes); `rates` has the factors of lanes.

    `rates` has an entry for each lane in use; the others, up to a multiple of four, stay at zero.  `widths`
    is room for the lanes in use.  The intercept is learnt as the feature `origin`, [0], of the value `unit`, [1.0].
    """

    p: Any
    z: Any
    losses: Any
    lr: Any
    rates: Any
    widths: Any
    origin: Any
    unit: Any


# --- the features of a row ---------------------------------------------------------------------------------------


def shift(update, w, s, stored, x, buffers, t):
    """The lanes of the features `stored` move by the gradients z x."""
    z, lr = buffers.z, buffers.lr
    for k in range(stored.shape[0]):
        i = stored[k]
        for c in range(w.shape[1]):
            w[i, c], state = apply_update(update, w[i, c], z[0, c] * x[k], load(s, (i, c)), lr[0, c], t, i)
            store(s, (i, c), state)


def _branchless(record):
    """Whether the methods of a record choose by `choose` alone."""
    return getattr(getattr(record, "instance_class", None), "branchless", False)


@bind_inlined(shift)
def _shift(update, w, s, stored, x, buffers, t):
    if not all(_branchless(part) for part in update.types):

        def each(update, w, s, stored, x, buffers, t):
            z, lr = buffers.z, buffers.lr
            for k in range(stored.shape[0]):
                i = stored[k]
                for c in range(w.shape[1]):
                    w[i, c], state = apply_update(update, w[i, c], z[0, c] * x[k], load(s, (i, c)), lr[0, c], t, i)
                    store(s, (i, c), state)

        return each

    def together(update, w, s, stored, x, buffers, t):
        z, lr = buffers.z, buffers.lr
        c = 0
        while c + LANES16 <= w.shape[1]:
            _shift_piece(update, w, s, stored, x, c, (load_lanes16(z, 0, c), load_lanes16(lr, 0, c)), t)
            c += LANES16
        if c + LANES8 <= w.shape[1]:
            _shift_piece(update, w, s, stored, x, c, (load_lanes8(z, 0, c), load_lanes8(lr, 0, c)), t)
            c += LANES8
        if c < w.shape[1]:
            _shift_piece(update, w, s, stored, x, c, (load_lanes4(z, 0, c), load_lanes4(lr, 0, c)), t)

    return together


@force_inline()
def _shift_piece(update, w, s, stored, x, c, slopes, t):
    """As many lanes as there are slopes, from c on; a call for the whole row, as its arguments take their time."""
    z, lr = slopes
    for k in range(stored.shape[0]):
        i = stored[k]
        value, state = apply_update(update, load_lanes_like(w, i, c, z), z * x[k], _alike_all(s, i, c, z), lr, t, i)
        store_lanes(w, i, c, value)
        _put_all(s, i, c, state)


def _alike_all(arrays, i, c, vector):
    """The vectors at (i, c) of a tuple of arrays; compiled only."""


def _put_all(arrays, i, c, values):
    """Write vectors to (i, c) of a tuple of arrays; compiled only."""


@bind(_alike_all)
def _alike_each(arrays, i, c, vector):
    if len(arrays) == 0:
        return lambda arrays, i, c, vector: ()
    return lambda arrays, i, c, vector: (
        (load_lanes_like(arrays[0], i, c, vector),) + _alike_all(arrays[1:], i, c, vector)
    )


@bind(_put_all)
def _put_each(arrays, i, c, values):
    if len(arrays) == 0:
        return lambda arrays, i, c, values: None

    def each(arrays, i, c, values):
        store_lanes(arrays[0], i, c, values[0])
        _put_all(arrays[1:], i, c, values[1:])

    return each


def advance(recipe, w, s, stored, x, buffers, t):
    """The features of a row move, and the penalty of this update acts on them."""
    if is_group_penalty(recipe.update.penalty):
        shift(recipe.free, w, s, stored, x, buffers, t)
        for k in range(stored.shape[0]):
            contract(recipe, w, s, buffers, stored[k], at(recipe.schedule, t), 1)
    else:
        shift(recipe.update, w, s, stored, x, buffers, t)


@bind_inlined(advance)
def _advance(recipe, w, s, stored, x, buffers, t):
    if not knows_groups(recipe):
        return lambda recipe, w, s, stored, x, buffers, t: shift(recipe.update, w, s, stored, x, buffers, t)

    def each(recipe, w, s, stored, x, buffers, t):
        shift(recipe.free, w, s, stored, x, buffers, t)
        for k in range(stored.shape[0]):
            contract(recipe, w, s, buffers, stored[k], at(recipe.schedule, t), 1)

    return each


# --- one row -----------------------------------------------------------------------------------------------------


def dot(w, stored, x, bias, p):
    """p = sum of x[k] w[stored[k]] + bias, in each lane."""
    for c in range(w.shape[1]):
        total = bias[0, c]
        for k in range(stored.shape[0]):
            total += w[stored[k], c] * x[k]
        p[0, c] = total


@bind_inlined(dot)
def _dot(w, stored, x, bias, p):
    def together(w, stored, x, bias, p):
        c = 0
        while c + LANES16 <= w.shape[1]:
            store_lanes(p, 0, c, _dot_piece(w, stored, x, c, load_lanes16(bias, 0, c)))
            c += LANES16
        if c + LANES8 <= w.shape[1]:
            store_lanes(p, 0, c, _dot_piece(w, stored, x, c, load_lanes8(bias, 0, c)))
            c += LANES8
        if c < w.shape[1]:
            store_lanes(p, 0, c, _dot_piece(w, stored, x, c, load_lanes4(bias, 0, c)))

    return together


@force_inline()
def _dot_piece(w, stored, x, c, total):
    """`total` plus the products of as many lanes, from c on; in four sums, as each addition waits for the last."""
    second = third = fourth = total - total
    whole = stored.shape[0] & ~3
    for k in range(0, whole, 4):
        total = total + load_lanes_like(w, stored[k], c, total) * x[k]
        second = second + load_lanes_like(w, stored[k + 1], c, total) * x[k + 1]
        third = third + load_lanes_like(w, stored[k + 2], c, total) * x[k + 2]
        fourth = fourth + load_lanes_like(w, stored[k + 3], c, total) * x[k + 3]
    for k in range(whole, stored.shape[0]):
        total = total + load_lanes_like(w, stored[k], c, total) * x[k]
    return (total + second) + (third + fourth)


def score(loss, y, margin, slopes, buffers, h, tally):
    """Set the slopes and add to the tally what the predictions of a row lose."""
    loss_and_gradient(loss, y, margin, slopes, h, tally)


@bind_inlined(score)
def _score(loss, y, margin, slopes, buffers, h, tally):
    inner = getattr(loss, "types", ())
    if loss.instance_class is not IndependentOutputs or not _branchless(inner[0]):
        return lambda loss, y, margin, slopes, buffers, h, tally: loss_and_gradient(loss, y, margin, slopes, h, tally)

    def together(loss, y, margin, slopes, buffers, h, tally):
        p, z, losses = buffers.p, buffers.z, buffers.losses
        c = 0
        while c + LANES8 <= p.shape[1]:
            _score_piece(loss.loss, y, load_lanes8(p, 0, c), h, z, losses, c)
            c += LANES8
        if c < p.shape[1]:
            _score_piece(loss.loss, y, load_lanes4(p, 0, c), h, z, losses, c)
        for l in range(margin.shape[0]):
            if not math.isfinite(margin[l]):
                z[0, l] = 0
                losses[0, l] = math.inf
            tally[l] += losses[0, l]
        for l in range(margin.shape[0], p.shape[1]):
            z[0, l] = 0

    return together


@force_inline()
def _score_piece(loss, y, guess, h, z, losses, c):
    """Slopes and losses of as many lanes as there are guesses, from c on."""
    store_lanes(z, 0, c, slope(loss, y, guess) * h)
    store_lanes(losses, 0, c, value(loss, y, guess) * h)


@force_inline()
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
    rows, weights, buffers = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(buffers)
    indptr, indices, data, y, weight, order = rows
    w, s, _, bias, bias_s = weights
    p, z, lr, rates = buffers.p, buffers.z, buffers.lr, buffers.rates
    used = rates.shape[0]
    far = w.shape[0] * w.shape[1] * (len(s) + 1) * w.itemsize > CACHE
    held = -1.0
    margin, slopes = p[0, :used], z[0, :used]
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
        overtake(recipe, weights, buffers, stored, t)
        dot(w, stored, x, bias, p)
        if not can_learn_from(recipe.loss, margin):
            return position, NOT_FINITE, t
        score(recipe.loss, y[r], margin, slopes, buffers, h, tally)
        tally[-1] += h
        now = at(recipe.schedule, t) * 1.0
        if now != held:
            held = now
            for c in range(used):
                lr[0, c] = rates[c] * now
        if far:
            announce(rows, w, s, position + 1, stop)
        advance(recipe, w, s, stored, x, buffers, t)
        if recipe.intercept:
            shift(recipe.free, bias, bias_s, buffers.origin, buffers.unit, buffers, t)
        t += 1
        note(recipe, weights, buffers, stored, t)
    return stop, DONE, t


@jit
def settled(recipe, weights, buffers, t, out):
    """out[i] = the lanes of feature i after all updates before t; what is learnt stays as it is"""
    w, s, last, _, _ = weights
    for i in range(w.shape[0]):
        for c in range(w.shape[1]):
            out[i, c] = w[i, c]
        settle(recipe, out, s, last, buffers, i, t)


@jit
def iterate_sums(recipe, weights, buffers, t, out):
    """out[i] = the sums of the iterates of the lanes of feature i after each update before t that counts"""
    w, s, trail, _, _ = weights
    for i in range(w.shape[0]):
        for c in range(out.shape[1]):
            own = lane(recipe, buffers.rates[c])
            more = passed(own, w[i, c], load(s, (i, c)), trail.last[i], trail.since, t, i)
            out[i, c] = trail.total[i, c] + more


@jit
def decision_values(indptr, indices, data, w, bias, out):
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
        loss_and_gradient(loss, y[r], p[r], z, tally[0] + 1, tally)
        out[r] = tally[0]
