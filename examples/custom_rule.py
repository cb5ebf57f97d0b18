"""A custom rule and a custom loss: records whose methods are functions of scalars.

Run: python examples/custom_rule.py
"""

import math
from typing import NamedTuple

import numpy as np

from adagrad_nb import Adagrad, fit_linear, init, minimize_adagrad, update
from adagrad_nb.testing import Rosenbrock, check_loss, check_rule


class Adam(NamedTuple):
    """Adam without bias correction: exponential averages of the gradient and of its square."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    slots = 2
    domain = {"beta1": "[0, 1)", "beta2": "[0, 1)", "eps": "(0, inf)"}

    def initial_slots(self):
        return (0.0, 0.0)

    def step(self, x, g, s, lr):
        # Written without the literal 1, so that float32 code contains no double.
        first = g + self.beta1 * (s[0] - g)
        second = g * g + self.beta2 * (s[1] - g * g)
        return x - lr * first / (math.sqrt(second) + self.eps), (first, second)

    def step_size(self, s, lr):
        return lr / (math.sqrt(s[1]) + self.eps)


class LogCosh(NamedTuple):
    """log(cosh(p - y)): quadratic for small residuals, linear for large ones."""

    target_type = "continuous"

    def value(self, y, p):
        error = abs(p - y)
        return error + math.log1p(math.exp(-(error + error))) - math.log(2.0)

    def slope(self, y, p):
        return math.tanh(p - y)

    def inverse_link(self, p):
        return p


def main():
    """Check both and use them with every driver."""
    check_rule(Adam())
    check_loss(LogCosh())

    for rule, lr in ((Adagrad(), 1.0), (Adam(), 0.01)):
        res = minimize_adagrad(Rosenbrock(), np.zeros(10), rule=rule, lr=lr, maxiter=20_000)
        print(f"Rosenbrock, 10 variables, {type(rule).__name__:8} value {res.fun:.2e} after {res.nit} iterations")

    x = np.array([3.0, -2.0], np.float32)
    state = init(x, Adam(), lr=0.05)
    for _ in range(500):
        update(x, 2 * x, state, out=(x, state))
    print(f"update by hand: {x @ x:.1e} ({x.dtype})")

    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 5))
    y = X @ [1.0, -2.0, 3.0, 0.0, 0.5] + rng.standard_t(1.5, size=2000)
    for loss in ("squared", LogCosh()):
        coef = fit_linear(X, y, loss=loss).coef
        print(f"heavy-tailed noise, {loss if isinstance(loss, str) else 'LogCosh':8} coef {np.round(coef, 2)}")


if __name__ == "__main__":
    main()
