"""Lazy updates: apply the updates that a coordinate missed when it is next read.

A strategy is a record with these methods.  Updates are counted from 0 and t is the next one.  `last_update` stores a
time for each coordinate: the time of the update up to which it is current.

``time_at(t)``
    Time of update t.  Default: t.
``at_update(t)``
    Strategy for the values of a row in update t.  Default: the strategy itself.
``caught_up(spec, x, s, last_update, i, t)``
    x after all updates before t, whether or not they touched coordinate i.
``set_last_update(spec, last_update, i, t)``
    Record that coordinate i is current at update t.
``catch_up(spec, x, s, first, now, i)``
    x after the updates from time `first` until before time `now`, none of which touched it.
``sum_missed_iterates(spec, x, s, first, begin, t, i)``
    Sum of x after each of the updates first, …, t - 1 from `begin` on.

A deferred strategy, one with ``is_deferred()``, reads the stored weights first and catches up the whole row in a second
loop, which vectorises: ``read_weight(spec, x, s, last_update, i, t)`` returns the stored weight,
``read_last_update(last_update, i, row_last_update, k)`` copies its time, and
``catch_up_row(spec, x, s, row_last_update, k, i, t)`` catches up the k-th weight.  Other strategies catch up each
weight as it is read.

For a ledger of regret, ``penalty_until(spec, x, s, first, t, i)`` returns the sum of the penalties of a stored weight x
over the rounds from the time `first` of its last update until t, if ``has_penalty()``.  ``time_of(last_update, i)``
returns this time.  The
methods ``record_row``, ``record_energy``, ``record_bias_energy`` and ``record_gradient`` of `lazy_ledger` add a row.

A strategy that averages the iterates also has ``add_missed_iterates(spec, last_update, x, s, index, i, t)``, called
before x is caught up, and ``add_iterate(last_update, x, index, t)`` and ``add_bias_iterate(last_update, x, index, t)``,
called after update t - 1; `index` is the index into the sums.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ...compiler.jit import FORCE_INLINE, borrow_arrays, compiled_for, jit, jitable, load, method
from ...compiler.simd import magnitude_limit_like, select
from ...records.dual_averaging import is_dual_averaging, primal
from ...records.group_penalties import Grouped, is_group_penalty
from ...records.penalties import (
    Bounded,
    Box,
    NonNegative,
    NoPenalty,
    decay_size,
    has_additive_prox,
    prox,
    prox_decayed,
    prox_k,
    prox_k_sum,
    value,
    value_k_sum,
)
from ...records.rules import cumulative_step_size, has_proportional_step_size, step_size
from ...records.schedules import Constant, at

_max_abs = method("max_abs_of")
_inverse_scale = method("inverse_scale")


class SummedStepSizes(NamedTuple):
    """Normalised updates: one proximal step of the summed step sizes.

    It suits penalties whose two steps equal one step of the summed step size.  `last_update` holds the sum of lr m at
    the time when each coordinate was current.
    """

    def caught_up(self, spec, x, s, last_update, i, t):
        missed = spec.scaling.running_sums[2] - last_update[i]
        if missed <= 0:
            return x
        scaling = spec.scaling
        r = step_size(spec.update.rule, s, type(x)(1)) * _inverse_scale(scaling, _max_abs(scaling, x, i))
        return prox(spec.update.penalty, x, type(x)(missed) * r, i)

    def set_last_update(self, spec, last_update, i, t):
        last_update[i] = spec.scaling.running_sums[2]


@jitable
def _return_records(spec, i):
    """Return the records: most are the same for all features."""
    return spec


@jitable
def _no_op(lazy, *args):
    """Do nothing: most strategies keep no sums of the iterates."""


@jitable
def _read_caught_up(lazy, spec, x, s, last_update, i, t):
    """Return the weight after all updates before t."""
    return caught_up(spec, x, s, last_update, i, t)


@jitable
def _count_updates(lazy, t):
    """Return t: most strategies measure time in updates."""
    return t


@jitable
def _return_strategy(lazy, t):
    """Return the strategy: most are the same at each update."""
    return lazy


@jitable
def _one(schedule):
    """Return 1: most schedules are those of the model."""
    return 1.0


@jitable
def _is_never_deferred(lazy):
    """Return False: most strategies are not deferred."""
    return False


@jitable
def _has_no_penalty(lazy):
    """Return False: most strategies have no sums of penalties."""
    return False


@jitable
def _return_unchanged(lazy, spec, x, s, row_last_update, k, i, t):
    """Return x: it is already caught up."""
    return x


@jitable
def _no_time(lazy, last_update, i):
    """Return 0: some strategies need no time of the last update."""
    return 0


@jitable
def _no_penalty(lazy, spec, x, s, first, t, i):
    """Return 0: no penalty of most strategies changes a coordinate without gradient."""
    return 0.0


feature_spec = method("feature_spec", default=_return_records)
_caught_up = method("caught_up")
time_at = method("time_at", default=_count_updates)
at_update = method("at_update", default=_return_strategy)
_output_factor = method("output_factor", default=_one)
read_weight = method("read_weight", default=_read_caught_up)
read_last_update = method("read_last_update", default=_no_op)
is_deferred = method("is_deferred", default=_is_never_deferred)
catch_up_row = method("catch_up_row", default=_return_unchanged, jit_options=FORCE_INLINE)
set_last_update = method("set_last_update")
catch_up = method("catch_up", jit_options=FORCE_INLINE)  # or the loop over a row would not vectorise
sum_missed_iterates = method("sum_missed_iterates")
time_of = method("time_of", default=_no_time)
has_penalty = method("has_penalty", default=_has_no_penalty)
penalty_until = method("penalty_until", default=_no_penalty, jit_options=FORCE_INLINE)
record_row = method("record_row", default=_no_op, jit_options=FORCE_INLINE)
record_energy = method("record_energy", default=_no_op, jit_options=FORCE_INLINE)
record_bias_energy = method("record_bias_energy", default=_no_op, jit_options=FORCE_INLINE)
record_gradient = method("record_gradient", default=_no_op, jit_options=FORCE_INLINE)
add_missed_iterates = method("add_missed_iterates", default=_no_op)
add_iterate = method("add_iterate", default=_no_op)
add_bias_iterate = method("add_bias_iterate", default=_no_op)


@jitable
def caught_up(spec, x, s, last_update, i, t):
    """Return x after all updates before t, whether or not they touched it."""
    return _caught_up(spec.lazy, spec, x, s, last_update, i, t)


@jitable
def record_update(spec, weights, x, i, t):
    """Record that coordinate i became x in update t - 1; `weights` still holds its previous value."""
    lazy, last_update = spec.lazy, weights.last_update
    add_missed_iterates(lazy, spec, last_update, weights.w[i], load(weights.s, i), i, i, t - 1)
    add_iterate(lazy, last_update, x, i, t)
    set_last_update(lazy, spec, last_update, i, t)


class NoCatchUp(NamedTuple):
    """No update changes a coordinate that it does not touch."""

    def caught_up(self, spec, x, s, last_update, i, t):
        return x

    def set_last_update(self, spec, last_update, i, t):
        pass

    def catch_up(self, spec, x, s, first, t, i):
        return x

    def sum_missed_iterates(self, spec, x, s, first, begin, t, i):
        return x * type(x)(t - begin)


class ClosedForm(NamedTuple):
    """Constant learning rate: k proximal steps in closed form.

    `last_update` holds the update up to which each coordinate is current.  The loop over a row vectorises, which halves
    its time for `L1`.
    """

    def is_deferred(self):
        return True

    def read_weight(self, spec, x, s, last_update, i, t):
        return x

    def read_last_update(self, last_update, i, row_last_update, k):
        row_last_update[k] = last_update[i]

    def catch_up_row(self, spec, x, s, row_last_update, k, i, t):
        return catch_up(self, spec, x, s, row_last_update[k], t, i)

    def caught_up(self, spec, x, s, last_update, i, t):
        first = last_update[i]
        return x if first >= t else catch_up(self, spec, x, s, first, t, i)

    def set_last_update(self, spec, last_update, i, t):
        last_update[i] = t

    def catch_up(self, spec, x, s, first, now, i):
        lr = type(x)(at(spec.schedule, first))
        return prox_k(spec.update.penalty, x, step_size(spec.update.rule, s, lr), now - first, i)

    def sum_missed_iterates(self, spec, x, s, first, begin, t, i):
        x = catch_up(self, spec, x, s, first, begin, i)
        lr = type(x)(at(spec.schedule, begin))
        return prox_k_sum(spec.update.penalty, x, step_size(spec.update.rule, s, lr), t - begin, i)

    def has_penalty(self):
        return True

    def time_of(self, last_update, i):
        return last_update[i]

    def penalty_until(self, spec, x, s, first, t, i):
        w = step_size(spec.update.rule, s, type(x)(at(spec.schedule, t)))
        return value(spec.update.penalty, x, i) + value_k_sum(spec.update.penalty, x, w, t - first, i)


class SummedRatesNow(NamedTuple):
    """`SummedRates` at one update, whose time is `now`.

    It has no array, so that a loop over a row vectorises.
    """

    now: float

    def is_deferred(self):
        return True

    def read_weight(self, spec, x, s, last_update, i, t):
        return x

    def read_last_update(self, last_update, i, row_last_update, k):
        row_last_update[k] = last_update[i]

    def catch_up_row(self, spec, x, s, row_last_update, k, i, t):
        return catch_up(self, spec, x, s, row_last_update[k], self.now, i)

    def caught_up(self, spec, x, s, last_update, i, t):
        return catch_up(self, spec, x, s, last_update[i], self.now, i)

    def set_last_update(self, spec, last_update, i, t):
        last_update[i] = self.now

    def catch_up(self, spec, x, s, first, now, i):
        missed = now - first
        step = step_size(spec.update.rule, s, type(x)(missed * _output_factor(spec.schedule)))
        # A bound moves weights that are outside, also by a step of size zero.
        return select(missed > 0, prox(spec.update.penalty, x, step, i), x)


class SummedRates(NamedTuple):
    """Changing learning rate, and a penalty whose steps add: one proximal step of the summed learning rates.

    Time is the sum of the learning rates of all updates so far: ``sums[t - start]`` is the time of update t.  It has
    double precision.  So the summed rates of the missed updates have an absolute error of about 1e-16 times the sum of
    all learning rates.

    Work per value, as for `ClosedForm`: `last_update` has 8 bytes in the cache line of the weight, and one subtraction
    replaces the conversion and the product of the number of updates.
    """

    sums: Any
    start: int

    def time_at(self, t):
        return self.sums[t - self.start]

    def at_update(self, t):
        return SummedRatesNow(self.sums[t - self.start])

    def is_deferred(self):
        return True

    def caught_up(self, spec, x, s, last_update, i, t):
        return catch_up(self, spec, x, s, last_update[i], time_at(self, t), i)

    def set_last_update(self, spec, last_update, i, t):
        last_update[i] = time_at(self, t)

    def catch_up(self, spec, x, s, first, now, i):
        return catch_up(SummedRatesNow(now), spec, x, s, first, now, i)


@jit
def sum_rates(schedule, t, sums):
    """sums[k] = sums[0] + sum of the learning rates of the updates t, …, t + k - 1"""
    for k in range(1, sums.shape[0]):
        sums[k] = sums[k - 1] + at(schedule, t + k - 1)


@jit
def sum_rates_between(schedule, updates, sums):
    """sums[k] = sum of the learning rates of the updates updates[0], …, updates[k] - 1, for increasing numbers"""
    for k in range(1, sums.shape[0]):
        sums[k] = sums[k - 1]
        for t in range(updates[k - 1], updates[k]):
            sums[k] += at(schedule, t)


@jitable
def _is_settled(penalty, x, w, i):
    """Return whether no step moves x.

    The distance of a proximal step increases with its size.  So a step that is longer than all others decides, even if
    x rests because steps of size w are below its precision.
    """
    return w > 0 and prox(penalty, x, magnitude_limit_like(w), i) == x


@jitable
def step_by_step(spec, x, s, first, now, i):
    """Apply the penalty of the updates first, …, now - 1 one by one, until x no longer moves."""
    for missed in range(first, now):
        lr, before = type(x)(at(spec.schedule, missed)), x
        w = step_size(spec.update.rule, s, lr)
        x = prox(spec.update.penalty, x, w, i)
        if x == before and _is_settled(spec.update.penalty, x, w, i):
            break
    return x


class StepByStep(NamedTuple):
    """Changing learning rate: each missed update is one proximal step, until x no longer moves."""

    def caught_up(self, spec, x, s, last_update, i, t):
        return catch_up(self, spec, x, s, last_update[i], t, i)

    def set_last_update(self, spec, last_update, i, t):
        last_update[i] = t

    def catch_up(self, spec, x, s, first, now, i):
        return step_by_step(spec, x, s, first, now, i)

    def sum_missed_iterates(self, spec, x, s, first, begin, t, i):
        x = catch_up(self, spec, x, s, first, begin, i)
        iterate_sum = x - x
        for missed in range(begin, t):
            lr, before = type(x)(at(spec.schedule, missed)), x
            w = step_size(spec.update.rule, s, lr)
            x = prox(spec.update.penalty, x, w, i)
            iterate_sum += x
            if x == before and _is_settled(spec.update.penalty, x, w, i):
                return iterate_sum + type(x)(t - 1 - missed) * x
        return iterate_sum


@jitable
def dual_averaging_solution(update, schedule, x, s, i, t):
    """Return coordinate i of the solution of dual averaging after all updates before t; x if t is 0."""
    if t == 0:
        return x
    lr = type(x)(at(schedule, t - 1))
    return prox(update.penalty, primal(update.rule, x, s, lr), cumulative_step_size(update.rule, s, lr, t), i)


class FromAccumulators(NamedTuple):
    """Dual averaging: x follows from its accumulators and t.

    `steps_are_equal` is 1 if the learning rate is constant and proximal steps add, so that x takes equal steps with t.
    For a group penalty it is 1 if the learning rate is constant.  A group that has become zero then stays zero.
    """

    steps_are_equal: int

    def is_deferred(self):
        return True

    def read_weight(self, spec, x, s, last_update, i, t):
        return x

    def catch_up_row(self, spec, x, s, row_last_update, k, i, t):
        return dual_averaging_solution(spec.update, spec.schedule, x, s, i, t)

    def caught_up(self, spec, x, s, last_update, i, t):
        return dual_averaging_solution(spec.update, spec.schedule, x, s, i, t)

    def set_last_update(self, spec, last_update, i, t):
        pass

    def catch_up(self, spec, x, s, first, t, i):
        return dual_averaging_solution(spec.update, spec.schedule, x, s, i, t)

    def sum_missed_iterates(self, spec, x, s, first, begin, t, i):
        if self.steps_are_equal:
            lr, rule = type(x)(at(spec.schedule, begin)), spec.update.rule
            x = prox(spec.update.penalty, primal(rule, x, s, lr), cumulative_step_size(rule, s, lr, begin), i)
            return prox_k_sum(spec.update.penalty, x, cumulative_step_size(rule, s, lr, 1), t - begin, i)
        iterate_sum = x - x
        for missed in range(begin, t):
            iterate_sum += dual_averaging_solution(spec.update, spec.schedule, x, s, i, missed + 1)
        return iterate_sum


class TimedSolution(NamedTuple):
    """`FromAccumulators` with the times of the last updates, which a ledger of regret needs."""

    steps_are_equal: int

    is_deferred = FromAccumulators.is_deferred
    read_weight = FromAccumulators.read_weight
    catch_up_row = FromAccumulators.catch_up_row
    caught_up = FromAccumulators.caught_up
    catch_up = FromAccumulators.catch_up
    sum_missed_iterates = FromAccumulators.sum_missed_iterates

    def set_last_update(self, spec, last_update, i, t):
        last_update[i] = t

    has_penalty = ClosedForm.has_penalty
    time_of = ClosedForm.time_of

    def penalty_until(self, spec, x, s, first, t, i):
        w = cumulative_step_size(spec.update.rule, s, type(x)(at(spec.schedule, t)), 1)
        return value(spec.update.penalty, x, i) + value_k_sum(spec.update.penalty, x, w, t - first, i)


# --- power sums ------------------------------------------------------------------------------------------------------

WINDOW = 2**12  # multiples of 2**l before the next update, of which level l of `PowerSums` has the sums
N_POWERS = 4
LARGEST_T = 2**30  # updates; the sums of more take seconds when a model is loaded
_FEW_STEPS = 2  # updates that are quicker one by one
_MORE_STEPS = 32  # updates one by one until the error of the series is bounded again
_SERIES_LIMIT = (5 * 1e-13) ** 0.8  # of u**4 S4, so that the error of the logarithm is at most 1e-13


class PowerSums(NamedTuple):
    """Changing learning rate, and a penalty that divides x by 1 + lr u, with an u of its own for each coordinate.

    The logarithm of the product over the missed updates is a series in u, whose coefficients are sums of powers of the
    learning rates: ``u S1 - u**2 S2 / 2 + u**3 S3 / 3 - u**4 S4 / 4``.  The error is at most ``u**5 S5 / 5``, where
    S5 <= S4**1.25.  Where this bound exceeds 1e-13, updates are applied one by one.

    ``sums[offsets[l] + m - bases[l]]`` has the sums before update m 2**l.  The sums of all updates would take 32 bytes
    each; level l has those of the last `WINDOW` multiples of 2**l, and of the updates of the chunk.  So a coordinate
    that missed k updates makes at most k / 2048 of them one by one, to get to a multiple.
    """

    sums: Any
    offsets: Any
    bases: Any

    def at_update(self, t):
        return borrow_arrays(self)

    def caught_up(self, spec, x, s, last_update, i, t):
        first = last_update[i]
        return x if first >= t else catch_up(self, spec, x, s, first, t, i)

    def set_last_update(self, spec, last_update, i, t):
        last_update[i] = t

    def catch_up(self, spec, x, s, first, now, i):
        sums, offsets, bases = self
        penalty, rule = spec.update.penalty, spec.update.rule
        if now - first <= _FEW_STEPS:
            return step_by_step(spec, x, s, first, now, i)
        level = 0
        while now - first > WINDOW << level:
            level += 1
        w = step_size(rule, s, type(x)(1)) * type(x)(_output_factor(spec.schedule))
        u = 1.0 * decay_size(penalty, w, i)
        begin = -((-first) >> level) << level  # the next multiple
        while True:
            x = step_by_step(spec, x, s, first, min(begin, now), i)
            if begin >= now or x == 0:
                return x
            a, b = offsets[level] + (begin >> level) - bases[level], offsets[0] + now - bases[0]
            s4 = max(sums[b, 3] - sums[a, 3], 0.0)
            if u * u * u * u * s4 <= _SERIES_LIMIT:
                break
            first = begin
            begin = -((-first - _MORE_STEPS) >> level) << level
        s1, s2, s3 = (
            sums[b, 0] - sums[a, 0], sums[b, 1] - sums[a, 1], sums[b, 2] - sums[a, 2],
        )  # fmt: skip
        log = u * (s1 - u * (s2 / 2.0 - u * (s3 / 3.0 - u * s4 / 4.0)))
        complement = -math.expm1(-log)
        remainder = 1.0 - complement if log < 0.5 else math.exp(-log)
        return prox_decayed(penalty, x, w, type(x)(remainder), type(x)(complement), type(x)(s1), i)


@jit
def add_power_sums(schedule, t, end, last, sums, offsets, bases):
    """Write the sums before the updates t, …, end to each level; `last` holds those before t, then before end + 1."""
    s1, s2, s3, s4 = last[0], last[1], last[2], last[3]
    for k in range(t, end + 1):
        for level in range(offsets.shape[0]):
            m = k >> level
            if m << level != k:
                break
            if m >= bases[level]:
                index = offsets[level] + m - bases[level]
                sums[index, 0], sums[index, 1], sums[index, 2], sums[index, 3] = s1, s2, s3, s4
        lr = at(schedule, k) * 1.0
        s1, s2, s3, s4 = s1 + lr, s2 + lr * lr, s3 + lr * lr * lr, s4 + lr * lr * lr * lr
    last[0], last[1], last[2], last[3] = s1, s2, s3, s4


class PowerSumTable:
    """The sums of `PowerSums` for a schedule, which grow with the updates.

    Attributes
    ----------
    end : int
        The last update for which there are sums; -1 at first.
    last : ndarray of shape (4,)
        Sums before update ``end + 1``.
    """

    def __init__(self, schedule):
        self.schedule, self.end, self.last = schedule, -1, np.zeros(N_POWERS)
        self.levels = PowerSums(np.empty((0, N_POWERS)), np.zeros(0, np.int64), np.zeros(0, np.int64))

    def covering(self, t, n_updates):
        """Return a table with the sums that the updates t, …, t + n_updates - 1 and the catch-up before them need."""
        end = t + n_updates
        if end <= self.end:
            return self
        n_levels = max((end - 1) // WINDOW, 0).bit_length() + 1
        bases = np.maximum(t - (WINDOW << np.arange(n_levels)), 0) >> np.arange(n_levels)
        sizes = (end >> np.arange(n_levels)) - bases + 1
        offsets = np.cumsum(sizes) - sizes
        new = PowerSumTable(self.schedule)
        new.end, new.last, new.levels = (
            end,
            self.last.copy(),
            PowerSums(np.empty((sizes.sum(), N_POWERS)), offsets, bases),
        )
        for level in range(n_levels):  # a multiple of 2**level is in a lower level too, as long as that is young
            old = min(level, len(self.levels.bases) - 1)
            known = np.arange(bases[level], (self.end >> level) + 1)
            if known.size:
                source = self.levels.offsets[old] + (known << (level - old)) - self.levels.bases[old]
                new.levels.sums[offsets[level] + known - bases[level]] = self.levels.sums[source]
        compiled_for(add_power_sums, self.schedule)(self.schedule, self.end + 1, end, new.last, *new.levels)
        return new


# --- averaged iterates -----------------------------------------------------------------------------------------------


class LazyIterateSums(NamedTuple):
    """Sums of the iterates after the updates from `first_update` on, of coordinate i up to update last_update[i]."""

    last_update: Any
    sums: Any
    bias_sums: Any
    first_update: int


@jitable
def missed_sum(spec, x, s, first, first_update, t, i):
    """Return the sum of the iterates of coordinate i after the missed updates max(first, first_update), …, t - 1."""
    begin = max(first, first_update)
    return x - x if begin >= t else sum_missed_iterates(spec.lazy.lazy, spec, x, s, first, begin, t, i)


@jitable
def zero_before_start(x, first_update, t):
    """Return x, or zero if update t - 1 does not count.  A branch around the sums would count references."""
    return x if t > first_update else type(x)(0)


class WithAveraging(NamedTuple):
    """Another strategy with sums of the iterates; its state is a `LazyIterateSums`."""

    lazy: Any

    def caught_up(self, spec, x, s, sums, i, t):
        return catch_up(self.lazy, spec, x, s, sums.last_update[i], t, i)

    def set_last_update(self, spec, sums, i, t):
        sums.last_update[i] = t

    def has_penalty(self):
        return has_penalty(self.lazy)

    def time_of(self, sums, i):
        return sums.last_update[i]

    def penalty_until(self, spec, x, s, first, t, i):
        return penalty_until(self.lazy, spec, x, s, first, t, i)

    def add_missed_iterates(self, spec, sums, x, s, index, i, t):
        sums.sums[index] += missed_sum(spec, x, s, sums.last_update[i], sums.first_update, t, i)

    def add_iterate(self, sums, x, index, t):
        sums.sums[index] += zero_before_start(x, sums.first_update, t)

    def add_bias_iterate(self, sums, x, index, t):
        sums.bias_sums[index] += zero_before_start(x, sums.first_update, t)


# --- choice of the strategy ------------------------------------------------------------------------------------------


def acts_on_untouched(penalty):
    """Return whether a penalty changes a coordinate without gradient."""
    if isinstance(penalty, (NonNegative, NoPenalty)):
        return False
    if isinstance(penalty, (Box, Bounded)) or not hasattr(penalty, "strength"):
        return True
    return bool(np.any(np.asarray(penalty.strength) != 0))


def needs_last_update(rule, penalty):
    """Return whether the update up to which each coordinate is current must be stored."""
    return isinstance(penalty, Grouped) or (acts_on_untouched(penalty) and not is_dual_averaging(rule))


def choose_strategy(rule, penalty, schedule, normalized, averaged):
    """Return the strategy for a rule, a penalty and a schedule; `SummedRates` and `PowerSums` without their sums.

    `averaged` says whether the iterates are averaged.
    """
    is_constant = isinstance(schedule, Constant)
    if is_dual_averaging(rule):
        has_equal_steps = is_constant and (has_additive_prox(penalty) or is_group_penalty(penalty))
        return FromAccumulators(int(has_equal_steps)) if acts_on_untouched(penalty) or not is_constant else NoCatchUp()
    if not acts_on_untouched(penalty):
        return NoCatchUp()
    if normalized:
        return SummedStepSizes()
    if is_constant or isinstance(penalty, Box):  # a projection does not depend on the learning rate
        return ClosedForm()
    if has_proportional_step_size(rule) and not averaged:
        if has_additive_prox(penalty):
            return SummedRates((), 0)
        if hasattr(penalty, "prox_decayed"):
            return PowerSums((), (), ())
    return StepByStep()
