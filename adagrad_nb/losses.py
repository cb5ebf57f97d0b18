"""Losses of a prediction p against a target y: what their methods mean, and all of them by name.

A loss is a record with three functions of scalars: ``value(y, p)``, its derivative ``slope(y, p)`` with respect to
p, and ``link(p)``, what a prediction of p says about y.  ``labels`` says what y is:

========== ===========================================================================================
"binary"   -1 or 1; the drivers map any two labels to them, and a positive p is the label of 1
"number"   a finite number
"count"    a finite number of at least 0
========== ===========================================================================================

``probabilities`` says of a binary loss whether its link is the probability of y = 1; a record that does not say is
taken to have one.  The link of other binary losses is p.
"""

from ._jit import method
from .margins import Hinge, Logistic, ModifiedHuber, Perceptron, SmoothHinge, SquaredHinge
from .regressions import Absolute, EpsilonInsensitive, Huber, Poisson, Quantile, Squared, SquaredEpsilonInsensitive

value = method("value")
slope = method("slope")
link = method("link")

LOSSES = {
    "logistic": Logistic,
    "hinge": Hinge,
    "squared_hinge": SquaredHinge,
    "smooth_hinge": SmoothHinge,
    "modified_huber": ModifiedHuber,
    "perceptron": Perceptron,
    "squared": Squared,
    "huber": Huber,
    "absolute": Absolute,
    "epsilon_insensitive": EpsilonInsensitive,
    "squared_epsilon_insensitive": SquaredEpsilonInsensitive,
    "quantile": Quantile,
    "poisson": Poisson,
}


def has_probabilities(loss):
    """Whether the link of a loss is a probability."""
    return getattr(loss, "probabilities", loss.labels == "binary")
