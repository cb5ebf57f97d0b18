"""Penalties of the weights, applied by proximal steps instead of gradients.

The objective is ``mean loss + sum of value(x[i], i)`` everywhere.  A penalty is a record with these members, for the
coordinate i:

``value(x, i) -> float``
    Value of the penalty.
``prox(x, w, i) -> float``
    Proximal step of step size w: the minimiser of ``value(z, i) + (z - x)**2 / (2 * w)`` over z.
``prox_k(x, w, k, i) -> float``
    k proximal steps in closed form, for lazy updates.  Default: k calls of `prox`.
``prox_k_sum(x, w, k, i) -> float``
    Sum of the k iterates of these steps, for averages of the iterates.  Default: k calls of `prox`.
``value_k_sum(x, w, k, i) -> float``
    Sum of the values at the k iterates of these steps, for ledgers of regret.  Default: k calls of `prox`.
``gradient_mapping(x, g, i) -> float``
    Distance from optimality at a gradient g of the loss.  Default: ``abs(x - prox(x - g, 1, i))``.
``prox_steps_add``
    True if two proximal steps equal one whose step size is the sum of theirs.  Default: False.
``branchless_prox_k``
    True if `prox_k` runs on SIMD vectors too, with `number_like` for k.  Default: False.

Strengths and bounds are numbers, or arrays with one entry per coordinate.
"""

import math
from typing import Any, NamedTuple

from .._check import check_bounds_order, record_methods
from .._legacy import get_member
from ..compiler.jit import jitable, method, pick
from ..compiler.power import inverse_power
from ..compiler.simd import number_like, one_like
from .proximal import (
    clip,
    elastic_sum,
    elastic_value_sum,
    geometric_sum,
    soft_threshold,
    soft_threshold_sum,
    squared_geometric_sum,
)


@jitable
def _prox_k_one_by_one(penalty, x, w, k, i):
    """Apply k proximal steps one by one, for records without a closed form."""
    for _ in range(k):
        x = prox(penalty, x, w, i)
    return x


@jitable
def _prox_k_sum_one_by_one(penalty, x, w, k, i):
    """Return the sum of the iterates of k proximal steps; stop stepping once x is constant."""
    iterate_sum = x - x
    for step_number in range(k):
        before = x
        x = prox(penalty, x, w, i)
        iterate_sum += x
        if x == before:
            return iterate_sum + type(w)(k - 1 - step_number) * x
    return iterate_sum


@jitable
def _value_k_sum_one_by_one(penalty, x, w, k, i):
    """Return the sum of the values at the iterates of k proximal steps; stop stepping once x is constant."""
    total = x - x
    for step_number in range(k):
        before = x
        x = prox(penalty, x, w, i)
        total += value(penalty, x, i)
        if x == before:
            return total + type(w)(k - 1 - step_number) * value(penalty, x, i)
    return total


@jitable
def _no_value_k_sum(penalty, x, w, k, i):
    """Return 0: the iterates of proximal steps are in the domain, where the penalty is zero."""
    return x - x


@jitable
def _gradient_mapping_by_prox(penalty, x, g, i):
    """|x - prox(x - g)|, the length of a proximal step of size 1: zero if and only if x is optimal."""
    return abs(x - prox(penalty, x - g, type(g)(1), i))


value = method("value")
prox = method("prox")
prox_k = method("prox_k", default=_prox_k_one_by_one)
prox_k_sum = method("prox_k_sum", default=_prox_k_sum_one_by_one)
value_k_sum = method("value_k_sum", default=_value_k_sum_one_by_one)
# Steps of different sizes r w, k of them with sum s1 of the r, scale x by `remainder` = 1 - `complement`; see `lazy`.
decay_size = method("decay_size")
prox_decayed = method("prox_decayed")
gradient_mapping = method("gradient_mapping", default=_gradient_mapping_by_prox)


def has_additive_prox(penalty: Any) -> bool:
    """Return whether two proximal steps of a penalty equal one whose step size is the sum of theirs."""
    return bool(get_member(penalty, "prox_steps_add", False))


class NoPenalty(NamedTuple):
    """No penalty: zero everywhere.

    Examples
    --------
    >>> from adagrad_nb import NoPenalty
    >>> NoPenalty().prox(3.0, 1.0, 0)
    3.0
    """

    prox_steps_add = True
    branchless = True

    def value(self, x, i):
        return x - x

    def prox(self, x, w, i):
        return x

    def prox_k(self, x, w, k, i):
        return x

    def prox_k_sum(self, x, w, k, i):
        return type(x)(k) * x

    value_k_sum = _no_value_k_sum

    def gradient_mapping(self, x, g, i):
        return abs(g)


