"""The compiled minimisation loop: one kernel with the objective, and one with the step, which it calls by address.

So a new objective compiles the loop alone, which is short, and the step of each rule comes from the disk cache.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import types

from ..compiler.jit import bind, cast_like, jit, jitable, method
from ..compiler.pointers import call_kernel, load_record
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


def to_number(f):
    """Convert the value of an objective to a float; an array of one element counts as a number."""
    return float(np.asarray(f).item())


@bind(to_number)
def _to_number_by_type(f):
    if isinstance(f, types.Array):

        def take_element(f):
            if f.size != 1:
                raise TypeError("fun: must return one real number")
            return float(f.flat[0])

        return take_element
    if isinstance(f, (types.UniTuple, types.List)):

        def take_only(f):
            if len(f) != 1:
                raise TypeError("fun: must return one real number")
            return float(f[0])

        return take_only
    if isinstance(f, types.Boolean):
        return lambda f: 1.0 if f else 0.0
    return lambda f: float(f)


@jit
def call_value_grad(objective, batch, x, g):
    """Return the value of an objective record at x and write its gradient into g.

    `batch` is () or a tuple of the sample numbers.
    """
    return to_number(value_grad(objective, x, g, *batch))


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
        for i in range(x.shape[0]):  # `x[:] = mean` takes more than a second to compile
            x[i] = mean[i]


@bind(update_mean)
def _update_mean_by_type(mean, x, average, t, is_before):
    if not isinstance(mean, types.Array):
        return lambda mean, x, average, t, is_before: None
    wants_before = averages_before(average.instance_class)

    def update_if_averaged(mean, x, average, t, is_before):
        if is_before == wants_before:
            _update_mean_array(mean, x, average, t)

    return update_if_averaged


class StepArguments(NamedTuple):
    """The records and arrays of `make_step`."""

    update: Any
    per_step: Any
    arrays: Any
    resolved_prefix: Any
    gtol: Any


STEP_TYPES = (types.float64, types.int64, types.boolean)  # of the arguments of `make_step` after the first


@jit
def make_step(arguments, f, t, is_last):
    """Make update t of x unless the run ends at x, where the objective has the value f; return the status."""
    update, per_step, arrays, resolved_prefix, gtol = load_record(arguments)
    x, given, g, s, mean = arrays
    n_unconverged, n_nonfinite = count_unconverged(update.penalty, ALL, x, g, gtol)
    if n_nonfinite > 0 or not math.isfinite(f):
        return NOT_FINITE
    if n_unconverged == 0 and gtol > 0:
        return CONVERGED
    if not is_last:
        lr = cast_like(at(per_step.schedule, t), x)
        transforms = resolve_norms(update.transforms, resolved_prefix, ALL, x, g, lr)
        update_mean(mean, x, per_step.average, t, True)
        update_coordinates(Update(update.rule, transforms, update.penalty), ALL, x, g, s, lr, t)
        update_mean(mean, x, per_step.average, t, False)
        for i in range(x.shape[0]):
            given[i] = x[i]
    return RUNNING


@jit
def minimize_loop(objective, given, g, step, t, n, f, is_evaluated):
    """Make at most n updates with `step`, the bound `make_step`; return (steps, status, f).

    `given` is the copy of x for the objective, which writes its gradient into g.  With `is_evaluated`, f and g are
    those of x already.
    """
    steps = 0
    while True:
        if not is_evaluated:
            f = to_number(evaluate(objective, given, g, t + steps))
        is_evaluated = False
        is_last = steps == n
        status = call_kernel(step, f, t + steps, is_last)
        if is_last or status != RUNNING:
            return steps, status, f
        steps += 1
