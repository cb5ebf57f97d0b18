"""`fit_linear` without options on few rows, one class, constant and duplicated columns, and any units."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import Chunk, fit_linear

N, COEF = 600, np.array([1.0, -2.0, 0.5, 3.0])
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4))
Z = X @ COEF + 0.3 * RNG.normal(size=N)
Y = np.where(Z > 0, 1, -1)


def r2(model, rows, y):
    return 1 - np.mean((model.predict(rows) - y) ** 2) / np.var(y)


def accuracy(model, rows=X, y=Y):
    return np.mean(model.predict(rows) == y)


# --- few rows ----------------------------------------------------------------------------------------------------


def test_one_row():
    model = fit_linear(X[:1], Y[:1])
    assert model.progressive_loss == np.log(2)
    assert model.predict(X[:1]) == Y[:1]
    assert 0.5 < model.predict_proba(X[:1]).max() < 1
    model = fit_linear(X[:1], Z[:1], loss="squared")
    assert model.progressive_loss == Z[0] ** 2 / 2
    assert_allclose(model.predict(X[:3]), Z[0])


def test_few_rows():
    for n, loss, own in ((10, 0.85, 0.9), (100, 0.45, 0.9), (600, 0.25, 0.95)):
        model = fit_linear(X[:n], Y[:n])
        assert model.progressive_loss < loss
        assert accuracy(model, X[:n], Y[:n]) >= own
    for n, own in ((10, 0.4), (100, 0.95), (600, 0.98)):
        assert r2(fit_linear(X[:n], Z[:n], loss="squared"), X[:n], Z[:n]) > own


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_no_rows_and_then_some(loss):
    y = Y if loss == "logistic" else Z
    model = fit_linear(X[:0], y[:0], loss=loss)
    assert np.isnan(model.progressive_loss)
    assert not model.coef.any()
    assert_array_equal(model.decision_function(X), np.zeros(N))
    assert_array_equal(fit_linear(X, y, model=model).coef, fit_linear(X, y, loss=loss).coef)


# --- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [-1, 1])
@pytest.mark.parametrize("classes", [None, [-1, 1]], ids=["not given", "given"])
def test_one_class_so_far(label, classes):
    rows = Y == label
    model = fit_linear(X[rows], Y[rows], classes=classes)
    assert model.progressive_loss < 0.1
    assert np.all(model.predict(X[rows]) == label)
    both = fit_linear(X, Y, model=model)
    assert accuracy(both) > 0.95
    order = np.r_[np.flatnonzero(rows), np.arange(N)]
    assert_array_equal(both.coef, fit_linear(X[order], Y[order]).coef)


def test_rows_of_zeros():
    labels = np.where(RNG.random(N) < 0.2, 1, -1)
    model = fit_linear(np.zeros((N, 3)), labels)
    assert not model.coef.any()
    assert abs(model.predict_proba(np.zeros((1, 3)))[0, 1] - np.mean(labels == 1)) < 0.05
    numbers = fit_linear(np.zeros((N, 3)), Z + 5, loss="squared")
    assert abs(numbers.predict(np.zeros((1, 3)))[0] - np.mean(Z + 5)) < 0.3
    some = X * (RNG.random(N) < 0.5)[:, None]
    rows = some.any(axis=1)
    assert accuracy(fit_linear(some, Y), some[rows], Y[rows]) > 0.95


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_heavy_rows(loss):
    y = Y if loss == "logistic" else Z
    model = fit_linear(X, y, loss=loss, sample_weight=np.full(N, 1e6))
    assert accuracy(model) > 0.95 if loss == "logistic" else r2(model, X, Z) > 0.95
    one = fit_linear(X, y, loss=loss, sample_weight=np.where(np.arange(N) == N // 2, 1e6, 1.0))
    assert np.isfinite(one.coef).all()
    assert one.mean_loss(X[N // 2 : N // 2 + 1], y[N // 2 : N // 2 + 1]) < 0.2
    unused = fit_linear(X, y, loss=loss, sample_weight=np.zeros(N))
    assert np.isnan(unused.progressive_loss)
    assert not unused.coef.any()


# --- columns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_columns_of_any_kind(loss):
    y = Y if loss == "logistic" else Z
    loss_of_x = fit_linear(X, y, loss=loss).progressive_loss
    twice = fit_linear(np.hstack([X, X]), y, loss=loss)
    assert_allclose(twice.coef[:4], twice.coef[4:])
    units = 10.0 ** np.array([-6, 6, 3, -3])
    tables = {
        "duplicated": (np.hstack([X, X]), 1.25),
        "constant": (np.hstack([X, np.full((N, 1), 1e6), np.full((N, 1), 1e-6)]), 1.4),
        "units": (X * units, 1 + 1e-6),
        "sparse": (sp.csr_array(X), 1 + 1e-12),
        "float32": (X.astype(np.float32), 1 + 1e-4),
        "integers": (np.rint(X * 1000).astype(np.int64), 1.01),
    }
    for name, (rows, factor) in tables.items():
        model = fit_linear(rows, y, loss=loss)
        assert loss_of_x / factor < model.progressive_loss < loss_of_x * factor, name
        assert model.is_searching
        assert model.dtype == (np.float32 if name == "float32" else np.float64)


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_a_feature_that_occurs_later(loss):
    y = Y if loss == "logistic" else Z
    late = X.copy()
    late[:300, 3] = 0
    chunks = [Chunk(X[:300, :3], y[:300]), Chunk(X[300:], y[300:])]
    model = fit_linear(chunks, loss=loss)
    assert abs(model.coef[3]) > 0.5 * abs(model.coef[1])
    assert_array_equal(model.coef, fit_linear(sp.csr_array(late), y, loss=loss).coef)


# --- targets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_numbers_of_any_unit_and_mean(unit, offset, columns):
    """Also where the mean is 10^12 standard deviations, which leaves four digits of the residuals."""
    y = unit * Z + offset
    model = fit_linear(columns * X, y, loss="squared")
    assert model.standardize_targets
    assert r2(model, columns * X, y) > 0.98
    assert_allclose(model.coef * columns / unit, COEF, atol=0.15)


@pytest.mark.parametrize(
    "loss", ["huber", "absolute", "epsilon_insensitive", "squared_epsilon_insensitive", "quantile"]
)
def test_other_losses_of_the_residual(loss):
    model = fit_linear(X, Z + 1e6, loss=loss)
    assert (model.standardize_targets, model.is_searching) == (True, True)
    assert r2(model, X, Z + 1e6) > 0.95


def test_equal_numbers():
    model = fit_linear(X, np.full(N, 7.0), loss="squared")
    assert_array_equal(model.predict(X), np.full(N, 7.0))


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1e19), (np.float64, 1e154)])
def test_infinite_losses_are_an_error(dtype, scale):
    """A search leaves out rates that diverge.  If all do, it has learnt nothing."""
    X = np.random.default_rng(0).normal(size=(60, 4))
    y = scale * (X @ [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match="^X: the losses of all learning rates are infinite"):
        fit_linear(X.astype(dtype), y, loss="squared")
