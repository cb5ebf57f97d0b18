"""The mean of the iterates of a sparse learner, kept lazily: a sum is brought up to date when its coordinate is met."""

from typing import Any, NamedTuple

from .._jit import load, method, plain

catch_up = method("catch_up")
summed = method("summed")


class Trail(NamedTuple):
    """Sums of the iterates after updates `since`, `since` + 1, …; total[i] up to update last[i]."""

    last: Any
    total: Any
    bias_total: Any
    since: int


@plain
def passed(recipe, x, s, trail, i, t):
    """The sum of what x was after each of the updates before t that passed it over and count."""
    first = trail.last[i]
    begin = max(first, trail.since)
    if begin >= t:
        return x - x
    if begin > first:
        x = catch_up(recipe.lapse, recipe.update, recipe.schedule, x, s, first, begin - first, i)
    return summed(recipe.lapse, recipe.update, recipe.schedule, x, s, begin, t - begin, i)


@plain
def add(recipe, weights, trail, x, i, t):
    """Take in that coordinate i, of which `weights` has what it was before, has become x in update t - 1."""
    trail.total[i] += passed(recipe, weights.w[i], load(weights.s, i), trail, i, t - 1)
    if t > trail.since:
        trail.total[i] += x
    trail.last[i] = t
