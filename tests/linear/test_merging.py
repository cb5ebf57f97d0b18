"""merge: the rules are those they are said to be, and grouping does not matter where that is promised."""

import itertools

import multi_output_problems
import numpy as np
import pytest
import reference_linear
import reference_merging
import reference_multi_output
import scipy.sparse as sp
from linear_problems import PENALTIES, RATES, data, fit_plain, interpreting, model_values
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adadelta,
    Chunk,
    GroupL2,
    Hinge,
    OneVsRest,
    Polyak,
    Rates,
    Softmax,
    fit_linear,
    load_model,
    merge,
)

X, Y, WEIGHT = data(n=80, seed=3)
RANGES = ((0, 20), (20, 35), (35, 60), (60, 80))


def parts(start=None, ranges=RANGES, **options):
    return [fit_plain(X[a:b], Y[a:b], sample_weight=WEIGHT[a:b], model=start, **options) for a, b in ranges]


def assert_near(a, b, tolerance=1e-12):
    close = {"rtol": tolerance, "atol": tolerance}
    assert_allclose(a.coef, b.coef, **close)
    assert_allclose(a.intercept, b.intercept, **close)
    for actual, expected_slot in zip(
        a.state.slots[0] + a.bias_state.slots[0], b.state.slots[0] + b.bias_state.slots[0], strict=True
    ):
        assert_allclose(actual, expected_slot, **close)
    assert (a.state.t, a.n_seen) == (b.state.t, b.n_seen)
    assert_allclose(a.progressive_loss, b.progressive_loss, **close)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", ["average", "sum"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("rate", RATES)
def test_rules_equal_the_reference(penalty, rule, rate):
    (record, prox), (lr, at) = PENALTIES[penalty], RATES[rate]
    options = {"penalty": record, "lr": lr}
    dense = X.toarray()

    def fit_reference(a, b, start=None):
        return reference_linear.fit(dense[a:b], Y[a:b], "logistic", at, prox=prox, weight=WEIGHT[a:b], start=start)

    for begun in (False, True):
        first, eager = None, reference_linear.Outcome(np.zeros(9), 0.0, np.zeros(9), 0.0, 0, [])
        ranges = RANGES
        if begun:
            first, eager = fit_plain(X[:20], Y[:20], sample_weight=WEIGHT[:20], **options), fit_reference(0, 20)
            ranges = RANGES[1:]
        model = merge(parts(first, ranges, **options), first, rule=rule)
        expected = reference_merging.merge(
            eager, [fit_reference(a, b, eager if begun else None) for a, b in ranges], at, float(rule == "sum"), prox
        )
        assert_allclose(model.coef, expected.w, rtol=1e-11, atol=1e-12)
        assert_allclose(model.intercept, expected.b, rtol=1e-12)
        assert_allclose(model.state.slots[0][0], expected.G, rtol=1e-12)
        assert model.state.t == expected.t
        assert_allclose(model.progressive_loss, reference_linear.progressive_loss(expected.losses), rtol=1e-12)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", ["average", "sum"])
@pytest.mark.parametrize("penalty", ["none", "l1 by feature", "bounded l2 away from zero"])
@pytest.mark.parametrize("rate", ["constant", "inverse root"])
def test_rules_of_several_classes_equal_the_reference(penalty, rule, rate):
    (record, prox), (lr, at) = PENALTIES[penalty], RATES[rate]
    X, y, weight = multi_output_problems.data(n=60, seed=3)
    dense, ranges = X.toarray(), ((20, 30), (30, 45), (45, 60))

    def fit_both(a, b, model=None, outcome=None):
        model = fit_linear(
            X[a:b], y[a:b], sample_weight=weight[a:b], model=model, penalty=record, lr=lr, classes=range(5)
        )
        outcome = reference_multi_output.fit(
            dense[a:b], y[a:b], reference_multi_output.softmax, at, 5, prox=prox, weight=weight[a:b], start=outcome
        )
        return model, outcome

    for first in ((None, reference_multi_output.fit(dense[:0], y[:0], None, at, 5)), fit_both(0, 20)):
        models, outcomes = zip(*(fit_both(a, b, *first if first[0] else ()) for a, b in ranges), strict=True)
        model = merge(models, first[0], rule=rule)
        expected = reference_merging.merge_outputs(first[1], outcomes, at, float(rule == "sum"), prox)
        assert_allclose(model.coef, expected.w.T, rtol=1e-11, atol=1e-12)
        assert_allclose(model.intercept, expected.b, rtol=1e-12)
        assert_allclose(model.state.slots[0][0], expected.G, rtol=1e-12)
        assert model.state.t == expected.t
        assert_allclose(model.progressive_loss, reference_linear.progressive_loss(expected.losses), rtol=1e-12)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("loss", [Softmax(), OneVsRest(Hinge())], ids=str)
