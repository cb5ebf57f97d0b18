"""Memory of rules whose learning rate depends on sums over all coordinates (see `records.global_rules`).

The arrays of x share one memory, which the state keeps.
"""

import numpy as np

from ..records.global_rules import has_memory
from .kernels.array_update import ALL


def init_memory(rule, leaves):
    """Return the memory of a rule for the arrays [(path, array)]; () if the rule needs none."""
    if not has_memory(rule):
        return ()
    reals = [array.view(array.real.dtype) if array.dtype.kind == "c" else array for _, array in leaves]
    norms = [float(np.linalg.norm(np.asarray(array, np.float64))) for array in reals]
    return tuple(rule.initial_memory(sum(array.size for array in reals), float(np.linalg.norm(norms))))


def check_gradients(state, gradients):
    """Raise ValueError for a gradient that lacks coordinates which the rule needs."""
    if getattr(state.rule, "sparse_is_exact", False):
        return
    for leaf, gradient in zip(state.leaves, gradients, strict=True):
        if gradient.where is not ALL:
            raise ValueError(
                f"g{leaf.path[1:]}: lists some coordinates or is None, but {type(state.rule).__name__} needs the "
                "distance of all coordinates from the start; pass a dense array"
            )


def scale_rates(state, steps, records):
    """Update the memory for the gradients of an update; return the steps with the learning rates of the rule."""
    rule, terms = state.options.rule, []
    for (leaf, x, gradient, lr), record in zip(steps, records, strict=True):
        if gradient.values.size:
            terms.append(leaf.sum_totals(x, gradient, record, lr, state.memory))
    if terms:
        sums = tuple(sum(map(float, term)) for term in zip(*terms, strict=True))
        state.memory = tuple(rule.update_memory(state.memory, sums))
    factor = rule.rate_factor(state.memory)
    return [step._replace(lr=_scaled(step.lr, factor, step.leaf.precision)) for step in steps]


def _scaled(lr, factor, precision):
    """Return a learning rate, a number or a vector, times a factor, rounded once."""
    return (np.asarray(lr, np.float64) * factor).astype(precision)[()]
