"""How a coordinate that sparse rows passed over is brought up to date, when it is next met.

A lapse is a record.  ``current(recipe, x, s, last, i, t)`` is x after all updates before t, whether they touched it or
not, where `last` is what the lapse has noted, and ``renew(recipe, last, i, t)`` notes that coordinate i is current.
``catch_up(recipe, x, s, first, t, i)`` is what the updates first, …, t - 1 make of x in passing, and
``summed(recipe, x, s, first, begin, t, i)`` the sum of what x is after each of those that do not come before `begin`.

One that ``lags()`` brings the coordinates of a row up to date in a loop of its own, after all have been gathered: by
``overtake(recipe, x, s, room, k, i, t)`` of the k-th, which ``read(recipe, x, s, last, i, t)`` gave as it was, and of
which ``collect(last, i, room, k)`` made a note.  Others read it as it is by then.

One that keeps more of the iterates has ``passing(recipe, last, x, s, place, i, t)``, called before x is brought up to
date from what it was, and ``arrive(last, x, place, t)`` and ``arrive_bias(last, x, place, t)``, when update t - 1 has
made it x; `place` is where it stands in the arrays.
"""

from typing import Any, NamedTuple

import numpy as np

from ...compiler.jit import FORCE_INLINE, jitable, load, method
from ...records.dual_averaging import is_dual_averaging, primal
from ...records.penalties import Bounded, Box, NonNegative, NoPenalty, has_additive_prox, prox, prox_k, prox_k_sum
from ...records.rules import cumulative_step_size, step_size
from ...records.schedules import Constant, at

_largest = method("largest_of")
_scale = method("scale")


class Summed(NamedTuple):
    """Widths that change from row to row, under penalties that take two steps as one of the sum of their widths.

    `last` holds the sum of lr m when each coordinate was current.
    """

    def current(self, recipe, x, s, last, i, t):
        passed = recipe.scaling.totals[2] - last[i]
        if passed <= 0:
            return x
        scaling = recipe.scaling
        r = step_size(recipe.update.rule, s, type(x)(1)) * _scale(scaling, _largest(scaling, x, i))
        return prox(recipe.update.penalty, x, type(x)(passed) * r, i)

    def renew(self, recipe, last, i, t):
        last[i] = recipe.scaling.totals[2]


@jitable
def _unminded(lapse, *args):
    """Most lapses keep nothing of the iterates."""


@jitable
def _at_once(lapse, recipe, x, s, last, i, t):
    """Most lapses bring a coordinate of a row up to date when they read it."""
    return current(recipe, x, s, last, i, t)


@jitable
def _never(lapse):
    """Then nothing is left to be done."""
    return False


@jitable
def _unchanged(lapse, recipe, x, s, room, k, i, t):
    """Nothing was."""
    return x


_current = method("current")
read = method("read", default=_at_once)
collect = method("collect", default=_unminded)
lags = method("lags", default=_never)
overtake = method("overtake", default=_unchanged, jit_options=FORCE_INLINE)
renew = method("renew")
catch_up = method("catch_up", jit_options=FORCE_INLINE)  # or the loop over a row would not vectorise
summed = method("summed")
passing = method("passing", default=_unminded)
arrive = method("arrive", default=_unminded)
arrive_bias = method("arrive_bias", default=_unminded)


@jitable
def current(recipe, x, s, last, i, t):
    """x after all updates before t, whether they touched it or not."""
    return _current(recipe.lapse, recipe, x, s, last, i, t)


@jitable
def mark(recipe, weights, x, i, t):
    """Note that coordinate i, of which `weights` still has what it was before, has become x in update t - 1."""
    lapse, last = recipe.lapse, weights.last
    passing(lapse, recipe, last, weights.w[i], load(weights.s, i), i, i, t - 1)
    arrive(lapse, last, x, i, t)
    renew(lapse, recipe, last, i, t)


class Prompt(NamedTuple):
    """No update moves a coordinate that it does not touch."""

    def current(self, recipe, x, s, last, i, t):
        return x

    def renew(self, recipe, last, i, t):
        pass

    def catch_up(self, recipe, x, s, first, t, i):
        return x

    def summed(self, recipe, x, s, first, begin, t, i):
        return x * type(x)(t - begin)


class Closed(NamedTuple):
    """One rate for all updates: the closed form.  `last` holds the update up to which each coordinate is current.

    The loop over a row vectorises: half as long for `L1`.
    """

    def lags(self):
        return True

    def read(self, recipe, x, s, last, i, t):
        return x

    def collect(self, last, i, room, k):
        room[k] = last[i]

    def overtake(self, recipe, x, s, room, k, i, t):
        return catch_up(self, recipe, x, s, room[k], t, i)

    def current(self, recipe, x, s, last, i, t):
        first = last[i]
        return x if first >= t else catch_up(self, recipe, x, s, first, t, i)

    def renew(self, recipe, last, i, t):
        last[i] = t

    def catch_up(self, recipe, x, s, first, t, i):
        lr = type(x)(at(recipe.schedule, first))
        return prox_k(recipe.update.penalty, x, step_size(recipe.update.rule, s, lr), t - first, i)

    def summed(self, recipe, x, s, first, begin, t, i):
        x = catch_up(self, recipe, x, s, first, begin, i)
        lr = type(x)(at(recipe.schedule, begin))
        return prox_k_sum(recipe.update.penalty, x, step_size(recipe.update.rule, s, lr), t - begin, i)


