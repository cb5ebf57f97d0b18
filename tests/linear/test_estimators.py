"""AdagradClassifier and AdagradRegressor: scikit-learn's manners, fit_linear's results."""

import inspect
import math
import os
import pickle
import re
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    Adagrad,
    EarlyStopping,
    ElasticNet,
    Huber,
    InverseSqrt,
    InverseTime,
    Logistic,
    NonNegative,
    NoPenalty,
    Polyak,
    Quantile,
    Rates,
    RateSearch,
    _csr,
    fit_linear,
    load_model,
)
from adagrad_nb.linear import row_order as contents_module
from adagrad_nb.linear.row_order import sort_rows_by_hash

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, SGDRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.estimator_checks import check_estimator

from adagrad_nb import AdagradClassifier, AdagradRegressor

BOTH = [AdagradClassifier, AdagradRegressor]
# The options of `fit_linear` that the estimators have by default.
DEFAULTS = {
    AdagradClassifier: {"loss": "logistic"},
    AdagradRegressor: {"loss": "squared", "standardize_targets": True},
}
both = pytest.mark.parametrize("kind", BOTH)
slow_without_compiler = pytest.mark.compiled_only("hundreds of thousands of updates take minutes in pure Python")
exhaustive = pytest.mark.skipif(
    os.environ.get("ADAGRAD_NB_EXHAUSTIVE") != "1", reason="compiles for a minute; ADAGRAD_NB_EXHAUSTIVE=1 runs it"
)


def problem(kind, n=200, seed=0):
    """(X, y): sparse rows that a linear model can learn."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6)) * (rng.random((n, 6)) < 0.6)
    score = X @ [1.0, -2.0, 0.0, 0.5, 0.0, 1.0] + 0.3 + 0.2 * rng.normal(size=n)
    return sp.csr_array(X), np.where(score > 0, "yes", "no") if kind is AdagradClassifier else score


def are_equal(a, b):
    """Whether two estimators have learnt the same, bit for bit."""
    return a.coef_.tobytes() == b.coef_.tobytes() and a.intercept_.tobytes() == b.intercept_.tobytes()


# --- scikit-learn's own checks -------------------------------------------------------------------------------------


@slow_without_compiler
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")  # pandas and the like are not installed
@pytest.mark.parametrize(
    "estimator",
    [
        AdagradClassifier(),
        AdagradRegressor(),
        pytest.param(AdagradClassifier("hinge", penalty="l2"), marks=exhaustive),
        pytest.param(AdagradClassifier("modified_huber", penalty="l1"), marks=exhaustive),
        pytest.param(AdagradRegressor("huber", penalty="elasticnet"), marks=exhaustive),
    ],
    ids=str,
)
def test_the_checks_of_scikit_learn(estimator):
    """Every one of them, none excused."""
    results = check_estimator(estimator, on_skip=None, expected_failed_checks={})
    passed = [result["check_name"] for result in results if result["status"] == "passed"]
    assert len(passed) > 50
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    assert "check_sample_weight_equivalence_on_sparse_data" in passed


@both
def test_every_parameter_and_attribute_is_documented(kind):
    text = inspect.getdoc(kind)
    for name in inspect.signature(kind).parameters:
        assert re.search(rf"^{name} : .*default|^{name} : .*optional", text, re.M), name
    X, y = problem(kind)
    for name in vars(kind().fit(X, y)):
        if name.endswith("_"):
            assert re.search(rf"^{name} : ", text, re.M), name
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("adagrad_nb"):
            assert "Returns\n" in inspect.getdoc(method), name


# --- what fit_linear learns ----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fit_is_fit_linear(kind, dtype):
    X, y = problem(kind)
    X = X.astype(dtype)
    options = {"lr": 0.3, "rule": Adagrad(1e-6)}
    for shuffle in (False, True):
        estimator = kind(penalty="l1", alpha=0.01, max_iter=3, shuffle=shuffle, random_state=0, **options).fit(X, y)
        if shuffle:
            codes = (y == "yes").astype(int) if kind is AdagradClassifier else y
            seed = int(np.random.RandomState(0).randint(2**31 - 1))
            rows, targets, weight, _ = sort_rows_by_hash(X, codes, np.ones(200), seed)
            weight_option = {"sample_weight": weight / weight.mean()}
        else:
            rows, targets, weight_option = X, y, {}
        linear_options = DEFAULTS[kind] | options | weight_option
        model = fit_linear(rows, targets, penalty=L1(0.01), passes=3, **linear_options)
        assert estimator.coef_.dtype == dtype
        assert np.ravel(estimator.coef_).tobytes() == model.coef.tobytes()
        assert_array_equal(estimator.intercept_, np.array([model.intercept], dtype))
        assert estimator.t_ == model.state.t
        scores = model.decision_function(X)
        if kind is AdagradClassifier:
            assert estimator.coef_.shape == (1, 6)
            assert_array_equal(estimator.classes_, ["no", "yes"])
            assert_allclose(estimator.decision_function(X), scores, rtol=1e-5, atol=1e-6)
            assert_array_equal(estimator.predict(X), np.where(scores > 0, "yes", "no"))
            assert_allclose(estimator.predict_proba(X), model.predict_proba(X), rtol=1e-5, atol=1e-6)
            assert_allclose(estimator.predict_log_proba(X), np.log(model.predict_proba(X)), rtol=1e-4, atol=1e-6)
        else:
            assert estimator.coef_.shape == (6,)
            assert_allclose(estimator.predict(X), scores, rtol=1e-5, atol=1e-6)
        assert estimator.score(X, y) > 0.8


@both
def test_partial_fit_is_fit_linear_chunk_by_chunk(kind):
    X, y = problem(kind)
    classes_option = {"classes": ["no", "yes"]} if kind is AdagradClassifier else {}
    one_call = kind(penalty="l2").partial_fit(X, y)
    parts = kind(penalty="l2")
    for rows in np.array_split(np.arange(200), 7):
        parts.partial_fit(X[rows], y[rows], **classes_option)
    assert are_equal(parts, one_call)
    assert len(parts.loss_curve_) == 7
    model = fit_linear(X, y, penalty=L2(1e-4), **DEFAULTS[kind])
    assert np.ravel(one_call.coef_).tobytes() == model.coef.tobytes()
    assert one_call.t_ == 200


@both
def test_fit_starts_from_zero_and_warm_start_resumes(kind):
    X, y = problem(kind)
    options = {"shuffle": False, "penalty": "l1", "alpha": 0.01}
    five_passes = kind(max_iter=5, **options).fit(X, y)
    assert are_equal(kind(max_iter=5, **options).partial_fit(X[:9], y[:9]).fit(X, y), five_passes)
    warm = kind(max_iter=2, warm_start=True, **options).fit(X, y)
    first = clone(warm).fit(X, y)
    warm.set_params(max_iter=3).fit(X, y)
    assert are_equal(warm, five_passes)
    assert not are_equal(first, five_passes)
    assert (warm.n_iter_, warm.t_, five_passes.n_iter_, five_passes.t_) == (3, 1000, 5, 1000)
    with pytest.raises(ValueError, match="X has 3 features, but"):
        warm.fit(X[:, :3], y)


def test_penalties_have_the_strengths_of_scikit_learn():
    names = {"l1": L1(0.2), "l2": L2(0.2), "elasticnet": ElasticNet(0.2 * 0.25, 0.2 * 0.75), None: None}
    for kind in BOTH:
        X, y = problem(kind)
        for name, record in names.items():
            a = kind(penalty=name, alpha=0.2, l1_ratio=0.25, random_state=0, max_iter=1).fit(X, y)
            b = kind(penalty=record, random_state=0, max_iter=1).fit(X, y)
            assert_allclose(a.coef_, b.coef_, rtol=1e-12)


@slow_without_compiler
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_objective_is_that_of_scikit_learn():
    """With weights, duplicates and classes of different importance: the batch optimum of the same objective."""
    X, y = problem(AdagradClassifier, 100)
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 100, 150)
    weight = rng.choice([0.0, 0.5, 1.0, 4.0], 150)
    X, y, alpha, classes = X[rows], y[rows], 0.02, {"no": 1.0, "yes": 2.5}
    total = np.sum(weight * np.where(y == "yes", 2.5, 1.0))
    batch = LogisticRegression(C=1 / (alpha * total), tol=1e-10, max_iter=10_000, class_weight=classes)
    batch.fit(X, y, sample_weight=weight)
    one_pass = AdagradClassifier(
        penalty="l2", alpha=alpha, lr=InverseSqrt(0.5, 1e-2), max_iter=2000, class_weight=classes, random_state=0
    ).fit(X, y, sample_weight=weight)
    assert_allclose(one_pass.coef_, batch.coef_, atol=0.01)
    assert_allclose(one_pass.intercept_, batch.intercept_, atol=0.01)


# --- targets in any unit -------------------------------------------------------------------------------------------


def house_prices():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 6))
    return X, 2e5 + X @ [8e4, -3e4, 1e4, 0.0, 0.0, 2e4] + 2e4 * rng.normal(size=2000)


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("data", [house_prices, diabetes])
@slow_without_compiler
def test_targets_in_any_unit(data, unit):
    """By default, as good as scikit-learn's regressor on standardised targets."""
    X, y = data()
    standardized = (y - y.mean()) / y.std()
    peer = np.mean([SGDRegressor(random_state=k).fit(X, standardized).score(X, standardized) for k in range(5)])
    scores = [AdagradRegressor(random_state=k).fit(X, unit * y).score(X, unit * y) for k in range(5)]
    assert min(scores) > peer - 0.02
    part = AdagradRegressor(random_state=0)
    for _ in range(10):
        part.partial_fit(X, unit * y)
    assert part.score(X, unit * y) > peer - 0.02


