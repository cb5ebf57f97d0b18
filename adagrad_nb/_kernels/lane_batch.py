"""Learning of several linear models from mini-batches: one update for the mean gradient of some rows, in every lane.

As in `batch`, the gradient is summed in a small table with a row for each feature that the batch touches.
"""

from typing import Any, NamedTuple

from .._jit import jit, plain
from ..schedules import at
from .batch import forget
from .lanes import dot, gradient, note, overtake, shift, sound
from .linear import DONE, NOT_FINITE, UNSORTED, fault


class LaneBatch(NamedTuple):
    """As `batch.Batch`; `p`, `z`, `lr`, `rates` are those of one row, `gb` the gradients of the intercepts.

    `sums` is room for a tally.
    """

    size: int
    g: Any
    gb: Any
    touched: Any
    place: Any
    sums: Any
    lanes: Any


@plain
def gather(recipe, rows, weights, batch, t, position):
    """Sum z x over the next rows; return (next position, status, places taken, rows)."""
    indptr, indices, data, y, weight, order = rows
    w, _, _, bias, _ = weights
    size, g, gb, touched, place, sums, (p, z, _, rates) = batch
    used = rates.shape[0]
    count = n = 0
    gb[:] = 0
    sums[:] = 0
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
        overtake(recipe, weights, rates, stored, t)
        dot(w, stored, x, bias, p)
        if not sound(recipe.loss, p[0, :used]):
            return position, NOT_FINITE, count, n
        gradient(recipe.loss, y[r], p[0, :used], z[0, :used], h, sums)
        sums[-1] += h
        for k in range(stored.shape[0]):
            spot = place[stored[k]]
            if spot < 0:
                spot = count
                count += 1
                place[stored[k]] = spot
                touched[spot] = stored[k]
                g[spot] = 0
            for c in range(used):
                g[spot, c] += z[0, c] * x[k]
        for c in range(used):
            gb[0, c] += z[0, c]
        n += 1
        position += 1
    return position, DONE, count, n


@jit
def learn(recipe, rows, weights, batch, tally, t, start, stop):
    """w[:, l] = move(w[:, l], sum of z[l] x over a batch / its rows); return (next position, status, next t).

    What a batch is, and where it is refused, is as in `batch`, except that penalties that were due are applied.
    """
    w, s, _, bias, bias_s = weights
    _, g, gb, touched, _, sums, (_, _, lr, rates) = batch
    one = w.dtype.type(1)
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
            shift(recipe.update, w, s, touched[k], g[k : k + 1], one, lr, t)
        if recipe.intercept:
            for c in range(rates.shape[0]):
                gb[0, c] /= share
            shift(recipe.free, bias, bias_s, 0, gb, one, lr, t)
        t += 1
        note(recipe, weights, rates, touched[:count], t)
        forget(batch, count)
    return position, DONE, t
