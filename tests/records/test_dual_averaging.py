"""Dual averaging rules: the formulas of the papers, and lazy evaluation of the weights."""

import functools
import itertools
import math

import linear_problems
import numpy as np
import pytest
import reference
import reference_linear
import scipy.sparse as sp
from linear_problems import LOSSES, PENALTIES, RATES, assert_same_model, data, fit_plain, model_values
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adagrad,
    ElasticNet,
    InverseSqrt,
    NoPenalty,
    PowerFTRL,
    fit_linear,
    init,
    load_model,
    load_state,
    minimize_adagrad,
    minimize_stochastic,
    update,  # fmt: skip
)
from adagrad_nb.records.dual_averaging import primal
from adagrad_nb.records.rules import cumulative_step_size, step, step_size
from adagrad_nb.testing import check_rule

# name: (the record, its function in the reference, that of the intercept, the first accumulator)
UNPENALIZED = functools.partial(reference.ftrl, beta=0.5)
RULES = {
    "rda": (RDA(), reference.rda, None, 0.0),
    "rda eps": (RDA(0.2), functools.partial(reference.rda, eps=0.2), None, 0.0),
    "rda initial": (
        RDA(initial_accumulator=0.3), functools.partial(reference.rda, initial=0.3), None, 0.3,
    ),
    "ftrl": (FTRL(0.5), UNPENALIZED, None, 0.0),
    "ftrl l1": (FTRL(0.5, l1=0.3), functools.partial(reference.ftrl, beta=0.5, l1=0.3), UNPENALIZED, 0.0),
    "ftrl l1 l2": (FTRL(0.5, 0.2, 0.4), functools.partial(reference.ftrl, beta=0.5, l1=0.2, l2=0.4), UNPENALIZED, 0.0),
    "ftrl initial": (
        FTRL(0.5, initial_accumulator=0.3), functools.partial(reference.ftrl, beta=0.5, initial=0.3), None, 0.3,
    ),
    "power ftrl": (
        PowerFTRL(0.7, 0.5, 0.1, 0.2, 0.3),
        functools.partial(reference.ftrl, beta=0.5, l1=0.1, l2=0.2, initial=0.3, power=0.7),
        functools.partial(reference.ftrl, beta=0.5, initial=0.3, power=0.7), 0.3,
    ),
}  # fmt: skip
names = pytest.mark.parametrize("rule", RULES)

# --- one step ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"shrinkage": 0.2}, {"l1": 0.1, "l2": 0.3, "power": -0.3, "beta": 0.2}], ids=str
)
@pytest.mark.parametrize("start", [0.0, 1.5])
def test_ftrl_of_tensorflow(settings, start, rng):
    """z is lr times that of TensorFlow, and L2 has its factor 2; the start is forgotten."""
    lr = 0.4
    l1, l2, shrinkage = (settings.get(name, 0.0) for name in ("l1", "l2", "shrinkage"))
    rule = PowerFTRL(-settings.get("power", -0.5), settings.get("beta", 0.0), l1, 2 * l2, 0.1, 2 * shrinkage, False)
    twin = FTRL(*rule[1:])
    expected, theirs, x, s = start, (0.1, 0.0), start, rule.initial_slots()
    other, twin_slots = start, s
    for g in [0.0, *rng.normal(size=20)]:
        expected, theirs = reference.ftrl_tensorflow(expected, g, theirs, lr, **settings)
        x, s = step(rule, x, g, s, lr)
        assert x == pytest.approx(expected, rel=1e-12, abs=1e-15)
        if rule.power == 0.5:
            other, twin_slots = step(twin, other, g, twin_slots, lr)
            assert other == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_small_gradients_add_up_with_an_initial_accumulator():
    """n stays at its initial value, since the squares are below its rounding error, but z does not."""
    x, state = np.zeros(1, np.float32), init(np.zeros(1, np.float32), FTRL(initial_accumulator=0.5), lr=0.1)
    for _ in range(10):
        x, state = update(x, np.full(1, 1e-6, np.float32), state)
    np.testing.assert_allclose(x, -1e-6 / (1 + math.sqrt(0.5)), rtol=1e-5)