def test_the_weights_are_proportional_to_the_unit_of_the_targets():
    """Bit for bit, if the unit is a power of two."""
    X, y = problem(AdagradRegressor)
    model = AdagradRegressor(shuffle=False).fit(X, y)
    for exponent in (-60, 30):
        scaled = AdagradRegressor(shuffle=False).fit(X, np.ldexp(y, exponent))
        assert_array_equal(scaled.coef_, np.ldexp(model.coef_, exponent))
        assert_array_equal(scaled.intercept_, np.ldexp(model.intercept_, exponent))
        assert_array_equal(scaled.predict(X), np.ldexp(model.predict(X), exponent))


def test_a_loss_with_unknown_targets():
    class Ranks(Huber):
        target_type = "ranks"

    X, y = problem(AdagradRegressor)
    with pytest.raises(ValueError, match=r"^loss: got Ranks, a loss for targets of type 'ranks'; AdagradReg"):
        AdagradRegressor(Ranks()).fit(X, y)


def test_targets_that_are_not_standardised():
    X, y = problem(AdagradRegressor)
    model = AdagradRegressor(standardize_targets=False, shuffle=False, max_iter=1, lr=0.5).fit(X, y)
    assert model.coef_.tobytes() == fit_linear(X, y, loss="squared", lr=0.5).coef.tobytes()
    counts = np.round(np.exp(y))
    assert not AdagradRegressor("poisson").fit(X, counts).model_.standardize_targets


# --- order and weights ---------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("dense", [False, True])
def test_the_fit_does_not_depend_on_the_order_of_the_rows(kind, dense):
    X, y = problem(kind)
    X = X.toarray() if dense else X
    weight = np.random.default_rng(0).integers(0, 4, 200)
    options = {"penalty": "elasticnet", "random_state": 3, "max_iter": 2}
    model = kind(**options).fit(X, y, weight)
    order = np.random.default_rng(1).permutation(200)
    assert are_equal(kind(**options).fit(X[order], y[order], weight[order]), model)
    listed = np.repeat(order, weight[order])
    assert are_equal(kind(**options).fit(X[listed], y[listed]), model)
    assert are_equal(kind(**options).fit(X, y, weight * 3), model)
    assert not are_equal(kind(**options | {"random_state": 4}).fit(X, y, weight), model)
    assert not are_equal(kind(shuffle=False, **options).fit(X, y, weight), model)


