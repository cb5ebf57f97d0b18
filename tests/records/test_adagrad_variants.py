"""Variants of Adagrad and coin betting against their papers."""

import functools

import numpy as np
import pytest
import reference_variants as reference

from adagrad_nb import (
    COCOB,
    KATE,
    KT,
    L1,
    MADGRAD,
    MCP,
    SGD,
    Adagrad,
    Bounded,
    DelayedAdagrad,
    InverseSqrt,
    OnlineToBatch,
    OptimisticAdagrad,
    PowerAdagrad,
    SCAdagrad,
    fit_linear,
    init,
    load_state,
    minimize_adagrad,
    update,
)
from adagrad_nb.records.rules import has_additive_accumulators
from adagrad_nb.testing import check_rule

# rule, reference, learning rate
RULES = [
    (SGD(), reference.sgd, 0.3),
    (PowerAdagrad(), reference.power_adagrad, 0.5),
    (
        PowerAdagrad(0.75, 0.1, discount=0.9),
        functools.partial(reference.power_adagrad, power=0.75, eps=0.1, discount=0.9),
        0.5,
    ),
    (
        PowerAdagrad(1.0, 0.1, inside=True),
        functools.partial(reference.power_adagrad, power=1.0, eps=0.1, inside=True),
        0.5,
    ),
    (DelayedAdagrad(), reference.delayed_adagrad, 0.5),
    (
        DelayedAdagrad(0.6, 0.5, 0.8),
        functools.partial(reference.delayed_adagrad, power=0.6, beta=0.5, discount=0.8),
        0.5,
    ),
    (SCAdagrad(), reference.sc_adagrad, 0.5),
    (SCAdagrad(0.5, 2.0), functools.partial(reference.sc_adagrad, xi1=0.5, xi2=2.0), 0.5),
    (KATE(), reference.kate, 0.5),
    (KATE(0.0, 0.1), functools.partial(reference.kate, kappa=0.0, eps=0.1), 0.5),
    (OptimisticAdagrad(), reference.optimistic_adagrad, 0.3),
    (OptimisticAdagrad(0.2), functools.partial(reference.optimistic_adagrad, eps=0.2), 0.3),
    (MADGRAD(), reference.madgrad, 0.1),
    (MADGRAD(0.0, 1e-3), functools.partial(reference.madgrad, momentum=0.0, eps=1e-3), 0.1),
    (KT(), reference.kt, 1.0),
    (COCOB(), reference.cocob, 1.0),
    (COCOB(10.0, 0.1), functools.partial(reference.cocob, alpha=10.0, eps=0.1), 0.5),
]
FIRST_OF_EACH = list({type(case[0]): case for case in reversed(RULES)}.values())[::-1]
each = pytest.mark.parametrize(("rule", "make_step", "lr"), RULES, ids=[str(case[0]) for case in RULES])
first_of_each = pytest.mark.parametrize(
    ("rule", "make_step", "lr"), FIRST_OF_EACH, ids=[type(case[0]).__name__ for case in FIRST_OF_EACH]
)
ALL = np.arange(5)


def gradients_and_subsets(rng, n_steps=12):
    """Return gradients in [-1, 1] with some zeros, and the coordinates that each lists."""
    gradients = rng.uniform(-1, 1, (n_steps, ALL.size)) * (rng.random((n_steps, ALL.size)) < 0.8)
    return [(g, np.flatnonzero(rng.random(ALL.size) < 0.6)) for g in gradients]


def run_reference(make_step, lr, x, steps, prox=None):
    """Return the iterates; each coordinate has a memory of its own and steps when it is listed."""
    x, memories, iterates = x.copy(), [{} for _ in ALL], []
    for t, (g, listed) in enumerate(steps):
        for i in listed:
            xi, width = make_step(x[i : i + 1], g[i : i + 1], lr, t, memories[i])
            x[i] = (prox(xi, width) if prox else xi)[0]
        iterates.append(x.copy())
    return iterates


