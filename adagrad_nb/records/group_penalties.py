"""Penalties of a group: all weights of a feature in a model of many classes, which then is in the model or is not.

Such a penalty is a record with ``norm(x, i)``, its value for the weights x of feature i; and ``shrink(x, w, k, i)``,
which takes x in place through k steps to the minimiser of ``norm(z, i) + sum of (z[l] - x[l])**2 / (2 w[l])`` over z.
Besides, it is a penalty of single coordinates, a group each: L1.
"""

import math
from typing import Any, NamedTuple

from ..compiler.jit import method, pick, plain
from .penalties import L1

shrink = method("shrink")


@plain
def _is_even(w):
    """Whether all widths are equal."""
    low = high = w[0]
    for l in range(1, w.shape[0]):
        low, high = min(low, w[l]), max(high, w[l])
    return low == high


@plain
def _round(x, w, strength):
    """One step of the Euclidean norm; return whether anything is left of x.

    With s = |z|, z[l] = x[l] s / (s + strength w[l]), and s solves sum of (x[l] / (s + strength w[l]))**2 = 1.  One
    over the root of that sum is concave in s: Newton's method from the left climbs to the solution, and is there after
    one step where the widths are equal (J. Moré, D. Sorensen, SIAM J. Sci. Stat. Comput. 4 (1983) 553-572).
    """
    pull = size = fixed = strength - strength
    widest = fixed
    for l in range(x.shape[0]):
        square = x[l] * x[l]
        size += square
        if w[l] > 0:
            pull += (x[l] / w[l]) * (x[l] / w[l])
            widest = max(widest, w[l])
        else:
            fixed += square
    if fixed == 0 and not pull > strength * strength:
        for l in range(x.shape[0]):
            x[l] = fixed
        return False
    s = max(math.sqrt(size) - strength * widest, math.sqrt(fixed))
    for _ in range(100):
        total = slant = strength - strength
        for l in range(x.shape[0]):
            if x[l] != 0:
                rest = s + strength * w[l]
                part = (x[l] / rest) * (x[l] / rest)
                total += part
                slant += part / rest
        rise = total * (math.sqrt(total) - strength / strength) / slant
        before = s
        s += rise
        if not s > before:
            break
    for l in range(x.shape[0]):
        x[l] = x[l] * (s / (s + strength * w[l]))
    return True


class GroupL2(NamedTuple):
    r"""The mixed penalty :math:`\lambda \sum_i \|w_i\|_2`, where :math:`w_i` are the weights of feature i.

    It makes all weights of a feature zero together.

    Parameters
    ----------
    strength : float or ndarray of shape (n_features,)
        :math:`\lambda` in [0, inf).

    Notes
    -----
    The steps of Adagrad have another width for each class.  Then k steps have no closed form: a feature that k rows
    passed over is caught up step by step, until its weights are zero.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, sections 5.3 and 5.5.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import GroupL2, fit_linear
    >>> X = np.random.default_rng(0).normal(size=(1000, 5))
    >>> y = X[:, :2] @ np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])  # three classes, by two of the features
    >>> model = fit_linear(X, y.argmax(axis=1), penalty=GroupL2(0.1), lr=0.1, passes=5)
    >>> np.abs(model.coef).max(axis=0).round(1)
    array([1.2, 1.1, 0. , 0. , 0. ])
    """

    strength: float | Any

    grouped = True
    domain = {"strength": "[0, inf)"}

    value = L1.value
    prox = L1.prox
    repeat = L1.repeat

    def norm(self, x, i):
        total = x[0] - x[0]
        for l in range(x.shape[0]):
            total += x[l] * x[l]
        return pick(self.strength, i) * math.sqrt(total)

    def shrink(self, x, w, k, i):
        strength = pick(self.strength, i)
        if strength == 0 or k == 0:
            return
        if _is_even(w):  # then k steps are one, k times as long
            strength *= type(strength)(k)
            k = 1
        for _ in range(k):
            if not _round(x, w, strength):
                return


class GroupLinf(NamedTuple):
    r"""The mixed penalty :math:`\lambda \sum_i \|w_i\|_\infty`, where :math:`w_i` are the weights of feature i.

    It makes all weights of a feature zero together, and the largest of them equal.

    Parameters
    ----------
    strength : float or ndarray of shape (n_features,)
        :math:`\lambda` in [0, inf).

    Notes
    -----
    A step cuts the weights off at the level :math:`\tau` that solves
    :math:`\sum_l [|x_l| - \tau]_+ / w_l = \lambda`, and k steps at that for :math:`k \lambda`.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, sections 5.4 and 5.5.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import GroupLinf
    >>> x = np.array([3.0, -2.0, 0.5])
    >>> GroupLinf(2.0).shrink(x, np.ones(3), 1, 0)
    >>> x
    array([ 1.5, -1.5,  0.5])
    """

    strength: float | Any

    grouped = True
    domain = {"strength": "[0, inf)"}

    value = L1.value
    prox = L1.prox
    repeat = L1.repeat

    def norm(self, x, i):
        top = abs(x[0])
        for l in range(1, x.shape[0]):
            top = max(top, abs(x[l]))
        return pick(self.strength, i) * top

    def shrink(self, x, w, k, i):
        strength = pick(self.strength, i)
        if strength == 0 or k == 0:
            return
        strength *= type(strength)(k)
        zero = strength - strength
        fixed = zero  # what has never moved has no width, and is not cut off
        for l in range(x.shape[0]):
            if not w[l] > 0:
                fixed = max(fixed, abs(x[l]))
        # The sum is convex and falls with the level: Newton's method from zero climbs to the solution.
        level = zero
        for _ in range(x.shape[0] + 1):
            pull = stiff = zero
            for l in range(x.shape[0]):
                if abs(x[l]) > level and w[l] > 0:
                    pull += abs(x[l]) / w[l]
                    stiff += type(strength)(1) / w[l]
            if not pull - strength > level * stiff:
                break
            level = (pull - strength) / stiff
        level = max(level, fixed)
        for l in range(x.shape[0]):
            if abs(x[l]) > level:
                x[l] = math.copysign(level, x[l]) if level > 0 else zero
