"""Losses for binary classification with targets y in {-1, 1}: functions of the margin y p.

Their methods are described in `losses`.  At a kink, every slope between the two one-sided derivatives is a subgradient.
`Hinge` has slope 0 there: a row with margin 1 is classified correctly and causes no update.  `Perceptron` has the slope
of the wrong side: otherwise a model with weights of zero would never learn.
"""

import math
from typing import NamedTuple

from ..compiler.simd import one_like, select
from .invariant_steps import capped_linear_flow, logistic_flow


class Logistic(NamedTuple):
    r"""Logistic loss :math:`\log(1 + e^{-y p})`, y in {-1, 1}.

    The derivative with respect to p is :math:`-y / (1 + e^{y p})`.  The inverse link is the probability of y = 1,
    :math:`1 / (1 + e^{-p})`.

    Notes
    -----
    The loss is finite for every finite margin, because only :math:`e^{-|y p|}` is computed.

    Examples
    --------
    >>> from adagrad_nb import Logistic
    >>> Logistic().value(1.0, -1000.0), Logistic().slope(1.0, -1000.0), Logistic().inverse_link(0.0)
    (1000.0, -1.0, 0.5)
    """

    target_type = "binary"
    probabilities = True
    branchless = True

    def value(self, y, p):
        margin = y * p
        loss = math.log1p(math.exp(-abs(margin)))
        return select(margin > 0, loss, loss - margin)

    def slope(self, y, p):
        margin = y * p
        e = math.exp(-abs(margin))
        return -y * (select(margin > 0, e, one_like(p)) / (one_like(p) + e))

    def invariant_step(self, y, p, q, tau):
        return y * logistic_flow(y * p, q * tau) / q

    def inverse_link(self, p):
        e = math.exp(-abs(p))
        one = type(p)(1)
        return (one if p > 0 else e) / (one + e)


class Hinge(NamedTuple):
    r"""Hinge loss of support vector machines, :math:`[1 - y p]_+`, y in {-1, 1}.

    The derivative is -y for :math:`y p < 1`, else 0.  The inverse link is p.

    References
    ----------
    .. [1] C. Cortes, V. Vapnik, "Support-Vector Networks", Machine Learning 20 (1995) 273-297.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Hinge, fit_linear
    >>> Hinge().value(1.0, -2.0), Hinge().slope(1.0, -2.0), Hinge().slope(1.0, 1.0)
    (3.0, -1.0, 0.0)
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> model = fit_linear(X, X[:, 0] > 0, loss=Hinge())
    >>> model.progressive_loss < 0.2 < Hinge().value(1.0, 0.0)
    True
    """

    target_type = "binary"
    probabilities = False

    def value(self, y, p):
        rest = type(p)(1) - y * p
        return type(p)(0) if rest <= 0 else rest

    def slope(self, y, p):
        rest = type(p)(1) - y * p
        return -y if rest > 0 else rest - rest  # 0, or NaN

    def invariant_step(self, y, p, q, tau):
        rest = type(p)(1) - y * p
        return y * capped_linear_flow(rest, q * tau, type(p)(1), type(p)(math.inf)) / q if rest > 0 else rest - rest

    def inverse_link(self, p):
        return p


class SquaredHinge(NamedTuple):
    r"""Squared hinge loss :math:`[1 - y p]_+^2`, y in {-1, 1}.

    The derivative is :math:`-2 y [1 - y p]_+`.  The inverse link is p.

    References
    ----------
    .. [1] C.-J. Hsieh, K.-W. Chang, C.-J. Lin, S. Keerthi, S. Sundararajan, "A Dual Coordinate Descent Method for
       Large-scale Linear SVM", ICML 2008, equation 2.

    Examples
    --------
    >>> from adagrad_nb import SquaredHinge
    >>> SquaredHinge().value(1.0, -2.0), SquaredHinge().slope(1.0, -2.0), SquaredHinge().value(1.0, 2.0)
    (9.0, -6.0, 0.0)
    """

    target_type = "binary"
    probabilities = False

    def value(self, y, p):
        rest = type(p)(1) - y * p
        return type(p)(0) if rest <= 0 else rest * rest

    def slope(self, y, p):
        rest = type(p)(1) - y * p
        return type(p)(0) if rest <= 0 else -y * (rest + rest)

    def invariant_step(self, y, p, q, tau):
        rest = type(p)(1) - y * p
        return y * capped_linear_flow(rest, q * tau, type(p)(math.inf), type(p)(2)) / q if rest > 0 else rest - rest

    def inverse_link(self, p):
        return p