def test_rows_sorted_by_hash(dtype):
    rng = np.random.default_rng(0)
    X = sp.csr_array(rng.integers(0, 3, (300, 4)).astype(dtype))
    y, weight = rng.integers(0, 2, 300), rng.integers(0, 3, 300).astype(float)
    expected = {}
    for row, target, h in zip(X.toarray().tolist(), y.tolist(), weight.tolist(), strict=True):
        if h:
            expected[(*row, target)] = expected.get((*row, target), 0.0) + h
    rows, targets, total, numbers = sort_rows_by_hash(X, y, weight, 5)
    assert_array_equal(X[numbers].toarray(), rows.toarray())
    found = {(*row, target): h for row, target, h in zip(rows.toarray().tolist(), targets, total, strict=True)}
    assert len(found) == rows.shape[0] < 200
    assert found == expected
    # in whatever order entries are stored, zeros stored or not
    mixed = X.copy()
    for r in range(300):
        part = slice(X.indptr[r], X.indptr[r + 1])
        mixed.indices[part], mixed.data[part] = X.indices[part][::-1], X.data[part][::-1]
    dense = X.toarray()
    dense[dense == 0] = -0.0
    explicit_zeros = sp.csr_array((dense.ravel(), np.tile(np.arange(4), 300), np.arange(0, 1201, 4)), shape=(300, 4))
    for variant in (mixed, explicit_zeros):
        sorted_again, _, total_again, _ = sort_rows_by_hash(variant, y, weight, 5)
        assert_array_equal(sorted_again.toarray(), rows.toarray())
        assert_array_equal(total_again, total)


def test_rows_sorted_by_hash_are_in_a_random_order():
    """Of 20 numbers, far from sorted, each at every place about as often, and another order for each seed."""
    X, n = sp.csr_array(np.arange(1.0, 21.0)[:, None]), 2000
    orders = np.array([sort_rows_by_hash(X, np.zeros(20), np.ones(20), seed)[0].toarray().ravel() for seed in range(n)])
    assert len({tuple(order) for order in orders.tolist()}) == n
    for value in (1.0, 7.0, 20.0):
        counts = np.bincount(np.argmax(orders == value, axis=1), minlength=20)
        assert np.sum((counts - n / 20) ** 2 / (n / 20)) < 50  # chi squared of 19 degrees: one in 10,000


def test_rows_sorted_by_hash_when_hashes_collide(monkeypatch):
    """Rows are only taken for equal when they are."""
    monkeypatch.setattr(contents_module, "hash_rows", lambda *arrays: arrays[-1].fill(7))
    X = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    rows, targets, total, _ = sort_rows_by_hash(sp.csr_array(X), np.array([0, 0, 1, 1, 1]), np.ones(5), 0)
    assert rows.toarray().tolist() == [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    assert (targets.tolist(), total.tolist()) == ([0, 1, 1, 1], [2.0, 1.0, 1.0, 1.0])


def test_no_rows_sorted_by_hash():
    X = sp.csr_array((3, 2))
    rows, targets, total, _ = sort_rows_by_hash(X, np.zeros(3), np.zeros(3), 0)
    assert rows.shape == (0, 2)
    assert targets.size == total.size == 0
    rows, _, total, _ = sort_rows_by_hash(X, np.zeros(3), np.ones(3), 0)
    assert (rows.shape, total.tolist()) == ((1, 2), [3.0])


def test_class_weights():
    X, y = problem(AdagradClassifier)
    y = np.where(np.arange(200) % 4 > 0, "yes", y)
    weight = np.random.default_rng(0).random(200)
    factors = {"no": 3.0, "yes": 0.5}
    model = AdagradClassifier(random_state=0, max_iter=2).fit(X, y, weight * np.where(y == "no", 3.0, 0.5))
    assert are_equal(AdagradClassifier(class_weight=factors, random_state=0, max_iter=2).fit(X, y, weight), model)
    assert are_equal(AdagradClassifier(class_weight={"no": 6.0}, random_state=0, max_iter=2).fit(X, y, weight), model)
    totals = {label: weight[y == label].sum() for label in ("no", "yes")}
    balance = np.array([weight.sum() / (2 * totals[label]) for label in y])
    balanced = AdagradClassifier(class_weight="balanced", random_state=0, max_iter=2).fit(X, y, weight)
    weighted = AdagradClassifier(random_state=0, max_iter=2).fit(X, y, weight * balance)
    assert_allclose(balanced.coef_, weighted.coef_, rtol=1e-9)
    part = AdagradClassifier(class_weight=factors).partial_fit(X, y, sample_weight=weight)
    assert are_equal(AdagradClassifier().partial_fit(X, y, sample_weight=weight * np.where(y == "no", 3.0, 0.5)), part)


# --- data and labels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pair", [[-1, 1], [3.0, 7.0], [False, True], ["b", "a"], np.array(["b", "a"], object)], ids=str
)
def test_labels_of_any_kind(pair):
    X, y = problem(AdagradClassifier)
    pair = np.sort(np.asarray(pair))
    named = pair[(y == "yes").astype(int)]
    model = AdagradClassifier(random_state=0).fit(X, named)
    assert_array_equal(model.classes_, pair)
    assert model.predict(X).dtype == pair.dtype
    assert are_equal(model, AdagradClassifier(random_state=0).fit(X, y))


def test_classes_declared_or_found():
    X, y = problem(AdagradClassifier)
    first = np.flatnonzero(y == "yes")[:20]
    model = AdagradClassifier().partial_fit(X[first], y[first], classes=["yes", "no"])
    model.partial_fit(X, y)
    assert_array_equal(model.classes_, ["no", "yes"])
    found = AdagradClassifier().partial_fit(X, y)
    assert_array_equal(found.classes_, ["no", "yes"])
    with pytest.raises(ValueError, match=r"^y: got 'maybe', which is not among the classes \['no', 'yes'\]; pass all"):
        found.partial_fit(X[:3], ["no", "maybe", "yes"])
    with pytest.raises(ValueError, match=r"^y: got 0, which is not among the classes"):
        found.partial_fit(X[:3], [1, 1, 0])
    with pytest.raises(ValueError, match=r"^classes: got \['a', 'b'\], but the first call had \['no', 'yes'\]"):
        found.partial_fit(X[:3], y[:3], classes=["a", "b"])
    with pytest.raises(ValueError, match=r"^y: got 1 class, \['yes'\]; must have at least two"):
        AdagradClassifier().partial_fit(X[first], y[first])


def test_warm_start_with_a_new_label_names_the_remedy():
    model = AdagradClassifier(warm_start=True, random_state=0).fit(np.eye(3)[:2], [0, 2])
    with pytest.raises(ValueError, match=r"^y: got 1, .*; warm_start=True continues with the labels of the first fit"):
        model.fit(np.eye(3), [0, 1, 2])


@both
def test_long_indices(kind):
    """scikit-learn's SGD rejects them."""
    X, y = problem(kind)
    long = X.copy()
    long.indptr, long.indices = X.indptr.astype(np.int64), X.indices.astype(np.int64)
    model = kind(random_state=0).fit(long, y)
    assert are_equal(model, kind(random_state=0).fit(X, y))
    assert_array_equal(model.predict(long), model.predict(X))


