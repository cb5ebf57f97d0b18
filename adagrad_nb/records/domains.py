"""Convex domains of all coordinates together, and projections onto them in a diagonal metric.

A domain is a record with these members:

``project(x, h) -> ndarray``
    The point z of the domain that minimises ``sum(h * (z - x)**2)``.  h > 0 is the diagonal of the metric.
``contains(x, tol) -> bool``
    Whether x lies in the domain, up to a relative error.
``minimize_linear(z, l1) -> float``
    The minimum of ``z @ u + l1 * norm(u, 1)`` over the points u of the domain.

Unlike the records of scalar functions, these take whole arrays of float64 and run interpreted, in O(n log n).
The penalty `Box` is a domain too; the functions `project`, `contains` and `minimize_linear` of this module take both.
"""

import math
from typing import NamedTuple

import numpy as np

from .penalties import Box

NEWTON_STEPS = 100  # of which a projection onto a ball needs five or so


def project(domain, x, h):
    """Return the point of a domain that is nearest to x in the metric h."""
    return np.clip(x, domain.lower, domain.upper) if isinstance(domain, Box) else domain.project(x, h)


def contains(domain, x, tol=1e-12):
    """Return whether x lies in a domain, up to a relative error."""
    if not isinstance(domain, Box):
        return domain.contains(x, tol)
    slack = tol * np.maximum(1.0, np.abs(x))
    return bool(np.all((x >= domain.lower - slack) & (x <= domain.upper + slack)))


def minimize_linear(domain, z, l1=0.0):
    """Return the minimum of ``z @ u + l1 * norm(u, 1)`` over a domain; -inf if there is none."""
    if not isinstance(domain, Box):
        return domain.minimize_linear(z, l1)
    lower, upper = (np.broadcast_to(bound, z.shape) for bound in (domain.lower, domain.upper))
    total = 0.0
    for end in (lower, upper, np.clip(0.0, lower, upper)):
        slope = z * np.sign(end) + l1
        value = np.where(slope == 0, 0.0, slope) * np.where(slope == 0, 0.0, np.abs(end))
        total = np.minimum(total, value) if end is not lower else value
    return float(total.sum())


def _largest_active(values, thresholds):
    """Return the last k where values[k] exceeds thresholds[k]: the level that solves a sorted piecewise equation."""
    return np.flatnonzero(values > thresholds)[-1]


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
        return np.copysign(np.maximum(size - level / h, 0.0), x)

    def contains(self, x, tol=1e-12):
        return bool(np.abs(x).sum() <= self.radius * (1 + tol))

    def minimize_linear(self, z, l1=0.0):
        return -self.radius * max(float(np.abs(z).max(initial=0.0)) - l1, 0.0)


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
        order = np.argsort(-h * x, kind="stable")
        levels = (np.cumsum(x[order]) - self.total) / np.cumsum(1.0 / h[order])
        active = order[: _largest_active((h * x)[order], levels) + 1]
        level = (x[active].sum() - self.total) / (1.0 / h[active]).sum()
        return np.maximum(x - level / h, 0.0)

    def contains(self, x, tol=1e-12):
        return bool(x.min(initial=0.0) >= -tol * self.total and abs(x.sum() - self.total) <= tol * self.total)

    def minimize_linear(self, z, l1=0.0):
        return self.total * (float(z.min(initial=math.inf)) + l1)
