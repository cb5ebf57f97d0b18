"""Losses: values, slopes and inverse links, for ordinary and huge margins, and models trained with each loss."""

import functools
import inspect
import math
from typing import NamedTuple

import numpy as np
import pytest
import reference

from adagrad_nb import (
    Absolute,
    EpsilonInsensitive,
    Hinge,
    Huber,
    Logistic,
    ModifiedHuber,
    Perceptron,
    Poisson,
    Quantile,
    SmoothHinge,
    Softmax,
    Squared,
    SquaredEpsilonInsensitive,
    SquaredHinge,
    fit_linear,
    load_model,
)
from adagrad_nb.records import losses
from adagrad_nb.records.losses import LOSSES, has_probabilities, inverse_link, slope, value
from adagrad_nb.testing import check_loss

MARGINS = [0.0, 1e-300, 1e-8, 0.1, 1.0, 5.0, 36.0, 40.0, 700.0, 745.0, 800.0, 1e5, 1e300]


@pytest.mark.parametrize("p", [sign * size for size in MARGINS for sign in (1, -1)])
@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_logistic_at_every_margin(y, p):
    assert value(Logistic(), y, p) == pytest.approx(reference.logistic(y, p), rel=1e-14, abs=0)
    assert slope(Logistic(), y, p) == pytest.approx(reference.logistic_slope(y, p), rel=1e-14, abs=1e-323)
    assert inverse_link(Logistic(), p) == pytest.approx(reference.logistic_link(p), rel=1e-14, abs=1e-323)


@pytest.mark.parametrize("p", [-800.0, -3.0, 0.0, 0.5, 1e150])
@pytest.mark.parametrize("y", [-2.5, 0.0, 7.0])
def test_squared(y, p):
    assert value(Squared(), y, p) == reference.squared(y, p)
    assert slope(Squared(), y, p) == p - y
    assert inverse_link(Squared(), p) == p


# each loss with its kinks, as margins y p for binary losses and as residuals p - y for others
KINKS = [
    (Logistic(), ()),
    (Hinge(), (1.0,)),
    (SquaredHinge(), ()),
    (SmoothHinge(), ()),
    (SmoothHinge(0.25), ()),
    (ModifiedHuber(), ()),
    (Perceptron(), (0.0,)),
    (Squared(), ()),
    (Huber(), ()),
    (Huber(0.3), ()),
    (Absolute(), (0.0,)),
    (EpsilonInsensitive(), (-0.1, 0.1)),
    (EpsilonInsensitive(0.0), (0.0,)),
    (SquaredEpsilonInsensitive(0.5), ()),
    (Quantile(), (0.0,)),
    (Quantile(0.9), (0.0,)),
    (Poisson(), ()),
]
every_loss = pytest.mark.parametrize("loss", [loss for loss, _ in KINKS], ids=str)
at_kinks = pytest.mark.parametrize(("loss", "kinks"), KINKS, ids=str)
TARGETS = {"binary": (-1.0, 1.0), "continuous": (-2.5, 0.0, 0.3, 7.0), "count": (0.0, 1.0, 2.5, 40.0)}
NAMES = {cls: name for name, cls in LOSSES.items()}


def naive(loss, kind=""):
    """Return the function of the reference with the parameters of the record."""
    return functools.partial(getattr(reference, NAMES[type(loss)] + kind), **loss._asdict())


def targets_and_predictions(loss, rng, n=60):
    """Yield targets and predictions, among them predictions at and near kinks."""
    for y in TARGETS[loss.target_type]:
        special = [at * y if loss.target_type == "binary" else at + y for at in (-1.0, -0.1, 0.0, 0.1, 0.5, 1.0)]
        for p in [*special, *(5 * rng.normal(size=n)).tolist()]:
            yield y, p


def test_every_loss_is_tested():
    assert {type(loss) for loss, _ in KINKS} | {Softmax} == set(LOSSES.values())  # Softmax: test_multi_output_model
    records = {item for item in vars(losses).values() if inspect.isclass(item) and hasattr(item, "slope")}
    assert records | {Softmax} == set(LOSSES.values())


@every_loss
def test_value_and_slope_equal_the_reference(loss, rng):
    for y, p in targets_and_predictions(loss, rng):
        assert value(loss, y, p) == pytest.approx(naive(loss)(y, p), rel=1e-12, abs=1e-15)
        assert slope(loss, y, p) == pytest.approx(naive(loss, "_slope")(y, p), rel=1e-12, abs=1e-15)


