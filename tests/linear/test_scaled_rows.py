"""Normalised and invariant steps: the flows of the losses, the papers' algorithms, and what they are good for."""

import itertools
import math
import pathlib
from typing import NamedTuple

import linear_problems
import numba
import numpy as np
import pytest
import reference_linear
import scipy.sparse as sp
from linear_problems import COLUMNS, PENALTIES, RATES, assert_same_model, data, fit_plain, model_values
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adadelta,
    Adagrad,
    Bounded,
    Chunk,
    ElasticNet,
    Logistic,
    MomentumAdagrad,
    fit_linear,
    load_model,
    load_svmlight,
)
from adagrad_nb.records import losses  # fmt: skip
from adagrad_nb.records.invariant_steps import invariant_step
from adagrad_nb.records.losses import slope

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"
LOSSES = {name: kind for name, kind in losses.LOSSES.items() if kind.target_type != "multiclass"}
FLOWS = [name for name in LOSSES if hasattr(LOSSES[name], "invariant_step")]
# Where the slope of a loss with its default parameters bends or jumps, for a target y.
KINKS = {
    "logistic": lambda y: (),
    "hinge": lambda y: (y,),
    "squared_hinge": lambda y: (y,),
    "smooth_hinge": lambda y: (y, 0.0),
    "modified_huber": lambda y: (y, -y),
    "squared": lambda y: (),
    "huber": lambda y: (y - 1, y, y + 1),
    "absolute": lambda y: (y,),
    "epsilon_insensitive": lambda y: (y - 0.1, y + 0.1),
    "squared_epsilon_insensitive": lambda y: (y - 0.1, y + 0.1),
    "quantile": lambda y: (y,),
    "poisson": lambda y: (),
}
FLAGS = {
    "normalized": {"normalized": True, "invariant": False},
    "invariant": {"normalized": False, "invariant": True},
    "both": {"normalized": True, "invariant": True},
}
ADMITTED = [name for name, (penalty, _) in PENALTIES.items() if getattr(penalty, "prox_steps_add", False)]
flags = pytest.mark.parametrize("flag", FLAGS)

# --- flows -----------------------------------------------------------------------------------------------------------


def test_all_losses_but_the_perceptron_flow():
    """At its kink the perceptron takes the slope of the wrong side, or it would never begin; that leads nowhere."""
    assert set(LOSSES) - set(FLOWS) == {"perceptron"}
    assert set(KINKS) == set(FLOWS)


def targets(loss, rng):
    labels = LOSSES[loss].target_type
    return (
        rng.choice([-1.0, 1.0])
        if labels == "binary"
        else float(rng.poisson(2.0))
        if labels == "count"
        else rng.normal()
    )


