"""Losses for regression: functions of the residual p - y, and the Poisson loss for counts.

Their methods are described in `losses`.  The slope at a kink is 0: a prediction with the smallest possible loss causes
no update.
"""

import math
from typing import NamedTuple

from ..compiler.jit import jitable
from ..compiler.simd import one_like
from .invariant_steps import capped_linear_flow, poisson_flow


@jitable
def _exp_or_inf(p):
    """Return exp(p), or infinity instead of the OverflowError of Python."""
    return type(p)(math.inf) if p > 709 else math.exp(p)


class Squared(NamedTuple):
    r"""Half the squared error, :math:`\tfrac12 (p - y)^2`.

    The derivative with respect to p is p - y.  The inverse link is p.

    Examples
    --------
    >>> from adagrad_nb import Squared
    >>> Squared().value(1.0, 3.0), Squared().slope(1.0, 3.0)
    (2.0, 2.0)
    """

    target_type = "continuous"
    probabilities = False
    branchless = True

    def value(self, y, p):
        return (p - y) * (p - y) / (one_like(p) + one_like(p))

    def slope(self, y, p):
        return p - y

    def invariant_step(self, y, p, q, tau):
        return (p - y) * math.expm1(-q * tau) / q

    def inverse_link(self, p):
        return p


class Huber(NamedTuple):
    r"""Huber loss: quadratic for small errors, linear for large ones, and so robust against outliers.

    With :math:`r = |p - y|` the loss is :math:`\tfrac12 r^2` for :math:`r \le \delta`, else
    :math:`\delta (r - \delta / 2)`.  The derivative is :math:`\min(\max(p - y, -\delta), \delta)`.  The inverse link is
    p.

    Parameters
    ----------
    delta : float, default 1.0
        :math:`\delta` in (0, inf), in the unit of y.

    References
    ----------
    .. [1] P. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35 (1964) 73-101.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Huber, fit_linear
    >>> Huber(1.0).value(0.0, 0.5), Huber(1.0).value(0.0, 3.0), Huber(1.0).slope(0.0, 3.0)
    (0.125, 2.5, 1.0)
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(3000, 2))
    >>> y = X @ [1.0, -2.0] + rng.standard_t(1.2, size=3000)  # wild outliers
    >>> [float(np.abs(fit_linear(X, y, loss=loss).coef - [1.0, -2.0]).max()) < 0.2 for loss in (Huber(), "squared")]
    [True, False]
    """

    delta: float = 1.0

    target_type = "continuous"
    probabilities = False
    domain = {"delta": "(0, inf)"}

    def value(self, y, p):
        r = abs(p - y)
        two = type(p)(2)
        return self.delta * (r - self.delta / two) if r > self.delta else r * r / two

    def slope(self, y, p):
        r = p - y
        return self.delta if r > self.delta else (-self.delta if r < -self.delta else r)

    def invariant_step(self, y, p, q, tau):
        r = abs(p - y)
        return math.copysign(capped_linear_flow(r, q * tau, self.delta, type(p)(1)) / q, y - p) if r > 0 else r

    def inverse_link(self, p):
        return p


class Absolute(NamedTuple):
    r"""Absolute error :math:`|p - y|`, minimised by the median of y.

    The derivative is :math:`\operatorname{sign}(p - y)`.  The inverse link is p.

    Examples
    --------
    >>> from adagrad_nb import Absolute
    >>> Absolute().value(1.0, 3.0), Absolute().slope(1.0, -3.0), Absolute().slope(1.0, 1.0)
    (2.0, -1.0, 0.0)
    """

    target_type = "continuous"
    probabilities = False

    def value(self, y, p):
        return abs(p - y)

    def slope(self, y, p):
        r = p - y
        return type(p)(1) if r > 0 else (type(p)(-1) if r < 0 else r)

    def invariant_step(self, y, p, q, tau):
        r = abs(p - y)
        return math.copysign(capped_linear_flow(r, q * tau, type(p)(1), type(p)(math.inf)) / q, y - p) if r > 0 else r

    def inverse_link(self, p):
        return p


class EpsilonInsensitive(NamedTuple):
    r"""Epsilon-insensitive loss of support vector regression, :math:`[|p - y| - \epsilon]_+`.

    The derivative is :math:`\operatorname{sign}(p - y)` for :math:`|p - y| > \epsilon`, else 0.  The inverse link is p.

    Parameters
    ----------
    epsilon : float, default 0.1
        :math:`\epsilon` in [0, inf), the largest error without loss, in the unit of y.

    References
    ----------
    .. [1] V. Vapnik, "The Nature of Statistical Learning Theory", Springer 1995, section 6.1.

    Examples
    --------
    >>> from adagrad_nb import EpsilonInsensitive
    >>> EpsilonInsensitive(0.5).value(1.0, 3.0), EpsilonInsensitive(0.5).value(1.0, 1.4)
    (1.5, 0.0)
    """

    epsilon: float = 0.1

    target_type = "continuous"
    probabilities = False
    domain = {"epsilon": "[0, inf)"}

    def value(self, y, p):
        rest = abs(p - y) - self.epsilon
        return type(p)(0) if rest <= 0 else rest

    def slope(self, y, p):
        r = p - y
        return type(p)(1) if r > self.epsilon else (type(p)(-1) if r < -self.epsilon else r - r)  # 0, or NaN

    def invariant_step(self, y, p, q, tau):
        rest = abs(p - y) - self.epsilon
        return (
            math.copysign(capped_linear_flow(rest, q * tau, type(p)(1), type(p)(math.inf)) / q, y - p)
            if rest > 0
            else rest - rest
        )

    def inverse_link(self, p):
        return p