@both
def test_sparse_is_dense(kind):
    """scikit-learn's SGD slows the intercept for sparse data, which makes another model of the same data."""
    X, y = problem(kind)
    assert are_equal(kind(random_state=0).fit(X, y), kind(random_state=0).fit(X.toarray(), y))


# --- more than two classes ------------------------------------------------------------------------------------------


def flowers(n=300, seed=0):
    """(X, y): three classes, two of which overlap."""
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 3, n)
    X = rng.normal(size=(n, 4)) + 2.0 * np.eye(3, 4)[code] + 0.5
    return sp.csr_array(X * (rng.random((n, 4)) < 0.9)), np.array(["iris", "lily", "rose"])[code]


@pytest.mark.parametrize("loss", ["logistic", "hinge", "modified_huber"])
def test_three_classes(loss):
    X, y = flowers(100)
    options = {"penalty": "l1", "alpha": 1e-3, "max_iter": 4, "shuffle": False}
    model = AdagradClassifier(loss, **options).fit(X, y)
    linear = fit_linear(X, y, loss=loss, penalty=L1(1e-3), passes=4)
    assert model.model_.rates.size == 8
    assert model.coef_.shape == (3, 4)
    assert model.intercept_.shape == (3,)
    assert_array_equal(model.coef_, linear.coef)
    assert_array_equal(model.intercept_, linear.intercept)
    assert_allclose(model.decision_function(X), linear.decision_function(X), rtol=1e-9, atol=1e-12)
    assert_array_equal(model.predict(X), linear.predict(X))
    assert model.score(X, y) > 0.75
    if loss == "hinge":
        assert not hasattr(model, "predict_proba")
    else:
        assert_allclose(model.predict_proba(X), linear.predict_proba(X), rtol=1e-9, atol=1e-12)
        assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)
    sparse = pickle.loads(pickle.dumps(clone(model).fit(X, y).sparsify()))
    assert sparse.coef_.shape == (3, 4)
    assert_array_equal(sparse.predict(X), model.predict(X))
    assert are_equal(sparse.partial_fit(X, y), model.partial_fit(X, y))


def test_order_and_weights_of_three_classes():
    X, y = flowers()
    rng = np.random.default_rng(1)
    weight, order = rng.integers(0, 4, 300), rng.permutation(300)
    listed = np.repeat(order, weight[order])
    factors, options = {"lily": 2.0, "rose": 0.5}, {"random_state": 0, "max_iter": 2}
    model = AdagradClassifier(class_weight=factors, **options).fit(X, y, weight)
    assert are_equal(AdagradClassifier(class_weight=factors, **options).fit(X[listed], y[listed]), model)
    factor = np.select([y == "lily", y == "rose"], [2.0, 0.5], 1.0)
    assert are_equal(AdagradClassifier(**options).fit(X, y, weight * factor), model)


def test_classes_that_come_later():
    X, y = flowers()
    early = np.flatnonzero(y != "rose")[:50]
    model = AdagradClassifier().partial_fit(X[early], y[early], classes=["rose", "lily", "iris"])
    assert model.coef_.shape == (3, 4)
    model.partial_fit(X, y)
    assert_array_equal(np.unique(model.predict(X)), ["iris", "lily", "rose"])
    found = AdagradClassifier().partial_fit(X[early], y[early])
    with pytest.raises(
        ValueError, match=r"^y: got 'rose', which is not among the classes \['iris', 'lily'\]; pass all"
    ):
        found.partial_fit(X, y)


def test_softmax_of_two_classes_is_logistic():
    X, y = problem(AdagradClassifier)
    model = AdagradClassifier("softmax", random_state=0).fit(X, y)
    assert are_equal(model, AdagradClassifier(random_state=0).fit(X, y))
    assert model.coef_.shape == (1, 6)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


class TwoScores(NamedTuple):
    """A multi-class loss of the user: softmax with a temperature of 1/2."""

    target_type = "multiclass"

    def loss_and_gradient(self, y, p, z, h, loss_sums):
        total = p[0] - p[0]
        for k in range(p.shape[0]):
            z[k] = math.exp(p[k] + p[k])
            total += z[k]
        for k in range(p.shape[0]):
            z[k] *= (h + h) / total
        z[y] -= h + h
        loss_sums[0] += h * (math.log(total) - p[y] - p[y])

    def can_learn_from(self, p):
        return math.isfinite(p.sum())

    def inverse_link(self, p):
        e = np.exp(2 * (p - p.max()))
        return e / e.sum()


class OldTwoScores(TwoScores):
    """The same loss with the name of its method in the previous release."""

    link = TwoScores.inverse_link
    inverse_link = None


