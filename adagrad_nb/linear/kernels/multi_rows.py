"""Kernels for several outputs and one update per row.

The weights of a feature for all outputs are adjacent in memory, and so are its accumulators: a stored value reads one
or a few cache lines for all outputs.  The loops vectorise over the outputs, in SIMD vectors of 4, 8 or 16; kernels for
one output vectorise over the values of a row instead, because padding to 4 outputs would cost them 4 times the memory
traffic.  The next row is prefetched; for tables larger than the cache half of the time was spent waiting for memory.
"""

import math
from typing import Any, NamedTuple

from ...compiler.intrinsics import prefetch
from ...compiler.jit import (
    FORCE_INLINE,
    bind_inlined,
    borrow_arrays,
    force_inline,
    jit,
    jitable,
    load,
    method,
    store,
)
from ...compiler.simd import (
    LANES8,
    LANES16,
    load_lanes4,
    load_lanes8,
    load_lanes16,
    load_lanes_like,
    load_slots,
    store_lanes,
    store_slots,
)
from ...records.coordinate import Update, apply_update
from ...records.group_penalties import is_group_penalty
from ...records.losses import slope, value
from ...records.multiclass_losses import CandidateClasses, IndependentOutputs
from ...records.penalties import NoPenalty
from ...records.schedules import at
from .multi_lazy import (
    add_missed_outputs,
    apply_group_penalty,
    catch_up_features,
    catch_up_outputs,
    fill_rates,
    has_group_penalty,
    is_branchless,
    record_features,
)
from .rows import DONE, NO_WEIGHT, NOT_FINITE, TOO_LARGE, column_at, has_too_large, open_row, spec_at_update

PREFETCH_BYTES = (
    1 << 20
)  # bytes; a table that is not larger is in the second-level cache, where nothing is to be asked for

loss_and_gradient = method("loss_and_gradient", jit_options=FORCE_INLINE)
can_learn_from = method("can_learn_from", jit_options=FORCE_INLINE)


class MultiRowBuffers(NamedTuple):
    """Workspace of one row: scores, slopes, losses and learning rates of shape (1, padded outputs).

    `rate_factors` has one entry for each output; the padding stays zero.  `step_sizes` is workspace for the outputs.
    The intercept is updated as the feature `bias_column`, [0], with the value `bias_value`, [1.0].
    """

    p: Any
    z: Any
    losses: Any
    lr: Any
    rate_factors: Any
    step_sizes: Any
    bias_column: Any
    bias_value: Any


# --- the features of a row ---------------------------------------------------------------------------------------


def update_features(update, w, s, columns, x, buffers, t):
    """Update the outputs of the features `columns` with the gradients z x."""
    z, lr = buffers.z, buffers.lr
    for k in range(columns.shape[0]):
        i = columns[k]
        for c in range(w.shape[1]):
            w[i, c], state = apply_update(update, w[i, c], z[0, c] * x[k], load(s, (i, c)), lr[0, c], t, i)
            store(s, (i, c), state)


@bind_inlined(update_features)
def _overload_update_features(update, w, s, columns, x, buffers, t):
    if not all(is_branchless(part) for part in update.types):

        def update_each_output(update, w, s, columns, x, buffers, t):
            z, lr = buffers.z, buffers.lr
            for k in range(columns.shape[0]):
                i = columns[k]
                for c in range(w.shape[1]):
                    w[i, c], state = apply_update(update, w[i, c], z[0, c] * x[k], load(s, (i, c)), lr[0, c], t, i)
                    store(s, (i, c), state)

        return update_each_output

    def update_vectors(update, w, s, columns, x, buffers, t):
        z, lr = buffers.z, buffers.lr
        c = 0
        while c + LANES16 <= w.shape[1]:
            _update_lanes(update, w, s, columns, x, c, (load_lanes16(z, 0, c), load_lanes16(lr, 0, c)), t)
            c += LANES16
        if c + LANES8 <= w.shape[1]:
            _update_lanes(update, w, s, columns, x, c, (load_lanes8(z, 0, c), load_lanes8(lr, 0, c)), t)
            c += LANES8
        if c < w.shape[1]:
            _update_lanes(update, w, s, columns, x, c, (load_lanes4(z, 0, c), load_lanes4(lr, 0, c)), t)

    return update_vectors


