"""Kernel for a search over learning rates: one model for each rate, with scaled importance-weight-aware updates.

A model has one score, or one for each class, in adjacent lanes.

All models share the scales of the features.  The scale of a feature is the root mean square of its non-zero values so
far, weighted by the sample weights, so the updates do not depend on the units of the columns.  A weight is multiplied
by the old scale and divided by the new one.  It also grows when the scale falls, because the first values are poor
scales: on rows of 100 correlated normal features, the test loss is 9 % larger without it.

Let r be the step size of the rule at learning rate one divided by the scale, and q = sum of x² r.  A row changes the
weights by u r x, where u is the importance-weight-aware step of the loss over the time lr h (see
`records.invariant_steps`).

One against the rest, each class is a model of its own.  For other losses of classes, such as softmax:

- The step integrates the flow of all scores in `STEPS` parts, whose times double.  In each part the other scores of a
  class stay the same (see `class_step` of `records.multiclass_losses`).  A step of a class that ignores the others
  overshoots: all of them move.
- The classes of a model share accumulators, which sum the mean of their squared slopes.  An accumulator of its own
  makes the first steps of a class large for a feature that says little about it.  On 20 newsgroups sharing raised the
  test accuracy from 0.791 to 0.814 when it was chosen; on the pixels of MNIST the loss was 5 % larger.

Work per stored value and model: the weight is read twice and written once, the accumulator read and written once, with
one square root and one division.
"""

import math
from typing import Any, NamedTuple

from ...compiler.jit import bind_inlined, borrow_arrays, cast_like, field_type, force_inline, jit, jitable, load
from ...compiler.simd import (
    LANES8,
    load_entry,
    load_lanes4,
    load_lanes8,
    load_slots,
    one_like,
    store_entry,
    store_slots,
)
from ...records.invariant_steps import invariant_step
from ...records.multiclass_losses import CandidateClasses, OneVsRest, class_step, is_multi_output_loss
from ...records.penalties import prox
from ...records.rules import step, step_size
from ...records.schedules import at
from .multi_lazy import catch_up_features, is_branchless, record_features
from .multi_rows import (
    PREFETCH_BYTES,
    can_learn_from,
    dot_outputs,
    fill_candidates,
    loss_and_gradient,
    prefetch_row,
    record_losses,
)
from .rows import DONE, NO_WEIGHT, NOT_FINITE, TOO_LARGE, has_too_large, open_row, spec_at_update
from .scaled_rows import MAX_RATIO, accumulated_slope, add_squares, first_slope

STEPS = 4  # parts of a step of several classes


class SearchSpec(NamedTuple):
    """Records of the kernel.

    ``scales[i]`` has the weighted mean of the squares of the non-zero values of feature i so far, and the sum of their
    weights.
    """

    loss: Any
    update: Any
    bias_update: Any
    schedule: Any
    lazy: Any
    intercept: int
    scales: Any

    def with_lazy(self, lazy):
        """Return the records with another strategy of the lazy updates."""
        return SearchSpec(self.loss, self.update, self.bias_update, self.schedule, lazy, self.intercept, self.scales)

    def feature_rate_factor(self, factor, i):
        """Return the factor of the learning rate of a model at feature i: `factor` divided by the scale."""
        square = self.scales[i, 0]
        return factor / math.sqrt(square) if square > 0 else factor - factor


class SearchRowBuffers(NamedTuple):
    """Workspace of one row.

    Each of `p`, `z`, `first`, `losses`, `lr`, `q` and `u` has shape (1, padded lanes): scores, slopes, slopes for
    features whose accumulators are zero, losses of the models, learning rates, sums of x² r, and steps.  `r` has shape
    (longest row + 1, padded lanes).  `row` has a vector for each of: values limited for the prediction, factors that
    rescale the weights, inverse scales, mean squares and weights.  `rate_factors` has one entry for each lane, and
    `row_loss` one number.  `step_sizes` is workspace of lazy updates.  The intercept is updated as the feature
    `bias_column`, [0], with the value `bias_value`, [1].
    """

    p: Any
    z: Any
    first: Any
    losses: Any
    lr: Any
    q: Any
    u: Any
    row_loss: Any
    r: Any
    row: Any
    rate_factors: Any
    step_sizes: Any
    bias_column: Any
    bias_value: Any


