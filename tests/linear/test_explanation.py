"""LinearModel.explain: contributions sum up to the score, have names, and are printed."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adagrad_nb import L1, Columns, Hashed, Interaction, LinearModel, Numeric, OneHot, Text, fit_linear, read_arrow

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 5)) * (RNG.random((200, 5)) < 0.7)


@pytest.mark.parametrize(
    ("y", "options"),
    [
        (X[:, 0] > 0, {}),
        (X[:, 0] > 0, {"intercept": False}),
        (X[:, 0] > 0, {"lr": "auto"}),
        (X[:, 0] > 0, {"normalized": True, "invariant": True}),
        (X @ np.arange(5), {"loss": "squared"}),
        (X @ np.arange(5) + 50, {"loss": "squared", "standardize_targets": True}),
        (np.argmax(X[:, :3], axis=1), {}),
    ],
)
@pytest.mark.parametrize("n_largest", [1, 3, 99])
def test_contributions_sum_up_to_the_score(y, options, n_largest):
    model = fit_linear(X, y, **options)
    for row in range(5):
        explanation = model.explain(X[[row]], n_largest)
        scores = np.atleast_1d(model.decision_function(X[[row]])[0])
        sizes = [abs(c.contribution) for c in explanation.contributions]
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) + explanation.n_others == np.count_nonzero(X[row]) + model.has_intercept
        assert len(sizes) == min(n_largest, len(sizes) + explanation.n_others)
        assert_allclose(sum(c.contribution for c in explanation.contributions) + explanation.others, explanation.score)
        for c in explanation.contributions:
            assert_allclose(c.contribution, c.value * c.weight)
        if model.classes is None:
            assert (explanation.label, explanation.score) == (None, scores[0])
            continue
        assert explanation.label == model.predict(X[[row]])[0]
        assert_allclose(explanation.score, abs(scores[0]) if scores.size == 1 else scores.max(), rtol=1e-14)
        for k, label in enumerate(model.classes.tolist()):
            score = scores[k] if scores.size > 1 else scores[0] * (1 if k else -1)
            assert_allclose(model.explain(X[[row]], n_largest, label).score, score, rtol=1e-14, atol=1e-15)


def test_names_of_features():
    pytest.importorskip("pyarrow")
    entries = (Numeric("age", 40.0), OneHot("job"), Hashed("ip"), Text("says"), Interaction(("job", "ip")))
    table = {"age": [30.0, 50.0], "job": ["cook", "judge"], "ip": ["1", "2"], "says": ["free call", "hi"], "y": [0, 1]}
    model = fit_linear(read_arrow(table, columns=Columns(entries, bits=10), new_categories="add"), passes=5)
    row = {name: values[0] for name, values in table.items()}
    names = {c.name for c in model.explain(row).contributions}
    assert names == {"age", "job=cook", "ip=1", "says=free", "says=call", "job=cook*ip=1", "(intercept)"}
    of_matrix = {c.name for c in model.explain(model.columns.transform(row)).contributions}
    assert len(of_matrix) == 7
    assert sum(name.startswith("hash[") for name in of_matrix) == 4
    crowded = fit_linear(read_arrow(table, columns=Columns(entries, bits=1), new_categories="add"))
    assert any(" or " in c.name for c in crowded.explain(row).contributions)
    assert [c.name for c in fit_linear(np.eye(2), [0, 1]).explain(np.eye(2)[[1]], 1).contributions] == ["1"]


def test_an_explanation_is_printed():
    model = fit_linear(np.array([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), ["no", "yes"], passes=3)
    lines = str(model.explain(np.array([[0.0, 2.0, 1.0]]), 2)).splitlines()
    assert lines[0].startswith("score of yes +")
    assert lines[1].split()[1:] == ["1", "2", "x", f"{model.coef[1]:+.4f}"]
    assert lines[-1].endswith("1 others")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X[:2],), r"X: got 2 rows; explain takes one, such as X\[\[0\]\]"),
        ((X[:1], 0), "n_largest: got 0"),
        ((X[:1], 3, "maybe"), r"label: got 'maybe'; must be one of \[False, True\]"),
        ((X[:1], 3, np.array([0, 1])), r"label: got array\(\[0, 1\]\); must be one of"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_linear(X, X[:, 0] > 0).explain(*arguments)
    with pytest.raises(ValueError, match="label: got 3, but the model predicts numbers"):
        fit_linear(X, X[:, 0], loss="squared").explain(X[:1], label=3)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_explanation_reads_only_the_weights_of_the_row(n_classes, monkeypatch):
    """The weights of all features of a wide model take a second, those of a row microseconds."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 8)), np.arange(60) % n_classes
    model = fit_linear(X, y, lr=0.5, penalty=L1(1e-2))
    coef = np.atleast_2d(model.coef)
    np.testing.assert_array_equal(model.coef_of([5, 0, 5]), model.coef[..., [5, 0, 5]])
    row = X[:1] * [1, 0, 1, 0, 0, 0, 1, 0]
    monkeypatch.setattr(LinearModel, "coef", property(lambda self: pytest.fail("computes all weights")))
    explanation = model.explain(row, label=1)
    weights = {c.name: c.weight for c in explanation.contributions if c.name != "(intercept)"}
    assert weights == {str(j): coef[-1 if n_classes == 2 else 1, j] for j in (0, 2, 6)}


@pytest.mark.parametrize("features", [[8], [-1], [0.5], [[1]]])
def test_weights_of_features_that_do_not_exist_are_refused(features):
    model = fit_linear(np.eye(8), np.arange(8) % 2, lr=0.5)
    with pytest.raises((TypeError, ValueError), match="features: got"):
        model.coef_of(features)
