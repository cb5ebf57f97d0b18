"""Kernels for one output and one update per row, with lazy updates of the penalties.

Work per stored value: w and G, which are interleaved in memory, are gathered and scattered: one random cache line is
read and written.  The square root and the division run over small contiguous buffers, where they vectorise; without
the buffers the same loop takes a third longer.  With 77 values per row a value takes 2.4 ns in float64 and 2.0 in
float32: 0.1 for the check of the indices, and a third each for gathering, updating and scattering.
"""

import math
from typing import Any, NamedTuple

from ...compiler.intrinsics import prefetch, prefetch_each
from ...compiler.jit import bind, borrow_arrays, cast_like, force_inline, jit, jitable, load, method, store
from ...compiler.simd import magnitude_limit_like, one_like
from ...records.coordinate import apply_update
from ...records.losses import inverse_link, slope, value
from ...records.schedules import at
from .lazy import (
    add_bias_iterate,
    at_update,
    catch_up_row,
    caught_up,
    feature_spec,
    is_deferred,
    missed_sum,
    read_last_update,
    read_weight,
    record_bias_energy,
    record_energy,
    record_gradient,
    record_row,
    record_update,
)

DONE, OUT_OF_RANGE, UNSORTED, NOT_FINITE, NO_WEIGHT, TOO_LARGE = range(6)

# From this many weights on, which do not fit into the caches next to a core, the next row is asked for beforehand.
PREFETCH_FROM = 2**18


class Rows(NamedTuple):
    """Rows of a chunk: CSR arrays with unsigned indices, targets, sample weights, and the order of the rows."""

    indptr: Any
    indices: Any
    data: Any
    y: Any
    weight: Any
    order: Any


class Weights(NamedTuple):
    """Weights and accumulators; `last_update` is the state of the lazy updates, () if they need none."""

    w: Any
    s: Any
    last_update: Any
    bias: Any
    bias_s: Any


VECTOR = 16  # numbers; a multiple of the lanes of all registers


