"""The progressive loss of Vowpal Wabbit, run here and now, where it is installed."""

import pathlib

import numba
import numpy as np
import pytest
import scipy.sparse as sp

from adagrad_nb import Adagrad, Quantile, fit_linear, load_svmlight, load_vw

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"
OPTIONS = "--adaptive --noconstant -l 0.5 --quiet"
# Vowpal Wabbit learns in single precision and takes inverse square roots to 12 bits.
TOLERANCE = 3e-5

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="a full data set takes minutes in pure Python")


def a9a():
    X, y = load_svmlight(DATA / "a9a.xz")
    return sp.csr_array(sp.hstack([X, np.ones((X.shape[0], 1))])), y, np.ones(y.size)


def rcv1():
    return load_vw(DATA / "rcv1_small.dat.vw.xz")


def vowpal(X, y, weight, path, *options):
    """The average loss that Vowpal Wabbit prints."""
    vowpalwabbit = pytest.importorskip("vowpalwabbit")
    with open(path, "w") as file:
        for r in range(X.shape[0]):
            row = slice(X.indptr[r], X.indptr[r + 1])
            pairs = zip(X.indices[row].tolist(), X.data[row].tolist(), strict=True)
            print(y[r], weight[r], "|f", *(f"{i}:{value!r}" for i, value in pairs), file=file)
    workspace = vowpalwabbit.Workspace(" ".join([OPTIONS, *options, "-d", str(path)]))
    loss = workspace.get_sum_loss() / workspace.get_weighted_examples()
    workspace.finish()
    return loss


@pytest.mark.parametrize("data", [a9a, rcv1])
def test_logistic(data, tmp_path):
    X, y, weight = data()
    theirs = vowpal(X, y, weight, tmp_path / "data", "--loss_function logistic")
    model = fit_linear(X, y, rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    assert model.progressive_loss == pytest.approx(theirs, rel=TOLERANCE)
    single = fit_linear(X, y, rule=Adagrad(eps=1e-30), lr=0.5, intercept=False, dtype=np.float32)
    assert single.progressive_loss == pytest.approx(theirs, rel=TOLERANCE)


def test_squared(tmp_path):
    """Theirs is the square and ours is half of it, which is one to Adagrad; theirs clips p to the range of y."""
    X, _, weight = rcv1()
    y = np.asarray(X.sum(axis=1)).ravel() - 5 + np.random.default_rng(0).normal(size=X.shape[0])
    theirs = vowpal(X, y, weight, tmp_path / "data", "--loss_function squared --min_prediction -99 --max_prediction 99")
    model = fit_linear(X, y, loss="squared", rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    assert 2 * model.progressive_loss == pytest.approx(theirs, rel=TOLERANCE)


@pytest.mark.parametrize("data", [a9a, rcv1])
def test_hinge(data, tmp_path):
    X, y, weight = data()
    theirs = vowpal(X, y, weight, tmp_path / "data", "--loss_function hinge --min_prediction -99 --max_prediction 99")
    model = fit_linear(X, y, loss="hinge", rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    assert model.progressive_loss == pytest.approx(theirs, rel=TOLERANCE)


@pytest.mark.parametrize("tau", [0.5, 0.8])
def test_quantile(tau, tmp_path):
    X, _, weight = rcv1()
    y = np.asarray(X.sum(axis=1)).ravel() - 5 + np.random.default_rng(0).normal(size=X.shape[0])
    options = f"--loss_function quantile --quantile_tau {tau} --min_prediction -99 --max_prediction 99"
    theirs = vowpal(X, y, weight, tmp_path / "data", options)
    model = fit_linear(X, y, loss=Quantile(tau), rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    assert model.progressive_loss == pytest.approx(theirs, rel=TOLERANCE)


def test_poisson(tmp_path):
    """Theirs is the deviance: twice the loss above that of a perfect prediction, with 1e-6 in the logarithm."""
    X, _, weight = rcv1()
    y = np.random.default_rng(0).poisson(np.asarray(X.sum(axis=1)).ravel() / 5).astype(float)
    options = "--loss_function poisson --min_prediction -50 --max_prediction 50"
    theirs = vowpal(X, y, weight, tmp_path / "data", options)
    model = fit_linear(X, y, loss="poisson", rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    perfect = np.mean(y - y * np.log(y + 1e-6))
    assert 2 * (model.progressive_loss - perfect) == pytest.approx(theirs, rel=TOLERANCE)


def test_weights_mean_another_thing(tmp_path):
    """Ours multiply the loss, so that G grows by their square; Vowpal Wabbit has G grow by the weight itself.

    Four everywhere is nothing to ours, and twice the rate to theirs.
    """
    X, y, _ = rcv1()
    weight = np.full(y.size, 4.0)
    theirs = vowpal(X, y, weight, tmp_path / "data", "--loss_function logistic")
    model = fit_linear(X, y, rule=Adagrad(eps=1e-30), lr=1.0, intercept=False, sample_weight=weight)
    assert model.progressive_loss == pytest.approx(theirs, rel=TOLERANCE)
