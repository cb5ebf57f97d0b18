"""Search for the learning rate: against its definition, units of the columns, resume, files, and what it refuses.

`test_rate_search_classes` has the tests with several classes.
"""

import copy
import math
import pickle
from typing import NamedTuple

import multi_output_problems as problems
import numpy as np
import pytest
import scipy.sparse as sp
from reference_rate_search import search

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adadelta,
    Adagrad,
    Box,
    Chunk,
    Constant,
    GroupL2,
    InverseSqrt,
    MomentumAdagrad,
    OnlineToBatch,
    Polyak,
    Rates,
    RateSearch,
    RowAdagrad,
    fit_linear,
    load_model,
    merge,
)
from adagrad_nb.linear import rate_search


class Normalised(NamedTuple):
    """Adagrad, without the attribute that says that its step is the gradient times the step size."""

    slots = 1
    slot_domains = ("[0, inf)",)

    def initial_slots(self):
        return (0.0,)

    def step(self, x, g, s, lr):
        s = (s[0] + g * g,)
        return x - lr * g / math.sqrt(s[0]) if s[0] > 0 else x, s

    def step_size(self, s, lr):
        return lr / math.sqrt(s[0]) if s[0] > 0 else lr - lr


SEARCH = RateSearch((0.05, 0.2, 0.8, 1.6, 3.2), halve_at=(10, 20))
ENDING = SEARCH._replace(halve_at=(10, 15, 20))  # one candidate remains
ENDED = RateSearch((0.4,), halve_at=())  # from the first row on


def logistic(y, p):
    return np.logaddexp(0, -y * p)


def logistic_slope(y, p):
    return -y / (1 + np.exp(y * p))


def soft(strength):
    return lambda w, step: np.sign(w) * np.maximum(np.abs(w) - strength * step, 0)


@pytest.mark.parametrize("penalty", [None, L1(0.05), L2(0.1)], ids=str)
@pytest.mark.parametrize("lr", [SEARCH, ENDING, ENDED], ids=["continues", "ends", "one rate"])
def test_the_search_follows_its_definition(lr, penalty):
    X, y, weight = problems.data("signs")
    X.data[X.indptr[[9, 31]]] *= 1e3  # limited in the prediction
    prox = {L1: soft(0.05), L2: lambda w, step: w / (1 + 0.1 * step)}.get(type(penalty))
    expected = search(X.toarray(), y, weight, logistic, logistic_slope, lr.values, lr.halve_at, prox=prox)
    model = fit_linear(X, y, sample_weight=weight, lr=lr, penalty=penalty)
    assert model.rates.tolist() == expected.rates
    np.testing.assert_allclose(model.progressive_losses, expected.losses / expected.weight, rtol=1e-8)
    assert model.progressive_loss == pytest.approx(expected.leader_loss / expected.weight, rel=1e-8)
    best = np.argmin(expected.ranks)
    assert model.rate == expected.rates[best]
    np.testing.assert_allclose(model.coef, expected.w[best], rtol=1e-7, atol=1e-10)
    assert model.intercept == pytest.approx(expected.b[best], rel=1e-7)
    removed = [candidate for candidate in model.candidates if candidate.removed_at is not None]
    np.testing.assert_allclose(removed, sorted(expected.removed), rtol=1e-8)


def content(model):
    """Return all that determines a model, as bytes."""
    arrays = model._arrays()
    return {name: (array.shape, array.tobytes()) for name, array in arrays.items()} | {"n": model.n_seen}


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared", "poisson", "perceptron"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cut", [7, 20, 28, 33])
@pytest.mark.parametrize("average", [False, Polyak(15)], ids=str)
@pytest.mark.parametrize("lr", [SEARCH, ENDING], ids=["continues", "ends"])
def test_resumed_training_is_bit_equal(lr, average, loss, dtype, cut, tmp_path):
    """The search ends at update 20, which is row 28, because rows of weight 0 make no update."""
    assert_resumed_is_whole(lr, average, loss, dtype, cut, tmp_path)


