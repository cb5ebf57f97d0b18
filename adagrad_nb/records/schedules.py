"""Schedules of the learning rate.

A schedule is a record with one method:

``at(t) -> float``
    The learning rate of update t = 0, 1, 2, …  It is evaluated in double precision once per update.
"""

import math
from typing import Any, NamedTuple, Protocol

from .._check import count, distinct_rates, increasing, positive_count, record_methods, schedule_steps
from ..compiler.jit import jitable, method

at = method("at")


class Schedule(Protocol):
    """Type of the fields of records that hold a schedule or a number."""

    def at(self, t: int) -> Any:
        """Return the value of update t."""


class Constant(NamedTuple):
    """Constant learning rate: lr.

    Parameters
    ----------
    lr : float or ndarray of shape (n,)
        In [0, inf): one number, or one per coordinate.

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
    """Return t / steps, rounded down if `staircase`."""
    return math.floor(t / steps) if staircase else t / steps


class InverseTime(NamedTuple):
    """Inverse-time decay: lr / (1 + decay t / steps).

    This is PyTorch's `lr_decay`, and the inverse-time decay of Keras and BrainPy.

    Parameters
    ----------
    lr : float
        Initial learning rate, in [0, inf).
    decay : float
        In [0, inf).
    steps : float, default 1.0
        Number of updates in the unit of time, in (0, inf).
    staircase : bool, default False
        Whether t / steps is rounded down.

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
    """Inverse square root decay: lr / sqrt(1 + decay t).

    Parameters
    ----------
    lr : float
        Initial learning rate, in [0, inf).
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
    """Exponential decay: max(lr rate**(t / steps), final), or growth up to `final`.

    This is the exponential decay of Keras, optax and BrainPy; with ``staircase=True``, MXNet's FactorScheduler.

    Parameters
    ----------
    lr : float
        Initial learning rate, in [0, inf).
    rate : float
        Factor per `steps` updates, in [0, inf).  With a factor above 1 the learning rate grows.
    steps : float, default 1.0
        In (0, inf).
    staircase : bool, default False
        Whether t / steps is rounded down, so that the learning rate changes every `steps` updates.
    final : float, default 0.0
        Smallest learning rate, in [0, inf).  If `rate` is above 1: the largest one, or 0 for none.

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
        value = self.lr * self.rate ** elapsed_periods(t, self.steps, self.staircase)
        return min(value, self.final) if self.rate > 1.0 and self.final > 0.0 else max(value, self.final)


class Polynomial(NamedTuple):
    """Polynomial decay: final + (lr - final) (1 - t / steps)**power up to t = steps, then final.

    The learning rate rises if `final` is larger than `lr`.

    Parameters
    ----------
    lr : float
        Initial learning rate, in [0, inf).
    steps : float
        Length of the decay, in (0, inf).
    final : float, default 0.0
        Final learning rate, in [0, inf).
    power : float, default 1.0
        In (0, inf).  1 is linear decay; 2 is the default of MXNet's PolyScheduler.
    cycle : bool, default False
        Whether, after `steps` updates, the decay continues with the next multiple of `steps` as its length, as with
        ``cycle`` of Keras' PolynomialDecay.

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
    r"""Cosine annealing with warm restarts (SGDR).

    .. math:: \mathrm{final} + \tfrac12 a_k (1 + \cos(\pi \tau / T_k)), \qquad
              T_k = \mathrm{steps} \cdot \mathrm{stretch}^k, \qquad
              a_k = (\mathrm{lr} - \mathrm{final}) \cdot \mathrm{shrink}^k

    in period k = 0, 1, …, where :math:`\tau` counts the updates since its start.

    Parameters
    ----------
    lr : float
        Initial learning rate, in [0, inf).
    steps : float
        Length of the first period in updates, in (0, inf).
    stretch : float, default 2.0
        Factor of the length from one period to the next, in [1, inf); an integer is `T_mult` of PyTorch.
    shrink : float, default 1.0
        Factor of the amplitude from one period to the next, in (0, 1].
    final : float, default 0.0
        Learning rate at the end of each period, in [0, inf).  It is not a fraction of `lr`.

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
        elapsed, period, amplitude = t * 1.0, self.steps * 1.0, self.lr - self.final
        if self.stretch == 1.0:
            k = math.floor(elapsed / period) * 1.0
            elapsed, amplitude = elapsed - k * period, amplitude * self.shrink**k
        while elapsed >= period:
            elapsed -= period
            period *= self.stretch
            amplitude *= self.shrink
        return self.final + amplitude * (1.0 + math.cos(math.pi * elapsed / period)) / 2.0