@jitable
def _limit_values(x, mean_square, limited):
    """limited[k] = x[k], or the value of its sign that is `MAX_RATIO` times the scale if it is larger"""
    for k in range(x.shape[0]):
        limit = type(x[k])(MAX_RATIO) * math.sqrt(mean_square[k])
        limited[k] = math.copysign(limit, x[k]) if (0 < limit) & (limit < abs(x[k])) else x[k]


@jitable
def _invert_scales(mean_square, inverse):
    """inverse[k] = 1 / sqrt(mean_square[k]), or 0 where that is 0"""
    for k in range(mean_square.shape[0]):
        square = mean_square[k]
        inverse[k] = one_like(square) / math.sqrt(square) if square > 0 else square


@jitable
def _compare_scales(mean_square, inverse, growth):
    """growth[k] = the old scale divided by the new one, or 1 for the first value

    Before, `growth` holds the old mean squares.
    """
    for k in range(growth.shape[0]):
        old, one = growth[k], one_like(growth[k])
        growth[k] = math.sqrt(old) * inverse[k] if (0 < old) & (old != mean_square[k]) else one


@jitable
def scale_row(scales, columns, x, h, row):
    """Set the arrays of `row` for a row of weight h; the scales themselves do not change.

    The loops are short and over few arrays, so that they vectorise.
    """
    limited, growth, inverse, mean_square, weight = row
    n = columns.shape[0]
    for k in range(n):
        mean_square[k], weight[k] = scales[columns[k], 0], scales[columns[k], 1]
    for k in range(n):
        growth[k] = mean_square[k]
    _limit_values(x, mean_square, limited)
    add_squares(x, h, mean_square, weight)
    _invert_scales(mean_square[:n], inverse)
    _compare_scales(mean_square, inverse, growth[:n])


@force_inline()
def _accumulate_squares(rule, s, columns, x, inverse, arrays, c, slopes):
    """Add (z x)² to the accumulators, and set the arrays r and q, of the models at c."""
    (r, q), (z, first) = arrays, slopes
    total, one = load_entry(q, 0, c, z), one_like(z)
    for k in range(columns.shape[0]):
        i = columns[k]
        slots = load_slots(s, i, c, z)
        _, slots = step(rule, z - z, accumulated_slope(rule, slots, z, first) * x[k], slots, one)
        store_slots(s, i, c, slots)
        rk = step_size(rule, slots, one) * inverse[k]
        store_entry(r, k, c, rk)
        total = total + rk * (x[k] * x[k])
    store_entry(q, 0, c, total)


@force_inline()
def _move_weights(penalty, w, columns, x, growth, r, c, steps):
    """w = prox(growth w + u x r), of the models at c"""
    u, lr = steps
    for k in range(columns.shape[0]):
        i, rk = columns[k], load_entry(r, k, c, u)
        wk = load_entry(w, i, c, u) * growth[k] + u * (rk * x[k])
        store_entry(w, i, c, prox(penalty, wk, lr * rk, i))


def accumulate_squares(update, s, columns, x, inverse, r, buffers):
    """Add the squared gradients of a row to the accumulators of all models, and set r and q."""
    for c in range(buffers.z.shape[1]):
        slopes = buffers.z[0, c], buffers.first[0, c]
        _accumulate_squares(update.rule, s, columns, x, inverse, (r, buffers.q), c, slopes)


def move_weights(update, w, columns, x, growth, r, buffers):
    """Move the weights of all models by u r x, and apply the penalty."""
    for c in range(buffers.u.shape[1]):
        _move_weights(update.penalty, w, columns, x, growth, r, c, (buffers.u[0, c], buffers.lr[0, c]))


@bind_inlined(accumulate_squares)
def _overload_accumulate_squares(update, s, columns, x, inverse, r, buffers):
    if not is_branchless(update.types[0]):
        return accumulate_squares

    def accumulate_vectors(update, s, columns, x, inverse, r, buffers):
        z, first, rule, arrays, c = buffers.z, buffers.first, update.rule, (r, buffers.q), 0
        while c + LANES8 <= z.shape[1]:
            slopes = load_lanes8(z, 0, c), load_lanes8(first, 0, c)
            _accumulate_squares(rule, s, columns, x, inverse, arrays, c, slopes)
            c += LANES8
        if c < z.shape[1]:
            _accumulate_squares(
                rule, s, columns, x, inverse, arrays, c, (load_lanes4(z, 0, c), load_lanes4(first, 0, c))
            )

    return accumulate_vectors