@force_inline()
def _update_lanes(update, w, s, columns, x, c, slopes, t):
    """Update one SIMD vector of outputs, starting at output c, for all features of the row.

    One call per row, because passing the arguments is costly.
    """
    z, lr = slopes
    for k in range(columns.shape[0]):
        i = columns[k]
        value, state = apply_update(update, load_lanes_like(w, i, c, z), z * x[k], load_slots(s, i, c, z), lr, t, i)
        store_lanes(w, i, c, value)
        store_slots(s, i, c, state)


@force_inline()
def _update_row_of_groups(spec, w, s, columns, x, buffers, t):
    """Update the features of a row, and apply the group penalty to the outputs of each."""
    update_features(Update(spec.update.rule, spec.update.transforms, NoPenalty()), w, s, columns, x, buffers, t)
    for k in range(columns.shape[0]):
        apply_group_penalty(spec, w[columns[k]], s, buffers, columns[k], at(spec.schedule, t), t + 1, 1)


def update_row(spec, w, s, columns, x, buffers, t):
    """Update the features of a row and apply the penalty of this update."""
    if is_group_penalty(spec.update.penalty):
        _update_row_of_groups(spec, w, s, columns, x, buffers, t)
    else:
        update_features(spec.update, w, s, columns, x, buffers, t)


@bind_inlined(update_row)
def _overload_update_row(spec, w, s, columns, x, buffers, t):
    if not has_group_penalty(spec):
        return lambda spec, w, s, columns, x, buffers, t: update_features(spec.update, w, s, columns, x, buffers, t)
    return _update_row_of_groups


# --- one row -----------------------------------------------------------------------------------------------------


def dot_outputs(w, columns, x, bias, p):
    """p = sum of x[k] w[columns[k]] + bias, for each output"""
    for c in range(w.shape[1]):
        total = bias[0, c]
        for k in range(columns.shape[0]):
            total += w[columns[k], c] * x[k]
        p[0, c] = total


def compute_scores(loss, w, columns, x, bias, p):
    """p = sum of x[k] w[columns[k]] + bias, for each output; of independent outputs, as `learn_rows` sums them"""
    dot_outputs(w, columns, x, bias, p)


def _make_dot_of_vectors(dot_lanes):
    """Return a loop over the SIMD vectors of outputs, whose products with a row `dot_lanes` sums."""

    @force_inline()
    def dot_vectors(w, columns, x, bias, p):
        c = 0
        while c + LANES16 <= w.shape[1]:
            store_lanes(p, 0, c, dot_lanes(w, columns, x, c, load_lanes16(bias, 0, c)))
            c += LANES16
        if c + LANES8 <= w.shape[1]:
            store_lanes(p, 0, c, dot_lanes(w, columns, x, c, load_lanes8(bias, 0, c)))
            c += LANES8
        if c < w.shape[1]:
            store_lanes(p, 0, c, dot_lanes(w, columns, x, c, load_lanes4(bias, 0, c)))

    return dot_vectors


@bind_inlined(dot_outputs)
def _overload_dot_outputs(w, columns, x, bias, p):
    return lambda w, columns, x, bias, p: _dot_vectors(w, columns, x, bias, p)


@bind_inlined(compute_scores)
def _overload_compute_scores(loss, w, columns, x, bias, p):
    if loss.instance_class is IndependentOutputs:
        return lambda loss, w, columns, x, bias, p: _dot_vectors_in_order(w, columns, x, bias, p)
    return lambda loss, w, columns, x, bias, p: _dot_vectors(w, columns, x, bias, p)


