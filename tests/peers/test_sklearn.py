"""scikit-learn: the optimum of its batch solvers, and the behaviour that it tests of its SGD estimators.

The second part has the cases of scikit-learn's ``linear_model/tests/test_sgd.py``, for both families where one
assertion can hold for both.  These do not apply:

- the formulas of averaged SGD, `eta0`, `power_t` and `learning_rate`: the steps of Adagrad are others;
- `n_jobs` and `verbose`: several classes are trained in one pass, and callbacks report progress;
- the one-class SVM, and regression losses of a classifier: there are none here;
- `partial_fit` without `classes`, which raises there: here the first call may find them in y;
- the values of losses and their slopes: ``tests/records`` has them;
- the warning about too few passes without early stopping: without it there is no tolerance to reach.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import L1, L2, RDA, Adagrad, EarlyStopping, ElasticNet, InverseTime, PassiveAggressive, fit_linear

pytest.importorskip("sklearn", minversion="1.6")

from sklearn import linear_model
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from adagrad_nb import AdagradClassifier, AdagradRegressor

pytestmark = pytest.mark.compiled_only("300,000 updates take minutes in pure Python")

N, D = 200, 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)) * (RNG.random((N, D)) < 0.6)
SCORES = X @ (RNG.normal(size=D) * (RNG.random(D) < 0.5)) + 0.5
NUMBERS = SCORES + 0.3 * RNG.normal(size=N)
LABELS = np.where(SCORES + 0.5 * RNG.normal(size=N) > 0, 1, -1)


def objective(loss, w, b, l1, l2):
    """Mean loss + penalty, in NumPy."""
    p = X @ np.ravel(w) + b
    losses = np.logaddexp(0, -LABELS * p) if loss == "logistic" else (p - NUMBERS) ** 2 / 2
    return float(np.mean(losses) + l1 * np.abs(w).sum() + l2 * np.sum(np.square(w)) / 2)


def batch(loss, l1, l2):
    """Weights and intercept by scikit-learn, in the scaling of each of its classes."""
    solver = {"tol": 1e-12, "max_iter": 100_000}
    if loss == "squared":
        if not l1:
            model = linear_model.Ridge(alpha=N * l2, **solver)
        elif not l2:
            model = linear_model.Lasso(alpha=l1, **solver)
        else:
            model = linear_model.ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), **solver)
        return model.fit(X, NUMBERS)
    with warnings.catch_warnings():  # `penalty` is going away, and without it older versions take l2
        warnings.simplefilter("ignore", FutureWarning)
        model = linear_model.LogisticRegression(
            penalty="elasticnet", solver="saga", C=1 / (N * (l1 + l2)), l1_ratio=l1 / (l1 + l2), **solver
        )
        return model.fit(X, LABELS)


@pytest.mark.filterwarnings("ignore:.*penalty.*:UserWarning")
@pytest.mark.parametrize(
    ("loss", "penalty", "l1", "l2"),
    [
        ("squared", L1(0.05), 0.05, 0.0),
        ("squared", L2(0.1), 0.0, 0.1),
        ("squared", ElasticNet(0.03, 0.05), 0.03, 0.05),
        ("logistic", L1(0.02), 0.02, 0.0),
        ("logistic", L2(0.02), 0.0, 0.02),
        ("logistic", ElasticNet(0.01, 0.02), 0.01, 0.02),
    ],
    ids=["lasso", "ridge", "elastic net", "logistic lasso", "logistic ridge", "logistic elastic net"],
)
@pytest.mark.parametrize("rule", [Adagrad(), RDA()], ids=["mirror descent", "dual averaging"])
def test_optimum(loss, penalty, l1, l2, rule):
    y = NUMBERS if loss == "squared" else LABELS
    expected = batch(loss, l1, l2)
    best = objective(loss, expected.coef_, expected.intercept_, l1, l2)
    # Dual averaging weighs all gradients alike, at a rate that stays.
    rate = InverseTime(0.5, 1e-3) if rule == Adagrad() else 0.3 if loss == "squared" else 1.0
    model = fit_linear(X, y, loss=loss, penalty=penalty, rule=rule, lr=rate, passes=1500, shuffle=True, rng=0)
    actual = objective(loss, model.coef, model.intercept, l1, l2)
    assert best * (1 - 1e-6) < actual < best * (1 + 1e-4)
    np.testing.assert_allclose(model.coef, np.ravel(expected.coef_), atol=0.03)
    assert objective(loss, np.zeros(D), 0.0, l1, l2) > 1.3 * best


# --- the behaviour of SGDClassifier and SGDRegressor -----------------------------------------------------------------

CLASSIFIERS, REGRESSORS = [SGDClassifier, AdagradClassifier], [SGDRegressor, AdagradRegressor]
classifiers = pytest.mark.parametrize("kind", CLASSIFIERS)
regressors = pytest.mark.parametrize("kind", REGRESSORS)
all_kinds = pytest.mark.parametrize("kind", CLASSIFIERS + REGRESSORS)

IRIS, SPECIES = load_iris(return_X_y=True)
IRIS = StandardScaler().fit_transform(IRIS)


def no_penalty(kind, **options):
    """An estimator without a penalty, and with one learning rate; the default of theirs is L2."""
    if kind in (SGDClassifier, SGDRegressor):
        options |= {"penalty": None, "tol": None}
    else:
        options = {"lr": 0.5} | options
    return kind(**options)


def early_stopping(kind, n_iter_no_change=5, tol=1e-3, validation_fraction=0.1, **options):
    """An estimator that holds out rows."""
    stopping = {"n_iter_no_change": n_iter_no_change, "tol": tol, "validation_fraction": validation_fraction}
    if kind in (SGDClassifier, SGDRegressor):
        return kind(early_stopping=True, **stopping, **options)
    return kind(early_stopping=EarlyStopping(**stopping), **options)


def targets(kind):
    return LABELS if is_classifier(kind()) else NUMBERS


@pytest.mark.parametrize("kind", [SGDRegressor, AdagradRegressor, AdagradClassifier])
@pytest.mark.parametrize("start", [1, 2, 7])
def test_average_begins_with_the_nth_row(kind, start):
    """The mean of the weights after rows n, n + 1, …, counted from 1."""
    options = {"classes": [-1, 1]} if is_classifier(kind()) else {}
    averaged, plain, iterates = no_penalty(kind, average=start), no_penalty(kind), []
    y = targets(kind)
    for row in range(30):
        part = slice(row, row + 1)
        averaged.partial_fit(X[part], y[part], **options)
        plain.partial_fit(X[part], y[part], **options)
        iterates.append(np.append(plain.coef_, plain.intercept_))
    actual = np.append(averaged.coef_, averaged.intercept_)
    assert_allclose(actual, np.mean(iterates[start - 1 :], axis=0), rtol=1e-9, atol=1e-12)


@all_kinds
def test_average_that_has_not_begun(kind):
    late = no_penalty(kind, average=10_000, random_state=0, max_iter=3).fit(X, targets(kind))
    for same in (False,) if kind in (SGDClassifier, SGDRegressor) else (False, 0):
        plain = no_penalty(kind, average=same, random_state=0, max_iter=3).fit(X, targets(kind))
        assert_array_equal(late.coef_, plain.coef_)


@all_kinds
def test_two_calls_of_partial_fit_are_two_passes(kind):
    y = targets(kind)
    two_passes = no_penalty(kind, max_iter=2, shuffle=False).fit(X, y)
    calls = no_penalty(kind, shuffle=False)
    for _ in range(2):
        calls.partial_fit(X, y, **({"classes": [-1, 1]} if is_classifier(calls) else {}))
    assert calls.t_ == two_passes.t_
    assert_allclose(calls.coef_, two_passes.coef_, rtol=1e-12)


@all_kinds
def test_warm_start_clone_and_random_state(kind):
    y = targets(kind)
    first = no_penalty(kind, max_iter=1, random_state=3).fit(X, y)
    assert_array_equal(clone(first).fit(X, y).coef_, first.coef_)
    assert not np.array_equal(clone(first).set_params(random_state=4).fit(X, y).coef_, first.coef_)
    warm = no_penalty(kind, max_iter=5, warm_start=True, shuffle=False).fit(X, y)
    before = warm.coef_.copy()
    warm.set_params(max_iter=1).fit(X, y)
    assert not np.array_equal(warm.coef_, before)
    if kind in (AdagradClassifier, AdagradRegressor):  # whose learning rate goes on where it was
        assert_array_equal(warm.coef_, no_penalty(kind, max_iter=6, shuffle=False).fit(X, y).coef_)


@classifiers
def test_fit_again_with_other_data(kind):
    model = kind(random_state=0).fit(X, LABELS)
    model.fit(X[:, :-1], np.where(LABELS > 0, "spam", "ham"))
    assert model.coef_.shape == (1, D - 1)
    assert model.classes_.tolist() == ["ham", "spam"]
    model.fit(IRIS, SPECIES).partial_fit(IRIS, SPECIES)
    assert model.coef_.shape == (3, 4)


@all_kinds
def test_early_stopping_ends_before_max_iter(kind):
    y = targets(kind)
    counts = [
        early_stopping(kind, n, tol=1e-4, max_iter=1000, random_state=0).fit(X, y).n_iter_ for n in (2, 3, 10)
    ]  # fmt: skip
    assert counts == sorted(counts)
    assert counts[-1] < 1000
    with pytest.raises(ValueError, match="early_stopping"):
        kind(early_stopping=True).partial_fit(X, y)


@all_kinds
def test_early_stopping_needs_rows_on_both_sides(kind):
    y = targets(kind)
    rows = [int(np.argmax(LABELS > 0)), int(np.argmax(LABELS < 0))]
    with pytest.raises(ValueError, match="validation_fraction|train set|train_size|test_size"):
        early_stopping(kind, validation_fraction=0.999, random_state=0).fit(X[rows], y[rows])
    with pytest.raises(ValueError, match="weights"):
        early_stopping(kind, random_state=0).fit(X, y, sample_weight=np.zeros(N))


@all_kinds
def test_convergence_warning(kind):
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        early_stopping(kind, max_iter=3, random_state=0).fit(X, targets(kind))


def test_l1_ratio():
    """None is allowed where it is not used; at 0 and 1 it is L2 and L1."""
    kind = AdagradClassifier
    y, options = targets(kind), {"alpha": 1e-3, "random_state": 0}
    for penalty in ("l1", "l2"):
        expected = kind(penalty=penalty, l1_ratio=None, **options).fit(X, y).coef_
        assert_array_equal(kind(penalty=penalty, l1_ratio=0.7, **options).fit(X, y).coef_, expected)
    with pytest.raises(ValueError, match="l1_ratio"):
        kind(penalty="elasticnet", l1_ratio=None).fit(X, y)
    for ratio, penalty in ((1 - 1e-10, "l1"), (1e-10, "l2")):
        mixed = kind(penalty="elasticnet", l1_ratio=ratio, **options).fit(X, y)
        assert_allclose(mixed.coef_, kind(penalty=penalty, **options).fit(X, y).coef_, atol=1e-6)


@all_kinds
def test_invalid_parameters_are_value_errors_and_type_errors(kind):
    y = targets(kind)
    for options in ({"alpha": -1, "penalty": "l2"}, {"max_iter": "many"}, {"shuffle": "yes"}, {"average": -1}):
        for error in (ValueError, TypeError):
            with pytest.raises(error, match=next(iter(options))):
                kind(**options).fit(X, y)


@all_kinds
def test_initial_weights_have_the_shape_of_the_weights(kind):
    y = targets(kind)
    fitted = kind(random_state=0).fit(X, y)
    kind().fit(X, y, coef_init=fitted.coef_, intercept_init=fitted.intercept_)
    kind().fit(X, y, coef_init=np.ravel(fitted.coef_), intercept_init=0)
    with pytest.raises(ValueError, match=r"coef_init|coef_"):
        kind().fit(X, y, coef_init=np.zeros(3))
    with pytest.raises(ValueError, match="intercept"):
        kind().fit(X, y, intercept_init=np.zeros(3))


@classifiers
def test_initial_weights_of_several_classes(kind):
    kind().fit(IRIS, SPECIES, coef_init=np.zeros((3, 4)), intercept_init=np.zeros(3))
    for options in ({"coef_init": np.zeros((2, 4))}, {"intercept_init": np.zeros(1)}):
        with pytest.raises(ValueError, match=next(iter(options))[:5]):
            kind().fit(IRIS, SPECIES, **options)


@classifiers
def test_access_to_probabilities(kind):
    for loss, has in (("log_loss", True), ("modified_huber", True), ("hinge", False), ("perceptron", False)):
        model = kind(loss=loss, random_state=0)
        assert hasattr(model, "predict_proba") == hasattr(model, "predict_log_proba") == has
        if has:
            model.fit(IRIS, SPECIES)
            probability = model.predict_proba(IRIS)
            assert_allclose(probability.sum(axis=1), 1.0)
            with np.errstate(divide="ignore"):
                assert_allclose(model.predict_log_proba(IRIS), np.log(probability))
        else:
            with pytest.raises(AttributeError, match="has no attribute 'predict_proba'") as raised:
                model.predict_proba(IRIS)
            assert isinstance(raised.value.__cause__, AttributeError)


@classifiers
def test_modified_huber_where_no_class_is_likely(kind):
    model = kind("modified_huber", random_state=0).fit(IRIS, SPECIES)
    model.coef_, model.intercept_ = np.zeros((3, 4)), np.full(3, -2.0)
    assert_allclose(model.predict_proba(IRIS[:2]), 1 / 3)


@classifiers
def test_weights_of_classes_and_rows(kind):
    """A small weight of one class turns the boundary; both weights are multiplied; unknown labels are an error."""
    A = np.array([[-1.0, -1.0], [-1.0, 0.0], [-0.8, -1.0], [1.0, 1.0], [1.0, 0.0]])
    y, point = [1, 1, 1, -1, -1], [[0.2, -1.0]]
    options = {
        "loss": "hinge",
        "penalty": "l2",
        "alpha": 0.1,
        "max_iter": 300,
        "fit_intercept": False,
        "random_state": 0,
    }
    assert kind(**options).fit(A, y).predict(point) == [1]
    assert kind(class_weight={1: 0.001}, **options).fit(A, y).predict(point) == [-1]
    assert kind(**options).fit(A, y, sample_weight=[0.001] * 3 + [1] * 2).predict(point) == [-1]
    weight, factors = np.random.default_rng(0).random(N), {-1: 0.6, 1: 0.3}
    both = kind(class_weight=factors, random_state=0).fit(X, LABELS, sample_weight=weight)
    product = kind(random_state=0).fit(X, LABELS, sample_weight=weight * np.where(LABELS > 0, 0.3, 0.6))
    assert_allclose(both.coef_, product.coef_, rtol=1e-9)
    with pytest.raises(ValueError, match="class"):
        kind(class_weight={0: 0.5}).fit(X, LABELS)
    with pytest.raises(ValueError, match="sample_weight"):
        kind().fit(X, LABELS, sample_weight=np.ones(7))


def test_balanced_classes():
    """Eleven times the rows of one species are no disadvantage to the others."""
    A, y = np.vstack([IRIS, *[IRIS[SPECIES == 1]] * 10]), np.concatenate([SPECIES, np.ones(500, int)])
    scores = []
    for weight in (None, "balanced"):
        model = AdagradClassifier(class_weight=weight, random_state=0, max_iter=100).fit(A, y)
        scores.append(f1_score(SPECIES, model.predict(IRIS), average="macro"))
    assert scores[1] > max(scores[0], 0.9)


@classifiers
def test_l1_gives_zeros(kind):
    model = kind(penalty="l1", alpha=0.1, max_iter=200, random_state=0).fit(X, LABELS)
    assert 0 < np.count_nonzero(model.coef_) < D
    before = model.predict(X)
    assert_array_equal(model.sparsify().predict(X), before)


@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet"])
def test_a_strong_penalty_gives_zeros(penalty):
    with np.errstate(all="raise"):
        model = AdagradClassifier(penalty=penalty, alpha=1e5, max_iter=6, shuffle=False).fit(IRIS, SPECIES)
    assert_allclose(model.coef_, 0, atol=1e-3)


@regressors
@pytest.mark.parametrize("loss", ["squared_error", "epsilon_insensitive", "huber"])
def test_a_line(kind, loss):
    """With and without noise."""
    A = np.linspace(-5, 5, 100).reshape(-1, 1)
    noise = np.random.default_rng(0).normal(size=100)
    for level, score in ((0.0, 0.99), (1.0, 0.5)):
        model = kind(loss=loss, penalty="l2", alpha=0.1, max_iter=20, fit_intercept=False, random_state=0)
        y = A[:, 0] / 2 + level * noise
        assert model.fit(A, y).score(A, y) > score


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@regressors
def test_equal_columns_have_equal_weights(kind):
    model = kind(penalty="l2", alpha=0.1, max_iter=2, fit_intercept=False)
    model.fit([[0, 0], [1, 1], [2, 2]], [0, 1, 2])
    assert model.coef_[0] == model.coef_[1]


@regressors
@pytest.mark.parametrize("alpha", [0.01, 0.001])
@pytest.mark.parametrize("l1_ratio", [0.5, 0.8, 1.0])
def test_elastic_net(kind, alpha, l1_ratio):
    """The weights of coordinate descent."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(1000, 5))
    y = A @ rng.normal(size=5)
    options = {"alpha": alpha, "l1_ratio": l1_ratio, "fit_intercept": False}
    expected = linear_model.ElasticNet(**options).fit(A, y)
    model = kind(penalty="elasticnet", max_iter=50, random_state=0, **options).fit(A, y)
    assert_allclose(model.coef_, expected.coef_, atol=0.015)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@classifiers
