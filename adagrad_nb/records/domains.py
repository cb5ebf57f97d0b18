"""Convex domains of all coordinates together, and projections onto them in a diagonal metric.

A domain is a record with these members:

``project(x, h) -> ndarray``
    The point z of the domain that minimises ``sum(h * (z - x)**2)``.  h > 0 is the diagonal of the metric.
``contains(x, tol) -> bool``
    Whether x lies in the domain, up to a relative error.
``minimize_linear(z, l1) -> float``
    The minimum of ``z @ u + sum(l1 * abs(u))`` over the points u of the domain; l1 is a number or an array.

Unlike the records of scalar functions, these take whole arrays of float64 and run interpreted, in O(n log n).
The penalty `Box` is a domain too; the functions `project`, `contains` and `minimize_linear` of this module take both.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .._check import record_methods, shorten_repr
from .penalties import L1, L2, Box, ElasticNet, NonNegative, NoPenalty

NEWTON_STEPS = 100  # of which a projection onto a ball needs five or so
LARGEST = 1e150  # coordinate of a point to project, whose sums are finite in every metric
FARTHEST = 1e90  # the same for a ball of the 2-norm, whose cube is finite
SMALLEST_RATIO = 1e-100  # of two entries of a metric
FEASIBILITY = 1e-9  # relative error of a norm or sum above which a projection is scaled


def project(domain, x, h):
    """Return the point of a domain that is nearest to x in the metric h >= 0, for numbers of any size.

    A coordinate with h = 0 is free: it has had no gradient, so to move it costs nothing in the regret.  The result is
    the limit for small positive entries: of all nearest points, the one whose free coordinates change least.
    """
    if isinstance(domain, Box):
        return np.clip(x, domain.lower, domain.upper)
    h = np.ldexp(h, -int(np.frexp(h.max(initial=0.0))[1]))  # the scale of a metric has no effect
    return domain.project(np.clip(x, -LARGEST, LARGEST), np.maximum(h, SMALLEST_RATIO))


def contains(domain, x, tol=1e-12):
    """Return whether x lies in a domain, up to a relative error."""
    if not isinstance(domain, Box):
        return domain.contains(x, tol)
    slack = tol * np.maximum(1.0, np.abs(x))
    return bool(np.all((x >= domain.lower - slack) & (x <= domain.upper + slack)))


def minimize_linear(domain, z, l1=0.0):
    """Return the minimum of ``z @ u + sum(l1 * abs(u))`` over a domain; -inf if there is none."""
    if not isinstance(domain, Box):
        return domain.minimize_linear(z, l1)
    return float(minimize_coordinates(z, l1, 0.0, domain.lower, domain.upper).sum())


def minimize_coordinates(z, l1, l2, lower=-math.inf, upper=math.inf):
    """Return the minimum of z v + l1 |v| + l2 v² / 2 over lower <= v <= upper for each coordinate, which may be -inf.

    All arguments but z are numbers or arrays.
    """
    l1, l2, lower, upper = (np.broadcast_to(np.asarray(each, float), z.shape) for each in (l1, l2, lower, upper))
    inner = np.clip(-soft(z, l1) / np.where(l2 > 0, l2, 1.0), lower, upper)
    total = None
    for v in (np.clip(0.0, lower, upper), inner, lower, upper):
        slope, is_end = z * np.sign(v) + l1, np.isinf(v)
        size = np.where(is_end, 0.0, np.abs(v))
        value = slope * size + l2 * size * size / 2
        at_infinity = np.where(l2 > 0, math.inf, np.where(slope == 0, 0.0, np.copysign(math.inf, slope)))
        value = np.where(is_end, at_infinity, value)
        total = value if total is None else np.minimum(total, value)
    return total


class Strengths(NamedTuple):
    """A penalty l1 |x| + l2 x² / 2 on each coordinate, with bounds."""

    l1: Any
    l2: Any
    box: Any


def strengths(penalty):
    """Return the `Strengths` of a penalty record."""
    kinds = {
        NoPenalty: lambda p: Strengths(0.0, 0.0, None),
        L1: lambda p: Strengths(p.strength, 0.0, None),
        L2: lambda p: Strengths(0.0, p.strength, None),
        ElasticNet: lambda p: Strengths(p.l1, p.l2, None),
        Box: lambda p: Strengths(0.0, 0.0, p),
        NonNegative: lambda p: Strengths(0.0, 0.0, Box(0.0, math.inf)),
    }
    if penalty is None:
        penalty = NoPenalty()
    if type(penalty) not in kinds:
        names = ", ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"penalty: got {shorten_repr(penalty)}; must be None or one of {names}")
    return kinds[type(penalty)](penalty)


def soft(x, threshold):
    """Return sign(x) [|x| - threshold]_+ of an array."""
    return np.copysign(np.maximum(np.abs(x) - threshold, 0.0), x)


def check_domain(domain):
    """Raise TypeError unless `domain` is a domain record."""
    record_methods("domain", domain, (), "L2Ball()")
    if not isinstance(domain, (L1Ball, L2Ball, Simplex, Box)):
        raise TypeError(f"domain: got {shorten_repr(domain)}; must be L1Ball, L2Ball, Simplex or Box")


def _largest_active(values, thresholds):
    """Return the last k where values[k] exceeds thresholds[k]: the level that solves a sorted piecewise equation.

    It is 0 if rounding errors hide that values[0] exceeds thresholds[0].
    """
    found = np.flatnonzero(values > thresholds)
    return found[-1] if found.size else 0


def _with_sum(z, total, first):
    """Return z >= 0 scaled to a sum, which rounding errors change if the projected point is far from the domain.

    If they leave only zeros, the entry `first` gets the sum.
    """
    found = z.sum()
    if abs(found - total) <= FEASIBILITY * total:
        return z
    if found > 0:
        return z * (total / found)
    z[first] = total
    return z


class L1Ball(NamedTuple):
    r"""The points with :math:`\|x\|_1 \le r`.

    Parameters
    ----------
    radius : float, default 1.0
        r in (0, inf).

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, section 5.2.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import L1Ball
    >>> L1Ball(1.0).project(np.array([2.0, -1.0]), np.array([1.0, 4.0]))
    array([ 0.4, -0.6])
    """

    radius: float = 1.0

    domain = {"radius": "(0, inf)"}

    def project(self, x, h):
        size = np.abs(x)
        if size.sum() <= self.radius:
            return x.copy()
        # The solution is sign(x) [|x| - level / h]_+, whose norm is piecewise linear in the level.
        order = np.argsort(-h * size, kind="stable")
        levels = (np.cumsum(size[order]) - self.radius) / np.cumsum(1.0 / h[order])
        active = order[: _largest_active((h * size)[order], levels) + 1]
        level = (size[active].sum() - self.radius) / (1.0 / h[active]).sum()
        return np.copysign(_with_sum(np.maximum(size - level / h, 0.0), self.radius, order[0]), x)

    def contains(self, x, tol=1e-12):
        return bool(np.abs(x).sum() <= self.radius * (1 + tol))

    def minimize_linear(self, z, l1=0.0):
        return -self.radius * float(np.maximum(np.abs(z) - l1, 0.0).max(initial=0.0))


class L2Ball(NamedTuple):
    r"""The points with :math:`\|x\|_2 \le r`.

    Parameters
    ----------
    radius : float, default 1.0
        r in (0, inf).

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import L2Ball
    >>> L2Ball(1.0).project(np.array([3.0, 4.0]), np.ones(2))
    array([0.6, 0.8])
    """

    radius: float = 1.0

    domain = {"radius": "(0, inf)"}

    def project(self, x, h):
        largest = np.abs(x).max(initial=0.0)
        if largest > FARTHEST:  # the direction determines the projection
            x = x * (FARTHEST / largest)
        norm = np.linalg.norm(x)
        if norm <= self.radius:
            return x.copy()
        # The solution is h x / (h + level).  The inverse of its norm is concave in the level, so Newton's method
        # converges monotonically from the left (J. Moré, D. Sorensen, SIAM J. Sci. Stat. Comput. 4 (1983) 553-572).
        level = float(h.min()) * (norm / self.radius - 1.0)
        for _ in range(NEWTON_STEPS):
            z = h * x / (h + level)
            norm = np.linalg.norm(z)
            increment = (norm / self.radius - 1.0) * norm * norm / np.sum(z * z / (h + level))
            if not level + increment > level:
                break
            level += increment
        z = h * x / (h + level)
        return z * min(self.radius / np.linalg.norm(z), 1.0)

    def contains(self, x, tol=1e-12):
        return bool(np.linalg.norm(x) <= self.radius * (1 + tol))

    def minimize_linear(self, z, l1=0.0):
        return -self.radius * float(np.linalg.norm(np.maximum(np.abs(z) - l1, 0.0)))


class Simplex(NamedTuple):
    r"""The points with :math:`x \ge 0` and :math:`\sum_i x_i = s`.

    Parameters
    ----------
    total : float, default 1.0
        s in (0, inf).

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Simplex
    >>> Simplex(1.0).project(np.array([0.5, 1.5, -1.0]), np.ones(3))
    array([0., 1., 0.])
    """

    total: float = 1.0

    domain = {"total": "(0, inf)"}

    def project(self, x, h):
        if x.size == 0:
            raise ValueError("x: has no entries; a Simplex has no point without coordinates")
        order = np.argsort(-h * x, kind="stable")
        levels = (np.cumsum(x[order]) - self.total) / np.cumsum(1.0 / h[order])
        active = order[: _largest_active((h * x)[order], levels) + 1]
        level = (x[active].sum() - self.total) / (1.0 / h[active]).sum()
        return _with_sum(np.maximum(x - level / h, 0.0), self.total, order[0])

    def contains(self, x, tol=1e-12):
        return bool(x.min(initial=0.0) >= -tol * self.total and abs(x.sum() - self.total) <= tol * self.total)

    def minimize_linear(self, z, l1=0.0):
        return self.total * float((z + l1).min(initial=math.inf))
