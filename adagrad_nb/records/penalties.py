"""Penalties: what is added to the loss and handled by a proximal step instead of a gradient.

A penalty is a record with methods of scalars at coordinate i: ``value(x, i)``; ``prox(x, w, i)``, the minimiser of
``value(z, i) + (z - x)**2 / (2 w)`` over z; ``prox_k(x, w, k, i)``, k of those steps in closed form, by which a
coordinate that k sparse rows passed over is caught up; ``prox_k_sum(x, w, k, i)``, the sum of what x is after each of
those steps, by which a mean of the iterates is.  Left out, the steps of either are taken one by one.  A strength or
bound is a number or an array with one entry per coordinate.  ``prox_steps_add`` says that two steps equal one whose
step size is the sum of theirs.

The total objective is everywhere ``mean loss + sum of value(x[i], i)``.
"""

import math
from typing import Any, NamedTuple

from .._check import check_bounds_order, record_methods
from .._legacy import get_member
from ..compiler.jit import jitable, method, pick
from ..compiler.power import inverse_power
from ..compiler.simd import one_like
from .proximal import clip, elastic_sum, geometric_sum, soft_threshold, soft_threshold_sum


@jitable
def _prox_k_one_by_one(penalty, x, w, k, i):
    """k proximal steps one by one, for records without a closed form."""
    for _ in range(k):
        x = prox(penalty, x, w, i)
    return x


@jitable
def _prox_k_sum_one_by_one(penalty, x, w, k, i):
    """x after one step, after two, … and after k, summed one by one up to where x stays, for records without more."""
    iterate_sum = x - x
    for step_number in range(k):
        before = x
        x = prox(penalty, x, w, i)
        iterate_sum += x
        if x == before:
            return iterate_sum + type(w)(k - 1 - step_number) * x
    return iterate_sum


@jitable
def _gradient_mapping_by_prox(penalty, x, g, i):
    """|x - prox(x - g)|, the length of a unit proximal step: zero just where x is optimal."""
    return abs(x - prox(penalty, x - g, type(g)(1), i))


value = method("value")
prox = method("prox")
prox_k = method("prox_k", default=_prox_k_one_by_one)
prox_k_sum = method("prox_k_sum", default=_prox_k_sum_one_by_one)
gradient_mapping = method("gradient_mapping", default=_gradient_mapping_by_prox)


def has_additive_prox(penalty):
    """Return whether two proximal steps equal one whose step size is the sum of theirs."""
    return bool(get_member(penalty, "prox_steps_add", False))


class NoPenalty(NamedTuple):
    """The penalty that is zero everywhere.

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

    def gradient_mapping(self, x, g, i):
        return abs(g)


class L1(NamedTuple):
    r"""The lasso penalty :math:`\lambda |x|`, which makes coordinates exactly zero.

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
    branchless = True
    domain = {"strength": "[0, inf)"}

    def value(self, x, i):
        return pick(self.strength, i) * abs(x)

    def prox(self, x, w, i):
        return soft_threshold(x, w * pick(self.strength, i))

    def prox_k(self, x, w, k, i):
        return soft_threshold(x, type(w)(k) * (w * pick(self.strength, i)))

    def prox_k_sum(self, x, w, k, i):
        return soft_threshold_sum(x, w * pick(self.strength, i), type(w)(k))


class L2(NamedTuple):
    r"""The ridge penalty :math:`\tfrac12 \lambda x^2`.

    Parameters
    ----------
    strength : float or ndarray of shape (n,)
        :math:`\lambda` in [0, inf).

    Notes
    -----
    It never enters the accumulators of the rule; decay that does is the transform `L2Decay`.

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

    def prox_k_sum(self, x, w, k, i):
        u = w * pick(self.strength, i)
        return x * geometric_sum(u, inverse_power(u, type(w)(k))[1], type(w)(k))


class ElasticNet(NamedTuple):
    r"""The elastic net :math:`\lambda_1 |x| + \tfrac12 \lambda_2 x^2`.

    Parameters
    ----------
    l1, l2 : float or ndarray of shape (n,)
        :math:`\lambda_1` and :math:`\lambda_2`, each in [0, inf).

    Notes
    -----
    With :math:`u = w \lambda_2`, k proximal steps of width w take :math:`|x|` to
    :math:`[(1+u)^{-k}|x| - w\lambda_1 (1 - (1+u)^{-k}) / u]_+`.

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

    def prox_k_sum(self, x, w, k, i):
        step, u = w * pick(self.l1, i), w * pick(self.l2, i)
        return elastic_sum(x, step, u, type(w)(k)) if u > 0 else soft_threshold_sum(x, step, type(w)(k))


class Box(NamedTuple):
    """Bounds on each coordinate: zero in [lower, upper], infinite outside.

    Parameters
    ----------
    lower, upper : float or ndarray of shape (n,)
        With lower <= upper; -inf and inf mean no bound.

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


class NonNegative(NamedTuple):
    """Zero where x >= 0, infinite elsewhere.

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


class Bounded(NamedTuple):
    """Another penalty within bounds.

    Its proximal step is the other's, then clipped; for one convex function of one variable that is exact.

    Parameters
    ----------
    penalty : penalty record
    lower, upper : float or ndarray of shape (n,)
        With lower <= upper.

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
        """Within the bounds shrinking is monotone, and one clip does for all."""
        return has_additive_prox(self.penalty)

    def check(self):
        record_methods("Bounded.penalty", self.penalty, ("value", "prox"), "L1(1e-4)")
        check_bounds_order("Bounded", self.lower, self.upper)

    def value(self, x, i):
        inside = pick(self.lower, i) <= x <= pick(self.upper, i)
        return value(self.penalty, x, i) if inside else type(x)(math.inf)

    def prox(self, x, w, i):
        return clip(prox(self.penalty, x, w, i), pick(self.lower, i), pick(self.upper, i))

    def prox_k(self, x, w, k, i):
        # The first step brings x inside; from there on shrinking is monotone and one clip does for all.
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
        # Between which two of the other steps does the other's path leave the bounds?  It moves one way only.
        inside, outside = 0, k
        while outside - inside > 1:
            middle = (inside + outside) // 2
            y = prox_k(self.penalty, x, w, middle, i)
            if lower <= y <= upper:
                inside = middle
            else:
                outside = middle
        beyond = clip(prox_k(self.penalty, x, w, outside, i), lower, upper)
        return x + prox_k_sum(self.penalty, x, w, inside, i) + type(w)(k - 1 - inside) * beyond