@bind_inlined(move_weights)
def _overload_move_weights(update, w, columns, x, growth, r, buffers):
    if not is_branchless(update.types[2]):
        return move_weights

    def move_vectors(update, w, columns, x, growth, r, buffers):
        u, lr, c = buffers.u, buffers.lr, 0
        while c + LANES8 <= u.shape[1]:
            _move_weights(update.penalty, w, columns, x, growth, r, c, (load_lanes8(u, 0, c), load_lanes8(lr, 0, c)))
            c += LANES8
        if c < u.shape[1]:
            _move_weights(update.penalty, w, columns, x, growth, r, c, (load_lanes4(u, 0, c), load_lanes4(lr, 0, c)))

    return move_vectors


@jitable
def _share_slopes(loss, buffers):
    """Do nothing: models of one score, and classes against the rest, have accumulators of their own."""


@jitable
def _share_class_slopes(loss, buffers):
    """Replace the slopes of each model by the root of the mean of their squares."""
    z, n_classes = buffers.z, loss.n_classes
    for first in range(0, buffers.rate_factors.shape[0], n_classes):
        largest = abs(z[0, first])
        for l in range(first + 1, first + n_classes):
            largest = max(largest, abs(z[0, l]))
        total = largest - largest
        if largest > 0:
            for l in range(first, first + n_classes):
                total += (z[0, l] / largest) * (z[0, l] / largest)
        shared = largest * math.sqrt(total / type(total)(n_classes))
        for l in range(first, first + n_classes):
            z[0, l] = shared


@jitable
def _find_steps(loss, y, buffers, h, root):
    """u = importance-weight-aware step of each model of one score"""
    p, z, q, u, lr = buffers.p, buffers.z, buffers.q, buffers.u, buffers.lr
    for c in range(buffers.rate_factors.shape[0]):
        if z[0, c] == 0:
            u[0, c] = 0
        elif q[0, c] > 0:
            u[0, c] = invariant_step(loss.loss, y, p[0, c], q[0, c], lr[0, c] * h)
        else:
            u[0, c] = -lr[0, c] * z[0, c] * root


