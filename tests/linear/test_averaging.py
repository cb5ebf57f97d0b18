"""The mean of the iterates of a linear model: what a sum over every iterate of every weight gives."""

import itertools

import numpy as np
import pytest
import reference_linear
import scipy.sparse as sp
from linear_problems import COLUMNS, PENALTIES, RATES, WEIGHT, X, Y, data, fit_plain, model_values
from numpy.testing import assert_allclose

from adagrad_nb import EMA, L1, L2, Chunk, InverseSqrt, NoPenalty, OnlineToBatch, Polyak, Rates, fit_linear, load_model


def iterates(X, y, loss, at, prox, weight, passes, start=None):
    """The state after each update."""
    means, now = [], start
    for _, r in itertools.product(range(passes), range(len(y))):
        if weight[r]:
            now = reference_linear.fit(X[[r]], y[[r]], loss, at, prox=prox, weight=weight[[r]], start=now)
            means.append(now)
    return means


def assert_mean(penalty, loss, rate, start, dtype=None, tolerance=1e-12, kind=Polyak):
    X, y, weight = data(loss)
    record, prox = PENALTIES[penalty]
    lr, at = RATES[rate]
    options = {"loss": loss, "penalty": record, "lr": lr, "sample_weight": weight, "passes": 2, "dtype": dtype}
    model = fit_plain(X, y, average=kind(start), **options)
    states = iterates(X.toarray(), y, loss, at, prox, weight, 2)
    averaged = states[start:] or states[-1:]
    if kind is OnlineToBatch:
        zero = states[0]._replace(w=np.zeros(COLUMNS), b=0.0)
        averaged = [zero, *states][start : len(states)] or states[-1:]
    close = {"rtol": tolerance, "atol": tolerance}
    assert_allclose(model.coef, np.mean([state.w for state in averaged], axis=0), **close)
    assert_allclose(model.intercept, np.mean([state.b for state in averaged]), **close)
    assert_allclose(model.decision_function(X), X @ model.coef + model.intercept, rtol=10 * tolerance, atol=tolerance)
    # The learning is that of the iterate.
    plain = fit_plain(X, y, average=None, **options)
    iterate = fit_linear(X[:0], y[:0], model=model, average=False)
    if rate == "constant":
        assert model_values(iterate) == model_values(plain)
        assert model.progressive_loss == plain.progressive_loss
    else:  # without averages, missed steps at a changing rate may be taken at once
        assert_allclose(iterate.coef, plain.coef, **close)
        assert_allclose(model.progressive_loss, plain.progressive_loss, **close)
    if start < len(states) - 1:
        assert np.abs(model.coef - plain.coef).max() > 1e-3


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_mean_is_that_of_all_iterates(penalty, rate):
    for loss, start in itertools.product(("logistic", "squared"), (0, 1, 17, 10**6)):
        assert_mean(penalty, loss, rate, start)
    for start in (0, 1, 17, 10**6):
        assert_mean(penalty, "logistic", rate, start, kind=OnlineToBatch)


@pytest.mark.parametrize(
    ("penalty", "rate"), [("none", "constant"), ("elastic net", "constant"), ("box by feature", "piecewise")]
)
def test_mean_is_that_of_all_iterates_compiled(penalty, rate, dtype):
    for start in (0, 11):
        for kind in (Polyak, OnlineToBatch):
            assert_mean(penalty, "logistic", rate, start, dtype, 1e-12 if dtype == np.float64 else 3e-5, kind)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("average", [Polyak(9), OnlineToBatch(9)])
def test_resuming_changes_no_bit(penalty, rate, average, tmp_path):
    options = {"penalty": PENALTIES[penalty][0], "lr": RATES[rate][0], "average": average}
    one_call = fit_plain(X, Y, **options)
    for split in (5, 17):
        first = fit_plain(X[:split], Y[:split], **options)
        before = model_values(first)
        first.save(tmp_path / "model")
        loaded = load_model(tmp_path / "model")
        assert model_values(loaded) == before
        assert (type(loaded.average), loaded.average) == (type(average), average)
        for model in (first, loaded):
            assert model_values(fit_linear(X[split:], Y[split:], model=model)) == model_values(one_call)
            assert model_values(fit_linear(X[split:], Y[split:], model=model, **options)) == model_values(one_call)
        assert model_values(first) == before
    assert model_values(fit_plain([Chunk(X[:9], Y[:9]), Chunk(X[9:], Y[9:])], **options)) == model_values(one_call)


@pytest.mark.usefixtures("interpreted")
def test_late_features_count_from_the_start():
    order = np.argsort([np.append(np.flatnonzero(X[:, [i]].toarray()), 10**6)[0] for i in range(COLUMNS)])
    grown = sp.csr_array(X.toarray()[:, order])
    n_columns = int(grown[:5].indices.max()) + 1
    assert n_columns < COLUMNS
    for penalty, rate in itertools.product(["none", "l2", "box away from zero"], ["constant", "inverse root"]):
        options = {"penalty": PENALTIES[penalty][0], "lr": RATES[rate][0], "average": Polyak(2)}
        chunks = [Chunk(grown[:5, :n_columns], Y[:5]), Chunk(grown[5:], Y[5:])]
        assert model_values(fit_plain(chunks, **options)) == model_values(fit_plain(grown, Y, **options))