def assert_steps_equal(rule, lr, x, steps, expected, n_ulps, dtype=np.float64, **options):
    """Assert that `update` makes the expected steps, up to some units in the last place of the largest coordinate."""
    x = x.astype(dtype)
    state = init(x, rule, lr=lr, **options)
    for (g, listed), x_expected in zip(steps, expected, strict=True):
        g = g.astype(dtype)
        gradient = g if listed is ALL else (listed, g[listed])
        x, state = update(x, gradient, state)
        atol = n_ulps * np.finfo(dtype).eps * np.abs(x_expected).max()
        np.testing.assert_allclose(x, x_expected, rtol=0, atol=atol)


@each
def test_dense_steps(rule, make_step, lr, rng):
    x, steps = rng.normal(size=ALL.size), [(g, ALL) for g, _ in gradients_and_subsets(rng)]
    expected = run_reference(make_step, lr, x, steps)
    assert_steps_equal(rule, lr, x, steps, expected, 16)
    g, listed = steps[0][0].copy(), ALL
    first = run_reference(make_step, lr, x, [(g, listed)])
    assert_steps_equal(rule, lr, x, [(g, listed)], first, 4)


@first_of_each
def test_sparse_steps(rule, make_step, lr, rng):
    x, steps = rng.normal(size=ALL.size), gradients_and_subsets(rng)
    assert_steps_equal(rule, lr, x, steps, run_reference(make_step, lr, x, steps), 16)


@first_of_each
def test_single_precision(rule, make_step, lr, rng):
    x, steps = rng.normal(size=ALL.size), [(g, ALL) for g, _ in gradients_and_subsets(rng)]
    x = x.astype(np.float32).astype(float)
    assert_steps_equal(rule, lr, x, steps, run_reference(make_step, lr, x, steps), 100, np.float32)


@first_of_each
def test_with_a_penalty(rule, make_step, lr, rng):
    """The proximal step has the step size of the rule, where the paper has one."""
    x, steps = rng.normal(size=ALL.size), [(g, ALL) for g, _ in gradients_and_subsets(rng)]
    if make_step(x.copy(), steps[0][0], lr, 0, {})[1] is None:  # the step forgets x, so a penalty would be lost
        for penalty in (L1(0.1), MCP(0.1), Bounded(L1(0.1), -1.0, 1.0)):
            with pytest.raises(ValueError, match=f"penalty: {type(rule).__name__} takes bounds only.*got "):
                init(x, rule, lr=lr, penalty=penalty)
        with pytest.raises(ValueError, match="takes bounds only"):
            fit_linear(np.eye(2), [0, 1], rule=rule, penalty=L1(0.1))
        res = minimize_adagrad(lambda x: x @ x, np.ones(1), jac=lambda x: 2 * x, rule=rule, lr=lr, bounds=[(0.4, 2)])
        np.testing.assert_allclose(res.x, 0.4)
        return
    expected = run_reference(
        make_step, lr, x, steps, prox=lambda x, width: np.sign(x) * np.maximum(abs(x) - 0.1 * width, 0)
    )
    assert_steps_equal(rule, lr, x, steps, expected, 16, penalty=L1(0.1))


@first_of_each
def test_checks_and_resume(rule, make_step, lr, rng, tmp_path):
    check_rule(rule)
    x, steps = rng.normal(size=ALL.size), gradients_and_subsets(rng)
    state = init(x, rule, lr=lr)
    for k, (g, _) in enumerate(steps):
        if k == 6:
            state.save(tmp_path / "state.npz")
            x_again, again = x, load_state(tmp_path / "state.npz")
        x, state = update(x, g, state)
        if k >= 6:
            x_again, again = update(x_again, g, again)
    np.testing.assert_array_equal(x_again, x)


@first_of_each
def test_a_coordinate_without_gradients_is_unchanged(rule, make_step, lr):
    x = np.array([0.1, -3.0, 1e300])
    state = init(x, rule, lr=lr)
    for _ in range(3):
        x_new, state = update(x, np.zeros(3), state)
        np.testing.assert_array_equal(x_new, x)


