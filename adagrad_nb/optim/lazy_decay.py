"""Decoupled decay of what sparse gradients pass over: noted, and applied when a row is next met.

A row that was met before update a and is met again at update b has missed the factor prod_{a<=t<b} (1 - lr_t strength).
The logarithm of the product over all updates so far is one number for each array; what a row has seen of it is
another, and their difference is what it has missed, whatever the schedule.

References
----------
FBGEMM, ``rowwise_adagrad`` with ``WeightDecayMode.DECOUPLE_GLOBAL``, which compensates with the last rate alone.
"""

import numpy as np

from .. import _check
from ..records.gates import accumulates_gradients
from ..records.transforms import DecoupledDecay, for_array, is_weight_decay
from .kernels.array_update import ALL
from .trees import rebuild, walk


def init_lazy_decay(state):
    """Give each array that decays the note of what its rows have seen."""
    for leaf in state.leaves:
        if _find_decay(state, leaf) is not None:
            leaf.applied_log_decay = np.zeros(leaf.shape[:1] if leaf.shape else (1,))
    _check_options(state)


def _find_decay(state, leaf):
    """The one decay of an array, or None."""
    items = (for_array(item, leaf.path) for item in state.transforms)
    return next((item for item in items if is_weight_decay(item)), None)


def _check_options(state):
    """Only decay of x alone, with one strength, has a closed form over steps that were missed."""
    for leaf in state.leaves:
        decays = [item for item in (for_array(one, leaf.path) for one in state.transforms) if is_weight_decay(item)]
        if any(type(item) is not DecoupledDecay or np.ndim(item.strength) for item in decays) or len(decays) > 1:
            raise ValueError(
                f"sparse_decay: 'lazy' takes one DecoupledDecay with one strength, got {decays} for {leaf.path}; "
                "take 'touched' or 'whole'"
            )
    if any(accumulates_gradients(item) for item in state.transforms):
        raise ValueError("sparse_decay: 'lazy' does not go with Accumulate, which makes gradients dense; take 'whole'")
    if state.duplicates == "sequential" and any(leaf.applied_log_decay is not None for leaf in state.leaves):
        raise ValueError("duplicates: 'sequential' decays a row more than once; sparse_decay='lazy' takes any other")


def _log_factor(state, leaf, lr):
    """The logarithm of the factor of one update."""
    decay = _find_decay(state, leaf)
    return np.log1p(-decay.strength * (float(lr) if decay.times_lr else 1.0))


def check_rates(state, gradients, rates):
    """Each update must leave something of x, or what was missed has no logarithm."""
    if state.sparse_decay != "lazy":
        return
    for leaf, lr in zip(state.leaves, rates, strict=True):
        if leaf.applied_log_decay is None:
            continue
        decay = _find_decay(state, leaf)
        factor = decay.strength * (lr if decay.times_lr else 1.0)
        if np.ndim(lr):
            raise ValueError("lr: sparse_decay='lazy' takes one learning rate for all coordinates of an array")
        _check.in_interval(f"sparse_decay: lr times DecoupledDecay.strength for {leaf.path}", float(factor), "[0, 1)")


def apply_missed_decay(state, targets, gradients):
    """Apply what the rows that are met now have missed."""
    if state.sparse_decay == "lazy":
        for i, (leaf, x, gradient) in enumerate(zip(state.leaves, targets, gradients, strict=True)):
            if leaf.applied_log_decay is not None:
                _decay_rows(state, i, leaf, x, _touched_rows(leaf, gradient))


def catch_up(x, state):
    """Return x with all the decay that sparse gradients passed over.

    Where decay is lazy, rows that no gradient has met for some time are larger than they should be.

    Parameters
    ----------
    x : array, or nested dict, list or tuple of them
    state : State
        Made with ``sparse_decay="lazy"``; with any other there is nothing to catch up.

    Returns
    -------
    x, state
        New ones: x of the same shapes, and a state in which no row has anything to catch up.

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
    state = state.copy()
    targets = [leaf.copy_iterate(target) for leaf, (_, target) in zip(state.leaves, walk(x), strict=True)]
    apply_missed_decay(state, targets, [None] * len(targets))
    return rebuild(x, iter(targets)), state


def _decay_rows(state, i, leaf, x, rows):
    missed_factor = np.exp(state.log_decay[i] - leaf.applied_log_decay[rows])
    x = x.reshape(leaf.applied_log_decay.size, -1) if x.flags.c_contiguous else x
    x[rows] = (x[rows] * missed_factor.reshape(-1, *(1,) * (x.ndim - 1))).astype(x.dtype)
    leaf.applied_log_decay[rows] = state.log_decay[i]


def _touched_rows(leaf, gradient):
    """The rows of x that a gradient meets."""
    if gradient is None or gradient.where is ALL:
        return slice(None)
    block = leaf.reals_per_entry * (leaf.size // max(leaf.applied_log_decay.size, 1))
    if gradient.block_size == block:
        return gradient.where
    return np.unique(gradient.where * gradient.block_size // block)


def record_decay(state, gradients, rates):
    """Note that the rows that were met have decayed with this update, and the others have not."""
    if state.sparse_decay != "lazy":
        return
    for i, (leaf, gradient, lr) in enumerate(zip(state.leaves, gradients, rates, strict=True)):
        if leaf.applied_log_decay is not None:
            state.log_decay[i] += _log_factor(state, leaf, lr)
            leaf.applied_log_decay[_touched_rows(leaf, gradient)] = state.log_decay[i]
