"""The mean of the iterates of a sparse learner, kept lazily: a sum is brought up to date when its coordinate is met."""

from typing import Any, NamedTuple

from .._jit import plain
from .lapses import catch_up, summed


class Trail(NamedTuple):
    """Sums of the iterates after updates `since`, `since` + 1, …; those of coordinate i up to update last[i]."""

    last: Any
    total: Any
    bias_total: Any
    since: int


@plain
def passed(recipe, x, s, first, since, t, i):
    """The sum of what x was after each of the updates first, …, t - 1, which passed it over, that counts."""
    begin = max(first, since)
    return x - x if begin >= t else summed(recipe.lapse.lapse, recipe, x, s, first, begin, t, i)


@plain
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