class SmoothHinge(NamedTuple):
    r"""Smoothed hinge loss: quadratic for margins between :math:`1 - \gamma` and 1, y in {-1, 1}.

    With :math:`r = 1 - y p` the loss is 0 for :math:`r \le 0`, :math:`r^2 / (2\gamma)` for
    :math:`0 < r < \gamma`, and :math:`r - \gamma / 2` for :math:`r \ge \gamma`.  The derivative is
    :math:`-y \min([r]_+ / \gamma, 1)`.  The inverse link is p.

    Parameters
    ----------
    gamma : float, default 1.0
        :math:`\gamma` in (0, inf), the width of the quadratic part.

    References
    ----------
    .. [1] J. Rennie, N. Srebro, "Loss Functions for Preference Levels", IJCAI workshop on preference handling, 2005,
       for gamma = 1.
    .. [2] S. Shalev-Shwartz, T. Zhang, "Stochastic Dual Coordinate Ascent Methods for Regularized Loss
       Minimization", JMLR 14 (2013) 567-599, section 3.

    Examples
    --------
    >>> from adagrad_nb import SmoothHinge
    >>> [SmoothHinge().value(1.0, p) for p in (-2.0, 0.0, 0.5, 1.0)]
    [2.5, 0.5, 0.125, 0.0]
    """

    gamma: float = 1.0

    target_type = "binary"
    probabilities = False
    domain = {"gamma": "(0, inf)"}

    def value(self, y, p):
        rest = type(p)(1) - y * p
        if rest <= 0:
            return type(p)(0)
        if rest >= self.gamma:
            return rest - self.gamma / type(p)(2)
        return rest * (rest / self.gamma) / type(p)(2)

    def slope(self, y, p):
        rest = type(p)(1) - y * p
        if rest <= 0:
            return type(p)(0)
        return -y if rest >= self.gamma else -y * (rest / self.gamma)

    def invariant_step(self, y, p, q, tau):
        rest = type(p)(1) - y * p
        return (
            y * capped_linear_flow(rest, q * tau, type(p)(1), type(p)(1) / self.gamma) / q if rest > 0 else rest - rest
        )

    def inverse_link(self, p):
        return p


class ModifiedHuber(NamedTuple):
    r"""Modified Huber loss: the squared hinge, continued linearly below margin -1, y in {-1, 1}.

    The loss is :math:`[1 - y p]_+^2` for :math:`y p \ge -1`, else :math:`-4 y p`.  The derivative is
    :math:`-2 y [1 - y p]_+` for :math:`y p \ge -1`, else :math:`-4 y`.  The inverse link is the probability of y = 1,
    :math:`(\min(\max(p, -1), 1) + 1) / 2`.

    References
    ----------
    .. [1] T. Zhang, "Solving Large Scale Linear Prediction Problems Using Stochastic Gradient Descent Algorithms",
       ICML 2004, section 2.

    Examples
    --------
    >>> from adagrad_nb import ModifiedHuber
    >>> ModifiedHuber().value(1.0, -2.0), ModifiedHuber().slope(1.0, -2.0)
    (8.0, -4.0)
    >>> [ModifiedHuber().inverse_link(p) for p in (-3.0, 0.0, 0.5)]
    [0.0, 0.5, 0.75]
    """

    target_type = "binary"
    probabilities = True

    def value(self, y, p):
        margin = y * p
        rest = type(p)(1) - margin
        if rest <= 0:
            return type(p)(0)
        return rest * rest if rest <= 2 else type(p)(-4) * margin

    def slope(self, y, p):
        rest = type(p)(1) - y * p
        if rest <= 0:
            return type(p)(0)
        return type(p)(-4) * y if rest > 2 else type(p)(-2) * y * rest

    def invariant_step(self, y, p, q, tau):
        rest = type(p)(1) - y * p
        return y * capped_linear_flow(rest, q * tau, type(p)(4), type(p)(2)) / q if rest > 0 else rest - rest

    def inverse_link(self, p):
        one = type(p)(1)
        if p >= 1:
            return one
        return type(p)(0) if p <= -1 else (p + one) / type(p)(2)


class Perceptron(NamedTuple):
    r"""Perceptron loss :math:`[-y p]_+`, y in {-1, 1}.

    The derivative is -y for :math:`y p \le 0`, else 0.  The inverse link is p.

    References
    ----------
    .. [1] F. Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization in the
       Brain", Psychological Review 65 (1958) 386-408.

    Examples
    --------
    >>> from adagrad_nb import Perceptron
    >>> Perceptron().value(1.0, -2.0), Perceptron().slope(1.0, 0.0), Perceptron().slope(1.0, 0.5)
    (2.0, -1.0, 0.0)
    """

    target_type = "binary"
    probabilities = False

    def value(self, y, p):
        margin = y * p
        return type(p)(0) if margin >= 0 else -margin

    def slope(self, y, p):
        margin = y * p
        return -y if margin <= 0 else margin - margin  # 0, or NaN

    def inverse_link(self, p):
        return p
