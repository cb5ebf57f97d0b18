"""Lazy weight decay: decoupled decay of rows without gradient, applied when a gradient next lists them.

A row that was read at update a and is read again at update b has missed the factor prod_{a<=t<b} (1 - lr_t strength).
The state keeps the logarithm of the product over all updates, one number per array.  Each row keeps the value of it
that has been applied.  The difference is the decay that the row has missed, for any schedule.

References
----------
FBGEMM, ``rowwise_adagrad`` with ``WeightDecayMode.DECOUPLE_GLOBAL``, which uses only the last learning rate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _check
from ..compiler.jit import DeviceScalar
from ..cuda import arrays
from ..records.gates import accumulates_gradients
from ..records.transforms import DecoupledDecay, for_array, is_weight_decay
from .trees import list_leaves, rebuild


def init_lazy_decay(state):
    """Allocate the applied decay of each row of the arrays that decay."""
    for leaf in state.leaves:
        if _find_decay(state, leaf) is not None:
            leaf.applied_log_decay = leaf.init_applied_decay()
    _check_options(state)


def _find_decay(state, leaf):
    """Return the weight decay among the transforms of an array, or None."""
    items = (for_array(item, leaf.path) for item in state.options.transforms)
    return next((item for item in items if is_weight_decay(item)), None)


def _check_options(state):
    """Check that missed decay has a closed form: one decoupled decay with one strength, and no accumulation."""
    for leaf in state.leaves:
        decays = [
            item for item in (for_array(one, leaf.path) for one in state.options.transforms) if is_weight_decay(item)
        ]
        if any(type(item) is not DecoupledDecay or np.ndim(item.strength) for item in decays) or len(decays) > 1:
            raise ValueError(
                f"sparse_decay: 'lazy' takes one DecoupledDecay with one strength; got {decays} for {leaf.path}. "
                "Use 'touched' or 'whole'"
            )
    if state.options.average is not None:
        raise ValueError(
            "sparse_decay: 'lazy' cannot be combined with average, which reads all of x at each update; use 'whole'"
        )
    if any(leaf.keeps_master for leaf in state.leaves):
        raise ValueError("sparse_decay: 'lazy' cannot be combined with MasterCopy; use 'whole'")
    if any(accumulates_gradients(item) for item in state.options.transforms):
        raise ValueError(
            "sparse_decay: 'lazy' cannot be combined with Accumulate, whose gradients are dense; use 'whole'"
        )
    if state.options.duplicates == "sequential" and any(leaf.applied_log_decay is not None for leaf in state.leaves):
        raise ValueError("duplicates: 'sequential' decays a row more than once; with sparse_decay='lazy' use any other")


def has_missed_decay(leaf, log_decay):
    """Return whether a row of an array has not had all of the decay so far, whose logarithm is `log_decay`."""
    applied = leaf.applied_log_decay
    if applied is not None and leaf.on_device:
        applied = arrays.to_host(applied)
    return applied is not None and bool(np.any(applied != log_decay))


def _log_factor(state, leaf, lr):
    """Return the logarithm of the decay factor of one update."""
    decay = _find_decay(state, leaf)
    return np.log1p(-decay.strength * (float(lr) if decay.times_lr else 1.0))


def check_rates(state, gradients, rates):
    """Check that each learning rate is a number that gives a positive decay factor, which has a logarithm."""
    if state.options.sparse_decay != "lazy":
        return
    for leaf, lr in zip(state.leaves, rates, strict=True):
        if leaf.applied_log_decay is None:
            continue
        if isinstance(lr, DeviceScalar) or lr.ndim:
            raise ValueError(
                "lr: sparse_decay='lazy' takes one learning rate for all coordinates of an array, a number on the host"
            )
        decay = _find_decay(state, leaf)
        factor = decay.strength * (lr if decay.times_lr else 1.0)
        _check.in_interval(f"sparse_decay: lr times DecoupledDecay.strength for {leaf.path}", float(factor), "[0, 1)")


def apply_missed_decay(state, targets, gradients):
    """Apply the missed decay to the rows that the gradients list."""
    if state.options.sparse_decay == "lazy":
        for i, (leaf, x, gradient) in enumerate(zip(state.leaves, targets, gradients, strict=True)):
            if leaf.applied_log_decay is not None:
                leaf.apply_missed_decay(x, gradient, state.log_decay[i])


def catch_up(x: Any, state: Any) -> tuple[Any, Any]:
    """Return x with all missed decay applied.

    With ``sparse_decay="lazy"``, rows that no gradient has listed for some time have not been decayed yet.

    Parameters
    ----------
    x : array, device array, or nested dict, list or tuple of them
    state : State
        Only one made with ``sparse_decay="lazy"`` has missed decay.

    Returns
    -------
    x, state
        New arrays in the same containers, and a new state without missed decay.

    Raises
    ------
    TypeError, ValueError
        If x has not the shapes and dtypes for which the state was made.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import DecoupledDecay, catch_up, init, update
    >>> x = np.ones(2)
    >>> state = init(x, lr=1.0, transforms=(DecoupledDecay(0.5),), sparse_decay="lazy")
    >>> x, state = update(x, ([0], [0.0]), state)
    >>> x, catch_up(x, state)[0]
    (array([0.5, 1. ]), array([0.5, 0.5]))
    """
    targets = list_leaves(x)
    if len(targets) != len(state.leaves):
        raise ValueError(f"x: got {len(targets)} arrays; the state was made for {len(state.leaves)}")
    for leaf, target in zip(state.leaves, targets, strict=True):
        leaf.check_iterate(target)
    with arrays.on_stream(arrays.device_arrays_in(targets)):
        state = state.copy()
        targets = [leaf.copy_iterate(target) for leaf, target in zip(state.leaves, targets, strict=True)]
        apply_missed_decay(state, targets, [None] * len(targets))
    return rebuild(x, iter(targets)), state


def record_decay(state, gradients, rates, is_missing):
    """Record that this update has decayed the rows that the gradients list; arrays without gradient do not decay."""
    if state.options.sparse_decay != "lazy":
        return
    for i, (leaf, gradient, lr) in enumerate(zip(state.leaves, gradients, rates, strict=True)):
        if leaf.applied_log_decay is not None and not is_missing[i]:
            state.log_decay[i] += _log_factor(state, leaf, lr)
            leaf.record_decay(gradient, state.log_decay[i])
