"""Losses of a prediction p against a target y: what their methods mean, and all of them by name.

A loss is a record with three functions of scalars: ``value(y, p)``, its derivative ``slope(y, p)`` with respect to
p, and ``link(p)``, what a prediction of p says about y.  ``labels`` says what y is:

========== ===========================================================================================
"binary"   -1 or 1; the drivers map any two labels to them, and a positive p is the label of 1
"number"   a finite number
"count"    a finite number of at least 0
"classes"  the number of the right class, of a loss of one prediction for each (see `multiclass`); the drivers map
           any labels to them
========== ===========================================================================================

``probabilities`` says of a binary loss whether its link is the probability of y = 1; a record that does not say is
taken to have one.  The link of other binary losses is p.

``flow(y, p, q, tau)``, which may be left out, is the invariant step (see `flows`); without it a step goes by the slope.
"""

from ..compiler.jit import method, plain
from .binary_losses import Hinge, Logistic, ModifiedHuber, Perceptron, SmoothHinge, SquaredHinge
from .multiclass_losses import Softmax
from .regression_losses import (
    Absolute,
    EpsilonInsensitive,
    Huber,
    Poisson,
    Quantile,
    Squared,
    SquaredEpsilonInsensitive,
)

value = method("value")
slope = method("slope")
link = method("link")


@plain
def _straight(loss, y, p, q, tau):
    """The step of a loss that does not say where its slope leads."""
    return -tau * slope(loss, y, p)


flow = method("flow", default=_straight)

LOSSES = {
    "logistic": Logistic,
    "hinge": Hinge,
    "squared_hinge": SquaredHinge,
    "smooth_hinge": SmoothHinge,
    "modified_huber": ModifiedHuber,
    "perceptron": Perceptron,
    "softmax": Softmax,
    "squared": Squared,
    "huber": Huber,
    "absolute": Absolute,
    "epsilon_insensitive": EpsilonInsensitive,
    "squared_epsilon_insensitive": SquaredEpsilonInsensitive,
    "quantile": Quantile,
    "poisson": Poisson,
}


def has_probabilities(loss):
    """Whether the link of a loss is a probability, or that of each of many classes."""
    if loss.labels == "classes":
        return has_probabilities(loss.loss) if hasattr(loss, "loss") else True
    return getattr(loss, "probabilities", loss.labels == "binary")