@pytest.mark.parametrize("loss", [TwoScores(), OldTwoScores()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_multiclass_loss_of_the_user(loss, n_classes):
    X, y = flowers()
    keep = np.flatnonzero(np.isin(y, ["iris", "lily", "rose"][:n_classes]))
    X, y = X[keep], y[keep]
    model = AdagradClassifier(loss, max_iter=3, random_state=0).fit(X, y)
    linear = fit_linear(X, y, loss=loss, passes=3, lr=0.5)
    assert type(model.model_.loss) is type(loss)
    assert model.coef_.shape == (n_classes, 4) == linear.coef.shape
    scores = X @ model.coef_.T + model.intercept_
    probability = model.predict_proba(X)
    assert_allclose(probability, np.exp(2 * scores) / np.exp(2 * scores).sum(axis=1, keepdims=True), rtol=1e-9)
    assert_allclose(linear.predict_proba(X).sum(axis=1), 1.0)
    assert_allclose(model.decision_function(X), scores if n_classes == 3 else scores[:, 1] - scores[:, 0], atol=1e-12)
    assert_array_equal(model.predict(X), model.classes_[probability.argmax(axis=1)])
    assert model.score(X, y) > 0.7


# --- what is known of the learning ---------------------------------------------------------------------------------


@both
def test_loss_curve(kind):
    """The mean by weight of the losses of each pass, of each row before it was learnt."""
    X, y = problem(kind)
    weight = np.random.default_rng(0).choice([0.0, 1.0, 3.0], 200)
    options = {"shuffle": False, "lr": 0.1}
    curve = kind(max_iter=4, **options).fit(X, y, weight).loss_curve_
    assert len(curve) == 4
    losses, model, linear_options = [], None, DEFAULTS[kind] | {"lr": 0.1}
    for _ in range(4):
        before = np.zeros(2) if model is None else model.loss_sums
        model = fit_linear(X, y, sample_weight=weight / weight[weight > 0].mean(), model=model, **linear_options)
        losses.append(float(np.divide(*(model.loss_sums - before))))
    assert_allclose(curve, losses, rtol=1e-9)
    assert curve[0] > curve[-1]
    refitted = kind(max_iter=4, **options).fit(X, y, weight)
    refitted.partial_fit(X, y).partial_fit(X[:5], y[:5])
    assert refitted.loss_curve_[:4] == curve
    assert len(refitted.loss_curve_) == 6
    assert refitted.n_iter_ == 1
    assert refitted.fit(X, y, weight).loss_curve_ == curve


@both
@pytest.mark.parametrize("shuffle", [False, True])
def test_early_stopping(kind, shuffle):
    """Rows are held out by `random_state`, and the best model is kept."""
    X, y = problem(kind)
    options = {"max_iter": 50, "shuffle": shuffle, "random_state": 0}
    model = kind(early_stopping=EarlyStopping(n_iter_no_change=2), **options).fit(X, y)
    assert 3 <= model.n_iter_ == len(model.loss_curve_) == len(model.validation_curve_) < 50
    best = int(np.argmin(model.validation_curve_))
    assert 170 * (best + 1) <= model.t_ <= 190 * (best + 1)
    assert are_equal(clone(model).fit(X, y), model)
    other_seed = clone(model).set_params(random_state=1).fit(X, y)
    assert other_seed.validation_curve_ != model.validation_curve_
    assert clone(model).set_params(early_stopping=True).fit(X, y).n_iter_ < 50
    assert clone(model).set_params(early_stopping=False).fit(X, y).validation_curve_ == []


@both
def test_averages_and_batches(kind):
    X, y = problem(kind)
    options = {"shuffle": False, "max_iter": 2}
    for average, record in ((True, Polyak()), (100, Polyak(99)), (Polyak(3), Polyak(3)), (1, Polyak(0)), (0, False)):
        model = kind(average=average, **options).fit(X, y)
        linear = fit_linear(X, y, average=record, passes=2, **DEFAULTS[kind])
        assert np.ravel(model.coef_).tobytes() == linear.coef.tobytes()
        assert are_equal(model, kind(**options).fit(X, y)) == (record is False)
    model = kind(batch_size=8, **options).fit(X, y)
    linear = fit_linear(X, y, batch_size=8, passes=2, **DEFAULTS[kind])
    assert np.ravel(model.coef_).tobytes() == linear.coef.tobytes()
    assert model.t_ == 2 * 25


@both
def test_options_change_from_call_to_call(kind):
    """What is set holds from the next call on, also where it is set back to nothing."""
    X, y = problem(kind)
    model = kind(penalty="l1", alpha=0.3, rule=Adagrad(0.1), average=True, lr=0.5).partial_fit(X, y)
    model.set_params(penalty=None, rule=None, average=False, lr=0.1).partial_fit(X, y)
    state = model.model_.state
    rule = Adagrad() if kind is AdagradClassifier else Adagrad(0.0)  # of standardised targets
    assert (state.penalty, state.rule, state.lr, model.model_.average) == (NoPenalty(), rule, 0.1, False)


@both
def test_the_learning_rate_is_searched_for_where_it_can_be(kind):
    X, y = problem(kind)
    model = kind(random_state=0, max_iter=1).fit(X, y)
    assert model.model_.is_searching
    one_rate = 0.5 if kind is AdagradClassifier else 0.1
    for options in ({"batch_size": 8}, {"rule": FTRL()}):
        assert kind(random_state=0, max_iter=1, **options).fit(X, y).model_.is_searching
    for options in ({"normalized": True}, {"invariant": True}):
        fixed = kind(random_state=0, max_iter=1, **options).fit(X, y)
        assert fixed.model_.state.lr == one_rate
        assert are_equal(fixed, kind(random_state=0, max_iter=1, lr=one_rate, **options).fit(X, y))
    assert kind(max_iter=1).fit(X, y, coef_init=model.coef_).model_.state.lr == one_rate
    assert kind(max_iter=1).fit(X, y, intercept_init=model.intercept_).model_.is_searching
    warm = kind(lr=0.2, max_iter=1, warm_start=True).fit(X, y).set_params(lr="auto").fit(X, y)
    assert warm.model_.state.lr == 0.2
    with pytest.raises(ValueError, match=r"^coef_init: got initial weights, which a search over learning rates would"):
        kind(lr=RateSearch()).fit(X, y, coef_init=model.coef_)
    with pytest.raises(ValueError, match=r"^lr: got 0.2, but the model has several learning rates"):
        kind(warm_start=True, max_iter=1).fit(X, y).set_params(lr=0.2).fit(X, y)


def test_the_learning_rate_of_several_classes_is_searched_for():
    X, y = flowers()
    model = AdagradClassifier(random_state=0, max_iter=2).fit(X, y)
    assert model.model_.is_searching
    assert model.score(X, y) > 0.75
    part = AdagradClassifier().partial_fit(X[:50], y[:50], classes=np.unique(y)).partial_fit(X, y)
    assert are_equal(part, AdagradClassifier().partial_fit(sp.vstack([X[:50], X]), np.r_[y[:50], y]))


@both
def test_a_grid_of_learning_rates(kind):
    X, y = problem(kind)
    search = GridSearchCV(kind(random_state=0, max_iter=2), {"lr": ["auto", 1e-6, RateSearch((0.1, 0.4))]}, cv=2)
    search.fit(X, y)
    assert search.best_params_["lr"] != 1e-6
    assert search.score(X, y) > 0.8


@both
def test_callback(kind):
    X, y = problem(kind)
    recorded = []

    def stop(progress):
        recorded.append(progress.n_seen)
        if progress.n_seen >= 256:
            raise StopIteration

    model = kind(max_iter=5, callback=stop, random_state=0).fit(X, y)
    assert recorded[-1] == 256 == model.t_
    assert model.n_iter_ == len(model.loss_curve_) == 2  # the second pass is not complete
    assert math.isfinite(model.loss_curve_[1])


@both
@pytest.mark.parametrize("options", [{}, {"lr": "auto"}, {"average": True}, {"invariant": True}], ids=str)
def test_initial_weights(kind, options):
    """Training starts there: with a learning rate of zero it stays there."""
    X, y = problem(kind)
    coef, intercept = np.arange(6.0) - 2, [1.5]
    rate = Rates((0.0, 0.0001)) if options.get("lr") == "auto" else 0.0
    model = kind(random_state=0, **options | {"lr": rate, "max_iter": 1}).fit(
        X, y, coef_init=coef, intercept_init=intercept
    )
    assert_allclose(model.coef_.ravel(), coef, atol=0.01)
    assert_allclose(model.intercept_, intercept, atol=0.01)
    score = X @ coef + 1.5
    losses = np.logaddexp(0, np.where(y == "yes", -score, score)) if kind is AdagradClassifier else (score - y) ** 2 / 2
    assert_allclose(model.loss_curve_, [losses.mean()], rtol=1e-3)
    trained = kind(max_iter=2, random_state=0, **options).fit(X, y)
    warm = kind(max_iter=1, warm_start=True, random_state=1, **options).fit(X, y)
    warm.fit(X, y, coef_init=trained.coef_, intercept_init=trained.intercept_)
    assert warm.t_ == 200  # a new model
    assert warm.loss_curve_[0] < trained.loss_curve_[0]


def test_initial_weights_of_several_classes():
    X, y = flowers()
    coef, intercept = np.arange(12.0).reshape(3, 4) / 10, [0.1, 0.2, 0.3]
    model = AdagradClassifier(lr=0.0, max_iter=1).fit(X, y, coef_init=coef, intercept_init=intercept)
    assert_array_equal(model.coef_, coef)
    assert_array_equal(model.intercept_, intercept)
    only_coef = AdagradClassifier(lr=0.0, max_iter=1).fit(X, y, coef_init=coef)
    assert_array_equal(only_coef.intercept_, np.zeros(3))


def test_initial_weights_that_do_not_fit():
    X, y = problem(AdagradClassifier)
    with pytest.raises(ValueError, match=r"^coef_init: got shape \(5,\); must have shape \(1, 6\)"):
        AdagradClassifier().fit(X, y, coef_init=np.zeros(5))
    with pytest.raises(ValueError, match=r"^intercept_init: got shape \(2,\); must have shape \(1,\)"):
        AdagradClassifier().fit(X, y, intercept_init=np.zeros(2))
    with pytest.raises(ValueError, match=r"^coef_init: got nan"):
        AdagradClassifier().fit(X, y, coef_init=np.full(6, np.nan))
    with pytest.raises(ValueError, match=r"^coef_init: got initial weights, but the weights of the rule FTRL follow"):
        AdagradClassifier(rule=FTRL()).fit(X, y, coef_init=np.zeros(6))
    with pytest.raises(ValueError, match=r"^coef_init: got initial weights, which normalized=True would scale down"):
        AdagradClassifier(normalized=True).fit(X, y, coef_init=np.ones(6))
    X, y = flowers()
    with pytest.raises(ValueError, match=r"^coef_init: got shape \(4, 3\); must have shape \(3, 4\)"):
        AdagradClassifier().fit(X, y, coef_init=np.zeros((4, 3)))


@both
def test_options_of_the_updates(kind):
    X, y = problem(kind)
    for options in ({"normalized": True}, {"invariant": True}, {"lr": "auto"}, {"lr": InverseSqrt(0.5)}):
        model = kind(shuffle=False, max_iter=2, **options).fit(X, y)
        linear = fit_linear(X, y, passes=2, **DEFAULTS[kind] | options)
        assert np.ravel(model.coef_).tobytes() == linear.coef.tobytes()
        assert_array_equal(model.intercept_, [linear.intercept])
        part = kind(**options).partial_fit(X[:90], y[:90]).partial_fit(X[90:], y[90:])
        assert are_equal(part, kind(**options).partial_fit(X, y))
    units = 10.0 ** np.arange(-3, 3)
    assert kind(normalized=True, random_state=0).fit(X.toarray() * units, y).score(X.toarray() * units, y) > 0.85


@both
def test_warning_that_training_has_not_converged(kind):
    X, y = problem(kind)
    with pytest.warns(ConvergenceWarning, match=r"^max_iter: the maximum of 2 passes was reached before early stopp"):
        kind(max_iter=2, early_stopping=True, random_state=0).fit(X, y)
    kind(max_iter=2).fit(X, y)


@both
def test_rows_in_any_form_give_the_same_fit(kind):
    """Values in two parts, unsorted entries and stored zeros."""
    X, y = problem(kind)
    dense = X.toarray()
    parts = sp.csr_array(
        (
            np.stack([dense - 0.25, np.full(dense.shape, 0.25)], axis=2).ravel(),
            np.repeat(np.tile(np.arange(6), 200), 2), np.arange(0, 200 * 12 + 1, 12),
        ),
        shape=X.shape,
    )  # fmt: skip
    dense = parts.copy()
    dense.sum_duplicates()
    reverse = sp.csr_array((dense.data.reshape(200, 6)[:, ::-1].ravel(), np.tile(np.arange(5, -1, -1), 200),
                            np.arange(0, 1201, 6)), shape=X.shape)  # fmt: skip
    for options in ({"max_iter": 1}, {"early_stopping": True, "max_iter": 50}, {"max_iter": 1, "shuffle": False}):
        model = kind(lr=0.5, random_state=0, **options).fit(dense, y)
        searched = kind(random_state=0, **options).fit(dense, y)
        for form in (parts, reverse, dense.toarray()):
            assert are_equal(kind(lr=0.5, random_state=0, **options).fit(form, y), model)
            # Vector and scalar code of a search round differently, so stored zeros change the last digits.
            assert_allclose(kind(random_state=0, **options).fit(form, y).coef_, searched.coef_, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("shuffle", [True, False])
def test_bagging_with_early_stopping(shuffle):
    """Rows of weight zero are not held out."""
    X, y = load_iris(return_X_y=True)
    stopping = EarlyStopping(n_iter_no_change=2)
    model = AdagradClassifier(lr=0.5, early_stopping=stopping, max_iter=200, shuffle=shuffle)
    bagging = BaggingClassifier(model, n_estimators=10, random_state=0).fit(X[::7], y[::7])
    assert bagging.score(X, y) > (0.8 if shuffle else 0.5)  # the classes are sorted


@both
def test_a_fraction_that_leaves_no_row(kind):
    X, y = problem(kind)
    rows = [int(np.argmax(y == "no")), int(np.argmax(y == "yes"))] if kind is AdagradClassifier else [0, 1]
    with pytest.raises(ValueError, match=r"^early_stopping: validation_fraction=0.999 holds out all rows"):
        kind(early_stopping=EarlyStopping(validation_fraction=0.999)).fit(X[rows], y[rows])


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [False, True], [-1.0, 2.0], ["a", "b", "c"], [3, 7, 9]])
def test_the_model_has_the_labels(labels, tmp_path):
    X, y = flowers()
    code = np.minimum(np.unique(y, return_inverse=True)[1], len(labels) - 1)
    y = np.array(labels)[code]
    model = AdagradClassifier(random_state=0, early_stopping=len(labels) == 2, max_iter=40).fit(X, y)
    model.set_params(early_stopping=False)
    for _ in range(2):
        model.model_.save(tmp_path / "model.npz")
        loaded = load_model(tmp_path / "model.npz")
        assert_array_equal(loaded.classes, labels)
        assert_array_equal(loaded.predict(X), model.predict(X))
        assert_allclose(loaded.mean_loss(X, y), model.model_.mean_loss(X, y))
        resumed = pickle.loads(pickle.dumps(model)).partial_fit(X[:20], y[:20])
        linear = fit_linear(X[:20], y[:20], model=loaded)
        assert resumed.coef_.ravel().tobytes() == linear.coef.tobytes()
        model.partial_fit(X, y)


# --- manners -------------------------------------------------------------------------------------------------------


@both
def test_sparsify(kind):
    X, y = problem(kind)
    model = kind(penalty=L1(np.array([0.01, 0.01, 100.0, 0.01, 100.0, 0.01])), random_state=0).fit(X, y)
    dense, before = model.coef_, model.predict(X)
    nonzero = np.count_nonzero(dense)
    assert nonzero == 4
    assert model.sparsify() is model
    assert sp.issparse(model.coef_)
    assert model.coef_.shape == (1, 6)
    assert model.coef_.nnz == nonzero
    assert_allclose(model.predict(X.toarray()), before) if kind is AdagradRegressor else None
    for data in (X, X.toarray()):
        predicted = model.sparsify().predict(data)
        assert_array_equal(predicted, before) if kind is AdagradClassifier else assert_allclose(predicted, before)
    loaded = pickle.loads(pickle.dumps(model))
    assert sp.issparse(loaded.coef_)
    assert_array_equal(model.densify().coef_, dense)
    assert model.coef_.shape == dense.shape
    assert are_equal(model.sparsify().partial_fit(X, y), loaded.partial_fit(X, y))
    assert not sp.issparse(model.coef_)


@both
def test_coefficients_that_are_set_are_used(kind):
    """As in all linear models of scikit-learn."""
    X, y = problem(kind)
    model = kind(random_state=0).fit(X, y)
    model.coef_, model.intercept_ = np.zeros_like(model.coef_), np.ones(1)
    expected = np.ones(200) if kind is AdagradRegressor else np.full(200, "yes")
    assert_array_equal(model.predict(X), expected)


@both
def test_pickled_estimators_resume_bit_for_bit(kind):
    X, y = problem(kind)
    model = kind(penalty="l1", alpha=0.01, lr=InverseTime(0.5, 0.1), random_state=0).fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert are_equal(loaded.partial_fit(X, y), model.partial_fit(X, y))


@both
def test_clone_takes_records(kind):
    loss = Logistic() if kind is AdagradClassifier else Huber(0.5)
    model = kind(loss, penalty=L1(np.full(6, 0.1)), rule=Adagrad(0.1), lr=InverseTime(0.5, 0.1))
    X, y = problem(kind)
    copy = clone(model)
    assert copy.loss == loss
    assert copy.rule == Adagrad(0.1)
    assert copy.set_params(random_state=0).fit(X, y).model_.loss == loss
    assert are_equal(copy, model.set_params(random_state=0).fit(X, y))


def test_pipeline_and_grid_search():
    X, y = problem(AdagradClassifier)
    pipeline = make_pipeline(StandardScaler(with_mean=False), AdagradClassifier(penalty="l1", lr=0.5, random_state=0))
    grid = {"adagradclassifier__alpha": [1e-4, 10.0], "adagradclassifier__loss": ["logistic", "hinge"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_params_["adagradclassifier__alpha"] == 1e-4
    assert search.score(X, y) > 0.9
    X, y = problem(AdagradRegressor)
    losses = {"loss": ["squared", Huber(0.3), Quantile(0.5)], "penalty": [None, NonNegative()]}
    search = GridSearchCV(AdagradRegressor(lr=0.1, random_state=0), losses, cv=2).fit(X, y)
    assert search.best_params_["penalty"] is None
    assert search.best_score_ > 0.8
    assert cross_val_score(AdagradRegressor(random_state=0), X, y).min() > 0.8


def test_which_losses_have_probabilities():
    X, y = problem(AdagradClassifier)
    for loss, has in [("logistic", 1), ("log_loss", 1), ("modified_huber", 1), ("hinge", 0), (Logistic(), 1)]:
        model = AdagradClassifier(loss, random_state=0)
        assert hasattr(model, "predict_proba") == hasattr(model, "predict_log_proba") == bool(has)
        with pytest.raises(NotFittedError):
            model.predict(X)
        model.fit(X, y)
        if has:
            probability = model.predict_proba(X)
            assert_allclose(probability.sum(axis=1), 1.0)
            assert_array_equal(model.classes_[probability.argmax(axis=1)], model.predict(X))
    with pytest.raises(AttributeError) as raised:
        model.set_params(loss="hinge").predict_proba(X)
    assert "the loss Hinge has no probabilities; use 'logistic'" in str(raised.value.__cause__)


def test_quantiles_and_counts():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 2))
    y = X[:, 0] + rng.normal(size=2000)
    model = AdagradRegressor(Quantile(0.9), lr=0.1, random_state=0).fit(X, y)
    assert np.mean(y < model.predict(X)) == pytest.approx(0.9, abs=0.02)
    counts = rng.poisson(np.exp(0.5 * X[:, 0] + 1))
    model = AdagradRegressor("poisson", lr=0.1, random_state=0).fit(X, counts)
    assert_allclose(model.predict(X), np.exp(X @ model.coef_ + model.intercept_[0]))
    assert_allclose(model.coef_, [0.5, 0.0], atol=0.05)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"loss": "squared"},
            ValueError,
            r"^loss: got 'squared'; must be one of logistic, hinge, .*, or a loss record",
        ),
        (
            {"loss": Huber()},
            ValueError,
            r"^loss: got Huber, a loss for numbers; AdagradClassifier takes log.*for labels$",
        ),
        ({"loss": Logistic}, TypeError, r"^loss: got the class Logistic; pass an instance"),
        ({"penalty": "l3"}, ValueError, r"^penalty: got 'l3'; must be 'l1', 'l2', 'elasticnet', None, or a penalty"),
        ({"penalty": 3}, TypeError, r"^penalty: got 3; must be a record"),
        ({"penalty": "l1", "alpha": -1}, ValueError, r"^alpha: got -1; must be a number in \[0, inf\)"),
        ({"penalty": "elasticnet", "l1_ratio": 2}, ValueError, r"^l1_ratio: got 2; must be a number in \[0, 1\]"),
        ({"max_iter": 0}, ValueError, r"^max_iter: got 0; must be an integer of at least 1"),
        ({"fit_intercept": 1}, TypeError, r"^fit_intercept: got 1; must be True or False"),
        ({"shuffle": "yes"}, TypeError, r"^shuffle: got 'yes'; must be True or False"),
        ({"warm_start": 2}, TypeError, r"^warm_start: got 2; must be True or False"),
        ({"lr": -1.0}, ValueError, r"^lr: got -1.0; must be a number in \[0, inf\)"),
        ({"rule": "adam"}, TypeError, r"^rule: got 'adam'; must be a record"),
        ({"class_weight": "even"}, ValueError, r"^class_weight: got 'even'; must be 'balanced', a dict, or None"),
        ({"class_weight": 3.0}, TypeError, r"^class_weight: got 3.0; must be 'balanced', a dict, or None"),
        ({"class_weight": {"no": -1}}, ValueError, r"^class_weight\['no'\]: got -1; must be a number in \[0, inf\)"),
        ({"random_state": "x"}, ValueError, r"'x' cannot be used to seed"),
    ],
)
def test_parameters_that_are_rejected(options, error, message):
    X, y = problem(AdagradClassifier)
    with pytest.raises(error, match=message):
        AdagradClassifier(**options).fit(X, y)