@force_inline()
def _dot_lanes(w, columns, x, c, total):
    """Add the products of one SIMD vector of outputs to `total`, in four sums that do not wait for each other."""
    second = third = fourth = total - total
    n_unrolled = columns.shape[0] & ~3
    for k in range(0, n_unrolled, 4):
        total = total + load_lanes_like(w, columns[k], c, total) * x[k]
        second = second + load_lanes_like(w, columns[k + 1], c, total) * x[k + 1]
        third = third + load_lanes_like(w, columns[k + 2], c, total) * x[k + 2]
        fourth = fourth + load_lanes_like(w, columns[k + 3], c, total) * x[k + 3]
    for k in range(n_unrolled, columns.shape[0]):
        total = total + load_lanes_like(w, columns[k], c, total) * x[k]
    return (total + second) + (third + fourth)


@force_inline()
def _dot_lanes_in_order(w, columns, x, c, total):
    """Add the products of one SIMD vector of outputs to `total`, in the order of the columns."""
    for k in range(columns.shape[0]):
        total = total + load_lanes_like(w, columns[k], c, total) * x[k]
    return total


_dot_vectors, _dot_vectors_in_order = (_make_dot_of_vectors(dot) for dot in (_dot_lanes, _dot_lanes_in_order))


@jitable
def fill_each_output(loss, y, scores, buffers, h):
    """Set the losses and slopes of a row for models with the same loss; a score that is not finite has no slope."""
    z, losses = buffers.z, buffers.losses
    for l in range(scores.shape[0]):
        is_finite = math.isfinite(scores[l])
        z[0, l] = slope(loss, y, scores[l]) * h if is_finite else 0
        losses[0, l] = value(loss, y, scores[l]) * h if is_finite else math.inf


def fill_losses_and_slopes(loss, y, scores, buffers, h):
    """Call `fill_each_output`, or compute the same in SIMD vectors, whose logarithm may round otherwise."""
    fill_each_output(loss, y, scores, buffers, h)


@bind_inlined(fill_losses_and_slopes)
def _overload_fill_losses_and_slopes(loss, y, scores, buffers, h):
    if not is_branchless(loss):
        return lambda loss, y, scores, buffers, h: fill_each_output(loss, y, scores, buffers, h)

    def fill_vectors(loss, y, scores, buffers, h):
        p, z, losses = buffers.p, buffers.z, buffers.losses
        c = 0
        while c + LANES8 <= p.shape[1]:
            _slopes_of_lanes(loss, y, load_lanes8(p, 0, c), h, z, losses, c)
            c += LANES8
        if c < p.shape[1]:
            _slopes_of_lanes(loss, y, load_lanes4(p, 0, c), h, z, losses, c)
        for l in range(scores.shape[0]):
            if not math.isfinite(scores[l]):
                z[0, l] = 0
                losses[0, l] = math.inf
        for l in range(scores.shape[0], p.shape[1]):
            z[0, l] = 0

    return fill_vectors


def fill_candidates(loss, y, scores, slopes, buffers, h):
    """Set the slopes of a row, and the loss of each model in `buffers.losses`."""
    if isinstance(loss, CandidateClasses):
        loss_and_gradient(loss, y, scores, slopes, h, buffers.losses[0])
    else:
        fill_losses_and_slopes(loss.loss, y, scores, buffers, h)


@bind_inlined(fill_candidates)
def _overload_fill_candidates(loss, y, scores, slopes, buffers, h):
    if loss.instance_class is CandidateClasses:
        return lambda loss, y, scores, slopes, buffers, h: loss_and_gradient(
            loss, y, scores, slopes, h, buffers.losses[0]
        )
    return lambda loss, y, scores, slopes, buffers, h: fill_losses_and_slopes(loss.loss, y, scores, buffers, h)


