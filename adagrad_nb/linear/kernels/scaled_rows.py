"""Kernels for normalised and importance-weight-aware updates, and for rules whose steps depend on the whole row.

Let p be the prediction and q its derivative by the step length u.  A row of weight h makes a step of length
u = -lr h slope(y, p).  With `invariant`, u is the length of the gradient flow over the time lr h, along which the slope
changes with p.  A rule of `row_rules` computes u itself.  The coordinates change by u m r x, where r is the step size
of the rule at learning rate one.  With `normalized`, r is divided by the largest absolute value of the feature so far,
and m corrects for the size of the rows.  In the last candidate of a search, r is divided by the root mean square of the
feature so far, and m is 1.

Work per stored value: one random cache line is read and written, with one square root and three divisions, or two
square roots for root mean squares.  They run in short loops over few buffers, which vectorise: LLVM does not vectorise
a loop over many buffers, because they may overlap.  In one loop a pass of normalised updates took 1.6 times as long.
"""

import math
from typing import Any, NamedTuple

from ...compiler.jit import (
    FORCE_INLINE,
    bind_inlined,
    borrow_arrays,
    cast_like,
    field_type,
    jit,
    jitable,
    load,
    method,
    store,
)
from ...compiler.simd import one_like, select
from ...records.invariant_steps import invariant_step
from ...records.losses import slope, value
from ...records.penalties import prox
from ...records.rules import has_additive_accumulators, has_row_step, step, step_size
from ...records.schedules import at
from .lazy import add_bias_iterate, caught_up, feature_spec, record_update
from .multi_lazy import OutputSchedule
from .rows import (
    DONE,
    NO_WEIGHT,
    NOT_FINITE,
    TOO_LARGE,
    LearnerSpec,
    has_too_large,
    is_too_large,
    open_row,
    prefetch_row,
)

# A value so many times the largest before is predicted as if it were that many times.  Weights of a feature whose
# first values are tiny are huge, and without a limit one ordinary value after them throws the model off: on text with
# values drawn from (0, 1/8) 5,000 rows then have a mean loss of 1.80 in place of 0.65.
MAX_RATIO = 16
# Methods of a scaling.  `buffers` is a `ScaledRowBuffers`.
_read_scale = method("read_scale", jit_options=FORCE_INLINE)
_store_scale = method("store_scale", jit_options=FORCE_INLINE)
_clip_value = method("clip_value")
_has_too_large_value = method("has_too_large_value", jit_options=FORCE_INLINE)
_rescale_row = method("rescale_row", jit_options=FORCE_INLINE)
_norm_factor = method("norm_factor")
_slope_of_new_feature = method("slope_of_new_feature", jit_options=FORCE_INLINE)
_learning_rate = method("learning_rate")
_row_step = method("row_step")
_records_at_feature = method("records_at_feature")


class ScaledLearnerSpec(NamedTuple):
    """Records of a learning kernel with scaling; `invariant` is 1 for importance-weight-aware updates."""

    loss: Any
    update: Any
    bias_update: Any
    schedule: Any
    lazy: Any
    intercept: int
    scaling: Any
    invariant: int

    def feature_spec(self, i):
        """Return the records for the lazy updates of feature i."""
        return _records_at_feature(self.scaling, self, i)


class ScaledRowBuffers(NamedTuple):
    """Workspace for the longest row.

    It has the weights, the accumulators, the scales, their inverses, and r.  For root mean squares it also has the sums
    of the weights, and the factors that rescale the weights.
    """

    w: Any
    s: Any
    scale: Any
    inverse_scale: Any
    r: Any
    weight: Any = ()
    growth: Any = ()

    def for_worker(self, k):
        """Return the workspace of worker k."""
        return ScaledRowBuffers(
            self.w[k], load(self.s, k), self.scale[k], self.inverse_scale[k], self.r[k], self.weight, self.growth
        )