def test_the_blend_of_several_classes_minimises_the_loss_of_the_sample(loss):
    X, y, weight = multi_output_problems.data(n=80, seed=4)
    start = fit_linear(X[:20], y[:20], lr=0.5, loss=loss, classes=range(5))
    models = [fit_linear(X[a:b], y[a:b], model=start) for a, b in ((20, 40), (40, 60), (60, 80))]
    average, total = (merge(models, start, rule=rule) for rule in ("average", "sum"))
    found = set()
    for sample in (Chunk(X, y, weight), Chunk(X[:30], (y[:30] + 1) % 5, None), Chunk(X[20:40], y[20:40], None)):
        blended = merge(models, start, rule="blend", sample=sample)
        p, q = (model.decision_function(sample.X) for model in (average, total))

        def loss_at(b, p=p, q=q, sample=sample):
            return average.loss_of_scores(sample.y, p + b * (q - p), sample.weight)

        losses = [loss_at(b) for b in np.linspace(0, 0.9, 181)]
        found.add(int(np.argmin(losses)))
        assert abs(blended.mean_loss(*sample) - min(losses)) < 1e-5
    assert len(found) > 1


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", ["average", "sum"])
@pytest.mark.parametrize("options", [{}, {"rule": RDA()}], ids=str)
def test_grouping_of_several_classes_and_labels_of_some_parts(rule, options):
    X, y, _ = multi_output_problems.data(n=80, seed=3)
    names = np.array(["ant", "bee", "cat", "dog", "emu"])
    parts = [sorted(set(range(k, 80, 4)) - set(np.flatnonzero(y == k))) for k in range(4)]
    a, b, c, d = (fit_linear(X[rows], names[y[rows]], lr=0.5, **options) for rows in parts)
    merged = merge([a, b, c, d], rule=rule)
    assert merged.classes.tolist() == names.tolist()
    assert a.classes.tolist() == names[1:].tolist()
    assert_near(merge([d, b, a, c], rule=rule), merged)
    assert_near(merge([merge([a, b], rule=rule), merge([c, d], rule=rule)], rule=rule), merged)
    only_a = merge([a, fit_linear(X[:0], names[:0], model=a)], a, rule=rule)
    assert_array_equal(only_a.coef, a.coef)
    if not options and rule == "average":  # class "ant" is an average of the other three
        coefs = np.stack([model.coef[0] for model in (b, c, d)])
        assert (merged.coef[0] <= coefs.max(axis=0) + 1e-15).all()
        assert (merged.coef[0] >= coefs.min(axis=0) - 1e-15).all()
    unlabelled = fit_linear(X[:0], names[:0], loss=Softmax(), lr=0.5, **options)
    assert merge([unlabelled, unlabelled], rule=rule).coef.shape == (0, 9)
    assert_near(merge([unlabelled, a, b, c, d], rule=rule), merged)
    declared = fit_linear(X, names[y], lr=0.5, classes=names)
    with pytest.raises(ValueError, match=r"^models: at index 1 has the labels \['cow', 'emu', 'owl'\], others"):
        merge([declared, fit_linear(X, np.array(["owl", "emu", "cow"])[y % 3], lr=0.5)])


