"""Predictions and training of few rows of a wide model read and change only the features of the rows."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adagrad,
    AdagradClassifier,
    AdagradRegressor,
    Bounded,
    Box,
    ElasticNet,
    GroupL2,
    InverseSqrt,
    OnlineToBatch,
    Polyak,
    Rates,
    RateSearch,
    fit_linear,
)
from adagrad_nb.linear import model as model_module

N_FEATURES = 600
OPTIONS = {
    "plain": {"lr": 0.5},
    "l1": {"lr": 0.5, "penalty": L1(1e-3)},
    "l1 of features": {"lr": 0.5, "penalty": L1(np.linspace(0, 1e-2, N_FEATURES))},
    "l1, changing rate": {"lr": InverseSqrt(0.5), "penalty": L1(1e-3)},
    "l2, changing rate": {"lr": InverseSqrt(0.5), "penalty": L2(1e-2)},
    "elastic net": {"lr": 0.5, "penalty": ElasticNet(1e-3, 1e-2)},
    "bounds": {"lr": 0.5, "penalty": Bounded(L1(1e-3), -0.1, 0.2)},
    "box without 0": {"lr": 0.5, "penalty": Box(0.1, 0.3)},
    "dual averaging": {"lr": 0.5, "rule": RDA(), "penalty": L1(1e-3)},
    "dual averaging, changing rate": {"lr": InverseSqrt(0.5), "rule": FTRL(), "penalty": L1(1e-3)},
    "average": {"lr": 0.5, "average": Polyak(5)},
    "average of l1": {"lr": 0.5, "average": Polyak(5), "penalty": L1(1e-3)},
    "average before": {"lr": 0.5, "average": OnlineToBatch(), "penalty": L1(1e-3)},
    "average to come": {"lr": 0.5, "average": Polyak(1000), "penalty": L1(1e-3)},
    "normalized": {"lr": 0.5, "normalized": True, "penalty": L1(1e-3)},
    "invariant": {"lr": 0.5, "invariant": True, "penalty": L1(1e-3)},
    "rates": {"lr": Rates((0.1, 0.5, 2.0)), "penalty": L1(1e-3)},
    "search": {},
    "search of l1": {"penalty": L1(1e-3)},
    "search with average": {"average": Polyak(), "penalty": L1(1e-3)},
    "end of search": {"lr": RateSearch((0.1, 0.5), halve_at=(20,)), "penalty": L1(1e-3)},
    "search with batches": {"penalty": L1(1e-3), "batch_size": 7},
    "numbers": {"loss": "squared", "penalty": L1(1e-3)},
}
CLASS_OPTIONS = {
    "plain": {"lr": 0.5},
    "l1": {"lr": 0.5, "penalty": L1(1e-3)},
    "group": {"lr": 0.5, "penalty": GroupL2(1e-2)},
    "group, changing rate": {"lr": InverseSqrt(0.5), "penalty": GroupL2(1e-2)},
    "average": {"lr": 0.5, "average": Polyak(5), "penalty": L1(1e-3)},
    "search": {"penalty": L1(1e-3)},
}


def make_rows(n_classes=2, index_dtype=np.int32, dtype=np.float64, n=60):
    """Return random rows, the last ones with few entries, and labels."""
    rng = np.random.default_rng(3)
    X = sp.csr_array(sp.random_array((n, N_FEATURES), density=0.02, rng=rng, format="csr", dtype=dtype))
    X.indices, X.indptr = X.indices.astype(index_dtype), X.indptr.astype(index_dtype)
    return X, rng.integers(0, n_classes, n)


def assert_same_scores(model, X, monkeypatch):
    """Assert that the scores of a row do not depend on how many weights are read."""
    for rows in (X[:1], X[3:4], X[5:9], X[:0], sp.csr_array((2, X.shape[1]), dtype=X.dtype), X[:1, :50]):
        few = model.decision_function(rows)
        with monkeypatch.context() as patch:
            patch.setattr(model_module, "FEATURES_PER_VALUE", np.inf)
            patch.setattr(model_module.LinearModel, "score_row", lambda *args: None)
            all_features = model.decision_function(rows)
        assert few.dtype == all_features.dtype
        tolerance = 8 * np.finfo(few.dtype).eps  # machine code may fuse products and sums
        np.testing.assert_allclose(few, all_features, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIONS)
def test_scores_of_few_rows_equal_those_by_all_weights(name, dtype, monkeypatch):
    X, y = make_rows(dtype=dtype, index_dtype=np.int32 if dtype == np.float32 else np.int64)
    model = fit_linear(X, y, **OPTIONS[name])
    assert_same_scores(model, X, monkeypatch)


@pytest.mark.parametrize("name", CLASS_OPTIONS)
def test_scores_of_classes_of_few_rows_equal_those_by_all_weights(name, monkeypatch):
    X, y = make_rows(5)
    assert_same_scores(fit_linear(X, y, **CLASS_OPTIONS[name]), X, monkeypatch)


def test_repeated_and_unsorted_indices_add_up(monkeypatch):
    X, y = make_rows()
    model = fit_linear(X, y, lr=0.5, rule=Adagrad(), penalty=L1(1e-3))
    row = sp.csr_array((np.array([1.0, 2.0, 0.5]), np.array([7, 3, 7]), np.array([0, 3])), shape=(1, N_FEATURES))
    assert_same_scores(model, row, monkeypatch)
    np.testing.assert_allclose(model.decision_function(row), model.coef[[7, 3, 7]] @ [1, 2, 0.5] + model.intercept)


@pytest.mark.parametrize("options", [{"lr": 0.5}, {}, {"lr": 0.5, "penalty": L1(1e-3)}])
def test_indices_out_of_range_in_a_narrow_row_are_refused(options):
    """The indices are compared with the columns of X, not with the features of the model."""
    X, y = make_rows()
    model = fit_linear(X, y, **options)
    for index in (-1, 50, N_FEATURES, 2**31 - 1):
        row = sp.csr_array((np.ones(1), np.array([0]), np.array([0, 1])), shape=(1, 50))
        row.indices[0] = index
        with pytest.raises(ValueError, match=rf"column index {index} in row 0; must be in \[0, 50\)"):
            model.decision_function(row)


@pytest.mark.usefixtures("interpreted")
def test_predictions_of_a_callback_are_those_of_the_model_at_that_time(monkeypatch):
    """The records of the kernels are kept between predictions, but not when training changes them."""
    X, y = make_rows(n=70)
    for options in OPTIONS.values():
        options = options | ({"lr": RateSearch((0.1, 0.5, 1.0), halve_at=(20, 50))} if "lr" not in options else {})
        n_calls = []

        def check(progress, n_calls=n_calls):
            n_calls.append(progress.n_seen)
            assert_same_scores(progress.model, X, monkeypatch)
            np.testing.assert_array_equal(
                progress.model.decision_function(X[:1]), progress.model.copy().decision_function(X[:1])
            )

        fit_linear(X, y, callback=check, **options)
        assert len(n_calls) >= 6


# --- training on one row ---------------------------------------------------------------------------------------------

ROW_OPTIONS = {
    "plain": {"lr": 0.5},
    "l1": {"lr": 0.5, "penalty": L1(1e-3)},
    "l1, changing rate": {"lr": InverseSqrt(0.5), "penalty": L1(1e-3)},
    "l2, changing rate": {"lr": InverseSqrt(0.5), "penalty": "l2"},
    "dual averaging": {"lr": 0.5, "rule": RDA(), "penalty": "l1"},
    "average": {"lr": 0.5, "average": True, "penalty": "l1"},
    "normalized": {"lr": 0.5, "normalized": True, "penalty": "l1"},
    "rates": {"lr": Rates((0.1, 0.5, 2.0))},
    "search": {},
    "search of l1": {"penalty": "l1"},
    "end of search": {"lr": RateSearch((0.1, 0.5, 1.0), halve_at=(20, 40))},
    "other loss": {"loss": "hinge"},
}


def table_of(model):
    """Return the array of the weights."""
    return getattr(model.parameters, "table", getattr(model.parameters, "weights", None))


def learn_in_two_ways(estimator, X, y, n_first, **first):
    """Return an estimator that learnt one row at a time, the number of its tables, and one that learnt all at once."""
    one_by_one = clone(estimator).partial_fit(X[:n_first], y[:n_first], **first)
    one_by_one.partial_fit(X[n_first : n_first + 1], y[n_first : n_first + 1])
    tables = [table_of(one_by_one.model_)]
    for r in range(n_first + 1, X.shape[0]):
        one_by_one.partial_fit(X[r : r + 1], y[r : r + 1])
        if table_of(one_by_one.model_) is not tables[-1]:
            tables.append(table_of(one_by_one.model_))
    return one_by_one, len(tables), clone(estimator).partial_fit(X, y, **first)


def assert_equal_estimators(a, b):
    """Assert that two estimators have the same model, accumulators and losses included."""
    arrays, others = a.model_._arrays(), b.model_._arrays()
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)
    assert (a.model_.n_seen, a.t_) == (b.model_.n_seen, b.t_)
    np.testing.assert_array_equal(a.coef_, b.coef_)
    np.testing.assert_array_equal(a.intercept_, b.intercept_)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("name", ROW_OPTIONS)
def test_single_rows_train_in_place_to_the_same_model(name, n_classes):
    options = ROW_OPTIONS[name]
    if n_classes > 2 and (options.get("normalized") or isinstance(options.get("lr"), Rates)):
        pytest.skip("is for one output")
    X, y = make_rows(n_classes)
    names = np.array(["iris", "lily", "rose", "tulip"])[:n_classes]
    one_by_one, n_tables, at_once = learn_in_two_ways(AdagradClassifier(**options), X, names[y], 10, classes=names)
    assert_equal_estimators(one_by_one, at_once)
    assert n_tables == (3 if name == "end of search" else 1)  # a search removes rates twice
    assert len(one_by_one.loss_curve_) == 51
    assert (one_by_one.predict(X) == at_once.predict(X)).all()


@pytest.mark.parametrize("options", [{"loss": "huber", "lr": 0.1, "standardize_targets": False}, {}, {"batch_size": 2}])
def test_single_rows_of_numbers_train_to_the_same_model(options):
    """Also with standardised targets, whose learning rate changes before rows 16 and 32."""
    X, _ = make_rows()
    y = X @ np.ones(N_FEATURES) + 3
    if "batch_size" in options:
        y, X = np.repeat(y, 2), sp.csr_array(sp.vstack([X[[r, r]] for r in range(X.shape[0])]))
        X, y = X[:20], y[:20]
    one_by_one, n_tables, at_once = learn_in_two_ways(AdagradRegressor(**options), X, y, 10)
    if "batch_size" not in options:  # whose batches end with a call
        assert_equal_estimators(one_by_one, at_once)
    assert (n_tables == 1) == ("loss" in options)


FEW_ROWS_OPTIONS = {
    "plain": (AdagradClassifier(lr=0.5), 2),
    "l2": (AdagradClassifier(lr=0.5, penalty="l2"), 2),
    "class weights": (AdagradClassifier(lr=0.5, class_weight={0: 2.0}), 2),
    "average of classes": (AdagradClassifier(lr=0.5, average=True, penalty="l1"), 4),
    "end of search": (AdagradClassifier(lr=RateSearch((0.1, 0.5, 1.0), halve_at=(20, 40))), 2),
    "standardized": (AdagradRegressor(), 2),
    "batches": (AdagradClassifier(lr=0.5, batch_size=5), 2),
    "batches of classes": (AdagradClassifier(lr=0.5, batch_size=5, penalty="l1"), 4),
}


@pytest.mark.parametrize("name", FEW_ROWS_OPTIONS)
def test_few_rows_with_weights_train_in_place_to_the_same_model(name, monkeypatch):
    estimator, n_classes = FEW_ROWS_OPTIONS[name]
    X, y = make_rows(n_classes)
    weight = np.where(np.arange(60) % 7, 1.5, 0.0)
    first = {"classes": np.unique(y)} if isinstance(estimator, AdagradClassifier) else {}
    parts = clone(estimator).partial_fit(X[:10], y[:10], sample_weight=weight[:10], **first)
    model = parts.model_
    monkeypatch.setattr(model_module.LinearModel, "copy", lambda self: pytest.fail("copies the model"))
    for k, start in enumerate(range(10, 60, 10)):
        rows = X[start : start + 10]
        part = slice(start, start + 10)
        parts.partial_fit(rows.toarray() if k == 1 else rows, y[part], sample_weight=weight[part])
    assert parts.model_ is model
    at_once = clone(estimator)
    if estimator.batch_size == 1:
        at_once.partial_fit(X, y, sample_weight=weight, **first)
        assert_equal_estimators(parts, at_once)
    else:  # whose batches end with a call
        monkeypatch.undo()
        chunks = [slice(start, start + 10) for start in range(0, 60, 10)]
        for rows in chunks:
            at_once.partial_fit(X[rows], y[rows], sample_weight=weight[rows], **first)
            at_once._row_owner = None  # copies its model
        assert_equal_estimators(parts, at_once)
    assert len(parts.loss_curve_) == 6
    assert (parts.predict(X) == at_once.predict(X)).all()


@pytest.mark.parametrize(
    "estimator",
    [
        AdagradClassifier(lr=0.5, penalty="l1"),
        AdagradClassifier(lr=RateSearch((0.1, 0.5, 1.0), halve_at=(22, 24))),
        AdagradClassifier(lr=0.5, batch_size=3),
        AdagradRegressor(),
    ],
)
@pytest.mark.parametrize("position", [0, 9])
def test_few_rows_of_which_one_is_rejected_change_nothing(estimator, position):
    X, y = make_rows()
    estimator = clone(estimator).partial_fit(X[:20], y[:20]).partial_fit(X[20:21], y[20:21])
    before = copy.deepcopy(estimator)
    bad = X[21:31].copy()
    bad.data[bad.indptr[position]] = 1e200
    with pytest.raises(ValueError, match=f"row {position} gives"):
        estimator.partial_fit(bad, y[21:31])
    assert_equal_estimators(estimator, before)
    assert_equal_estimators(estimator.partial_fit(X[21:31], y[21:31]), before.partial_fit(X[21:31], y[21:31]))


def test_rows_that_the_quick_check_rejects_are_refused_as_in_the_long_way():
    """`only_row` returns None for each kind of row that is not plain, and `fit_linear` names the fault."""
    X, y = make_rows()
    model = fit_linear(X, y, lr=0.5)
    classifier = AdagradClassifier(lr=0.5).partial_fit(X, y)
    faults = {
        "data, is nan": ("data", np.array([np.nan]), r"X: got nan in row 0|contains NaN"),
        "index": ("indices", np.array([N_FEATURES], np.int32), r"column index 600 in row 0"),
        "negative index": ("indices", np.array([-1], np.int32), r"column index -1 in row 0"),
        "start": ("indptr", np.array([1, 1], np.int32), r"must start with 0"),
        "end": ("indptr", np.array([0, 2], np.int32), r"ends with 2"),
        "decreasing": ("indptr", np.array([0, -1], np.int32), r"must not decrease"),
        "kind of indices": ("indices", np.array([0.0]), r"indices: got dtype float64"),
        "no array": ("indices", [0], r"indices: got list|must be"),
    }
    for name, (attribute, value, message) in faults.items():
        row = sp.csr_array((np.ones(1), np.array([5], np.int32), np.array([0, 1], np.int32)), shape=(1, N_FEATURES))
        setattr(row, attribute, value)
        with pytest.raises((ValueError, TypeError), match=message):
            model.predict_proba(row)
        if name not in ("no array", "kind of indices"):  # of which scikit-learn makes other errors
            with pytest.raises(ValueError):
                classifier.partial_fit(row, [1])
            with pytest.raises(ValueError):
                classifier.predict_proba(row)
    assert classifier.t_ == 60
    wide = sp.csr_array((np.ones(1), np.array([5]), np.array([0, 1])), shape=(1, N_FEATURES + 1))
    with pytest.raises(ValueError, match="got 601 columns"):
        model.predict_proba(wide)


def test_forms_of_a_row_give_the_same_score():
    X, y = make_rows()
    model = fit_linear(X, y, lr=0.5, penalty=L1(1e-3))
    expected = model.decision_function(X)[:1]
    row = X[:1]
    frozen = row.copy()
    for array in (frozen.data, frozen.indices, frozen.indptr):
        array.flags.writeable = False
    strided = row.copy()
    strided.data = np.repeat(row.data, 2)[::2]
    spare = row.copy()
    spare.data, spare.indices = np.append(row.data, np.nan), np.append(row.indices, -1).astype(np.int32)
    long = row.copy()
    long.indices, long.indptr = row.indices.astype(np.int64), row.indptr.astype(np.int64)
    for form in (row, frozen, strided, spare, long, sp.csr_matrix(row), row.tocsc(), row.toarray(), X[:1].astype("f4")):
        np.testing.assert_allclose(model.decision_function(form), expected, rtol=1e-6)
    for form in (row, frozen, strided, spare, long, sp.csr_matrix(row), row.tocsc(), row.toarray()):
        np.testing.assert_array_equal(model.decision_function(form), expected)


@pytest.mark.parametrize("options", [{"lr": 0.5}, {"lr": 0.5, "penalty": "l1", "average": True}, {}])
@pytest.mark.parametrize("value", [np.nan, 1e200])
def test_rejected_row_changes_nothing(options, value):
    X, y = make_rows()
    classifier = AdagradClassifier(**options).partial_fit(X, y).partial_fit(X[:1], y[:1])
    before, seen = {name: array.copy() for name, array in classifier.model_._arrays().items()}, classifier.model_.n_seen
    bad = X[1:2].copy()
    bad.data[-1] = value
    with pytest.raises(ValueError):
        classifier.partial_fit(bad, y[1:2])
    for name, array in classifier.model_._arrays().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert classifier.model_.n_seen == seen
    classifier.partial_fit(X[1:2], y[1:2])
    assert_equal_estimators(classifier, AdagradClassifier(**options).partial_fit(X, y).partial_fit(X[:2], y[:2]))


@pytest.mark.parametrize("options", [{"penalty": "l1"}, {"lr": 0.5, "penalty": "l1", "average": True}, {"lr": 0.5}])
def test_weights_that_overflow_are_restored(options, monkeypatch):
    X, y = make_rows()
    classifier = AdagradClassifier(**options).partial_fit(X, y).partial_fit(X[:1], y[:1])
    before = {name: array.copy() for name, array in classifier.model_._arrays().items()}
    with monkeypatch.context() as patch:
        patch.setattr(type(classifier.model_.selection), "is_finite", lambda *args: False)
        with pytest.raises(ValueError, match="the row gives weights that are not finite"):
            classifier.partial_fit(X[1:2], y[1:2])
    for name, array in classifier.model_._arrays().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_other_owners_of_a_model_do_not_see_later_rows():
    """Copies of an estimator, and estimators that got their model elsewhere, do not train it in place."""
    X, y = make_rows()
    classifier = AdagradClassifier(lr=0.5).partial_fit(X, y).partial_fit(X[:1], y[:1])
    coef = classifier.coef_.copy()
    for other in (copy.copy(classifier), copy.deepcopy(classifier), pickle.loads(pickle.dumps(classifier))):
        other.partial_fit(X[2:3], y[2:3]).partial_fit(X[3:4], y[3:4])
        assert not np.array_equal(other.coef_, coef)
        np.testing.assert_array_equal(classifier.model_.coef, coef[0])
    kept = classifier.coef_
    assert not np.array_equal(classifier.partial_fit(X[2:3], y[2:3]).coef_, coef)
    np.testing.assert_array_equal(kept, coef)


def test_changed_parameters_hold_from_the_next_row_on():
    X, y = make_rows()
    changed = AdagradClassifier(lr=0.5).partial_fit(X, y).partial_fit(X[:1], y[:1]).set_params(lr=0.1)
    changed.partial_fit(X[1:2], y[1:2]).partial_fit(X[2:3], y[2:3])
    assert changed.model_.state.lr == 0.1
    expected = AdagradClassifier(lr=0.5).partial_fit(X, y).partial_fit(X[:1], y[:1]).set_params(lr=0.1)
    assert_equal_estimators(changed, expected.partial_fit(X[1:3], y[1:3]))
    with pytest.raises(ValueError, match="which is not among the classes"):
        changed.partial_fit(X[:1], [7])


def test_weights_set_by_the_user_predict():
    X, y = make_rows()
    classifier = AdagradClassifier(lr=0.5).partial_fit(X, y)
    score = classifier.decision_function(X[:1])
    np.testing.assert_allclose(score, X[:1] @ classifier.coef_[0] + classifier.intercept_)
    np.testing.assert_allclose(classifier.sparsify().decision_function(X[:1]), score)
    classifier.coef_ = np.zeros((1, N_FEATURES))
    np.testing.assert_array_equal(classifier.decision_function(X[:1]), classifier.intercept_)
