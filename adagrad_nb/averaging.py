"""Averaging: the iterate that is reported is not the iterate that is stepped.

An average is a record with ``weight(t)``, the share in [0, 1] of the iterate after update t in
``average += weight * (x - average)``.  With a method ``overwrites(t) -> bool`` it may also say after which updates the
iterate itself becomes the average.
"""

from typing import NamedTuple

from ._check import count
from ._jit import method, plain


@plain
def _never(average, t):
    """Leave the iterate alone."""
    return False


weight = method("weight")
overwrites = method("overwrites", default=_never)


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
        return 1.0 if t == 0 else 1.0 - self.momentum

    def overwrites(self, t):
        return self.overwrite > 0 and (t + 1) % max(self.overwrite, 1) == 0
