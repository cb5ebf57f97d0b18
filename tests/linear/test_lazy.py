"""Lazy updates: the same weights as a learner that applies every penalty step to every weight."""

import itertools
import math
import pickle
from typing import NamedTuple

import numpy as np
import pytest
import reference_linear
import scipy.sparse as sp
from linear_problems import (
    COLUMNS,
    COMPILED,
    LOSSES,
    PENALTIES,
    RATES,
    X,
    Y,
    assert_same_model,
    data,
    fit_plain,
    of_elastic,
    of_l2,
    split_rows,
)
from numpy.testing import assert_allclose
from reference import l1_prox

from adagrad_nb import (
    L1,
    L2,
    Adagrad,
    Bounded,
    Box,
    Constant,
    ElasticNet,
    Exponential,
    InverseSqrt,
    Piecewise,
    Polyak,
    Rates,
    WarmUp,
    fit_linear,
    load_model,
)
from adagrad_nb.linear.kernels import lazy

# --- lazy is eager -------------------------------------------------------------------------------------------------


def assert_eager(penalty, loss, rate, intercept, weighted, rule=None, dtype=None, tolerance=1e-12):
    """fit_linear gives what the slow eager learner gives."""
    X, y, weight = data(loss)
    record, prox = PENALTIES[penalty]
    lr, at = RATES[rate]
    weight = weight if weighted else None
    rule = {} if rule is None else rule
    model = fit_linear(
        X, y, loss=loss, penalty=record, lr=lr, intercept=intercept, sample_weight=weight, passes=2, dtype=dtype,
        rule=Adagrad(**rule),
    )  # fmt: skip
    settings = {"G0" if name == "initial_accumulator" else name: value for name, value in rule.items()}
    eager = reference_linear.fit(
        X.toarray(), y, loss, at, prox=prox, intercept=intercept, weight=weight, passes=2, **settings
    )
    close = {"rtol": tolerance, "atol": tolerance}
    assert_allclose(model.coef, eager.w, **close)
    assert_allclose(model.intercept, eager.b, **close)
    assert_allclose(model.state.slots[0][0], eager.G, **close)
    assert_allclose(model.bias_state.slots[0][0], [eager.Gb], **close)
    assert_allclose(model.progressive_loss, reference_linear.progressive_loss(eager.losses), **close)
    assert model.state.t == eager.t
    if prox is not None:  # and it is the penalty that is being tested
        unpenalized = reference_linear.fit(
            X.toarray(), y, loss, at, intercept=intercept, weight=weight, passes=2, **settings
        )
        assert np.abs(model.coef - unpenalized.w).max() > 1e-3


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager(penalty, loss, rate):
    for intercept, weighted in itertools.product((True, False), repeat=2):
        assert_eager(penalty, loss, rate, intercept, weighted)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager_for_every_loss(penalty, loss):
    for rate in ("constant", "piecewise"):
        assert_eager(penalty, loss, rate, True, True)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    "rule",
    [{"eps": 0.0}, {"eps": 0.1}, {"eps": 0.1, "inside": True}, {"initial_accumulator": 0.2}],
    ids=["no eps", "eps", "eps inside", "accumulator"],
)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager_for_other_settings_of_the_rule(penalty, rule):
    for rate in ("constant", "inverse root"):
        assert_eager(penalty, "logistic", rate, True, True, rule)


@pytest.mark.parametrize(("penalty", "loss", "rate"), COMPILED)
def test_lazy_is_eager_compiled(penalty, loss, rate):
    for intercept, weighted in itertools.product((True, False), repeat=2):
        assert_eager(penalty, loss, rate, intercept, weighted)


@pytest.mark.parametrize(("penalty", "loss", "rate"), [COMPILED[0], COMPILED[1], COMPILED[3]])
def test_lazy_is_eager_in_single_precision(penalty, loss, rate):
    assert_eager(penalty, loss, rate, True, True, dtype=np.float32, tolerance=3e-5)


