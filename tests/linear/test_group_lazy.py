"""Penalties of groups of features: lazy training against eager references, averages, files, and what is refused."""

import itertools

import numpy as np
import pytest
import reference
import reference_linear
import reference_multi_output
from linear_problems import COLUMNS, data, fit_plain, model_values
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    FTRL,
    L1,
    RDA,
    Adagrad,
    AdagradClassifier,
    Columns,
    Grouped,
    GroupL2,
    GroupLinf,
    Hashed,
    InverseSqrt,
    Numeric,
    OneHot,
    OnlineToBatch,
    Polyak,
    Rates,
    fit_linear,
    init,
    load_model,
    merge,
    minimize_adagrad,
    update,
)

KINDS = {
    "l2": (GroupL2, reference_multi_output.group_l2_prox),
    "linf": (GroupLinf, reference_multi_output.group_linf_prox),
}


def adagrad_step(x, g, s, lr):
    x, G, step_size = reference.adagrad(x, g, s, lr, eps=0.1)
    return x, G, step_size


# name: (record, step of the reference, its first accumulators, whether it is dual averaging)
RULES = {
    "adagrad": (Adagrad(eps=0.1), adagrad_step, 0.0, False),
    "rda": (RDA(eps=0.1), lambda x, g, s, lr: reference.rda(x, g, s, lr, eps=0.1), (0.0, 0.0), True),
    "ftrl": (FTRL(beta=0.5), lambda x, g, s, lr: reference.ftrl(x, g, s, lr, beta=0.5), (0.0, 0.0), True),
}
RATES = {"constant": (0.5, lambda t: 0.5), "decaying": (InverseSqrt(0.7, 0.3), lambda t: 0.7 / np.sqrt(1 + 0.3 * t))}
GROUPS = np.array([2, 0, 1, 0, 2, 3, 1, 1, 0])  # group 3 has one feature
STRENGTHS = np.array([0.02, 0.9, 0.1, 0.1])
X, Y, WEIGHT = data(seed=5)


def penalty_of(kind):
    return Grouped(KINDS[kind][0](STRENGTHS * (1.5 if kind == "linf" else 1)), GROUPS)


def eager(kind, rule, rate):
    """Return the weights and the intercept of the reference after each update."""
    penalty, prox = penalty_of(kind), KINDS[kind][1]
    _, step, slots, is_dual = RULES[rule]
    return reference_linear.fit_groups(
        X.toarray(), Y, "logistic", RATES[rate][1], step, groups=GROUPS, slots=slots, is_dual=is_dual, weight=WEIGHT,
        group_prox=lambda j, x, w: prox(x, w, penalty.penalty.strength[j]), passes=2,
    )  # fmt: skip


def assert_lazy_is_eager(kind, rule, rate, average=False, tolerance=1e-10, **options):
    iterates = eager(kind, rule, rate)
    model = fit_linear(
        X, Y, penalty=penalty_of(kind), rule=RULES[rule][0], lr=RATES[rate][0], sample_weight=WEIGHT, passes=2,
        average=average, **options,
    )  # fmt: skip
    used = [iterates[-1]]
    if average:
        used = iterates[1 + average.start :] if isinstance(average, Polyak) else iterates[average.start : -1]
    w, b = (np.mean([iterate[k] for iterate in used], axis=0) for k in (0, 1))
    assert_allclose(model.coef, w, rtol=tolerance, atol=tolerance)
    assert_allclose(model.intercept, b, rtol=tolerance, atol=tolerance)
    assert_array_equal(model.coef == 0, w == 0)
    assert_allclose(model.coef_of([3, 0]), w[[3, 0]], rtol=tolerance, atol=tolerance)
    for r in range(3):
        assert_allclose(model.decision_function(X[r : r + 1]), X[r : r + 1] @ w + b, rtol=tolerance, atol=tolerance)
    if not average:
        zero_groups = [j for j in range(4) if not w[GROUPS == j].any()]
        assert 0 < len(zero_groups) < 4


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_lazy_is_eager(kind, rule):
    for rate, average in itertools.product(RATES, (False, Polyak(3), OnlineToBatch(2))):
        assert_lazy_is_eager(kind, rule, rate, average)


def test_lazy_is_eager_compiled():
    assert_lazy_is_eager("l2", "adagrad", "decaying", Polyak(3))


def test_dual_averaging_compiled():
    assert_lazy_is_eager("linf", "rda", "constant", dtype=np.float64)


@pytest.mark.usefixtures("interpreted")
def test_groups_of_one_feature_are_l1():
    """Also with importance-weight-aware updates, in batches and for single rows in place."""
    single = Grouped(GroupL2(0.05), np.arange(COLUMNS))
    for options in ({}, {"invariant": True}, {"batch_size": 3}, {"rule": RDA()}, {"average": Polyak()}):
        grouped, plain = (
            fit_plain(X, Y, sample_weight=WEIGHT, penalty=penalty, **options) for penalty in (single, L1(0.05))
        )
        assert_allclose(grouped.coef, plain.coef, rtol=1e-10, atol=1e-14)
    grouped, plain = (AdagradClassifier(penalty=penalty, lr=0.5) for penalty in (single, L1(0.05)))
    for r in range(X.shape[0]):
        for model in (grouped, plain):
            model.partial_fit(X[r : r + 1], Y[r : r + 1], classes=[-1, 1])
    assert_allclose(grouped.coef_, plain.coef_, rtol=1e-10, atol=1e-14)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", RULES)