class Stepwise(NamedTuple):
    """A rate that changes: each update that was passed over with its own."""

    def current(self, recipe, x, s, last, i, t):
        return catch_up(self, recipe, x, s, last[i], t, i)

    def renew(self, recipe, last, i, t):
        last[i] = t

    def catch_up(self, recipe, x, s, first, t, i):
        for passed in range(first, t):
            lr = type(x)(at(recipe.schedule, passed))
            x = prox(recipe.update.penalty, x, step_size(recipe.update.rule, s, lr), i)
        return x

    def summed(self, recipe, x, s, first, begin, t, i):
        x = catch_up(self, recipe, x, s, first, begin, i)
        whole = x - x
        for passed in range(begin, t):
            x = catch_up(self, recipe, x, s, passed, passed + 1, i)
            whole += x
        return whole


@jitable
def found(update, schedule, x, s, i, t):
    """Where dual averaging finds coordinate i after all updates before t; x where it has not been yet."""
    if t == 0:
        return x
    lr = type(x)(at(schedule, t - 1))
    return prox(update.penalty, primal(update.rule, x, s, lr), cumulative_step_size(update.rule, s, lr, t), i)


class Anew(NamedTuple):
    """A rule of dual averaging: x is found anew from its accumulators and t, whenever it was last met.

    `even` is 1 if the rate is constant and the penalty additive, so that from one t to the next x takes equal steps.
    """

    even: int

    def lags(self):
        return True

    def read(self, recipe, x, s, last, i, t):
        return x

    def overtake(self, recipe, x, s, room, k, i, t):
        return found(recipe.update, recipe.schedule, x, s, i, t)

    def current(self, recipe, x, s, last, i, t):
        return found(recipe.update, recipe.schedule, x, s, i, t)

    def renew(self, recipe, last, i, t):
        pass

    def catch_up(self, recipe, x, s, first, t, i):
        return found(recipe.update, recipe.schedule, x, s, i, t)

    def summed(self, recipe, x, s, first, begin, t, i):
        if self.even:
            lr, rule = type(x)(at(recipe.schedule, begin)), recipe.update.rule
            x = prox(recipe.update.penalty, primal(rule, x, s, lr), cumulative_step_size(rule, s, lr, begin), i)
            return prox_k_sum(recipe.update.penalty, x, cumulative_step_size(rule, s, lr, 1), t - begin, i)
        whole = x - x
        for passed in range(begin, t):
            whole += found(recipe.update, recipe.schedule, x, s, i, passed + 1)
        return whole


# --- averaged iterates -----------------------------------------------------------------------------------------------


class Trail(NamedTuple):
    """Sums of the iterates after updates `since`, `since` + 1, …; those of coordinate i up to update last[i]."""

    last: Any
    total: Any
    bias_total: Any
    since: int


@jitable
def passed(recipe, x, s, first, since, t, i):
    """The sum of what x was after each of the updates first, …, t - 1, which passed it over, that counts."""
    begin = max(first, since)
    return x - x if begin >= t else summed(recipe.lapse.lapse, recipe, x, s, first, begin, t, i)


@jitable
def counted(x, since, t):
    """x, or zero where update t - 1 does not count.  A branch around the sums would count references to them."""
    return x if t > since else type(x)(0)


class Averaged(NamedTuple):
    """Another lapse, by which the iterates go, and their sums; what is noted is a `Trail`."""

    lapse: Any

    def current(self, recipe, x, s, trail, i, t):
        return catch_up(self.lapse, recipe, x, s, trail.last[i], t, i)

    def renew(self, recipe, trail, i, t):
        trail.last[i] = t

    def passing(self, recipe, trail, x, s, place, i, t):
        trail.total[place] += passed(recipe, x, s, trail.last[i], trail.since, t, i)

    def arrive(self, trail, x, place, t):
        trail.total[place] += counted(x, trail.since, t)

    def arrive_bias(self, trail, x, place, t):
        trail.bias_total[place] += counted(x, trail.since, t)


# --- choice of the strategy ------------------------------------------------------------------------------------------


def moves_untouched(penalty):
    """Whether a penalty moves a coordinate that no gradient touches."""
    if isinstance(penalty, (NonNegative, NoPenalty)):
        return False
    if isinstance(penalty, (Box, Bounded)) or not hasattr(penalty, "strength"):
        return True
    return bool(np.any(np.asarray(penalty.strength) != 0))


def must_note(rule, penalty):
    """Whether it must be known up to which update each coordinate is current."""
    return moves_untouched(penalty) and not is_dual_averaging(rule)


def lapse_of(rule, penalty, schedule, normalized):
    """How the iterates are brought up to date at coordinates that no gradient has touched."""
    constant = isinstance(schedule, Constant)
    if is_dual_averaging(rule):
        even = constant and has_additive_prox(penalty)
        return Anew(int(even)) if moves_untouched(penalty) or not constant else Prompt()
    if not moves_untouched(penalty):
        return Prompt()
    if normalized:
        return Summed()
    return Closed() if constant else Stepwise()