class Shift(NamedTuple):
    """Another schedule with a shifted update number: inner.at(t + by).

    Parameters
    ----------
    inner : schedule record
    by : int
        At least 0.  Use 1 for systems that count updates from 1, such as MXNet.

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
    r"""Cosine decay to `final`, reached at t = steps.

    .. math:: \mathrm{final} + (\mathrm{lr} - \mathrm{final})
              \left(\tfrac12 (1 + \cos(\pi t / \mathrm{steps}))\right)^{\mathrm{power}}

    Parameters
    ----------
    lr : float
        Initial learning rate, in [0, inf).
    steps : float
        Length of the decay, in (0, inf).
    final : float, default 0.0
        Final learning rate, in [0, inf).
    power : float, default 1.0
        In (0, inf): ``exponent`` of optax' cosine_decay_schedule.
    cycle : bool, default False
        Whether the learning rate rises again after `steps` updates, with the period 2 steps, as in PyTorch's
        CosineAnnealingLR.  For sudden restarts use `CosineRestarts`.

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
    power: float = 1.0
    cycle: bool = False

    domain = {"lr": "[0, inf)", "steps": "(0, inf)", "final": "[0, inf)", "power": "(0, inf)", "cycle": "bool"}

    def at(self, t):
        fraction = t / self.steps if self.cycle else min(t / self.steps, 1.0)
        return self.final + (self.lr - self.final) * ((1.0 + math.cos(math.pi * fraction)) / 2.0) ** self.power


class Cyclic(NamedTuple):
    """Cyclic learning rate: a linear rise from `lr` to `peak` in `up` updates and a fall to `lr` in `down` updates.

    The height of cycle k = 0, 1, … in update t is (peak - lr) shrink**k decay**t.

    Parameters
    ----------
    lr : float
        Lowest learning rate, in [0, inf).
    peak : float
        Highest learning rate, in [0, inf).
    up, down : float
        Length of the rise and of the fall in updates, each in (0, inf).
    shrink : float, default 1.0
        Factor of the height from one cycle to the next, in (0, 1]: 0.5 is the mode "triangular2" of PyTorch.
    decay : float, default 1.0
        Factor of the height from one update to the next, in (0, 1]: gamma of the mode "exp_range".

    References
    ----------
    .. [1] L. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.

    Examples
    --------
    >>> from adagrad_nb import Cyclic
    >>> [Cyclic(0.0, 1.0, up=2, down=2, shrink=0.5).at(t) for t in range(7)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5]
    """

    lr: float
    peak: float
    up: float
    down: float
    shrink: float = 1.0
    decay: float = 1.0

    domain = {
        "lr": "[0, inf)", "peak": "[0, inf)", "up": "(0, inf)", "down": "(0, inf)", "shrink": "(0, 1]",
        "decay": "(0, 1]",
    }  # fmt: skip

    def at(self, t):
        period = self.up + self.down
        k = math.floor(t / period) * 1.0
        elapsed = t - k * period
        fraction = elapsed / self.up if elapsed < self.up else (period - elapsed) / self.down
        return self.lr + (self.peak - self.lr) * fraction * self.shrink**k * self.decay ** (t * 1.0)


