"""Penalties that are constant for large weights: they select features like `L1`, without its bias towards zero.

They have the members of every penalty (see `penalties`).  They are not convex, so bounds on the regret do not hold, and
the result may depend on the start.
"""

from typing import Any, NamedTuple

from ..compiler.jit import pick
from .proximal import soft_threshold


class MCP(NamedTuple):
    r"""Minimax concave penalty: :math:`\lambda |x| - x^2 / (2 \gamma)`, constant from :math:`|x| = \gamma \lambda` on.

    The proximal step of size :math:`w < \gamma` is :math:`x` for :math:`|x| > \gamma \lambda` and otherwise
    :math:`\operatorname{sign}(x) [|x| - w \lambda]_+ / (1 - w / \gamma)`.  For larger steps it is the hard threshold
    at :math:`\lambda \sqrt{w \gamma}`.

    Parameters
    ----------
    strength : float or ndarray of shape (n,)
        :math:`\lambda` in [0, inf).
    gamma : float, default 3.0
        :math:`\gamma` in (0, inf).

    References
    ----------
    .. [1] C.-H. Zhang, "Nearly Unbiased Variable Selection under Minimax Concave Penalty", Ann. Statist. 38 (2010)
       894-942.

    Examples
    --------
    >>> from adagrad_nb import MCP
    >>> [MCP(1.0, 2.0).prox(x, 1.0, 0) for x in (0.5, 1.5, 4.0)]
    [0.0, 1.0, 4.0]
    """

    strength: float | Any
    gamma: float = 3.0

    domain = {"strength": "[0, inf)", "gamma": "(0, inf)"}

    def value(self, x, i):
        strength, two = pick(self.strength, i), type(x)(2)
        size = min(abs(x), self.gamma * strength)
        return strength * size - size * size / (two * self.gamma)

    def prox(self, x, w, i):
        strength = pick(self.strength, i)
        if w < self.gamma:
            if abs(x) > self.gamma * strength:
                return x
            return soft_threshold(x, w * strength) / (type(x)(1) - w / self.gamma)
        return x if x * x > w * self.gamma * strength * strength else x - x


class SCAD(NamedTuple):
    r"""Smoothly clipped absolute deviation: :math:`\lambda |x|` near zero, constant from :math:`|x| = a \lambda` on.

    The derivative is :math:`\lambda` up to :math:`|x| = \lambda`, then :math:`[a \lambda - |x|]_+ / (a - 1)`.

    Parameters
    ----------
    strength : float or ndarray of shape (n,)
        :math:`\lambda` in [0, inf).
    a : float, default 3.7
        In (2, inf).

    References
    ----------
    .. [1] J. Fan, R. Li, "Variable Selection via Nonconcave Penalized Likelihood and its Oracle Properties", J. Amer.
       Statist. Assoc. 96 (2001) 1348-1360.

    Examples
    --------
    >>> from adagrad_nb import SCAD
    >>> [SCAD(1.0).prox(x, 1.0, 0) for x in (0.5, 1.5, 4.0)]
    [0.0, 0.5, 4.0]
    """

    strength: float | Any
    a: float = 3.7

    domain = {"strength": "[0, inf)", "a": "(2, inf)"}

    def value(self, x, i):
        strength, size, one = pick(self.strength, i), abs(x), type(x)(1)
        two = one + one
        if size <= strength:
            return strength * size
        rest = max(self.a * strength - size, x - x)
        return ((self.a + one) * strength * strength - rest * rest / (self.a - one)) / two

    def prox(self, x, w, i):
        strength, size, one = pick(self.strength, i), abs(x), type(x)(1)
        if w < self.a - one:  # the minimiser is unique
            if size <= strength + w * strength:
                return soft_threshold(x, w * strength)
            if size > self.a * strength:
                return x
            slope = w / (self.a - one)
            return soft_threshold(x, slope * self.a * strength) / (one - slope)
        # Between strength and a * strength the objective is concave, so the minimum is at one of its ends or beyond.
        two = one + one
        small = min(max(size - w * strength, x - x), strength)
        large = max(size, self.a * strength)
        small_value = strength * small + (small - size) * (small - size) / (two * w)
        large_value = (self.a + one) * strength * strength / two + (large - size) * (large - size) / (two * w)
        nearest = small if small_value <= large_value else large
        return nearest if x > 0 else -nearest
