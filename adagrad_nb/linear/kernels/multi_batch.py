"""Learning of several linear models from mini-batches: one update for the mean gradient of some rows, in every lane.

As in `batch`, the gradient is summed in a small table with a row for each feature that the batch touches.
"""

from typing import Any, NamedTuple

from ...compiler.jit import borrow_arrays, jit, jitable
from ...records.schedules import at
from .mini_batch import forget
from .multi_lazy import note, overtake
from .multi_rows import LaneBuffers, advance, can_learn_from, dot, score, shift
from .rows import DONE, NOT_FINITE, UNSORTED, fault


class LaneBatch(NamedTuple):
    """As `batch.Batch`; `row` are the buffers of one row, `gb` the gradients of the intercepts, `sums` a tally."""

    size: int
    g: Any
    gb: Any
    touched: Any
    place: Any
    sums: Any
    row: Any


@jitable
def gather(recipe, rows, weights, batch, t, position):
    """Sum z x over the next rows; return (next position, status, places taken, rows)."""
    indptr, indices, data, y, weight, order = rows
    w, bias = weights.w, weights.bias
    size, g, gb, touched, place, sums, row = batch
    used = row.rates.shape[0]
    margin, slopes = row.p[0, :used], row.z[0, :used]
    count = n = 0
    for c in range(used):
        gb[0, c] = 0
    for k in range(sums.shape[0]):
        sums[k] = 0
    while position < order.shape[0] and n < size:
        r = order[position]
        h = weight[r]
        if h == 0:
            position += 1
            continue
        first = indptr[r]
        stored = indices[first : indptr[r + 1]]
        x = data[first : indptr[r + 1]]
        status = fault(stored, w.shape[0])
        if status != DONE:
            return position, status, count, n
        overtake(recipe, weights, row, stored, t)
        dot(w, stored, x, bias, row.p)
        if not can_learn_from(recipe.loss, margin):
            return position, NOT_FINITE, count, n
        score(recipe.loss, y[r], margin, slopes, row, h, sums)
        sums[-1] += h
        for k in range(stored.shape[0]):
            spot = place[stored[k]]
            if spot < 0:
                spot = count
                count += 1
                place[stored[k]] = spot
                touched[spot] = stored[k]
                for c in range(used):
                    g[spot, c] = 0
            for c in range(used):
                g[spot, c] += slopes[c] * x[k]
        for c in range(used):
            gb[0, c] += slopes[c]
        n += 1
        position += 1
    return position, DONE, count, n


@jitable
def of_gradient(row, g):
    """The buffers of a feature of the value 1, the gradient being g."""
    p, _, losses, lr, rates, widths, origin, unit = row
    return LaneBuffers(p, g, losses, lr, rates, widths, origin, unit)


@jit
def learn(recipe, rows, weights, batch, tally, t, start, stop):
    """w[:, l] = move(w[:, l], sum of z[l] x over a batch / its rows); return (next position, status, next t).

    What a batch is, and where it is refused, is as in `batch`, except that penalties that were due are applied.
    """
    rows, weights, batch = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(batch)
    w, s, _, bias, bias_s = weights
    _, g, gb, touched, _, sums, row = batch
    lr, rates, origin, unit = row.lr, row.rates, row.origin, row.unit
    position = start
    while position < stop:
        end, status, count, n = gather(recipe, rows, weights, batch, t, position)
        if status != DONE:
            forget(batch, count)
            return (position if status == UNSORTED else end), status, t
        position = end
        if n == 0:
            continue
        for l in range(tally.shape[0]):
            tally[l] += sums[l]
        now = at(recipe.schedule, t) * 1.0
        for c in range(rates.shape[0]):
            lr[0, c] = rates[c] * now
        share = w.dtype.type(n)
        for k in range(count):
            for c in range(rates.shape[0]):
                g[k, c] /= share
            advance(recipe, w, s, touched[k : k + 1], unit, of_gradient(row, g[k : k + 1]), t)
        if recipe.intercept:
            for c in range(rates.shape[0]):
                gb[0, c] /= share
            shift(recipe.free, bias, bias_s, origin, unit, of_gradient(row, gb), t)
        t += 1
        note(recipe, weights, row, touched[:count], t)
        forget(batch, count)
    return position, DONE, t