@pytest.mark.usefixtures("interpreted")
def test_the_average_changes_between_calls():
    """`OnlineToBatch` begins with the weights of the model, and the two averages differ though their fields do not."""
    for penalty, rate in itertools.product(["l1", "l2", "box away from zero"], ["constant", "inverse root"]):
        (record, prox), (lr, at) = PENALTIES[penalty], RATES[rate]
        model = fit_linear(X[:15], Y[:15], penalty=record, lr=lr, average=Polyak())
        model = fit_linear(X[15:], Y[15:], model=model, average=OnlineToBatch())
        states = iterates(X.toarray(), Y, "logistic", at, prox, np.ones(40), 1)
        assert_allclose(model.coef, np.mean([state.w for state in states[14:39]], axis=0), rtol=1e-12, atol=1e-13)
        assert_allclose(model.intercept, np.mean([state.b for state in states[14:39]]), rtol=1e-12)
        later = fit_linear(X[:15], Y[:15], penalty=record, lr=lr)
        later = fit_linear(X[15:], Y[15:], model=later, average=OnlineToBatch(20))
        assert_allclose(later.coef, np.mean([state.w for state in states[19:39]], axis=0), rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("interpreted")
def test_the_mean_of_several_outputs_before_their_updates():
    """The mean of classes and of learning rates: that of the models after each row but the last, and of zeros."""
    y = np.arange(40) % 3
    for options in ({"y": y}, {"y": Y, "lr": Rates((0.2, 0.7))}, {"y": Y, "batch_size": 3}):
        options = dict(options)
        y, size = options.pop("y"), options.get("batch_size", 1)
        model = fit_plain(X, y, average=OnlineToBatch(), penalty=L1(0.01), **options)
        weights, biases = [np.zeros_like(model.coef)], [np.zeros_like(model.intercept)]
        part, best = None, {"lr": Rates((model.rate,))} if "lr" in options else {}
        for start in range(0, 40 - size if size == 1 else 39, size):
            chunk = slice(start, start + size)
            part = fit_linear(
                X[chunk], y[chunk], model=part, classes=np.unique(y), penalty=L1(0.01), **({"lr": 0.5} | options | best)
            )  # fmt: skip
            weights.append(part.coef)
            biases.append(part.intercept)
        assert_allclose(model.coef, np.mean(weights, axis=0), rtol=1e-12, atol=1e-13)
        assert_allclose(model.intercept, np.mean(biases, axis=0), rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("interpreted")
def test_averaging_started_and_options_changed_between_calls():
    """Iterates count from where averaging was asked for; those of an earlier penalty keep what it made of them."""
    dense, ones = X.toarray(), np.ones(40)
    parts = [(L1(0.02), 0.5), (L2(0.3), InverseSqrt(0.7, 0.3)), (NoPenalty(), 0.2)]
    proxes = [PENALTIES["l1"][1], PENALTIES["l2"][1], None]
    rates = [lambda t: 0.5, RATES["inverse root"][1], lambda t: 0.2]
    model, now, means = None, None, []
    for number, ((penalty, lr), prox, at) in enumerate(zip(parts, proxes, rates, strict=True)):
        average = Polyak(3) if number else None
        model = fit_linear(X, Y, penalty=penalty, lr=lr, model=model, average=average)
        states = iterates(dense, Y, "logistic", at, prox, ones, 1, now)
        now = states[-1]
        means += states if number else []
    assert_allclose(model.coef, np.mean([state.w for state in means], axis=0), rtol=1e-12, atol=1e-13)
    assert_allclose(model.intercept, np.mean([state.b for state in means]), rtol=1e-12)
    ended = fit_linear(X[:0], Y[:0], model=model, average=False)
    assert_allclose(ended.coef, now.w, rtol=1e-12, atol=1e-13)
    resumed = fit_linear(X[:7], Y[:7], model=ended, average=Polyak())
    states = iterates(dense[:7], Y[:7], "logistic", rates[2], None, ones, 1, now)
    assert_allclose(resumed.coef, np.mean([state.w for state in states], axis=0), rtol=1e-12, atol=1e-13)


@pytest.mark.compiled_only("8,000 updates take 10 seconds in pure Python")
def test_a_mean_is_steadier_than_the_last_iterate():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(4000, 20))
    w = rng.normal(size=20)
    y = A @ w + 3 * rng.normal(size=4000)
    distances = [
        np.linalg.norm(fit_linear(A, y, loss="squared", average=a, lr=0.5).coef - w) for a in (None, Polyak(1000))
    ]
    assert distances[1] < 0.7 * distances[0]


def test_rows_of_weight_zero_are_no_updates():
    is_used = WEIGHT > 0
    model = fit_linear(X, Y, sample_weight=WEIGHT, average=Polyak(4), lr=0.5)
    assert (
        model_values(model)["coef"]
        == model_values(fit_linear(X[is_used], Y[is_used], sample_weight=WEIGHT[is_used], average=Polyak(4), lr=0.5))[
            "coef"
        ]
    )


@pytest.mark.parametrize(
    ("average", "error", "message"),
    [
        (EMA(), ValueError, r"^average: got EMA\(.*supports Polyak\(start\) and OnlineToBatch"),
        (Polyak, TypeError, "^average: got the class Polyak; pass an instance"),
        (True, TypeError, "^average: got True; must be a record such as"),
        (Polyak(-1), ValueError, r"^Polyak.start: got -1"),
    ],
)
def test_averages_that_are_rejected(average, error, message):
    with pytest.raises(error, match=message):
        fit_linear(X, Y, average=average, lr=0.5)
