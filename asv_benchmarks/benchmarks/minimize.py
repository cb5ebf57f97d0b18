"""`minimize_adagrad` on Rosenbrock's function: Python functions, compiled functions and an objective record."""

import numba
import numpy as np
from scipy.optimize import rosen, rosen_der

from adagrad_nb import minimize_adagrad
from adagrad_nb.testing import Rosenbrock

from .common import median_seconds


@numba.njit
def value(x):
    """Return Rosenbrock's function; compiled by the user."""
    total = 0.0
    for i in range(x.size - 1):
        total += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


@numba.njit
def gradient(x):
    """Return its gradient; compiled by the user."""
    g = np.zeros_like(x)
    for i in range(x.size - 1):
        residual = x[i + 1] - x[i] ** 2
        g[i] -= 400.0 * residual * x[i] + 2.0 * (1.0 - x[i])
        g[i + 1] += 200.0 * residual
    return g


MODES = {"python": (rosen, rosen_der), "njit": (value, gradient), "record": (Rosenbrock(), None)}


class Minimize:
    """A fixed number of steps from (-1.2, 1, -1.2, …)."""

    params = [list(MODES), [2, 10, 100]]
    param_names = ["mode", "n"]

    def setup(self, mode, n):
        self.fun, self.jac = MODES[mode]
        self.x0 = np.resize([-1.2, 1.0], n)
        self.steps = 500 if mode == "python" else 400_000 // (n + 10)
        self.minimize(10)

    def minimize(self, steps):
        result = minimize_adagrad(self.fun, self.x0, jac=self.jac, maxiter=steps, gtol=0)
        assert result.nit == steps
        return result

    def time_minimize(self, mode, n):
        self.minimize(self.steps)

    def track_us_per_iteration(self, mode, n):
        return 1e6 * median_seconds(lambda: self.minimize(self.steps)) / self.steps

    track_us_per_iteration.unit = "us"

    def track_value(self, mode, n):
        return self.minimize(10_000 if mode != "python" else 1000).fun

    track_value.unit = "value"