class UnitScale(NamedTuple):
    """No scaling of features."""

    def read_scale(self, buffers, k, i):
        """Do nothing."""
        pass

    def store_scale(self, buffers, k, i):
        """Do nothing."""
        pass

    def clip_value(self, x, scale):
        """Return x."""
        return x

    def has_too_large_value(self, x, h):
        """Return False: the caller checks the gradient."""
        return False

    def rescale_row(self, buffers, x, h, dloss):
        """Set the inverse scales to 1."""
        for k in range(x.shape[0]):
            buffers.inverse_scale[k] = one_like(dloss)

    def norm_factor(self, h, n, lr):
        """Return 1."""
        return type(lr)(1)

    def slope_of_new_feature(self, rule, bias_slots, new_bias_slots, z, n_updates):
        """Return z."""
        return z

    def learning_rate(self, lr):
        """Return the learning rate of the schedule."""
        return lr

    def records_at_feature(self, spec, i):
        """Return the records, which are the same for all features."""
        return spec


class MaxAbsScale(NamedTuple):
    """Scaling by the largest absolute value of each feature (Ross, Mineiro and Langford 2013).

    `max_abs[i]` is the largest absolute value of feature i so far.  `running_sums` holds sums over the updates: of h,
    of h times the squared norm of the scaled row, and of lr m.
    """

    max_abs: Any
    running_sums: Any

    def max_abs_of(self, like, i):
        """Return the largest absolute value of feature i."""
        return self.max_abs[i]

    def inverse_scale(self, max_abs):
        """Return one over the largest value."""
        return type(max_abs)(1) / max_abs if max_abs > 0 else max_abs

    def read_scale(self, buffers, k, i):
        """Read the largest value."""
        buffers.scale[k] = self.max_abs[i]

    def store_scale(self, buffers, k, i):
        """Store the largest value."""
        self.max_abs[i] = buffers.scale[k]

    def clip_value(self, x, scale):
        """Return x for the prediction, limited to `MAX_RATIO` times the largest value before."""
        limit = type(x)(MAX_RATIO) * scale
        return math.copysign(limit, x) if 0 < limit < abs(x) else x

    def has_too_large_value(self, x, h):
        """Return False: the caller checks the gradient."""
        return False

    def rescale_row(self, buffers, x, h, dloss):
        """Set the weights, the largest values and their inverses for this row, unless its slope is zero."""
        w, max_abs, inverse_scale = buffers.w, buffers.scale, buffers.inverse_scale
        for k in range(x.shape[0]):
            magnitude = abs(x[k]) if dloss != 0 else dloss
            old = max_abs[k]
            new = max(old, magnitude)
            w[k] = w[k] * (old / new) if old > 0 else w[k]
            max_abs[k] = new
            inverse_scale[k] = one_like(new) / new if new > 0 else new

    def norm_factor(self, h, n, lr):
        """Return m after a row of weight h whose scaled values have the squared norm n."""
        running_sums = self.running_sums
        running_sums[0] += h
        running_sums[1] += h * n
        m = type(lr)(math.sqrt(running_sums[0] / running_sums[1]) if running_sums[1] > 0 else 1.0)
        running_sums[2] += lr * m
        return m

    def slope_of_new_feature(self, rule, bias_slots, new_bias_slots, z, n_updates):
        """Return z."""
        return z

    def learning_rate(self, lr):
        """Return the learning rate of the schedule."""
        return lr

    def records_at_feature(self, spec, i):
        """Return the records, which are the same for all features."""
        return spec


