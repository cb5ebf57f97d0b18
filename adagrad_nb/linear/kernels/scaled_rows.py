"""Online learning whose steps mind the scale of the features and the weight of the rows.

With p the prediction and q the change of p per unit of step, a row of weight h takes the step u for the time lr h:
u = -lr h slope(y, p), or, if it is invariant, where following -slope(y, p) all the way leads, the slope changing with
p.  The coordinates move by u m r x, r being the rule's width at a rate of one.  If it is normalised, r is per unit of
the largest value that the feature has had, and m evens out how large rows are.

Work per stored value: a random cache line read and written, one square root and three divisions; these run in short
loops over few buffers, which vectorise: LLVM leaves longer ones alone, for fear that the buffers overlap.  In one loop
a pass of normalised steps took 1.6 times as long.
"""

import math
from typing import Any, NamedTuple

from ...compiler.jit import borrow_arrays, cast_like, jit, jitable, load, method, store
from ...records.losses import invariant_step, slope, value
from ...records.penalties import prox
from ...records.rules import step, step_size
from ...records.schedules import at
from .lazy import _inverse_scale, _max_abs, add_bias_iterate, caught_up, record_update
from .rows import DONE, NOT_FINITE, check_indices, prefetch_row

# A value so many times the largest before is predicted as if it were that many times.  Weights of a feature whose
# first values are tiny are huge, and without a limit one ordinary value after them throws the model off: on text with
# values drawn from (0, 1/8) 5,000 rows then have a mean loss of 1.80 in place of 0.65.
MAX_RATIO = 16
_clip_value = method("clip_value")
_rescale_weight = method("rescale_weight")
_set_max_abs = method("set_max_abs")
_norm_factor = method("norm_factor")


class ScaledLearnerSpec(NamedTuple):
    """How to learn: as the recipe of `linear`, with what scales the steps, and 1 or 0 for invariant ones."""

    loss: Any
    update: Any
    bias_update: Any
    schedule: Any
    lazy: Any
    intercept: int
    scaling: Any
    invariant: int


class ScaledRowBuffers(NamedTuple):
    """Room for the longest row: weights, accumulators, largest values, their reciprocals, and r."""

    w: Any
    s: Any
    max_abs: Any
    inverse_scale: Any
    r: Any

    def for_worker(self, k):
        return ScaledRowBuffers(self.w[k], load(self.s, k), self.max_abs[k], self.inverse_scale[k], self.r[k])


class UnitScale(NamedTuple):
    """Steps as the rule has them: in units of one."""

    def max_abs_of(self, like, i):
        return type(like)(1)

    def clip_value(self, x, max_abs):
        return x

    def rescale_weight(self, size, w, max_abs):
        return w, max_abs

    def inverse_scale(self, max_abs):
        return max_abs

    def set_max_abs(self, max_abs, i):
        pass

    def norm_factor(self, h, n, lr):
        return type(lr)(1)


class MaxAbsScale(NamedTuple):
    """Steps of Ross, Mineiro & Langford: in units of the largest value of each feature.

    `largest[i]` is the largest size that values of feature i have had; `running_sums` holds the sums over the updates of h,
    of h times the squared values of the row per unit of the largest, and of lr m.
    """

    max_abs: Any
    running_sums: Any

    def max_abs_of(self, like, i):
        return self.max_abs[i]

    def clip_value(self, x, max_abs):
        """x as it takes part in a prediction."""
        most = type(x)(MAX_RATIO) * max_abs
        return math.copysign(most, x) if 0 < most < abs(x) else x

    def rescale_weight(self, size, w, max_abs):
        """w in units of the largest value, which may be this one, and that value."""
        more = max(max_abs, size)
        return (w * (max_abs / more) if max_abs > 0 else w), more

    def inverse_scale(self, max_abs):
        """One over the largest value."""
        return type(max_abs)(1) / max_abs if max_abs > 0 else max_abs

    def set_max_abs(self, max_abs, i):
        self.max_abs[i] = max_abs

    def norm_factor(self, h, n, lr):
        """m, after a row of weight h and squared size n."""
        running_sums = self.running_sums
        running_sums[0] += h
        running_sums[1] += h * n
        m = type(lr)(math.sqrt(running_sums[0] / running_sums[1]) if running_sums[1] > 0 else 1.0)
        running_sums[2] += lr * m
        return m