def test_other_rejected_arguments():
    X, y = problem(AdagradClassifier)
    with pytest.raises(ValueError, match=r"^class_weight: 'balanced' needs all of y"):
        AdagradClassifier(class_weight="balanced").partial_fit(X, y)
    with pytest.raises(ValueError, match=r"^sample_weight: all weights are zero"):
        AdagradClassifier().fit(X, y, np.zeros(200))
    with pytest.raises(ValueError, match=r"^sample_weight: got -1"):
        AdagradClassifier().fit(X, y, np.full(200, -1.0))
    with pytest.raises(ValueError, match=r"^loss: got 'hinge'; must be one of squared, huber, .*, poisson, or a loss"):
        AdagradRegressor("hinge").fit(X, np.ones(200))
    with pytest.raises(ValueError, match=r"^y: got -1.0 at index 0; every entry must be in \[0, inf\)"):
        AdagradRegressor("poisson").fit(X, np.full(200, -1.0))


@both
def test_errors_of_parameters_are_those_of_scikit_learn(kind):
    """Both a ValueError and a TypeError, also in partial_fit."""
    X, y = problem(kind)
    for options in (
        {"penalty": "l3"}, {"penalty": 3}, {"alpha": "big", "penalty": "l1"}, {"l1_ratio": 2, "penalty": "l1"},
        {"l1_ratio": None, "penalty": "elasticnet"}, {"lr": -1.0}, {"lr": "fast"}, {"rule": "adam"}, {"loss": 3},
        {"average": -1}, {"average": "yes"}, {"batch_size": 0}, {"max_iter": 1.5}, {"early_stopping": 3},
        {"normalized": 1}, {"invariant": "no"}, {"fit_intercept": 1}, {"shuffle": "yes"}, {"warm_start": 2},
        {"callback": 3},
    ):  # fmt: skip
        name = next(iter(options))
        for train in ("fit", "partial_fit"):
            with pytest.raises(InvalidParameterError, match=f"^{name}: got "):
                getattr(kind(**options), train)(X, y)
    kind(penalty="l1", l1_ratio=None, max_iter=1).fit(X, y)


