"""Group penalties: proximal steps against the reference and by minimisation, k steps, and training of models."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import reference
import reference_multi_output
from linear_problems import fit_plain
from multi_output_problems import CLASSES, COLUMNS, ROWS, data, model_values
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

from adagrad_nb import (
    FTRL,
    L1,
    RDA,
    Adagrad,
    GroupL2,
    GroupLinf,
    InverseSqrt,
    Logistic,
    OneVsRest,
    OnlineToBatch,
    Polyak,
    Rates,
    fit_linear,
    load_model,
)
from adagrad_nb.records.group_penalties import OneThread

KINDS = {
    "l2": (GroupL2, reference_multi_output.group_l2_prox, np.linalg.norm),
    "linf": (GroupLinf, reference_multi_output.group_linf_prox, lambda z: np.abs(z).max()),
}
RNG = np.random.default_rng(20110705)


def cases(count=60):
    """Yield (x, step sizes, strength): 1 to 11 outputs, some step sizes equal or zero, strong and weak penalties."""
    for number in range(count):
        n = RNG.integers(1, 12)
        x = RNG.normal(size=n) * 10.0 ** RNG.integers(-3, 3)
        w = np.full(n, 0.3) if number % 5 == 0 else RNG.uniform(0.05, 3.0, n)
        if number % 4 == 1:
            w[0] = x[0] = 0.0
        yield x, w, float(np.linalg.norm(x) * RNG.choice([0.01, 0.3, 1.0, 4.0]))


def stepped(record, x, w, k=1):
    z = x.copy()
    record.group_prox(z, w, k, 0)
    return z


@pytest.mark.parametrize("kind", KINDS)
def test_step_equals_the_reference(kind):
    cls, prox, _ = KINDS[kind]
    for x, w, strength in cases():
        assert_allclose(stepped(cls(strength), x, w), prox(x, w, strength), rtol=1e-12, atol=1e-14)


def test_search_for_the_level_ends_when_rounding_stops_it():
    """Each iteration has two sums; with 40 weights some searches took 41 iterations."""

    class CountedThread(NamedTuple):
        sums: list

        first_entry, entry_stride = OneThread.first_entry, OneThread.entry_stride
        max_over_threads = OneThread.max_over_threads

        def sum_over_threads(self, value):
            self.sums.append(value)
            return value

    for seed in range(40):
        rng, sums = np.random.default_rng(seed), []
        x, w = rng.normal(size=40), 0.5 / np.abs(rng.normal(size=40))
        GroupLinf(2.0).group_prox_step(x, w, 0, CountedThread(sums))
        assert len(sums) <= 20


@pytest.mark.parametrize("kind", KINDS)
def test_step_is_the_minimiser(kind):
    """SciPy finds no smaller value, from the result or from other starts."""
    cls, _, norm = KINDS[kind]
    for x, w, strength in cases(16):
        is_penalized = w > 0

        def objective(z, x=x, w=w, is_penalized=is_penalized, strength=strength):
            all_values = np.zeros_like(x)
            all_values[is_penalized] = z
            return strength * norm(all_values) + np.sum(
                (all_values[is_penalized] - x[is_penalized]) ** 2 / (2 * w[is_penalized])
            )

        z = stepped(cls(strength), x, w)
        minimum = objective(z[is_penalized])
        assert cls(strength).group_value(z, 0) == pytest.approx(strength * norm(z))
        for start in (z[is_penalized], x[is_penalized], np.zeros(is_penalized.sum())):
            found = minimize(objective, start, method="Powell", options={"maxiter": 2000, "xtol": 1e-10, "ftol": 1e-12})
            assert found.fun >= minimum * (1 - 1e-9) - 1e-12
        for _ in range(50):
            assert objective(
                z[is_penalized] + RNG.normal(size=is_penalized.sum()) * 1e-4 * np.abs(x).max()
            ) >= minimum - 1e-15 * abs(minimum)


@pytest.mark.parametrize("kind", KINDS)
def test_k_steps(kind):
    cls, prox, _ = KINDS[kind]
    for x, w, strength in cases(30):
        strength /= 10
        expected = x
        for k in range(1, 8):
            expected = prox(expected, w, strength)
            assert_allclose(stepped(cls(strength), x, w, k), expected, rtol=1e-10, atol=1e-13)
        assert_array_equal(stepped(cls(strength), x, w, 0), x)
        assert_array_equal(stepped(cls(0.0), x, w, 9), x)
        if not x[w == 0].any():
            assert_array_equal(stepped(cls(strength), x, w, 100_000), np.zeros_like(x))


@pytest.mark.parametrize("kind", KINDS)
def test_in_single_precision(kind):
    cls, prox, _ = KINDS[kind]
    for x, w, strength in cases():
        z = stepped(cls(np.float32(strength)), x.astype(np.float32), w.astype(np.float32))
        assert z.dtype == np.float32
        assert_allclose(z, prox(x, w, strength), rtol=3e-5, atol=3e-6 * np.abs(x).max())


@pytest.mark.parametrize("kind", KINDS)
def test_group_of_one_is_l1(kind):
    cls = KINDS[kind][0]
    X, y, weight = data("signs")
    assert_array_equal(
        fit_linear(X, y, penalty=cls(0.03), sample_weight=weight, lr=0.5).coef,
        fit_linear(X, y, penalty=L1(0.03), sample_weight=weight, lr=0.5).coef,
    )
    assert_allclose(stepped(cls(0.5), np.array([2.0]), np.array([0.5])), [1.75])


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", [Adagrad(), RDA(), FTRL(l1=0.1)])
def test_group_of_one_is_l1_with_averages(rule):
    X, y, weight = data("signs")
    options = {"sample_weight": weight, "lr": 0.5, "rule": rule, "average": Polyak(2)}
    group, single = (fit_linear(X, y, penalty=penalty, **options) for penalty in (GroupL2(0.03), L1(0.03)))
    assert_allclose(group.coef, single.coef, rtol=1e-12, atol=1e-15)


# --- in the model --------------------------------------------------------------------------------------------------


STRENGTHS = np.linspace(0.01, 0.2, COLUMNS)


def assert_eager(kind, strength, decays, loss="softmax", dtype=None, tolerance=1e-10, **rule):
    """Check that fit_linear equals the reference, which applies the penalty to every feature after every row."""
    cls, prox, _ = KINDS[kind]
    X, y, weight = data()
    strength = strength * (5 if kind == "linf" else 1)
    lr = InverseSqrt(0.7, 0.3) if decays else 0.5
    at = (lambda t: 0.7 / np.sqrt(1 + 0.3 * t)) if decays else (lambda t: 0.5)
    model = fit_linear(
        X, y, loss=loss, penalty=cls(strength), lr=lr, sample_weight=weight, passes=2, dtype=dtype, rule=Adagrad(**rule)
    )
    strengths = np.broadcast_to(strength, COLUMNS)
    eager = reference_multi_output.fit(
        X.toarray(), y, reference_multi_output.softmax, at, CLASSES,
        group=lambda i, x, w: prox(x, w, strengths[i]), weight=weight, passes=2, **rule,
    )  # fmt: skip
    assert_allclose(model.coef, eager.w.T, rtol=tolerance, atol=tolerance)
    assert_allclose(model.intercept, eager.b, rtol=tolerance, atol=tolerance)
    used = np.abs(eager.w).max(axis=1) > 0
    assert 1 < used.sum() < COLUMNS - 1 or not np.isscalar(strength)  # features become zero as a whole
    assert_array_equal(np.abs(model.coef).max(axis=0) > 0, used)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("kind", KINDS)
def test_lazy_is_eager(kind):
    for strength, decays, rule in itertools.product((0.1, STRENGTHS), (False, True), ({}, {"eps": 0.1})):
        assert_eager(kind, strength, decays, **rule)


def test_lazy_is_eager_compiled():
    assert_eager("linf", STRENGTHS, True, dtype=np.float32, tolerance=1e-4)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("kind", KINDS)
def test_continued_training(kind, tmp_path):
    X, y, _ = data()
    options = {"penalty": KINDS[kind][0](0.05), "loss": OneVsRest(Logistic())}
    one_call = fit_plain(X, y, **options)
    first = fit_plain(X[:25], y[:25], classes=None, **options)
    assert model_values(fit_linear(X[25:], y[25:], model=first)) == model_values(one_call)
    first.save(tmp_path / "model")
    assert model_values(fit_linear(X[25:], y[25:], model=load_model(tmp_path / "model"))) == model_values(one_call)


RULES = {
    "rda": (RDA(eps=0.1), lambda x, g, s, lr: reference.rda(x, g, s, lr, eps=0.1)),
    "ftrl": (FTRL(beta=0.5), lambda x, g, s, lr: reference.ftrl(x, g, s, lr, beta=0.5)),
}


def eager_solutions(kind, rule, strengths, at):
    """Return the weights and intercepts of the reference after each update, of all features."""
    X, y, weight = data()
    prox = KINDS[kind][1]
    return reference_multi_output.fit_dual_averaging(
        X.toarray(), y, reference_multi_output.softmax, at, CLASSES, step=RULES[rule][1], slots=(0.0, 0.0),
        group=lambda i, x, w: prox(x, w, strengths[i]), weight=weight, passes=2,
    )  # fmt: skip


DECAYING = InverseSqrt(0.7, 0.3), lambda t: 0.7 / np.sqrt(1 + 0.3 * t)
CONSTANT = 0.5, lambda t: 0.5


def assert_dual_averaging(kind, rule, rate, average=False, tolerance=1e-10):
    """Check that dual averaging solves for every feature after every row, and averages the solutions."""
    X, y, weight = data()
    lr, at = rate
    strengths = STRENGTHS * (2 if kind == "linf" else 1)
    iterates = eager_solutions(kind, rule, strengths, at)
    model = fit_linear(
        X, y, loss="softmax", penalty=KINDS[kind][0](strengths), lr=lr, sample_weight=weight, passes=2,
        rule=RULES[rule][0], average=average,
    )  # fmt: skip
    if average:
        used = iterates[1 + average.start :] if isinstance(average, Polyak) else iterates[average.start : -1]
        w, b = (np.mean([iterate[k] for iterate in used], axis=0) for k in (0, 1))
    else:
        w, b = iterates[-1]
        assert 1 < (w == 0).all(axis=1).sum() < COLUMNS - 1  # features become zero as a whole
    assert_allclose(model.coef, w.T, rtol=tolerance, atol=tolerance)
    assert_allclose(model.intercept, b, rtol=tolerance, atol=tolerance)
    assert_array_equal(np.abs(model.coef).max(axis=0) > 0, np.abs(w).max(axis=1) > 0)
    assert_allclose(model.decision_function(X[:3]), X[:3] @ w + b, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_dual_averaging_solves_for_all_features(kind, rule):
    for rate, average in itertools.product((CONSTANT, DECAYING), (False, Polyak(3), OnlineToBatch(2))):
        assert_dual_averaging(kind, rule, rate, average)


def test_dual_averaging_solves_for_all_features_compiled():
    assert_dual_averaging("l2", "rda", CONSTANT, Polyak(3))


def assert_mean(kind, rate, average, **options):
    """Check the average of the iterates against those of a model that is trained row by row."""
    X, y, weight = data()
    options |= {"penalty": KINDS[kind][0](STRENGTHS * 2), "lr": rate[0], "loss": "softmax", "classes": range(CLASSES)}
    model, iterates = fit_linear(X[:0], y[:0], **options), []
    for r in np.flatnonzero(weight):
        iterates.append((model.coef, model.intercept))
        model = fit_linear(X[r : r + 1], y[r : r + 1], sample_weight=weight[r : r + 1], model=model)
    iterates.append((model.coef, model.intercept))
    used = iterates[1 + average.start :] if isinstance(average, Polyak) else iterates[average.start : -1]
    averaged = fit_linear(X, y, sample_weight=weight, average=average, **options)
    assert_allclose(averaged.coef, np.mean([coef for coef, _ in used], axis=0), rtol=1e-10, atol=1e-12)
    assert_allclose(averaged.intercept, np.mean([bias for _, bias in used], axis=0), rtol=1e-10)
    assert (np.abs(model.coef).max(axis=0) == 0).any()


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("kind", KINDS)
def test_averaged_iterates(kind):
    for rate, average in itertools.product((CONSTANT, DECAYING), (Polyak(3), OnlineToBatch(2))):
        assert_mean(kind, rate, average)
    assert_mean(kind, CONSTANT, Polyak(), batch_size=1, rule=FTRL(l1=0.5, l2=0.1, shrinkage=0.1))


def test_averaged_iterates_compiled():
    assert_mean("l2", DECAYING, Polyak(3))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", [Adagrad(), RDA()])
def test_no_strength_is_no_penalty(rule):
    X, y, _ = data()
    for average in (False, Polyak()):
        plain, none = (
            fit_plain(X, y, loss="softmax", rule=rule, average=average, penalty=penalty)
            for penalty in (GroupL2(0.0), None)
        )
        assert_allclose(plain.coef, none.coef, rtol=1e-12)
        assert_allclose(plain.predict_proba(X[:1]), none.predict_proba(X[:1]), rtol=1e-12)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", [Adagrad(), RDA(), FTRL()])
def test_batches_and_continued_training_with_averages(rule, tmp_path):
    X, y, _ = data()
    for average, batch_size in ((Polyak(2), 1), (Polyak(2), 4), (False, 4)):
        options = {"penalty": GroupL2(0.02), "loss": "softmax", "rule": rule, "average": average}
        one_call = fit_plain(X, y, batch_size=batch_size, **options)
        first = fit_plain(X[:20], y[:20], batch_size=batch_size, **options)
        first.save(tmp_path / "model")
        again = fit_linear(X[20:], y[20:], model=load_model(tmp_path / "model"))
        assert model_values(again) == model_values(one_call)


@pytest.mark.compiled_only("so many passes take minutes in pure Python")
def test_the_optimum():
    """With a decreasing learning rate, the objective comes within 1e-4 of that of a batch solver."""
    X, y, _ = data(n=ROWS)
    A, strength = X.toarray(), 0.02
    hot = np.eye(CLASSES)[y]

    def objective(w):
        p = A @ w
        top = p.max(axis=1, keepdims=True)
        log = top[:, 0] + np.log(np.exp(p - top).sum(axis=1))
        return np.mean(log - (p * hot).sum(axis=1)) + strength * np.sqrt((w * w).sum(axis=1)).sum()

    w = np.zeros((COLUMNS, CLASSES))
    step = 1 / (np.linalg.norm(A, 2) ** 2 / ROWS)
    for _ in range(20_000):  # proximal gradient steps
        p = np.exp(A @ w - (A @ w).max(axis=1, keepdims=True))
        z = w - step * A.T @ (p / p.sum(axis=1, keepdims=True) - hot) / ROWS
        size = np.linalg.norm(z, axis=1, keepdims=True)
        w = z * np.maximum(1 - step * strength / np.maximum(size, 1e-300), 0)
    model = fit_linear(X, y, penalty=GroupL2(strength), intercept=False, lr=InverseSqrt(0.5, 0.001), passes=3000)
    assert objective(model.coef.T) <= objective(w) * (1 + 1e-4)
    assert np.abs(model.coef[:, ~w.any(axis=1)]).max() < 0.01


def test_learning_rates_are_not_a_group():
    X, y, _ = data("signs")
    with pytest.raises(ValueError, match=r"^penalty: got GroupL2\(strength=0.1\), whose groups are the classes"):
        fit_linear(X, y, lr=Rates(), penalty=GroupL2(0.1))
