"""The minimisation loop as one kernel, compiled with the objective."""

import math
from typing import Any, NamedTuple

from numba import types

from ..compiler.jit import bind, cast_like, jit, jitable, method
from ..optim.kernels.array_update import ALL, update_average, update_coordinates
from ..optim.kernels.reductions import count_unconverged, resolve_norms
from ..records.averaging import averages_before, overwrites, weight
from ..records.coordinate import Update
from ..records.schedules import at

RUNNING, CONVERGED, NOT_FINITE = range(3)

value_grad = method("value_grad")


@jitable
def _evaluate_at_any_step(objective, x, g, t):
    """Evaluate an objective that does not depend on t."""
    return value_grad(objective, x, g)


evaluate = method("evaluate", default=_evaluate_at_any_step)


@jit
def call_value_grad(objective, batch, x, g):
    """Return the value of an objective record at x and write its gradient into g.

    `batch` is () or a tuple of the sample numbers.
    """
    return value_grad(objective, x, g, *batch)


class PerStep(NamedTuple):
    """The records that depend on the number of the update."""

    schedule: Any
    average: Any


class LoopArrays(NamedTuple):
    """The arrays that the loop updates; `mean` is () without averaging.

    The objective gets the copy `given` of x, which it may change.
    """

    x: Any
    given: Any
    g: Any
    s: Any
    mean: Any


def update_mean(mean, x, average, t, is_before):
    """mean += weight(t) (x - mean) if there is a mean; x = mean where the average overwrites x

    `is_before` says whether x is the iterate before update t; the mean changes only by the iterates that it averages.
    """
    if not isinstance(mean, tuple) and is_before == averages_before(average):
        _update_mean_array(mean, x, average, t)


@jitable
def _update_mean_array(mean, x, average, t):
    """Add the iterate of update t to the mean."""
    update_average(average, mean, x, cast_like(weight(average, t), x))
    if overwrites(average, t):
        x[:] = mean


@bind(update_mean)
def _update_mean_by_type(mean, x, average, t, is_before):
    if not isinstance(mean, types.Array):
        return lambda mean, x, average, t, is_before: None
    wants_before = averages_before(average.instance_class)

    def update_if_averaged(mean, x, average, t, is_before):
        if is_before == wants_before:
            _update_mean_array(mean, x, average, t)

    return update_if_averaged


@jit
def minimize_loop(objective, update, per_step, arrays, resolved_prefix, t, n, gtol):
    """Make at most n updates of x; return (steps, status, value), where value and g are those of the last x."""
    x, given, g, s, mean = arrays
    steps = 0
    while True:
        for i in range(x.shape[0]):
            given[i] = x[i]
        f = evaluate(objective, given, g, t + steps)
        n_unconverged, n_nonfinite = count_unconverged(update.penalty, ALL, x, g, gtol)
        if n_nonfinite > 0 or not math.isfinite(f):
            return steps, NOT_FINITE, f
        if n_unconverged == 0 and gtol > 0:
            return steps, CONVERGED, f
        if steps == n:
            return steps, RUNNING, f
        lr = cast_like(at(per_step.schedule, t + steps), x)
        transforms = resolve_norms(update.transforms, resolved_prefix, ALL, x, g, lr)
        update_mean(mean, x, per_step.average, t + steps, True)
        update_coordinates(Update(update.rule, transforms, update.penalty), ALL, x, g, s, lr, t + steps)
        update_mean(mean, x, per_step.average, t + steps, False)
        steps += 1