def test_continued_training(rule, tmp_path):
    for average in (False, Polyak(2)):
        options = {"penalty": penalty_of("l2"), "rule": RULES[rule][0], "average": average}
        one_call = fit_plain(X, Y, **options)
        first = fit_plain(X[:20], Y[:20], **options)
        first.predict(X)  # predictions leave the model as it is
        first.save(tmp_path / "model")
        again = fit_linear(X[20:], Y[20:], model=load_model(tmp_path / "model"))
        assert model_values(again) == model_values(one_call)
        with_l1 = fit_linear(X[:0], Y[:0], model=one_call, penalty=L1(0.1), average=False)
        without_average = fit_linear(X[:0], Y[:0], model=one_call, average=False)
        if not RULES[rule][3]:
            assert_allclose(with_l1.coef, without_average.coef, rtol=1e-12)
        groups = fit_linear(X[:0], Y[:0], model=with_l1, penalty=penalty_of("l2"))
        assert_allclose(groups.coef, without_average.coef, rtol=1e-12)


@pytest.mark.usefixtures("interpreted")
def test_a_row_that_is_refused_changes_nothing():
    model = AdagradClassifier(penalty=penalty_of("l2"), lr=0.5).partial_fit(X, Y)
    before = model.coef_.copy()
    bad = X[1:2].copy()
    bad.data[:] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(bad, Y[1:2])
    assert_array_equal(model.coef_, before)


# --- vectors -----------------------------------------------------------------------------------------------------


def test_vectors():
    """A dense gradient acts on all groups, and a sparse one on the groups of the listed entries."""
    x = np.array([1.0, -2.0, 0.5, 3.0])
    groups, g = [1, 0, 1, 0], np.array([0.3, 0.1, -0.2, 1.0])
    sizes = 0.5 / (np.abs(g) + 1e-10)
    expected = x - sizes * g
    for j, strength in enumerate((0.5, 0.2)):
        members = np.array(groups) == j
        expected[members] = reference_multi_output.group_l2_prox(expected[members], sizes[members], strength)
    state = init(x, lr=0.5, penalty=Grouped(GroupL2(np.array([0.5, 0.2])), groups))
    dense, _ = update(x, g, state)
    assert_allclose(dense, expected, rtol=1e-12)
    listed, _ = update(x, (np.array([0, 2]), g[[0, 2]]), state)
    assert_allclose(listed, np.where(np.array(groups) == 1, expected, x), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fit_linear(X, Y, penalty=Grouped(L1(0.1), GROUPS)), TypeError, "L1 has no group_value"),
        (
            lambda: fit_linear(X, Y, penalty=Grouped(GroupL2(0.1), GROUPS / 2)),
            TypeError,
            "must be a list of inte",
        ),
        (lambda: fit_linear(X, Y, penalty=Grouped(GroupL2(0.1), GROUPS - 1)), ValueError, "got -1 at index 1"),
        (lambda: fit_linear(X, Y, penalty=Grouped(GroupL2(0.1), GROUPS * 4)), ValueError, "got 12 at index 5"),
        (lambda: fit_linear(X, Y, penalty=Grouped(GroupL2(0.1), GROUPS[:3])), ValueError, r"Grouped.groups: got shape"),
        (
            lambda: fit_linear(X, Y, penalty=Grouped(GroupL2(0.1), GROUPS[:3].tolist())),
            ValueError,
            r"Grouped.groups: got shape",
        ),
        (lambda: fit_linear(X, Y, penalty=Grouped(GroupL2(np.ones(9)), GROUPS)), ValueError, r"GroupL2.strength: got"),
        (lambda: fit_linear(X, Y, penalty=penalty_of("l2"), lr=Rates()), ValueError, "whose groups are of features"),
        (lambda: fit_linear(X, np.arange(40) % 3, penalty=penalty_of("l2")), ValueError, "for several classes; use Gr"),
        (lambda: fit_linear(X, Y, penalty=penalty_of("l2"), normalized=True), ValueError, "^normalized: got True"),
        (lambda: fit_linear(X, Y, penalty=penalty_of("l2"), threads=2), ValueError, "does not support the penalty Gr"),
        (lambda: merge([fit_plain(X, Y, penalty=penalty_of("l2"))] * 2), ValueError, "does not support the penalty Gr"),
        (lambda: init(np.ones((9, 2)), penalty=penalty_of("l2")), ValueError, "use GroupL2 for the rows of a matrix"),
        (lambda: minimize_adagrad(np.sum, np.ones(9), penalty=penalty_of("l2")), ValueError, "do not support Grouped"),
    ],
)
@pytest.mark.usefixtures("interpreted")
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_groups_of_columns():
    features = (("age", None), ("job", "cook"), ("job", "judge"))
    entries = (Numeric("age"), OneHot("job"))
    assert_array_equal(Columns(entries, features=features).groups, [0, 1, 1])
    assert_array_equal(Columns((*entries, Hashed("city")), bits=1, features=features).groups, [0, 1, 2, 3, 3])