def test_rules_compiled(dtype):
    for options, rule in itertools.product(({}, {"penalty": L1(0.02)}, {"rule": RDA()}), ("average", "sum")):
        models = parts(dtype=dtype, **options)
        compiled = merge(models, rule=rule)
        assert compiled.dtype == dtype
        with interpreting():
            assert_near(compiled, merge(models, rule=rule), 1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("rule", ["average", "sum"])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("options", [{}, {"rule": RDA()}, {"rule": FTRL(l1=0.1)}, {"rule": RDA(), "penalty": L1(0.01)}])
def test_grouping_and_order_do_not_matter(rule, begun, options):
    start = fit_plain(X[:20], Y[:20], **options) if begun else None
    models = parts(start, RANGES[1:] if begun else RANGES, **options)
    merged = merge(models, start, rule=rule)
    *_, a, b = models
    assert_near(merge([merge([a, b], start, rule=rule), *models[:-2]], start, rule=rule), merged)
    assert_near(merge([merge(models[:-1], start, rule=rule), b], start, rule=rule), merged)
    assert_near(merge(models[::-1], start, rule=rule), merged)
    assert_near(merge([merge([model], start, rule=rule) for model in models], start, rule=rule), merged)


@pytest.mark.parametrize("rule", ["average", "sum"])
@pytest.mark.parametrize("workers", [2, 5])
def test_a_feature_that_one_learner_has_seen_keeps_its_weight(rule, workers):
    rng = np.random.default_rng(0)
    rows = [sp.csr_array(np.c_[rng.normal(size=(30, 3)), np.zeros(30)]) for _ in range(workers)]
    rare = rows[1].toarray()
    rare[::4, 3] = 1.0
    rows[1] = sp.csr_array(rare)
    models = [fit_linear(part, np.where(rng.random(30) < 0.5, -1, 1), lr=0.5) for part in rows]
    merged = merge(models, rule=rule)
    assert merged.coef[3] == pytest.approx(models[1].coef[3], rel=1e-15)
    assert merged.coef[3] != 0
    plain = np.mean([model.coef[3] for model in models])
    assert abs(plain) < 0.6 * abs(merged.coef[3])


def test_the_average_is_between_the_learners():
    models = parts()
    merged = merge(models)
    coefs = np.array([model.coef for model in models])
    is_updated = np.array([model.state.slots[0][0] > 0 for model in models])
    low = np.where(is_updated, coefs, np.inf).min(axis=0)
    high = np.where(is_updated, coefs, -np.inf).max(axis=0)
    is_known = is_updated.any(axis=0)
    assert (merged.coef[is_known] >= low[is_known] - 1e-15).all()
    assert (merged.coef[is_known] <= high[is_known] + 1e-15).all()
    assert not merged.coef[~is_known].any()


def test_the_blend_minimises_the_loss_of_the_sample():
    start = fit_linear(X[:20], Y[:20], lr=0.5)
    models = parts(start, RANGES[1:])
    for sample in (Chunk(X, Y, WEIGHT), Chunk(X[:30], Y[:30], None), Chunk(X[40:], -Y[40:], None)):
        endpoints = [merge(models, start, rule=rule) for rule in ("average", "sum")]
        blended = merge(models, start, rule="blend", sample=sample)
        coefs, biases = [endpoint.coef for endpoint in endpoints], [endpoint.intercept for endpoint in endpoints]

        def loss(b, coefs=coefs, biases=biases, sample=sample):
            scores = sample.X @ (coefs[0] + b * (coefs[1] - coefs[0])) + biases[0] + b * (biases[1] - biases[0])
            return np.average(np.logaddexp(0, -sample.y * scores), weights=sample.weight)

        best = min(loss(b) for b in np.linspace(0, 0.9, 1001))
        blended_loss = blended.mean_loss(sample.X, sample.y, sample.weight)
        assert best - 1e-12 <= blended_loss <= best + 1e-6
        assert min(loss(0), loss(0.9)) - blended_loss >= -1e-9


@pytest.mark.compiled_only("40 seconds in pure Python")
def test_a_penalty_keeps_zeros_and_its_balance():
    models = parts(penalty=L1(0.1))
    zero = np.all([model.coef == 0 for model in models], axis=0)
    assert zero.any()
    for rule in ("average", "sum"):
        assert not merge(models, rule=rule).coef[zero].any()
    # A weight that both halves of the data hold at the balance of loss and ridge stays there.
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(4000, 2))
    y = dense @ [1.0, -1.0]
    one_model = fit_linear(dense, y, loss="squared", penalty=L2(1.0), passes=20, lr=0.1)
    halves = [fit_linear(dense[k::2], y[k::2], loss="squared", model=one_model, passes=2) for k in range(2)]
    for rule in ("average", "sum"):
        assert_allclose(merge(halves, one_model, rule=rule).coef, one_model.coef, atol=0.02)