@jitable
def record_losses(losses, h, loss_sums):
    """Add the losses of a row of weight h to the sums of a search, except the sum of the weights, which is the last.

    `SearchedOutput` of `selection` describes the sums.
    """
    n = loss_sums.shape[0] // 2 - 1
    weight = loss_sums[2 * n + 1] + h
    best = -1
    for c in range(n):
        if math.isfinite(losses[0, c]) and (best < 0 or loss_sums[c] < loss_sums[best]):
            best = c
    loss_sums[2 * n] += losses[0, best] if best >= 0 else math.inf
    for c in range(n):
        loss_sums[n + c] += losses[0, c]
        loss_sums[c] += losses[0, c] * weight


@jitable
def _add_losses(loss, y, scores, slopes, buffers, h, loss_sums):
    """Set the slopes of a row and add the loss of each model; a search has more sums than models and weights."""
    fill_each_output(loss.loss, y, scores, buffers, h)
    if loss_sums.shape[0] > scores.shape[0] + 1:
        record_losses(buffers.losses, h, loss_sums)
    else:
        for l in range(scores.shape[0]):
            loss_sums[l] += buffers.losses[0, l]


@jitable
def _record_class_losses(loss, y, scores, slopes, buffers, h, loss_sums):
    """Set the slopes of a row and record the losses of the models of a search."""
    fill_candidates(loss, y, scores, slopes, buffers, h)
    record_losses(buffers.losses, h, loss_sums)


def compute_losses_and_slopes(loss, y, scores, slopes, buffers, h, loss_sums):
    """Set the slopes of a row and add its losses to the loss sums."""
    functions = {IndependentOutputs: _add_losses, CandidateClasses: _record_class_losses}
    if type(loss) in functions:
        functions[type(loss)](loss, y, scores, slopes, buffers, h, loss_sums)
    else:
        loss_and_gradient(loss, y, scores, slopes, h, loss_sums)


@bind_inlined(compute_losses_and_slopes)
def _overload_compute_losses_and_slopes(loss, y, scores, slopes, buffers, h, loss_sums):
    if loss.instance_class is IndependentOutputs:
        return _add_losses
    if loss.instance_class is CandidateClasses:
        return _record_class_losses
    return lambda loss, y, scores, slopes, buffers, h, loss_sums: loss_and_gradient(
        loss, y, scores, slopes, h, loss_sums
    )


@force_inline()
def _slopes_of_lanes(loss, y, prediction, h, z, losses, c):
    """Set the slopes and losses of one SIMD vector of outputs, starting at output c."""
    store_lanes(z, 0, c, slope(loss, y, prediction) * h)
    store_lanes(losses, 0, c, value(loss, y, prediction) * h)


@force_inline()
def prefetch_row(rows, w, s, position, stop):
    """Prefetch the weights of the row at `position`."""
    if position >= stop:
        return
    r = rows.order[position]
    per_line = 64 // w.itemsize
    row_width = w.shape[1] * (len(s) + 1)
    for k in range(rows.indptr[r], rows.indptr[r + 1]):
        for c in range(0, row_width, per_line):
            prefetch(w, rows.indices[k], c)


@jit
def learn_multi_rows(spec, rows, weights, buffers, loss_sums, t, start, stop):
    """w[:, l] = update(w[:, l], z[l] x) for the rows order[start:stop]; return (next position, status, next t).

    `loss_sums` sums the losses, of each output or of the row, and has the sum of the sample weights last.  The row with
    an error and all rows after it change nothing, except that lazy updates stay applied.
    """
    rows, weights, buffers = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(buffers)
    y = rows.y
    w, s, _, bias, bias_slots = weights
    p, z = buffers.p, buffers.z
    n_outputs = buffers.rate_factors.shape[0]
    is_large = w.shape[0] * w.shape[1] * (len(s) + 1) * w.itemsize > PREFETCH_BYTES
    last_rate = -1.0
    scores, slopes = p[0, :n_outputs], z[0, :n_outputs]
    for position in range(start, stop):
        status, r, h, columns, x = open_row(rows, w.shape[0], position)
        if status != DONE:
            if status == NO_WEIGHT:
                continue
            return position, status, t
        rate = at(spec.schedule, t) * 1.0
        if rate != last_rate:
            last_rate = rate
            fill_rates(buffers, rate)
        catch_up_features(spec_at_update(spec, t), weights, buffers, columns, t)
        compute_scores(spec.loss, w, columns, x, bias, p)
        if not can_learn_from(spec.loss, scores):
            return position, NOT_FINITE, t
        if has_too_large(x, h):
            return position, TOO_LARGE, t
        compute_losses_and_slopes(spec.loss, y[r], scores, slopes, buffers, h, loss_sums)
        loss_sums[-1] += h
        if is_large:
            prefetch_row(rows, w, s, position + 1, stop)
        update_row(spec, w, s, columns, x, buffers, t)
        if spec.intercept:
            update_features(spec.bias_update, bias, bias_slots, buffers.bias_column, buffers.bias_value, buffers, t)
        t += 1
        record_features(spec_at_update(spec, t), weights, buffers, columns, t)
    return stop, DONE, t


