"""Runs that move over in the middle: states of PyTorch and optax as plain arrays, in and out."""

import numpy as np

from ..records.rules import Adadelta, Adagrad
from .trees import align, rebuild

# What the accumulators of a rule are called elsewhere, in our order.
TORCH_SLOTS = {Adagrad: ("sum",), Adadelta: ("square_avg", "acc_delta")}
OPTAX_SLOTS = {Adagrad: ("sum_of_squares",), Adadelta: ("e_g", "e_x")}


def from_torch(state, state_dict):
    """Return a state that goes on where a PyTorch optimiser stands.

    Parameters
    ----------
    state : State
        Of the same arrays in the same order, with the options to go on with: ``init(x, **like("torch", …))``.
    state_dict : dict
        ``optimizer.state_dict()`` of torch.optim.Adagrad or Adadelta, its tensors on the CPU or as arrays.

    Returns
    -------
    State
        A copy with PyTorch's accumulators and step count.

    Raises
    ------
    ValueError
        If its accumulators do not fit the arrays of `state`.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import from_torch, init, like
    >>> state = init(np.ones(2), **like("torch"))
    >>> from_torch(state, {"state": {0: {"step": 7.0, "sum": np.ones(2)}}}).t
    7
    """
    entries = state_dict["state"]
    names = _slot_names(state, TORCH_SLOTS, "PyTorch")
    if len(entries) != len(state.leaves):
        raise ValueError(f"state_dict: has {len(entries)} parameters; the state was made for {len(state.leaves)}")
    ordered = [entries[key] for key in sorted(entries)]
    return _with_slots(state, [[entry[name] for entry in ordered] for name in names], int(ordered[0]["step"]))


def to_torch(state):
    """Return the ``"state"`` part of a PyTorch optimiser's state_dict, as arrays.

    Parameters
    ----------
    state : State

    Returns
    -------
    dict
        For each array its number, and under it ``step`` and PyTorch's names of the accumulators.  Give the optimiser
        ``load_state_dict({"state": …, "param_groups": optimizer.state_dict()["param_groups"]})`` with the arrays as
        tensors.

    Raises
    ------
    ValueError
        For a rule that PyTorch does not have.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import init, to_torch
    >>> to_torch(init(np.ones(2)))
    {0: {'step': array(0., dtype=float32), 'sum': array([0., 0.])}}
    """
    names = _slot_names(state, TORCH_SLOTS, "PyTorch")
    return {
        i: {"step": np.array(state.t, np.float32)}
        | {name: np.copy(slot) for name, slot in zip(names, leaf.slots, strict=True)}
        for i, leaf in enumerate(state.leaves)
    }


def from_optax(state, optax_state, x):
    """Return a state that goes on where an optax optimiser stands.

    Parameters
    ----------
    state : State
        Of the same arrays, with the options to go on with: ``init(x, **like("optax", …))``.
    optax_state : tuple
        Of ``optax.adagrad`` or ``optax.adadelta``, alone or in a chain.
    x : array, or nested dict, list or tuple of them
        In the containers that optax was given.

    Returns
    -------
    State
        A copy with optax's accumulators, and its step count where a schedule keeps one.

    Raises
    ------
    ValueError
        If `optax_state` has no accumulators of the rule of `state`, or they do not fit.

    Examples
    --------
    >>> from collections import namedtuple
    >>> import numpy as np
    >>> from adagrad_nb import from_optax, init, like
    >>> ScaleByRssState = namedtuple("ScaleByRssState", ["sum_of_squares"])
    >>> x = np.ones(2)
    >>> from_optax(init(x, **like("optax", lr=0.1)), (ScaleByRssState(np.ones(2)), ()), x).slots
    ((array([1., 1.]),),)
    """
    names = _slot_names(state, OPTAX_SLOTS, "optax")
    trees = [_find_field(optax_state, name) for name in names]
    if any(tree is None for tree in trees):
        raise ValueError(f"optax_state: has no {' and '.join(names)}, the accumulators of {type(state.rule).__name__}")
    count = _find_field(optax_state, "count")
    columns = [list(align(x, tree, name)) for name, tree in zip(names, trees, strict=True)]
    return _with_slots(state, columns, state.t if count is None else int(count))


def to_optax(state, x):
    """Return the accumulators under optax's names, for ``optax.tree_utils.tree_set(optax_state, **…)``.

    Parameters
    ----------
    state : State
    x : array, or nested dict, list or tuple of them
        Its containers are those of the result.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        For a rule that optax does not have.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import init, to_optax
    >>> x = {"w": np.ones(2)}
    >>> to_optax(init(x), x)
    {'sum_of_squares': {'w': array([0., 0.])}}
    """
    names = _slot_names(state, OPTAX_SLOTS, "optax")
    return {name: rebuild(x, iter([np.copy(leaf.slots[k]) for leaf in state.leaves])) for k, name in enumerate(names)}


def _slot_names(state, table, system):
    if type(state.rule) not in table:
        known = " and ".join(rule.__name__ for rule in table)
        raise ValueError(f"state: {system} has no accumulators of {type(state.rule).__name__}; it has {known}")
    return table[type(state.rule)]


def _find_field(tree, field):
    """The first field of that name in nested named tuples."""
    if hasattr(tree, "_fields") and field in tree._fields:
        return getattr(tree, field)
    if isinstance(tree, (tuple, list)):
        for item in tree:
            found = _find_field(item, field)
            if found is not None:
                return found
    return None


def _with_slots(state, columns, t):
    """A copy of the state with other accumulators: for each slot the arrays in the order of the leaves."""
    new = state.copy()
    for i, leaf in enumerate(new.leaves):
        slots = []
        for column, old in zip(columns, leaf.slots, strict=True):
            slot = np.asarray(column[i])
            if slot.shape != old.shape:
                raise ValueError(f"{leaf.path}: got an accumulator of shape {slot.shape}; must have {old.shape}")
            slot = slot.real if old.dtype.kind == "f" else slot  # optax keeps sums of moduli as complex numbers
            slots.append(slot.astype(old.dtype, order="C"))
        leaf.set_slots(tuple(slots))
    new.t = t
    new._refresh()
    return new