class L1(NamedTuple):
    r"""Lasso penalty :math:`\lambda |x|`, which makes coordinates exactly zero.

    The proximal step of size w is the soft threshold :math:`\operatorname{sign}(x) [|x| - w \lambda]_+`.

    Parameters
    ----------
    strength : float or ndarray of shape (n,)
        :math:`\lambda` in [0, inf).

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, section 5.1.

    Examples
    --------
    >>> from adagrad_nb import L1
    >>> L1(0.5).prox(2.0, 1.0, 0), L1(0.5).prox(0.3, 1.0, 0)
    (1.5, 0.0)
    """

    strength: float | Any

    prox_steps_add = True
    branchless = branchless_prox_k = True
    domain = {"strength": "[0, inf)"}

    def value(self, x, i):
        return pick(self.strength, i) * abs(x)

    def prox(self, x, w, i):
        return soft_threshold(x, w * pick(self.strength, i))

    def prox_k(self, x, w, k, i):
        return soft_threshold(x, number_like(k, w) * (w * pick(self.strength, i)))

    def prox_k_sum(self, x, w, k, i):
        return soft_threshold_sum(x, w * pick(self.strength, i), type(w)(k))

    def value_k_sum(self, x, w, k, i):
        strength = pick(self.strength, i)
        return strength * abs(soft_threshold_sum(x, w * strength, type(w)(k)))


class L2(NamedTuple):
    r"""Ridge penalty :math:`\tfrac12 \lambda x^2`.

    The proximal step of size w is :math:`x / (1 + w \lambda)`.

    Parameters
    ----------
    strength : float or ndarray of shape (n,)
        :math:`\lambda` in [0, inf).

    Notes
    -----
    The penalty does not enter the accumulators of the rule.  The transform `L2Decay` does.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, section 5.

    Examples
    --------
    >>> from adagrad_nb import L2
    >>> L2(1.0).prox(3.0, 0.5, 0)
    2.0
    """

    strength: float | Any

    branchless = True
    domain = {"strength": "[0, inf)"}

    def value(self, x, i):
        return pick(self.strength, i) * x * x / type(x)(2)

    def prox(self, x, w, i):
        return x / (one_like(x) + w * pick(self.strength, i))

    def prox_k(self, x, w, k, i):
        return x * inverse_power(w * pick(self.strength, i), type(w)(k))[0]

    def decay_size(self, w, i):
        return w * pick(self.strength, i)

    def prox_decayed(self, x, w, remainder, complement, s1, i):
        return x * remainder

    def prox_k_sum(self, x, w, k, i):
        u = w * pick(self.strength, i)
        return x * geometric_sum(u, inverse_power(u, type(w)(k))[1], type(w)(k))

    def value_k_sum(self, x, w, k, i):
        u = w * pick(self.strength, i)
        remainder, complement = inverse_power(u, type(w)(k))  # as in `prox_k`, with which it is computed once
        discounts = squared_geometric_sum(u, geometric_sum(u, complement, type(w)(k)), remainder)
        return pick(self.strength, i) * x * x * discounts / type(x)(2)


class ElasticNet(NamedTuple):
    r"""Elastic net penalty :math:`\lambda_1 |x| + \tfrac12 \lambda_2 x^2`.

    The proximal step of size w is :math:`\operatorname{sign}(x) [|x| - w \lambda_1]_+ / (1 + w \lambda_2)`.

    Parameters
    ----------
    l1, l2 : float or ndarray of shape (n,)
        :math:`\lambda_1` and :math:`\lambda_2`, each in [0, inf).

    Notes
    -----
    With :math:`u = w \lambda_2`, k proximal steps of size w change :math:`|x|` to
    :math:`[(1+u)^{-k}|x| - w\lambda_1 (1 - (1+u)^{-k}) / u]_+`.

    References
    ----------
    .. [1] H. Zou, T. Hastie, "Regularization and Variable Selection via the Elastic Net", J. R. Statist. Soc. B 67
       (2005) 301-320.

    Examples
    --------
    >>> from adagrad_nb import ElasticNet
    >>> ElasticNet(l1=1.0, l2=1.0).prox(3.0, 1.0, 0)
    1.0
    """

    l1: float | Any
    l2: float | Any

    branchless = True
    domain = {"l1": "[0, inf)", "l2": "[0, inf)"}

    def value(self, x, i):
        return pick(self.l1, i) * abs(x) + pick(self.l2, i) * x * x / type(x)(2)

    def prox(self, x, w, i):
        return soft_threshold(x, w * pick(self.l1, i)) / (one_like(x) + w * pick(self.l2, i))

    def prox_k(self, x, w, k, i):
        u = w * pick(self.l2, i)
        remainder, complement = inverse_power(u, type(w)(k))
        return soft_threshold(x * remainder, w * pick(self.l1, i) * geometric_sum(u, complement, type(w)(k)))

    def decay_size(self, w, i):
        return w * pick(self.l2, i)

    def prox_decayed(self, x, w, remainder, complement, s1, i):
        return soft_threshold(x * remainder, w * pick(self.l1, i) * geometric_sum(w * pick(self.l2, i), complement, s1))

    def prox_k_sum(self, x, w, k, i):
        step, u = w * pick(self.l1, i), w * pick(self.l2, i)
        return elastic_sum(x, step, u, type(w)(k))

    def value_k_sum(self, x, w, k, i):
        return elastic_value_sum(x, pick(self.l1, i), pick(self.l2, i), w, type(w)(k))


