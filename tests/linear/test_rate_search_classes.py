"""Search for the learning rate with several classes: definition, units, resume, new classes, files, memory limit."""

import copy
import pickle
from typing import NamedTuple

import multi_output_problems as problems
import numpy as np
import pytest
import scipy.sparse as sp
from reference_rate_search import SOFTMAX, classes_against_the_rest, flow, search_outputs
from test_rate_search import SEARCH, content, logistic, logistic_slope, soft

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adagrad,
    GroupL2,
    Logistic,
    OneVsRest,
    Polyak,
    RateSearch,
    Softmax,
    SquaredHinge,
    fit_linear,
    load_model,
)
from adagrad_nb.linear import rate_search

LOSSES = {"softmax": Softmax(), "logistic": OneVsRest(Logistic()), "squared_hinge": OneVsRest(SquaredHinge())}


def hinge_square(y, p):
    return max(1 - y * p, 0) ** 2


def hinge_slope(y, p):
    return -2 * y * max(1 - y * p, 0)


def coarse_flow(slope, y, p, q, tau):
    return flow(slope, y, p, q, tau, n=400)


class Distance(NamedTuple):
    """Distance of the score from the label, without a closed form of the invariant step."""

    target_type = "binary"
    probabilities = False

    def value(self, y, p):
        return abs(p - y)

    def slope(self, y, p):
        return (p > y) * type(p)(1) - (p < y) * type(p)(1)

    def inverse_link(self, p):
        return p


REFERENCES = {
    "softmax": SOFTMAX,
    "logistic": classes_against_the_rest(logistic, logistic_slope, coarse_flow),
    "squared_hinge": classes_against_the_rest(hinge_square, hinge_slope, coarse_flow),
}


