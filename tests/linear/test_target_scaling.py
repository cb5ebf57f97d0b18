"""Standardised targets: any unit and mean of y, with the same result as standardising y by hand."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from linear_problems import fit_plain
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    Absolute,
    Adagrad,
    Chunk,
    EarlyStopping,
    EpsilonInsensitive,
    Huber,
    InverseSqrt,
    Polyak,
    Quantile,
    Rates,
    RateSearch,
    Squared,
    fit_linear,
    load_model,
    merge,
)
from adagrad_nb.linear.target_scaling import TargetScaling

OPTIONS = {"loss": "squared", "lr": 0.1, "standardize_targets": True}


def problem(n=300, mean=2e5, scale=5e4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6)) * (rng.random((n, 6)) < 0.6)
    y = X @ [1.0, -0.5, 0.0, 0.2, 0.0, 0.3] + 0.2 * rng.normal(size=n)
    return sp.csr_array(X), mean + scale * y


def r2(model, X, y):
    return 1 - np.mean((model.predict(X) - y) ** 2) / np.var(y)


def assert_same_model(a, b):
    for name in ("coef", "intercept", "progressive_loss", "n_seen"):
        assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert_array_equal(a.target_scaling.values, b.target_scaling.values)


# --- the estimates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "power"), [(Absolute(), 1), (Squared(), 2)])
def test_offset_and_scale(loss, power):
    """The first target, and the deviations from the running mean, in plain Python."""
    _, y = problem(70)
    weight = np.random.default_rng(1).integers(1, 4, 70).astype(float)
    scaling = TargetScaling(loss, True)
    scaling.set_offset(y[0])
    total = total_weight = deviation = 0.0
    for k in range(70):
        if k:
            deviation += weight[k] * abs(y[k] - y[0] - total / total_weight) ** power
        total, total_weight = total + weight[k] * (y[k] - y[0]), total_weight + weight[k]
    for part in np.array_split(np.arange(70), 9):
        scaling.add_rows(y[part] - scaling.offset, weight[part])
    scaling.update_scale()
    assert scaling.offset == y[0]
    assert_allclose(scaling.scale, (deviation / total_weight) ** (1 / power), rtol=1e-12)
    assert_allclose(scaling.scale, np.std(y) if power == 2 else np.mean(np.abs(y - y.mean())), rtol=0.15)


def test_steps_are_those_of_standardised_targets():
    """Once the scale is constant: the weights of training on (y - a) / s with the same learning rate, times s."""
    X, y = problem(64)
    model = fit_plain(X, y, **OPTIONS)
    later = fit_linear(X[:60], y[:60], model=model)
    a, s = later.target_scaling.offset, later.target_scaling.scale
    assert s == fit_linear(X[:10], y[:10], model=model).target_scaling.scale  # estimated before row 64
    # The state of the model in units of s; without eps it has no unit of its own.
    plain = fit_plain(X, y, rule=Adagrad(0.0), **OPTIONS)
    by_hand = fit_linear(X[:1], y[:1], loss="squared", lr=0.1, rule=Adagrad(0.0)).copy()
    by_hand.parameters.weights[:] = plain.coef / s
    by_hand.parameters.bias[:] = (plain.intercept - a) / s
    by_hand.parameters.state.slots[0][0][:] = plain.state.slots[0][0] / s**2
    by_hand.parameters.bias_state.slots[0][0][:] = plain.bias_state.slots[0][0] / s**2
    expected = fit_linear(X[:60], (y[:60] - a) / s, model=by_hand)
    actual = fit_linear(X[:60], y[:60], model=plain)
    assert_allclose(actual.coef, expected.coef * s, rtol=1e-9)
    assert_allclose(actual.intercept, a + expected.intercept * s, rtol=1e-9)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("loss", ["squared", "squared_epsilon_insensitive", "absolute", Quantile(0.5), "huber"])
def test_any_unit_and_mean(loss, unit):
    X, y = problem(600)
    y = y * unit
    if loss == "huber":
        loss = Huber(1e4 * unit)
    elif loss == "squared_epsilon_insensitive" and unit < 1:
        pytest.skip("its epsilon is 0.1 in the unit of y")
    model = fit_plain(X, y, passes=10, **OPTIONS | {"loss": loss})
    assert r2(model, X, y) > 0.92
    assert fit_linear(X, y, passes=10, loss=loss, lr=0.1).progressive_loss > 1.5 * model.progressive_loss or unit < 1e-3
    if loss == "squared":
        expected = fit_plain(X, y / unit, passes=10, **OPTIONS).progressive_loss
        assert_allclose(model.progressive_loss / unit**2, expected)


def test_without_an_intercept():
    X, y = problem(600, mean=0.0)
    model = fit_plain(X, y, passes=10, intercept=False, **OPTIONS)
    assert (model.intercept, model.target_scaling.offset) == (0.0, 0.0)
    assert r2(model, X, y) > 0.9
    X, y = problem(600, mean=2e5)
    model = fit_plain(X, y, intercept=False, **OPTIONS)
    values = model.target_scaling.values
    assert_allclose(np.sqrt(values[5] / values[4]), np.sqrt(np.mean(y**2)))  # deviations from 0


@pytest.mark.parametrize("target", [0.0, -7.5, 3e8])
def test_equal_targets(target):
    X, _ = problem(50)
    model = fit_plain(X, np.full(50, target), passes=3, **OPTIONS)
    assert not model.coef.any()
    assert_array_equal(model.predict(X), target)
    assert_allclose(model.progressive_loss, target**2 / 2 / 50)


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared", EpsilonInsensitive(1e4), Quantile(0.3)])
def test_the_progressive_loss_is_honest(loss):
    """The mean loss of the predictions by the models before each row, in the units of y; the first one is 0."""
    X, y = problem(60)
    options = OPTIONS | {"loss": loss}
    total, model = 0.0, None
    for k in range(60):
        row = slice(k, k + 1)
        score = np.zeros(1) if model is None else model.predict(X[row])
        before = fit_plain(X[row], y[row], **options) if model is None else model
        total += before.loss_of_scores(y[row], score)
        model = fit_linear(X[row], y[row], model=model, **options)
    assert_allclose(model.progressive_loss, total / 60, rtol=1e-9)


@pytest.mark.compiled_only("160,000 updates take a minute in pure Python")
def test_penalties_are_in_the_units_of_y():
    """The optimum of half the mean square plus the penalty does not depend on how it is found."""
    X, y = problem(200)
    for penalty, l1, l2 in ((L1(2e3), 2e3, 0.0), (L2(0.1), 0.0, 0.1)):
        model = fit_plain(X, y, passes=400, penalty=penalty, **OPTIONS | {"lr": InverseSqrt(0.1, 1e-3)})
        A, r = X.toarray(), model.predict(X) - y
        slope = A.T @ r / 200 + l2 * model.coef
        large = np.abs(model.coef) > 500
        assert_allclose(slope[large], -l1 * np.sign(model.coef[large]), atol=300)
        assert np.all(np.abs(slope) < l1 + 300)
        assert 4 <= large.sum() < 6


# --- training goes on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"penalty": L1(300.0)},
        {"penalty": L1(300.0), "lr": InverseSqrt(0.2, 1e-2)},
        {"penalty": L1(300.0), "average": Polyak(10)},
        {"average": Polyak()},
        {"lr": RateSearch()},
        {"lr": RateSearch(), "penalty": L1(300.0), "average": Polyak()},
        {"rule": FTRL(), "penalty": None},
        {"normalized": True, "invariant": True},
        {"loss": "absolute", "intercept": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_parts_are_one_call(options, dtype, tmp_path):
    X, y = problem(101)
    X = X.astype(dtype)
    weight = np.random.default_rng(2).integers(0, 3, 101).astype(float)
    options = OPTIONS | options
    whole = fit_plain(X, y, sample_weight=weight, **options)
    for size in (1, 7, 32):
        model = None
        for k in range(0, 101, size):
            rows = slice(k, k + size)
            model = fit_plain(X[rows], y[rows], sample_weight=weight[rows], model=model, **options)
            if k % 3 == 0:
                model = pickle.loads(pickle.dumps(model))
            elif k % 3 == 1:
                model.save(tmp_path / "model.npz")
                model = load_model(tmp_path / "model.npz")
        assert_same_model(model, whole)
    chunks = [Chunk(X[k : k + 9], y[k : k + 9], weight[k : k + 9]) for k in range(0, 101, 9)]
    assert_same_model(fit_plain(chunks, **options), whole)


def test_a_callback_that_stops():
    X, y = problem(100)

    def stop(progress):
        if progress.n_seen >= 16:
            raise StopIteration

    first = fit_plain(X, y, callback=stop, **OPTIONS)
    assert 16 <= first.n_seen < 100
    assert_same_model(fit_linear(X[first.n_seen :], y[first.n_seen :], model=first), fit_plain(X, y, **OPTIONS))


def test_batches_and_threads():
    X, y = problem(600)
    for options in ({"batch_size": 16}, {"threads": 2}, {"batch_size": 16, "lr": Rates()}):
        assert r2(fit_plain(X, y, passes=10, **OPTIONS | options), X, y) > 0.9
    assert fit_plain(X, y, batch_size=16, **OPTIONS).parameters.t == 600 // 16 + 1


def test_early_stopping():
    X, y = problem(400)
    model = fit_plain(X, y, passes=100, early_stopping=EarlyStopping(n_iter_no_change=3), rng=0, **OPTIONS)
    assert 4 < len(model.pass_losses) < 60
    assert model.pass_losses[0] < np.var(y)
    assert r2(model, X, y) > 0.9
    for unit in (1e-6, 1e6):  # the tolerance has no unit
        scaled = fit_plain(X, unit * y, passes=100, early_stopping=EarlyStopping(n_iter_no_change=3), rng=0, **OPTIONS)
        assert_allclose(np.array(scaled.pass_losses) / unit**2, model.pass_losses, rtol=1e-3)


def test_predictions(tmp_path):
    X, y = problem(200)
    model = fit_plain(X, y, passes=5, **OPTIONS)
    expected = X @ model.coef + model.intercept
    for one in (model, pickle.loads(pickle.dumps(model)), model.copy()):
        assert_allclose(one.predict(X), expected, rtol=1e-12)
        assert_allclose(one.mean_loss(X, y), np.mean((expected - y) ** 2) / 2, rtol=1e-9)
    model.save(tmp_path / "model.npz")
    assert_array_equal(load_model(tmp_path / "model.npz").predict(X), model.predict(X))
    assert load_model(tmp_path / "model.npz").standardize_targets


# --- errors ----------------------------------------------------------------------------------------------------------


class Residual(Huber):
    """A loss of the user."""

    is_residual = True


def test_which_losses_can_be_standardised():
    X, y = problem(300)
    model = fit_plain(X, y, **OPTIONS | {"loss": Residual(1e4)})
    assert_array_equal(model.coef, fit_plain(X, y, **OPTIONS | {"loss": Huber(1e4)}).coef)
    for loss in ("logistic", "poisson"):
        with pytest.raises(ValueError, match=r"^standardize_targets: got True, which the loss \w+ does not support"):
            fit_linear(X, y > 2e5, loss=loss, standardize_targets=True, lr=0.5)
    model = fit_plain(X, y, **OPTIONS)
    with pytest.raises(ValueError, match=r"^standardize_targets: got False, but the model has standardize_targets=Tr"):
        fit_linear(X, y, model=model, standardize_targets=False)
    with pytest.raises(ValueError, match=r"^standardize_targets: got True, but the model has standardize_targets=Fa"):
        fit_linear(X, y, model=fit_linear(X, y, loss="squared", lr=0.5), standardize_targets=True)
    with pytest.raises(TypeError, match=r"^standardize_targets: got 1; must be True or False"):
        fit_linear(X, y, loss="squared", standardize_targets=1, lr=0.5)
    with pytest.raises(ValueError, match=r"^models: got standardize_targets=True at index 0"):
        merge([model, model])


def test_files_that_do_not_fit(tmp_path):
    X, y = problem(300)
    model = fit_plain(X, y, **OPTIONS)
    for k, value in ((7, -1.0), (2, 3.0), (0, np.nan)):
        broken = model.copy()
        broken.target_scaling.values[k] = value
        with pytest.raises(ValueError, match=r"^targets: has the entry"):
            broken.save(tmp_path / "model.npz")
