"""Averages of the iterates: the average is reported, the iterate itself is updated.

After update t, ``average = mix(average, x, weight(t))``.  An average is a record with these members:

``weight(t) -> float``
    Weight of the iterate of update t, in [0, 1].
``averages_before``
    True if the iterate of update t is x before the update, where its gradient was computed.  Default: False, x after
    the update.
``mix(average, x, weight) -> float``
    The new average of one coordinate.  Default: ``average + weight * (x - average)``.
``overwrites(t) -> bool``
    Whether the iterate is set to the average after update t.  Default: False.
"""

from typing import Any, NamedTuple

from .._check import count
from .._legacy import get_member
from ..compiler.jit import jitable, method


@jitable
def _never_overwrites(average, t):
    """Return False: never overwrite the iterate."""
    return False


@jitable
def _interpolate(average, mean, x, fraction):
    """mean + fraction (x - mean), which is exactly x if mean == x."""
    return mean + fraction * (x - mean)


weight = method("weight")
mix = method("mix", default=_interpolate)
overwrites = method("overwrites", default=_never_overwrites)


def averages_before(average: Any) -> bool:
    """Return whether an average, or a class of averages, takes the iterates before their updates."""
    return bool(get_member(average, "averages_before", False))


class Polyak(NamedTuple):
    r"""Polyak-Ruppert averaging: the arithmetic mean of the iterates from update `start` on.

    .. math:: \bar x_t = \frac{1}{t - s + 1} \sum_{j=s}^{t} x_j \quad \text{for } t \ge s, \qquad
              \bar x_t = x_t \quad \text{for } t < s

    where :math:`x_j` is the iterate after update j and s is `start`.

    Parameters
    ----------
    start : int, default 0
        First update whose iterate is averaged, at least 0.  Before it, the average is the iterate.

    Notes
    -----
    The first of these iterates has already seen the first gradient.  `OnlineToBatch` averages the points at which the
    gradients were computed, as bounds on the regret assume.

    References
    ----------
    .. [1] B. Polyak, A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control
       Optim. 30 (1992) 838-855.

    Examples
    --------
    >>> from adagrad_nb import Polyak
    >>> [Polyak(start=2).weight(t) for t in range(5)]
    [1.0, 1.0, 1.0, 0.5, 0.3333333333333333]
    """

    start: int = 0

    def check(self):
        count("Polyak.start", self.start)

    def weight(self, t):
        return 1.0 / max(t - self.start + 1, 1)


class OnlineToBatch(NamedTuple):
    r"""Online-to-batch conversion: the mean of the points at which the gradients were computed.

    .. math:: \bar x_t = \frac{1}{t - s + 1} \sum_{j=s}^{t} x_j \quad \text{for } t \ge s, \qquad
              \bar x_t = x_t \quad \text{for } t < s

    where :math:`x_j` is the iterate before update j and s is `start`.  If the samples are independent, the expected
    objective at :math:`\bar x` exceeds that at any point u by at most the regret against u divided by the number of
    updates.

    Parameters
    ----------
    start : int, default 0
        First update whose iterate is averaged, at least 0.  A linear model reports its iterate before that.

    References
    ----------
    .. [1] N. Cesa-Bianchi, A. Conconi, C. Gentile, "On the Generalization Ability of On-Line Learning Algorithms",
       IEEE Trans. Inf. Theory 50 (2004) 2050-2057.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import OnlineToBatch, Polyak, init, update
    >>> for average in (OnlineToBatch(), Polyak()):
    ...     x = np.array([3.0])
    ...     state = init(x, lr=1.0, average=average)
    ...     for _ in range(2):  # the iterates are 3, 2 and 2 - 1 / sqrt(2)
    ...         x, state = update(x, np.ones(1), state)
    ...     print(state.means[0].round(3))
    [2.5]
    [1.646]
    """

    start: int = 0

    averages_before = True

    def check(self):
        count("OnlineToBatch.start", self.start)

    def weight(self, t):
        return 1.0 / max(t - self.start + 1, 1)


class EMA(NamedTuple):
    r"""Exponential moving average of the iterates.

    .. math:: \bar x_0 = x_0, \qquad \bar x_t = \mu \bar x_{t-1} + (1 - \mu) x_t

    where :math:`x_t` is the iterate after update t.

    Parameters
    ----------
    momentum : float, default 0.99
        :math:`\mu` in [0, 1), the weight of the previous average.
    overwrite : int, default 0
        Number of updates, at least 0, after which the iterate is set to the average each time.  0 means never.

    References
    ----------
    .. [1] Keras 3, ``use_ema``, ``ema_momentum`` and ``ema_overwrite_frequency`` of its optimisers.

    Examples
    --------
    >>> from adagrad_nb import EMA
    >>> [EMA(momentum=0.75).weight(t) for t in range(3)]
    [1.0, 0.25, 0.25]
    """

    momentum: float = 0.99
    overwrite: int = 0

    domain = {"momentum": "[0, 1)"}

    def check(self):
        count("EMA.overwrite", self.overwrite)

    def weight(self, t):
        one = type(self.momentum)(1)  # in the precision of x, as in Keras
        return one if t == 0 else one - self.momentum

    def mix(self, mean, x, fraction):
        return (type(fraction)(1) - fraction) * mean + fraction * x  # the same rounding as Keras

    def overwrites(self, t):
        return self.overwrite > 0 and (t + 1) % max(self.overwrite, 1) == 0