@pytest.mark.compiled_only("the same without the compiler is above")
@pytest.mark.parametrize("cut", [7, 20, 28])
def test_resumed_training_is_bit_equal_compiled(cut, tmp_path):
    assert_resumed_is_whole(ENDING, False, "logistic", np.float64, cut, tmp_path)


def assert_resumed_is_whole(lr, average, loss, dtype, cut, tmp_path):
    X, y, weight = problems.data("numbers" if loss in ("squared", "poisson") else "signs")
    y = np.abs(y) if loss == "poisson" else y
    options = {"loss": loss, "dtype": dtype, "lr": lr, "penalty": L1(0.01), "average": average}
    whole = fit_linear(X, y, sample_weight=weight, **options)
    first = fit_linear(X[:cut], y[:cut], sample_weight=weight[:cut], **options)
    first.save(tmp_path / "model.npz")
    before = content(first)
    for start in (first, load_model(tmp_path / "model.npz"), pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        assert content(start) == before
        rest = fit_linear(X[cut:], y[cut:], sample_weight=weight[cut:], model=start, lr=lr)
        assert content(rest) == content(whole)
    assert content(first) == before


def test_units_of_the_columns_do_not_matter():
    """Factors of two are exact, so that the scores are the same bits; the rule has no eps of its own."""
    X, y, _ = problems.data("signs", n=200)
    factors = 2.0 ** np.random.default_rng(0).integers(-20, 20, X.shape[1])
    model, scaled = (fit_linear(Z, y, lr=SEARCH, rule=Adagrad(eps=0.0)) for Z in (X, X @ sp.diags_array(factors)))
    np.testing.assert_allclose(scaled.coef * factors, model.coef, rtol=1e-12)
    assert scaled.progressive_loss == pytest.approx(model.progressive_loss, rel=1e-12)
    assert scaled.rates.tolist() == model.rates.tolist()


WEIGHTS = {
    "small": lambda rng, n: np.full(n, 1e-5),
    "large": lambda rng, n: np.full(n, 1e6),
    "wide": lambda rng, n: 10.0 ** rng.uniform(-6, 6, n),
    "growing": lambda rng, n: 1.3 ** np.arange(n),
    "one heavy": lambda rng, n: np.where(np.arange(n) == 5, 1e6, 1.0),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_any_size_follow_the_definition(name):
    X, y, _ = problems.data("signs")
    weight = WEIGHTS[name](np.random.default_rng(0), y.size)
    expected = search(X.toarray(), y, weight, logistic, logistic_slope, SEARCH.values, SEARCH.halve_at)
    model = fit_linear(X, y, sample_weight=weight, lr=SEARCH)
    assert model.rates.tolist() == expected.rates
    np.testing.assert_allclose(model.progressive_losses, expected.losses / expected.weight, rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-5, 1e6])
def test_the_unit_of_the_weights_does_not_matter(unit):
    """The objective is the mean loss by weight, plus the penalty."""
    X, y, weight = problems.data("signs", n=200)
    first, second = (fit_linear(X, y, sample_weight=weight * u, lr=SEARCH, penalty=L1(0.01 * u)) for u in (1.0, unit))
    np.testing.assert_allclose(second.coef, first.coef, rtol=1e-6, atol=1e-9)
    assert second.progressive_loss == pytest.approx(first.progressive_loss, rel=1e-6)
    assert second.weight_unit == pytest.approx(first.weight_unit * unit, rel=0.5)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("lr", [SEARCH, ENDING], ids=["continues", "ends"])
@pytest.mark.parametrize("name", ["wide", "growing"])
@pytest.mark.parametrize("cut", [1, 8, 11, 16, 30])
def test_resumed_training_with_weights_of_any_size_is_bit_equal(name, cut, lr, tmp_path):
    X, y, _ = problems.data("signs")
    weight = WEIGHTS[name](np.random.default_rng(0), y.size)
    whole = fit_linear(X, y, sample_weight=weight, lr=lr, penalty=L1(0.01))
    first = fit_linear(X[:cut], y[:cut], sample_weight=weight[:cut], lr=lr, penalty=L1(0.01))
    first.save(tmp_path / "model.npz")
    for start in (first, load_model(tmp_path / "model.npz"), pickle.loads(pickle.dumps(first))):
        rest = fit_linear(X[cut:], y[cut:], sample_weight=weight[cut:], model=start)
        assert content(rest) == content(whole)
        assert rest.weight_unit == whole.weight_unit
        assert (whole.weight_unit, whole.weight_exponents) != (1.0, 0)


def test_a_row_of_weight_two_counts_as_two_rows_in_the_scales():
    X = np.array([[1.0], [3.0], [2.0]])
    y = np.array([1.0, -1.0, 1.0])
    weighted = fit_linear(X, y, sample_weight=[1.0, 2.0, 1.0], lr=SEARCH)
    repeated = fit_linear(X[[0, 1, 1, 2]], y[[0, 1, 1, 2]], lr=SEARCH)
    np.testing.assert_allclose(weighted._arrays()["scales"], repeated._arrays()["scales"], rtol=1e-12)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("cut", [12, 30])
@pytest.mark.parametrize("lr", [SEARCH, ENDING], ids=["continues", "ends"])
@pytest.mark.parametrize("average", [False, Polyak(15), OnlineToBatch(3)], ids=str)
def test_chunks_with_more_features(average, lr, cut):
    X, y, weight = problems.data("signs")
    narrow = X[:, :5][:cut]
    assert X[:cut][:, 5:].nnz > 0
    X = sp.csr_array(sp.vstack([sp.hstack([narrow, sp.csr_array((cut, X.shape[1] - 5))]), X[cut:]]))
    options = {"lr": lr, "average": average, "penalty": L1(0.01)}
    whole = fit_linear(X, y, sample_weight=weight, **options)
    first = fit_linear(narrow, y[:cut], sample_weight=weight[:cut], **options)
    rest = fit_linear(X[cut:], y[cut:], sample_weight=weight[cut:], model=first)
    np.testing.assert_array_equal(rest.coef, whole.coef)
    assert rest.progressive_loss == whole.progressive_loss


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("average", [False, Polyak(15), OnlineToBatch(3)], ids=str)
@pytest.mark.parametrize(
    "penalty", [None, L1(0.02), L2(0.1), Box(0.01, 0.3)], ids=lambda penalty: type(penalty).__name__
)
@pytest.mark.parametrize("schedule", [Constant(1.0), InverseSqrt(1.0)], ids=str)
def test_the_last_candidate_is_trained_like_the_others(schedule, penalty, average):
    """Two candidates that differ in one bit of the rate are trained alike, whether or not the search ends."""
    X, y, weight = problems.data("signs", n=120)
    rates = (0.4, float(np.nextafter(0.4, 1)))
    options = {"sample_weight": weight, "penalty": penalty, "average": average}
    both, one = (fit_linear(X, y, lr=RateSearch(rates, schedule, halve_at), **options) for halve_at in ((), (40,)))
    assert (both.rates.size, one.rates.size) == (2, 1)
    np.testing.assert_allclose(one.coef, both.coef, rtol=1e-9, atol=1e-12)
    assert one.intercept == pytest.approx(both.intercept, rel=1e-9)
    assert one.progressive_loss == pytest.approx(both.progressive_loss, rel=1e-12)
    np.testing.assert_allclose(one.progressive_losses, both.progressive_losses[:1], rtol=1e-12)
    again = [fit_linear(X[:9], y[:9], model=model, penalty=L1(0.1)) for model in (both, one)]
    np.testing.assert_allclose(again[1].coef, again[0].coef, rtol=1e-9, atol=1e-12)
    assert [state.lr for state in (one.state, one.bias_state)] == [one.parameters.state.lr] * 2
    assert one.state.slots[0][0] == pytest.approx(both.state.slots[0][0][:, 0], rel=1e-9)


def test_the_last_candidate_takes_the_memory_of_two_models():
    X, y, _ = problems.data("signs")
    ended, plain = fit_linear(X, y, lr=ENDING), fit_linear(X, y, lr=0.5)
    sizes = [model.parameters.weights.strides[0] for model in (ended, plain)]
    assert sizes == [32, 16]


def test_threads_and_merge_do_not_support_the_last_candidate():
    X, y, _ = problems.data("signs")
    model = fit_linear(X, y, lr=ENDING)
    with pytest.raises(ValueError, match=r"^threads: does not support several learning rates or a search"):
        fit_linear(X, y, model=model, threads=2)
    with pytest.raises(ValueError, match=r"^models: does not support several learning rates or a search over"):
        merge([model, model])


def test_a_user_loss_without_invariant_step_is_searched_to_the_end():
    class Quartic(NamedTuple):
        target_type = "continuous"

        def value(self, y, p):
            return (p - y) ** 4 / 4

        def slope(self, y, p):
            return (p - y) ** 3

        def inverse_link(self, p):
            return p

    X, y, _ = problems.data("numbers", n=80)
    models = [fit_linear(X, y, loss=Quartic(), lr=RateSearch((0.01, 0.02), halve_at=at)) for at in ((), (40,))]
    assert models[1].rates.size == 1
    kept = list(models[0].rates).index(models[1].rate)
    assert models[1].progressive_losses[0] == pytest.approx(models[0].progressive_losses[kept], rel=1e-9)


def test_a_falling_rate_is_searched_too():
    X, y, _ = problems.data("signs", n=100)
    model = fit_linear(X, y, lr=RateSearch((0.1, 1.0), InverseSqrt(1.0)), penalty=L1(0.01))
    assert model.progressive_loss < np.log(2)
    assert fit_linear(X[50:], y[50:], model=fit_linear(X[:50], y[:50], lr=model.state.lr, penalty=L1(0.01))).coef == (
        pytest.approx(model.coef, rel=1e-12)
    )


def test_passes_compare_the_first_pass():
    X, y, _ = problems.data("signs", n=100)
    once, thrice = (fit_linear(X, y, lr=RateSearch(halve_at=(150,)), passes=passes) for passes in (1, 3))
    assert once.progressive_loss == thrice.progressive_loss
    assert (once.rates.size, thrice.rates.size) == (8, 4)
    assert once.rate == thrice.rate
    stopped = fit_linear(X, y, lr=RateSearch(halve_at=(150,)), passes=9, early_stopping=True)
    assert len(stopped.pass_losses) >= 2
    assert np.all(np.isfinite(stopped.pass_losses))


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("cut", [30, 64, 130])
def test_standardised_targets_and_a_search(cut, passes):
    """Every row counts after a halving too, and resumed training is bit-equal."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = 100 + X @ [1.0, -2.0, 3.0]
    options = {"loss": "squared", "standardize_targets": True, "lr": RateSearch(halve_at=(20, 64, 100))}
    whole = fit_linear(X, y, passes=passes, **options)
    assert whole.loss_sums[-1] == 200
    assert whole.rates.size == 1
    if passes == 1:
        first = fit_linear(X[:cut], y[:cut], **options)
        assert content(fit_linear(X[cut:], y[cut:], model=first)) == content(whole)


def test_tiny_columns_and_targets():
    """The default rule has no eps, which would have the unit of a gradient."""
    X, y, _ = problems.data("signs", n=200)
    losses = [fit_linear(X * scale, y, lr="auto").progressive_loss for scale in (1.0, 1e-12, 1e12)]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-9)
    X, y, _ = problems.data("numbers", n=200)
    losses = [
        fit_linear(X, y * scale, loss="squared", standardize_targets=True, lr=0.1).mean_loss(X, y * scale) / scale**2
        for scale in (1.0, 1e-30, 1e30)
    ]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"batch_size": 4}, {"rule": Adadelta()}], ids=str)
def test_auto_continues_with_the_rates_of_the_model(options):
    X, y, _ = problems.data("signs")
    first = fit_linear(X[:20], y[:20], lr="auto", **options)
    rest = fit_linear(X[20:], y[20:], lr="auto", model=first)
    assert rest.progressive_loss == fit_linear(X, y, lr="auto", **options).progressive_loss


@pytest.mark.parametrize(
    "options",
    [{}, {"lr": "auto"}, {"lr": None}, {"average": Polyak()}, {"penalty": L2(0.1)}, {"batch_size": 4}],
)
@pytest.mark.parametrize("kind", ["signs", "numbers"])
def test_the_default_is_a_search(options, kind):
    X, y, weight = problems.data(kind)
    loss = "logistic" if kind == "signs" else "squared"
    model = fit_linear(X, y, loss=loss, sample_weight=weight, **options)
    options = options | {"lr": RateSearch(), "standardize_targets": kind == "numbers"}
    assert content(model) == content(fit_linear(X, y, loss=loss, sample_weight=weight, **options))
    assert model.state.rule == Adagrad(eps=0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 2}, {"normalized": True}, {"invariant": True}, {"penalty": GroupL2(0.1)},
        {"penalty": GroupL2(0.1), "loss": "softmax"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("lr", ["auto", None])
def test_the_default_is_one_rate_where_a_search_is_not_supported(options, lr):
    X, y, _ = problems.data("signs")
    model = fit_linear(X, y, lr=lr, **options)
    assert (model.state.lr, model.has_several_rates, model.standardize_targets) == (0.5, False, False)
    assert content(model) == content(fit_linear(X, y, lr=0.5, **options))


@pytest.mark.parametrize("options", [{"threads": 2}, {"normalized": True}], ids=str)
@pytest.mark.parametrize("loss", ["squared", "quantile", "poisson"])
def test_one_rate_for_numbers(options, loss):
    X, y, _ = problems.data("numbers")
    y, is_residual = np.abs(y), loss != "poisson"
    model = fit_linear(X, y, loss=loss, **options)
    assert (model.state.lr, model.standardize_targets) == (0.1, is_residual)
    assert content(model) == content(fit_linear(X, y, loss=loss, lr=0.1, standardize_targets=is_residual, **options))


def test_a_given_rate_takes_plain_steps_in_the_units_of_the_targets():
    X, y, _ = problems.data("numbers")
    model = fit_linear(X, y, loss="squared", lr=0.2)
    assert (model.state.lr, model.state.rule, model.standardize_targets) == (0.2, Adagrad(), False)
    assert not fit_linear(X, y, loss="squared", standardize_targets=False).standardize_targets


@pytest.mark.parametrize("options", [{}, {"lr": 0.2}, {"lr": Rates()}, {"lr": InverseSqrt(0.5)}, {"batch_size": 4}])
@pytest.mark.parametrize("lr", ["auto", None])
def test_a_model_continues_with_its_own_rate(options, lr):
    X, y, _ = problems.data("numbers")
    first = fit_linear(X[:20], y[:20], loss="squared", **options)
    whole = fit_linear(X, y, loss="squared", **options)
    assert content(fit_linear(X[20:], y[20:], model=first, lr=lr)) == content(whole)


def test_a_rate_that_diverges_does_not_harm_the_others():
    X, y, _ = problems.data("numbers", n=60)
    search = RateSearch((0.5, 1e300), halve_at=(50,))
    model = fit_linear(X, y, loss="absolute", lr=search)
    assert model.rate == 0.5
    assert np.isfinite(model.progressive_loss)
    assert np.all(np.isfinite(model.coef))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": GroupL2(0.1)}, r"penalty: got GroupL2\(.*, whose groups are the classes of a feature"),
        ({"normalized": True}, r"normalized: got True"),
        ({"threads": 2}, r"threads: does not support several classes or learning rates"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_a_search_does_not_support(options, message):
    X, y, _ = problems.data("signs")
    with pytest.raises(ValueError, match=f"^{message}"):
        fit_linear(X, y, lr=SEARCH, **options)


def test_a_model_keeps_its_search():
    X, y, _ = problems.data("signs")
    model = fit_linear(X, y, lr=SEARCH)
    for lr in (0.5, RateSearch(), Rates(SEARCH.values)):
        with pytest.raises(ValueError, match=r"^lr: got "):
            fit_linear(X, y, model=model, lr=lr)
    with pytest.raises(ValueError, match=r"^lr: got several learning rates, but the model has one"):
        fit_linear(X, y, model=fit_linear(X, y, lr=0.5), lr=SEARCH)
    with pytest.raises(ValueError, match=r"^batch_size: got 4, but the model searches with batch_size=1"):
        fit_linear(X, y, model=model, batch_size=4)
    with pytest.raises(ValueError, match=r"^rule: got Normalised, but the model searches with the scaled steps of Ada"):
        fit_linear(X, y, model=model, rule=Normalised())
    plain = fit_linear(X, y, lr=SEARCH, rule=RowAdagrad())
    with pytest.raises(
        ValueError, match=r"^rule: got Adagrad, whose steps are scaled, but the model searches with the"
    ):
        fit_linear(X, y, model=plain, rule=Adagrad())
    new = fit_linear(X, y, model=model, penalty=L1(0.1))
    assert new.rates.tolist() == model.rates.tolist()
    assert [c.rate for c in new.candidates] == list(SEARCH.values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.5, 0.1),), r"RateSearch.values: got \(0.5, 0.1\); must increase"),
        (((0.0, 0.1),), r"RateSearch.values: got 0.0 at index 0"),
        (((0.1, 0.5), 0.1), r"RateSearch.schedule: got 0.1"),
        (((0.1, 0.5), InverseSqrt(1.0), (20, 10)), r"RateSearch.halve_at: got \(20, 10\); must increase"),
        (((0.1, 0.5), InverseSqrt(1.0), (0,)), r"RateSearch.halve_at: got 0"),
        (((0.1, 0.5), InverseSqrt(1.0), 10), r"RateSearch.halve_at: got 10; must be a tuple"),
    ],
    ids=range(6),
)
def test_invalid_searches(arguments, message):
    X, y, _ = problems.data("signs")
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        fit_linear(X, y, lr=RateSearch(*arguments))


def test_errors_of_rows_change_nothing():
    X, y, _ = problems.data("signs")
    model = fit_linear(X, y, lr=SEARCH)
    before = content(model)
    bad = X.toarray()
    bad[3, 2] = 1e300
    with pytest.raises(ValueError, match=r"^X: row 3 "):
        fit_linear(bad, y, model=model)
    assert content(model) == before


# --- plain steps, of other rules and of batches -----------------------------------------------------------------------

PLAIN = {"rda": {"rule": RDA()}, "ftrl": {"rule": FTRL()}, "adadelta": {"rule": Adadelta()}, "batch": {"batch_size": 4}}
PLAIN["momentum"] = {"rule": MomentumAdagrad()}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_steps_are_those_of_one_rate(name):
    """Each candidate is the model of its rate alone, and the loss is that of the best one before each row."""
    X, y, weight = problems.data("signs")
    options = {"penalty": L1(0.01), "sample_weight": weight, **PLAIN[name]}
    search = RateSearch((0.05, 0.2, 0.8, 1.6), halve_at=(10**6,))
    model = fit_linear(X, y, lr=search, **options)
    options["rule"] = model.state.rule
    singles = [fit_linear(X, y, lr=rate, **options) for rate in search.values]
    losses = [single.progressive_loss for single in singles]
    np.testing.assert_allclose(model.progressive_losses, losses, rtol=1e-12)
    single = singles[model.best_index]
    np.testing.assert_allclose(model.coef, single.coef, rtol=1e-12, atol=1e-15)
    assert model.intercept == pytest.approx(single.intercept, rel=1e-12)
    sums, ranks, leader, total = np.zeros(4), np.zeros(4), 0.0, 0.0
    for stop in np.flatnonzero(weight) + 1:
        part = fit_linear(X[:stop], y[:stop], lr=search, **(options | {"sample_weight": weight[:stop]}))
        total += weight[stop - 1]
        losses = part.progressive_losses * total - sums
        sums = sums + losses
        leader += losses[np.argmin(ranks)]
        ranks += losses * total
    assert model.best_index == np.argmin(ranks)
    assert model.progressive_loss == pytest.approx(leader / total, rel=1e-10)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cut", [8, 20])
def test_resumed_plain_steps_are_bit_equal(name, dtype, cut, tmp_path):
    X, y, weight = problems.data("signs", n=160)
    weight = np.maximum(weight, 0.5)  # batches of all rows, so that the cut is between two
    options = {"dtype": dtype, "penalty": L1(0.01), "lr": RateSearch(SEARCH.values, halve_at=(4, 10)), **PLAIN[name]}
    whole = fit_linear(X, y, sample_weight=weight, **options)
    assert whole.rates.size == 2
    first = fit_linear(X[:cut], y[:cut], sample_weight=weight[:cut], **options)
    first.save(tmp_path / "model.npz")
    for start in (first, load_model(tmp_path / "model.npz"), pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        rest = fit_linear(X[cut:], y[cut:], sample_weight=weight[cut:], model=start)
        assert content(rest) == content(whole)


# --- the memory limit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "kept"), [(9 * 16, 8), (9 * 15, 7), (9 * 4, 2), (9 * 2, 1), (1, 1)])
def test_fewer_candidates_start_where_memory_is_limited(monkeypatch, tmp_path, limit, kept):
    """The outer rates are not trained, and the others are as in a search among them alone."""
    monkeypatch.setattr(rate_search, "MAX_NUMBERS", limit)
    X, y, _ = problems.data("signs")
    model = fit_linear(X, y, lr=RateSearch(halve_at=(20,)))
    missing = [candidate for candidate in model.candidates if candidate.removed_at == 0]
    assert len(missing) == 8 - kept
    assert all(math.isnan(candidate.progressive_loss) for candidate in missing)
    trained = [candidate.rate for candidate in model.candidates if candidate.removed_at != 0]
    first = (8 - kept) // 2
    assert trained == list(RateSearch().values[first : first + kept])
    model.save(tmp_path / "model.npz")
    monkeypatch.undo()
    if kept <= 4:
        alone = fit_linear(X, y, lr=RateSearch(tuple(trained), halve_at=(10**6,)))
        np.testing.assert_array_equal(alone.coef, model.coef)
        assert alone.progressive_loss == model.progressive_loss
    loaded = load_model(tmp_path / "model.npz")
    assert content(loaded) == content(model)
    assert content(fit_linear(X, y, model=loaded)) == content(fit_linear(X, y, model=model))


def test_features_that_appear_later_remove_the_worse_candidates_where_memory_is_limited(monkeypatch):
    X, y, _ = problems.data("signs")
    first = fit_linear(X[:30, :3], y[:30])
    monkeypatch.setattr(rate_search, "MAX_NUMBERS", 2 * X.shape[1] * 3)
    model = fit_linear([Chunk(X[:30, :3], y[:30]), Chunk(X[30:], y[30:])])
    best = sorted(first.candidates, key=lambda candidate: candidate.progressive_loss)[:3]
    assert model.rates.tolist() == sorted(candidate.rate for candidate in best)
    assert model.coef.size == X.shape[1]


# --- one rate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [False, Polyak(3)], ids=str)
@pytest.mark.parametrize("options", [{"loss": "logistic"}, {"loss": "squared"}, {"rule": RDA()}], ids=str)
def test_a_search_with_one_rate_is_saved(options, average, tmp_path):
    """It has ended before the first row."""
    X, y, _ = problems.data("numbers" if options.get("loss") == "squared" else "signs")
    first = fit_linear(X, y, lr=RateSearch((0.5,)), average=average, penalty=L1(0.01), **options)
    first.save(tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert content(loaded) == content(first)
    assert content(fit_linear(X, y, model=loaded)) == content(fit_linear(X, y, model=first))


def test_a_value_whose_square_underflows_is_named():
    X = np.random.default_rng(0).normal(size=(50, 2)) * [1e-155, 1.0]
    with pytest.raises(ValueError, match=r"its value \S*e-15\d in column 0 is so small that its square underflows"):
        fit_linear(X, X[:, 1] > 0)


@pytest.mark.parametrize("index", [0.5, "a", 2, -3])
def test_an_invalid_index_of_a_rate(index, rng):
    X = rng.normal(size=(8, 2))
    model = fit_linear(X, X[:, 0] > 0, lr=Rates((0.1, 0.5)))
    with pytest.raises(ValueError, match="^index: got"):
        model.single_rate(index)
