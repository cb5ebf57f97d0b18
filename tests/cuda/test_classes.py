"""Many classes and several rates learnt from rows on a device: what the same batches give on the host."""

import numpy as np
import pytest
import scipy
from host_device import assert_same_model, copy_to_host
from linear_problems import fit_plain

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adadelta,
    Box,
    Chunk,
    ElasticNet,
    GroupL2,
    Huber,
    InverseSqrt,
    MomentumAdagrad,
    OneVsRest,
    OnlineToBatch,
    Polyak,
    Rates,
    SquaredHinge,
    fit_linear,
    to_device,
)

NAMES = np.array(["ant", "bee", "cat", "dog"])


@pytest.fixture
def case(dtype, rng):
    """Rows, some of them empty, and one of four labels; the last weights are zero."""
    X = scipy.sparse.random(11, 6, 0.35, "csr", dtype, np.random.default_rng(5))
    return X, NAMES[np.arange(11) % 4], np.r_[rng.uniform(0.5, 2.0, 8), 0, 0, 1.0]


def assert_same_outputs(device, host, dtype):
    """Compare models of several outputs, including their accumulators and caught-up weights."""
    assert_same_model(device, host, dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    for actual, expected in zip(
        (device.parameters.catch_up(), *device.state.slots[0]),
        (host.parameters.catch_up(), *host.state.slots[0]),
        strict=True,
    ):
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


OPTIONS = [
    {},
    {"penalty": L1(0.02)},
    {"penalty": ElasticNet(0.01, 0.1), "lr": InverseSqrt(0.7), "shuffle": True, "rng": 1, "passes": 2},
    {"penalty": L1(0.02), "lr": InverseSqrt(0.7), "passes": 2},
    {"penalty": L2(0.3), "rule": MomentumAdagrad()},
    {"penalty": Box(-0.2, np.linspace(0.1, 0.3, 6)), "intercept": False},
    {"loss": OneVsRest(SquaredHinge()), "rule": Adadelta()},
    {"rule": RDA(), "penalty": L1(0.01)},
    {"rule": FTRL(), "lr": InverseSqrt(0.3)},
    {"batch_size": 1, "penalty": L1(0.02)},
    {"batch_size": 11},
    {"class_weight": {"bee": 3.0}},
    {"average": Polyak(1), "penalty": L1(0.02), "passes": 2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_classes_are_the_same_as_on_the_host(options, case, dtype):
    X, y, weight = case
    options = {"sample_weight": weight, "batch_size": 4, **options}
    assert_same_outputs(fit_plain(to_device(X), y, **options), fit_plain(X, y, **options), dtype)


@pytest.mark.parametrize("loss", ["softmax", OneVsRest(SquaredHinge())], ids=str)
def test_predictions(loss, case, dtype):
    X, y, _ = case
    model = fit_linear(X, y, loss=loss, penalty=L1(0.001), batch_size=4, lr=0.5)
    for rows in (X, X[:, :4]):
        device_rows = to_device(rows)
        decisions = model.decision_function(device_rows)
        assert decisions.shape == (11, 4)
        np.testing.assert_allclose(copy_to_host(decisions), model.decision_function(rows), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(model.predict(device_rows), model.predict(rows))
        assert abs(model.mean_loss(device_rows, y) - model.mean_loss(rows, y)) < 1e-6
        if loss == "softmax":
            np.testing.assert_allclose(model.predict_proba(device_rows), model.predict_proba(rows), rtol=1e-5)
    with pytest.raises(ValueError, match=r"^X: got 7 columns; the model has 6 features"):
        model.decision_function(to_device(np.ones((1, 7), dtype)))


RATES = [
    {},
    {"penalty": L1(0.02), "batch_size": 2},
    {"lr": Rates((0.2, 0.7), InverseSqrt(1.0)), "penalty": ElasticNet(0.01, 0.1), "batch_size": 2},
    {"average": OnlineToBatch(), "lr": Rates((0.2, 0.7))},
    {"loss": Huber(0.3), "lr": Rates((0.05, 0.3, 2.0)), "rule": Adadelta()},
]


@pytest.mark.parametrize("options", RATES, ids=str)
def test_rates_are_the_same_as_on_the_host(options, case, dtype):
    X, y, weight = case
    y = np.linspace(-1.0, 1.0, 11) if "loss" in options else y > "bee"
    options = {"sample_weight": weight, "batch_size": 4, "lr": Rates((0.1, 0.4, 1.0)), **options}
    host, device = fit_plain(X, y, **options), fit_plain(to_device(X), y, **options)
    assert_same_outputs(device, host, dtype)
    assert (device.rate, device.best_index) == (host.rate, host.best_index)
    np.testing.assert_allclose(
        copy_to_host(device.decision_function(to_device(X))), host.decision_function(X), rtol=1e-5, atol=1e-6
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_rate_that_is_too_large_is_out(dtype):
    X, y = np.array([[1.0], [2.0], [-1.0], [1.5]], dtype), np.array([1.0, 2.0, -1.0, 1.5])
    options = {"loss": "squared", "batch_size": 1, "passes": 3, "lr": Rates((0.5, float(np.finfo(dtype).max) / 2))}
    host, device = fit_plain(X, y, **options), fit_plain(to_device(X), y, **options)
    assert_same_model(device, host, dtype)
    assert device.rate == 0.5
    assert device.progressive_losses[1] == np.inf


def test_resuming_in_chunks_with_new_classes_and_features(case, dtype):
    X, _, _ = case
    y = NAMES[np.r_[[3, 0, 1] * 2, np.arange(5) % 4]]
    options = {"batch_size": 4, "penalty": L1(0.01)}
    host = fit_plain([Chunk(X[:6, :4], y[:6]), Chunk(X[6:], y[6:])], **options)
    device = fit_plain([Chunk(to_device(X[:6, :4]), y[:6]), Chunk(to_device(X[6:]), y[6:])], **options)
    assert_same_outputs(device, host, dtype)
    assert_same_outputs(fit_linear(to_device(X), y, model=device), fit_linear(X, y, model=host), dtype)
    assert_same_outputs(fit_linear(to_device(X), y, model=host), fit_linear(X, y, model=device), dtype)


def _values_of(progress):
    """Return the values that must agree; one of them needs a copy of the weights."""
    return progress.progressive_loss, progress.n_nonzero


def test_callbacks_see_the_model(case, dtype):
    X, y, _ = case
    recorded = [{}, {}]
    for rows, values in zip((X, to_device(X)), recorded, strict=True):
        fit_linear(rows, y, batch_size=4, callback=lambda p, to=values: to.update({p.n_seen: _values_of(p)}), lr=0.5)
    for n in set(recorded[0]) & set(recorded[1]):
        np.testing.assert_allclose(recorded[1][n], recorded[0][n], rtol=1e-5)
    assert max(recorded[1]) == 11


def test_a_feature_of_all_rows(rng):
    X, y = np.ones((70, 1)) * rng.uniform(0.5, 1.0, (70, 1)), np.arange(70) % 3
    assert_same_outputs(
        fit_linear(to_device(X), y, batch_size=70, lr=0.5), fit_linear(X, y, batch_size=70, lr=0.5), np.float64
    )


def test_rejected_arguments(case, dtype):
    X, y, _ = case
    device_rows = to_device(X)
    model = fit_linear(X, y, batch_size=4, penalty=GroupL2(0.01), lr=0.5)
    before = model.coef
    with pytest.raises(ValueError, match=r"^penalty: got GroupL2\(.*on the host$"):
        fit_linear(device_rows, y, model=model)
    np.testing.assert_array_equal(model.coef, before)
    with pytest.raises(TypeError, match=r"^X: has dtype float.* on the device"):
        fit_linear(X.astype(np.float32 if dtype == np.float64 else np.float64), y, lr=0.5).decision_function(
            device_rows
        )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_predictions_that_are_not_finite(dtype):
    huge = np.array([[1.0], [np.finfo(dtype).max / 4], [1.0]], dtype)
    with pytest.raises(ValueError, match=r"^X: row 1 gives a prediction that is not finite"):
        fit_linear(to_device(huge), ["a", "b", "c"], batch_size=1, lr=1000.0)
