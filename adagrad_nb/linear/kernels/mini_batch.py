"""Learning from mini-batches of compressed sparse rows: one update for the mean gradient of some rows.

The gradient is summed in a small buffer with a place for each coordinate that the batch touches, row by row in their
order, and divided at the end; no loop runs over all coordinates.  Whoever sums a column in the order of the rows, on
whatever device, gets the same numbers.
"""

import math
from typing import Any, NamedTuple

from ...compiler.jit import borrow_arrays, cast_like, jit, jitable, load, store
from ...records.coordinate import apply_update
from ...records.losses import slope, value
from ...records.schedules import at
from .lazy import arrive_bias, current, mark
from .rows import DONE, NOT_FINITE, UNSORTED, fault


class Batch(NamedTuple):
    """`place[i]` is where coordinate i is in the other arrays, -1 where the batch does not touch it."""

    size: int
    w: Any
    s: Any
    g: Any
    touched: Any
    place: Any

    def part(self, k):
        return Batch(self.size, self.w[k], load(self.s, k), self.g[k], self.touched[k], self.place[k])


@jitable
def forget(batch, count):
    """No coordinate has a place any more."""
    for k in range(count):
        batch.place[batch.touched[k]] = -1


@jitable
def gather(recipe, rows, weights, batch, t, position):
    """Sum h slope(y, w·x + b) x over the next rows; return (next position, status, places taken, rows, sums).

    The sums are those of the losses, the weights and the gradients of the intercept.
    """
    indptr, indices, data, y, weight, order = rows
    w, s, last, bias, _ = weights
    size, wb, sb, g, touched, place = batch
    count = n = 0
    loss = total = 0.0
    gb = bias[0] - bias[0]
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
            return position, status, count, n, (loss, total, gb)
        p = bias[0]
        for k in range(stored.shape[0]):
            i = stored[k]
            spot = place[i]
            if spot < 0:
                spot = count
                count += 1
                place[i] = spot
                touched[spot] = i
                si = load(s, i)
                wb[spot] = current(recipe, w[i], si, last, i, t)
                store(sb, spot, si)
                g[spot] = 0
            p += wb[spot] * x[k]
        if not math.isfinite(p):
            return position, NOT_FINITE, count, n, (loss, total, gb)
        loss += h * value(recipe.loss, y[r], p)
        total += h
        z = h * slope(recipe.loss, y[r], p)
        for k in range(stored.shape[0]):
            g[place[stored[k]]] += z * x[k]
        gb += z
        n += 1
        position += 1
    return position, DONE, count, n, (loss, total, gb)


@jit
def learn(recipe, rows, weights, batch, tally, t, start, stop):
    """w = move(w, sum of h slope(y, w·x + b) x over a batch / its rows); return (next position, status, next t).

    A batch is the next `size` rows whose weight is not zero, or what is left of them; the last one may end after
    `stop`.  A batch with a row that is refused, and all after it, has changed nothing; the position is that of the row,
    or where the row is only out of order that of its batch.
    """
    rows, weights, batch = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(batch)
    w, s, last, bias, bias_s = weights
    _, wb, sb, g, touched, _ = batch
    position = start
    while position < stop:
        end, status, count, n, sums = gather(recipe, rows, weights, batch, t, position)
        if status != DONE:
            forget(batch, count)
            return (position if status == UNSORTED else end), status, t
        position = end
        if n == 0:
            continue
        tally[0] += sums[0]
        tally[1] += sums[1]
        lr = cast_like(at(recipe.schedule, t), w)
        share = cast_like(n, w)
        for k in range(count):
            wb[k], sk = apply_update(recipe.update, wb[k], g[k] / share, load(sb, k), lr, t, touched[k])
            store(sb, k, sk)
        if recipe.intercept:
            bias[0], sk = apply_update(recipe.free, bias[0], sums[2] / share, load(bias_s, 0), lr, t, 0)
            store(bias_s, 0, sk)
            arrive_bias(recipe.lapse, last, bias[0], 0, t + 1)
        t += 1
        for k in range(count):
            i = touched[k]
            mark(recipe, weights, wb[k], i, t)
            w[i] = wb[k]
            store(s, i, load(sb, k))
        forget(batch, count)
    return position, DONE, t
