"""The whole minimisation loop, compiled with the objective."""

import math
from typing import Any, NamedTuple

from numba import types

from ..compiler.jit import bind, jit, method, narrow, plain
from ..optim.kernels.array_update import ALL, blend, each
from ..optim.kernels.reductions import settle, unfinished
from ..records.averaging import overwrites, weight
from ..records.coordinate import Update
from ..records.schedules import at

RUNNING, CONVERGED, NOT_FINITE = range(3)

value_grad = method("value_grad")


@plain
def _whole(objective, x, g, t):
    """An objective that does not depend on t."""
    return value_grad(objective, x, g)


evaluate = method("evaluate", default=_whole)


@jit
def assess(objective, batch, x, g):
    """Value and gradient g of an objective record at x; `batch` is () or holds the sample numbers."""
    return value_grad(objective, x, g, *batch)


class Clock(NamedTuple):
    """What depends on the number of the update."""

    schedule: Any
    average: Any


class Iterate(NamedTuple):
    """The arrays that the loop moves; `mean` is () without averaging."""

    x: Any
    g: Any
    s: Any
    mean: Any


def keep(mean, x, average, t):
    """mean += weight(t) (x - mean), where there is a mean; now and then x = mean."""
    if not isinstance(mean, tuple):
        _average(mean, x, average, t)


@plain
def _average(mean, x, average, t):
    """Bring the mean up to date with update t."""
    blend(average, mean, x, narrow(weight(average, t), x))
    if overwrites(average, t):
        x[:] = mean


@bind(keep)
def _keep(mean, x, average, t):
    if not isinstance(mean, types.Array):
        return lambda mean, x, average, t: None
    return lambda mean, x, average, t: _average(mean, x, average, t)


@jit
def descend(objective, update, clock, iterate, head, t, n, gtol):
    """At most n steps of x = move(x, g(x)); return (steps, status, value), g and value being those of the last x."""
    x, g, s, mean = iterate
    steps = 0
    while True:
        f = evaluate(objective, x, g, t + steps)
        far, wrong = unfinished(update.penalty, ALL, x, g, gtol)
        if wrong > 0 or not math.isfinite(f):
            return steps, NOT_FINITE, f
        if far == 0 and gtol > 0:
            return steps, CONVERGED, f
        if steps == n:
            return steps, RUNNING, f
        lr = narrow(at(clock.schedule, t + steps), x)
        transforms = settle(update.transforms, head, ALL, x, g, lr)
        each(Update(update.rule, transforms, update.penalty), ALL, x, g, s, lr, t + steps)
        keep(mean, x, clock.average, t + steps)
        steps += 1
