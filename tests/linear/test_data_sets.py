"""Real data: the losses, accuracies and areas that are promised, from the files that are shipped."""

import pathlib

import numpy as np
import pytest
import scipy.sparse as sp

from adagrad_nb import L1, Adagrad, fit_linear, load_svmlight, load_vw, read_svmlight
from adagrad_nb.metrics import auc
from adagrad_nb.records.losses import LOSSES

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"
pytestmark = pytest.mark.compiled_only("a full data set takes minutes in pure Python")


@pytest.fixture(scope="module")
def a9a():
    """(X, y, X_test, y_test)."""
    return *load_svmlight(DATA / "a9a.xz"), *load_svmlight(DATA / "a9a.t.xz", n_features=123)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a9a(a9a, dtype):
    """One pass with the defaults.  The batch optimum (scikit-learn, C=1e4) has a test log-loss of 0.3261."""
    X, y, X_test, y_test = a9a
    model = fit_linear(X, y, dtype=dtype, lr=0.5)
    assert model.mean_loss(X_test, y_test) < 0.331
    assert auc(y_test > 0, model.decision_function(X_test)) > 0.898
    assert np.mean(model.predict(X_test) == y_test) > 0.847
    assert model.progressive_loss == pytest.approx(0.3409, abs=2e-4)


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].target_type != "multiclass"])
def test_every_loss_learns_a9a(a9a, name):
    """Incomes, or for numbers and counts the age (the fifth, 0 to 4): in one pass better than any constant."""
    X, y, X_test, y_test = a9a
    loss = LOSSES[name]()
    if loss.target_type != "binary":  # the first five columns are indicators of the age
        (X, y), (X_test, y_test) = ((part[:, 5:], part[:, :5] @ np.arange(5.0)) for part in (X, X_test))
    model = fit_linear(X, y, loss=name, lr=0.5)
    levels = (-1.0, 1.0) if name == "perceptron" else np.linspace(-1, 4, 101)  # silent, it loses nothing
    constant = min(model.loss_of_scores(y_test[::10], np.full(y_test[::10].size, level)) for level in levels)
    assert model.mean_loss(X_test, y_test) < constant - 0.15 * abs(constant)
    assert model.progressive_loss < constant - 0.15 * abs(constant)
    assert auc(y_test > np.mean(y), model.decision_function(X_test)) > 0.75


def test_a9a_from_the_file(a9a):
    """Chunk by chunk, the same bits."""
    X, y, _, _ = a9a
    file = read_svmlight(DATA / "a9a.xz", chunk_bytes=200_000)
    model, from_arrays = fit_linear(file, penalty=L1(1e-4), lr=0.5), fit_linear(X, y, penalty=L1(1e-4), lr=0.5)
    assert model.coef.tobytes() == from_arrays.coef.tobytes()
    assert model.progressive_loss == from_arrays.progressive_loss
    assert 20 < np.count_nonzero(model.coef) < 123


def test_progressive_loss_of_vowpal_wabbit(a9a):
    """``vw --adaptive --noconstant -l 0.5 --loss_function logistic``, version 9.11.9, prints 0.340944."""
    X, y, _, _ = a9a
    X = sp.csr_array(sp.hstack([X, np.ones((X.shape[0], 1))]))
    model = fit_linear(X, y, rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    assert model.progressive_loss == pytest.approx(0.340944, abs=5e-6)
    intercept = fit_linear(X[:, :-1], y, rule=Adagrad(eps=1e-30), lr=0.5)  # is one more column of ones
    assert intercept.progressive_loss == pytest.approx(model.progressive_loss, rel=1e-10)


def test_rcv1():
    """The same of a sample of news texts: 0.365044."""
    X, y, weight = load_vw(DATA / "rcv1_small.dat.vw.xz")
    model = fit_linear(X, y, sample_weight=weight, rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    assert model.progressive_loss == pytest.approx(0.365044, abs=5e-6)
    X_test, y_test, _ = load_vw(DATA / "rcv1_small_test.data.vw.xz", n_features=X.shape[1])
    assert np.mean(model.predict(X_test) == y_test) > 0.85


def test_agaricus():
    """Edible or not is learnt without a mistake in one pass, if the rows, which are sorted by species, are shuffled."""
    X, y = load_svmlight(DATA / "agaricus.txt.train.xz", n_features=126)
    X_test, y_test = load_svmlight(DATA / "agaricus.txt.test.xz", n_features=126)
    for seed in range(3):
        model = fit_linear(X, y, shuffle=True, rng=seed, lr=0.5)
        assert np.mean(model.predict(X_test) == y_test) > 0.998
        assert model.mean_loss(X_test, y_test) < 0.01
