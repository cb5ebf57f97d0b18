"""The one update of a coordinate, and what runs around it in every loop.

Everything here is plain Python of scalars, so that the loops of the CPU, the CUDA loops and the interpreter share it.
"""

from typing import Any, NamedTuple

from ..compiler.jit import jitable, load, pick, store
from .penalties import prox
from .rules import cumulative_step_size, step
from .transforms import transform_at


class Update(NamedTuple):
    """The records that say how a coordinate moves, as one record."""

    rule: Any
    transforms: Any
    penalty: Any


@jitable
def apply_update(update, x, g, s, lr, t, i):
    """x, s = prox(step(transform(g))), in update t"""
    x, g = transform_at(update.transforms, x, g, lr, i)
    x, s = step(update.rule, x, g, s, lr)
    return prox(update.penalty, x, cumulative_step_size(update.rule, s, lr, t + 1), i), s


@jitable
def update_at(update, x, g, s, lr, t, i, k):
    """Coordinate i of the arrays x and s moves by the gradient g[k], in update t."""
    x[i], scalars = apply_update(update, x[i], g[k], load(s, i), pick(lr, i), t, i)
    store(s, i, scalars)
