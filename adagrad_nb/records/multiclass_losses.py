"""Losses of several predictions at once: what the models that are learnt side by side have to do with each other.

Such a loss is a record with ``loss_and_gradient(y, p, z, h, loss_sums)``, which sets z[l] to h times the derivative
with respect to p[l] and adds h times the loss to `loss_sums`; and ``can_learn_from(p)``, whether learning can go on
from the predictions p.  ``target_type`` is ``"multiclass"`` where y is the number of the right class.
``inverse_link(p)``, which may be left out, returns the probability of each class, for the predictions p of a row as an
array.
"""

import math
from typing import Any, NamedTuple

from .._check import record_methods
from .._legacy import OLD_TARGET_TYPES, get_member, has_member
from ..compiler.jit import jitable, method

_slope = method("slope")
_value = method("value")


def target_type(loss):
    """Return the kind of targets of a loss, or class of losses; None if it does not say."""
    kind = get_member(loss, "target_type")
    return OLD_TARGET_TYPES.get(kind, kind)


def is_multi_output_loss(loss):
    """Return whether a loss is of several predictions at once."""
    return has_member(loss, "loss_and_gradient")


@jitable
def _count_finite(p):
    """How many predictions are finite."""
    count = 0
    for l in range(p.shape[0]):
        count += math.isfinite(p[l])
    return count


class Softmax(NamedTuple):
    r"""The multinomial logistic loss :math:`\log \sum_l e^{p_l} - p_y` of a prediction for each class.

    Its inverse link, :math:`e^{p_l} / \sum_k e^{p_k}`, is the probability of class l.  With two classes it is the
    logistic loss of the difference of the two predictions.

    Notes
    -----
    Every class has weights of its own, none is left out for reference.

    References
    ----------
    .. [1] C. Bishop, "Pattern Recognition and Machine Learning", Springer 2006, section 4.3.4.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Softmax, fit_linear
    >>> X, y = np.eye(3), ["ant", "bee", "cat"]
    >>> model = fit_linear(X, y, loss=Softmax(), passes=20)
    >>> model.coef.shape, model.predict(X).tolist()
    ((3, 3), ['ant', 'bee', 'cat'])
    """

    target_type = "multiclass"

    def can_learn_from(self, p):
        return _count_finite(p) == p.shape[0]

    def loss_and_gradient(self, y, p, z, h, loss_sums):
        largest = p[0]
        for l in range(1, p.shape[0]):
            largest = max(largest, p[l])
        total = largest - largest
        for l in range(p.shape[0]):
            z[l] = math.exp(p[l] - largest)
            total += z[l]
        scale = h / total
        for l in range(p.shape[0]):
            z[l] *= scale
        z[y] -= h
        loss_sums[0] += h * (math.log(total) + (largest - p[y]))


class OneVsRest(NamedTuple):
    """A binary loss for each class: this class against all others.

    The loss of a row is the sum over the classes, so that each class learns what it would learn alone.

    Parameters
    ----------
    loss : loss record with binary labels

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Logistic, OneVsRest, fit_linear
    >>> X, y = np.eye(3), ["ant", "bee", "cat"]
    >>> model = fit_linear(X, y, loss=OneVsRest(Logistic()), passes=20)
    >>> first = fit_linear(X, [label == "ant" for label in y], passes=20)
    >>> bool(np.allclose(model.coef[0], first.coef)), model.predict(X).tolist()
    (True, ['ant', 'bee', 'cat'])
    """

    loss: Any

    target_type = "multiclass"

    def check(self):
        record_methods("OneVsRest.loss", self.loss, ("value", "slope", "inverse_link", "target_type"), "Logistic()")
        if target_type(self.loss) != "binary":
            raise ValueError(
                f"OneVsRest.loss: {type(self.loss).__name__} takes numbers; must be a loss of two labels, "
                "such as Logistic()"
            )

    def can_learn_from(self, p):
        return _count_finite(p) == p.shape[0]

    def loss_and_gradient(self, y, p, z, h, loss_sums):
        for l in range(p.shape[0]):
            side = type(p[l])(1) if l == y else type(p[l])(-1)
            z[l] = h * _slope(self.loss, side, p[l])
            loss_sums[0] += h * _value(self.loss, side, p[l])


class IndependentOutputs(NamedTuple):
    """The same loss of the same target for each of several models, which differ in their learning rates.

    One whose prediction is no longer finite is out, and learns no more; the others go on.
    """

    loss: Any

    def can_learn_from(self, p):
        return _count_finite(p) > 0

    def loss_and_gradient(self, y, p, z, h, loss_sums):
        for l in range(p.shape[0]):
            if math.isfinite(p[l]):
                z[l] = h * _slope(self.loss, y, p[l])
                loss_sums[l] += h * _value(self.loss, y, p[l])
            else:
                z[l] = 0
                loss_sums[l] = math.inf
