"""Losses of several predictions at once, for multi-class models and for models of several learning rates.

Such a loss is a record with these members:

``loss_and_gradient(y, p, z, h, loss_sums)``
    For a row with target y, predictions p and weight h: set ``z[l]`` to h times the derivative with respect to
    ``p[l]``, and add h times the loss to `loss_sums`.
``can_learn_from(p) -> bool``
    Whether the predictions p are usable, so that training can continue.
``target_type``
    ``"multiclass"`` if y is the index of the true class.
``inverse_link(p) -> ndarray``
    Probability of each class for the predictions p of one row.  Default: the loss has no probabilities.
``class_step(y, l, p, slope, loss, q, tau) -> float``
    Importance-weight-aware update u of class l (see `invariant_steps`) if the other predictions stay the same, given
    its prediction p, the derivative `slope` and the loss of the row.  Default: the explicit step, ``-tau * slope``.
"""

import math
from typing import Any, NamedTuple

from .._check import record_methods
from .._legacy import OLD_TARGET_TYPES, get_member, has_member
from ..compiler.jit import jitable, method
from .invariant_steps import invariant_step, logistic_flow

_slope = method("slope")
_value = method("value")


def target_type(loss: Any) -> str | None:
    """Return the target type of a loss or a class of losses, or None if it has none."""
    kind = get_member(loss, "target_type")
    return OLD_TARGET_TYPES.get(kind, kind)


def is_multi_output_loss(loss: Any) -> bool:
    """Return whether a loss takes several predictions at once."""
    return has_member(loss, "loss_and_gradient")


@jitable
def _count_finite(p):
    """Return the number of finite predictions."""
    count = 0
    for l in range(p.shape[0]):
        count += math.isfinite(p[l])
    return count


@jitable
def _explicit_step(record, y, l, p, slope, loss, q, tau):
    """Return the explicit step, for losses without `class_step`."""
    return -tau * slope


class_step = method("class_step", default=_explicit_step)
_loss_and_gradient = method("loss_and_gradient")
_can_learn_from = method("can_learn_from")


class Softmax(NamedTuple):
    r"""Multinomial logistic loss :math:`\log \sum_l e^{p_l} - p_y`, with one prediction :math:`p_l` for each class l.

    The derivative with respect to :math:`p_l` is :math:`e^{p_l} / \sum_k e^{p_k} - [l = y]`.  The inverse link is the
    probability of class l, :math:`e^{p_l} / \sum_k e^{p_k}`.  With two classes, this is the logistic loss of the
    difference of the two predictions.

    Notes
    -----
    Every class has its own weights; there is no reference class.

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

    def class_step(self, y, l, p, slope, loss, q, tau):
        # The logistic loss of the margin log(P / (1 - P)), where P is the probability of class l.  P of the true class
        # is exp(-loss), also where 1 + slope has lost all digits; so 1 - P of another class is at least that.
        if l == y:
            return logistic_flow(-loss - math.log(-slope), q * tau) / q
        rest = type(p)(1) - slope
        log_rest = max(math.log(rest), -loss) if rest > 0 else -loss
        return -logistic_flow(log_rest - math.log(slope), q * tau) / q


class OneVsRest(NamedTuple):
    r"""One-versus-rest classification: the sum over the classes of a binary loss of this class against all others.

    The loss is :math:`\sum_l \ell(y_l, p_l)` with :math:`y_l = 1` for the true class and -1 for the others.  Each class
    learns the same weights as a binary model of this class.

    Parameters
    ----------
    loss : loss record
        Binary loss :math:`\ell`, such as ``Logistic()``.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Logistic, OneVsRest, fit_linear
    >>> X, y = np.eye(3), ["ant", "bee", "cat"]
    >>> model = fit_linear(X, y, loss=OneVsRest(Logistic()), lr=0.5, passes=20)
    >>> first = fit_linear(X, [label == "ant" for label in y], lr=0.5, passes=20)
    >>> bool(np.allclose(model.coef[0], first.coef)), model.predict(X).tolist()
    (True, ['ant', 'bee', 'cat'])
    """

    loss: Any

    target_type = "multiclass"

    def check(self):
        record_methods("OneVsRest.loss", self.loss, ("value", "slope", "inverse_link", "target_type"), "Logistic()")
        if target_type(self.loss) != "binary":
            raise ValueError(
                f"OneVsRest.loss: {type(self.loss).__name__} is not a binary loss; pass a loss such as Logistic()"
            )

    def can_learn_from(self, p):
        return _count_finite(p) == p.shape[0]

    def loss_and_gradient(self, y, p, z, h, loss_sums):
        for l in range(p.shape[0]):
            side = type(p[l])(1) if l == y else type(p[l])(-1)
            z[l] = h * _slope(self.loss, side, p[l])
            loss_sums[0] += h * _value(self.loss, side, p[l])

    def class_step(self, y, l, p, slope, loss, q, tau):
        return invariant_step(self.loss, type(p)(1) if l == y else type(p)(-1), p, q, tau)


class IndependentOutputs(NamedTuple):
    """The same loss of the same target for several models, which differ in their learning rates.

    A model whose prediction is not finite stops learning and has an infinite loss.  The others continue.
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


class CandidateClasses(NamedTuple):
    """The loss of several classes for several models, which differ in their learning rates.

    The predictions of a model are adjacent: those of model c begin at ``c * n_classes``.  `loss_and_gradient` sets
    ``losses[c]``.  A model with a prediction that is not finite stops learning and has an infinite loss.
    """

    loss: Any
    n_classes: int

    def can_learn_from(self, p):
        k = self.n_classes
        count = 0
        for first in range(0, p.shape[0], k):
            count += _can_learn_from(self.loss, p[first : first + k])
        return count > 0

    def loss_and_gradient(self, y, p, z, h, losses):
        k = self.n_classes
        for c in range(p.shape[0] // k):
            first = c * k
            losses[c] = 0
            if _can_learn_from(self.loss, p[first : first + k]):
                _loss_and_gradient(self.loss, y, p[first : first + k], z[first : first + k], h, losses[c : c + 1])
            else:
                losses[c] = math.inf
            if not math.isfinite(losses[c]):
                losses[c] = math.inf
                for l in range(first, first + k):
                    z[l] = 0
