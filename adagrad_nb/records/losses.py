"""Losses of a prediction p for a target y: their methods, and all losses by name.

A loss is a record with these members:

``value(y, p) -> float``
    The loss.
``slope(y, p) -> float``
    Its derivative with respect to p; at a kink, a subgradient.
``inverse_link(p) -> float``
    The prediction on the scale of y: the probability of y = 1 or the mean count.  Other losses return p.
``target_type``
    The kind of target, in scikit-learn's words:

    ============ ==================================================================================
    "binary"     -1 or 1.  `fit_linear` accepts any two labels; p > 0 predicts the second
    "continuous" a finite number
    "count"      a finite number of at least 0
    "multiclass" the index of the true class, for a loss of one prediction per class (see
                 `multiclass_losses`).  `fit_linear` accepts any labels
    ============ ==================================================================================
``probabilities``
    Whether the inverse link of a binary loss is the probability of y = 1.  Default: True.
``invariant_step(y, p, q, tau) -> float``
    The importance-weight-aware update u of Karampatziakis and Langford (2011), in closed form: the prediction follows
    ``dp/dt = -q slope(y, p)`` for the time tau and reaches ``p + q u`` (see `invariant_steps`).  Default: the explicit
    step, ``-tau * slope(y, p)``.
"""

from typing import Any

from .._legacy import get_member, has_member
from ..compiler.jit import method
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


def has_probabilities(loss: Any) -> bool:
    """Return whether the inverse link of a loss gives probabilities."""
    if isinstance(loss, OneVsRest):
        return has_probabilities(loss.loss)
    if target_type(loss) == "multiclass":
        return isinstance(loss, Softmax) or (has_member(loss, "inverse_link") and getattr(loss, "probabilities", True))
    return get_member(loss, "probabilities", target_type(loss) == "binary")