def test_merged_models_resume(tmp_path):
    models = parts(penalty=L1(0.02))
    before = [model_values(model) for model in models]
    merged = merge(models)
    assert [model_values(model) for model in models] == before
    merged.save(tmp_path / "model")
    continued = fit_linear(X, Y, model=merged)
    assert model_values(fit_linear(X, Y, model=load_model(tmp_path / "model"))) == model_values(continued)
    assert continued.state.t == merged.state.t + 80


def test_features_and_labels_added_in_later_parts():
    narrow = fit_linear(X[:40, :4], np.ones(40), lr=0.5)
    wide = fit_linear(X[40:], np.where(Y[40:] > 0, 1, -1), lr=0.5)
    for pair in ([narrow, wide], [wide, narrow]):
        merged = merge(pair)
        assert merged.n_features == 9
        assert_array_equal(merged.classes, [-1, 1])
        assert_array_equal(merged.coef[4:], wide.coef[4:])
    with pytest.raises(ValueError, match=r"^models: at index \d has the labels \['a', 'b'\], others have \[-1, 1\]"):
        merge([wide, fit_linear(X, np.where(Y > 0, "b", "a"), lr=0.5)])


def fit(**options):
    return fit_plain(X, Y, **options)


INVALID = {
    "none": (lambda: merge([]), ValueError, "^models: got none"),
    "no models": (lambda: merge([fit(), 5]), TypeError, "^models: got int at index 1"),
    "no start": (lambda: merge([fit()], 5), TypeError, "^start: got int"),
    "a rule": (
        lambda: merge([fit()], rule="median"), ValueError,
        "^rule: got 'median'; must be one of average, sum, blend",
    ),
    "no sample": (lambda: merge([fit()], rule="blend"), ValueError, "^sample: got NoneType for rule='blend'"),
    "a sample": (
        lambda: merge([fit()], sample=Chunk(X, Y, None)), ValueError, "^sample: got Chunk for rule='average'",
    ),
    "no chunk": (lambda: merge([fit()], rule="blend", sample=(X, Y)), TypeError, "^sample: got tuple"),
    "dtype": (lambda: merge([fit(), fit(dtype=np.float32)]), ValueError, "^models: at index 1 dtype is float32"),
    "loss": (lambda: merge([fit(), fit(loss="hinge")]), ValueError, "^models: at index 1 loss is Hinge"),
    "rate": (
        lambda: merge([fit(), fit(lr=0.1)]), ValueError,
        "^models: at index 1 lr is 0.1, but the start or the first model has 0.5",
    ),
    "penalty": (lambda: merge([fit(), fit(penalty=L1(0.1))]), ValueError, "^models: at index 1 penalty is L1"),
    "start": (
        lambda: merge([fit_plain(X[:5], Y[:5])], fit()), ValueError, "^models: at index 0 has seen 5 rows",
    ),
    "rule of learning": (
        lambda: merge([fit(rule=Adadelta())]), ValueError, "^models: does not support the rule Ada",
    ),
    "several rates": (
        lambda: merge([fit(lr=Rates((0.1, 1.0)))]), ValueError, "^models: does not support several learning rates",
    ),
    "groups of classes": (
        lambda: merge([fit_linear(X, np.arange(80) % 3, lr=0.5, penalty=GroupL2(0.1))]), ValueError,
        "^models: does not support the penalty GroupL2",
    ),
    "average": (lambda: merge([fit(average=Polyak())]), ValueError, "^models: does not support average="),
    "normalized": (lambda: merge([fit(normalized=True)]), ValueError, "^models: does not support normalised"),
}  # fmt: skip


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(("call", "error", "message"), INVALID.values(), ids=INVALID)
def test_rejected_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