@pytest.mark.usefixtures("interpreted")
def test_long_absence_in_closed_form():
    """20,000 rows pass a coordinate over: the closed form of L2 against the power it stands for."""
    n = 20_000
    X = sp.csr_array((np.ones(2), ([0, 1], [0, 1])), shape=(n, 2))
    y = np.where(np.arange(n) % 2 == 1, 1.0, -1.0)
    model = fit_linear(X, y, penalty=L2(1e-4), lr=0.5)
    # Feature 0: slope 1/2 at the first row, so that w = -lr sign and the width is lr / (1/2 + eps) = 1.
    assert_allclose(model.coef[0], -0.5 * (1 + 1e-4) ** -n, rtol=1e-6)


N_ROWS, N_ABSENT = 3000, 20


def rows_without(n=N_ROWS, n_absent=N_ABSENT):
    """Return rows of which only the first one has the features 1, …, n_absent; all have feature 0."""
    indices = np.append(np.arange(n_absent + 1), np.zeros(n - 1, int))
    indptr = np.append(0, n_absent + 1 + np.arange(n))
    return sp.csr_array((np.ones(indices.size), indices, indptr), shape=(n, n_absent + 1))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("penalty", [L1(1e-5), Bounded(L1(1e-5), -1.0, 1.0), Box(-0.2, 0.2)])
def test_a_changing_rate_is_not_evaluated_for_each_missed_update(penalty):
    """For additive penalties the work does not grow with the number of updates that a feature missed."""
    n_calls = 0

    class CountedDecay(NamedTuple):
        """A schedule that counts its evaluations."""

        lr: float

        def at(self, t):
            nonlocal n_calls
            n_calls += 1
            return self.lr / (1.0 + t) ** 0.5

    X = rows_without()
    model = fit_linear(X, np.where(np.arange(N_ROWS) % 2, 1, -1), penalty=penalty, lr=CountedDecay(0.5))
    assert np.isfinite(model.coef).all()
    assert n_calls < 4 * N_ROWS  # one by one there are N_ABSENT + 1 times as many


@pytest.mark.usefixtures("interpreted")
def test_missed_updates_end_when_a_weight_no_longer_moves():
    """L1 has no closed form with averages; its steps end at zero."""
    n_calls = 0

    class CountedDecay(NamedTuple):
        """A schedule that counts its evaluations."""

        lr: float

        def at(self, t):
            nonlocal n_calls
            n_calls += 1
            return self.lr / (1.0 + t) ** 0.5

    X, y = rows_without(), np.where(np.arange(N_ROWS) % 2, 1, -1)
    model = fit_linear(X, y, penalty=L1(0.1), lr=CountedDecay(0.5), average=Polyak())
    assert model.coef[1] != 0
    assert n_calls < 4 * N_ROWS


@pytest.mark.usefixtures("interpreted")
def test_tiny_steps_are_not_the_end_of_missed_updates():
    """A rate that is nearly zero moves no weight, but the rates after it do."""
    X, y = rows_without(100, 1), np.where(np.arange(100) % 2, 1, -1)
    schedule = Piecewise((1, 50), (0.5, 1e-30, 0.5))
    for penalty, prox in (
        (L2(0.1), lambda i, x, w: x / (1 + 0.1 * w)),
        (L1(0.01), lambda i, x, w: l1_prox(x, w, 0.01)),
    ):
        for average in (False, Polyak()):
            model = fit_linear(X, y, penalty=penalty, lr=schedule, average=average)
            eager = reference_linear.fit(X.toarray(), y, "logistic", schedule.at, prox=prox)
            iterate = fit_linear(X[:0], y[:0], model=model, average=False)
            assert_allclose(iterate.coef, eager.w, rtol=1e-13)


