"""Lazy updates: the same weights as a learner that applies every penalty step to every weight."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import reference_linear
import scipy.sparse as sp
from linear_problems import COMPILED, LOSSES, PENALTIES, RATES, X, Y, data
from numpy.testing import assert_allclose

from adagrad_nb import (
    L2,
    Adagrad,
    fit_linear,
)

# --- lazy is eager -------------------------------------------------------------------------------------------------


def assert_eager(penalty, loss, rate, intercept, weighted, rule=None, dtype=None, tolerance=1e-12):
    """fit_linear gives what the slow eager learner gives."""
    X, y, weight = data(loss)
    record, prox = PENALTIES[penalty]
    lr, at = RATES[rate]
    weight = weight if weighted else None
    rule = {} if rule is None else rule
    model = fit_linear(
        X, y, loss=loss, penalty=record, lr=lr, intercept=intercept, sample_weight=weight, passes=2, dtype=dtype,
        rule=Adagrad(**rule),
    )  # fmt: skip
    settings = {"G0" if name == "initial_accumulator" else name: value for name, value in rule.items()}
    eager = reference_linear.fit(
        X.toarray(), y, loss, at, prox=prox, intercept=intercept, weight=weight, passes=2, **settings
    )
    close = {"rtol": tolerance, "atol": tolerance}
    assert_allclose(model.coef, eager.w, **close)
    assert_allclose(model.intercept, eager.b, **close)
    assert_allclose(model.state.slots[0][0], eager.G, **close)
    assert_allclose(model.bias_state.slots[0][0], [eager.Gb], **close)
    assert_allclose(model.progressive_loss, reference_linear.progressive_loss(eager.losses), **close)
    assert model.state.t == eager.t
    if prox is not None:  # and it is the penalty that is being tested
        unpenalized = reference_linear.fit(
            X.toarray(), y, loss, at, intercept=intercept, weight=weight, passes=2, **settings
        )
        assert np.abs(model.coef - unpenalized.w).max() > 1e-3


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager(penalty, loss, rate):
    for intercept, weighted in itertools.product((True, False), repeat=2):
        assert_eager(penalty, loss, rate, intercept, weighted)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager_for_every_loss(penalty, loss):
    for rate in ("constant", "piecewise"):
        assert_eager(penalty, loss, rate, True, True)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    "rule",
    [{"eps": 0.0}, {"eps": 0.1}, {"eps": 0.1, "inside": True}, {"initial_accumulator": 0.2}],
    ids=["no eps", "eps", "eps inside", "accumulator"],
)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager_for_other_settings_of_the_rule(penalty, rule):
    for rate in ("constant", "inverse root"):
        assert_eager(penalty, "logistic", rate, True, True, rule)


@pytest.mark.parametrize(("penalty", "loss", "rate"), COMPILED)
def test_lazy_is_eager_compiled(penalty, loss, rate):
    for intercept, weighted in itertools.product((True, False), repeat=2):
        assert_eager(penalty, loss, rate, intercept, weighted)


@pytest.mark.parametrize(("penalty", "loss", "rate"), [COMPILED[0], COMPILED[1], COMPILED[3]])
def test_lazy_is_eager_in_single_precision(penalty, loss, rate):
    assert_eager(penalty, loss, rate, True, True, dtype=np.float32, tolerance=3e-5)


@pytest.mark.usefixtures("interpreted")
def test_long_absence_in_closed_form():
    """20,000 rows pass a coordinate over: the closed form of L2 against the power it stands for."""
    n = 20_000
    X = sp.csr_array((np.ones(2), ([0, 1], [0, 1])), shape=(n, 2))
    y = np.where(np.arange(n) % 2 == 1, 1.0, -1.0)
    model = fit_linear(X, y, penalty=L2(1e-4))
    # Feature 0: slope 1/2 at the first row, so that w = -lr sign and the width is lr / (1/2 + eps) = 1.
    assert_allclose(model.coef[0], -0.5 * (1 + 1e-4) ** -n, rtol=1e-6)


@pytest.mark.usefixtures("interpreted")
def test_user_penalty():
    """A record with a proximal step and nothing else is lazy too: k steps are taken one by one."""

    class PullTowardConstant(NamedTuple):
        """Half a squared distance."""

        target: float

        def value(self, x, i):
            return (x - self.target) * (x - self.target) / 2

        def prox(self, x, w, i):
            return (x + w * self.target) / (1 + w)

    penalty, loss, at = PullTowardConstant(0.2), "logistic", RATES["constant"][1]
    lazy = fit_linear(X, Y, penalty=penalty)
    eager = reference_linear.fit(X.toarray(), Y, loss, at, prox=lambda i, x, w: (x + w * 0.2) / (1 + w))
    assert_allclose(lazy.coef, eager.w, rtol=1e-12)
    assert lazy.coef[7] == pytest.approx(0.2)
