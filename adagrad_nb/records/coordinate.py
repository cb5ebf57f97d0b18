"""Update of one coordinate: transforms, the step of the rule, the proximal step of the penalty.

CPU loops, CUDA kernels and the interpreter share these functions of scalars.
"""

from typing import Any, NamedTuple

from ..compiler.jit import jitable, load, pick, store
from .penalties import prox
from .rules import apply, cumulative_step_size, step_at
from .transforms import transform_at


class Update(NamedTuple):
    """Rule, transforms and penalty of an array, as one record."""

    rule: Any
    transforms: Any
    penalty: Any


@jitable
def apply_update(update, x, g, s, lr, t, i):
    """x, s = prox(step(transform(x, g), s)) in update t."""
    x, g = transform_at(update.transforms, x, g, lr, i)
    x, s = step_at(update.rule, x, g, s, lr, t)
    return prox(update.penalty, x, cumulative_step_size(update.rule, s, lr, t + 1), i), s


@jitable
def update_at(update, x, g, s, lr, t, i, k):
    """Apply update t to coordinate i of the arrays x and s, with the gradient g[k]."""
    x[i], scalars = apply_update(update, x[i], g[k], load(s, i), pick(lr, i), t, i)
    store(s, i, scalars)


@jitable
def apply_with_shared_slots(update, x, g, s, lr, t, i):
    """x = prox(apply(x, g, s)) in update t; s, which other gradients or coordinates share, has been updated."""
    x = apply(update.rule, x, g, s, lr)
    return prox(update.penalty, x, cumulative_step_size(update.rule, s, lr, t + 1), i)