@pytest.mark.parametrize(
    "rule",
    [
        RDA(),
        RDA(0.1),
        RDA(0.1, 0.3),
        FTRL(),
        FTRL(0.0),
        FTRL(0.3, 0.1, 0.2),
        FTRL(0.3, 0.1, 0.2, 0.4, 0.1),
        PowerFTRL(0.3, initial_accumulator=0.1),
    ],
    ids=str,
)
def test_a_zero_gradient_keeps_the_start(rule):
    check_rule(rule)
    for x in (3.0, -0.25, 0.0):
        x_new, s = step(rule, x, 0.0, rule.initial_slots(), 0.5)
        assert x_new == x
        assert cumulative_step_size(rule, s, 0.5, 7) == 7 * step_size(rule, s, 0.5)
    assert math.isnan(step(rule, 3.0, math.nan, rule.initial_slots(), 0.5)[0])


def test_first_steps_of_rda_by_hand():
    """Gradients 3, 0, -4 at rate 1/2: G = 9, 9, 25; z = 3, 3, -1."""
    x, s = step(RDA(), 7.0, 3.0, (0.0, 0.0), 0.5)
    assert (x, s) == (-0.5, (9.0, 3.0))
    assert step(RDA(), x, 0.0, s, 0.5) == (-0.5, (9.0, 3.0))
    x, s = step(RDA(), x, -4.0, s, 0.5)
    assert (x, s) == (pytest.approx(0.1), (25.0, -1.0))
    assert cumulative_step_size(RDA(), s, 0.5, 10) == pytest.approx(10 * step_size(RDA(), s, 0.5)) == pytest.approx(1.0)


def test_rda_is_the_argmin(rng):
    """Duchi 2011: argmin of lr z x + lr t phi(x) + h x^2 / 2, by grid search."""
    grid = np.linspace(-40, 40, 400_001)
    for _ in range(20):
        G, z, lr, t = rng.exponential(2), rng.normal() * 5, rng.uniform(0.1, 1), int(rng.integers(1, 20))
        l1, l2, eps = rng.uniform(0, 0.3, 3)
        s, h = (G, z), math.sqrt(G) + eps
        x = ElasticNet(l1, l2).prox(primal(RDA(eps), 9.0, s, lr), cumulative_step_size(RDA(eps), s, lr, t), 0)
        values = lr * z * grid + lr * t * (l1 * abs(grid) + l2 * grid**2 / 2) + h * grid**2 / 2
        assert grid[np.argmin(values)] == pytest.approx(x, abs=2e-4)


def test_the_closed_form_of_lightning_and_tensorflow(rng):
    """w = -sign(z) lr t [|z|/t - l1]+ / (h + lr t l2), h = sqrt(k + sum of squares)."""
    for k, delta in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.3)):
        gradients, lr, l1, l2 = rng.normal(size=(30, 8)) + 0.3, 0.4, 0.25, 0.1
        x, state = np.zeros(8), init(np.zeros(8), RDA(delta, k), lr=lr, penalty=ElasticNet(l1, l2))
        zeros = 0
        for t, g in enumerate(gradients, 1):
            x, state = update(x, g, state)
            z, h = gradients[:t].sum(axis=0), delta + np.sqrt(k + (gradients[:t] ** 2).sum(axis=0))
            expected = -np.sign(z) * lr * t * np.maximum(np.abs(z) / t - l1, 0) / (h + lr * t * l2)
            assert_allclose(x, expected, rtol=1e-12, atol=1e-15)
            zeros += np.count_nonzero(x == 0)
        assert 10 < zeros < 200


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.8, 0.0), (0.0, 0.7), (0.8, 0.7)])
def test_ftrl_is_the_algorithm_of_the_paper(l1, l2, rng):
    """McMahan 2013, algorithm 1, in its own variables, from zero with a constant learning rate."""
    alpha, beta = 0.3, 0.7
    gradients = rng.normal(size=(40, 6)) + 0.2
    w, state = np.zeros(6), init(np.zeros(6), FTRL(beta, l1, l2), lr=alpha)
    n, z = np.zeros(6), np.zeros(6)
    for g in gradients:
        expected = np.where(np.abs(z) <= l1, 0.0, -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / alpha + l2))
        assert_allclose(w, expected, rtol=1e-12, atol=1e-15)
        sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / alpha
        z, n = z + g - sigma * expected, n + g**2
        w, state = update(w, g, state)
    assert_allclose(state.slots[0], (n, alpha * z), rtol=1e-12)


