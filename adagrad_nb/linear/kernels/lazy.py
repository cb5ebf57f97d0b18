"""How a coordinate that sparse rows passed over is brought up to date, when it is next met.

A lapse is a record.  ``caught_up(spec, x, s, last_update, i, t)`` is x after all updates before t, whether they touched it or
not, where `last_update` is what the lapse has noted, and ``set_last_update(spec, last_update, i, t)`` notes that coordinate i is current.
``catch_up(spec, x, s, first, t, i)`` is what the updates first, …, t - 1 make of x in passing, and
``sum_missed_iterates(spec, x, s, first, begin, t, i)`` the sum of what x is after each of those that do not come before `begin`.

One that ``is_deferred()`` brings the coordinates of a row up to date in a loop of its own, after all have been gathered: by
``catch_up_row(spec, x, s, workspace, k, i, t)`` of the k-th, which ``read_weight(spec, x, s, last_update, i, t)`` gave as it was, and of
which ``read_last_update(last_update, i, workspace, k)`` made a note.  Others read it as it is by then.

One that keeps more of the iterates has ``add_missed_iterates(spec, last_update, x, s, place, i, t)``, called before x is brought up to
date from what it was, and ``add_iterate(last_update, x, place, t)`` and ``add_bias_iterate(last_update, x, place, t)``, when update t - 1 has
made it x; `place` is where it stands in the arrays.
"""

from typing import Any, NamedTuple

import numpy as np

from ...compiler.jit import FORCE_INLINE, jitable, load, method
from ...records.dual_averaging import is_dual_averaging, primal
from ...records.penalties import Bounded, Box, NonNegative, NoPenalty, has_additive_prox, prox, prox_k, prox_k_sum
from ...records.rules import cumulative_step_size, step_size
from ...records.schedules import Constant, at

_max_abs = method("max_abs_of")
_inverse_scale = method("inverse_scale")


class SummedStepSizes(NamedTuple):
    """Widths that change from row to row, under penalties that take two steps as one of the sum of their widths.

    `last_update` holds the sum of lr m when each coordinate was current.
    """

    def caught_up(self, spec, x, s, last_update, i, t):
        passed = spec.scaling.running_sums[2] - last_update[i]
        if passed <= 0:
            return x
        scaling = spec.scaling
        r = step_size(spec.update.rule, s, type(x)(1)) * _inverse_scale(scaling, _max_abs(scaling, x, i))
        return prox(spec.update.penalty, x, type(x)(passed) * r, i)

    def set_last_update(self, spec, last_update, i, t):
        last_update[i] = spec.scaling.running_sums[2]


@jitable
def _no_op(lazy, *args):
    """Most lapses keep nothing of the iterates."""


@jitable
def _read_caught_up(lazy, spec, x, s, last_update, i, t):
    """Most lapses bring a coordinate of a row up to date when they read it."""
    return caught_up(spec, x, s, last_update, i, t)


@jitable
def _false(lazy):
    """Then nothing is left to be done."""
    return False


@jitable
def _identity(lazy, spec, x, s, workspace, k, i, t):
    """Nothing was."""
    return x


_caught_up = method("caught_up")
read_weight = method("read_weight", default=_read_caught_up)
read_last_update = method("read_last_update", default=_no_op)
is_deferred = method("is_deferred", default=_false)
catch_up_row = method("catch_up_row", default=_identity, jit_options=FORCE_INLINE)
set_last_update = method("set_last_update")
catch_up = method("catch_up", jit_options=FORCE_INLINE)  # or the loop over a row would not vectorise
sum_missed_iterates = method("sum_missed_iterates")
add_missed_iterates = method("add_missed_iterates", default=_no_op)
add_iterate = method("add_iterate", default=_no_op)
add_bias_iterate = method("add_bias_iterate", default=_no_op)


@jitable
def caught_up(spec, x, s, last_update, i, t):
    """x after all updates before t, whether they touched it or not."""
    return _caught_up(spec.lazy, spec, x, s, last_update, i, t)


@jitable
def record_update(spec, weights, x, i, t):
    """Note that coordinate i, of which `weights` still has what it was before, has become x in update t - 1."""
    lazy, last_update = spec.lazy, weights.last_update
    add_missed_iterates(lazy, spec, last_update, weights.w[i], load(weights.s, i), i, i, t - 1)
    add_iterate(lazy, last_update, x, i, t)
    set_last_update(lazy, spec, last_update, i, t)


class NoCatchUp(NamedTuple):
    """No update moves a coordinate that it does not touch."""

    def caught_up(self, spec, x, s, last_update, i, t):
        return x

    def set_last_update(self, spec, last_update, i, t):
        pass

    def catch_up(self, spec, x, s, first, t, i):
        return x

    def sum_missed_iterates(self, spec, x, s, first, begin, t, i):
        return x * type(x)(t - begin)


