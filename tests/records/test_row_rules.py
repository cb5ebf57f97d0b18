"""Passive-aggressive updates and AROW against their papers, and what is refused."""

import numpy as np
import pytest
from linear_problems import COLUMNS, data, fit_plain, model_values
from numpy.testing import assert_allclose

from adagrad_nb import (
    AROW,
    L1,
    Adagrad,
    AdagradClassifier,
    EpsilonInsensitive,
    Hinge,
    PassiveAggressive,
    Polyak,
    Rates,
    fit_linear,
    init,
    load_model,
    minimize_adagrad,
)

X, Y, WEIGHT = data(seed=3)
_, RESIDUALS, _ = data("squared", seed=3)


def passive_aggressive(rows, y, weight, C, variant, epsilon=None):
    """Crammer 2006, figure 1; for numbers section 4: the loss is [|y - w x| - epsilon]_+."""
    w, iterates = np.zeros(rows.shape[1]), []
    for x, target, h in zip(rows, y, weight, strict=True):
        if h == 0:
            continue
        p, q = w @ x, x @ x
        loss = max(0.0, 1 - target * p) if epsilon is None else max(0.0, abs(target - p) - epsilon)
        if loss > 0 and q > 0:
            tau = min(C * h, loss / q) if variant == 1 else loss / (q + 1 / (2 * C * h))
            w = w + tau * (target if epsilon is None else np.sign(target - p)) * x
        iterates.append(w)
    return w, iterates


def arow(rows, y, weight, r):
    """Crammer 2009, figure 1, with a diagonal covariance."""
    w, variance = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    for x, target, h in zip(rows, y, weight, strict=True):
        margin = target * (w @ x)
        if h > 0 and margin < 1:
            w = w + (1 - margin) / (x @ (variance * x) + r / h) * target * variance * x
            variance = 1 / (1 / variance + x * x * h / r)
    return w, variance


def with_constant(rows):
    return np.column_stack([rows.toarray(), np.ones(rows.shape[0])])


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("C", [0.1, 3.0])
def test_passive_aggressive(C, variant):
    for intercept in (False, True):
        model = fit_linear(X, Y, rule=PassiveAggressive(C, variant), sample_weight=WEIGHT, intercept=intercept)
        w, iterates = passive_aggressive(with_constant(X)[:, : COLUMNS + intercept], Y, WEIGHT, C, variant)
        assert_allclose(np.append(model.coef, [model.intercept] if intercept else []), w, rtol=1e-12, atol=1e-15)
        assert isinstance(model.loss, Hinge)
        if intercept:
            averaged = fit_linear(X, Y, rule=PassiveAggressive(C, variant), sample_weight=WEIGHT, average=Polyak())
            assert_allclose(averaged.coef, np.mean(iterates, axis=0)[:-1], rtol=1e-12, atol=1e-15)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("variant", [1, 2])
def test_passive_aggressive_for_numbers(variant):
    loss = EpsilonInsensitive(0.2)
    model = fit_linear(X, RESIDUALS, loss=loss, rule=PassiveAggressive(0.5, variant), sample_weight=WEIGHT)
    w, _ = passive_aggressive(with_constant(X), RESIDUALS, WEIGHT, 0.5, variant, epsilon=0.2)
    assert_allclose(np.append(model.coef, model.intercept), w, rtol=1e-12, atol=1e-15)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("r", [0.3, 5.0])
def test_arow(r):
    model = fit_linear(X, Y, rule=AROW(r), sample_weight=WEIGHT)
    w, variance = arow(with_constant(X), Y, WEIGHT, r)
    assert_allclose(np.append(model.coef, model.intercept), w, rtol=1e-12, atol=1e-15)
    assert_allclose(model.state.slots[0][1], 1 / variance[:-1], rtol=1e-12)


@pytest.mark.parametrize("rule", [AROW(), PassiveAggressive(0.5, 2)])
def test_compiled_in_single_precision(rule):
    model = fit_linear(X, Y, rule=rule, sample_weight=WEIGHT, dtype=np.float32)
    rows = with_constant(X)
    w, _ = arow(rows, Y, WEIGHT, 1.0) if isinstance(rule, AROW) else passive_aggressive(rows, Y, WEIGHT, 0.5, 2)
    assert_allclose(np.append(model.coef, model.intercept), w, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", [PassiveAggressive(), AROW()])
def test_continued_training(rule, tmp_path):
    one_call = fit_linear(X, Y, rule=rule)
    fit_linear(X[:15], Y[:15], rule=rule).save(tmp_path / "model")
    again = fit_linear(X[15:], Y[15:], model=load_model(tmp_path / "model"))
    assert model_values(again) == model_values(one_call)
    rows = AdagradClassifier(loss="hinge", rule=rule)
    for r in range(X.shape[0]):
        rows.partial_fit(X[r : r + 1], Y[r : r + 1], classes=[-1, 1])
    assert_allclose(rows.coef_[0], one_call.coef, rtol=1e-12)


@pytest.mark.usefixtures("interpreted")
def test_empty_rows_change_nothing():
    for rule in (PassiveAggressive(), PassiveAggressive(variant=2), AROW()):
        model = fit_linear(np.zeros((3, 2)), [1, -1, 1], rule=rule, intercept=False)
        assert not model.coef.any()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fit_linear(X, Y, rule=PassiveAggressive(0.0)), ValueError, r"^PassiveAggressive.C: got 0"),
        (lambda: fit_linear(X, Y, rule=PassiveAggressive(1.0, 3)), ValueError, r"^PassiveAggressive.variant: got 3"),
        (lambda: fit_linear(X, Y, rule=AROW(-1.0)), ValueError, r"^AROW.r: got -1"),
        (lambda: fit_linear(X, Y, rule=AROW(), lr=0.1), ValueError, "^lr: got 0.1, but the rule AROW has no learning"),
        (lambda: fit_linear(X, Y, rule=AROW(), lr=Rates()), ValueError, "^rule: AROW supports one output"),
        (lambda: fit_linear(X, Y, rule=AROW(), loss="logistic"), ValueError, r"^loss: got Logistic.*supports Hinge"),
        (lambda: fit_linear(X, Y, rule=AROW(), penalty=L1(0.1)), ValueError, "^penalty: got L1.*rule AROW does not"),
        (lambda: fit_linear(X, Y, rule=AROW(), batch_size=2), ValueError, "^batch_size: got 2, but the rule AROW"),
        (lambda: fit_linear(X, Y, rule=AROW(), normalized=True), ValueError, "^normalized: got True, which the rule"),
        (lambda: fit_linear(X, Y, rule=AROW(), threads=2), ValueError, "^threads: does not support the rule AROW"),
        (lambda: fit_linear(X, np.arange(40) % 3, rule=AROW()), ValueError, "^rule: AROW supports one output"),
        (lambda: fit_linear(X, Y, model=fit_plain(X, Y), rule=AROW()), ValueError, "^rule: AROW has 2 accumulators"),
        (lambda: init(np.ones(3), AROW()), ValueError, "^rule: AROW needs the loss of a row"),
        (lambda: minimize_adagrad(np.sum, np.ones(3), rule=PassiveAggressive()), ValueError, "^rule: PassiveAggr"),
        (
            lambda: fit_linear(X, Y, model=fit_linear(X, Y, rule=AROW()), rule=Adagrad()),
            ValueError,
            "^rule: Adagrad h",
        ),
    ],
)
@pytest.mark.usefixtures("interpreted")
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