@both
def test_partial_fit_does_not_stop_early(kind):
    X, y = problem(kind)
    with pytest.raises(ValueError, match=r"^early_stopping: got True; partial_fit makes one pass"):
        kind(early_stopping=True).partial_fit(X, y)


@both
def test_rows_that_overflow_are_named(kind):
    """By their number in the data, also where they were sorted."""
    X, y = problem(kind)
    for dtype, value in ((np.float64, 1e300), (np.float32, 1e20)):
        A = X.toarray().astype(dtype)
        A[137, 2] = value
        for shuffle in (False, True):
            with pytest.raises(ValueError, match=r"^X: row 137 gives a gradient whose square overflows float"):
                kind(shuffle=shuffle, random_state=0).fit(A, y)
        with pytest.raises(ValueError, match=r"^X: row 137 gives"):
            kind().partial_fit(A, y)
    error = pickle.loads(pickle.dumps(_csr.RowError.at_row("X: row {row}", 3)))  # as by workers of joblib
    assert str(error) == "X: row 3"
    assert str(error.renumbered(5)) == "X: row 5"


def test_targets_that_are_rejected_are_named_by_their_number():
    X, y = problem(AdagradRegressor)
    y[77] = 1e39
    with pytest.raises(ValueError, match=r"^y: got 1e\+39 at index 77; must be finite in float32"):
        AdagradRegressor().fit(X.astype(np.float32), y)


def test_counts_that_are_rejected_are_named_by_their_number():
    X, y = problem(AdagradRegressor)
    counts = np.round(np.exp(y))
    counts[77] = -1
    with pytest.raises(ValueError, match=r"^y: got -1.0 at index 77"):
        AdagradRegressor("poisson").fit(X, counts)


# --- with and without scikit-learn ---------------------------------------------------------------------------------


def test_without_scikit_learn(python):
    printed = python(
        "import sys\n"
        "sys.modules['sklearn'] = None\n"
        "from adagrad_nb import *\n"
        "import adagrad_nb\n"
        "print('AdagradClassifier' in dir(adagrad_nb))\n"
        "try:\n"
        "    from adagrad_nb import AdagradRegressor\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert printed.splitlines() == [
        "False",  # so that help(adagrad_nb) works
        "AdagradClassifier and AdagradRegressor need scikit-learn 1.6 or newer: pip install 'adagrad_nb[sklearn]'",
    ]


def test_a_name_that_is_not_there():
    import adagrad_nb

    with pytest.raises(AttributeError, match="module 'adagrad_nb' has no attribute 'AdagradCluster'"):
        adagrad_nb.AdagradCluster