class RootMeanSquareScale(NamedTuple):
    """Scaling by the root mean square of the non-zero values of each feature, for the last candidate of a search.

    ``scale[i]`` is this root, and ``weight[i]`` is the sum of the weights, as in `SearchSpec` of `search_rows`.  The
    updates are those of `search_rows`, up to rounding.  To store the root in place of its square saves a square root
    for each value.  The learning rate of the schedule is multiplied by `rate_factor`.
    """

    scale: Any
    weight: Any
    rate_factor: float

    def read_scale(self, buffers, k, i):
        """Read the scale and the sum of the weights."""
        buffers.scale[k] = self.scale[i]
        buffers.weight[k] = self.weight[i]

    def store_scale(self, buffers, k, i):
        """Store the scale and the sum of the weights."""
        self.scale[i] = buffers.scale[k]
        self.weight[i] = buffers.weight[k]

    def clip_value(self, x, scale):
        """Return x for the prediction, limited to `MAX_RATIO` times the root mean square before."""
        limit = type(x)(MAX_RATIO) * scale
        return math.copysign(limit, x) if 0 < limit < abs(x) else x

    def has_too_large_value(self, x, h):
        """Return whether the mean square of a value of the row may overflow."""
        return has_too_large(x, h)

    def rescale_row(self, buffers, x, h, dloss):
        """Set the weights, the scales and their inverses for this row."""
        w, scale, inverse, growth = buffers.w, buffers.scale, buffers.inverse_scale, buffers.growth
        n = x.shape[0]
        for k in range(n):
            growth[k] = scale[k]
            scale[k] *= scale[k]
        add_squares(x, h, scale, buffers.weight)
        for k in range(n):
            scale[k] = math.sqrt(scale[k])
            inverse[k] = one_like(dloss) / scale[k] if scale[k] > 0 else scale[k]
        for k in range(n):
            old = growth[k]
            growth[k] = old * inverse[k] if (0 < old) & (old != scale[k]) else one_like(dloss)
        for k in range(n):
            w[k] *= growth[k]

    def norm_factor(self, h, n, lr):
        """Return 1."""
        return type(lr)(1)

    def slope_of_new_feature(self, rule, bias_slots, new_bias_slots, z, n_updates):
        """Return the slope that enters accumulators that are zero; sum the squares without an intercept too."""
        store(bias_slots, 0, new_bias_slots)
        return first_slope(rule, new_bias_slots, z, n_updates)

    def learning_rate(self, lr):
        """Return the learning rate of the candidate."""
        return self.rate_factor * lr

    def records_at_feature(self, spec, i):
        """Return the records with the learning rate divided by the scale of feature i."""
        scale = self.scale[i]
        factor = self.rate_factor / scale if scale > 0 else 0.0
        schedule = OutputSchedule(spec.schedule, factor)
        return LearnerSpec(spec.loss, spec.update, spec.bias_update, schedule, spec.lazy, spec.intercept)


@jitable
def add_squares(x, h, mean_square, weight):
    """Add the squares of the non-zero values of a row of weight h to the weighted means."""
    zero = h - h
    for k in range(x.shape[0]):
        added = h if x[k] != 0 else zero
        total = weight[k] + added
        mean_square[k] += (x[k] * x[k] - mean_square[k]) * (added / total if total > 0 else zero)
        weight[k] = total


def first_slope(rule, bias_slots, z, n_updates):
    """Return the slope z of a row as it enters the accumulators of a feature that are zero.

    Its square is z² plus the mean square of the slopes so far, that of the row included: a new feature starts as if it
    had been in one more row.  Without it, the first row of a rare feature with a small slope leaves a tiny accumulator
    behind, and the next row a huge weight.  `bias_slots` are the accumulators of the intercept, which sum the squares
    of all slopes.  Other accumulators than sums of squares start from z alone.
    """
    return _first_slope(rule, bias_slots, z, n_updates) if has_additive_accumulators(rule) else z


@jitable
def _first_slope(rule, bias_slots, z, n_updates):
    return math.sqrt(z * z + bias_slots[0] / type(z)(n_updates)) if z != 0 else z


@bind_inlined(first_slope)
def _overload_first_slope(rule, bias_slots, z, n_updates):
    return _first_slope if adds_squares(rule) else lambda rule, bias_slots, z, n_updates: z


def accumulated_slope(rule, slots, z, first):
    """Return `first` if the accumulators of a feature are zero, else z."""
    return select(slots[0] == 0, first, z) if has_additive_accumulators(rule) else z


@bind_inlined(accumulated_slope)
def _overload_accumulated_slope(rule, slots, z, first):
    if adds_squares(rule):
        return lambda rule, slots, z, first: select(slots[0] == 0, first, z)
    return lambda rule, slots, z, first: z


def adds_squares(rule):
    """Return whether the accumulators of the type of a rule are sums, the first one of squared gradients."""
    return getattr(getattr(rule, "instance_class", None), "accumulators_add", False)


def step_length(spec, y, p, q, lr, h):
    """Return u, the step length of a row of weight h, where q is the derivative of the prediction by u."""
    if has_row_step(spec.update.rule):
        return _length_of_row_step(spec, y, p, q, lr, h)
    return _length_of_flow(spec, y, p, q, lr, h)


