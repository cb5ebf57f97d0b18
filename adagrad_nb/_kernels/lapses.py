"""How a coordinate that sparse rows passed over is brought up to date, when it is next met.

A lapse is a record.  ``current(recipe, x, s, last, i, t)`` is x after all updates before t, whether they touched it or
not, where `last` is what the lapse has noted, and ``renew(recipe, last, i, t)`` notes that coordinate i is current.
``catch_up(recipe, x, s, first, t, i)`` is what the updates first, …, t - 1 make of x in passing, and
``summed(recipe, x, s, first, begin, t, i)`` the sum of what x is after each of those that do not come before `begin`.

One that keeps more of the iterates has ``passing(recipe, last, x, s, place, i, t)``, called before x is brought up to
date from what it was, and ``arrive(last, x, place, t)`` and ``arrive_bias(last, x, place, t)``, when update t - 1 has
made it x; `place` is where it stands in the arrays.
"""

from typing import NamedTuple

from .._jit import load, method, plain
from ..dual import point
from ..penalties import prox, repeat, total
from ..rules import reach, width
from ..schedules import at


@plain
def _unminded(lapse, *args):
    """Most lapses keep nothing of the iterates."""


_current = method("current")
renew = method("renew")
catch_up = method("catch_up")
summed = method("summed")
passing = method("passing", default=_unminded)
arrive = method("arrive", default=_unminded)
arrive_bias = method("arrive_bias", default=_unminded)


@plain
def current(recipe, x, s, last, i, t):
    """x after all updates before t, whether they touched it or not."""
    return _current(recipe.lapse, recipe, x, s, last, i, t)


@plain
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
    """One rate for all updates: the closed form.  `last` holds the update up to which each coordinate is current."""

    def current(self, recipe, x, s, last, i, t):
        return catch_up(self, recipe, x, s, last[i], t, i)

    def renew(self, recipe, last, i, t):
        last[i] = t

    def catch_up(self, recipe, x, s, first, t, i):
        if first >= t:
            return x
        lr = type(x)(at(recipe.schedule, first))
        return repeat(recipe.update.penalty, x, width(recipe.update.rule, s, lr), t - first, i)

    def summed(self, recipe, x, s, first, begin, t, i):
        x = catch_up(self, recipe, x, s, first, begin, i)
        lr = type(x)(at(recipe.schedule, begin))
        return total(recipe.update.penalty, x, width(recipe.update.rule, s, lr), t - begin, i)


class Stepwise(NamedTuple):
    """A rate that changes: each update that was passed over with its own."""

    def current(self, recipe, x, s, last, i, t):
        return catch_up(self, recipe, x, s, last[i], t, i)

    def renew(self, recipe, last, i, t):
        last[i] = t

    def catch_up(self, recipe, x, s, first, t, i):
        for passed in range(first, t):
            lr = type(x)(at(recipe.schedule, passed))
            x = prox(recipe.update.penalty, x, width(recipe.update.rule, s, lr), i)
        return x

    def summed(self, recipe, x, s, first, begin, t, i):
        x = catch_up(self, recipe, x, s, first, begin, i)
        whole = x - x
        for passed in range(begin, t):
            x = catch_up(self, recipe, x, s, passed, passed + 1, i)
            whole += x
        return whole


class Anew(NamedTuple):
    """A rule of dual averaging: x is found anew from its accumulators and t, whenever it was last met.

    `even` is 1 if the rate is constant and the penalty additive, so that from one t to the next x takes equal steps.
    """

    even: int

    def current(self, recipe, x, s, last, i, t):
        return catch_up(self, recipe, x, s, 0, t, i)

    def renew(self, recipe, last, i, t):
        pass

    def catch_up(self, recipe, x, s, first, t, i):
        if t == 0:
            return x
        lr = type(x)(at(recipe.schedule, t - 1))
        rule = recipe.update.rule
        return prox(recipe.update.penalty, point(rule, x, s, lr), reach(rule, s, lr, t), i)

    def summed(self, recipe, x, s, first, begin, t, i):
        if self.even:
            lr, rule = type(x)(at(recipe.schedule, begin)), recipe.update.rule
            x = prox(recipe.update.penalty, point(rule, x, s, lr), reach(rule, s, lr, begin), i)
            return total(recipe.update.penalty, x, reach(rule, s, lr, 1), t - begin, i)
        whole = x - x
        for passed in range(begin, t):
            whole += catch_up(self, recipe, x, s, first, passed + 1, i)
        return whole