class Box(NamedTuple):
    """Bounds on each coordinate: zero in [lower, upper], infinite outside.

    The proximal step is the projection ``min(max(x, lower), upper)``.  A box is also a domain (see `domains`).

    Parameters
    ----------
    lower, upper : float or ndarray of shape (n,), default -inf and inf
        In [-inf, inf], with lower <= upper.  -inf and inf mean no bound.

    Examples
    --------
    >>> from adagrad_nb import Box
    >>> Box(-1.0, 1.0).prox(3.0, 0.1, 0)
    1.0
    """

    lower: float | Any = -math.inf
    upper: float | Any = math.inf

    prox_steps_add = True
    branchless = True
    domain = {"lower": "[-inf, inf]", "upper": "[-inf, inf]"}

    def check(self):
        check_bounds_order("Box", self.lower, self.upper)

    def value(self, x, i):
        inside = pick(self.lower, i) <= x <= pick(self.upper, i)
        return type(x)(0) if inside else type(x)(math.inf)

    def prox(self, x, w, i):
        return clip(x, pick(self.lower, i), pick(self.upper, i))

    def prox_k(self, x, w, k, i):
        return clip(x, pick(self.lower, i), pick(self.upper, i)) if k > 0 else x

    def prox_k_sum(self, x, w, k, i):
        return type(w)(k) * clip(x, pick(self.lower, i), pick(self.upper, i))

    value_k_sum = _no_value_k_sum


class NonNegative(NamedTuple):
    """Non-negativity constraint: zero for x >= 0, infinite for x < 0.

    The proximal step is the projection ``max(x, 0)``.

    Examples
    --------
    >>> from adagrad_nb import NonNegative
    >>> NonNegative().prox(-3.0, 0.1, 0)
    0.0
    """

    prox_steps_add = True

    def value(self, x, i):
        return type(x)(0) if x >= 0 else type(x)(math.inf)

    def prox(self, x, w, i):
        return type(x)(0) if x < 0 else x

    def prox_k(self, x, w, k, i):
        return type(x)(0) if x < 0 and k > 0 else x

    def prox_k_sum(self, x, w, k, i):
        return type(x)(0) if x < 0 else type(w)(k) * x

    value_k_sum = _no_value_k_sum


class Bounded(NamedTuple):
    """Another penalty plus bounds on each coordinate.

    The proximal step is that of the other penalty, then the projection on [lower, upper].  This is exact for a convex
    function of one variable.

    Parameters
    ----------
    penalty : penalty record
        Convex, such as ``L1(1e-4)``.
    lower, upper : float or ndarray of shape (n,), default -inf and inf
        In [-inf, inf], with lower <= upper.

    Examples
    --------
    >>> from adagrad_nb import L1, Bounded
    >>> Bounded(L1(1.0), 0.0, 5.0).prox(9.0, 1.0, 0)
    5.0
    """

    penalty: Any
    lower: float | Any = -math.inf
    upper: float | Any = math.inf

    domain = {"lower": "[-inf, inf]", "upper": "[-inf, inf]"}

    @property
    def prox_steps_add(self):
        """Whether steps add, as those of the other penalty: within the bounds all steps go in one direction."""
        return has_additive_prox(self.penalty)

    def check(self):
        record_methods("Bounded.penalty", self.penalty, ("value", "prox"), "L1(1e-4)")
        if get_member(self.penalty, "is_group", False):
            raise ValueError(
                f"Bounded.penalty: got {type(self.penalty).__name__}, a group penalty; use L1, or Box without a penalty"
            )
        check_bounds_order("Bounded", self.lower, self.upper)

    def value(self, x, i):
        inside = pick(self.lower, i) <= x <= pick(self.upper, i)
        return value(self.penalty, x, i) if inside else type(x)(math.inf)

    def prox(self, x, w, i):
        return clip(prox(self.penalty, x, w, i), pick(self.lower, i), pick(self.upper, i))

    def prox_k(self, x, w, k, i):
        # After the first step x is within the bounds.  The others go in one direction, so one projection is enough.
        if k == 0:
            return x
        lower, upper = pick(self.lower, i), pick(self.upper, i)
        x = clip(prox(self.penalty, x, w, i), lower, upper)
        return clip(prox_k(self.penalty, x, w, k - 1, i), lower, upper)

    def prox_k_sum(self, x, w, k, i):
        if k == 0:
            return x - x
        lower, upper = pick(self.lower, i), pick(self.upper, i)
        x = clip(prox(self.penalty, x, w, i), lower, upper)
        # Find the last step of the other penalty within the bounds by bisection; all steps go in one direction.
        n_inside, n_outside = 0, k
        while n_outside - n_inside > 1:
            middle = (n_inside + n_outside) // 2
            y = prox_k(self.penalty, x, w, middle, i)
            if lower <= y <= upper:
                n_inside = middle
            else:
                n_outside = middle
        clipped = clip(prox_k(self.penalty, x, w, n_outside, i), lower, upper)
        return x + prox_k_sum(self.penalty, x, w, n_inside, i) + type(w)(k - 1 - n_inside) * clipped
