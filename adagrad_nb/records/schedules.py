"""Schedules: the learning rate of update number t = 0, 1, 2, …

A schedule is a record with ``at(t) -> float``, evaluated in double precision once per update.
"""

import math
from typing import Any, NamedTuple

from .._check import count, distinct_rates, positive_count, record_methods, schedule_steps
from ..compiler.jit import jitable, method

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


@jitable
def elapsed_periods(t, steps, staircase):
    """t / steps, rounded down on a staircase."""
    return math.floor(t / steps) if staircase else t / steps


class InverseTime(NamedTuple):
    r"""lr / (1 + decay t / steps): PyTorch's `lr_decay`, Keras' and BrainPy's inverse-time decay.

    Parameters
    ----------
    lr, decay : float
        Each in [0, inf).
    steps : float, default 1.0
        In (0, inf).
    staircase : bool, default False
        Round t / steps down.

    Examples
    --------
    >>> from adagrad_nb import InverseTime
    >>> InverseTime(0.5, decay=0.01).at(100)
    0.25
    """

    lr: float
    decay: float
    steps: float = 1.0
    staircase: bool = False

    domain = {"lr": "[0, inf)", "decay": "[0, inf)", "steps": "(0, inf)", "staircase": "bool"}

    def at(self, t):
        return self.lr / (1.0 + self.decay * elapsed_periods(t, self.steps, self.staircase))


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
    """lr rate**(t / steps): Keras' and BrainPy's exponential decay; on a staircase MXNet's FactorScheduler.

    Parameters
    ----------
    lr : float
        In [0, inf).
    rate : float
        In [0, inf); the factor gained over `steps` updates.
    steps : float, default 1.0
        In (0, inf).
    staircase : bool, default False
        Round t / steps down: a new rate every `steps` updates.
    final : float, default 0.0
        In [0, inf); the rate never falls below.

    Examples
    --------
    >>> from adagrad_nb import Exponential
    >>> Exponential(1.0, rate=0.5, steps=10).at(20)
    0.25
    """

    lr: float
    rate: float
    steps: float = 1.0
    staircase: bool = False
    final: float = 0.0

    domain = {
        "lr": "[0, inf)", "rate": "[0, inf)", "steps": "(0, inf)", "staircase": "bool", "final": "[0, inf)",
    }  # fmt: skip

    def at(self, t):
        return max(self.lr * self.rate ** elapsed_periods(t, self.steps, self.staircase), self.final)


class Polynomial(NamedTuple):
    """From `lr` at t = 0 to `final` at t = `steps` along a power of the rest, and `final` from there on.

    Parameters
    ----------
    lr : float
        In [0, inf).
    steps : float
        In (0, inf).
    final : float, default 0.0
        In [0, inf).
    power : float, default 1.0
        In (0, inf); 1 is a straight line, 2 is the default of MXNet's PolyScheduler.
    cycle : bool, default False
        Begin anew with a longer period instead of staying at `final`, as Keras' PolynomialDecay may.

    Examples
    --------
    >>> from adagrad_nb import Polynomial
    >>> [Polynomial(1.0, steps=4).at(t) for t in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    lr: float
    steps: float
    final: float = 0.0
    power: float = 1.0
    cycle: bool = False

    domain = {"lr": "[0, inf)", "steps": "(0, inf)", "final": "[0, inf)", "power": "(0, inf)", "cycle": "bool"}

    def at(self, t):
        steps = self.steps * max(math.ceil(t / self.steps), 1) if self.cycle else self.steps
        remaining = 1.0 - min(t / steps, 1.0)
        return self.final + (self.lr - self.final) * remaining**self.power


class CosineRestarts(NamedTuple):
    """Half cosines from `lr` down to `final`, each `stretch` times as long as the last and beginning nearer to `final`.

    Parameters
    ----------
    lr : float
        In [0, inf).
    steps : float
        Updates of the first period, in (0, inf).
    stretch : float, default 2.0
        In [1, inf).
    shrink : float, default 1.0
        In (0, 1]; what is left of the distance from `final` at the next start.
    final : float, default 0.0
        In [0, inf), as a rate, not a share of `lr`.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, eq. 5.

    Examples
    --------
    >>> from adagrad_nb import CosineRestarts
    >>> [round(CosineRestarts(1.0, steps=2).at(t), 2) for t in range(7)]
    [1.0, 0.5, 1.0, 0.85, 0.5, 0.15, 1.0]
    """

    lr: float
    steps: float
    stretch: float = 2.0
    shrink: float = 1.0
    final: float = 0.0

    domain = {
        "lr": "[0, inf)", "steps": "(0, inf)", "stretch": "[1, inf)", "shrink": "(0, 1]", "final": "[0, inf)",
    }  # fmt: skip

    def at(self, t):
        elapsed, period, amplitude = t * 1.0, self.steps, self.lr - self.final
        while elapsed >= period:
            elapsed -= period
            period *= self.stretch
            amplitude *= self.shrink
        return self.final + amplitude * (1.0 + math.cos(math.pi * elapsed / period)) / 2.0


class Shift(NamedTuple):
    """Another schedule counted from another number: inner.at(t + by).

    Parameters
    ----------
    inner : schedule record
    by : int
        1 for systems that count updates from 1, such as MXNet.

    Examples
    --------
    >>> from adagrad_nb import InverseTime, Shift
    >>> Shift(InverseTime(1.0, 1.0), by=1).at(0)
    0.5
    """

    inner: Any
    by: int

    def check(self):
        count("Shift.by", self.by)
        record_methods("Shift.inner", self.inner, ("at",), "InverseSqrt(1.0)")

    def at(self, t):
        return at(self.inner, t + self.by)


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
        angle = math.pi * min(t / self.steps, 1.0)
        return self.final + (self.lr - self.final) * (1.0 + math.cos(angle)) / 2.0


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

    def finalized(self):
        # One type of number, and no empty tuple, which a compiled loop cannot go through.
        values = tuple(float(value) for value in self.values)
        return self._replace(values=values) if self.boundaries else Constant(values[0])

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
        record_methods("WarmUp.inner", self.inner, ("at",), "InverseSqrt(1.0)")

    def at(self, t):
        fraction = min((t + 1.0) / self.steps, 1.0)
        return fraction * at(self.inner, max(t - self.steps, 0))


class Rates(NamedTuple):
    """Several learning rates that `fit_linear` tries side by side in the same pass; ``lr="auto"`` is ``Rates()``.

    The model is the one whose rate has the lowest progressive loss.  Every rate learns on in every call.

    Parameters
    ----------
    values : tuple of float
        Each in [0, inf).  A multiple of four costs no more than one less.
    schedule : schedule record, default Constant(1.0)
        What each value is multiplied with in update t.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Rates, fit_linear
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> model = fit_linear(X, X @ [1.0, -2.0, 3.0] > 0, lr=Rates((0.01, 0.1, 1.0)))
    >>> model.rate, bool(model.progressive_losses[2] < model.progressive_losses[0])
    (1.0, True)
    """

    values: tuple = (0.02, 0.05, 0.12, 0.3, 0.4, 0.55, 0.75, 1.5)
    schedule: Any = Constant(1.0)  # type: ignore[call-arg]

    domain = {"values": "[0, inf)"}

    def check(self):
        distinct_rates("Rates.values", self.values)
        record_methods("Rates.schedule", self.schedule, ("at",), "InverseSqrt(1.0)")


class PrecomputedSchedule(NamedTuple):
    """Rates that were worked out beforehand: values[t - start]."""

    values: Any
    start: int

    def at(self, t):
        return self.values[t - self.start]