class OneCycle(NamedTuple):
    """One-cycle schedule: a rise from peak / div_factor to `peak`, then a fall to peak / (div_factor final_div_factor).

    Parameters
    ----------
    peak : float
        Highest learning rate, in [0, inf).
    steps : float
        Length of both phases in updates, in (0, inf).  Afterwards the learning rate is constant.
    rise : float, default 0.3
        Fraction of the updates in which the learning rate rises, in (0, 1).
    div_factor : float, default 25.0
        In (0, inf).
    final_div_factor : float, default 1e4
        In (0, inf).
    linear : bool, default False
        Whether both phases are linear instead of half a cosine wave.

    Notes
    -----
    This is optax' cosine_onecycle_schedule.  PyTorch's OneCycleLR counts from 0 to ``n = total_steps - 1``: it is
    ``OneCycle(max_lr, n, rise=(pct_start * total_steps - 1) / n)``.

    References
    ----------
    .. [1] L. Smith, N. Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates",
       arXiv:1708.07120 (2018).

    Examples
    --------
    >>> from adagrad_nb import OneCycle
    >>> [OneCycle(1.0, 4, rise=0.5, div_factor=4, final_div_factor=2, linear=True).at(t) for t in range(6)]
    [0.25, 0.625, 1.0, 0.5625, 0.125, 0.125]
    """

    peak: float
    steps: float
    rise: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    linear: bool = False

    domain = {
        "peak": "[0, inf)", "steps": "(0, inf)", "rise": "(0, 1)", "div_factor": "(0, inf)",
        "final_div_factor": "(0, inf)", "linear": "bool",
    }  # fmt: skip

    def at(self, t):
        lowest, turn = self.peak / self.div_factor, self.rise * self.steps
        if t < turn:
            begin, end, fraction = lowest, self.peak, t / turn
        else:
            begin, end, fraction = self.peak, lowest / self.final_div_factor, (t - turn) / (self.steps - turn)
        fraction = min(fraction, 1.0)
        return begin + (end - begin) * (fraction if self.linear else (1.0 - math.cos(math.pi * fraction)) / 2.0)


class Piecewise(NamedTuple):
    """Piecewise constant learning rate: values[0] for t < boundaries[0], values[k] from boundaries[k - 1] on.

    Parameters
    ----------
    boundaries : tuple of int
        Increasing update numbers, each at least 0, from which the next value applies.
    values : tuple of float
        Learning rates, each in [0, inf); one more than boundaries.

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
        # Numba loops over tuples of one type only, and not over empty ones.
        values = tuple(float(value) for value in self.values)
        return self._replace(values=values) if self.boundaries else Constant(values[0])

    def at(self, t):
        k = 0
        for boundary in self.boundaries:
            if t >= boundary:
                k += 1
        return self.values[k]


class WarmUp(NamedTuple):
    """Linear warm-up to the initial learning rate of another schedule, then that schedule.

    The learning rate is inner.at(0) (t + 1) / steps for t < steps, then inner.at(t - steps).  For a warm-up from a
    given learning rate, as in optax and Keras, use `Sequential`.

    Parameters
    ----------
    steps : int
        Length of the warm-up in updates, at least 1.
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


class Sequential(NamedTuple):
    """Two schedules, one after the other: first.at(t) for t < steps, then second.at(t - steps).

    Parameters
    ----------
    first : schedule record
    steps : int
        Number of updates of the first schedule, at least 0.
    second : schedule record
        It may be another `Sequential`.

    Examples
    --------
    Warm up from 0.1 to 0.5 in four updates, then decay:

    >>> from adagrad_nb import Cosine, Polynomial, Sequential
    >>> warmed = Sequential(Polynomial(0.1, steps=4, final=0.5), 4, Cosine(0.5, steps=2))
    >>> [round(warmed.at(t), 2) for t in range(8)]
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.25, 0.0, 0.0]
    """

    first: Any
    steps: int
    second: Any

    def check(self):
        count("Sequential.steps", self.steps)
        record_methods("Sequential.first", self.first, ("at",), "InverseSqrt(1.0)")
        record_methods("Sequential.second", self.second, ("at",), "InverseSqrt(1.0)")

    def at(self, t):
        return at(self.first, t) if t < self.steps else at(self.second, t - self.steps)


