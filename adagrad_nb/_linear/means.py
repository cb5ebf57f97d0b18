"""The mean of the iterates that a linear model reports while it learns on from the last one."""

import numpy as np

from .. import _check
from .._kernels.trail import Trail
from ..averaging import Polyak


class Mean:
    """The sums behind ``average=Polyak(start)`` of a linear model; double precision, or 10⁵ rows lose digits.

    Attributes
    ----------
    average : Polyak
    since : int
        The update from which on iterates count: `start`, or where averaging was begun if that was later.
    total, bias_total : ndarray
        Sums of the iterates, of each weight up to the update that its ``last`` says.
    """

    def __init__(self, average, shape, t):
        self.average, self.since = average, max(int(average.start), t)
        self.total = np.zeros(shape)
        self.bias_total = np.zeros((1, *self.total.shape[1:]))

    def copy(self):
        """The same with arrays of its own."""
        new = object.__new__(Mean)
        new.__dict__.update(self.__dict__)
        new.total, new.bias_total = self.total.copy(), self.bias_total.copy()
        return new

    def grow(self, extra):
        """Make room for more weights, which have been zero."""
        self.total = np.concatenate([self.total, np.zeros((extra, *self.total.shape[1:]))])

    def spread(self, lanes, places):
        """Make room for more lanes, which have been zero; those of now stand at these places among them."""
        for name in ("total", "bias_total"):
            old = getattr(self, name)
            new = np.zeros((old.shape[0], lanes))
            new[:, places] = old
            setattr(self, name, new)

    def trail(self, last, n_features=None):
        """The sums as the compiled loop takes them."""
        return Trail(last, self.total[:n_features], self.bias_total, self.since)

    def count(self, t):
        """How many iterates there are before update t."""
        return max(t - self.since, 0)


def checked(average):
    """An average that a linear model can keep, or False for none."""
    if average is False:
        return average
    _check.record("average", average, ("weight",), "Polyak()")
    if not isinstance(average, Polyak):
        raise ValueError(
            f"average: got {average!r}; the mean is kept where a weight is met, which needs the plain mean "
            "Polyak(start); with decaying shares every row would have to visit every weight"
        )
    return average
