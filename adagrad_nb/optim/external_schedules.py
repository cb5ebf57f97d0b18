"""Schedules of other libraries as functions of the update number t = 0, 1, 2, …

No other library is imported: a schedule is recognised by its methods.

- PyTorch and braintools schedulers advance with ``step()``.  `SteppedRates` steps a copy.
- MXNet schedulers are called with the number of updates from 1 on.  `NumberedRates` calls a copy in this order.
- Schedules of Keras, optax, JAX and BrainPy are functions of t, and need no conversion.
"""

from __future__ import annotations

import copy
import inspect
import threading
from array import array
from typing import Any

import numpy as np

from .. import _check
from ..cuda import arrays
from ..records.schedules import Shift, at

_lock = threading.Lock()  # one for all schedules: several states may use the same one


def as_schedule(lr: Any, name: str = "lr") -> Any:
    """Return a learning rate, with the scheduler of another library converted to a function of t.

    Numbers, arrays, records and functions are returned unchanged, but a scalar array of another library as a float.
    """
    if isinstance(lr, type) or hasattr(lr, "_fields"):
        return lr
    if callable(getattr(lr, "step", None)) and hasattr(lr, "get_last_lr"):
        return SteppedRates(lr, name)
    if callable(getattr(lr, "step", None)) and hasattr(lr, "patience"):
        _refuse_metric(lr, name)
    if hasattr(lr, "__array__") and not isinstance(lr, np.ndarray) and not arrays.is_device_array(lr):
        values = np.asarray(lr)
        return float(values) if values.ndim == 0 else values
    return lr


def shift_schedule(lr: Any, by: int) -> Any:
    """Return a learning rate that is evaluated at t + by; numbers and arrays are unchanged."""
    if hasattr(lr, "_fields"):
        return Shift(lr, by) if by else lr
    return NumberedRates(lr, by) if callable(lr) and by else lr


def accepts_arguments(function: Any, *args: Any) -> bool:
    """Return whether a function can be called with these arguments; True if it has no signature."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def _refuse_metric(scheduler, name):
    """Raise ValueError for a scheduler that depends on the loss."""
    raise ValueError(
        f"{name}: {type(scheduler).__name__} depends on the loss, not on the number of updates; use "
        "adagrad_nb.ReduceOnPlateau and pass each loss to its method observe"
    )


class _Rates:
    """Learning rates that are computed in the order of t and kept: ``rates(t)``.

    A stateful scheduler cannot go back.  Several states, or a state that is loaded, may need any t.
    """

    def __init__(self):
        self.values = array("d")

    def __call__(self, t):
        with _lock:
            while len(self.values) <= t:
                self.values.append(self._next_rate())
        return self.values[t]


class SteppedRates(_Rates):
    """Learning rates of a scheduler of PyTorch or braintools that takes one step after each update.

    The scheduler and its optimiser are not changed.
    """

    def __init__(self, scheduler: Any, name: str = "lr") -> None:
        super().__init__()
        if not accepts_arguments(scheduler.step):
            _refuse_metric(scheduler, name)
        self.name, self.scheduler = name, _copy_scheduler(scheduler)
        for each in _list_schedulers(self.scheduler):
            n_steps = getattr(each, "last_epoch", 0)
            n_steps = int(getattr(n_steps, "value", n_steps))
            if n_steps > 0:
                raise ValueError(
                    f"{name}: {type(scheduler).__name__} has already taken {n_steps} steps; pass a new scheduler, "
                    "whose rates are those of updates 0, 1, 2, …"
                )
        self._read_rate()

    def _next_rate(self):
        if self.values:
            self.scheduler.step()
        return self._read_rate()

    def _read_rate(self):
        """Return the current learning rate, which all parameter groups must share."""
        rates = [float(rate) for rate in self.scheduler.get_last_lr()]
        if any(rate != rates[0] for rate in rates):
            raise ValueError(
                f"{self.name}: {type(self.scheduler).__name__} gives its parameter groups different rates, "
                f"{_check.shorten_repr(rates)}; pass a scheduler of one group, and the ratios as lr_scale=…"
            )
        return rates[0]

    def __repr__(self) -> str:
        return f"SteppedRates({type(self.scheduler).__name__})"


class NumberedRates(_Rates):
    """Learning rates of a function of the number of updates, which starts at `first`: MXNet's schedulers.

    Parameters
    ----------
    scheduler : callable
        It is copied, since MXNet's schedulers change when they are called.
    first : int
        Argument of the first call.
    base_lr : float, optional
        Replaces the attribute `base_lr` of the scheduler, as the `learning_rate` of MXNet's optimisers does.
    """

    def __init__(self, scheduler: Any, first: int, base_lr: float | None = None) -> None:
        super().__init__()
        self.scheduler, self.first = copy.deepcopy(scheduler), first
        if base_lr is not None:
            self.scheduler.base_lr = base_lr

    def _next_rate(self):
        return float(self.scheduler(self.first + len(self.values)))

    def __repr__(self) -> str:
        return f"NumberedRates({type(self.scheduler).__name__}, first={self.first})"


class DecayedRates:
    """Inverse-time decay of another schedule: schedule(t) / (1 + decay t)."""

    def __init__(self, schedule: Any, decay: float) -> None:
        self.schedule, self.decay = schedule, decay

    def __call__(self, t):
        rate = at(self.schedule, t) if hasattr(self.schedule, "_fields") else self.schedule(t)
        return rate / (1.0 + self.decay * t)

    def __repr__(self) -> str:
        return f"DecayedRates({self.schedule!r}, decay={self.decay})"


class _OptimizerOfScheduler:
    """The part of a PyTorch optimiser that its schedulers read and write: the settings of the parameter groups."""

    _opt_called = True

    def __init__(self, optimizer):
        self.param_groups = [
            {key: copy.deepcopy(value) for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        self.defaults = copy.deepcopy(optimizer.defaults)

    def step(self):
        """Do nothing: schedulers only test whether the method exists."""

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]


def _list_schedulers(scheduler):
    """Return a scheduler and those that it is composed of."""
    found = [scheduler]
    for value in vars(scheduler).values():
        if isinstance(value, (list, tuple)):
            for item in value:
                if hasattr(item, "get_last_lr"):
                    found += _list_schedulers(item)
    return found


def _copy_scheduler(scheduler):
    """Return a copy of a scheduler that shares nothing with it and holds no parameters."""
    memo: dict[int, Any] = {}
    for each in _list_schedulers(scheduler):
        optimizer = getattr(each, "optimizer", None)
        if optimizer is not None and id(optimizer) not in memo:
            memo[id(optimizer)] = _OptimizerOfScheduler(optimizer) if hasattr(optimizer, "defaults") else None
        for value in vars(each).values():
            if hasattr(value, "value") and not callable(value):  # a variable of brainstate, which cannot be copied
                memo[id(value)] = type(value)(copy.copy(value.value))
    return copy.deepcopy(scheduler, memo)
