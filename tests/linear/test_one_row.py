"""Predictions and training of few rows of a wide model read and change only the features of the rows."""

import numpy as np
import pytest
import scipy.sparse as sp

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adagrad,
    Bounded,
    Box,
    ElasticNet,
    GroupL2,
    InverseSqrt,
    OnlineToBatch,
    Polyak,
    Rates,
    RateSearch,
    fit_linear,
)
from adagrad_nb.linear import model as model_module

N_FEATURES = 600
OPTIONS = {
    "plain": {"lr": 0.5},
    "l1": {"lr": 0.5, "penalty": L1(1e-3)},
    "l1 of features": {"lr": 0.5, "penalty": L1(np.linspace(0, 1e-2, N_FEATURES))},
    "l1, changing rate": {"lr": InverseSqrt(0.5), "penalty": L1(1e-3)},
    "l2, changing rate": {"lr": InverseSqrt(0.5), "penalty": L2(1e-2)},
    "elastic net": {"lr": 0.5, "penalty": ElasticNet(1e-3, 1e-2)},
    "bounds": {"lr": 0.5, "penalty": Bounded(L1(1e-3), -0.1, 0.2)},
    "box without 0": {"lr": 0.5, "penalty": Box(0.1, 0.3)},
    "dual averaging": {"lr": 0.5, "rule": RDA(), "penalty": L1(1e-3)},
    "dual averaging, changing rate": {"lr": InverseSqrt(0.5), "rule": FTRL(), "penalty": L1(1e-3)},
    "average": {"lr": 0.5, "average": Polyak(5)},
    "average of l1": {"lr": 0.5, "average": Polyak(5), "penalty": L1(1e-3)},
    "average before": {"lr": 0.5, "average": OnlineToBatch(), "penalty": L1(1e-3)},
    "average to come": {"lr": 0.5, "average": Polyak(1000), "penalty": L1(1e-3)},
    "normalized": {"lr": 0.5, "normalized": True, "penalty": L1(1e-3)},
    "invariant": {"lr": 0.5, "invariant": True, "penalty": L1(1e-3)},
    "rates": {"lr": Rates((0.1, 0.5, 2.0)), "penalty": L1(1e-3)},
    "search": {},
    "search of l1": {"penalty": L1(1e-3)},
    "search with average": {"average": Polyak(), "penalty": L1(1e-3)},
    "end of search": {"lr": RateSearch((0.1, 0.5), halve_at=(20,)), "penalty": L1(1e-3)},
    "search with batches": {"penalty": L1(1e-3), "batch_size": 7},
    "numbers": {"loss": "squared", "penalty": L1(1e-3)},
}
CLASS_OPTIONS = {
    "plain": {"lr": 0.5},
    "l1": {"lr": 0.5, "penalty": L1(1e-3)},
    "group": {"lr": 0.5, "penalty": GroupL2(1e-2)},
    "group, changing rate": {"lr": InverseSqrt(0.5), "penalty": GroupL2(1e-2)},
    "average": {"lr": 0.5, "average": Polyak(5), "penalty": L1(1e-3)},
    "search": {"penalty": L1(1e-3)},
}


def make_rows(n_classes=2, index_dtype=np.int32, dtype=np.float64, n=60):
    """Return random rows, the last ones with few entries, and labels."""
    rng = np.random.default_rng(3)
    X = sp.csr_array(sp.random_array((n, N_FEATURES), density=0.02, rng=rng, format="csr", dtype=dtype))
    X.indices, X.indptr = X.indices.astype(index_dtype), X.indptr.astype(index_dtype)
    return X, rng.integers(0, n_classes, n)


def assert_same_scores(model, X, monkeypatch):
    """Assert that the scores of a row do not depend on how many weights are read."""
    for rows in (X[:1], X[3:4], X[5:9], X[:0], sp.csr_array((2, X.shape[1]), dtype=X.dtype), X[:1, :50]):
        few = model.decision_function(rows)
        with monkeypatch.context() as patch:
            patch.setattr(model_module, "FEATURES_PER_VALUE", np.inf)
            all_features = model.decision_function(rows)
        assert few.dtype == all_features.dtype
        np.testing.assert_array_equal(few, all_features)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIONS)
def test_scores_of_few_rows_equal_those_by_all_weights(name, dtype, monkeypatch):
    X, y = make_rows(dtype=dtype, index_dtype=np.int32 if dtype == np.float32 else np.int64)
    model = fit_linear(X, y, **OPTIONS[name])
    assert_same_scores(model, X, monkeypatch)


@pytest.mark.parametrize("name", CLASS_OPTIONS)
def test_scores_of_classes_of_few_rows_equal_those_by_all_weights(name, monkeypatch):
    X, y = make_rows(5)
    assert_same_scores(fit_linear(X, y, **CLASS_OPTIONS[name]), X, monkeypatch)


def test_repeated_and_unsorted_indices_add_up(monkeypatch):
    X, y = make_rows()
    model = fit_linear(X, y, lr=0.5, rule=Adagrad(), penalty=L1(1e-3))
    row = sp.csr_array((np.array([1.0, 2.0, 0.5]), np.array([7, 3, 7]), np.array([0, 3])), shape=(1, N_FEATURES))
    assert_same_scores(model, row, monkeypatch)
    np.testing.assert_allclose(model.decision_function(row), model.coef[[7, 3, 7]] @ [1, 2, 0.5] + model.intercept)


@pytest.mark.parametrize("options", [{"lr": 0.5}, {}, {"lr": 0.5, "penalty": L1(1e-3)}])
def test_indices_out_of_range_in_a_narrow_row_are_refused(options):
    """The indices are compared with the columns of X, not with the features of the model."""
    X, y = make_rows()
    model = fit_linear(X, y, **options)
    for index in (-1, 50, N_FEATURES, 2**31 - 1):
        row = sp.csr_array((np.ones(1), np.array([0]), np.array([0, 1])), shape=(1, 50))
        row.indices[0] = index
        with pytest.raises(ValueError, match=rf"column index {index} in row 0; must be in \[0, 50\)"):
            model.decision_function(row)


def test_predictions_of_a_callback_are_those_of_the_model_at_that_time(monkeypatch):
    """The records of the kernels are kept between predictions, but not when training changes them."""
    X, y = make_rows(n=200)
    for options in OPTIONS.values():
        options = options | ({"lr": RateSearch((0.1, 0.5, 1.0), halve_at=(20, 50))} if "lr" not in options else {})
        n_calls = []

        def check(progress, n_calls=n_calls):
            n_calls.append(progress.n_seen)
            assert_same_scores(progress.model, X, monkeypatch)
            np.testing.assert_array_equal(
                progress.model.decision_function(X[:1]), progress.model.copy().decision_function(X[:1])
            )

        fit_linear(X, y, callback=check, **options)
        assert len(n_calls) > 6
