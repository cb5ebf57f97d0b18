"""Lazy updates of several outputs, of each output or of all outputs of a feature as a group.

The outputs of a feature share its update number.
"""

from typing import Any, NamedTuple

from ...compiler.jit import bind, cast_like, field_type, jitable, load, method
from ...records.group_penalties import group_prox, is_group_penalty
from ...records.rules import step_size
from ...records.schedules import at
from .lazy import ClosedForm, NoCatchUp, add_bias_iterate, add_iterate, add_missed_iterates, caught_up, set_last_update
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


def steps_at_one_rate(lazy, k):
    """Return how many of k missed updates have the same learning rate."""
    return k if isinstance(lazy, ClosedForm) else 1


@bind(steps_at_one_rate)
def _overload_steps_at_one_rate(lazy, k):
    if lazy.instance_class is ClosedForm:
        return lambda lazy, k: k
    return lambda lazy, k: 1


def has_group_penalty(spec):
    """Return whether the type of a `LearnerSpec` has a group penalty."""
    return is_group_penalty(field_type(field_type(spec, "update"), "penalty").instance_class)


@jitable
def apply_group_penalty(spec, outputs, s, buffers, i, lr, k):
    """Apply the group penalty of k updates at learning rate `lr` to the `outputs` of feature i."""
    step_sizes, rate_factors = buffers.step_sizes, buffers.rate_factors
    for c in range(step_sizes.shape[0]):
        step_sizes[c] = step_size(spec.update.rule, load(s, (i, c)), cast_like(rate_factors[c] * lr, outputs))
    group_prox(spec.update.penalty, outputs[: step_sizes.shape[0]], step_sizes, k, i)


@jitable
def catch_up_each(spec, w, k, s, last_update, buffers, i, t):
    """Apply the missed updates before t to each output w[k] of feature i."""
    rate_factors = buffers.rate_factors
    for c in range(rate_factors.shape[0]):
        w[k, c] = caught_up(output_spec(spec, rate_factors[c], i), w[k, c], load(s, (i, c)), last_update, i, t)


@jitable
def catch_up_group(spec, w, k, s, last_update, buffers, i, t):
    """Apply the missed updates before t to the outputs w[k] of feature i as a group."""
    first = last_update[i]
    if first >= t:
        return
    n_steps = steps_at_one_rate(spec.lazy, t - first)
    outputs = w[k, : buffers.rate_factors.shape[0]]
    for step in range(first, t, n_steps):
        any_nonzero = False
        for c in range(outputs.shape[0]):
            any_nonzero = any_nonzero or outputs[c] != 0
        if not any_nonzero:
            return
        apply_group_penalty(spec, outputs, s, buffers, i, at(spec.schedule, step), n_steps)


def catch_up_outputs(spec, w, k, s, last_update, buffers, i, t):
    """Apply the missed updates before t to the outputs w[k] of feature i."""
    function = catch_up_group if is_group_penalty(spec.update.penalty) else catch_up_each
    function(spec, w, k, s, last_update, buffers, i, t)


@bind(catch_up_outputs)
def _overload_catch_up_outputs(spec, w, k, s, last_update, buffers, i, t):
    if has_group_penalty(spec):
        return lambda spec, w, k, s, last, buffers, i, t: catch_up_group(spec, w, k, s, last, buffers, i, t)
    return lambda spec, w, k, s, last, buffers, i, t: catch_up_each(spec, w, k, s, last, buffers, i, t)


def catch_up_features(spec, weights, buffers, columns, t):
    """Apply the missed updates before t to the features of a row."""
    if not isinstance(spec.lazy, NoCatchUp):
        catch_up_each_feature(spec, weights, buffers, columns, t)


@jitable
def catch_up_each_feature(spec, weights, buffers, columns, t):
    """Apply the missed updates before t to each feature of a row."""
    w, s, last_update, _, _ = weights
    rate_factors = buffers.rate_factors
    for k in range(columns.shape[0]):
        i = columns[k]
        for c in range(rate_factors.shape[0]):
            spec_c = output_spec(spec, rate_factors[c], i)
            add_missed_iterates(spec_c.lazy, spec_c, last_update, w[i, c], load(s, (i, c)), (i, c), i, t)
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