@at_kinks
def test_slope_is_the_derivative_of_the_value(loss, kinks, rng):
    h = 1e-6
    n_points = 0
    for y, p in targets_and_predictions(loss, rng):
        at = y * p if loss.target_type == "binary" else p - y
        if any(abs(at - kink) < 1e-5 for kink in kinks):
            continue
        n_points += 1
        difference = (value(loss, y, p + h) - value(loss, y, p - h)) / (2 * h)
        assert slope(loss, y, p) == pytest.approx(difference, rel=1e-6, abs=1e-5)
    assert n_points > 100


@at_kinks
def test_slope_at_a_kink_lies_between_those_of_its_sides(loss, kinks):
    for y in TARGETS[loss.target_type]:
        for at in kinks:
            p = at * y if loss.target_type == "binary" else at + y
            left, right = (slope(loss, y, p + side) for side in (-1e-9, 1e-9))
            assert left < right
            assert left <= slope(loss, y, p) <= right


@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_slope_at_a_kink(y):
    """The slope is 0 for a correct prediction; for the perceptron, margin 0 is not correct."""
    assert slope(Hinge(), y, y) == 0.0
    assert slope(Perceptron(), y, 0.0) == -y
    for loss in (Absolute(), Quantile(0.9), EpsilonInsensitive(0.0), Huber()):
        assert slope(loss, y, y) == 0.0
    assert slope(EpsilonInsensitive(0.5), y, y + 0.5) == slope(EpsilonInsensitive(0.5), y, y - 0.5) == 0.0


@every_loss
def test_inverse_link_makes_p_optimal(loss, rng):
    """If the mean of y is inverse_link(p), the mean slope at p is 0."""
    if (loss.target_type == "binary" and not has_probabilities(loss)) or isinstance(loss, Quantile):
        assert inverse_link(loss, 1.5) == 1.5
        return
    for p in (rng.normal(size=20) * 3).tolist():
        mean = inverse_link(loss, p)
        if loss.target_type == "binary":
            assert 0 <= mean <= 1
            balance = mean * slope(loss, 1.0, p) + (1 - mean) * slope(loss, -1.0, p)
            if abs(p) > 1 and isinstance(loss, ModifiedHuber):
                continue  # no mean makes such a p optimal
        else:
            balance = slope(loss, mean, p)
        assert balance == pytest.approx(0.0, abs=1e-15)


def test_quantile_has_mean_slope_zero(rng):
    """Koenker 1978: the mean slope changes sign at the quantile."""
    y = np.sort(rng.normal(size=1001))
    for tau in (0.1, 0.5, 0.9):
        mean = [np.mean([slope(Quantile(tau), yi, p) for yi in y]) for p in np.quantile(y, [tau - 0.01, tau + 0.01])]
        assert mean[0] < 0 < mean[1]


def test_logistic_link_and_its_inverse(rng):
    for p in rng.normal(size=20) * 5:
        q = inverse_link(Logistic(), p)
        assert math.log(q / (1 - q)) == pytest.approx(p, rel=1e-10)
        assert inverse_link(Logistic(), -p) == pytest.approx(1 - q, rel=1e-12)


def test_modified_huber_link():
    for p in (-1e300, -1.5, -1.0, -0.3, 0.0, 0.5, 1.0, 7.0):
        assert inverse_link(ModifiedHuber(), p) == reference.modified_huber_link(p)


@every_loss
def test_slope_increases(loss):
    """The losses are convex: the slope never decreases with p."""
    for y in TARGETS[loss.target_type]:
        slopes = [slope(loss, y, p) for p in np.linspace(-50, 50, 2001).tolist()]
        assert all(a <= b for a, b in zip(slopes, slopes[1:], strict=False))
        values = [value(loss, y, p) for p in np.linspace(-50, 50, 2001).tolist()]
        if not isinstance(loss, Poisson):  # without its constant term it may be negative
            assert min(values) >= 0


@every_loss
def test_finite_for_finite_predictions(loss):
    """Only squares and exponentials of huge predictions are infinite."""
    largest = {Squared: 1e150, SquaredHinge: 1e150, SquaredEpsilonInsensitive: 1e150, Poisson: 709.0}
    for size in (1e-300, 1e3, 1e150, 1e300):
        for p in (size, -size):
            if p > largest.get(type(loss), math.inf) or (abs(p) > 1e150 and type(loss) in largest):
                continue
            for y in TARGETS[loss.target_type]:
                for function in (value(loss, y, p), slope(loss, y, p), inverse_link(loss, p)):
                    assert math.isfinite(function)