@force_inline()
def _find_class_steps(loss, y, buffers, h, n_steps):
    """u = importance-weight-aware step of each class of each model, in `n_steps` parts; moves the scores p"""
    p, z, q, u, lr, losses = buffers.p, buffers.z, buffers.q, buffers.u, buffers.lr, buffers.losses
    n_classes, n_lanes, one, row_loss = loss.n_classes, buffers.rate_factors.shape[0], one_like(h), buffers.row_loss
    for j in range(n_lanes):
        u[0, j] = 0
    for first in range(0, n_lanes, n_classes):
        if not math.isfinite(losses[0, first // n_classes]):
            continue
        part = lr[0, first] * h / type(h)((1 << n_steps) - 1)
        for _ in range(n_steps):
            scores, slopes = p[0, first : first + n_classes], z[0, first : first + n_classes]
            row_loss[0] = 0
            loss_and_gradient(loss.loss, y, scores, slopes, one, row_loss)
            for l in range(n_classes):
                j = first + l
                if z[0, j] == 0:
                    continue
                step = -part * z[0, j]
                if q[0, j] > 0:
                    step = class_step(loss.loss, y, l, p[0, j], z[0, j], row_loss[0], q[0, j], part)
                u[0, j] += step
                p[0, j] += q[0, j] * step
            part += part


def shares_accumulators(loss):
    """Return whether the classes of a model with this loss share accumulators."""
    return is_multi_output_loss(loss) and not isinstance(loss, OneVsRest)


def share_slopes(loss, buffers):
    """Set the slopes that enter the accumulators."""
    if isinstance(loss, CandidateClasses) and shares_accumulators(loss.loss):
        _share_class_slopes(loss, buffers)


def find_steps(loss, y, buffers, h, root):
    """Set the steps u of all lanes; `root` is the square root of h, by which the slopes were divided."""
    if isinstance(loss, CandidateClasses):
        _find_class_steps(loss, y, buffers, h, 1 if isinstance(loss.loss, OneVsRest) else STEPS)
    else:
        _find_steps(loss, y, buffers, h, root)


@bind_inlined(share_slopes)
def _overload_share_slopes(loss, buffers):
    if loss.instance_class is CandidateClasses and field_type(loss, "loss").instance_class is not OneVsRest:
        return _share_class_slopes
    return _share_slopes


@bind_inlined(find_steps)
def _overload_find_steps(loss, y, buffers, h, root):
    if loss.instance_class is not CandidateClasses:
        return _find_steps
    if field_type(loss, "loss").instance_class is OneVsRest:
        return lambda loss, y, buffers, h, root: _find_class_steps(loss, y, buffers, h, 1)
    return lambda loss, y, buffers, h, root: _find_class_steps(loss, y, buffers, h, STEPS)


@jit
def learn_search_rows(spec, rows, weights, buffers, loss_sums, t, start, stop):
    """w[:, c] = prox(w[:, c] + u[c] r[:, c] x) for the rows order[start:stop]; return (next position, status, next t).

    The row with an error and all rows after it change nothing, except that lazy updates stay applied.
    """
    rows, weights, buffers = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(buffers)
    w, s, _, bias, bias_slots = weights
    p, z, first, lr, q = buffers.p, buffers.z, buffers.first, buffers.lr, buffers.q
    scales, rate_factors = spec.scales, buffers.rate_factors
    n = rate_factors.shape[0]
    is_large = w.shape[0] * w.shape[1] * (len(s) + 1) * w.itemsize > PREFETCH_BYTES
    last_rate = -1.0
    scores, slopes = p[0, :n], z[0, :n]
    limited, growth, inverse, mean_square, weight = buffers.row
    for position in range(start, stop):
        status, row, h, columns, x = open_row(rows, w.shape[0], position)
        if status != DONE:
            if status == NO_WEIGHT:
                continue
            return position, status, t
        if has_too_large(x, h):
            return position, TOO_LARGE, t
        catch_up_features(spec_at_update(spec, t), weights, buffers, columns, t)
        scale_row(scales, columns, x, h, buffers.row)
        dot_outputs(w, columns, limited, bias, p)
        if not can_learn_from(spec.loss, scores):
            return position, NOT_FINITE, t
        fill_candidates(spec.loss, rows.y[row], scores, slopes, buffers, h)
        record_losses(buffers.losses, h, loss_sums)
        loss_sums[-1] += h
        rate = at(spec.schedule, t) * 1.0
        if rate != last_rate:
            last_rate = rate
            for c in range(n):
                lr[0, c] = rate_factors[c] * rate
        if is_large:
            prefetch_row(rows, w, s, position + 1, stop)
        share_slopes(spec.loss, buffers)
        root = cast_like(math.sqrt(h), w)
        for c in range(n):
            z[0, c] /= root
            first[0, c] = z[0, c]
            q[0, c] = 0
        last = columns.shape[0]
        bias_r, ones = buffers.r[last:], buffers.bias_value
        accumulate_squares(spec.bias_update, bias_slots, buffers.bias_column, ones, ones, bias_r, buffers)
        for c in range(n):
            first[0, c] = first_slope(spec.update.rule, load(bias_slots, (0, c)), z[0, c], t + 1)
            if not spec.intercept:  # whose accumulators are the sums of the squared slopes all the same
                q[0, c] = 0
        accumulate_squares(spec.update, s, columns, x, inverse, buffers.r, buffers)
        find_steps(spec.loss, rows.y[row], buffers, h, root)
        move_weights(spec.update, w, columns, x, growth, buffers.r, buffers)
        if spec.intercept:
            move_weights(spec.bias_update, bias, buffers.bias_column, ones, ones, bias_r, buffers)
        for k in range(last):
            scales[columns[k], 0], scales[columns[k], 1] = mean_square[k], weight[k]
        t += 1
        record_features(spec_at_update(spec, t), weights, buffers, columns, t)
    return stop, DONE, t