@pytest.mark.parametrize("lr", [0.3, InverseSqrt(0.5)], ids=str)
def test_ftrl_without_penalties_is_adagrad_with_eps_beta(lr, rng):
    x = y = rng.normal(size=5)
    ftrl, adagrad = init(x, FTRL(0.4), lr=lr), init(y, Adagrad(0.4), lr=lr)
    for g in rng.normal(size=(50, 5)):
        x, ftrl = update(x, g, ftrl)
        y, adagrad = update(y, g, adagrad)
        assert_allclose(x, y, rtol=1e-12)


def test_ftrl_avoids_four_common_errors(rng):
    g, lr, beta, l1, l2 = 0.01, 0.1, 1.0, 0.5, 2.0
    # A zero or small gradient keeps the start, which is the solution before the first gradient.
    for start in (2.0, -2.0):
        rule = FTRL(beta, l1, l2)
        x_new, s = step(rule, start, 0.0, (0.0, 0.0), lr)
        assert x_new == start
        x_new, s = step(rule, start, g, s, lr)
        z = -start * (beta / lr + l2) - np.sign(start) * l1 + g - g / lr * start
        assert x_new == pytest.approx(-(z - np.sign(z) * l1) / ((beta + g) / lr + l2))
        assert abs(x_new - start) < lr * g * 2
        # Only the gradient of the loss enters n.
        assert s[0] == g * g
    # l2 once, not twice: with beta = 0 and one gradient, x = -g / (|g| / rate + l2).
    assert step(FTRL(0.0, 0.0, l2), 0.0, 3.0, (0.0, 0.0), lr)[0] == pytest.approx(-3 / (3 / lr + l2))
    # A penalty shrinks x on either side of zero.
    for sign in (1.0, -1.0):
        unpenalized = step(FTRL(beta), 0.0, 3 * sign, (0.0, 0.0), lr)[0]
        assert 0 < step(FTRL(beta, l1), 0.0, 3 * sign, (0.0, 0.0), lr)[0] / unpenalized < 1
        assert 0 < step(FTRL(beta, 0.0, l2), 0.0, 3 * sign, (0.0, 0.0), lr)[0] / unpenalized < 1


def test_a_square_that_underflows_keeps_x():
    for rule in (RDA(np.float32(0)), FTRL(np.float32(0), np.float32(0), np.float32(0))):
        x, tiny = np.float32(1.0), np.float32(1e-30)
        assert step(rule, x, tiny, (np.float32(0.0), np.float32(0.0)), np.float32(0.5))[0] == 1.0


