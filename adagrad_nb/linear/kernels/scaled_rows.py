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
from .lazy import _largest, _scale, arrive_bias, current, mark
from .rows import DONE, NOT_FINITE, announce, fault

# A value so many times the largest before is predicted as if it were that many times.  Weights of a feature whose
# first values are tiny are huge, and without a limit one ordinary value after them throws the model off: on text with
# values drawn from (0, 1/8) 5,000 rows then have a mean loss of 1.80 in place of 0.65.
EXCESS = 16
_clip = method("clip")
_meet = method("meet")
_keep = method("keep")
_share = method("share")


class ScaledRecipe(NamedTuple):
    """How to learn: as the recipe of `linear`, with what scales the steps, and 1 or 0 for invariant ones."""

    loss: Any
    update: Any
    free: Any
    schedule: Any
    lapse: Any
    intercept: int
    scaling: Any
    invariant: int


class ScaledBuffers(NamedTuple):
    """Room for the longest row: weights, accumulators, largest values, their reciprocals, and r."""

    w: Any
    s: Any
    largest: Any
    scale: Any
    r: Any

    def part(self, k):
        return ScaledBuffers(self.w[k], load(self.s, k), self.largest[k], self.scale[k], self.r[k])


class Unscaled(NamedTuple):
    """Steps as the rule has them: in units of one."""

    def largest_of(self, like, i):
        return type(like)(1)

    def clip(self, x, largest):
        return x

    def meet(self, size, w, largest):
        return w, largest

    def scale(self, largest):
        return largest

    def keep(self, largest, i):
        pass

    def share(self, h, n, lr):
        return type(lr)(1)


class Normalized(NamedTuple):
    """Steps of Ross, Mineiro & Langford: in units of the largest value of each feature.

    `largest[i]` is the largest size that values of feature i have had; `totals` holds the sums over the updates of h,
    of h times the squared values of the row per unit of the largest, and of lr m.
    """

    largest: Any
    totals: Any

    def largest_of(self, like, i):
        return self.largest[i]

    def clip(self, x, largest):
        """x as it takes part in a prediction."""
        most = type(x)(EXCESS) * largest
        return math.copysign(most, x) if 0 < most < abs(x) else x

    def meet(self, size, w, largest):
        """w in units of the largest value, which may be this one, and that value."""
        more = max(largest, size)
        return (w * (largest / more) if largest > 0 else w), more

    def scale(self, largest):
        """One over the largest value."""
        return type(largest)(1) / largest if largest > 0 else largest

    def keep(self, largest, i):
        self.largest[i] = largest

    def share(self, h, n, lr):
        """m, after a row of weight h and squared size n."""
        totals = self.totals
        totals[0] += h
        totals[1] += h * n
        m = type(lr)(math.sqrt(totals[0] / totals[1]) if totals[1] > 0 else 1.0)
        totals[2] += lr * m
        return m


@jitable
def journey(recipe, y, p, q, tau):
    """u, by which a row whose prediction changes by q per unit moves its coordinates in the time tau"""
    if recipe.invariant and q > 0:
        return invariant_step(recipe.loss, y, p, q, tau)
    return -tau * slope(recipe.loss, y, p)


@jit
def learn(recipe, rows, weights, buffers, tally, t, start, stop):
    """w = prox(w + u m r x) for the rows order[start:stop]; return (next position, status, next t).

    A row that is refused, and all after it, has changed nothing.
    """
    rows, weights, buffers = borrow_arrays(rows), borrow_arrays(weights), borrow_arrays(buffers)
    indptr, indices, data, y, weight, order = rows
    w, s, last, bias, bias_s = weights
    wr, sr, mr, cr, rr = buffers
    rule, scaling = recipe.update.rule, recipe.scaling
    for position in range(start, stop):
        row = order[position]
        h = weight[row]
        if h == 0:
            continue
        first = indptr[row]
        stored = indices[first : indptr[row + 1]]
        x = data[first : indptr[row + 1]]
        status = fault(stored, w.shape[0])
        if status != DONE:
            return position, status, t
        announce(rows, w, s, position + 1, stop)
        p = bias[0]
        for k in range(stored.shape[0]):
            i = stored[k]
            si = load(s, i)
            wr[k] = current(recipe, w[i], si, last, i, t)
            store(sr, k, si)
            mr[k] = _largest(scaling, p, i)
            p += wr[k] * _clip(scaling, x[k], mr[k])
        if not math.isfinite(p):
            return position, NOT_FINITE, t
        tally[0] += h * value(recipe.loss, y[row], p)
        tally[1] += h
        lr = cast_like(at(recipe.schedule, t), w)
        one, zero = type(lr)(1), lr - lr
        pull = slope(recipe.loss, y[row], p)
        z = cast_like(math.sqrt(h), w) * pull
        for k in range(stored.shape[0]):
            size = abs(x[k]) if pull != 0 else zero
            wr[k], mr[k] = _meet(scaling, size, wr[k], mr[k])
            cr[k] = _scale(scaling, mr[k])
        for k in range(stored.shape[0]):
            _, sk = step(rule, zero, z * x[k], load(sr, k), lr)
            store(sr, k, sk)
            rr[k] = step_size(rule, sk, one) * cr[k]
        n, q = zero, zero
        for k in range(stored.shape[0]):
            n += (x[k] * cr[k]) * (x[k] * cr[k])
            q += x[k] * x[k] * rr[k]
        rb = zero
        if recipe.intercept:
            _, sk = step(recipe.free.rule, bias[0], z, load(bias_s, 0), lr)
            store(bias_s, 0, sk)
            rb = step_size(recipe.free.rule, sk, one)
            n += one
            q += rb
        m = _share(scaling, h if pull != 0 else h - h, n, lr)
        u = zero
        if pull != 0:
            u = m * journey(recipe, y[row], p, m * q, lr * h)
        bias[0] += u * rb
        arrive_bias(recipe.lapse, last, bias[0], 0, t + 1)
        t += 1
        for k in range(stored.shape[0]):
            wr[k] = prox(recipe.update.penalty, wr[k] + u * x[k] * rr[k], lr * m * rr[k], stored[k])
        for k in range(stored.shape[0]):
            i = stored[k]
            mark(recipe, weights, wr[k], i, t)
            w[i] = wr[k]
            store(s, i, load(sr, k))
            _keep(scaling, mr[k], i)
    return stop, DONE, t