POWER_PENALTIES = {
    "l2": (L2(1e-4), of_l2(1e-4)),
    "strong l2": (L2(0.3), of_l2(0.3)),
    "elastic net": (ElasticNet(1e-4, 1e-3), of_elastic(1e-4, 1e-3)),
    "elastic net without l2": (ElasticNet(1e-4, 0.0), of_elastic(1e-4, 0.0)),
}


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rate", ["inverse root", "piecewise"])
@pytest.mark.parametrize("penalty", POWER_PENALTIES)
def test_power_sums_of_few_updates(penalty, rate, monkeypatch):
    """A window of 4 updates has seven levels in 300 updates; chunks and options differ in what they need of each."""
    monkeypatch.setattr(lazy, "WINDOW", 4)
    monkeypatch.setattr(lazy, "_FEW_STEPS", 1)
    monkeypatch.setattr(lazy, "_MORE_STEPS", 3)
    (record, prox), (lr, at) = POWER_PENALTIES[penalty], RATES[rate]
    rng = np.random.default_rng(4)
    A = rng.normal(size=(300, COLUMNS)) * (rng.random((300, COLUMNS)) < 0.4 ** np.arange(COLUMNS))
    y = np.where(A.sum(axis=1) + rng.normal(size=300) > 0, 1.0, -1.0)
    eager = reference_linear.fit(A, y, "logistic", at, prox=prox)
    options = {"penalty": record, "lr": lr}
    whole = fit_plain(A, y, **options)
    assert isinstance(whole.parameters.spec().lazy, lazy.PowerSums)
    assert len(whole.parameters.spec().lazy.bases) == 8
    assert_allclose(whole.coef, eager.w, rtol=1e-12, atol=1e-14)
    for size in (1, 3, 64):
        parts = None
        for start in range(0, 300, size):
            parts = fit_linear(A[start : start + size], y[start : start + size], model=parts, **options)
            if start % 5 == 0:
                parts.coef  # grows the table, and changes no bit
        assert_same_model(parts, whole)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("lr", [InverseSqrt(0.5, 0.1), Exponential(0.5, 0.9999), WarmUp(5000, Constant(0.3))])
