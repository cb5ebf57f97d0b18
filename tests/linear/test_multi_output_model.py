"""Several models in one pass: many classes, and several rates; lazy is eager, going on is not having stopped."""

import itertools
import math
import re

import numpy as np
import pytest
import reference
import reference_multi_output
import scipy.sparse as sp
from linear_problems import fit_plain
from multi_output_problems import CLASSES, COLUMNS, ROWS, data, model_values
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adadelta,
    Adagrad,
    Box,
    Chunk,
    ElasticNet,
    InverseSqrt,
    LinearModel,
    Logistic,
    NonNegative,
    OneVsRest,
    Polyak,
    Rates,
    RateSearch,
    Softmax,
    Squared,
    fit_linear,
    load_model,
)
from adagrad_nb._csr import as_unsigned
from adagrad_nb.compiler.jit import llvm_ir
from adagrad_nb.linear.dispatch import choose_kernel
from adagrad_nb.linear.kernels import rows as kernels

GRID = (0.05, 0.4, 1.5)
STRENGTHS = np.linspace(0.0, 0.08, COLUMNS)


PENALTIES = {
    "none": (None, None),
    "l1": (L1(0.02), lambda i, x, w: reference.l1_prox(x, w, 0.02)),
    "l2": (L2(0.3), lambda i, x, w: reference.l2_prox(x, w, 0.3)),
    "elastic net": (ElasticNet(0.01, 0.2), lambda i, x, w: reference.elastic_net_prox(x, w, 0.01, 0.2)),
    "box": (Box(-0.1, 0.2), lambda i, x, w: reference.box_prox(x, w, -0.1, 0.2)),
    "non-negative": (NonNegative(), lambda i, x, w: reference.box_prox(x, w, 0.0, math.inf)),
    "l1 by feature": (L1(STRENGTHS), lambda i, x, w: reference.l1_prox(x, w, STRENGTHS[i])),
}
CASES = {  # name: (loss, the data, the reference's loss, outputs)
    "softmax": (Softmax(), "classes", reference_multi_output.softmax, CLASSES),
    "logistic means softmax": ("logistic", "classes", reference_multi_output.softmax, CLASSES),
    "one against the rest": (
        OneVsRest(Logistic()), "classes",
        reference_multi_output.one_vs_rest(reference.logistic, reference.logistic_slope), CLASSES,
    ),
    "rates, logistic": (
        "logistic", "signs",
        reference_multi_output.independent_outputs(reference.logistic, reference.logistic_slope), len(GRID),
    ),
    "rates, squared": (
        "squared", "numbers",
        reference_multi_output.independent_outputs(reference.squared, lambda y, p: p - y), len(GRID),
    ),
}  # fmt: skip


