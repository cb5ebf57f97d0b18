"""Losses of a prediction p against a target y: what their methods mean, and all of them by name.

A loss is a record with three functions of scalars: ``value(y, p)``, its derivative ``slope(y, p)`` with respect to
p, and ``inverse_link(p)``, what a prediction of p says about y.  ``target_type`` says what y is:

============ =========================================================================================
"binary"     -1 or 1; the drivers map any two labels to them, and a positive p is the label of 1
"continuous" a finite number
"count"      a finite number of at least 0
"multiclass" the number of the right class, of a loss of one prediction for each (see `multiclass_losses`); the drivers
             map any labels to them
============ =========================================================================================

``probabilities`` says of a binary loss whether its inverse link is the probability of y = 1; a record that does not
say is taken to have one.  The inverse link of other binary losses is p.

``invariant_step(y, p, q, tau)``, which may be left out, is the invariant step (see `invariant_steps`); without it a
step goes by the slope.
"""

from .._legacy import get_member, has_member
from ..compiler.jit import jitable, method
from .binary_losses import Hinge, Logistic, ModifiedHuber, Perceptron, SmoothHinge, SquaredHinge
from .multiclass_losses import OneVsRest, Softmax, target_type
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
inverse_link = method("inverse_link")


@jitable
def _explicit_step(loss, y, p, q, tau):
    """The step of a loss that does not say where its slope leads."""
    return -tau * slope(loss, y, p)


invariant_step = method("invariant_step", default=_explicit_step)

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
    """Return whether the inverse link of a loss is a probability, or gives that of each class."""
    if isinstance(loss, OneVsRest):
        return has_probabilities(loss.loss)
    if target_type(loss) == "multiclass":
        return isinstance(loss, Softmax) or (has_member(loss, "inverse_link") and getattr(loss, "probabilities", True))
    return get_member(loss, "probabilities", target_type(loss) == "binary")