def test_values_that_overflow(kind):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(100, 10))
    A[:, :2] *= 1e300
    scaled = MinMaxScaler().fit_transform(A)
    y = scaled @ rng.normal(size=10) > 0.0
    assert np.isfinite(kind(loss="squared_hinge", penalty="l2", alpha=0.1, max_iter=100).fit(scaled, y).coef_).all()
    with pytest.raises(ValueError, match="overflow"):
        kind(loss="squared_hinge").fit(A, y)


@classifiers
def test_large_gradients(kind):
    A = 100 * load_iris().data
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        options = {"eta0": 1e-5, "learning_rate": "constant"} if kind is SGDClassifier else {}
        model = kind("squared_hinge", penalty="elasticnet", alpha=0.01, random_state=0, max_iter=10, **options)
        assert np.isfinite(model.fit(A, SPECIES).coef_).all()


@all_kinds
def test_precision(kind):
    """float32 data give float32 weights, near those in double precision."""
    y = targets(kind)
    options = {"max_iter": 20, "shuffle": False}
    double, single = (no_penalty(kind, **options).fit(X.astype(dtype), y) for dtype in (np.float64, np.float32))
    assert (double.coef_.dtype, single.coef_.dtype) == (np.float64, np.float32)
    assert_allclose(single.coef_, double.coef_, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_in_parallel(backend):
    joblib = pytest.importorskip("joblib")
    A, y = make_classification(n_samples=300, n_features=10, random_state=0)
    model = early_stopping(AdagradClassifier, max_iter=300, random_state=0, penalty="l2")
    grid = {"alpha": [1e-4, 1e2]}
    expected = GridSearchCV(model, grid, cv=3).fit(A, y)
    with joblib.parallel_backend(backend, n_jobs=2):
        parallel = GridSearchCV(model, grid, cv=3).fit(A, y)
    assert_array_equal(parallel.best_estimator_.coef_, expected.best_estimator_.coef_)
    assert parallel.best_score_ > 0.8


@pytest.mark.parametrize("variant", [1, 2])
def test_passive_aggressive_updates(variant):
    """Without an intercept, the updates are those of scikit-learn."""
    pytest.importorskip("sklearn", minversion="1.8")
    model = SGDClassifier(
        penalty=None, learning_rate=f"pa{variant}", eta0=0.3, shuffle=False, fit_intercept=False, max_iter=2, tol=None
    ).fit(X, LABELS)
    ours = fit_linear(X, LABELS, rule=PassiveAggressive(0.3, variant), passes=2, intercept=False)
    assert_allclose(ours.coef, model.coef_[0], rtol=1e-9)
