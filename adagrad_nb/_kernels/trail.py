"""The mean of the iterates of a sparse learner, kept lazily: a sum is brought up to date when its coordinate is met."""

from typing import Any, NamedTuple

from .._jit import load, method, plain

catch_up = method("catch_up")
summed = method("summed")
_current = method("current")
_mark = method("mark")


class Trail(NamedTuple):
    """Sums of the iterates after updates `since`, `since` + 1, …; total[i] up to update met[i].

    `last` is what the lapse notes whose iterates they are.
    """

    last: Any
    met: Any
    total: Any
    bias_total: Any
    since: int


@plain
def passed(recipe, x, s, trail, i, t):
    """The sum of what x was after each of the updates before t that passed it over and count."""
    first = trail.met[i]
    begin = max(first, trail.since)
    if begin >= t:
        return x - x
    lapse = recipe.lapse.lapse
    if begin > first:
        x = _current(lapse, recipe, x, s, trail.last, i, begin)
    return summed(lapse, recipe, x, s, begin, t - begin, i)


class Averaged(NamedTuple):
    """A lapse, and the mean of the iterates that it gives; in place of its notes there is a `Trail`."""

    lapse: Any

    def current(self, recipe, x, s, last, i, t):
        return _current(self.lapse, recipe, x, s, last.last, i, t)

    def mark(self, recipe, weights, trail, x, i, t):
        trail.total[i] += passed(recipe, weights.w[i], load(weights.s, i), trail, i, t - 1)
        if t > trail.since:
            trail.total[i] += x
        trail.met[i] = t
        _mark(self.lapse, recipe, weights, trail.last, x, i, t)

    def mark_bias(self, weights, t):
        if t > weights.last.since:
            weights.last.bias_total[0] += weights.bias[0]
