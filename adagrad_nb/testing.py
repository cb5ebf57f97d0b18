"""Problems with known minima, as objective records, and checks for records of your own."""

from typing import Any, NamedTuple

import numpy as np


class Rosenbrock(NamedTuple):
    """sum_i a (x[i+1] - x[i]**2)**2 + (1 - x[i])**2; its minimum is 0 at (1, …, 1).

    Parameters
    ----------
    a : float, default 100.0

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import minimize_adagrad
    >>> from adagrad_nb.testing import Rosenbrock
    >>> res = minimize_adagrad(Rosenbrock(), np.zeros(10), lr=1.0, maxiter=100_000)
    >>> bool(res.fun < 1e-4)
    True
    """

    a: float = 100.0

    domain = {"a": "(0, inf)"}

    def value_grad(self, x, g):
        two = type(self.a)(2)
        value = g[0] = x[0] - x[0]
        for i in range(x.shape[0] - 1):
            rise = x[i + 1] - x[i] * x[i]
            rest = type(self.a)(1) - x[i]
            value += self.a * rise * rise + rest * rest
            g[i] -= two * (two * self.a * rise * x[i] + rest)
            g[i + 1] = two * self.a * rise
        return value


class Quadratic(NamedTuple):
    """sum_i curvature[i] (x[i] - minimum[i])**2 / 2.

    Parameters
    ----------
    curvature, minimum : ndarray of shape (n,)
    """

    curvature: Any
    minimum: Any

    def value_grad(self, x, g):
        value = x[0] - x[0]
        for i in range(x.shape[0]):
            g[i] = self.curvature[i] * (x[i] - self.minimum[i])
            value += g[i] * (x[i] - self.minimum[i]) / type(value)(2)
        return value


def quadratic(n, condition=1e3):
    """A `Quadratic` of n variables whose curvatures run from 1 to `condition`."""
    return Quadratic(np.geomspace(1.0, condition, n), np.linspace(-1.0, 1.0, n))