def test_poisson_overflow():
    """The result is infinite; math.exp of Python raises an error."""
    assert value(Poisson(), 1.0, 710.0) == slope(Poisson(), 1.0, 1e300) == inverse_link(Poisson(), 710.0) == math.inf
    assert inverse_link(Poisson(), 709.0) == pytest.approx(math.exp(709.0))
    assert value(Poisson(), 3.0, -1e3) == 3e3


@every_loss
def test_not_a_number_propagates(loss):
    for function in (value, slope):
        assert math.isnan(function(loss, 1.0, math.nan))
        assert math.isnan(function(loss, math.nan, 1.0))
    assert math.isnan(inverse_link(loss, math.nan))


@every_loss
def test_single_precision(loss):
    for p in np.float32([-90.0, -1.5, 0.0, 2.0, 70.0]):
        for y in np.float32(TARGETS[loss.target_type]):
            assert value(loss, y, p) == pytest.approx(value(loss, float(y), float(p)), rel=1e-5, abs=1e-6)
            assert slope(loss, y, p) == pytest.approx(slope(loss, float(y), float(p)), rel=1e-5, abs=1e-6)


@every_loss
def test_check_loss_accepts_all_losses(loss):
    check_loss(loss)


class Halved(NamedTuple):
    """A wrong loss: the slope is not the derivative of the value."""

    target_type = "continuous"

    def value(self, y, p):
        return abs(p - y)

    def slope(self, y, p):
        return 0.5 if p > y else -0.5

    def inverse_link(self, p):
        return p


def test_check_loss_finds_errors():
    class Unlikely(Logistic):
        def inverse_link(self, p):
            return p

    class Unlabelled(Squared):
        target_type = "numbers"

    with pytest.raises(AssertionError, match=r"^Halved.slope: got -0.5 at y=-1.5, p=-3.0; must be in \[-1.0"):
        check_loss(Halved())
    with pytest.raises(AssertionError, match=r"^Unlikely.inverse_link: got -3.0 at p=-3.0; must be a probability"):
        check_loss(Unlikely())
    with pytest.raises(AssertionError, match=r"^Unlabelled.target_type: got 'numbers'; must be one of binary"):
        check_loss(Unlabelled())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Huber(0.0), r"^Huber.delta: got 0.0; must be a number in \(0, inf\)"),
        (SmoothHinge(-1.0), r"^SmoothHinge.gamma: got -1.0; must be a number in \(0, inf\)"),
        (EpsilonInsensitive(-0.1), r"^EpsilonInsensitive.epsilon: got -0.1; must be a number in \[0, inf\)"),
        (SquaredEpsilonInsensitive(math.inf), r"^SquaredEpsilonInsensitive.epsilon: got inf"),
        (Quantile(1.0), r"^Quantile.tau: got 1.0; must be a number in \(0, 1\)"),
        (Quantile(math.nan), r"^Quantile.tau: got nan"),
    ],
    ids=str,
)
def test_domain(loss, message):
    with pytest.raises(ValueError, match=message):
        fit_linear(np.eye(2), [0, 1], loss=loss, lr=0.5)


# --- in a model ----------------------------------------------------------------------------------------------------


def problem(loss, rng, n=1000):
    """Return (X, y) that a linear model can learn."""
    X = rng.normal(size=(n, 4))
    score = X @ [1.0, -2.0, 0.5, 0.0] + 0.3
    if loss.target_type == "binary":
        return X, np.where(score + 0.3 * rng.normal(size=n) > 0, "up", "down")
    if loss.target_type == "count":
        return X, rng.poisson(np.exp(score / 3))
    return X, score + 0.3 * rng.normal(size=n)


@every_loss
def test_learning_beats_the_best_constant(loss, rng, dtype):
    """The progressive loss of one pass beats constant predictions; names give the same model as records."""
    X, y = problem(loss, rng)
    model = fit_linear(X, y, loss=loss, dtype=dtype, lr=0.5)
    target = np.where(y == "up", 1.0, -1.0) if loss.target_type == "binary" else y.astype(float)
    # The perceptron loss of the constant 0 is 0, so it is compared with non-zero constants.
    predictions = (-1.0, 1.0) if isinstance(loss, Perceptron) else np.linspace(-5, 5, 101).tolist()
    constants = [np.mean([value(loss, t, p) for t in target.tolist()]) for p in predictions]
    assert model.progressive_loss < min(constants) - 0.3 * abs(min(constants))
    mean = [value(loss, t, p) for t, p in zip(target.tolist(), model.decision_function(X).tolist(), strict=True)]
    assert model.mean_loss(X, y) == pytest.approx(np.mean(mean), rel=1e-6)
    assert model.coef.dtype == dtype
    if loss == type(loss)():
        assert fit_linear(X, y, loss=NAMES[type(loss)], dtype=dtype, lr=0.5).coef.tobytes() == model.coef.tobytes()


