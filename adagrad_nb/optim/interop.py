"""Conversion of states from and to PyTorch and optax, to continue a run in another library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..records.rules import Adadelta, Adagrad
from .trees import align, rebuild

if TYPE_CHECKING:
    from .state import State

# Names of the accumulators of a rule in other libraries, in the order here.
TORCH_SLOTS = {Adagrad: ("sum",), Adadelta: ("square_avg", "acc_delta")}
OPTAX_SLOTS = {Adagrad: ("sum_of_squares",), Adadelta: ("e_g", "e_x")}


def from_torch(state: State, state_dict: dict[str, Any]) -> State:
    """Return a state that continues the run of a PyTorch optimiser.

    Parameters
    ----------
    state : State
        A state for the same arrays in the same order, with the options to continue with, such as
        ``init(x, **like("torch", …))``.
    state_dict : dict
        ``optimizer.state_dict()`` of torch.optim.Adagrad or Adadelta, with tensors on the CPU or arrays.

    Returns
    -------
    State
        A copy with the accumulators and the step count of PyTorch.

    Raises
    ------
    ValueError
        If the accumulators do not fit the arrays of `state`.

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


def to_torch(state: State) -> dict[int, dict[str, np.ndarray]]:
    """Return the ``"state"`` part of a PyTorch optimiser's state_dict, as arrays.

    Parameters
    ----------
    state : State

    Returns
    -------
    dict
        For the index of each array a dict with ``step`` and the accumulators under their names in PyTorch.  Convert
        the arrays to tensors and call
        ``optimizer.load_state_dict({"state": …, "param_groups": optimizer.state_dict()["param_groups"]})``.

    Raises
    ------
    ValueError
        If PyTorch does not have the rule.

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


def from_optax(state: State, optax_state: Any, x: Any) -> State:
    """Return a state that continues the run of an optax optimiser.

    Parameters
    ----------
    state : State
        A state for the same arrays, with the options to continue with, such as ``init(x, **like("optax", …))``.
    optax_state : tuple
        The state of ``optax.adagrad`` or ``optax.adadelta``, alone or in a chain.
    x : array, or nested dict, list or tuple of them
        The parameters in the containers that optax was given.

    Returns
    -------
    State
        A copy with the accumulators of optax, and with its step count if a schedule keeps one.

    Raises
    ------
    ValueError
        If `optax_state` has no accumulators of the rule of `state`, or if they do not fit its arrays.

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


def to_optax(state: State, x: Any) -> dict[str, Any]:
    """Return the accumulators under their names in optax, for ``optax.tree_utils.tree_set(optax_state, **…)``.

    Parameters
    ----------
    state : State
    x : array, or nested dict, list or tuple of them
        The result has the same containers.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If optax does not have the rule.

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
    """Return the names of the accumulators of the rule in another library."""
    if type(state.rule) not in table:
        known = " and ".join(rule.__name__ for rule in table)
        raise ValueError(f"state: {system} has no accumulators of {type(state.rule).__name__}; it has {known}")
    return table[type(state.rule)]


def _find_field(tree, field):
    """Return the first field of that name in nested named tuples, or None."""
    if hasattr(tree, "_fields") and field in tree._fields:
        return getattr(tree, field)
    if isinstance(tree, (tuple, list)):
        for item in tree:
            found = _find_field(item, field)
            if found is not None:
                return found
    return None


def _with_slots(state, columns, t):
    """Return a copy of the state with other accumulators: for each slot, a list of arrays in the order of leaves."""
    new = state.copy()
    for i, leaf in enumerate(new.leaves):
        slots = []
        for column, old in zip(columns, leaf.slots, strict=True):
            slot = np.asarray(column[i])
            if slot.shape != old.shape:
                raise ValueError(f"{leaf.path}: got an accumulator of shape {slot.shape}; must have {old.shape}")
            slot = (
                slot.real if old.dtype.kind == "f" else slot
            )  # optax stores sums of squared moduli as complex numbers
            slots.append(slot.astype(old.dtype, order="C"))
        leaf.set_slots(tuple(slots))
    new.t = t
    new._refresh()
    return new
