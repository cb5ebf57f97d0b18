"""A custom rule whose regret is checked against its bound: online games with five adversaries.

`check_regret` compares the regret of a rule with a bound that holds if the preconditioner never decreases.  A rule with
another bound proves it in a method `regret_bound`.

Run: python examples/custom_rule_regret.py
"""

import math
from typing import NamedTuple

import numpy as np

from adagrad_nb.testing import check_regret, check_rule


class LargestGradient(NamedTuple):
    """Step sizes lr / (sqrt(t) max |g| + eps) of each coordinate: its accumulators are max |g| and t."""

    eps: float = 0.0

    slots = 2
    domain = {"eps": "[0, inf)"}

    def initial_slots(self):
        return (0.0, 0.0)

    def step(self, x, g, s, lr):
        s = (max(s[0], abs(g)), s[1] + type(g)(1))
        return x - self.step_size(s, lr) * g, s

    def step_size(self, s, lr):
        scale = s[0] * math.sqrt(s[1]) + self.eps
        return lr / scale if scale > 0 else scale


class RMSProp(NamedTuple):
    """RMSProp: an exponential average of squared gradients, which may decrease."""

    rho: float = 0.5

    slots = 1
    domain = {"rho": "[0, 1)"}

    def initial_slots(self):
        return (0.0,)

    def step(self, x, g, s, lr):
        s = (g * g + self.rho * (s[0] - g * g),)
        return x - self.step_size(s, lr) * g, s

    def step_size(self, s, lr):
        root = math.sqrt(s[0])
        return lr / root if root > 0 else root


class Descent(NamedTuple):
    """Gradient descent with steps of a fixed size, and its own bound; its accumulator counts the gradients."""

    size: float = 0.5

    slots = 1
    domain = {"size": "(0, inf)"}

    def initial_slots(self):
        return (0.0,)

    def step(self, x, g, s, lr):
        return x - self.size * g, (s[0] + type(g)(1),)

    def step_size(self, s, lr):
        return self.size

    def regret_bound(self, ledger, u):
        # M. Zinkevich (2003): |u - x_0|^2 / (2 size) + size / 2 * sum of |g|^2
        return np.sum((u - ledger.start) ** 2) / (2 * self.size) + self.size / 2 * np.sum(ledger.squares)


def main():
    """Check three rules; one of them has no bound."""
    for rule in (LargestGradient(), Descent(), RMSProp()):
        check_rule(rule)
        try:
            check_regret(rule)
        except AssertionError as error:
            print(f"{type(rule).__name__:16} {error}")
        else:
            print(f"{type(rule).__name__:16} the regret is below its bound against all adversaries")


if __name__ == "__main__":
    main()
