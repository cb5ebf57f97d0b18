"""Lazy updates of several outputs, of each output or of all outputs of a feature as a group.

The outputs of a feature share its update number.
"""

from typing import Any, NamedTuple

from numba import types

from ...compiler.jit import bind, cast_like, field_type, force_inline, jitable, load, method
from ...compiler.simd import LANES8, load_lanes4, load_lanes8, load_lanes_like, load_slots, store_lanes
from ...records.dual_averaging import primal
from ...records.group_penalties import group_prox, is_group_penalty
from ...records.penalties import prox_k
from ...records.rules import cumulative_step_size, step_size
from ...records.schedules import at
from .lazy import (
    ClosedForm,
    FromAccumulators,
    LazyIterateSums,
    NoCatchUp,
    WithAveraging,
    add_bias_iterate,
    add_iterate,
    caught_up,
    missed_sum,
    set_last_update,
)
from .rows import LearnerSpec


class ScaledSchedule(NamedTuple):
    """Learning-rate schedule times a factor, of all outputs."""

    schedule: Any
    factor: float

    def at(self, t):
        """Return the learning rate of update t."""
        return self.factor * at(self.schedule, t)


class OutputSchedule(NamedTuple):
    """Learning-rate schedule of one output."""

    schedule: Any
    rate_factor: float

    def at(self, t):
        """Return the learning rate of update t."""
        return self.rate_factor * at(self.schedule, t)

    def output_factor(self):
        """Return the factor of this output."""
        return self.rate_factor


@jitable
def _same_factor(spec, rate_factor, i):
    """Return `rate_factor`: most models have the same learning rate for all features."""
    return rate_factor


feature_rate_factor = method("feature_rate_factor", default=_same_factor)


@jitable
def output_spec(spec, rate_factor, i):
    """Return the records of one output at feature i, whose learning rate is multiplied by `rate_factor`."""
    schedule = OutputSchedule(spec.schedule, feature_rate_factor(spec, rate_factor, i))
    return LearnerSpec(spec.loss, spec.update, spec.bias_update, schedule, spec.lazy, spec.intercept)


def is_branchless(record):
    """Return whether the methods of a record run on SIMD vectors."""
    return getattr(getattr(record, "instance_class", None), "branchless", False)


def has_group_penalty(spec):
    """Return whether the type of a `LearnerSpec` has a group penalty."""
    return is_group_penalty(field_type(field_type(spec, "update"), "penalty").instance_class)


def _strategy_class(spec):
    """Return the class of the lazy-update strategy of a `LearnerSpec` or its type, without the averaging."""
    lazy = field_type(spec, "lazy") if isinstance(spec, types.BaseNamedTuple) else spec.lazy
    cls = getattr(lazy, "instance_class", type(lazy))
    if cls is not WithAveraging:
        return cls
    return field_type(lazy, "lazy").instance_class if isinstance(lazy, types.BaseNamedTuple) else type(lazy.lazy)


def steps_at_one_rate(spec, k):
    """Return how many of k missed updates have the same learning rate."""
    return k if _strategy_class(spec) is ClosedForm else 1


@bind(steps_at_one_rate)
def _overload_steps_at_one_rate(spec, k):
    return (lambda spec, k: k) if _strategy_class(spec) is ClosedForm else (lambda spec, k: 1)


def update_times(last_update):
    """Return the array of update numbers of the state of the lazy updates."""
    return last_update.last_update if isinstance(last_update, LazyIterateSums) else last_update


@bind(update_times)
def _overload_update_times(last_update):
    if isinstance(last_update, types.BaseNamedTuple):
        return lambda last_update: last_update.last_update
    return lambda last_update: last_update


@jitable
def apply_group_penalty(spec, outputs, s, buffers, i, lr, t, k):
    """Apply the group penalty of k updates at learning rate `lr`, t of them so far, to the `outputs` of feature i."""
    step_sizes, rate_factors = buffers.step_sizes, buffers.rate_factors
    for c in range(step_sizes.shape[0]):
        lr_c = cast_like(rate_factors[c] * lr, outputs)
        step_sizes[c] = cumulative_step_size(spec.update.rule, load(s, (i, c)), lr_c, t)
    group_prox(spec.update.penalty, outputs[: step_sizes.shape[0]], step_sizes, k, i)


@jitable
def _any_nonzero(outputs):
    """Return whether an entry is not zero."""
    n_nonzero = 0
    for c in range(outputs.shape[0]):
        n_nonzero += outputs[c] != 0
    return n_nonzero > 0


@jitable
def catch_up_each(spec, w, k, s, last_update, buffers, i, t):
    """Apply the missed updates before t to each output w[k] of feature i."""
    rate_factors = buffers.rate_factors
    for c in range(rate_factors.shape[0]):
        w[k, c] = caught_up(output_spec(spec, rate_factors[c], i), w[k, c], load(s, (i, c)), last_update, i, t)


