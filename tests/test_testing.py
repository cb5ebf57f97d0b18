"""Tests of the checks of user-defined records in `adagrad_nb.testing`."""

import math
import warnings
from typing import NamedTuple

import numpy as np
import pytest

from adagrad_nb import L1, RDA, Adagrad, Logistic
from adagrad_nb.testing import check_loss, check_penalty, check_regret, check_rule

STRENGTH = 0.5


class GlobalL1(NamedTuple):
    """L1 penalty of a global strength."""

    factor: float = 1.0

    def threshold(self, w):
        return self.factor * w * STRENGTH

    def value(self, x, i):
        return self.factor * abs(x) * STRENGTH

    def prox(self, x, w, i):
        kept = max(abs(x) - self.threshold(w), x - x)
        return kept if x > 0 else -kept


class SumOfGradients(NamedTuple):
    """A rule whose x is minus the learning rate times the sum of the gradients."""

    slots = 1

    def initial_slots(self):
        return (0.0,)

    def step(self, x, g, s, lr):
        z = s[0] + g
        return x if z == 0 else -lr * z, (z,)

    def step_size(self, s, lr):
        return lr


class DeclaredSumOfGradients(NamedTuple):
    """The same, which declares that it forgets x."""

    slots = 1
    takes_penalty = False
    initial_slots, step, step_size = SumOfGradients.initial_slots, SumOfGradients.step, SumOfGradients.step_size


def squared_loss(weight):
    class WeightedSquare(NamedTuple):
        """Squared loss with the weight of a closure."""

        target_type = "continuous"

        def value(self, y, p):
            return weight * (p - y) ** 2

        def slope(self, y, p):
            return 2 * weight * (p - y)

        def inverse_link(self, p):
            return p

    return WeightedSquare()


def test_rules_that_forget_x_say_so(interpreted):
    with pytest.raises(AssertionError, match="SumOfGradients.step: does not start from x, so a penalty would have no"):
        check_rule(SumOfGradients())
    check_rule(DeclaredSumOfGradients())


def test_globals_in_a_record_are_reported():
    """Compiled code keeps the value of a global variable; a later assignment changes nothing."""
    with pytest.warns(UserWarning, match="GlobalL1") as raised:
        check_penalty(GlobalL1())
    assert [str(warning.message) for warning in raised] == [
        f"GlobalL1.{name}: reads STRENGTH, which is not a field; compiled code keeps the value of its compilation, so "
        "make it a field if it may change"
        for name in ("threshold", "value")
    ]
    assert {warning.filename for warning in raised} == {__file__}
    with pytest.warns(UserWarning, match=r"^WeightedSquare\.(value|slope): reads weight, which is not a field"):
        check_loss(squared_loss(3.0))


def test_records_of_fields_only_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_penalty(L1(0.1))
        check_rule(Adagrad())
        check_loss(Logistic())


# --- bounds of regret --------------------------------------------------------------------------------------------


class RootMeanSquare(NamedTuple):
    """RMSProp, whose preconditioner decreases."""

    rho: float = 0.9
    eps: float = 1e-8

    slots = 1
    is_scaled_gradient = True

    def initial_slots(self):
        return (0.0,)

    def step(self, x, g, s, lr):
        s = (self.rho * s[0] + (type(g)(1) - self.rho) * g * g,)
        return x - lr * g / (math.sqrt(s[0]) + self.eps), s

    def step_size(self, s, lr):
        return lr / (math.sqrt(s[0]) + self.eps)


class OwnBound(RootMeanSquare):
    """The same with a bound of its own, which is too small."""

    def regret_bound(self, ledger, u):
        return 0.1


@pytest.mark.parametrize("rule", [Adagrad(), Adagrad(eps=0.0), RDA(eps=4.0)], ids=str)
def test_regret_of_adagrad_is_bounded(rule):
    check_regret(rule)


def test_a_decreasing_preconditioner_is_caught():
    with pytest.raises(AssertionError, match="RootMeanSquare: adversary 'sparse', round .*: the regret .* decreased"):
        check_regret(RootMeanSquare(), ["sparse"])


def test_a_bound_that_is_exceeded_is_caught():
    with pytest.raises(AssertionError, match=r"adversary 'against', round 0: the regret .* is 1.58114, the bound 0.1$"):
        check_regret(OwnBound(), ["against"], size=1)
    with pytest.raises(AssertionError, match=r"RDA: adversary 'unit', round 0: .* the bound inf"):
        check_regret(RDA(), [unit])
    with pytest.raises(ValueError, match="adversaries: got 'unknown'"):
        check_regret(Adagrad(), ["unknown"])


def unit(t, x, rng):
    return np.ones(x.size)