class ClosedForm(NamedTuple):
    """One rate for all updates: the closed form.  `last_update` holds the update up to which each coordinate is current.

    The loop over a row vectorises: half as long for `L1`.
    """

    def is_deferred(self):
        return True

    def read_weight(self, spec, x, s, last_update, i, t):
        return x

    def read_last_update(self, last_update, i, workspace, k):
        workspace[k] = last_update[i]

    def catch_up_row(self, spec, x, s, workspace, k, i, t):
        return catch_up(self, spec, x, s, workspace[k], t, i)

    def caught_up(self, spec, x, s, last_update, i, t):
        first = last_update[i]
        return x if first >= t else catch_up(self, spec, x, s, first, t, i)

    def set_last_update(self, spec, last_update, i, t):
        last_update[i] = t

    def catch_up(self, spec, x, s, first, t, i):
        lr = type(x)(at(spec.schedule, first))
        return prox_k(spec.update.penalty, x, step_size(spec.update.rule, s, lr), t - first, i)

    def sum_missed_iterates(self, spec, x, s, first, begin, t, i):
        x = catch_up(self, spec, x, s, first, begin, i)
        lr = type(x)(at(spec.schedule, begin))
        return prox_k_sum(spec.update.penalty, x, step_size(spec.update.rule, s, lr), t - begin, i)


class StepByStep(NamedTuple):
    """A rate that changes: each update that was passed over with its own."""

    def caught_up(self, spec, x, s, last_update, i, t):
        return catch_up(self, spec, x, s, last_update[i], t, i)

    def set_last_update(self, spec, last_update, i, t):
        last_update[i] = t

    def catch_up(self, spec, x, s, first, t, i):
        for passed in range(first, t):
            lr = type(x)(at(spec.schedule, passed))
            x = prox(spec.update.penalty, x, step_size(spec.update.rule, s, lr), i)
        return x

    def sum_missed_iterates(self, spec, x, s, first, begin, t, i):
        x = catch_up(self, spec, x, s, first, begin, i)
        whole = x - x
        for passed in range(begin, t):
            x = catch_up(self, spec, x, s, passed, passed + 1, i)
            whole += x
        return whole


@jitable
def dual_averaging_solution(update, schedule, x, s, i, t):
    """Where dual averaging finds coordinate i after all updates before t; x where it has not been yet."""
    if t == 0:
        return x
    lr = type(x)(at(schedule, t - 1))
    return prox(update.penalty, primal(update.rule, x, s, lr), cumulative_step_size(update.rule, s, lr, t), i)


class FromAccumulators(NamedTuple):
    """A rule of dual averaging: x is found anew from its accumulators and t, whenever it was last met.

    `steps_are_equal` is 1 if the rate is constant and the penalty additive, so that from one t to the next x takes equal steps.
    """

    steps_are_equal: int

    def is_deferred(self):
        return True

    def read_weight(self, spec, x, s, last_update, i, t):
        return x

    def catch_up_row(self, spec, x, s, workspace, k, i, t):
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
        whole = x - x
        for passed in range(begin, t):
            whole += dual_averaging_solution(spec.update, spec.schedule, x, s, i, passed + 1)
        return whole


# --- averaged iterates -----------------------------------------------------------------------------------------------


class LazyIterateSums(NamedTuple):
    """Sums of the iterates after updates `first_update`, `first_update` + 1, …; those of coordinate i up to update last[i]."""

    last_update: Any
    sums: Any
    bias_sums: Any
    first_update: int


@jitable
def missed_sum(spec, x, s, first, since, t, i):
    """The sum of what x was after each of the updates first, …, t - 1, which passed it over, that counts."""
    begin = max(first, since)
    return x - x if begin >= t else sum_missed_iterates(spec.lazy.lazy, spec, x, s, first, begin, t, i)


@jitable
def zero_before_start(x, since, t):
    """x, or zero where update t - 1 does not count.  A branch around the sums would count references to them."""
    return x if t > since else type(x)(0)


class WithAveraging(NamedTuple):
    """Another lapse, by which the iterates go, and their sums; what is noted is a `LazyIterateSums`."""

    lazy: Any

    def caught_up(self, spec, x, s, sums, i, t):
        return catch_up(self.lazy, spec, x, s, sums.last_update[i], t, i)

    def set_last_update(self, spec, sums, i, t):
        sums.last_update[i] = t

    def add_missed_iterates(self, spec, sums, x, s, place, i, t):
        sums.sums[place] += missed_sum(spec, x, s, sums.last_update[i], sums.first_update, t, i)

    def add_iterate(self, sums, x, place, t):
        sums.sums[place] += zero_before_start(x, sums.first_update, t)

    def add_bias_iterate(self, sums, x, place, t):
        sums.bias_sums[place] += zero_before_start(x, sums.first_update, t)


# --- choice of the strategy ------------------------------------------------------------------------------------------


def acts_on_untouched(penalty):
    """Whether a penalty moves a coordinate that no gradient touches."""
    if isinstance(penalty, (NonNegative, NoPenalty)):
        return False
    if isinstance(penalty, (Box, Bounded)) or not hasattr(penalty, "strength"):
        return True
    return bool(np.any(np.asarray(penalty.strength) != 0))


def needs_last_update(rule, penalty):
    """Whether it must be known up to which update each coordinate is current."""
    return acts_on_untouched(penalty) and not is_dual_averaging(rule)


def choose_strategy(rule, penalty, schedule, normalized):
    """How the iterates are brought up to date at coordinates that no gradient has touched."""
    constant = isinstance(schedule, Constant)
    if is_dual_averaging(rule):
        even = constant and has_additive_prox(penalty)
        return FromAccumulators(int(even)) if acts_on_untouched(penalty) or not constant else NoCatchUp()
    if not acts_on_untouched(penalty):
        return NoCatchUp()
    if normalized:
        return SummedStepSizes()
    return ClosedForm() if constant else StepByStep()