@jitable
def fill_rates(buffers, rate):
    """Set the learning rate of each output, where `rate` is that of the schedule."""
    for c in range(buffers.rate_factors.shape[0]):
        buffers.lr[0, c] = buffers.rate_factors[c] * rate


@force_inline()
def _catch_up_lanes(spec, w, k, s, i, c, lr, n_missed):
    """Apply the missed updates to one SIMD vector of outputs of feature i, starting at output c."""
    x = load_lanes_like(w, k, c, lr)
    step = step_size(spec.update.rule, load_slots(s, i, c, lr), lr)
    store_lanes(w, k, c, prox_k(spec.update.penalty, x, step, n_missed, i))


@force_inline()
def catch_up_vectors(spec, w, k, s, last_update, buffers, i, t):
    """Apply the missed updates before t to the outputs w[k] of feature i, at a constant learning rate."""
    first, lr = last_update[i], buffers.lr
    if first >= t:
        return
    c = 0
    while c + LANES8 <= w.shape[1]:
        _catch_up_lanes(spec, w, k, s, i, c, load_lanes8(lr, 0, c), t - first)
        c += LANES8
    if c < w.shape[1]:
        _catch_up_lanes(spec, w, k, s, i, c, load_lanes4(lr, 0, c), t - first)


def can_catch_up_vectors(spec):
    """Return whether the type of a `LearnerSpec` has missed updates in a closed form that runs on SIMD vectors."""
    update = field_type(spec, "update")
    penalty = field_type(update, "penalty")
    return (
        field_type(spec, "lazy").instance_class is ClosedForm
        and spec.instance_class is LearnerSpec
        and is_branchless(field_type(update, "rule"))
        and is_branchless(penalty)
        and getattr(penalty.instance_class, "branchless_prox_k", False)
    )


@jitable
def catch_up_group(spec, w, k, s, last_update, buffers, i, t):
    """Apply the missed updates before t to the outputs w[k] of feature i as a group."""
    first = update_times(last_update)[i]
    if first >= t:
        return
    n_steps = steps_at_one_rate(spec, t - first)
    outputs = w[k, : buffers.rate_factors.shape[0]]
    for step in range(first, t, n_steps):
        if not _any_nonzero(outputs):
            return
        apply_group_penalty(spec, outputs, s, buffers, i, at(spec.schedule, step), step + 1, n_steps)


@jitable
def solve_group(spec, w, k, s, last_update, buffers, i, t):
    """Set the outputs w[k] of feature i to the solution of dual averaging after all updates before t, as a group."""
    if t == 0:
        return
    rate_factors, lr = buffers.rate_factors, at(spec.schedule, t - 1)
    for c in range(rate_factors.shape[0]):
        lr_c = cast_like(rate_factors[c] * lr, w)
        w[k, c] = primal(spec.update.rule, w[k, c], load(s, (i, c)), lr_c)
    apply_group_penalty(spec, w[k], s, buffers, i, lr, t, 1)


def catch_up_outputs(spec, w, k, s, last_update, buffers, i, t):
    """Apply the missed updates before t to the outputs w[k] of feature i."""
    function = _choose_catch_up(_strategy_class(spec), is_group_penalty(spec.update.penalty))
    function(spec, w, k, s, last_update, buffers, i, t)


@bind(catch_up_outputs)
def _overload_catch_up_outputs(spec, w, k, s, last_update, buffers, i, t):
    function = _choose_catch_up(_strategy_class(spec), has_group_penalty(spec))
    if can_catch_up_vectors(spec):
        return lambda spec, w, k, s, last_update, buffers, i, t: catch_up_vectors(
            spec, w, k, s, last_update, buffers, i, t
        )
    return lambda spec, w, k, s, last_update, buffers, i, t: function(spec, w, k, s, last_update, buffers, i, t)


def _choose_catch_up(strategy, is_group):
    """Return the function that applies missed updates to the outputs of a feature."""
    if not is_group or strategy is NoCatchUp:
        return catch_up_each
    return solve_group if strategy is FromAccumulators else catch_up_group


# --- sums of the iterates ----------------------------------------------------------------------------------------


@jitable
def sum_each(spec, weights, buffers, i, t, sums, k):
    """sums[k] += iterates of each output of feature i after the updates that it missed"""
    w, s, lazy_sums, _, _ = weights
    rate_factors = buffers.rate_factors
    for c in range(rate_factors.shape[0]):
        spec_c = output_spec(spec, rate_factors[c], i)
        first, first_update = lazy_sums.last_update[i], lazy_sums.first_update
        sums[k, c] += missed_sum(spec_c, w[i, c], load(s, (i, c)), first, first_update, t, i)


