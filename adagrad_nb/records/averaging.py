"""Averaging: the iterate that is reported is not the iterate that is stepped.

An average is a record with ``weight(t)``, the share in [0, 1] of the iterate after update t in
``average += weight * (x - average)``.  With a method ``overwrites(t) -> bool`` it may also say after which updates the
iterate itself becomes the average, with ``mix(average, x, weight)`` by which arithmetic the two are mixed.
"""

from typing import NamedTuple

from .._check import count
from ..compiler.jit import jitable, method


@jitable
def _never_overwrites(average, t):
    """Leave the iterate alone."""
    return False


@jitable
def _interpolate(average, mean, x, share):
    """mean + share (x - mean), which rounds to x itself where they are equal."""
    return mean + share * (x - mean)


weight = method("weight")
mix = method("mix", default=_interpolate)
overwrites = method("overwrites", default=_never_overwrites)


class Polyak(NamedTuple):
    """The plain mean of the iterates after updates start, start + 1, …

    Parameters
    ----------
    start : int, default 0
        Update from which on the iterates are averaged; before it the average is the iterate.

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


class EMA(NamedTuple):
    """The exponential moving average, begun with a copy of the first iterate.

    Parameters
    ----------
    momentum : float, default 0.99
        In [0, 1); the share of the old average that stays.
    overwrite : int, default 0
        Set the iterate to the average after every so many updates; 0 means never.

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
        one = type(self.momentum)(1)  # in the precision of x, as in the systems that it is taken from
        return one if t == 0 else one - self.momentum

    def mix(self, mean, x, share):
        return (type(share)(1) - share) * mean + share * x  # rounds as in Keras

    def overwrites(self, t):
        return self.overwrite > 0 and (t + 1) % max(self.overwrite, 1) == 0