def assert_eager(case, penalty, decays=False, intercept=True, weighted=True, dtype=None, tolerance=1e-10, rule=None):
    """Compare fit_linear with the reference, which updates every weight of every output."""
    loss, kind, expected, n_outputs = CASES[case]
    X, y, weight = data(kind)
    record, prox = PENALTIES[penalty]
    rule = {} if rule is None else rule
    auto = case.startswith("rates")
    if auto:
        schedule = InverseSqrt(1.0, 0.3)
        lr = Rates(GRID, schedule) if decays else Rates(GRID)
        at = (lambda t: np.array(GRID) * reference.inverse_sqrt(t, 1.0, 0.3)) if decays else (lambda t: np.array(GRID))
    else:
        lr = InverseSqrt(0.7, 0.3) if decays else 0.5
        at = (lambda t: reference.inverse_sqrt(t, 0.7, 0.3)) if decays else (lambda t: 0.5)
    model = fit_linear(
        X, y, loss=loss, penalty=record, lr=lr, intercept=intercept, sample_weight=weight if weighted else None,
        passes=2, dtype=dtype, rule=Adagrad(**rule),
    )  # fmt: skip
    settings = {"G0" if name == "initial_accumulator" else name: value for name, value in rule.items()}
    eager = reference_multi_output.fit(
        X.toarray(), y, expected, at, n_outputs, prox=prox, intercept=intercept, weight=weight if weighted else None,
        passes=2, **settings,
    )  # fmt: skip
    close = {"rtol": tolerance, "atol": tolerance}
    losses = reference_multi_output.progressive_loss(eager.losses)
    assert_allclose(model.state.slots[0][0], eager.G, **close)
    assert_allclose(model.bias_state.slots[0][0], [eager.Gb], **close)
    assert model.state.t == eager.t
    if auto:
        best = int(np.argmin(losses))
        assert model.rate == GRID[best]
        assert_allclose(model.progressive_losses, losses, **close)
        assert_allclose(model.coef, eager.w[:, best], **close)
        assert_allclose(model.intercept, eager.b[best], **close)
        assert_allclose(model.progressive_loss, losses[best], **close)
    else:
        assert_allclose(model.coef, eager.w.T, **close)
        assert_allclose(model.intercept, eager.b, **close)
        assert_allclose(model.progressive_loss, losses, **close)
    if prox is not None:  # and it is the penalty that is being tested
        assert np.abs(eager.w - reference_multi_output.fit(X.toarray(), y, expected, at, n_outputs).w).max() > 1e-3


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("case", CASES)
def test_lazy_is_eager(case, penalty):
    for decays, intercept, weighted in itertools.product((False, True), repeat=3):
        assert_eager(case, penalty, decays, intercept, weighted)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    "rule",
    [{"eps": 0.0}, {"eps": 0.1}, {"eps": 0.1, "inside": True}, {"initial_accumulator": 0.2}],
    ids=["no eps", "eps", "eps inside", "accumulator"],
)
def test_lazy_is_eager_for_other_settings_of_the_rule(rule):
    assert_eager("softmax", "l1", rule=rule)
    assert_eager("rates, logistic", "elastic net", decays=True, rule=rule)


COMPILED = [
    ("softmax", "none", False), ("softmax", "elastic net", True), ("one against the rest", "l1 by feature", False),
    ("rates, logistic", "l1", True), ("rates, squared", "none", False), ("softmax", "box", False),
    ("rates, logistic", "non-negative", False),
]  # fmt: skip


@pytest.mark.parametrize(("case", "penalty", "decays"), COMPILED)
def test_lazy_is_eager_compiled(case, penalty, decays):
    assert_eager(case, penalty, decays)
    assert_eager(case, penalty, decays, rule={"eps": 0.0})


@pytest.mark.parametrize(("case", "penalty", "decays"), COMPILED[:4])
def test_lazy_is_eager_in_single_precision(case, penalty, decays):
    assert_eager(case, penalty, decays, dtype=np.float32, tolerance=1e-4)


@pytest.mark.parametrize("n_outputs", [1, 3, 8, 9, 24])
def test_any_number_of_outputs(n_outputs, dtype):
    """Each output equals a model of its rate alone, up to the order of the sums."""
    X, y, weight = data("signs")
    rates = tuple(np.linspace(0.05, 1.5, n_outputs).tolist())
    model = fit_linear(X, y, lr=Rates(rates), sample_weight=weight, dtype=dtype, penalty=L1(0.01))
    for output, lr in enumerate(rates):
        single = fit_linear(X, y, lr=lr, sample_weight=weight, dtype=dtype, penalty=L1(0.01))
        tolerance = {"rtol": 100 * np.finfo(dtype).eps, "atol": 100 * np.finfo(dtype).eps}
        assert_allclose(model.progressive_losses[output], single.progressive_loss, **tolerance)
        assert_allclose(model.state.slots[0][0][:, output], single.state.slots[0][0], **tolerance)
        if output == model.best_index:
            assert_allclose(model.coef, single.coef, **tolerance)
            assert_allclose(model.decision_function(X), single.decision_function(X), **tolerance)
            assert_allclose(model.intercept, single.intercept, **tolerance)


