"""Schedules: the learning rate of update number t = 0, 1, 2, …

A schedule is a record with ``at(t) -> float``, evaluated in double precision once per update.
"""

import math
from typing import Any, NamedTuple

from ._check import positive_count, record, schedule_steps
from ._jit import method

at = method("at")


class Constant(NamedTuple):
    """The same rate always.

    Parameters
    ----------
    lr : float or ndarray of shape (n,)
        In [0, inf); one number, or one per coordinate.

    Examples
    --------
    >>> from adagrad_nb import Constant
    >>> Constant(0.1).at(1000)
    0.1
    """

    lr: float | Any

    domain = {"lr": "[0, inf)"}

    def at(self, t):
        return self.lr


class InverseTime(NamedTuple):
    r"""lr / (1 + decay t): PyTorch's `lr_decay`.

    Parameters
    ----------
    lr, decay : float
        Each in [0, inf).

    Examples
    --------
    >>> from adagrad_nb import InverseTime
    >>> InverseTime(0.5, decay=0.01).at(100)
    0.25
    """

    lr: float
    decay: float

    domain = {"lr": "[0, inf)", "decay": "[0, inf)"}

    def at(self, t):
        return self.lr / (1.0 + self.decay * t)


class InverseSqrt(NamedTuple):
    """lr / sqrt(1 + decay t).

    Parameters
    ----------
    lr : float
        In [0, inf).
    decay : float, default 1.0
        In [0, inf).

    Examples
    --------
    >>> from adagrad_nb import InverseSqrt
    >>> InverseSqrt(1.0).at(3)
    0.5
    """

    lr: float
    decay: float = 1.0

    domain = {"lr": "[0, inf)", "decay": "[0, inf)"}

    def at(self, t):
        return self.lr / math.sqrt(1.0 + self.decay * t)


class Exponential(NamedTuple):
    """lr rate**(t / steps).

    Parameters
    ----------
    lr : float
        In [0, inf).
    rate : float
        In [0, inf); the factor gained over `steps` updates.
    steps : float, default 1.0
        In (0, inf).

    Examples
    --------
    >>> from adagrad_nb import Exponential
    >>> Exponential(1.0, rate=0.5, steps=10).at(20)
    0.25
    """

    lr: float
    rate: float
    steps: float = 1.0

    domain = {"lr": "[0, inf)", "rate": "[0, inf)", "steps": "(0, inf)"}

    def at(self, t):
        return self.lr * self.rate ** (t / self.steps)


class Cosine(NamedTuple):
    """Half a cosine from `lr` at t = 0 down to `final` at t = `steps`, and `final` from there on.

    Parameters
    ----------
    lr : float
        In [0, inf).
    steps : float
        In (0, inf).
    final : float, default 0.0
        In [0, inf).

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, eq. 5.

    Examples
    --------
    >>> from adagrad_nb import Cosine
    >>> Cosine(1.0, steps=100).at(100)
    0.0
    """

    lr: float
    steps: float
    final: float = 0.0

    domain = {"lr": "[0, inf)", "steps": "(0, inf)", "final": "[0, inf)"}

    def at(self, t):
        turn = math.pi * min(t / self.steps, 1.0)
        return self.final + (self.lr - self.final) * (1.0 + math.cos(turn)) / 2.0


class Piecewise(NamedTuple):
    """values[0] before boundaries[0], values[k] from boundaries[k - 1] on.

    Parameters
    ----------
    boundaries : tuple of int
        Increasing update numbers at which the next value begins.
    values : tuple of float
        One more than there are boundaries, each in [0, inf).

    Examples
    --------
    >>> from adagrad_nb import Piecewise
    >>> [Piecewise((2, 4), (1.0, 0.1, 0.01)).at(t) for t in range(5)]
    [1.0, 1.0, 0.1, 0.1, 0.01]
    """

    boundaries: tuple
    values: tuple

    domain = {"values": "[0, inf)"}

    def check(self):
        schedule_steps("Piecewise", self.boundaries, self.values)

    def at(self, t):
        k = 0
        for boundary in self.boundaries:
            if t >= boundary:
                k += 1
        return self.values[k]


class WarmUp(NamedTuple):
    """A linear rise to another schedule's first rate over `steps` updates, then that schedule from its start.

    Parameters
    ----------
    steps : int
        At least 1; update t < steps has the rate (t + 1) / steps of ``inner.at(0)``.
    inner : schedule record

    Examples
    --------
    >>> from adagrad_nb import Constant, WarmUp
    >>> [WarmUp(4, Constant(1.0)).at(t) for t in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    steps: int
    inner: Any

    def check(self):
        positive_count("WarmUp.steps", self.steps)
        record("WarmUp.inner", self.inner, ("at",), "InverseSqrt(1.0)")

    def at(self, t):
        rise = min((t + 1.0) / self.steps, 1.0)
        return rise * at(self.inner, max(t - self.steps, 0))


class Table(NamedTuple):
    """Rates that were worked out beforehand: values[t - start]."""

    values: Any
    start: int

    def at(self, t):
        return self.values[t - self.start]