@jitable
def sum_group(spec, weights, buffers, i, t, sums, k):
    """sums[k] += iterates of the outputs of feature i, which are a group, after the updates that it missed"""
    w, s, lazy_sums, _, _ = weights
    outputs = buffers.p[0, : buffers.rate_factors.shape[0]]
    for c in range(outputs.shape[0]):
        outputs[c] = w[i, c]
    for step in range(lazy_sums.last_update[i], t):
        if not _any_nonzero(outputs):
            return
        apply_group_penalty(spec, outputs, s, buffers, i, at(spec.schedule, step), step + 1, 1)
        if step >= lazy_sums.first_update:
            for c in range(outputs.shape[0]):
                sums[k, c] += outputs[c]


@jitable
def sum_solutions(spec, weights, buffers, i, t, sums, k):
    """sums[k] += solutions of dual averaging of the outputs of feature i, which are a group, after missed updates"""
    w, s, lazy_sums, _, _ = weights
    n_outputs = buffers.rate_factors.shape[0]
    for step in range(max(lazy_sums.last_update[i], lazy_sums.first_update), t):
        for c in range(n_outputs):
            buffers.p[0, c] = w[i, c]
        solve_group(spec, buffers.p, 0, s, lazy_sums, buffers, i, step + 1)
        if spec.lazy.lazy.steps_are_equal and not _any_nonzero(buffers.p[0, :n_outputs]):
            return
        for c in range(n_outputs):
            sums[k, c] += buffers.p[0, c]


def add_missed_outputs(spec, weights, buffers, i, t, sums, k):
    """sums[k] += iterates of the outputs of feature i after the updates before t that it missed"""
    function = _choose_sum(_strategy_class(spec), is_group_penalty(spec.update.penalty))
    function(spec, weights, buffers, i, t, sums, k)


@bind(add_missed_outputs)
def _overload_add_missed_outputs(spec, weights, buffers, i, t, sums, k):
    function = _choose_sum(_strategy_class(spec), has_group_penalty(spec))
    return lambda spec, weights, buffers, i, t, sums, k: function(spec, weights, buffers, i, t, sums, k)


def _choose_sum(strategy, is_group):
    """Return the function that sums the iterates of a feature after missed updates."""
    if not is_group or strategy is NoCatchUp:
        return sum_each
    return sum_solutions if strategy is FromAccumulators else sum_group


def add_missed_sums(spec, weights, buffers, i, t):
    """Add the iterates of the outputs of feature i after the updates before t that it missed, if they are averaged."""
    if isinstance(spec.lazy, WithAveraging):
        add_missed_outputs(spec, weights, buffers, i, t, weights.last_update.sums, i)


@bind(add_missed_sums)
def _overload_add_missed_sums(spec, weights, buffers, i, t):
    if field_type(spec, "lazy").instance_class is not WithAveraging:
        return lambda spec, weights, buffers, i, t: None

    def add_sums(spec, weights, buffers, i, t):
        add_missed_outputs(spec, weights, buffers, i, t, weights.last_update.sums, i)

    return add_sums


# --- the features of a row ---------------------------------------------------------------------------------------


def catch_up_features(spec, weights, buffers, columns, t):
    """Apply the missed updates before t to the features of a row."""
    if not isinstance(spec.lazy, NoCatchUp):
        catch_up_each_feature(spec, weights, buffers, columns, t)


@jitable
def catch_up_each_feature(spec, weights, buffers, columns, t):
    """Apply the missed updates before t to each feature of a row."""
    w, s, last_update, _, _ = weights
    for k in range(columns.shape[0]):
        i = columns[k]
        add_missed_sums(spec, weights, buffers, i, t)
        catch_up_outputs(spec, w, i, s, last_update, buffers, i, t)
        set_last_update(spec.lazy, spec, last_update, i, t)


def record_features(spec, weights, buffers, columns, t):
    """Record update t - 1 for the features of a row, and for the intercepts."""
    if not isinstance(spec.lazy, NoCatchUp):
        record_each_feature(spec, weights, buffers, columns, t)


@jitable
def record_each_feature(spec, weights, buffers, columns, t):
    """Record update t - 1 for each feature of a row, and for the intercepts."""
    w, _, last_update, bias, _ = weights
    rate_factors = buffers.rate_factors
    for k in range(columns.shape[0]):
        for c in range(rate_factors.shape[0]):
            add_iterate(spec.lazy, last_update, w[columns[k], c], (columns[k], c), t)
        set_last_update(spec.lazy, spec, last_update, columns[k], t)
    for c in range(rate_factors.shape[0]):
        add_bias_iterate(spec.lazy, last_update, bias[0, c], (0, c), t)


def _unless_nothing_to_catch_up(function):
    """Return an overload that calls `function` unless the strategy is `NoCatchUp`."""

    def resolve(spec, weights, buffers, columns, t):
        if field_type(spec, "lazy").instance_class is NoCatchUp:
            return lambda spec, weights, buffers, columns, t: None
        return lambda spec, weights, buffers, columns, t: function(spec, weights, buffers, columns, t)

    return resolve


bind(catch_up_features)(_unless_nothing_to_catch_up(catch_up_each_feature))
bind(record_features)(_unless_nothing_to_catch_up(record_each_feature))
