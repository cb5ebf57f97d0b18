"""Warning of `fit_linear` where a constant predicts better than the model."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import adagrad_nb
from adagrad_nb import Chunk, Logistic, OneVsRest, Softmax, fit_linear
from adagrad_nb.linear.baseline import ConstantBaseline
from adagrad_nb.linear.targets import BinaryLabels, MulticlassLabels, Numbers

MESSAGE = r"^fit_linear: the progressive loss .* is larger than .*, the loss of the best constant prediction; "


def rows(n=1200, seed=0):
    """Return X, whose columns have other units, and scores."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X * [1e5, 1.0, 1e-3], X @ [1.0, -2.0, 3.0] + rng.logistic(size=n)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
def test_a_rate_that_does_not_suit_the_columns_warns(loss):
    X, score = rows()
    with pytest.warns(UserWarning, match=MESSAGE + r"lr=0\.5 or the scale of the columns .* use lr='auto'"):
        fit_linear(X, score > 0, loss=loss, lr=0.5)
    fit_linear(X, score > 0, loss=loss, lr="auto")  # a warning would be an error


def test_a_rate_that_is_too_small_warns():
    X, score = rows()
    with pytest.warns(UserWarning, match=MESSAGE):
        fit_linear(X[:, 1:2], score > 3.0, lr=1e-5)


def test_numbers_whose_unit_does_not_suit_the_search_warn():
    X, score = rows()
    y = 1e9 + 1e6 * score
    with pytest.warns(UserWarning, match=MESSAGE + r"the unit of y .* use standardize_targets=True"):
        fit_linear(X, y, loss="squared", lr="auto", standardize_targets=False)
    fit_linear(X, y, loss="squared", lr="auto", standardize_targets=True)


def test_classes_warn():
    X, score = rows()
    y = np.digitize(score, [-1.0, 1.0])
    with pytest.warns(UserWarning, match=MESSAGE):
        fit_linear(X, y, lr=0.5)
    fit_linear(X * [1e-5, 1.0, 1e3], y, lr=0.5)


def test_few_rows_and_resumed_models_do_not_warn():
    X, score = rows()
    y = score > 0
    first = fit_linear(X[:900], y[:900], lr=0.5)
    fit_linear(X, y, model=first)


def test_chunks_count_once():
    """The second pass adds no rows, and rows without weight do not count."""
    X, score = rows(1800)
    weight = np.tile([1.0, 0.0], 900)
    chunks = [Chunk(X[k : k + 600], score[k : k + 600] > 0, weight[k : k + 600]) for k in range(0, 1800, 600)]
    fit_linear(chunks, lr=0.5, passes=3)  # 900 rows
    with pytest.warns(UserWarning, match=MESSAGE):
        fit_linear(chunks + chunks[:1], lr=0.5)  # 1200 rows


def baseline(y, weight, target, parts=3):
    result = ConstantBaseline()
    for part in np.array_split(np.arange(y.size), parts):
        result.add_rows(y[part], weight[part], target)
    return result


@pytest.mark.parametrize("name", ["Logistic", "Hinge", "SquaredHinge", "SmoothHinge", "ModifiedHuber"])
def test_best_constant_of_labels(name):
    rng = np.random.default_rng(1)
    y, weight, loss = np.where(rng.random(500) < 0.1, 1.0, -1.0), rng.random(500), getattr(adagrad_nb, name)()
    best, error = baseline(y, weight, BinaryLabels((-1, 1))).best_loss(loss)

    def mean(p):
        return sum(weight[y == side].sum() * loss.value(side, p) for side in (-1.0, 1.0)) / weight.sum()

    assert best == pytest.approx(min(mean(p) for p in np.linspace(-5, 5, 2001)), rel=1e-3)
    assert 0 < error < best


@pytest.mark.parametrize("name", ["Squared", "Huber", "Absolute", "EpsilonInsensitive", "Quantile", "Poisson"])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_best_constant_of_numbers(name, shift):
    rng = np.random.default_rng(2)
    y, loss = rng.gamma(2.0, size=200) + shift, getattr(adagrad_nb, name)()
    best, _ = baseline(y, np.ones(200), Numbers("real")).best_loss(loss)
    bracket = (0.0, 12.0) if name == "Poisson" else (y.min(), y.max())
    expected = minimize_scalar(lambda p: np.mean([loss.value(t, p) for t in y]), bracket, method="golden").fun
    assert best == pytest.approx(expected, rel=1e-2)


def test_the_sample_of_numbers_is_spread_over_the_rows():
    y = np.arange(10_000.0)
    best, error = baseline(y, np.ones(y.size), Numbers("real"), parts=7).best_loss(adagrad_nb.Squared())
    assert best == pytest.approx(np.var(y) / 2, rel=0.05)
    assert error == pytest.approx(np.std((y - y.mean()) ** 2 / 2) / 16, rel=0.5)


def test_best_constant_of_classes():
    y = np.repeat([0.0, 1.0, 2.0], [50, 30, 20])
    counts = baseline(y, np.ones(100), MulticlassLabels(("a", "b", "c")))
    share = np.array([0.5, 0.3, 0.2])
    assert counts.best_loss(Softmax())[0] == pytest.approx(-share @ np.log(share))
    binary = -np.sum(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert counts.best_loss(OneVsRest(Logistic()))[0] == pytest.approx(binary, rel=1e-3)


def test_one_label_and_a_loss_without_a_scale_have_no_baseline():
    assert baseline(np.ones(10), np.ones(10), BinaryLabels((-1, 1))).best_loss(Logistic()) is None
    labels = np.tile([-1.0, 1.0], 5)
    assert baseline(labels, np.ones(10), BinaryLabels((-1, 1))).best_loss(adagrad_nb.Perceptron()) is None


@pytest.mark.compiled_only("6,000 updates take 9 seconds in pure Python")
def test_data_without_a_pattern_does_not_warn():
    rng = np.random.default_rng(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(3):
            X = np.random.default_rng(seed).normal(size=(2000, 3))
            fit_linear(X, rng.random(2000) < 0.3, lr="auto")


# --- order of the rows ---------------------------------------------------------------------------------------------

SORTED = r"^fit_linear: the rows are sorted by label, which changes .* shuffle=True"


@pytest.mark.parametrize("n_labels", [2, 3])
def test_rows_sorted_by_label_warn(n_labels):
    X, score = rows()
    y = np.digitize(score, [0.0] if n_labels == 2 else [-1.0, 1.0])
    order = np.argsort(y, kind="stable")
    chunks = [Chunk(X[part], y[part]) for part in np.array_split(order, 3)]
    with pytest.warns(UserWarning, match=SORTED):
        fit_linear(chunks, classes=np.unique(y))
    fit_linear(X[order], y[order], shuffle=True, rng=0)  # a warning would be an error
    fit_linear(X[order[:900]], y[order[:900]], classes=np.unique(y))  # few rows


def test_changes_of_the_label_are_counted_across_chunks():
    baseline = ConstantBaseline()
    for y in ([-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]):
        baseline.add_rows(np.array(y), np.ones(2), BinaryLabels(0, 1))
    assert baseline.n_changes - 1 == 3
    assert baseline.counts == {-1.0: 4, 1.0: 2}