class Rates(NamedTuple):
    """Several learning rates that `fit_linear` tries in the same pass, with plain steps; see also `RateSearch`.

    For two classes, or numbers.

    The model predicts with the learning rate of the lowest progressive loss.  All of them are kept when training is
    continued.

    Parameters
    ----------
    values : tuple of float
        Different learning rates, each in [0, inf).  They share SIMD registers, so a multiple of four is as fast as one
        value less.
    schedule : schedule record, default Constant(1.0)
        Factor of all learning rates in update t.

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


class RateSearch(NamedTuple):
    """Search for the learning rate of a linear model by successive halving [1]_, as `fit_linear` does by default.

    `fit_linear` trains one model for each rate in the same pass.  All models divide the learning rate of a feature by
    the root mean square of its non-zero values so far, and take importance-weight-aware steps.  The units of the
    columns therefore do not matter, and neither does a rate that is too large for a row.  A weight changes with the
    scale, so that their product stays the same.  The accumulator of a feature starts with the mean square of the slopes
    so far, as if the feature had been in one more row.  For rules other than `Adagrad`, and for batches, the steps are
    plain, as with one rate.

    Models are compared by the sum of their progressive losses, in which row k has the weight k: recent rows count
    more.  At each update number in `halve_at` the better half remains.  The model with the smallest sum predicts.

    With several classes, a model has weights for all of them.  One against the rest, each class is a model of its own.
    For other losses, such as softmax, the classes share accumulators, which sum the mean of the squares of their
    gradients, and a step integrates the change of all slopes approximately.

    The weights and accumulators of all models have at most 2^27 numbers at the start, 1 GiB in float64.  Where the
    features and classes of the first chunk would need more, the outermost rates are not trained, down to one rate.
    `LinearModel.candidates` lists them with ``removed_at=0``.

    Parameters
    ----------
    values : tuple of float
        Learning rates in (0, inf), in increasing order.
    schedule : schedule record, default Constant(1.0)
        Factor of all learning rates in update t.
    halve_at : tuple of int, default (4096, 16384, 65536)
        Update numbers, in increasing order.

    References
    ----------
    .. [1] K. Jamieson, A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
       AISTATS 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import RateSearch, fit_linear
    >>> X = np.random.default_rng(0).normal(size=(1000, 3)) * [1e-6, 1.0, 1e6]
    >>> model = fit_linear(X, X @ [1e6, -2.0, 3e-6] > 0, lr=RateSearch())
    >>> model.progressive_loss < 0.15, model.rates.size
    (True, 8)
    """

    values: tuple = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
    schedule: Any = Constant(1.0)  # type: ignore[call-arg]
    halve_at: tuple = (4096, 16384, 65536)

    domain = {"values": "(0, inf)"}

    def check(self):
        distinct_rates("RateSearch.values", self.values)
        increasing("RateSearch.values", self.values)
        record_methods("RateSearch.schedule", self.schedule, ("at",), "InverseSqrt(1.0)")
        if not isinstance(self.halve_at, tuple):
            raise TypeError(f"RateSearch.halve_at: got {self.halve_at!r}; must be a tuple of integers")
        for update in self.halve_at:
            positive_count("RateSearch.halve_at", update)
        increasing("RateSearch.halve_at", self.halve_at)

    def n_kept(self, t):
        """Return the number of models that remain at update t."""
        n = len(self.values)
        for update in self.halve_at:
            n = n if t < update else max((n + 1) // 2, 1)
        return n

    def next_halving(self, t):
        """Return the first update number after t at which models are removed, or None."""
        return next((update for update in self.halve_at if update > t and self.n_kept(update) < self.n_kept(t)), None)


def has_several_rates(lr: Any) -> bool:
    """Return whether a learning rate of `fit_linear` trains several models."""
    return isinstance(lr, (Rates, RateSearch))


class PrecomputedSchedule(NamedTuple):
    """Precomputed learning rates: values[t - start]."""

    values: Any
    start: int

    def at(self, t):
        return self.values[t - self.start]
