"""The best fixed comparator: optimality, the certified gap, and refusals."""

import math

import numpy as np
import pytest
import scipy

from adagrad_nb import (
    L1,
    L2,
    Absolute,
    Box,
    ElasticNet,
    EpsilonInsensitive,
    Hinge,
    L1Ball,
    L2Ball,
    NonNegative,
    Perceptron,
    Quantile,
    Simplex,
    best_fixed,
    fit_linear,
)
from adagrad_nb.online import comparator
from adagrad_nb.online.smoothed_losses import evaluate_losses
from adagrad_nb.records.domains import contains, project

N_ROWS, N_FEATURES = 60, 4


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(N_ROWS, N_FEATURES)) * (rng.random((N_ROWS, N_FEATURES)) < 0.7)
    y = np.sign(X @ np.array([1.0, -2.0, 0.0, 0.5]) + rng.normal(size=N_ROWS))
    return X, y


def objective(X, y, loss, penalty, w, b=0.0, weight=None):
    """Return the weighted mean loss plus the penalty, written out."""
    p = X @ w + b
    losses = {
        "logistic": lambda: np.log1p(np.exp(-y * p)),
        "hinge": lambda: np.maximum(1 - y * p, 0),
        "squared": lambda: (p - y) ** 2 / 2,
        "absolute": lambda: np.abs(p - y),
    }[loss]()
    return np.average(losses, weights=weight) + penalty(w)


PENALTIES = {
    "l1": (L1(0.05), lambda w: 0.05 * np.abs(w).sum()),
    "l2": (L2(0.1), lambda w: 0.05 * w @ w),
    "elastic": (ElasticNet(0.02, 0.1), lambda w: 0.02 * np.abs(w).sum() + 0.05 * w @ w),
    "none": (None, lambda w: 0.0),
}


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_no_point_is_better_than_the_gap_allows(name, loss, rows, rng):
    penalty, penalty_value = PENALTIES[name]
    best = best_fixed(*rows, loss=loss, penalty=penalty)
    value = objective(*rows, loss, penalty_value, best.coef)
    assert best.objective == pytest.approx(value, rel=1e-12)
    assert best.total == pytest.approx(value * N_ROWS, rel=1e-12)
    assert 0 <= best.gap <= 1e-6 * objective(*rows, loss, penalty_value, np.zeros(N_FEATURES))
    assert math.isinf(best.radius) == (name != "none")
    peer = scipy.optimize.minimize(
        lambda w: objective(*rows, loss, penalty_value, w), best.coef, method="Nelder-Mead",
        options={"xatol": 1e-12, "fatol": 1e-14, "maxfev": 3000},
    )  # fmt: skip
    assert peer.fun >= best.objective - best.gap
    for size in (1e-3, 0.1, 1.0):
        for direction in rng.normal(size=(20, N_FEATURES)):
            assert objective(*rows, loss, penalty_value, best.coef + size * direction) >= best.objective - best.gap


@pytest.mark.parametrize("domain", [L1Ball(0.5), L2Ball(0.4), Simplex(0.7), Box(-0.3, 0.2)], ids=str)
@pytest.mark.parametrize("penalty", [None, L1(0.02)], ids=str)
def test_domains(domain, penalty, rows, rng):
    if isinstance(domain, Box) and penalty is not None:
        pytest.skip("the same code as without a penalty")
    value = lambda w: objective(*rows, "logistic", lambda w: (0.02 if penalty else 0.0) * np.abs(w).sum(), w)  # noqa: E731
    best = best_fixed(*rows, penalty=penalty, domain=domain)
    assert best.objective == pytest.approx(value(best.coef), rel=1e-12)
    assert best.gap <= 1e-6
    assert math.isinf(best.radius)
    assert contains(domain, best.coef, 1e-9)
    for point in rng.normal(size=(300, N_FEATURES)):
        assert value(project(domain, point, np.ones(N_FEATURES))) >= best.objective - best.gap


def test_a_box_as_penalty_equals_a_box_as_domain(rows):
    bounds = best_fixed(*rows, penalty=Box(-0.3, 0.2))
    np.testing.assert_allclose(bounds.coef, best_fixed(*rows, domain=Box(-0.3, 0.2)).coef, atol=1e-9)
    assert best_fixed(*rows, penalty=NonNegative()).coef.min() == 0.0
    assert bounds.coef.max() == pytest.approx(0.2, abs=1e-12)


@pytest.mark.parametrize(("loss", "tol"), [("hinge", 1e-4), ("absolute", 1e-4)])
def test_losses_with_kinks(loss, tol, rows, rng):
    penalty, penalty_value = PENALTIES["l2"]
    best = best_fixed(*rows, loss=loss, penalty=penalty, tol=tol)
    assert best.gap <= tol * 1.5
    for size in (1e-3, 0.1, 1.0):
        for direction in rng.normal(size=(20, N_FEATURES)):
            value = objective(*rows, loss, penalty_value, best.coef + size * direction)
            assert value >= best.objective - best.gap