@pytest.mark.parametrize("penalty", [None, L1(0.05), L2(0.1)], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_the_search_follows_its_definition(name, penalty):
    X, y, weight = problems.data("classes")
    prox = {L1: soft(0.05), L2: lambda w, step: w / (1 + 0.1 * step)}.get(type(penalty))
    expected = search_outputs(
        X.toarray(), y, weight, problems.CLASSES, REFERENCES[name], SEARCH.values, SEARCH.halve_at, prox
    )
    model = fit_linear(X, y, loss=LOSSES[name], sample_weight=weight, lr=SEARCH, penalty=penalty)
    assert model.rates.tolist() == expected.rates
    np.testing.assert_allclose(model.progressive_losses, expected.losses / expected.weight, rtol=1e-7)
    assert model.progressive_loss == pytest.approx(expected.leader_loss / expected.weight, rel=1e-7)
    best = np.argmin(expected.ranks)
    assert model.rate == expected.rates[best]
    np.testing.assert_allclose(model.coef, expected.w[best], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.intercept, expected.b[best], rtol=1e-6, atol=1e-9)
    removed = [candidate for candidate in model.candidates if candidate.removed_at is not None]
    np.testing.assert_allclose(removed, sorted(expected.removed), rtol=1e-7)


def test_against_the_rest_each_class_is_a_binary_model():
    X, y, weight = problems.data("classes")
    model = fit_linear(X, y, loss=OneVsRest(Logistic()), sample_weight=weight, lr=RateSearch((0.4,)))
    for k in range(problems.CLASSES):
        alone = fit_linear(X, y == k, sample_weight=weight, lr=RateSearch((0.4,)))
        np.testing.assert_allclose(model.coef[k], alone.coef, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("average", [False, Polyak(5)], ids=str)
def test_predictions_are_those_of_the_best_rate(name, average):
    X, y, _ = problems.data("classes")
    model = fit_linear(X, y, loss=LOSSES[name], lr=SEARCH, average=average)
    assert model.coef.shape == (problems.CLASSES, problems.COLUMNS)
    scores = X @ model.coef.T + model.intercept
    np.testing.assert_allclose(model.decision_function(X), scores, rtol=1e-10, atol=1e-12)
    assert model.predict(X).tolist() == scores.argmax(axis=1).tolist()
    if name != "squared_hinge":
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert model.state.slots[0][0].shape == (problems.COLUMNS, problems.CLASSES * model.rates.size)


@pytest.mark.parametrize("rule", [None, RDA(), FTRL()], ids=str)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resumed_training_is_bit_equal(name, dtype, rule, tmp_path):
    """Also where candidates are removed; the first rows lack classes, which are declared."""
    X, y, weight = problems.data("classes")
    weight = np.maximum(weight, 0.5)
    options = {"loss": LOSSES[name], "dtype": dtype, "lr": SEARCH, "penalty": L1(0.01), "rule": rule}
    options["classes"] = list(range(problems.CLASSES))
    whole = fit_linear(X, y, sample_weight=weight, **options)
    assert whole.rates.size == 2
    for cut in range(1, y.size) if (name, dtype, rule) == ("softmax", np.float64, None) else (1, 9, 10, 20, 33):
        first = fit_linear(X[:cut], y[:cut], sample_weight=weight[:cut], **options)
        starts = [first]
        if cut in (1, 9, 10, 20, 33):
            first.save(tmp_path / "model.npz")
            starts += [load_model(tmp_path / "model.npz"), pickle.loads(pickle.dumps(first)), copy.deepcopy(first)]
        for start in starts:
            rest = fit_linear(X[cut:], y[cut:], sample_weight=weight[cut:], model=start)
            assert content(rest) == content(whole)


@pytest.mark.parametrize("rule", [None, RDA()], ids=str)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n_first", [1, 3])
def test_classes_that_appear_later(name, n_first, rule, tmp_path):
    """A new class has zero weights; where classes share accumulators, it has those of the others."""
    X, y, _ = problems.data("classes", n=80)
    order = np.argsort(y >= n_first, kind="stable")
    X, y = X[order], np.array(["ant", "bee", "cat", "dog", "eel"])[::-1][y[order]]
    cut = int(np.sum(np.isin(y, ["eel", "dog", "cat"][:n_first])))
    first = fit_linear(X[:cut], y[:cut], loss=LOSSES[name], lr=SEARCH, rule=rule)
    assert first.classes.size == n_first
    assert first.coef.shape == (n_first, problems.COLUMNS)
    first.save(tmp_path / "model.npz")
    model = fit_linear(X[cut:], y[cut:], model=load_model(tmp_path / "model.npz"))
    assert content(model) == content(fit_linear(X[cut:], y[cut:], model=first))
    assert model.classes.tolist() == ["ant", "bee", "cat", "dog", "eel"]
    assert np.isfinite(model.progressive_loss)
    grown = first.copy()
    grown._set_target(model.target)
    np.testing.assert_array_equal(grown.coef[5 - n_first :], first.coef)
    assert not grown.coef[: 5 - n_first].any()
    if name == "softmax" and rule is None:
        accumulators = grown.state.slots[0][0].reshape(problems.COLUMNS, -1, 5)
        assert accumulators.any() == (n_first > 1)
        np.testing.assert_array_equal(accumulators, accumulators[:, :, :1].repeat(5, axis=2))


@pytest.mark.parametrize("name", LOSSES)
def test_units_of_the_columns_do_not_matter(name):
    X, y, _ = problems.data("classes", n=200)
    factors = 2.0 ** np.random.default_rng(0).integers(-20, 20, X.shape[1])
    options = {"loss": LOSSES[name], "lr": SEARCH, "rule": Adagrad(eps=0.0)}
    model, scaled = (fit_linear(Z, y, **options) for Z in (X, X @ sp.diags_array(factors)))
    np.testing.assert_allclose(scaled.coef * factors, model.coef, rtol=1e-9, atol=1e-12)
    assert scaled.progressive_loss == pytest.approx(model.progressive_loss, rel=1e-10)
    assert scaled.rates.tolist() == model.rates.tolist()


@pytest.mark.parametrize("name", LOSSES)
def test_huge_rates_and_values_do_not_diverge(name):
    """The flow of the scores goes no further than its loss allows."""
    rng = np.random.default_rng(0)
    X = rng.standard_cauchy(size=(300, 5)) * [1e-6, 1.0, 1e3, 1e6, 1.0]
    y = rng.integers(0, 4, 300)
    model = fit_linear(X, y, loss=LOSSES[name], lr=RateSearch((0.1, 1e3), halve_at=(10**6,)))
    assert np.all(np.isfinite(model.progressive_losses))
    assert np.all(np.isfinite(model.parameters.table))


def test_a_row_with_a_hopeless_score_is_learnt():
    """Probabilities that underflow to zero do not stop the update."""
    X = np.array([[1.0], [1.0], [1.0]])
    model = fit_linear(X, [0, 1, 2], loss=Softmax(), lr=0.5)
    search = fit_linear(X, [0, 1, 2], lr=RateSearch((0.4,)))
    for start, scale in ((search, 3e3), (search, -3e3)):
        start = start.copy()
        start.parameters.set_weights(np.array([[scale], [0.0], [-scale]]), np.zeros(3))
        grown = fit_linear(X, [2, 0, 1], model=start)
        assert np.all(np.isfinite(grown.coef))
        assert grown.progressive_loss > start.progressive_loss
        assert np.any(grown.coef != start.coef)
    assert model.coef.shape == search.coef.shape


def test_a_candidate_that_diverges_does_not_harm_the_others():
    X, y, _ = problems.data("classes", n=60)
    model = fit_linear(X, y, loss=OneVsRest(Distance()), lr=RateSearch((0.5, 1e300), halve_at=(50,)))
    assert model.rate == 0.5
    assert np.all(np.isfinite(model.coef))


def test_memory_limit(monkeypatch):
    """It counts all classes: those that appear later remove the learning rates with the largest losses."""
    X, y, _ = problems.data("classes", n=80)
    monkeypatch.setattr(rate_search, "MAX_NUMBERS", 2 * problems.COLUMNS * problems.CLASSES * 3)
    model = fit_linear(X, y, lr="auto")
    assert model.rates.tolist() == [0.1, 0.2, 0.4]
    assert fit_linear(X, y, lr="auto", classes=list(range(15))).rates.tolist() == [0.2]
    first = fit_linear(X[y < 3], y[y < 3], lr="auto")
    assert first.rates.size == 5
    later = fit_linear(X, y, model=first)
    assert later.rates.size == 3
    losses = {c.rate: c.progressive_loss for c in first.candidates if c.removed_at is None}
    assert later.rates.tolist() == sorted(sorted(losses, key=losses.__getitem__)[:3])
    assert {c.removed_at for c in later.candidates} == {None, 0, first.n_seen}


def test_what_classes_do_not_support():
    X, y, _ = problems.data("classes")
    with pytest.raises(ValueError, match=r"^penalty: got GroupL2\(.*, whose groups are the classes of a feature"):
        fit_linear(X, y, lr=SEARCH, penalty=GroupL2(0.1))


ENDED = {
    "classes": ("classes", {}),
    "against the rest": ("classes", {"loss": OneVsRest(Logistic())}),
    "RDA": ("signs", {"rule": RDA()}),
    "batches": ("signs", {"batch_size": 4}),
    "one output": ("signs", {}),
    "numbers": ("numbers", {"loss": "squared"}),
}


@pytest.mark.parametrize("name", ENDED)
def test_a_model_whose_search_ended_is_saved(name, tmp_path):
    kind, options = ENDED[name]
    X, y, _ = problems.data(kind)
    half = y.size // 2
    options = options | {"lr": RateSearch((0.1, 1.0), halve_at=(3,))}
    if kind == "classes":
        options["classes"] = list(range(problems.CLASSES))
    first = fit_linear(X[:half], y[:half], **options)
    assert first.rates.size == 1
    first.save(tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert content(loaded) == content(first)
    assert content(fit_linear(X[half:], y[half:], model=loaded)) == content(fit_linear(X[half:], y[half:], model=first))