@pytest.mark.parametrize("strength", [1e-7, 1e-5, 1e-3, 0.1])
def test_a_long_absence_of_l2_at_a_changing_rate(lr, dtype, strength):
    """The series against the exact product: within a few ulps of the weight before the absence."""
    n = 20_000
    X, y = rows_without(n, 3), np.where(np.arange(n) % 2, 1, -1)
    model = fit_linear(X, y, penalty=L2(strength), lr=lr, dtype=dtype, intercept=False)
    first = fit_linear(X[:1], y[:1], lr=lr, dtype=np.float64, intercept=False)  # without a penalty
    u = strength / (np.sqrt(first.state.slots[0][0][1]) + 1e-10)
    log = math.fsum(math.log1p(lr.at(t) * u) for t in range(n))
    error = abs(model.coef[1] - first.coef[1] * math.exp(-log)) / abs(first.coef[1])
    # Steps that are taken one by one add half an ulp each.
    assert error < (1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.usefixtures("interpreted")
def test_l2_at_a_changing_rate_is_not_evaluated_for_each_missed_update():
    n_calls = 0

    class CountedDecay(NamedTuple):
        """A schedule that counts its evaluations."""

        lr: float

        def at(self, t):
            nonlocal n_calls
            n_calls += 1
            return self.lr / (1.0 + t) ** 0.5

    X = rows_without()
    for penalty in (L2(1e-5), ElasticNet(1e-5, 1e-5)):
        n_calls = 0
        model = fit_linear(X, np.where(np.arange(N_ROWS) % 2, 1, -1), penalty=penalty, lr=CountedDecay(0.5))
        assert np.isfinite(model.coef).all()
        assert n_calls < 4 * N_ROWS


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("lr", [InverseSqrt(0.5, 0.1), Exponential(0.5, 0.999)])
def test_a_long_absence_at_a_changing_rate_has_a_few_ulps(lr, dtype):
    """The summed steps against the exact sum; the running sum of the rates is rounded at each update."""
    X, y = rows_without(20_000, 3), np.where(np.arange(20_000) % 2, 1, -1)
    penalty = L1(1e-6)
    model = fit_linear(X, y, penalty=penalty, lr=lr, dtype=dtype, intercept=False)
    first = fit_linear(X[:1], y[:1], lr=lr, dtype=np.float64, intercept=False)  # without a penalty
    step_size = 1.0 / (np.sqrt(first.state.slots[0][0][1]) + 1e-10)
    rates = math.fsum(lr.at(t) for t in range(20_000))
    expected = math.copysign(max(abs(first.coef[1]) - step_size * 1e-6 * rates, 0.0), first.coef[1])
    assert expected != 0
    # Each of the steps one by one would be off by about as much.
    error = abs(model.coef[1] - expected) / (np.finfo(dtype).eps * abs(first.coef[1]))
    assert error < 4


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 3}, {"invariant": True}, {"lr": Rates((0.2, 0.7), InverseSqrt(1.0))}]
)
@pytest.mark.parametrize("penalty", [L1(0.01), Bounded(L1(0.01), -0.3, 0.4), L2(1e-4), ElasticNet(0.01, 1e-4)])
def test_resuming_at_a_changing_rate_changes_no_bit(penalty, options, tmp_path, dtype):
    options = {"penalty": penalty, "lr": InverseSqrt(0.5, 0.2), "dtype": dtype} | options
    whole = fit_plain(X, Y, **options)
    parts = fit_plain(X[:9], Y[:9], **options)
    for a, b in ((9, 21), (21, 40)):
        parts.save(tmp_path / "model.npz")
        parts.coef
        parts = fit_linear(X[a:b], Y[a:b], model=load_model(tmp_path / "model.npz"))
    parts = pickle.loads(pickle.dumps(parts))
    assert_same_model(whole, parts)
    assert_same_model(fit_plain(split_rows(X, Y, 9, 21), **options), whole)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    "changed", [{"lr": 0.3}, {"lr": Exponential(0.4, 0.9)}, {"average": Polyak()}, {"penalty": L2(0.1)}]
)
def test_other_options_of_a_model_at_a_changing_rate(changed):
    """The missed updates are those of the old options; the new options start with the next update."""
    options = {"penalty": L1(0.02), "lr": InverseSqrt(0.7, 0.3)}
    first = fit_plain(X[:20], Y[:20], **options)
    back = fit_linear(X[20:30], Y[20:30], model=first, **changed)
    last = fit_linear(X[30:], Y[30:], model=back, average=False, **options)
    at = RATES["inverse root"][1]
    dense, l1, l2 = X.toarray(), PENALTIES["l1"][1], of_l2(0.1)
    other = changed["lr"].at if isinstance(changed.get("lr"), Exponential) else (lambda t: changed.get("lr", at(t)))
    eager = reference_linear.fit(dense[:20], Y[:20], "logistic", at, prox=l1)
    eager = reference_linear.fit(
        dense[20:30], Y[20:30], "logistic", other, prox=l2 if "penalty" in changed else l1, start=eager
    )
    eager = reference_linear.fit(dense[30:], Y[30:], "logistic", at, prox=l1, start=eager)
    assert_allclose(last.coef, eager.w, rtol=1e-12, atol=1e-13)
    assert_allclose(fit_linear(X[:0], Y[:0], model=first).coef, first.coef, rtol=0)


@pytest.mark.usefixtures("interpreted")
def test_user_penalty():
    """A record with a proximal step and nothing else is lazy too: k steps are taken one by one."""

    class PullTowardConstant(NamedTuple):
        """Half a squared distance."""

        target: float

        def value(self, x, i):
            return (x - self.target) * (x - self.target) / 2

        def prox(self, x, w, i):
            return (x + w * self.target) / (1 + w)

    penalty, loss, at = PullTowardConstant(0.2), "logistic", RATES["constant"][1]
    model = fit_linear(X, Y, penalty=penalty, lr=0.5)
    eager = reference_linear.fit(X.toarray(), Y, loss, at, prox=lambda i, x, w: (x + w * 0.2) / (1 + w))
    assert_allclose(model.coef, eager.w, rtol=1e-12)
    assert model.coef[7] == pytest.approx(0.2)
