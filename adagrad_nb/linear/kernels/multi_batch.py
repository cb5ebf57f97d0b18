"""Kernels for several outputs and mini-batches.

As in `mini_batch`, the gradient is summed in a compact table with one row for each feature that the batch touches.
"""

from typing import Any, NamedTuple

from ...compiler.jit import borrow_arrays, jit, jitable
from ...records.schedules import at
from .mini_batch import clear_slots
from .multi_lazy import catch_up_features, fill_rates, record_features
from .multi_rows import (
    MultiRowBuffers,
    can_learn_from,
    compute_losses_and_slopes,
    compute_scores,
    update_features,
    update_row,
)
from .rows import DONE, NO_WEIGHT, NOT_FINITE, TOO_LARGE, UNSORTED, has_too_large, open_row, spec_at_update


class MultiBatchBuffers(NamedTuple):
    """Workspace of a batch with several outputs.

    As in `BatchBuffers`; `row_buffers` is the workspace of one row, `bias_g` are the gradients of the intercepts
    and `batch_sums` the loss sums after the batch.
    """

    size: int
    g: Any
    bias_g: Any
    touched: Any
    slot_of: Any
    batch_sums: Any
    row_buffers: Any


@jitable
def sum_multi_gradient(spec, rows, weights, batch, loss_sums, t, position):
    """Sum z x over the next rows, and set `batch_sums`; return (next position, status, slots used, rows)."""
    y, order = rows.y, rows.order
    w, bias = weights.w, weights.bias
    size, g, bias_g, touched, slot_of, batch_sums, row_buffers = batch
    n_outputs = row_buffers.rate_factors.shape[0]
    scores, slopes = row_buffers.p[0, :n_outputs], row_buffers.z[0, :n_outputs]
    count = n = 0
    for c in range(n_outputs):
        bias_g[0, c] = 0
    for k in range(batch_sums.shape[0]):
        batch_sums[k] = loss_sums[k]
    while position < order.shape[0] and n < size:
        status, r, h, columns, x = open_row(rows, w.shape[0], position)
        if status != DONE:
            if status == NO_WEIGHT:
                position += 1
                continue
            return position, status, count, n
        catch_up_features(spec_at_update(spec, t), weights, row_buffers, columns, t)
        compute_scores(spec.loss, w, columns, x, bias, row_buffers.p)
        if not can_learn_from(spec.loss, scores):
            return position, NOT_FINITE, count, n
        if has_too_large(x, h):
            return position, TOO_LARGE, count, n
        compute_losses_and_slopes(spec.loss, y[r], scores, slopes, row_buffers, h, batch_sums)
        batch_sums[-1] += h
        for k in range(columns.shape[0]):
            slot = slot_of[columns[k]]
            if slot < 0:
                slot = count
                count += 1
                slot_of[columns[k]] = slot
                touched[slot] = columns[k]
                for c in range(n_outputs):
                    g[slot, c] = 0
            for c in range(n_outputs):
                g[slot, c] += slopes[c] * x[k]
        for c in range(n_outputs):
            bias_g[0, c] += slopes[c]
        n += 1
        position += 1
    return position, DONE, count, n


@jitable
def with_gradient(row_buffers, g):
    """Return the workspace of one feature of value 1 with the gradient g."""
    p, _, losses, lr, rate_factors, step_sizes, bias_column, bias_value = row_buffers
    return MultiRowBuffers(p, g, losses, lr, rate_factors, step_sizes, bias_column, bias_value)


@jit
def learn_multi_batches(spec, rows, weights, batch, loss_sums, t, start, stop):
    """w[:, l] = update(w[:, l], mean over a batch of z[l] x); return (next position, status, next t).

    Batches and errors are as in `learn_batches`, except that lazy updates stay applied.
    """
    rows, weights, batch = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(batch)
    w, s, _, bias, bias_slots = weights
    _, g, bias_g, touched, _, batch_sums, row_buffers = batch
    rate_factors, bias_column, bias_value = row_buffers.rate_factors, row_buffers.bias_column, row_buffers.bias_value
    position = start
    while position < stop:
        fill_rates(row_buffers, at(spec.schedule, t) * 1.0)
        end, status, count, n = sum_multi_gradient(spec, rows, weights, batch, loss_sums, t, position)
        if status != DONE:
            clear_slots(batch, count)
            return (position if status == UNSORTED else end), status, t
        position = end
        if n == 0:
            continue
        for l in range(loss_sums.shape[0]):
            loss_sums[l] = batch_sums[l]
        n_rows = w.dtype.type(n)
        for k in range(count):
            for c in range(rate_factors.shape[0]):
                g[k, c] /= n_rows
            update_row(spec, w, s, touched[k : k + 1], bias_value, with_gradient(row_buffers, g[k : k + 1]), t)
        if spec.intercept:
            for c in range(rate_factors.shape[0]):
                bias_g[0, c] /= n_rows
            update_features(
                spec.bias_update, bias, bias_slots, bias_column, bias_value, with_gradient(row_buffers, bias_g), t
            )
        t += 1
        record_features(spec_at_update(spec, t), weights, row_buffers, touched[:count], t)
        clear_slots(batch, count)
    return position, DONE, t
