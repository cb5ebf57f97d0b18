"""Lazy updates for penalties of groups of features: `Grouped`.

The proximal step of a group changes all its weights.  It is applied to the whole group in place, when a row next has
one of its features, together with those of the updates that missed the group.  So a stored value costs as much time as
its group has features.
"""

from typing import Any, NamedTuple

from numba import types

from ...compiler.jit import bind, borrow_arrays, cast_like, field_type, jit, jitable, load, method
from ...records.dual_averaging import is_dual_averaging, primal
from ...records.group_penalties import group_prox
from ...records.rules import cumulative_step_size
from ...records.schedules import Constant, at
from .lazy import zero_before_start

_group_arrays = method("group_arrays")
_add_iterates = method("add_iterates")
_steps_at_once = method("steps_at_once")
_first_solution = method("first_solution")


class CatchUpGroups(NamedTuple):
    """Weights, accumulators and update numbers of all features, and their groups.

    Group j has the features ``members[starts[j]:starts[j + 1]]``.  `x` and `step_sizes` are workspace for a group.
    A group is current up to the largest `last_update` of its features, of which those that were added later have 0.
    """

    w: Any = ()
    s: Any = ()
    last_update: Any = ()
    group_of: Any = ()
    starts: Any = ()
    members: Any = ()
    x: Any = ()
    step_sizes: Any = ()

    def group_arrays(self):
        """Return these arrays."""
        return self

    def at_update(self, t):
        return borrow_arrays(self)

    def caught_up(self, spec, x, s, last_update, i, t):
        if self.last_update[i] < t:
            catch_up_members(self, spec, self.group_of[i], t)
        return self.w[i]

    def set_last_update(self, spec, last_update, i, t):
        pass

    def add_iterates(self, group, step):
        """Do nothing: the iterates are not averaged."""

    def steps_at_once(self, k):
        """Return how many of k updates at one learning rate are applied at once."""
        return k

    def first_solution(self, first, t):
        """Return the first update after which the solution of dual averaging is needed."""
        return t - 1


class AveragedGroups(NamedTuple):
    """`CatchUpGroups` with sums of the iterates after the updates from `first_update` on."""

    groups: CatchUpGroups
    sums: Any
    first_update: int

    def group_arrays(self):
        """Return the arrays of the groups."""
        return self.groups

    def at_update(self, t):
        return borrow_arrays(self)

    def caught_up(self, spec, x, s, last_update, i, t):
        if self.groups.last_update[i] < t:
            catch_up_members(self, spec, self.groups.group_of[i], t)
        return self.groups.w[i]

    def set_last_update(self, spec, last_update, i, t):
        pass

    def add_bias_iterate(self, last_update, x, index, t):
        last_update.bias_sums[index] += zero_before_start(x, self.first_update, t)

    def add_iterates(self, group, step):
        """Add the weights of a group, which are in the workspace, after update `step`."""
        starts, members, x = self.groups.starts, self.groups.members, self.groups.x
        if step >= self.first_update:
            for k in range(starts[group + 1] - starts[group]):
                self.sums[members[starts[group] + k]] += x[k]

    def steps_at_once(self, k):
        """Return 1: each iterate is needed."""
        return 1

    def first_solution(self, first, t):
        """Return the first update: each iterate is needed."""
        return first


@jitable
def catch_up_members(lazy, spec, group, t):
    """Apply the proximal steps before update t that a group missed to all its weights."""
    arrays = _group_arrays(lazy)
    w, last_update, members, x = arrays.w, arrays.last_update, arrays.members, arrays.x
    start, n = arrays.starts[group], arrays.starts[group + 1] - arrays.starts[group]
    first = last_update[members[start]]
    for k in range(n):
        first = max(first, last_update[members[start + k]])
        x[k] = w[members[start + k]]
    if first < t:
        take_steps(lazy, spec, group, first, t)
    for k in range(n):
        w[members[start + k]] = x[k]
        last_update[members[start + k]] = t


@jitable
def apply_penalty(lazy, spec, group, step, k):
    """Apply the penalty of k updates, the first of which is `step`, to the workspace of a group."""
    arrays = _group_arrays(lazy)
    start, n = arrays.starts[group], arrays.starts[group + 1] - arrays.starts[group]
    lr = cast_like(at(spec.schedule, step), arrays.x)
    for j in range(n):
        s = load(arrays.s, arrays.members[start + j])
        arrays.step_sizes[j] = cumulative_step_size(spec.update.rule, s, lr, step + 1)
    group_prox(spec.update.penalty.penalty, arrays.x[:n], arrays.step_sizes[:n], k, group)


@jitable
def prox_steps(lazy, spec, group, first, t):
    """Apply the proximal steps of the updates first, …, t - 1 to the workspace of a group, until it is zero."""
    arrays = _group_arrays(lazy)
    n = arrays.starts[group + 1] - arrays.starts[group]
    n_steps = _steps_at_once(lazy, steps_at_constant_rate(spec, t - first))
    for step in range(first, t, n_steps):
        n_nonzero = 0
        for k in range(n):
            n_nonzero += arrays.x[k] != 0
        if n_nonzero == 0:
            return
        apply_penalty(lazy, spec, group, step, n_steps)
        _add_iterates(lazy, group, step)


@jitable
def solve_steps(lazy, spec, group, first, t):
    """Set the workspace of a group to the solution of dual averaging after update t - 1."""
    arrays = _group_arrays(lazy)
    start, n = arrays.starts[group], arrays.starts[group + 1] - arrays.starts[group]
    for step in range(_first_solution(lazy, first, t), t):
        lr = cast_like(at(spec.schedule, step), arrays.x)
        for k in range(n):
            i = arrays.members[start + k]
            arrays.x[k] = primal(spec.update.rule, arrays.w[i], load(arrays.s, i), lr)
        apply_penalty(lazy, spec, group, step, 1)
        _add_iterates(lazy, group, step)


def take_steps(lazy, spec, group, first, t):
    """Apply the updates first, …, t - 1 to the workspace of a group."""
    function = solve_steps if is_dual_averaging(spec.update.rule) else prox_steps
    function(lazy, spec, group, first, t)


@bind(take_steps)
def _overload_take_steps(lazy, spec, group, first, t):
    rule = field_type(field_type(spec, "update"), "rule").instance_class
    return solve_steps if is_dual_averaging(rule) else prox_steps


def steps_at_constant_rate(spec, k):
    """Return how many of k updates have the same learning rate: all of them if it is constant, else 1."""
    return k if isinstance(spec.schedule, Constant) else 1


@bind(steps_at_constant_rate)
def _overload_steps_at_constant_rate(spec, k):
    schedule = field_type(spec, "schedule")
    if isinstance(schedule, types.BaseNamedTuple) and schedule.instance_class is Constant:
        return lambda spec, k: k
    return lambda spec, k: 1


@jit
def catch_up_all_groups(spec, t):
    """Apply the proximal steps before update t that groups missed."""
    for group in range(_group_arrays(spec.lazy).starts.shape[0] - 1):
        catch_up_members(spec.lazy, spec, group, t)
