"""The mean of the iterates of a sparse learner, kept lazily: a sum is brought up to date when its coordinate is met."""

from typing import Any, NamedTuple

from .._jit import load, method
from .lapses import catch_up, summed

passed = method("passed")


class Trail(NamedTuple):
    """Sums of the iterates after updates `since`, `since` + 1, …; total[i] up to update last[i]."""

    last: Any
    total: Any
    bias_total: Any
    since: int


class Averaged(NamedTuple):
    """Another lapse, by which the iterates go, with their sums; what is noted is a `Trail`."""

    lapse: Any

    def current(self, recipe, x, s, trail, i, t):
        return catch_up(self.lapse, recipe, x, s, trail.last[i], t, i)

    def mark(self, recipe, weights, x, i, t):
        trail = weights.last
        trail.total[i] += passed(self, recipe, weights.w[i], load(weights.s, i), trail, i, t - 1)
        if t > trail.since:
            trail.total[i] += x
        trail.last[i] = t

    def mark_bias(self, weights, t):
        trail = weights.last
        if t > trail.since:
            trail.bias_total[0] += weights.bias[0]

    def passed(self, recipe, x, s, trail, i, t):
        """The sum of what x was after each of the updates before t that passed it over and count."""
        first = trail.last[i]
        begin = max(first, trail.since)
        return x - x if begin >= t else summed(self.lapse, recipe, x, s, first, begin, t, i)