def test_a_rate_of_zero(rng):
    x = rng.normal(size=4)
    x_new, state = update(x, rng.normal(size=4), init(x, FTRL(0.5, 0.1, 0.1), lr=0.2))
    assert_allclose(update(x_new, rng.normal(size=4), state, lr=0.0)[0], x_new, rtol=0.1)
    unpenalized, state = update(x, rng.normal(size=4), init(x, FTRL(0.5), lr=0.2))
    assert_allclose(update(unpenalized, rng.normal(size=4), state, lr=0.0)[0], unpenalized, rtol=1e-13)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (RDA(-1.0), r"RDA\.eps: got -1\.0; must be a number in \[0, inf\)"),
        (RDA(0.0, math.nan), r"RDA\.initial_accumulator: got nan; must be a number in \[0, inf\)"),
        (FTRL(math.inf), r"FTRL\.beta: got inf; must be a number in \[0, inf\)"),
        (FTRL(initial_accumulator=-0.5), r"FTRL\.initial_accumulator: got -0\.5; must be a number in \[0, inf\)"),
        (FTRL(shrinkage=-0.5), r"FTRL\.shrinkage: got -0\.5; must be a number in \[0, inf\)"),
        (PowerFTRL(-0.5), r"PowerFTRL\.power: got -0\.5; must be a number in \[0, inf\)"),
        (FTRL(1.0, -0.5), r"FTRL\.l1: got -0\.5; must be a number in \[0, inf\)"),
        (FTRL(1.0, 0.5, -0.5), r"FTRL\.l2: got -0\.5; must be a number in \[0, inf\)"),
    ],
    ids=str,
)
def test_domains(rule, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        init(np.zeros(2), rule)


# --- minimisers and states -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [RDA(), RDA(0.1, 0.1), FTRL(), FTRL(0.1, l1=1e-9)], ids=str)
def test_minimising(rule):
    target = np.array([1.0, -2.0, 0.5])
    res = minimize_adagrad(
        lambda x: np.sum((x - target) ** 2), np.array([3.0, -1.0, 2.0]), jac=lambda x: 2 * (x - target), rule=rule
    )
    assert_allclose(res.x, target, atol=1e-3)
    stochastic = minimize_stochastic(
        lambda x, batch: np.mean((x - target) ** 2), np.zeros(3), 20, jac=lambda x, batch: 2 * (x - target), rule=rule,
        batch_size=5, epochs=500, rng=0,
    )  # fmt: skip
    assert_allclose(stochastic.x, target, atol=1e-3)


def test_minimising_under_a_penalty():
    """The minimum of (x - target)^2 / 2 + l1 |x| is the soft threshold of the target."""
    target = np.array([1.0, -2.0, 0.05, -0.1])
    res = minimize_adagrad(
        lambda x: np.sum((x - target) ** 2) / 2, np.full(4, 1.5), jac=lambda x: x - target, rule=RDA(),
        penalty=L1(0.2), maxiter=20_000,
    )  # fmt: skip
    assert_allclose(res.x, [0.8, -1.8, 0.0, 0.0], atol=5e-3)
    assert (res.x[2:] == 0).all()


def test_sparse_gradients_evaluate_listed_coordinates():
    x, state = np.zeros(2), init(np.zeros(2), RDA(), lr=0.5, penalty=L1(0.1))
    for where in ([0, 1], [1], [1]):
        x, state = update(x, (where, np.ones(len(where))), state)
    assert x[0] == pytest.approx(-0.5 * (1 - 0.1) / 1)  # as of t = 1
    assert x[1] == pytest.approx(-0.5 * (3 - 0.3) / math.sqrt(3))
    x, state = update(x, ([0, 1], [0.0, 0.0]), state)  # a listed coordinate is evaluated again
    assert x[0] == pytest.approx(-0.5 * (1 - 0.4) / 1)


def test_state_files(tmp_path, rng):
    gradients = rng.normal(size=(6, 3))
    for rule in (RDA(0.1), FTRL(0.5, 0.1)):
        x, state = np.zeros(3), init(np.zeros(3), rule, penalty=L2(0.1))
        for number, g in enumerate(gradients):
            if number == 3:
                state.save(tmp_path / "state")
                y, loaded = x, load_state(tmp_path / "state")
            x, state = update(x, g, state)
            if number >= 3:
                y, loaded = update(y, g, loaded)
        assert_array_equal(x, y)


# --- fit_linear ------------------------------------------------------------------------------------------------------


def assert_eager(rule, penalty, loss, rate, intercept, weighted, dtype=None, tolerance=1e-10):
    X, y, weight = data(loss)
    record, formula, bias_rule, first = RULES[rule]
    strengths, prox = PENALTIES[penalty]
    lr, at = RATES[rate]
    weight = weight if weighted else None
    model = fit_linear(
        X, y, loss=loss, penalty=strengths, lr=lr, intercept=intercept, sample_weight=weight, passes=2, dtype=dtype,
        rule=record,
    )  # fmt: skip
    eager = reference_linear.fit_dual_averaging(
        X.toarray(), y, loss, at, formula, prox=prox, intercept=intercept, weight=weight, passes=2, first=first,
        bias_rule=bias_rule,
    )  # fmt: skip
    close = {"rtol": tolerance, "atol": tolerance}
    assert_allclose(model.coef, eager.w, **close)
    assert_allclose(model.intercept, eager.b, **close)
    assert_allclose(model.progressive_loss, reference_linear.progressive_loss(eager.losses), **close)
    assert model.state.t == eager.t
    is_updated = np.diff(X.tocsc().indptr) > 0
    assert_allclose(np.array(model.state.slots[0])[:, is_updated], eager.G.T[:, is_updated], **close)


@pytest.mark.usefixtures("interpreted")
@names
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager(penalty, rule):
    for rate, both in itertools.product(RATES, (True, False)):
        assert_eager(rule, penalty, "logistic", rate, both, both)
    for loss in LOSSES[1:]:
        assert_eager(rule, penalty, loss, "constant", True, True)


@names
@pytest.mark.parametrize(("penalty", "rate"), [("none", "constant"), ("elastic net by feature", "inverse root")])
def test_lazy_is_eager_compiled(rule, penalty, rate):
    assert_eager(rule, penalty, "logistic", rate, True, True)
    assert_eager(rule, penalty, "logistic", rate, True, True, np.float32, 2e-4)


@pytest.mark.usefixtures("interpreted")
@names
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("penalty", ["none", "l1", "elastic net", "box away from zero"])
def test_a_then_b_is_a_and_b(penalty, rate, rule, tmp_path):
    X, Y = linear_problems.X, linear_problems.Y
    options = {"rule": RULES[rule][0], "penalty": PENALTIES[penalty][0], "lr": RATES[rate][0]}
    one_call = fit_plain(X, Y, **options)
    first = fit_plain(X[:17], Y[:17], **options)
    before = model_values(first)
    assert_same_model(fit_linear(X[17:], Y[17:], model=first), one_call)
    assert model_values(first) == before
    first.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert_same_model(loaded, first)
    assert_same_model(fit_linear(X[17:], Y[17:], model=loaded), one_call)
    grown = sp.csr_array(X[:, np.argsort(-np.diff(X[:17].tocsc().indptr), kind="stable")])
    n_columns = int(grown[:17].indices.max()) + 1
    assert n_columns < grown.shape[1]
    narrow = fit_plain(grown[:17, :n_columns], Y[:17], **options)
    assert_same_model(fit_linear(grown[17:], Y[17:], model=narrow), fit_plain(grown, Y, **options))


@pytest.mark.usefixtures("interpreted")
def test_a_new_learning_rate_or_penalty_applies_to_all_updates_so_far():
    X, Y = linear_problems.X, linear_problems.Y
    for rule in (RDA(), FTRL(0.5, 0.1)):
        first = fit_linear(X[:20], Y[:20], rule=rule, penalty=L1(0.02), lr=0.5)
        for options in ({"lr": 0.2}, {"penalty": L2(0.3)}, {"penalty": NoPenalty()}):
            none = fit_linear(X[:0], Y[:0], model=first, **options)
            settings = {"lr": 0.5, "penalty": L1(0.02)} | options
            s = np.array(first.state.slots[0])
            for i in range(s.shape[1]):
                x = primal(rule, 0.0, tuple(s[:, i]), settings["lr"])
                x = settings["penalty"].prox(x, cumulative_step_size(rule, tuple(s[:, i]), settings["lr"], 20), i)
                assert none.coef[i] == pytest.approx(x, rel=1e-13, abs=1e-15)


@pytest.mark.usefixtures("interpreted")
@names
def test_penalties_give_exact_zeros(rule):
    model = fit_linear(linear_problems.X, linear_problems.Y, rule=RULES[rule][0], penalty=L1(0.05), lr=0.5)
    assert 0 < np.count_nonzero(model.coef) < model.coef.size


def test_penalties_of_the_rule_do_not_apply_to_the_intercept():
    X, y = sp.csr_array((200, 1)), np.ones(200)
    y[::4] = -1
    bias_rule, bound = (
        fit_linear(X, y, rule=rule, passes=5, lr=0.5).intercept for rule in (FTRL(), FTRL(l1=50.0, l2=10.0))
    )
    assert bias_rule == bound != 0


@pytest.mark.compiled_only("100,000 updates take minutes in pure Python")
def test_an_unused_feature_costs_nothing(tmp_path):
    """A million columns that no row has: training does not visit them, and their weights are zero."""
    X, y, _ = data(n=400)
    wide = sp.csr_array((X.data, X.indices, X.indptr), shape=(X.shape[0], 1_000_000))
    model = fit_linear(wide, y, rule=RDA(), penalty=L1(0.001), passes=20, lr=0.5)
    narrow = fit_linear(X, y, rule=RDA(), penalty=L1(0.001), passes=20, lr=0.5)
    assert_array_equal(model.coef[: X.shape[1]], narrow.coef)
    assert not model.coef[X.shape[1] :].any()
