"""Linear models that learn from rows on a device: what the same batches give on the host."""

import numpy as np
import pytest
import scipy
from host_device import assert_same_model, copy_to_host
from linear_problems import fit_plain

from adagrad_nb import (
    L1,
    Adadelta,
    Box,
    Chunk,
    ElasticNet,
    Huber,
    InverseSqrt,
    OnlineToBatch,
    Polyak,
    fit_linear,
    to_device,
)


@pytest.fixture
def case(dtype, rng):
    """Rows, some of them empty, and labels; the last weights are zero."""
    X = scipy.sparse.random(23, 8, 0.35, "csr", dtype, np.random.default_rng(5))
    y = np.asarray(X @ rng.normal(size=8)).ravel() > 0
    return X, y, np.r_[rng.uniform(0.5, 2.0, 20), 0, 0, 1.0]


OPTIONS = [
    {},
    {"penalty": L1(0.02)},
    {"penalty": ElasticNet(0.01, 0.1), "lr": InverseSqrt(0.7), "shuffle": True, "rng": 1, "passes": 2},
    {"penalty": L1(0.02), "lr": InverseSqrt(0.7), "passes": 2},
    {"penalty": Box(-0.2, 0.3), "intercept": False},
    {"loss": "hinge", "passes": 2},
    {"loss": "squared", "rule": Adadelta()},
    {"loss": Huber(0.3)},
    {"loss": "squared", "standardize_targets": True, "passes": 2, "batch_size": 2},
    {"batch_size": 1},
    {"batch_size": 23},
    {"average": Polyak(2), "penalty": L1(0.02), "passes": 2},
    {"average": OnlineToBatch(), "lr": InverseSqrt(0.7), "penalty": ElasticNet(0.01, 0.1)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_same_as_on_the_host(options, case, dtype):
    X, y, weight = case
    y = y.astype(float) if options.get("loss") in ("squared", Huber(0.3)) else y
    options = {"sample_weight": weight, "batch_size": 5, **options}
    host = fit_plain(X, y, **options)
    device = fit_plain(to_device(X), y, **options)
    assert_same_model(device, host, dtype)
    device_rows = to_device(X)
    np.testing.assert_allclose(
        copy_to_host(device.decision_function(device_rows)), device.decision_function(X), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        device.predict(device_rows).astype(float), device.predict(X).astype(float), rtol=1e-5, atol=1e-6
    )
    assert abs(device.mean_loss(device_rows, y) - device.mean_loss(X, y)) < 1e-6


def test_resuming_in_chunks(case, dtype):
    X, y, _ = case
    host = fit_linear(X[:10], y[:10], batch_size=4, penalty=L1(0.01), lr=0.5)
    device = fit_linear([Chunk(to_device(X[:10]), y[:10])], batch_size=4, penalty=L1(0.01), lr=0.5)
    assert_same_model(device, host, dtype)
    assert_same_model(
        fit_linear(to_device(X[10:]), y[10:], model=device), fit_linear(X[10:], y[10:], model=host), dtype
    )


def test_callbacks_see_the_model(case, dtype):
    X, y, _ = case
    recorded = [[], []]
    for rows, losses in zip((X, to_device(X)), recorded, strict=True):
        fit_linear(
            rows, y, batch_size=2, callback=lambda p, to=losses: to.append((p.n_seen, p.progressive_loss)), lr=0.5
        )
    values = [dict(losses) for losses in recorded]
    for n in set(values[0]) & set(values[1]):
        np.testing.assert_allclose(values[1][n], values[0][n], rtol=1e-5)
    assert max(values[1]) == 23


def test_the_same_bits_twice(case):
    X, y, _ = case
    coefs = [fit_linear(to_device(X), y, batch_size=7, lr=0.5).coef for _ in range(2)]
    np.testing.assert_array_equal(*coefs)


def test_columns_listed_twice_in_a_row(dtype):
    X = scipy.sparse.csr_matrix((np.array([1, 2, 3, 4], dtype), [2, 0, 2, 1], [0, 3, 4]), (2, 3))
    assert_same_model(
        fit_linear(to_device(X), [0, 1], batch_size=2, lr=0.5), fit_linear(X, [0, 1], batch_size=2, lr=0.5), dtype
    )


def test_rejected_arguments(case, dtype):
    X, y, _ = case
    other = np.float64 if dtype == np.float32 else np.float32
    with pytest.raises(TypeError, match=r"^X: has dtype float.* on the device"):
        fit_linear(to_device(X), y, batch_size=2, dtype=other, lr=0.5)
    with pytest.raises(ValueError, match=r"^X: rows on a device cannot be selected"):
        fit_linear(to_device(X), y, batch_size=2, early_stopping=True, lr=0.5)
    for option in ("normalized", "invariant"):
        with pytest.raises(ValueError, match=rf"^{option}: got True, which makes one update for each row"):
            fit_linear(to_device(X), y, lr=0.5, **{option: True})
    bad = X.copy()
    bad.data[3] = np.inf
    with pytest.raises(ValueError, match=r"^X: .*row"):
        to_device(bad)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_predictions_that_are_not_finite(dtype):
    huge = np.array([[1.0], [np.finfo(dtype).max / 4], [1.0]], dtype)
    with pytest.raises(ValueError, match=r"^X: row 1 gives a prediction that is not finite"):
        fit_linear(to_device(huge), [0, 1, 0], batch_size=1, lr=1000.0)