@jit
def catch_up_columns(spec, weights, columns, buffers, t, out):
    """out[k] = weights of feature columns[k] after all updates before t; `columns` is an array, or () for all"""
    spec, weights = borrow_arrays(spec), borrow_arrays(weights)
    w, s, last_update, _, _ = weights
    fill_rates(buffers, at(spec.schedule, t) * 1.0)
    for k in range(out.shape[0]):
        i = column_at(columns, k)
        for c in range(w.shape[1]):
            out[k, c] = w[i, c]
        catch_up_outputs(spec, out, k, s, last_update, buffers, i, t)


@jit
def sum_iterates(spec, weights, columns, buffers, t, out):
    """out[k, c] = sum of the iterates of feature columns[k] and output c after the updates first_update, …, t - 1

    Updates that the feature missed are included.  `weights.last_update` is a `LazyIterateSums`.
    """
    for k in range(out.shape[0]):
        i = column_at(columns, k)
        for c in range(out.shape[1]):
            out[k, c] = weights.last_update.sums[i, c]
        add_missed_outputs(spec, weights, buffers, i, t, out, k)


@jit
def decision_values(indptr, indices, data, w, bias, out):
    """out[r] = w·x[r] + bias for each output; return the first row with an error, or the number of rows"""
    for r in range(out.shape[0]):
        columns = indices[indptr[r] : indptr[r + 1]]
        for k in range(columns.shape[0]):
            if columns[k] >= w.shape[0]:
                return r
        dot_outputs(w, columns, data[indptr[r] : indptr[r + 1]], bias, out[r : r + 1])
        for c in range(out.shape[1]):
            if not math.isfinite(out[r, c]):
                return r
    return out.shape[0]


@jit
def score_row(spec, weights, columns, values, n_columns, buffers, t, out):
    """out[0, c] = w·x + bias of one row and output c, with the weights after all updates before t; return True

    Return False, without scores, if a column index is not below `n_columns`.  out[1] is workspace.
    """
    spec, weights = borrow_arrays(spec), borrow_arrays(weights)
    w, s, last_update, bias, _ = weights
    fill_rates(buffers, at(spec.schedule, t) * 1.0)
    for c in range(w.shape[1]):
        out[0, c] = bias[0, c]
    for k in range(columns.shape[0]):
        i = columns[k]
        if i >= n_columns:
            return False
        for c in range(w.shape[1]):
            out[1, c] = w[i, c]
        catch_up_outputs(spec, out, 1, s, last_update, buffers, i, t)
        for c in range(w.shape[1]):
            out[0, c] += out[1, c] * values[k]
    return True


@jit
def compute_losses(loss, y, p, z, out):
    """out[r] = loss of the scores p[r] at the target y[r]"""
    loss_sums = out[:1].copy()
    for r in range(out.shape[0]):
        loss_sums[0] = 0
        loss_and_gradient(loss, y[r], p[r], z, loss_sums[0] + 1, loss_sums)
        out[r] = loss_sums[0]
