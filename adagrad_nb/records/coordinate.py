"""The one update of a coordinate, and what runs around it in every loop.

Everything here is plain Python of scalars, so that the loops of the CPU, the CUDA loops and the interpreter share it.
"""

from typing import Any, NamedTuple

from ..compiler.jit import load, pick, plain, store
from .penalties import prox
from .rules import reach, step
from .transforms import revise


class Update(NamedTuple):
    """The records that say how a coordinate moves, as one record."""

    rule: Any
    transforms: Any
    penalty: Any


@plain
def move(update, x, g, s, lr, t, i):
    """x, s = prox(step(transform(g))), in update t"""
    x, g = revise(update.transforms, x, g, lr, i)
    x, s = step(update.rule, x, g, s, lr)
    return prox(update.penalty, x, reach(update.rule, s, lr, t + 1), i), s


@plain
def advance(update, x, g, s, lr, t, i, k):
    """Coordinate i of the arrays x and s moves by the gradient g[k], in update t."""
    x[i], scalars = move(update, x[i], g[k], load(s, i), pick(lr, i), t, i)
    store(s, i, scalars)