@jitable
def step_length(spec, y, p, q, tau):
    """u, by which a row whose prediction changes by q per unit moves its coordinates in the time tau"""
    if spec.invariant and q > 0:
        return invariant_step(spec.loss, y, p, q, tau)
    return -tau * slope(spec.loss, y, p)


@jit
def learn_scaled_rows(spec, rows, weights, buffers, loss_sums, t, start, stop):
    """w = prox(w + u m r x) for the rows order[start:stop]; return (next position, status, next t).

    A row that is refused, and all after it, has changed nothing.
    """
    rows, weights, buffers = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(buffers)
    indptr, indices, data, y, weight, order = rows
    w, s, last_update, bias, bias_slots = weights
    wr, sr, mr, cr, rr = buffers
    rule, scaling = spec.update.rule, spec.scaling
    for position in range(start, stop):
        row = order[position]
        h = weight[row]
        if h == 0:
            continue
        first = indptr[row]
        columns = indices[first : indptr[row + 1]]
        x = data[first : indptr[row + 1]]
        status = check_indices(columns, w.shape[0])
        if status != DONE:
            return position, status, t
        prefetch_row(rows, w, s, position + 1, stop)
        p = bias[0]
        for k in range(columns.shape[0]):
            i = columns[k]
            si = load(s, i)
            wr[k] = caught_up(spec, w[i], si, last_update, i, t)
            store(sr, k, si)
            mr[k] = _max_abs(scaling, p, i)
            p += wr[k] * _clip_value(scaling, x[k], mr[k])
        if not math.isfinite(p):
            return position, NOT_FINITE, t
        loss_sums[0] += h * value(spec.loss, y[row], p)
        loss_sums[1] += h
        lr = cast_like(at(spec.schedule, t), w)
        one, zero = type(lr)(1), lr - lr
        dloss = slope(spec.loss, y[row], p)
        z = cast_like(math.sqrt(h), w) * dloss
        for k in range(columns.shape[0]):
            size = abs(x[k]) if dloss != 0 else zero
            wr[k], mr[k] = _rescale_weight(scaling, size, wr[k], mr[k])
            cr[k] = _inverse_scale(scaling, mr[k])
        for k in range(columns.shape[0]):
            _, sk = step(rule, zero, z * x[k], load(sr, k), lr)
            store(sr, k, sk)
            rr[k] = step_size(rule, sk, one) * cr[k]
        n, q = zero, zero
        for k in range(columns.shape[0]):
            n += (x[k] * cr[k]) * (x[k] * cr[k])
            q += x[k] * x[k] * rr[k]
        rb = zero
        if spec.intercept:
            _, sk = step(spec.bias_update.rule, bias[0], z, load(bias_slots, 0), lr)
            store(bias_slots, 0, sk)
            rb = step_size(spec.bias_update.rule, sk, one)
            n += one
            q += rb
        m = _norm_factor(scaling, h if dloss != 0 else h - h, n, lr)
        u = zero
        if dloss != 0:
            u = m * step_length(spec, y[row], p, m * q, lr * h)
        bias[0] += u * rb
        add_bias_iterate(spec.lazy, last_update, bias[0], 0, t + 1)
        t += 1
        for k in range(columns.shape[0]):
            wr[k] = prox(spec.update.penalty, wr[k] + u * x[k] * rr[k], lr * m * rr[k], columns[k])
        for k in range(columns.shape[0]):
            i = columns[k]
            record_update(spec, weights, wr[k], i, t)
            w[i] = wr[k]
            store(s, i, load(sr, k))
            _set_max_abs(scaling, mr[k], i)
    return stop, DONE, t
