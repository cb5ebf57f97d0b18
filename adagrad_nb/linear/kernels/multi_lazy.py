"""What the lanes of a feature are due that no gradient touched: each lane by itself, or all of them as a group.

The lanes of a feature share what the lapse notes of it.
"""

from typing import Any, NamedTuple

from ...compiler.jit import bind, cast_like, field_type, jitable, load
from ...records.group_penalties import group_prox, is_group_penalty
from ...records.rules import step_size
from ...records.schedules import at
from .lazy import Closed, Prompt, arrive, arrive_bias, current, passing, renew
from .rows import Recipe


class LaneSchedule(NamedTuple):
    """The schedule of a lane."""

    schedule: Any
    rate: float

    def at(self, t):
        return self.rate * at(self.schedule, t)


@jitable
def lane(recipe, rate):
    """How one lane learns: its rate is multiplied."""
    loss, update, free, schedule, lapse, intercept = recipe
    return Recipe(loss, update, free, LaneSchedule(schedule, rate), lapse, intercept)


def stride(lapse, k):
    """How many of k steps have the same rate."""
    return k if isinstance(lapse, Closed) else 1


@bind(stride)
def _stride(lapse, k):
    if lapse.instance_class is Closed:
        return lambda lapse, k: k
    return lambda lapse, k: 1


def knows_groups(recipe):
    """The same of the penalty of a recipe's type."""
    return is_group_penalty(field_type(field_type(recipe, "update"), "penalty").instance_class)


@jitable
def contract(recipe, w, s, buffers, i, rate, k):
    """The penalty of k updates acts on the lanes of feature i as a group."""
    widths, rates = buffers.widths, buffers.rates
    for c in range(widths.shape[0]):
        widths[c] = step_size(recipe.update.rule, load(s, (i, c)), cast_like(rates[c] * rate, w))
    group_prox(recipe.update.penalty, w[i, : widths.shape[0]], widths, k, i)


@jitable
def settle_apart(recipe, w, s, last, buffers, i, t):
    """Each lane by itself."""
    rates = buffers.rates
    for c in range(rates.shape[0]):
        w[i, c] = current(lane(recipe, rates[c]), w[i, c], load(s, (i, c)), last, i, t)


@jitable
def settle_together(recipe, w, s, last, buffers, i, t):
    """All lanes as a group."""
    first = last[i]
    if first >= t:
        return
    at_once = stride(recipe.lapse, t - first)
    lanes = w[i, : buffers.rates.shape[0]]
    for step in range(first, t, at_once):
        left = False
        for c in range(lanes.shape[0]):
            left = left or lanes[c] != 0
        if not left:
            return
        contract(recipe, w, s, buffers, i, at(recipe.schedule, step), at_once)


def settle(recipe, w, s, last, buffers, i, t):
    """The lanes of feature i are brought up to date with all updates before t."""
    way = settle_together if is_group_penalty(recipe.update.penalty) else settle_apart
    way(recipe, w, s, last, buffers, i, t)


@bind(settle)
def _settle(recipe, w, s, last, buffers, i, t):
    if knows_groups(recipe):
        return lambda recipe, w, s, last, buffers, i, t: settle_together(recipe, w, s, last, buffers, i, t)
    return lambda recipe, w, s, last, buffers, i, t: settle_apart(recipe, w, s, last, buffers, i, t)


def overtake(recipe, weights, buffers, stored, t):
    """The lanes of the features of a row are brought up to date with all updates before t."""
    if not isinstance(recipe.lapse, Prompt):
        overtake_each(recipe, weights, buffers, stored, t)


@jitable
def overtake_each(recipe, weights, buffers, stored, t):
    """Apply the updates before t that the outputs of the features of a row missed."""
    w, s, last, _, _ = weights
    rates = buffers.rates
    for k in range(stored.shape[0]):
        i = stored[k]
        for c in range(rates.shape[0]):
            own = lane(recipe, rates[c])
            passing(own.lapse, own, last, w[i, c], load(s, (i, c)), (i, c), i, t)
        settle(recipe, w, s, last, buffers, i, t)
        renew(recipe.lapse, recipe, last, i, t)


def note(recipe, weights, buffers, stored, t):
    """Note that update t - 1 has moved the lanes of the features of a row, and of the intercept."""
    if not isinstance(recipe.lapse, Prompt):
        note_each(recipe, weights, buffers, stored, t)


@jitable
def note_each(recipe, weights, buffers, stored, t):
    """Record update t - 1 for the outputs of the features of a row, and for the intercept."""
    w, _, last, bias, _ = weights
    rates = buffers.rates
    for k in range(stored.shape[0]):
        for c in range(rates.shape[0]):
            arrive(recipe.lapse, last, w[stored[k], c], (stored[k], c), t)
        renew(recipe.lapse, recipe, last, stored[k], t)
    for c in range(rates.shape[0]):
        arrive_bias(recipe.lapse, last, bias[0, c], (0, c), t)


def _unless_prompt(work):
    """Work on a row, which is none where no update moves what it does not touch."""

    def resolve(recipe, weights, buffers, stored, t):
        if field_type(recipe, "lapse").instance_class is Prompt:
            return lambda recipe, weights, buffers, stored, t: None
        return lambda recipe, weights, buffers, stored, t: work(recipe, weights, buffers, stored, t)

    return resolve


bind(overtake)(_unless_prompt(overtake_each))
bind(note)(_unless_prompt(note_each))
