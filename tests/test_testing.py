"""Tests of the checks of user-defined records in `adagrad_nb.testing`."""

import warnings
from typing import NamedTuple

import pytest

from adagrad_nb import L1, Adagrad, Logistic
from adagrad_nb.testing import check_loss, check_penalty, check_rule

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