@pytest.mark.parametrize("loss", [Hinge(), Absolute(), EpsilonInsensitive(0.3), Quantile(0.8), Perceptron()], ids=str)
@pytest.mark.parametrize("intercept", [False, True], ids=["", "intercept"])
def test_linear_programs_have_no_gap(loss, intercept, rows, rng, monkeypatch):
    X, y = rows
    weight = rng.integers(0, 3, N_ROWS).astype(float)

    def value(best, move=0.0):
        p = X @ (best.coef + move) + best.intercept
        losses = [loss.value(float(a), float(b)) for a, b in zip(y, p, strict=True)]
        return np.average(losses, weights=weight) + 0.05 * np.abs(best.coef + move).sum()

    options = {"loss": loss, "penalty": L1(0.05), "intercept": intercept, "sample_weight": weight}
    best = best_fixed(X, y, **options, tol=1e-10)
    assert best.objective == pytest.approx(value(best), rel=1e-12)
    assert 0 <= best.gap < 1e-11
    for size in (1e-3, 0.1, 1.0):
        for direction in rng.normal(size=(10, N_FEATURES)):
            assert value(best, size * direction) >= best.objective - best.gap
    monkeypatch.setattr(comparator, "LP_VALUES", 0)
    smoothed = best_fixed(X, y, **options, tol=1e-2)
    assert best.objective - 1e-9 <= smoothed.objective <= best.objective + smoothed.gap


def test_a_linear_program_without_a_penalty(rows):
    best = best_fixed(*rows, loss="hinge", intercept=True, tol=1e-10)
    assert best.gap < 1e-11
    assert best.radius < math.inf


def test_intercept_and_sample_weights(rows, rng):
    X, y = rows
    weight = rng.integers(0, 3, N_ROWS).astype(float)
    best = best_fixed(X, y, penalty=L2(0.1), intercept=True, sample_weight=weight)
    repeated = np.repeat(np.arange(N_ROWS), weight.astype(int))
    same = best_fixed(X[repeated], y[repeated], penalty=L2(0.1), intercept=True)
    np.testing.assert_allclose(best.coef, same.coef, atol=1e-6)
    assert best.intercept == pytest.approx(same.intercept, abs=1e-6)
    assert best.total_weight == weight.sum()
    value = objective(X, y, "logistic", PENALTIES["l2"][1], best.coef, best.intercept, weight)
    assert best.objective == pytest.approx(value, rel=1e-12)
    assert best.radius == pytest.approx(10 * max(1.0, np.hypot(np.linalg.norm(best.coef), best.intercept)))


def test_a_model_is_never_better(rows):
    model = fit_linear(*rows, penalty=L2(0.1), passes=20, intercept=False, lr=0.5)
    best = best_fixed(*rows, penalty=L2(0.1))
    assert objective(*rows, "logistic", PENALTIES["l2"][1], model.coef) >= best.objective - best.gap


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 2.0])
def test_the_envelope_is_a_minimum(smoothing, rng):
    scores, y = rng.normal(size=50) * 2, rng.choice([-1.0, 1.0], 50)
    values, slopes, points = (np.empty(50) for _ in range(3))
    evaluate_losses(Hinge(), y, scores, smoothing, values, slopes, points)
    grid = np.linspace(-8, 8, 3201)
    for r in range(50):
        if smoothing == 0:
            assert (values[r], points[r]) == (max(1 - y[r] * scores[r], 0.0), scores[r])
            continue
        envelope = (np.maximum(1 - y[r] * grid, 0) + (grid - scores[r]) ** 2 / (2 * smoothing)).min()
        assert values[r] <= envelope + 1e-12
        assert values[r] == pytest.approx(envelope, abs=1e-4)
        tangent = max(1 - y[r] * points[r], 0.0) + slopes[r] * (grid - points[r])
        assert np.all(tangent <= np.maximum(1 - y[r] * grid, 0) + 1e-12)


def test_labels_may_be_strings(rows):
    X, y = rows
    words = np.where(y > 0, "yes", "no")
    np.testing.assert_array_equal(best_fixed(X, words, penalty=L2(0.1)).coef, best_fixed(X, y, penalty=L2(0.1)).coef)
    flipped = best_fixed(X, words, penalty=L2(0.1), classes=["no", "yes"])
    assert flipped.objective == best_fixed(X, y, penalty=L2(0.1)).objective


def test_a_gap_above_the_tolerance_warns(rows):
    with pytest.warns(RuntimeWarning, match="^best_fixed: the gap is .*, which exceeds tol"):
        best = best_fixed(*rows, penalty=L2(0.1), tol=1e-15)
    assert best.gap > 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "softmax"}, TypeError, r"loss: got Softmax\(\), a loss of several outputs"),
        ({"penalty": L1([0.1])}, ValueError, r"L1.strength: got shape \(1,\)"),
        ({"penalty": "l1"}, TypeError, "penalty: got 'l1'; must be None or one of NoPenalty, L1"),
        (
            {"penalty": L2(0.1), "domain": L2Ball()},
            ValueError,
            r"penalty: got L2\(strength=0\.1\) with the domain L2Ball",
        ),
        ({"domain": "ball"}, TypeError, "domain: got 'ball'"),
        ({"tol": 0.0}, ValueError, r"tol: got 0\.0; must be a number in \(0, 1\)"),
        ({"sample_weight": np.zeros(N_ROWS)}, ValueError, "X: has no row with a positive weight"),
    ],
    ids=str,
)
def test_refusals(options, error, message, rows):
    with pytest.raises(error, match=f"^{message}"):
        best_fixed(*rows, **options)