@bind_inlined(step_length)
def _overload_step_length(spec, y, p, q, lr, h):
    rule = field_type(field_type(spec, "update"), "rule").instance_class
    return _length_of_row_step if has_row_step(rule) else _length_of_flow


@jitable
def _length_of_row_step(spec, y, p, q, lr, h):
    """Return the step length that the rule takes."""
    return _row_step(spec.update.rule, value(spec.loss, y, p), slope(spec.loss, y, p), q, h)


@jitable
def _length_of_flow(spec, y, p, q, lr, h):
    """Return the length of a step along the gradient, or with `invariant` along the gradient flow."""
    tau = lr * h
    if spec.invariant and q > 0:
        return invariant_step(spec.loss, y, p, q, tau)
    return -tau * slope(spec.loss, y, p)


@jit
def learn_scaled_rows(spec, rows, weights, buffers, loss_sums, t, start, stop):
    """w = prox(w + u m r x) for the rows order[start:stop]; return (next position, status, next t).

    The row with an error and all rows after it change nothing.
    """
    rows, weights, buffers = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(buffers)
    y = rows.y
    w, s, last_update, bias, bias_slots = weights
    wr, sr, mr, cr, rr, _, _ = buffers
    rule, scaling = spec.update.rule, spec.scaling
    for position in range(start, stop):
        status, row, h, columns, x = open_row(rows, w.shape[0], position)
        if status != DONE:
            if status == NO_WEIGHT:
                continue
            return position, status, t
        if _has_too_large_value(scaling, x, h):
            return position, TOO_LARGE, t
        prefetch_row(rows, w, s, position + 1, stop)
        p = bias[0]
        square_norm = one_like(p)  # with the intercept
        for k in range(columns.shape[0]):
            i = columns[k]
            si = load(s, i)
            wr[k] = caught_up(feature_spec(spec, i), w[i], si, last_update, i, t)
            store(sr, k, si)
            _read_scale(scaling, buffers, k, i)
            p += wr[k] * _clip_value(scaling, x[k], mr[k])
            square_norm += x[k] * x[k]
        if not math.isfinite(p):
            return position, NOT_FINITE, t
        dloss = slope(spec.loss, y[row], p)
        z = cast_like(math.sqrt(h), w) * dloss
        if is_too_large(z, square_norm):
            return position, TOO_LARGE, t
        loss_sums[0] += h * value(spec.loss, y[row], p)
        loss_sums[1] += h
        lr = cast_like(_learning_rate(scaling, at(spec.schedule, t)), w)
        one, zero = type(lr)(1), lr - lr
        _rescale_row(scaling, buffers, x, h, dloss)
        _, sb = step(spec.bias_update.rule, bias[0], z, load(bias_slots, 0), lr)
        first = _slope_of_new_feature(scaling, rule, bias_slots, sb, z, t + 1)
        for k in range(columns.shape[0]):
            sk = load(sr, k)
            _, sk = step(rule, zero, accumulated_slope(rule, sk, z, first) * x[k], sk, lr)
            store(sr, k, sk)
            rr[k] = step_size(rule, sk, one) * cr[k]
        n, q = zero, zero
        for k in range(columns.shape[0]):
            n += (x[k] * cr[k]) * (x[k] * cr[k])
            q += x[k] * x[k] * rr[k]
        rb = zero
        if spec.intercept:
            store(bias_slots, 0, sb)
            rb = step_size(spec.bias_update.rule, sb, one)
            n += one
            q += rb
        m = _norm_factor(scaling, h if dloss != 0 else h - h, n, lr)
        u = zero
        if dloss != 0:
            u = m * step_length(spec, y[row], p, m * q, lr, h)
        bias[0] += u * rb
        add_bias_iterate(spec.lazy, last_update, bias[0], 0, t + 1)
        t += 1
        for k in range(columns.shape[0]):
            wr[k] = prox(spec.update.penalty, wr[k] + u * x[k] * rr[k], lr * m * rr[k], columns[k])
        for k in range(columns.shape[0]):
            i = columns[k]
            record_update(feature_spec(spec, i), weights, wr[k], i, t)
            w[i] = wr[k]
            store(s, i, load(sr, k))
            _store_scale(scaling, buffers, k, i)
    return stop, DONE, t