@pytest.mark.parametrize("loss", FLOWS)
def test_invariant_step_solves_the_differential_equation(loss, rng):
    for _ in range(30):
        y, p, q, tau = targets(loss, rng), 2 * rng.normal(), rng.exponential(2), rng.exponential(1)
        expected = reference_linear.integrate_flow(reference_linear.LOSSES[loss][1], KINKS[loss](y), y, p, q, tau)
        assert invariant_step(LOSSES[loss](), y, p, q, tau) == pytest.approx(expected, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("loss", FLOWS)
def test_two_consecutive_invariant_steps_equal_one(loss, rng):
    """Weight 2 is the row twice: to rounding."""
    record = LOSSES[loss]()
    for _ in range(50):
        y, p, q, tau = targets(loss, rng), 3 * rng.normal(), rng.exponential(2), rng.exponential(1)
        one_leg = p + q * invariant_step(record, y, p, q, 2 * tau)
        half = p + q * invariant_step(record, y, p, q, tau)
        assert half + q * invariant_step(record, y, half, q, tau) == pytest.approx(one_leg, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("loss", FLOWS)
def test_a_short_flow_is_a_plain_step(loss, rng):
    record = LOSSES[loss]()
    for q in (1e-3, 1e-9, 1e-150):
        for _ in range(10):
            y, p = targets(loss, rng), rng.normal()
            assert invariant_step(record, y, p, q, 0.5) == pytest.approx(
                -0.5 * slope(record, y, p), rel=4 * q + 1e-14, abs=1e-30
            )


@pytest.mark.parametrize("loss", FLOWS)
def test_a_long_invariant_step_never_overshoots(loss, rng):
    """However long, it comes to the minimum over p, or towards infinity where that is, and not beyond."""
    record = LOSSES[loss]()
    for tau in (1e2, 1e6, 1e200):
        for _ in range(10):
            y, p = targets(loss, rng), rng.normal()
            end = p + 2.0 * invariant_step(record, y, p, 2.0, tau)
            assert math.isfinite(end)
            assert slope(record, y, end + 1e-9 * np.sign(p - end)) * slope(record, y, p) >= 0


def test_flow_of_logistic_is_lamberts_function(rng):
    """Karampatziakis 2011, table 1: margin + exp(margin) grows by q tau; in extended precision, from all margins."""
    for m in (-700.0, -40.0, -3.0, -1e-3, 0.0, 0.5, 4.0, 30.0):
        for c in (1e-12, 1e-3, 0.3, 2.0, 50.0, 1e4):
            step = np.longdouble(invariant_step(Logistic(), 1.0, m, 1.0, c))
            assert step > 0
            grown = step + np.exp(np.longdouble(m)) * np.expm1(step)
            error = (grown - np.longdouble(c)) / (1 + np.exp(np.longdouble(m) + step))  # of the step, by its derivative
            assert abs(error) < 5e-16 * step
            assert invariant_step(Logistic(), -1.0, -m, 1.0, c) == -float(step)
    assert invariant_step(Logistic(), 1.0, 1e4, 1.0, 1.0) == 0.0  # exp(1e4) overflows
    assert math.isnan(invariant_step(Logistic(), 1.0, math.nan, 1.0, 1.0))


def test_flow_in_single_precision():
    one = np.float32(1.0)
    for m in np.linspace(-20, 20, 81, dtype=np.float32):
        for c in (np.float32(1e-6), np.float32(0.1), np.float32(30.0)):
            exact = invariant_step(Logistic(), 1.0, float(m), 1.0, float(c))
            assert invariant_step(Logistic(), one, m, one, c) == pytest.approx(exact, rel=3e-6)


# --- the papers' algorithms ------------------------------------------------------------------------------------------


def assert_eager(flag, loss, penalty, rate, intercept, weighted, eps=1e-10, dtype=None, tolerance=1e-10):
    X, y, weight = data(loss)
    record, prox = PENALTIES[penalty]
    lr, at = RATES[rate]
    weight = weight if weighted else None
    model = fit_linear(
        X, y, loss=loss, penalty=record, lr=lr, intercept=intercept, sample_weight=weight, passes=2, dtype=dtype,
        rule=Adagrad(eps), **FLAGS[flag],
    )  # fmt: skip
    eager = reference_linear.fit_scaled(
        X.toarray(), y, loss, at, prox=prox, intercept=intercept, weight=weight, passes=2, eps=eps,
        kinks=KINKS.get(loss), **FLAGS[flag],
    )  # fmt: skip
    close = {"rtol": tolerance, "atol": tolerance}
    assert_allclose(model.coef, eager.w, **close)
    assert_allclose(model.intercept, eager.b, **close)
    assert_allclose(model.state.slots[0][0], eager.G[:COLUMNS], **close)
    assert_allclose(model.progressive_loss, reference_linear.progressive_loss(eager.losses), **close)
    assert model.state.t == eager.t
    if model.normalized:
        assert_allclose(model.parameters.scaling.max_abs, eager.Gb[:COLUMNS], **close)


@pytest.mark.usefixtures("interpreted")
@flags
@pytest.mark.parametrize("loss", LOSSES)
def test_lazy_is_eager_for_every_loss(loss, flag):
    tolerance = 1e-8 if loss in ("huber", "modified_huber") else 1e-10
    for rate, both in (("constant", True), ("inverse root", False)):
        assert_eager(flag, loss, "l1", rate, both, both, tolerance=tolerance)


@pytest.mark.usefixtures("interpreted")
@flags
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager_for_every_penalty(penalty, flag):
    if FLAGS[flag]["normalized"] and penalty not in ADMITTED:
        with pytest.raises(ValueError, match=r"^normalized: got True, but the penalty (L2|ElasticNet|Bounded) has no"):
            assert_eager(flag, "logistic", penalty, "constant", True, True)
        return
    for rate, both in itertools.product(RATES, (True, False)):
        assert_eager(flag, "logistic", penalty, rate, both, both)


@flags
@pytest.mark.parametrize(
    ("loss", "penalty", "rate"), [("logistic", "l1", "constant"), ("squared", "none", "piecewise")]
)
def test_lazy_is_eager_compiled(loss, penalty, rate, flag):
    assert_eager(flag, loss, penalty, rate, True, True)
    assert_eager(flag, loss, penalty, rate, True, True, dtype=np.float32, tolerance=2e-4)


@pytest.mark.usefixtures("interpreted")
def test_admitted_penalties():
    assert set(PENALTIES) - set(ADMITTED) == {
        "l2", "elastic net", "elastic net by feature", "bounded l2 away from zero"
    }  # fmt: skip
    assert_eager("both", "logistic", "l1", "constant", True, True, eps=0.0)
    assert_eager("both", "logistic", "l1", "constant", True, True, eps=0.3)


# --- what they are good for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["normalized", "both"])
def test_units_do_not_matter(flag):
    """Columns in other units, powers of two: the same predictions, bit for bit, and weights in these units."""
    X, y, _ = data(n=400)
    units = 2.0 ** np.random.default_rng(0).integers(-20, 20, COLUMNS)
    scaled = sp.csr_array(X @ sp.diags_array(units))
    options = {"rule": Adagrad(0.0), **FLAGS[flag]}
    unscaled_model, scaled_model = fit_plain(X, y, **options), fit_plain(scaled, y, **options)
    assert unscaled_model.progressive_loss == scaled_model.progressive_loss
    assert_array_equal(unscaled_model.coef, scaled_model.coef * units)
    plain = (
        fit_linear(X, y, rule=Adagrad(0.0), lr=0.5).progressive_loss,
        fit_linear(scaled, y, rule=Adagrad(0.0), lr=0.5).progressive_loss,
    )
    assert plain[1] > 2 * plain[0]


def test_a_tiny_first_value_does_not_throw_the_model_off():
    """Its weight is made for tiny values; an ordinary one then counts as 16 of them, not as millions."""
    rng = np.random.default_rng(0)
    X = rng.random((600, 4))
    y = X @ [4.0, -4.0, 4.0, -4.0] + 0.3 * rng.normal(size=600) > 0
    X[0] = 1e-6 * X[0]
    for options in FLAGS["normalized"], FLAGS["both"]:
        assert fit_plain(X, y, **options).progressive_loss < 0.5


def twice(X, y, k):
    """The first k rows with weight 2, and the first k rows, each two times."""
    weight = np.where(np.arange(y.size) < k, 2.0, 1.0)
    order = np.repeat(np.arange(y.size), weight.astype(int))
    return weight, X[order], y[order]


@pytest.mark.parametrize("loss", ["logistic", "squared", "hinge", "huber", "quantile"])
def test_weight_two_is_the_row_twice(loss):
    """To rounding where the accumulators stand still, closely where they grow; without invariance, it is not."""
    X, y, _ = data(loss, n=200)
    weight, doubled, targets = twice(X, y, 100)
    constant_options = {"loss": loss, "rule": Adagrad(1e9), "lr": 0.5e9}  # the rate is 1/2 for good
    exact = fit_plain(X, y, sample_weight=weight, invariant=True, **constant_options)
    assert_allclose(
        exact.coef, fit_plain(doubled, targets, invariant=True, **constant_options).coef, rtol=1e-7, atol=1e-7
    )
    plain = fit_plain(X, y, sample_weight=weight, **constant_options)
    difference = np.abs(plain.coef - fit_plain(doubled, targets, **constant_options).coef).max()
    assert (
        difference
        > 1e4 * np.abs(exact.coef - fit_plain(doubled, targets, invariant=True, **constant_options).coef).max()
    )


def test_weight_two_is_about_the_row_twice_by_adagrad():
    X, y, _ = data(n=400)
    weight, doubled, targets = twice(X, y, 200)
    for options in FLAGS["invariant"], FLAGS["both"]:
        once, two = fit_plain(X, y, sample_weight=weight, **options), fit_plain(doubled, targets, **options)
        assert np.abs(once.coef - two.coef).max() < 0.2 * np.abs(two.coef).max()


def test_large_weights_do_not_diverge_with_invariant_steps():
    """Rows of weight 1000 throw plain steps off, and not invariant ones."""
    X, y, _ = data("squared", n=400)
    weight = np.where(np.arange(400) % 50 == 0, 1000.0, 1.0)
    options = {"loss": "squared", "sample_weight": weight, "rule": Adagrad(1e9), "lr": 0.1e9}
    plain, invariant = (fit_plain(X, y, invariant=flag, **options).mean_loss(X, y) for flag in (False, True))
    assert plain > 1e4
    assert invariant < 0.2


# --- going on --------------------------------------------------------------------------------------------------------


def all_of(model):
    scaling = (
        [model.parameters.scaling.max_abs.tobytes(), model.parameters.scaling.running_sums.tolist()]
        if model.normalized
        else []
    )
    return model_values(model), scaling


@pytest.mark.usefixtures("interpreted")
@flags
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("penalty", ADMITTED)
def test_a_then_b_is_a_and_b(penalty, rate, flag, tmp_path):
    X, Y = linear_problems.X, linear_problems.Y
    weight = np.random.default_rng(0).choice([0.5, 1.0, 3.0], Y.size)
    options = {"penalty": PENALTIES[penalty][0], "lr": RATES[rate][0], **FLAGS[flag]}
    one_call = fit_plain(X, Y, sample_weight=weight, **options)
    first = fit_plain(X[:17], Y[:17], sample_weight=weight[:17], **options)
    before = all_of(first)
    assert all_of(fit_linear(X[17:], Y[17:], sample_weight=weight[17:], model=first)) == all_of(one_call)
    assert all_of(first) == before
    first.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert (loaded.normalized, loaded.invariant) == (first.normalized, first.invariant)
    assert all_of(loaded) == before
    assert all_of(fit_linear(X[17:], Y[17:], sample_weight=weight[17:], model=loaded)) == all_of(one_call)


@pytest.mark.usefixtures("interpreted")
@flags
@pytest.mark.parametrize("penalty", ["none", "l1", "box away from zero"])
def test_features_grow(penalty, flag):
    X, Y = linear_problems.X, linear_problems.Y
    order = np.argsort([np.append(np.flatnonzero(X[:, [i]].toarray()), 10**6)[0] for i in range(COLUMNS)])
    grown = sp.csr_array(X.toarray()[:, order])
    n_columns = int(grown[:5].indices.max()) + 1
    assert n_columns < COLUMNS
    options = {"penalty": PENALTIES[penalty][0], **FLAGS[flag]}
    chunks = [Chunk(grown[:5, :n_columns], Y[:5]), Chunk(grown[5:], Y[5:])]
    assert all_of(fit_plain(chunks, **options)) == all_of(fit_plain(grown, Y, **options))


@pytest.mark.usefixtures("interpreted")
def test_options_given_again():
    X, Y = linear_problems.X, linear_problems.Y
    first = fit_linear(X[:20], Y[:20], normalized=True, penalty=L1(0.02), lr=0.5)
    plain = fit_linear(X[20:], Y[20:], model=first)
    assert plain.normalized
    assert not plain.invariant
    assert_same_model(fit_linear(X[20:], Y[20:], model=first, normalized=True, invariant=False), plain)
    changed = fit_linear(X[20:], Y[20:], model=first, invariant=True)
    assert changed.invariant
    assert not first.invariant
    assert np.abs(changed.coef - plain.coef).max() > 1e-4
    stronger = fit_linear(X[:0], Y[:0], model=first, penalty=Bounded(L1(0.5), -0.1, 0.1))
    assert_array_equal(stronger.coef, first.coef)  # what L1 owed is paid, the new one acts from here on


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"normalized": 1}, TypeError, r"normalized: got 1; must be True or False"),
        ({"invariant": "yes"}, TypeError, r"invariant: got 'yes'; must be True or False"),
        ({"normalized": True, "rule": RDA()}, ValueError, r"normalized: got True, which the rule RDA .*; use Adagrad"),
        ({"invariant": True, "rule": FTRL()}, ValueError, r"invariant: got True, which the rule FTRL .*; use Adagrad"),
        ({"invariant": True, "rule": Adadelta()}, ValueError, r"invariant: got True, which the rule Adadelta"),
        ({"invariant": True, "rule": MomentumAdagrad()}, ValueError, r"invariant: got True, which the rule Momentum"),
        ({"normalized": True, "penalty": L2(1.0)}, ValueError, r"normalized: got True, but the penalty L2 has"),
        (
            {"normalized": True, "invariant": True, "penalty": ElasticNet(1.0, 1.0)}, ValueError,
            r"normalized: got True, but the penalty ElasticNet has .* use L1, Box, NonNegative or Bounded",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_rejected(options, error, message):
    with pytest.raises(error, match=f"^{message}"):
        fit_plain(linear_problems.X, linear_problems.Y, **options)


@pytest.mark.usefixtures("interpreted")
def test_rejected_on_resuming():
    X, Y = linear_problems.X, linear_problems.Y
    plain, scaled = fit_linear(X, Y, lr=0.5), fit_linear(X, Y, normalized=True, lr=0.5)
    for model, value in ((plain, True), (scaled, False)):
        with pytest.raises(ValueError, match=f"^normalized: got {value}, but the model has normalized={not value}"):
            fit_linear(X, Y, model=model, normalized=value)
    with pytest.raises(ValueError, match="^normalized: got True, but the penalty L2"):
        fit_linear(X, Y, model=scaled, penalty=L2(0.1))
    assert fit_linear(X, Y, model=plain, invariant=True, penalty=L2(0.1)).invariant


@pytest.mark.usefixtures("interpreted")
def test_a_user_loss_without_invariant_step_takes_plain_steps():
    class UserLoss(NamedTuple):
        target_type = "continuous"

        def value(self, y, p):
            return (p - y) ** 4 / 4

        def slope(self, y, p):
            return (p - y) ** 3

        def inverse_link(self, p):
            return p

    X, y, _ = data("squared")
    plain, invariant = (fit_linear(X, y, loss=UserLoss(), invariant=flag, lr=0.5) for flag in (False, True))
    assert_allclose(invariant.coef, plain.coef, rtol=1e-9)


@pytest.mark.usefixtures("interpreted")
def test_rows_of_nothing_and_stored_zeros():
    X = sp.csr_array((np.array([0.0, 1.0, 0.0]), np.array([0, 1, 0]), np.array([0, 0, 2, 3])), shape=(3, 2))
    for intercept in (True, False):
        model = fit_linear(X, np.array([1.0, -1.0, 1.0]), normalized=True, invariant=True, intercept=intercept, lr=0.5)
        assert np.isfinite(model.coef).all()
        assert model.coef[0] == 0


def test_quality_on_a9a():
    """One pass in file order at the default rate; Adagrad alone has 0.3305."""
    if numba.config.DISABLE_JIT:
        pytest.skip("a full data set takes minutes in pure Python")
    X, y = load_svmlight(DATA / "a9a.xz", n_features=123)
    test, labels = load_svmlight(DATA / "a9a.t.xz", n_features=123)
    model = fit_linear(X, y, normalized=True, invariant=True, lr=0.5)
    assert model.mean_loss(test, labels) <= 0.3250
    units = 10.0 ** np.random.default_rng(0).uniform(-3, 3, 123)
    scaled = fit_linear(sp.csr_array(X @ sp.diags_array(units)), y, normalized=True, invariant=True, lr=0.5)
    assert scaled.mean_loss(sp.csr_array(test @ sp.diags_array(units)), labels) <= 0.3250
