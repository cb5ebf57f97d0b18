"""Memory of rules whose learning rate depends on sums over all coordinates (see `records.global_rules`).

The arrays of x share one memory, which the state keeps.  `device_global_memory` is its part for device arrays.
"""

import numpy as np

from ..records.global_rules import has_memory
from . import device_global_memory
from .device_global_memory import DeviceGlobalMemory
from .kernels.array_update import ALL


def init_memory(rule, leaves, x):
    """Return the memory of a rule for the arrays x of the leaves; () if the rule needs none."""
    if not has_memory(rule):
        return ()
    n = sum(leaf.size * leaf.reals_per_entry for leaf in leaves)
    norms = [leaf.norm_of_start(array) for leaf, array in zip(leaves, x, strict=True)]
    numbers = tuple(rule.initial_memory(n, float(np.linalg.norm(norms))))
    return DeviceGlobalMemory(rule, numbers) if leaves and leaves[0].on_device else numbers


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
    memory, rule, terms = state.rule_memory, state.options.rule, []
    if isinstance(memory, DeviceGlobalMemory):
        return device_global_memory.scale_rates(memory, steps, records)
    for (leaf, x, gradient, lr), record in zip(steps, records, strict=True):
        if gradient.values.size:
            terms.append(leaf.sum_totals(x, gradient, record, lr, memory))
    if terms:
        sums = tuple(sum(map(float, term)) for term in zip(*terms, strict=True))
        memory = state.rule_memory = tuple(rule.update_memory(memory, sums))
    factor = rule.rate_factor(memory)
    return [step._replace(lr=_scaled(step.lr, factor, step.leaf.precision)) for step in steps]


def _scaled(lr, factor, precision):
    """Return a learning rate, a number or a vector, times a factor, rounded once."""
    return (np.asarray(lr, np.float64) * factor).astype(precision)[()]