@jitable
def whole_vectors(n):
    """Return the smallest multiple of `VECTOR` that is at least n.

    A loop over so many numbers has no remainder of single ones, which take as long as the vectors of a row of 80.
    """
    return -(-n // VECTOR) * VECTOR


class RowBuffers(NamedTuple):
    """Workspace for the longest row, in whole vectors; the entries after the end of a row are ignored."""

    w: Any
    s: Any
    last_update: Any

    def for_worker(self, k):
        """Return the workspace of worker k."""
        return RowBuffers(self.w[k], load(self.s, k), self.last_update[k])


class LearnerSpec(NamedTuple):
    """Records of a learning kernel.

    `bias_update` updates the intercept if `intercept` is 1; `lazy` is the strategy of the lazy updates.
    """

    loss: Any
    update: Any
    bias_update: Any
    schedule: Any
    lazy: Any
    intercept: int

    def with_lazy(self, lazy):
        """Return the records with another strategy of the lazy updates."""
        return LearnerSpec(self.loss, self.update, self.bias_update, self.schedule, lazy, self.intercept)


_with_lazy = method("with_lazy")


@jitable
def spec_at_update(spec, t):
    """Return the records of a kernel with the lazy-update strategy for the values of a row in update t."""
    return _with_lazy(spec, at_update(spec.lazy, t))


@jitable
def explain_bad_indices(indices, n):
    """Return OUT_OF_RANGE or UNSORTED for the indices of a row that do not increase."""
    top = indices[0]
    for k in range(indices.shape[0]):
        top = max(top, indices[k])
    return OUT_OF_RANGE if top >= n else UNSORTED


@force_inline()
def check_indices(indices, n):
    """Return OUT_OF_RANGE, UNSORTED or DONE for the indices of a row.

    Indices are unsigned, so a negative one is too large.
    """
    count, n_descents = indices.shape[0], 0
    for k in range(1, count):
        n_descents += indices[k] <= indices[k - 1]
    if n_descents > 0:
        return explain_bad_indices(indices, n)
    return OUT_OF_RANGE if count > 0 and indices[count - 1] >= n else DONE


@force_inline()
def open_row(rows, n_features, position):
    """Return (status, row number, sample weight, column indices, values) of the row at `position` of the order.

    The status is NO_WEIGHT for a row of weight zero, which makes no update, or that of `check_indices`.
    """
    r = rows.order[position]
    h = rows.weight[r]
    first, end = rows.indptr[r], rows.indptr[r + 1]
    columns = rows.indices[first:end]
    x = rows.data[first:end]
    return NO_WEIGHT if h == 0 else check_indices(columns, n_features), r, h, columns, x


@force_inline()
def is_too_large(z, square_norm):
    """Return whether the squares of the gradient z x of a row, or sums of 2,000 of them, may overflow."""
    limit = magnitude_limit_like(square_norm)
    return not z * z * square_norm < limit * limit


@force_inline()
def has_too_large(x, h):
    """Return whether a square of a value times the sample weight h, or a sum of 2,000 of them, may overflow."""
    limit, count = magnitude_limit_like(h) / h, 0
    for k in range(x.shape[0]):
        count += abs(x[k]) > limit
    return count > 0


@jitable
def prefetch_row(rows, w, s, position, stop):
    """Prefetch the weights of the row at `position` of a large table; its indices are checked later."""
    if w.shape[0] < PREFETCH_FROM or position >= stop:
        return
    r = rows.order[position]
    for k in range(rows.indptr[r], rows.indptr[r + 1]):
        prefetch(w, rows.indices[k])
        prefetch_each(s, rows.indices[k])


@jit
def learn_rows(spec, rows, weights, buffers, loss_sums, t, start, stop):
    """w = update(w, slope(y, w·x + b) x) for the rows order[start:stop]; return (next position, status, next t).

    The row with an error and all rows after it change nothing.
    """
    rows, weights, buffers = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(buffers)
    y = rows.y
    w, s, last_update, bias, bias_slots = weights
    wr, sr, workspace = buffers
    for position in range(start, stop):
        status, r, h, columns, x = open_row(rows, w.shape[0], position)
        if status != DONE:
            if status == NO_WEIGHT:
                continue
            return position, status, t
        prefetch_row(rows, w, s, position + 1, stop)
        now = spec_at_update(spec, t)
        p = bias[0]
        square_norm = one_like(p)  # with the intercept
        for k in range(columns.shape[0]):
            i = columns[k]
            si = load(s, i)
            wi = read_weight(now.lazy, now, w[i], si, last_update, i, t)
            read_last_update(now.lazy, last_update, i, workspace, k)
            wr[k] = wi
            store(sr, k, si)
            p += wi * x[k]
            square_norm += x[k] * x[k]
        if is_deferred(spec.lazy):  # known when this is compiled: either the sum above is left out, or all of this
            for k in range(whole_vectors(columns.shape[0])):
                i = columns[min(k, columns.shape[0] - 1)]
                wr[k] = catch_up_row(now.lazy, now, wr[k], load(sr, k), workspace, k, i, t)
            p = bias[0]
            for k in range(columns.shape[0]):
                p += wr[k] * x[k]
        if not math.isfinite(p):
            return position, NOT_FINITE, t
        z = h * slope(spec.loss, y[r], p)
        if is_too_large(z, square_norm):
            return position, TOO_LARGE, t
        loss_sums[0] += h * value(spec.loss, y[r], p)
        loss_sums[1] += h
        lr = cast_like(at(spec.schedule, t), w)
        record_row(now.lazy, now, weights, columns, (sr, workspace), (z, p, h), t)
        for k in range(columns.shape[0]):
            sk = load(sr, k)
            wr[k], new = apply_update(spec.update, wr[k], z * x[k], sk, lr, t, columns[k])
            record_energy(spec.lazy, spec, workspace, z * x[k], (sk, new), k)
            store(sr, k, new)
        if spec.intercept:
            sk = load(bias_slots, 0)
            bias[0], new = apply_update(spec.bias_update, bias[0], z, sk, lr, t, 0)
            record_bias_energy(spec.lazy, spec, last_update, z, (sk, new))
            store(bias_slots, 0, new)
            add_bias_iterate(spec.lazy, last_update, bias[0], 0, t + 1)
        t += 1
        now = spec_at_update(spec, t)
        for k in range(columns.shape[0]):
            i = columns[k]
            record_gradient(now.lazy, last_update, workspace, w[i], z * x[k], k, i)
            record_update(now, weights, wr[k], i, t)
            w[i] = wr[k]
            store(s, i, load(sr, k))
    return stop, DONE, t


def column_at(columns, k):
    """Return columns[k], or k if `columns` is the empty tuple, which stands for all columns."""
    return k if isinstance(columns, tuple) else columns[k]


@bind(column_at)
def _overload_column_at(columns, k):
    return (lambda columns, k: columns[k]) if getattr(columns, "ndim", 0) else (lambda columns, k: k)


@jit
def are_below(columns, n):
    """Return whether all column indices, which are unsigned, are less than n."""
    count = 0
    for k in range(columns.shape[0]):
        count += columns[k] < n
    return count == columns.shape[0]


@jit
def are_finite(table, columns):
    """Return whether table[i, c] is finite for each i of `columns` and each c."""
    for k in range(columns.shape[0]):
        for c in range(table.shape[1]):
            if not math.isfinite(table[columns[k], c]):
                return False
    return True


@jit
def catch_up_columns(spec, weights, columns, t, out):
    """out[k] = w[columns[k]] after all updates before t; `columns` is an array, or () for all"""
    spec, weights = borrow_arrays(spec), borrow_arrays(weights)
    w, s, last_update, _, _ = weights
    for k in range(out.shape[0]):
        i = column_at(columns, k)
        out[k] = caught_up(feature_spec(spec, i), w[i], load(s, i), last_update, i, t)


@jit
def sum_iterates(spec, weights, columns, t, out):
    """out[k] = sum of the iterates of coordinate columns[k] after the updates first_update, …, t - 1

    Updates that the coordinate missed are included.  `weights.last_update` is a `LazyIterateSums`.
    """
    w, s, lazy_sums, _, _ = weights
    for k in range(out.shape[0]):
        i = column_at(columns, k)
        out[k] = lazy_sums.sums[i] + missed_sum(
            feature_spec(spec, i), w[i], load(s, i), lazy_sums.last_update[i], lazy_sums.first_update, t, i
        )


@jit
def decision_values(indptr, indices, data, w, bias, out):
    """out[r] = w·x[r] + bias; return the first row with an error, or the number of rows"""
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


@jit
def score_row(spec, weights, columns, values, n_columns, t, out):
    """out[0] = w·x + bias of one row, with the weights after all updates before t; return whether it is finite

    It is not computed if a column index is not below `n_columns`.
    """
    spec, weights = borrow_arrays(spec), borrow_arrays(weights)
    w, s, last_update, bias, _ = weights
    p = bias[0]
    for k in range(columns.shape[0]):
        i = columns[k]
        if i >= n_columns:
            return False
        p += caught_up(feature_spec(spec, i), w[i], load(s, i), last_update, i, t) * values[k]
    out[0] = p
    return math.isfinite(p)


@jit
def apply_inverse_link(loss, scores, out):
    """out[r] = inverse_link(scores[r])"""
    for r in range(out.shape[0]):
        out[r] = inverse_link(loss, scores[r])


@jit
def compute_losses(loss, y, scores, out):
    """out[r] = loss of the score scores[r] at the target y[r]"""
    for r in range(out.shape[0]):
        out[r] = value(loss, y[r], scores[r])