@every_loss
def test_saved_and_loaded(loss, rng, tmp_path):
    X, y = problem(loss, rng, 50)
    model = fit_linear(X[:30], y[:30], loss=loss, lr=0.5)
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.loss == model.loss
    assert type(loaded.loss) is type(loss)
    resumed = fit_linear(X[30:], y[30:], model=loaded)
    assert resumed.coef.tobytes() == fit_linear(X[30:], y[30:], model=model).coef.tobytes()
    assert resumed.loss == loss


@every_loss
def test_predictions(loss, rng):
    X, y = problem(loss, rng, 100)
    model = fit_linear(X, y, loss=loss, passes=3, lr=0.5)
    margin = model.decision_function(X)
    assert model.has_probabilities == (type(loss) in (Logistic, ModifiedHuber))
    if loss.target_type == "binary":
        assert model.predict(X).tolist() == np.where(margin > 0, "up", "down").tolist()
        assert np.mean(model.predict(X) == y) > 0.85
    else:
        expected = np.exp(margin) if loss.target_type == "count" else margin
        np.testing.assert_allclose(model.predict(X), expected, rtol=1e-12)
    if model.has_probabilities:
        probability = model.predict_proba(X)
        np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-15)
        assert (model.predict(X) == model.classes[probability.argmax(axis=1)]).all()
    else:
        reason = (
            "predicts numbers; use predict"
            if loss.target_type != "binary"
            else "has no probabilities; use decision_fun"
        )
        with pytest.raises(AttributeError, match=rf"^predict_proba: the loss {type(loss).__name__} {reason}"):
            model.predict_proba(X)


def test_counts_are_not_negative():
    with pytest.raises(ValueError, match=r"^y: got -1.0 at index 2; every entry must be in \[0, inf\)"):
        fit_linear(np.eye(3), [0.0, 2.5, -1.0], loss="poisson", lr=0.5)
    with pytest.raises(TypeError, match=r"^y: got dtype <U1; the loss takes real numbers"):
        fit_linear(np.eye(2), ["a", "b"], loss="poisson", lr=0.5)
    assert fit_linear(np.eye(3), [0, 2.5, 1], loss="poisson", lr=0.5).classes is None


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # where nothing is compiled
def test_poisson_models_are_never_nan():
    with pytest.raises(ValueError, match=r"^X: row 2 gives a gradient whose square overflows"):
        fit_linear(np.full((4, 1), 2000.0), [1.0, 5.0, 1.0, 1.0], loss="poisson", lr=0.5)


# --- comparison with scikit-learn ------------------------------------------------------------------------------------


@every_loss
def test_mean_loss_of_scikit_learn(loss, rng):
    """The mean loss equals the public metric of scikit-learn, if there is one."""
    metrics = pytest.importorskip("sklearn.metrics")
    X, y = problem(loss, rng, 200)
    model = fit_linear(X, y, loss=loss, lr=0.5)
    margin, weight = model.decision_function(X), rng.random(200)
    expected = {
        Logistic: lambda: metrics.log_loss(y, model.predict_proba(X), sample_weight=weight),
        Hinge: lambda: metrics.hinge_loss(y, margin, sample_weight=weight),
        Squared: lambda: metrics.mean_squared_error(y, margin, sample_weight=weight) / 2,
        Absolute: lambda: metrics.mean_absolute_error(y, margin, sample_weight=weight),
        Quantile: lambda: metrics.mean_pinball_loss(y, margin, sample_weight=weight, alpha=loss.tau),
    }
    if type(loss) in expected:
        assert model.mean_loss(X, y, weight) == pytest.approx(expected[type(loss)](), rel=1e-12)
    elif isinstance(loss, Poisson):  # the deviance: twice the loss above that of a perfect prediction
        perfect = np.array([t - t * math.log(t) if t else 0.0 for t in y.tolist()])
        regret = model.mean_loss(X, y, weight) - np.average(perfect, weights=weight)
        assert 2 * regret == pytest.approx(metrics.mean_poisson_deviance(y, model.predict(X), sample_weight=weight))
