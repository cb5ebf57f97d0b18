"""Kernels for one output and mini-batches: one update for the mean gradient of some rows.

The gradient is summed in a compact buffer with one slot for each coordinate that the batch touches, row by row in their
order, and divided at the end.  No loop runs over all coordinates.  A device that sums each column in the order of the
rows gets the same bits.
"""

import math
from typing import Any, NamedTuple

from ...compiler.jit import borrow_arrays, cast_like, jit, jitable, load, store
from ...compiler.simd import one_like
from ...records.coordinate import apply_update
from ...records.losses import slope, value
from ...records.schedules import at
from .lazy import add_bias_iterate, caught_up, record_update
from .rows import DONE, NO_WEIGHT, NOT_FINITE, TOO_LARGE, UNSORTED, is_too_large, open_row, spec_at_update


class BatchBuffers(NamedTuple):
    """Workspace of a batch; `slot_of[i]` is the slot of coordinate i, -1 outside the batch."""

    size: int
    w: Any
    s: Any
    g: Any
    touched: Any
    slot_of: Any

    def for_worker(self, k):
        """Return the workspace of worker k."""
        return BatchBuffers(self.size, self.w[k], load(self.s, k), self.g[k], self.touched[k], self.slot_of[k])


@jitable
def clear_slots(batch, count):
    """Set the slots of the first `count` touched coordinates to -1."""
    for k in range(count):
        batch.slot_of[batch.touched[k]] = -1


@jitable
def sum_gradient(spec, rows, weights, batch, loss_sums, t, position):
    """Sum h slope(y, w·x + b) x over the next rows; return (next position, status, slots used, rows, sums).

    The sums are those of the losses and of the sample weights, and that of the gradients of the intercept.  The first
    two continue `loss_sums` row by row, as those of several outputs do.
    """
    y, order = rows.y, rows.order
    w, s, last_update, bias, _ = weights
    size, wb, sb, g, touched, slot_of = batch
    count = n = 0
    loss_sum, weight_sum = loss_sums[0], loss_sums[1]
    bias_g = bias[0] - bias[0]
    now = spec_at_update(spec, t)
    while position < order.shape[0] and n < size:
        status, r, h, columns, x = open_row(rows, w.shape[0], position)
        if status != DONE:
            if status == NO_WEIGHT:
                position += 1
                continue
            return position, status, count, n, (loss_sum, weight_sum, bias_g)
        p = bias[0]
        square_norm = one_like(p)  # with the intercept
        for k in range(columns.shape[0]):
            i = columns[k]
            slot = slot_of[i]
            if slot < 0:
                slot = count
                count += 1
                slot_of[i] = slot
                touched[slot] = i
                si = load(s, i)
                wb[slot] = caught_up(now, w[i], si, last_update, i, t)
                store(sb, slot, si)
                g[slot] = 0
            p += wb[slot] * x[k]
            square_norm += x[k] * x[k]
        if not math.isfinite(p):
            return position, NOT_FINITE, count, n, (loss_sum, weight_sum, bias_g)
        z = h * slope(spec.loss, y[r], p)
        if is_too_large(z, square_norm):
            return position, TOO_LARGE, count, n, (loss_sum, weight_sum, bias_g)
        loss_sum += h * value(spec.loss, y[r], p)
        weight_sum += h
        for k in range(columns.shape[0]):
            g[slot_of[columns[k]]] += z * x[k]
        bias_g += z
        n += 1
        position += 1
    return position, DONE, count, n, (loss_sum, weight_sum, bias_g)


@jit
def learn_batches(spec, rows, weights, batch, loss_sums, t, start, stop):
    """w = update(w, mean over a batch of h slope(y, w·x + b) x); return (next position, status, next t).

    A batch has the next `size` rows of positive weight, or the rest of them; the last batch may end after `stop`.  The
    batch with an error and all rows after it change nothing.  The returned position is then the row with the error, or
    the first row of the batch if indices are only unsorted.
    """
    rows, weights, batch = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(batch)
    w, s, last_update, bias, bias_slots = weights
    _, wb, sb, g, touched, _ = batch
    position = start
    while position < stop:
        end, status, count, n, batch_sums = sum_gradient(spec, rows, weights, batch, loss_sums, t, position)
        if status != DONE:
            clear_slots(batch, count)
            return (position if status == UNSORTED else end), status, t
        position = end
        if n == 0:
            continue
        loss_sums[0], loss_sums[1] = batch_sums[0], batch_sums[1]
        lr = cast_like(at(spec.schedule, t), w)
        n_rows = cast_like(n, w)
        for k in range(count):
            wb[k], sk = apply_update(spec.update, wb[k], g[k] / n_rows, load(sb, k), lr, t, touched[k])
            store(sb, k, sk)
        if spec.intercept:
            bias[0], sk = apply_update(spec.bias_update, bias[0], batch_sums[2] / n_rows, load(bias_slots, 0), lr, t, 0)
            store(bias_slots, 0, sk)
            add_bias_iterate(spec.lazy, last_update, bias[0], 0, t + 1)
        t += 1
        now = spec_at_update(spec, t)
        for k in range(count):
            i = touched[k]
            record_update(now, weights, wb[k], i, t)
            w[i] = wb[k]
            store(s, i, load(sb, k))
        clear_slots(batch, count)
    return position, DONE, t