def test_other_rules():
    X, y, _ = data("signs")
    model = fit_linear(X, y, lr=Rates((0.5, 1.0)), rule=Adadelta())
    for output, lr in enumerate((0.5, 1.0)):
        single = fit_linear(X, y, lr=lr, rule=Adadelta())
        assert_allclose(model.progressive_losses[output], single.progressive_loss, rtol=1e-12)


def assert_same(a, b):
    assert model_values(a) == model_values(b)


OPTIONS = {
    "softmax": ("classes", {"loss": "softmax"}),
    "softmax with a penalty": ("classes", {"penalty": ElasticNet(0.01, 0.1), "lr": InverseSqrt(0.5)}),
    "one against the rest": ("classes", {"loss": OneVsRest(Logistic()), "penalty": L1(0.01)}),
    "rates": ("signs", {"lr": Rates()}),
    "search": ("signs", {"lr": RateSearch(halve_at=(20,))}),
    "rates with a penalty": ("signs", {"lr": Rates(GRID, InverseSqrt(1.0)), "penalty": L2(0.1)}),
    "rates for numbers": ("numbers", {"lr": Rates(GRID), "loss": Squared(), "penalty": L1(0.01)}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_then_b_is_a_and_b(name, tmp_path):
    kind, options = OPTIONS[name]
    X, y, weight = data(kind)
    one_call = fit_plain(X, y, sample_weight=weight, **options)
    for split in (1 + ROWS // 2, ROWS - 1):
        first = fit_plain(X[:split], y[:split], sample_weight=weight[:split], **options)
        before = model_values(first)
        if kind == "classes":
            assert set(y[:split]) == set(y)
        resumed = fit_linear(X[split:], y[split:], sample_weight=weight[split:], model=first)
        assert model_values(first) == before
        assert_same(resumed, one_call)
        assert_same(fit_linear(X[split:], y[split:], sample_weight=weight[split:], model=first, **options), one_call)
        first.save(tmp_path / "model")
        loaded = load_model(tmp_path / "model")
        assert_same(loaded, first)
        assert_same(fit_linear(X[split:], y[split:], sample_weight=weight[split:], model=loaded), one_call)
        chunks = [Chunk(X[:split], y[:split], weight[:split]), Chunk(X[split:], y[split:], weight[split:])]
        assert_same(fit_plain(chunks, **options), one_call)


@pytest.mark.parametrize("name", OPTIONS)
def test_features_grow(name):
    kind, options = OPTIONS[name]
    X, y, _ = data(kind)
    wide = X.toarray()
    wide[:20, 5:] = 0
    chunks = [Chunk(sp.csr_array(wide[:20, :5]), y[:20]), Chunk(sp.csr_array(wide[20:]), y[20:])]
    one_call = fit_plain(sp.csr_array(wide), y, **options)
    grown = fit_plain(chunks, **options)
    assert_array_equal(grown.coef, one_call.coef)
    narrow = fit_plain([chunks[1], chunks[0]], **options)
    assert narrow.n_features == COLUMNS


def test_passes_and_shuffle():
    X, y, _ = data()
    twice = fit_linear(X, y, passes=2, lr=0.5)
    resumed = fit_linear(X, y, model=fit_linear(X, y, lr=0.5))
    assert_array_equal(twice.coef, resumed.coef)
    shuffled = fit_linear(X, y, shuffle=True, rng=0, passes=2, lr=0.5)
    assert_same(shuffled, fit_linear(X, y, shuffle=True, rng=0, passes=2, lr=0.5))
    assert not np.array_equal(shuffled.coef, twice.coef)


def test_changed_options():
    X, y, _ = data()
    first = fit_linear(X, y, penalty=L1(0.02), lr=0.5)
    second = fit_linear(X, y, model=first, penalty=L2(0.3), lr=0.2)
    eager = None
    for lr, prox in ((0.5, PENALTIES["l1"][1]), (0.2, PENALTIES["l2"][1])):
        eager = reference_multi_output.fit(
            X.toarray(), y, reference_multi_output.softmax, lambda t, lr=lr: lr, CLASSES, prox=prox, start=eager
        )
    assert_allclose(second.coef, eager.w.T, rtol=1e-10, atol=1e-12)


# --- classes -------------------------------------------------------------------------------------------------------

NAMES = {
    "numbers": [3, 7, 11, 20, 21],
    "floats": [-1.0, 0.0, 1.0, 2.0, 5.0],
    "strings": ["a", "bb", "c", "dd", "e"],
    "objects": np.array(["a", "bb", "c", "dd", "e"], object),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_labels_of_any_type(names, tmp_path):
    X, y, _ = data()
    names = np.asarray(names)
    model, plain = fit_linear(X, names[y], lr=0.5), fit_linear(X, y, lr=0.5)
    assert isinstance(model, LinearModel)
    assert_array_equal(model.coef, plain.coef)
    assert_array_equal(model.classes, names)
    assert model.coef.shape == (CLASSES, COLUMNS)
    assert model.intercept.shape == (CLASSES,)
    decision = model.decision_function(X)
    assert decision.shape == (ROWS, CLASSES)
    assert_allclose(decision, X @ model.coef.T + model.intercept, rtol=1e-12, atol=1e-12)
    assert_array_equal(model.predict(X), names[decision.argmax(axis=1)])
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.classes.dtype.kind == model.classes.dtype.kind
    assert_array_equal(fit_linear(X, names[y].tolist(), lr=0.5).coef, model.coef)


def test_probabilities():
    X, y, weight = data()
    model = fit_linear(X, y, lr=0.5)
    exponentials = np.exp(model.decision_function(X))
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    assert_allclose(model.predict_proba(X), exponentials, rtol=1e-12)
    right = exponentials[np.arange(ROWS), y]
    assert_allclose(model.mean_loss(X, y), -np.mean(np.log(right)), rtol=1e-12)
    assert_allclose(model.mean_loss(X, y, weight), np.average(-np.log(right), weights=weight), rtol=1e-12)
    against = fit_linear(X, y, loss=OneVsRest(Logistic()), lr=0.5)
    exponentials = 1 / (1 + np.exp(-against.decision_function(X)))
    assert_allclose(against.predict_proba(X), exponentials / exponentials.sum(axis=1, keepdims=True), rtol=1e-12)
    signs = np.where(np.arange(CLASSES) == y[:, None], 1, -1)
    expected = np.log1p(np.exp(-signs * against.decision_function(X))).sum(axis=1).mean()
    assert_allclose(against.mean_loss(X, y), expected, rtol=1e-12)


def test_two_outputs_of_softmax_are_a_logistic_model():
    """By symmetry w1 = -w0, and w1 - w0 moves as one weight whose rate is twice as high."""
    X, y, weight = data("signs")
    two = fit_linear(X, y, loss="softmax", lr=0.25, sample_weight=weight)
    one = fit_linear(X, y, lr=0.5, sample_weight=weight)
    assert_allclose(two.coef[0], -two.coef[1], atol=1e-14)
    assert_allclose(two.coef[1] - two.coef[0], one.coef, rtol=1e-12, atol=1e-14)
    assert_allclose(two.progressive_loss, one.progressive_loss, rtol=1e-12)
    assert_allclose(two.predict_proba(X), one.predict_proba(X), rtol=1e-12)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", [Adagrad(), RDA(0.1), FTRL(0.5)], ids=str)
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("average", [None, Polyak(3)], ids=str)
@pytest.mark.parametrize("penalty", [None, L1(0.01), ElasticNet(0.01, 0.1)], ids=str)
def test_one_against_the_rest_is_each_class_alone(penalty, average, batch_size, rule):
    assert_each_class_alone(penalty, average, batch_size, rule)


@pytest.mark.parametrize(
    ("penalty", "average", "batch_size", "rule"),
    [(L1(0.01), None, 1, Adagrad()), (L1(0.01), Polyak(3), 7, Adagrad()), (None, Polyak(3), 1, FTRL(0.5))],
    ids=str,
)
def test_one_against_the_rest_is_each_class_alone_compiled(penalty, average, batch_size, rule):
    assert_each_class_alone(penalty, average, batch_size, rule)


def assert_each_class_alone(penalty, average, batch_size, rule):
    X, y, weight = data()
    options = {
        "sample_weight": weight, "penalty": penalty, "average": average, "batch_size": batch_size, "rule": rule,
        "passes": 2,
    }  # fmt: skip
    model = fit_plain(X, y, loss=OneVsRest(Logistic()), **options)
    for k in range(CLASSES):
        single = fit_plain(X, y == k, **options)
        assert_allclose(model.coef[k], single.coef, rtol=1e-12, atol=1e-14)
        assert_allclose(model.intercept[k], single.intercept, rtol=1e-12)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("rule", [Adagrad(), RDA(0.1), FTRL(0.5)], ids=str)
@pytest.mark.parametrize("penalty", [None, L1(0.02)], ids=str)
def test_a_mean_is_that_of_all_iterates(penalty, rule, batch_size):
    X, y, _ = data()
    options = {"penalty": penalty, "rule": rule, "batch_size": batch_size, "classes": np.arange(CLASSES)}
    mean = fit_plain(X, y, average=Polyak(2), **options)
    model, found = None, []
    for split in range(0, ROWS, batch_size):
        model = fit_plain(X[split : split + batch_size], y[split : split + batch_size], model=model, **options)
        found.append(model)
    assert_allclose(mean.coef, np.mean([model.coef for model in found[2:]], axis=0), rtol=1e-12, atol=1e-14)
    assert_allclose(mean.intercept, np.mean([model.intercept for model in found[2:]], axis=0), rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("average", [None, Polyak(3)], ids=str)
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("rule", [Adagrad(), RDA(0.1), FTRL(0.5)], ids=str)
@pytest.mark.parametrize("penalty", [None, L1(0.02)], ids=str)
def test_the_best_rate_equals_a_model_of_that_rate(penalty, rule, batch_size, average):
    X, y, _ = data("signs")
    options = {"penalty": penalty, "rule": rule, "batch_size": batch_size, "average": average}
    best = fit_linear(X, y, lr=Rates(GRID), **options)
    single = fit_linear(X, y, lr=best.rate, **options)
    assert_allclose(best.coef, single.coef, rtol=1e-12, atol=1e-14)
    assert_allclose(best.intercept, single.intercept, rtol=1e-12)
    assert_allclose(best.progressive_loss, single.progressive_loss, rtol=1e-12)


def test_declared_classes():
    X, y, _ = data()
    order = np.argsort(y, kind="stable")  # each class comes in its turn
    X, y = X[order], y[order]
    model = fit_linear([Chunk(X[k : k + 8], y[k : k + 8]) for k in range(0, ROWS, 8)], classes=range(CLASSES), lr=0.5)
    assert_array_equal(model.coef, fit_linear(X, y, lr=0.5).coef)
    with pytest.raises(ValueError, match=r"^y: got the label 9, which is not among the declared classes"):
        fit_linear(X, np.where(y == 2, 9, y), classes=[4, 3, 2, 1, 0], lr=0.5)
    with pytest.raises(ValueError, match=r"^classes: got \[0, 1, 2\], but the model has \[0, 1, 2, 3, 4\]"):
        fit_linear(X, y, model=model, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"^classes: got \[0, 0, 1, 2\]; must be a list of different labels"):
        fit_linear(X, y, classes=[0, 0, 1, 2], lr=0.5)


def test_a_class_first_seen_in_a_later_chunk():
    """Its weights are zero at first; columns are inserted so that the classes remain in order."""
    X, y, _ = data()
    is_known = y != 1
    first = fit_linear(X[is_known], y[is_known], lr=0.5)
    before = model_values(first)
    model = fit_linear(X, y, model=first)
    assert model_values(first) == before
    assert_array_equal(model.classes, np.arange(CLASSES))
    columns = [0, 2, 3, 4]
    start = reference_multi_output.fit(
        X[is_known].toarray(), np.searchsorted(columns, y[is_known]), reference_multi_output.softmax, lambda t: 0.5, 4
    )
    initial_arrays = [np.zeros((COLUMNS, 5)), np.zeros(5), np.zeros((COLUMNS, 5)), np.zeros(5)]
    for new, old in zip(initial_arrays, start, strict=False):
        new[..., columns] = old
    eager = reference_multi_output.fit(
        X.toarray(), y, reference_multi_output.softmax, lambda t: 0.5, 5,
        start=reference_multi_output.Outcome(*initial_arrays, start.t, start.losses),
    )  # fmt: skip
    assert_allclose(model.coef, eager.w.T, rtol=1e-10, atol=1e-12)
    names = np.array([f"class {k:02}" for k in range(30)])  # from one SIMD vector to four
    from_chunks = fit_linear([Chunk(X[k : k + 10], names[k : k + 10]) for k in (0, 10, 20)], lr=0.5)
    assert_array_equal(from_chunks.classes, names)
    with pytest.raises(TypeError, match=r"^y: got the label 'x', but the model has"):
        fit_linear(X[:2], ["x", "x"], model=first)


def test_targets_that_are_no_class():
    X, y, _ = data()
    model = fit_linear(X, y, lr=0.5)
    with pytest.raises(ValueError, match=r"^y: got the label 7; the model knows \[0, 1, 2, 3, 4\]"):
        model.mean_loss(X, np.full(ROWS, 7))
    with pytest.raises(ValueError, match=r"^y: got 40 labels, .*a binary loss takes two"):
        fit_linear(X, np.linspace(0.0, 1.0, ROWS), lr=0.5)
    with pytest.raises(ValueError, match=r"^OneVsRest.loss: Squared is not a binary loss"):
        fit_linear(X, y, loss=OneVsRest(Squared()), lr=0.5)
    with pytest.raises(ValueError, match=r"^lr: got Rates\(.*, which supports two classes or numbers"):
        fit_linear(X, y, lr=Rates())


# --- rates ---------------------------------------------------------------------------------------------------------


def test_the_best_of_the_rates_is_reported():
    X, y, _ = data("signs", n=400)
    model = fit_linear(X, y, lr=Rates(), passes=2)
    single = {lr: fit_linear(X, y, lr=lr, passes=2) for lr in Rates().values}
    best = min(single, key=lambda lr: single[lr].progressive_loss)
    assert model.rate == best
    assert_allclose(model.coef, single[best].coef, rtol=1e-10)
    assert_allclose(model.progressive_loss, single[best].progressive_loss, rtol=1e-12)
    assert_allclose(model.predict_proba(X), single[best].predict_proba(X), rtol=1e-10)
    assert_allclose(model.mean_loss(X, y), single[best].mean_loss(X, y), rtol=1e-10)
    assert_array_equal(model.classes, [-1, 1])


def test_a_rate_that_diverges_is_out():
    X, y, _ = data("numbers")
    model = fit_linear(X, y, loss="squared", lr=Rates((0.1, 1e200)))
    assert model.rate == 0.1
    assert model.progressive_losses[1] > 1e100 or math.isinf(model.progressive_losses[1])
    single = fit_linear(X, y, loss="squared", lr=0.1)
    assert_allclose(model.coef, single.coef, rtol=1e-12)
    assert np.isfinite(model.predict(X)).all()


def test_callback_reports_the_best_rate():
    X, y, _ = data("signs")
    reported = []
    model = fit_linear(X, y, lr=Rates((1e-9, 0.5)), passes=2, callback=reported.append)
    assert reported[-1].n_seen == 2 * ROWS
    assert reported[-1].recent_loss < reported[1].recent_loss
    assert model.progressive_loss == reported[-1].progressive_loss


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": Rates(())}, TypeError, r"^Rates.values: got \(\); must be a tuple of numbers"),
        ({"lr": Rates([0.1])}, TypeError, r"^Rates.values: got \[0.1\]; must be a tuple"),
        ({"lr": Rates((0.1, 0.1))}, ValueError, r"^Rates.values: .* must be different"),
        ({"lr": Rates((0.1, -0.1))}, ValueError, r"^Rates.values: got -0.1 at index 1; every entry must be"),
        ({"lr": Rates((0.1, 1.0), 0.5)}, TypeError, r"^Rates.schedule: "),
        ({"lr": Rates}, TypeError, r"^lr: got"),
        ({"lr": "fast"}, TypeError, r"^lr: got 'fast'"),
    ],
)
def test_rates_that_are_rejected(options, error, message):
    X, y, _ = data("signs")
    with pytest.raises(error, match=message):
        fit_plain(X, y, **options)


def test_options_that_cannot_change():
    X, y, _ = data("signs")
    several, single = fit_linear(X, y, lr=Rates()), fit_linear(X, y, lr=0.5)
    with pytest.raises(ValueError, match=r"^lr: got 0.5, but the model has several learning rates"):
        fit_linear(X, y, model=several, lr=0.5)
    with pytest.raises(ValueError, match=r"^lr: got 2 learning rates, but the model has 8"):
        fit_linear(X, y, model=several, lr=Rates((0.1, 1.0)))
    with pytest.raises(ValueError, match=r"^lr: got several learning rates, but the model has one"):
        fit_linear(X, y, model=single, lr=Rates())
    with pytest.raises(ValueError, match=r"^rule: Adadelta has 2 accumulators, but the model has 1"):
        fit_linear(X, y, model=several, rule=Adadelta())


# --- malformed data ------------------------------------------------------------------------------------------------


def changed(X, part, position, value):
    parts = {"data": X.data.copy(), "indices": X.indices.copy()}
    parts[part][position] = value
    new = X.copy()
    new.data, new.indices = parts["data"], parts["indices"]
    return new


@pytest.mark.parametrize("kind", ["classes", "signs"])
@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("indices", -1, r"^X: column index -1 in row \d+; must be in \[0, 9\)"),
        ("indices", 99, r"^X: column index 99 in row \d+"),
        ("data", np.nan, r"^X: got nan in row \d+"),
        ("data", np.inf, r"^X: got inf in row \d+"),
    ],
)
def test_malformed_rows(kind, part, value, message):
    X, y, _ = data(kind)
    options = {} if kind == "classes" else {"lr": RateSearch()}
    model = fit_plain(X, y, **options)
    before = model_values(model)
    bad = changed(X, part, 30, value)
    for given in (None, model):
        with pytest.raises(ValueError, match=message):
            fit_linear(bad, y, model=given, **({} if given else options))
    with pytest.raises(ValueError, match=message):
        model.decision_function(bad)
    assert model_values(model) == before


@pytest.mark.parametrize("kind", ["classes", "signs"])
def test_unsorted_and_repeated_columns(kind):
    X, y, _ = data(kind)
    options = {"penalty": L1(0.02)} | ({} if kind == "classes" else {"lr": RateSearch()})
    coo = X.tocoo()
    twice = [np.concatenate([part, part])[::-1] for part in (coo.data / 2, coo.coords[1], coo.coords[0])]
    order = np.argsort(twice[2], kind="stable")
    doubled = sp.csr_array((twice[0][order], twice[1][order], 2 * X.indptr), shape=X.shape)
    assert_array_equal(fit_plain(doubled, y, **options).coef, fit_plain(X, y, **options).coef)


@pytest.mark.parametrize("indices", [np.int32, np.int64])
def test_index_types(indices):
    X, y, _ = data()
    other = sp.csr_array((X.data, X.indices.astype(indices), X.indptr.astype(indices)), shape=X.shape)
    assert_array_equal(fit_linear(other, y, lr=0.5).coef, fit_linear(X, y, lr=0.5).coef)


def test_columns_of_predictions():
    X, y, _ = data()
    model = fit_linear(X, y, lr=0.5)
    assert_allclose(model.decision_function(X[:, :5]), X[:, :5] @ model.coef[:, :5].T + model.intercept)
    with pytest.raises(ValueError, match=r"^X: got 10 columns; the model has 9 features"):
        model.decision_function(np.ones((2, 10)))


def test_precision():
    X, y, _ = data()
    model = fit_linear(X.astype(np.float32), y, lr=0.5)
    assert model.coef.dtype == model.decision_function(X).dtype == model.predict_proba(X).dtype == np.float32
    assert fit_linear(X, y, lr=0.5).coef.dtype == np.float64


def test_a_table_that_is_not_in_the_cache():
    """Rows are asked for ahead: the last row of all, rows without values, and rows of another order are no trouble."""
    rng = np.random.default_rng(0)
    X = sp.random_array((50, 40_000), density=1e-3, rng=rng, format="csr", dtype=np.float32)
    y = rng.integers(0, 20, 50)
    model = fit_linear(X, y, passes=2, shuffle=True, rng=1, lr=0.5)
    dense = np.flatnonzero(np.diff(X.tocsc().indptr))
    small = fit_linear(X[:, dense], y, passes=2, shuffle=True, rng=1, lr=0.5)
    assert_array_equal(model.coef[:, dense], small.coef)
    assert np.count_nonzero(model.coef) == np.count_nonzero(small.coef)


# --- what it is compiled to ----------------------------------------------------------------------------------------


@pytest.mark.compiled_only("is about compiled code")
@pytest.mark.parametrize(
    ("kind", "lr", "penalty"),
    [
        (np.float32, Rates(), None), (np.float32, RateSearch(), ElasticNet(0.1, 0.1)),
        (np.float64, RateSearch(), None), (np.float64, Rates(), Box(-1.0, 1.0)),
    ],
    ids=["float32-rates", "float32-search-ElasticNet", "float64-search", "float64-rates-Box"],
)  # fmt: skip
def test_outputs_are_updated_in_simd_vectors(kind, penalty, lr):
    """Square roots and quotients of eight at a time; in single precision none of doubles."""
    X, y, _ = data("signs")
    X = X.astype(kind)
    model = fit_linear(X, y, lr=lr, penalty=penalty)
    spec = model.parameters.spec()
    kernel, buffers = choose_kernel(model.parameters, model.batch_size, X, spec)
    rows = kernels.Rows(X.indptr, as_unsigned(X.indices), X.data, y.astype(kind), np.ones(ROWS, kind), np.arange(ROWS))
    text = llvm_ir(kernel, spec, rows, model.parameters.kernel_arrays(), buffers, model.loss_sums, 0, 0, 1)
    word = "float" if kind is np.float32 else "double"
    assert re.search(rf"fdiv <8 x {word}>", text)
    assert re.search(rf"@llvm\.sqrt\.v8f{kind(0).itemsize * 8}", text)
    if penalty is None and isinstance(lr, Rates):  # else coordinates are also caught up, one at a time
        assert not re.search(rf"call {word} @llvm\.sqrt\.f", text)
    if kind is np.float32:
        assert not re.search(r"f(sub|div) <\d+ x double>", text)


@pytest.mark.parametrize("options", [{"y": np.arange(40) % 3}, {"y": np.arange(40) % 2, "lr": Rates()}])
def test_loss_sums_of_batches(options):
    X = sp.random_array((40, 6), density=0.5, rng=np.random.default_rng(0), format="csr")
    model = fit_plain(X, batch_size=16, **options)
    assert model.loss_sums[-1] == 40
    assert 0 < model.progressive_loss < 2