class SquaredEpsilonInsensitive(NamedTuple):
    r"""Squared epsilon-insensitive loss of support vector regression, :math:`[|p - y| - \epsilon]_+^2`.

    The derivative is :math:`2 \operatorname{sign}(p - y) [|p - y| - \epsilon]_+`.  The inverse link is p.  Unlike
    `Squared`, the loss has no factor of 1/2.

    Parameters
    ----------
    epsilon : float, default 0.1
        :math:`\epsilon` in [0, inf), the largest error without loss, in the unit of y.

    References
    ----------
    .. [1] C.-H. Ho, C.-J. Lin, "Large-scale Linear Support Vector Regression", JMLR 13 (2012) 3323-3348, equation 3.

    Examples
    --------
    >>> from adagrad_nb import SquaredEpsilonInsensitive
    >>> SquaredEpsilonInsensitive(0.5).value(1.0, 3.0), SquaredEpsilonInsensitive(0.5).slope(1.0, 3.0)
    (2.25, 3.0)
    """

    epsilon: float = 0.1

    target_type = "continuous"
    probabilities = False
    domain = {"epsilon": "[0, inf)"}

    def value(self, y, p):
        rest = abs(p - y) - self.epsilon
        return type(p)(0) if rest <= 0 else rest * rest

    def slope(self, y, p):
        r = p - y
        rest = abs(r) - self.epsilon
        return type(p)(0) if rest <= 0 else math.copysign(rest + rest, r)

    def invariant_step(self, y, p, q, tau):
        rest = abs(p - y) - self.epsilon
        return (
            math.copysign(capped_linear_flow(rest, q * tau, type(p)(math.inf), type(p)(2)) / q, y - p)
            if rest > 0
            else rest - rest
        )

    def inverse_link(self, p):
        return p


class Quantile(NamedTuple):
    r"""Pinball loss :math:`\tau [y - p]_+ + (1 - \tau) [p - y]_+`, minimised by a quantile of y.

    The derivative is :math:`1 - \tau` for p > y, :math:`-\tau` for p < y, and 0 for p = y.  The inverse link is p.

    Parameters
    ----------
    tau : float, default 0.5
        :math:`\tau` in (0, 1), the quantile: the fraction of targets below the prediction.

    References
    ----------
    .. [1] R. Koenker, G. Bassett, "Regression Quantiles", Econometrica 46 (1978) 33-50.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Quantile, fit_linear
    >>> Quantile(0.75).value(1.0, 3.0), Quantile(0.75).value(3.0, 1.0), Quantile(0.75).slope(1.0, 1.0)
    (0.5, 1.5, 0.0)
    >>> X, y = np.ones((4000, 1)), np.random.default_rng(0).normal(size=4000)
    >>> low, high = (fit_linear(X, y, loss=Quantile(tau), passes=5).predict(X[:1])[0] for tau in (0.1, 0.9))
    >>> bool(abs(np.mean(y < low) - 0.1) < 0.02), bool(abs(np.mean(y < high) - 0.9) < 0.02)
    (True, True)
    """

    tau: float = 0.5

    target_type = "continuous"
    probabilities = False
    domain = {"tau": "(0, 1)"}

    def value(self, y, p):
        r = p - y
        return (type(p)(1) - self.tau) * r if r > 0 else -self.tau * r

    def slope(self, y, p):
        r = p - y
        return type(p)(1) - self.tau if r > 0 else (-self.tau if r < 0 else r)

    def invariant_step(self, y, p, q, tau):
        r = abs(p - y)
        max_speed = type(p)(1) - self.tau if p > y else self.tau
        return math.copysign(capped_linear_flow(r, q * tau, max_speed, type(p)(math.inf)) / q, y - p) if r > 0 else r

    def inverse_link(self, p):
        return p


class Poisson(NamedTuple):
    r"""Poisson loss of a count or rate y in [0, inf), :math:`e^p - y p`; p is the logarithm of the mean of y.

    The derivative is :math:`e^p - y`.  The inverse link is the mean of y, :math:`e^p`.

    Notes
    -----
    The loss is the negative log-likelihood without the term :math:`\log y!`, which does not depend on the weights.  For
    p above 709 in float64 or 88 in float32, :math:`e^p` is infinite.

    A step that is too long makes the next gradient very large, and all later steps small.  Choose a learning rate below
    the default of 0.5, such as 0.1.

    References
    ----------
    .. [1] P. McCullagh, J. Nelder, "Generalized Linear Models", 2nd ed., Chapman & Hall 1989, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Poisson, fit_linear
    >>> Poisson().value(2.0, 0.0), Poisson().slope(2.0, 0.0), Poisson().inverse_link(0.0)
    (1.0, -1.0, 1.0)
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(3000, 2))
    >>> y = rng.poisson(np.exp(X @ [0.5, -0.3] + 1))
    >>> model = fit_linear(X, y, loss=Poisson(), lr=0.1, passes=5)
    >>> np.round(model.coef, 1).tolist(), round(model.intercept, 1)
    ([0.5, -0.3], 1.0)
    """

    target_type = "count"
    probabilities = False

    def value(self, y, p):
        return _exp_or_inf(p) - y * p

    def slope(self, y, p):
        return _exp_or_inf(p) - y

    def invariant_step(self, y, p, q, tau):
        return poisson_flow(y, _exp_or_inf(p), q * tau) / q

    def inverse_link(self, p):
        return _exp_or_inf(p)
