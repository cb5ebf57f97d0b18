"""The optimum that the batch solvers of scikit-learn find: many passes with a falling rate come to the same value."""

import warnings

import numba
import numpy as np
import pytest

from adagrad_nb import L1, L2, RDA, Adagrad, ElasticNet, InverseTime, fit_linear

linear_model = pytest.importorskip("sklearn.linear_model")
pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="300,000 updates take minutes in pure Python")

N, D = 200, 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)) * (RNG.random((N, D)) < 0.6)
SCORES = X @ (RNG.normal(size=D) * (RNG.random(D) < 0.5)) + 0.5
NUMBERS = SCORES + 0.3 * RNG.normal(size=N)
LABELS = np.where(SCORES + 0.5 * RNG.normal(size=N) > 0, 1, -1)


def objective(loss, w, b, l1, l2):
    """Mean loss + penalty, in NumPy."""
    p = X @ np.ravel(w) + b
    losses = np.logaddexp(0, -LABELS * p) if loss == "logistic" else (p - NUMBERS) ** 2 / 2
    return float(np.mean(losses) + l1 * np.abs(w).sum() + l2 * np.sum(np.square(w)) / 2)


def batch(loss, l1, l2):
    """Weights and intercept by scikit-learn, in the scaling of each of its classes."""
    solver = {"tol": 1e-12, "max_iter": 100_000}
    if loss == "squared":
        if not l1:
            model = linear_model.Ridge(alpha=N * l2, **solver)
        elif not l2:
            model = linear_model.Lasso(alpha=l1, **solver)
        else:
            model = linear_model.ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), **solver)
        return model.fit(X, NUMBERS)
    with warnings.catch_warnings():  # `penalty` is going away, and without it older versions take l2
        warnings.simplefilter("ignore", FutureWarning)
        model = linear_model.LogisticRegression(
            penalty="elasticnet", solver="saga", C=1 / (N * (l1 + l2)), l1_ratio=l1 / (l1 + l2), **solver
        )
        return model.fit(X, LABELS)


@pytest.mark.filterwarnings("ignore:.*penalty.*:UserWarning")
@pytest.mark.parametrize(
    ("loss", "penalty", "l1", "l2"),
    [
        ("squared", L1(0.05), 0.05, 0.0),
        ("squared", L2(0.1), 0.0, 0.1),
        ("squared", ElasticNet(0.03, 0.05), 0.03, 0.05),
        ("logistic", L1(0.02), 0.02, 0.0),
        ("logistic", L2(0.02), 0.0, 0.02),
        ("logistic", ElasticNet(0.01, 0.02), 0.01, 0.02),
    ],
    ids=["lasso", "ridge", "elastic net", "logistic lasso", "logistic ridge", "logistic elastic net"],
)
@pytest.mark.parametrize("rule", [Adagrad(), RDA()], ids=["mirror descent", "dual averaging"])
def test_optimum(loss, penalty, l1, l2, rule):
    y = NUMBERS if loss == "squared" else LABELS
    expected = batch(loss, l1, l2)
    best = objective(loss, expected.coef_, expected.intercept_, l1, l2)
    # Dual averaging weighs all gradients alike, at a rate that stays.
    rate = InverseTime(0.5, 1e-3) if rule == Adagrad() else 0.3 if loss == "squared" else 1.0
    model = fit_linear(X, y, loss=loss, penalty=penalty, rule=rule, lr=rate, passes=1500, shuffle=True, rng=0)
    actual = objective(loss, model.coef, model.intercept, l1, l2)
    assert best * (1 - 1e-6) < actual < best * (1 + 1e-4)
    np.testing.assert_allclose(model.coef, np.ravel(expected.coef_), atol=0.03)
    assert objective(loss, np.zeros(D), 0.0, l1, l2) > 1.3 * best
