"""Losses of a prediction p against a target y.

A loss is a record with three functions of scalars: ``value(y, p)``, its derivative ``slope(y, p)`` with respect to
p, and ``link(p)``, the mean of y that p stands for.  ``labels`` says what y is: ``"binary"`` targets are -1 and 1
(the drivers map any two labels to them), ``"number"`` targets are finite numbers.
"""

import math
from typing import NamedTuple

from ._jit import method

value = method("value")
slope = method("slope")
link = method("link")


class Logistic(NamedTuple):
    r"""The logistic loss :math:`\log(1 + e^{-y p})`, y in {-1, 1}; its link is the probability of y = 1.

    Finite for every finite margin: the exponential is only ever taken of :math:`-|y p|`.

    Examples
    --------
    >>> from adagrad_nb import Logistic
    >>> Logistic().value(1.0, -1000.0), Logistic().slope(1.0, -1000.0), Logistic().link(0.0)
    (1000.0, -1.0, 0.5)
    """

    labels = "binary"

    def value(self, y, p):
        margin = y * p
        loss = math.log1p(math.exp(-abs(margin)))
        return loss if margin > 0 else loss - margin

    def slope(self, y, p):
        margin = y * p
        e = math.exp(-abs(margin))
        one = type(p)(1)
        return -y * ((e if margin > 0 else one) / (one + e))

    def link(self, p):
        e = math.exp(-abs(p))
        one = type(p)(1)
        return (one if p > 0 else e) / (one + e)


class Squared(NamedTuple):
    r"""Half the squared error, :math:`\tfrac12 (p - y)^2`; its link is the identity.

    Examples
    --------
    >>> from adagrad_nb import Squared
    >>> Squared().value(1.0, 3.0), Squared().slope(1.0, 3.0)
    (2.0, 2.0)
    """

    labels = "number"

    def value(self, y, p):
        return (p - y) * (p - y) / type(p)(2)

    def slope(self, y, p):
        return p - y

    def link(self, p):
        return p