@first_of_each
def test_linear_models(rule, make_step, lr, rng, interpreted):
    """Rows are sparse gradients: the weights are those of `update`."""
    X, y = rng.normal(size=(8, 5)) * (rng.random((8, 5)) < 0.6), rng.choice([-1.0, 1.0], 8)
    model = fit_linear(X, y, loss="logistic", rule=rule, lr=0.1, intercept=False)
    w, state = np.zeros(5), init(np.zeros(5), rule, lr=0.1)
    for row, target in zip(X, y, strict=True):
        listed = np.flatnonzero(row)
        slope = -target / (1 + np.exp(target * (row @ w)))
        w, state = update(w, (listed, slope * row[listed]), state)
    np.testing.assert_allclose(model.coef, w, rtol=1e-12, atol=1e-15)


def test_power_one_half_is_adagrad(rng):
    x = rng.normal(size=5)
    states = [init(x, rule, lr=0.5) for rule in (PowerAdagrad(), Adagrad(eps=0.0))]
    xs = [x, x]
    for g, _ in gradients_and_subsets(rng):
        xs, states = zip(*(update(x, g, state) for x, state in zip(xs, states, strict=True)), strict=True)
    np.testing.assert_allclose(xs[0], xs[1], rtol=1e-14)


def test_a_discount_prevents_merging():
    assert has_additive_accumulators(PowerAdagrad())
    assert not has_additive_accumulators(PowerAdagrad(discount=0.9))


def test_sgd_with_a_decreasing_rate_is_online_gradient_descent(rng):
    x, g = rng.normal(size=5), rng.normal(size=(10, 5))
    state, expected = init(x, SGD(), lr=InverseSqrt(0.3)), x.copy()
    for t in range(10):
        x, state = update(x, g[t], state)
        expected -= 0.3 / np.sqrt(t + 1) * g[t]
    np.testing.assert_allclose(x, expected, rtol=1e-14)


def test_kt_keeps_its_regret_bound(rng):
    """The regret against u is at most W + |u| sqrt(n log(1 + 24 n² u² / W²)) (Orabona and Pál 2016, corollary 5)."""
    g = np.where(rng.random(500) < 0.6, -1.0, 1.0) * rng.random(500)
    x, state, regret = np.zeros(1), init(np.zeros(1), KT(), lr=1.0), 0.0
    for gradient in g:
        regret += gradient * x[0]
        x, state = update(x, np.array([gradient]), state)
        assert 1.0 + state.slots[0][1][0] > 0  # the wealth
    for u in (-10.0, -1.0, 0.0, 1.0, 10.0):
        bound = 1.0 + abs(u) * np.sqrt(g.size * np.log1p(24 * g.size**2 * u * u))
        assert regret - g.sum() * u <= bound


def test_optimistic_steps_converge_in_a_bilinear_game():
    def distance(rule):
        z = np.array([1.0, 1.0])
        state = init(z, rule, lr=0.3)
        for _ in range(1000):
            z, state = update(z, np.array([z[1], -z[0]]), state)
        return np.abs(z).max()

    assert distance(OptimisticAdagrad()) < 0.05
    assert distance(Adagrad()) > 0.5


def test_kate_does_not_depend_on_the_unit_of_a_feature(rng):
    X, y = rng.normal(size=(50, 3)), rng.choice([-1.0, 1.0], 50)
    unit = np.array([1e-3, 1.0, 1e3])
    models = [
        fit_linear(Z, y, rule=KATE(0.0), lr=0.1, intercept=False, loss="logistic", average=OnlineToBatch())
        for Z in (X, X * unit)
    ]
    np.testing.assert_allclose(models[1].coef * unit, models[0].coef, rtol=1e-10)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (PowerAdagrad(-1.0), r"PowerAdagrad\.power: got -1\.0; must be a number in \[0, inf\)"),
        (PowerAdagrad(discount=0.0), r"PowerAdagrad\.discount: got 0\.0; must be a number in \(0, 1\]"),
        (DelayedAdagrad(beta=0.0), r"DelayedAdagrad\.beta: got 0\.0; must be a number in \(0, inf\)"),
        (SCAdagrad(xi2=0.0), r"SCAdagrad\.xi2: got 0\.0; must be a number in \(0, inf\)"),
        (COCOB(0.0), r"COCOB\.alpha: got 0\.0; must be a number in \(0, inf\)"),
        (MADGRAD(1.0), r"MADGRAD\.momentum: got 1\.0; must be a number in \[0, 1\)"),
    ],
    ids=str,
)
def test_domains(rule, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        init(np.zeros(2), rule)
