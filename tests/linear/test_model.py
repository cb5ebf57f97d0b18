"""LinearModel: attributes and predictions."""

import numpy as np
import pytest
import scipy.sparse as sp
from linear_problems import COLUMNS, WEIGHT, X, Y, data, model_values
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    L1,
    LinearModel,
    fit_linear,
)

# --- what a model can do -------------------------------------------------------------------------------------------


def test_shapes_and_kinds():
    model = fit_linear(X, Y, lr=0.5)
    assert isinstance(model, LinearModel)
    assert model.coef.shape == (COLUMNS,)
    assert type(model.intercept) is float
    assert model.classes.shape == (2,)
    assert model.n_features == COLUMNS
    assert model.n_seen == model.state.t == 40
    assert model.decision_function(X).shape == model.predict(X).shape == (40,)
    assert model.predict_proba(X).shape == (40, 2)
    assert fit_linear(X, Y, intercept=False, lr=0.5).intercept == 0.0
    assert "Logistic" in repr(model)
    assert "n_seen=40" in repr(model)


def test_coef_is_a_copy():
    for penalty in (None, L1(0.02)):
        model = fit_linear(X, Y, penalty=penalty, lr=0.5)
        before = model_values(model)
        model.coef[:] = 7.0
        assert model_values(model) == before


def test_predictions():
    model = fit_linear(X, Y, penalty=L1(0.02), lr=0.5)
    score = X.toarray() @ model.coef + model.intercept
    assert_allclose(model.decision_function(X), score, rtol=1e-12, atol=1e-14)
    assert_array_equal(model.predict(X), np.where(score > 0, 1.0, -1.0))
    assert len(set(model.predict(X).tolist())) == 2
    probability = model.predict_proba(X)
    assert_allclose(probability[:, 1], 1 / (1 + np.exp(-score)), rtol=1e-12)
    assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-15)
    assert_allclose(model.mean_loss(X, Y, WEIGHT), np.average(np.logaddexp(0, -Y * score), weights=WEIGHT), rtol=1e-12)


def test_predictions_of_numbers():
    X, y, _ = data("squared")
    model = fit_linear(X, y, loss="squared", lr=0.5)
    assert model.classes is None
    assert_array_equal(model.predict(X), model.decision_function(X))
    assert_allclose(model.mean_loss(X, y), np.mean((model.predict(X) - y) ** 2) / 2, rtol=1e-12)
    with pytest.raises(AttributeError, match=r"^predict_proba: the loss Squared predicts numbers; use predict"):
        model.predict_proba(X)


def test_columns_of_predictions():
    model = fit_linear(X, Y, lr=0.5)
    padded = np.hstack([X[:, :4].toarray(), np.zeros((40, 5))])
    assert_array_equal(model.decision_function(X[:, :4]), model.decision_function(padded))
    assert_array_equal(model.decision_function(np.zeros((2, 0))), [model.intercept] * 2)
    assert model.decision_function(X[:0]).shape == (0,)
    with pytest.raises(ValueError, match=r"^X: got 10 columns; the model has 9 features. Drop .* X\[:, :9\]"):
        model.predict(sp.csr_array((3, 10)))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # where nothing is compiled
@pytest.mark.parametrize("method", ["decision_function", "predict", "predict_proba"])
def test_invalid_rows_to_predict(method):
    predict = getattr(fit_linear(X, Y, lr=0.5), method)
    for value in (np.nan, np.inf):
        bad = X[:5].toarray()
        bad[3, 2] = value
        with pytest.raises(ValueError, match=rf"^X: got {value} in row 3, column 2; must be finite"):
            predict(bad)
    with pytest.raises(ValueError, match=r"^X: got shape \(9,\); must have two dimensions"):
        predict(np.zeros(9))
    with pytest.raises(TypeError, match=r"^X: got dtype complex128; must be real numbers"):
        predict(np.zeros((1, 9), complex))
    with pytest.raises(ValueError, match=r"^X: row 0 gives a prediction that is not finite"):
        predict(np.full((1, 9), 1e308))


def test_mean_loss_checks_its_arguments():
    model = fit_linear(X, Y, lr=0.5)
    with pytest.raises(ValueError, match=r"^sample_weight: got -1"):
        model.mean_loss(X, Y, -np.ones(40))
    with pytest.raises(ValueError, match=r"^y: got shape \(3,\)"):
        model.mean_loss(X, Y[:3])


@pytest.mark.parametrize("lr", ["auto", 0.5])
@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (
            "logistic",
            "softmax",
            "loss: got Softmax, a loss for several classes, but the model has Logistic, a loss for",
        ),
        ("softmax", "squared", "loss: got Squared, a loss for numbers, but the model has Softmax, a loss for several"),
        ("squared", "logistic", "loss: got Logistic, a loss for two labels, but the model has Squared, a loss for num"),
        ("squared", "poisson", "loss: got Poisson, a loss for counts, but the model has Squared, a loss for numbers"),
        ("poisson", "softmax", "loss: got Softmax, a loss for several classes, but the model has Poisson, a loss for"),
    ],
)
def test_a_model_continues_with_targets_of_the_same_kind(first, then, message, lr):
    X, y = np.eye(3), [0, 1, 1]
    model = fit_linear(X, y, loss=first, lr=lr)
    with pytest.raises(ValueError, match=rf"^{message}"):
        fit_linear(X, y, loss=then, model=model)
