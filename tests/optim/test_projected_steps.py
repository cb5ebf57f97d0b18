"""Steps onto a domain: each one is optimal in the metric of the preconditioner, in `update` and in the minimisers."""

import pickle

import numpy as np
import pytest
import scipy.sparse

from adagrad_nb import (
    COCOB,
    FTRL,
    KATE,
    L1,
    RDA,
    SGD,
    Accumulate,
    Adagrad,
    Box,
    ClipNorm,
    InverseSqrt,
    L1Ball,
    L2Ball,
    Polyak,
    RowAdagrad,
    Simplex,
    init,
    load_state,
    minimize_adagrad,
    minimize_stochastic,
    update,
)
from adagrad_nb.testing import quadratic

DOMAINS = [L1Ball(0.8), L2Ball(0.5), Simplex(1.0)]
each = pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: type(domain).__name__)


def residual(domain, x, y, h, edge=1e-12):
    """Return the largest violation of the conditions under which x is the point of the domain nearest to y.

    The conditions: the force h (y - x) is a non-negative multiple of a normal of the domain at x.
    """
    force, scale = h * (y - x), np.abs(h * y).max() + np.abs(h * x).max()
    if isinstance(domain, L2Ball):
        outside = max(np.linalg.norm(x) - domain.radius, 0.0) / domain.radius
        multiplier = max(force @ x / (x @ x), 0.0) if np.linalg.norm(x) > domain.radius * (1 - edge) else 0.0
        return max(outside, np.abs(force - multiplier * x).max() / scale)
    if isinstance(domain, L1Ball):
        outside = max(np.abs(x).sum() - domain.radius, 0.0) / domain.radius
        level = np.abs(force).max() if np.abs(x).sum() > domain.radius * (1 - edge) else 0.0
        wrong = np.where(x != 0, np.abs(force - level * np.sign(x)), np.maximum(np.abs(force) - level, 0.0))
        return max(outside, wrong.max() / scale)
    outside = max(abs(x.sum() - domain.total) / domain.total, -min(x.min(), 0.0))
    level = force[x > 0].max()
    wrong = np.where(x > 0, np.abs(force - level), np.maximum(force - level, 0.0))
    return max(outside, wrong.max() / scale)


@each
@pytest.mark.parametrize("rule", [Adagrad(1e-3), Adagrad(0.0), RDA()], ids=["descent", "without eps", "dual averaging"])
def test_each_step_is_optimal(domain, rule, rng):
    """The step minimises <g, x> + (x - x') H (x - x') / (2 lr) over the domain, or the sum of all gradients so far."""
    n, lr = 12, 0.7
    x = np.zeros(n) if isinstance(rule, RDA) else rng.normal(size=n)
    state = init(x, rule, lr=lr, domain=domain)
    G, z, n_at_boundary = np.zeros(n), np.zeros(n), 0
    for t in range(30):
        g = rng.normal(size=n) * 10.0 ** rng.uniform(-2, 2, n) * (rng.random(n) < 0.7)
        G, z = G + g * g, z + g
        h = np.sqrt(G) + rule.eps
        safe = np.where(h > 0, h, 1.0)
        free = np.where(h > 0, -lr * z / safe, 0.0) if isinstance(rule, RDA) else x - lr * g / safe
        if t % 3 == 2:
            g = (np.flatnonzero(g), g[g != 0])  # a sparse gradient moves the other coordinates, too
        x, state = update(x, g, state)
        assert residual(domain, x, free, h) < 1e-13  # a coordinate with h = 0 exerts no force: it is free
        n_at_boundary += not np.allclose(x, free)
    assert n_at_boundary > 10


def test_float32_and_rows(rng):
    x = rng.normal(size=(4, 3)).astype(np.float32)
    g = rng.normal(size=(4, 3)).astype(np.float32)
    new, state = update(x, g, init(x, RowAdagrad(1e-3), lr=0.5, domain=L2Ball(1.0)))
    h = np.repeat(np.sqrt((g.astype(float) ** 2).mean(axis=1)) + 1e-3, 3)
    assert new.dtype == np.float32
    assert residual(L2Ball(1.0), new.ravel(), x.ravel() - 0.5 * g.ravel() / h, h, 1e-6) < 1e-6
    out = np.asfortranarray(x.copy())
    update(out, g, state := init(x, RowAdagrad(1e-3), lr=0.5, domain=L2Ball(1.0)), out=(out, state))
    np.testing.assert_array_equal(out, new)


def test_rules_without_accumulators_project_in_the_euclidean_metric(rng):
    x, g = rng.normal(size=6), rng.normal(size=6)
    new, _ = update(x, g, init(x, SGD(), lr=0.5, domain=Simplex()))
    assert residual(Simplex(), new, x - 0.5 * g, np.ones(6)) < 1e-13


def test_gates_transforms_and_averages(rng):
    """Only complete updates project; the gradient is transformed first; the average stays in the domain."""
    x, gradients = np.array([3.0, 4.0]), rng.normal(size=(4, 2))
    state = init(x, SGD(), lr=0.1, transforms=(Accumulate(2), ClipNorm(1.0)), domain=L2Ball(1.0), average=Polyak())
    x, state = update(x, gradients[0], state)
    np.testing.assert_array_equal(x, [3.0, 4.0])
    x, state = update(x, gradients[1], state)
    mean = gradients[:2].mean(axis=0)
    expected = np.array([3.0, 4.0]) - 0.1 * mean / max(np.linalg.norm(mean), 1.0)
    np.testing.assert_allclose(x, expected / np.linalg.norm(expected), rtol=1e-14)
    np.testing.assert_allclose(state.means[0], x, rtol=1e-15)


def test_a_gradient_that_is_not_finite_passes_through():
    for domain in DOMAINS:
        x, _ = update(np.ones(3), np.array([1.0, np.nan, 1.0]), init(np.ones(3), domain=domain))
        assert np.isnan(x[1])


def test_states_resume_and_pickle(tmp_path, rng):
    x, gradients = np.zeros(5), rng.normal(size=(6, 5))
    state = init(x, lr=InverseSqrt(1.0), domain=L1Ball(0.3))
    for g in gradients[:3]:
        x, state = update(x, g, state)
    state.save(tmp_path / "state.npz")
    for other in (load_state(tmp_path / "state.npz"), pickle.loads(pickle.dumps(state)), state.with_options(x)):
        assert other.domain == L1Ball(0.3)
        y, z, s = x, x, state
        for g in gradients[3:]:
            y, other = update(y, g, other)
            z, s = update(z, g, s)
        np.testing.assert_array_equal(y, z)
    assert state.with_options(x, domain=None).domain is None


def test_a_box_is_the_penalty():
    state = init(np.ones(2), domain=Box(-0.5, 0.5))
    assert state.penalty == Box(-0.5, 0.5)
    assert state.domain is None
    np.testing.assert_array_equal(update(np.ones(2), np.ones(2), state)[0], [0.5, 0.5])


# --- minimisers --------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("form", ["function", "record", "sparse"])
def test_minimisers_find_the_constrained_minimum(domain, form):
    """A quadratic function with the unconstrained minimum outside the domain, in every form of the objective."""
    f = quadratic(6, 30.0)
    g = np.empty(6)

    def fun(x):
        return f.value_grad(x, g)

    def jac(x):
        f.value_grad(x, g)
        return scipy.sparse.csr_array(g[None]) if form == "sparse" else g.copy()

    objective = {"fun": f} if form == "record" else {"fun": fun, "jac": jac}
    res = minimize_adagrad(x0=np.zeros(6), **objective, domain=domain, lr=1.0, gtol=1e-9, maxiter=5000)
    assert res.success
    assert res.nit < 5000
    # The minimum: x is the projection of x - gradient in every metric, here that of the curvatures.
    assert residual(domain, res.x, f.minimum, f.curvature) < 1e-8
    assert res.fun == pytest.approx(fun(res.x))


def test_a_minimiser_starts_in_the_domain_and_resumes():
    f = quadratic(6, 30.0)
    seen = []
    minimize_adagrad(f, np.full(6, 5.0), domain=L2Ball(1.0), maxiter=3, callback=seen.append)
    first = minimize_adagrad(f, np.full(6, 5.0), domain=L2Ball(1.0), maxiter=0)
    np.testing.assert_allclose(first.x, np.full(6, 1 / np.sqrt(6)), rtol=1e-14)
    assert all(np.linalg.norm(x) <= 1 + 1e-12 for x in seen)
    options = {"domain": Simplex(), "gtol": 0.0}
    half = minimize_adagrad(f, np.ones(6), maxiter=10, **options)
    both = minimize_adagrad(f, half.x, maxiter=10, state=half.state)
    np.testing.assert_array_equal(both.x, minimize_adagrad(f, np.ones(6), maxiter=20, **options).x)


def test_a_box_in_the_minimisers():
    f = quadratic(6, 30.0)
    res = minimize_adagrad(f, np.zeros(6), domain=Box(-0.5, 0.5), lr=1.0)
    expected = minimize_adagrad(f, np.zeros(6), bounds=[(-0.5, 0.5)] * 6, lr=1.0)
    np.testing.assert_array_equal(res.x, expected.x)


def test_stochastic_minimisation_on_the_simplex(rng):
    """Portfolio weights: the mean of the gradients over all samples is normal to the simplex."""
    A, b = rng.normal(size=(40, 3)), rng.normal(size=40)
    res = minimize_stochastic(
        lambda x, batch: 0.5 * np.mean((A[batch] @ x - b[batch]) ** 2), np.ones(3), 40,
        jac=lambda x, batch: A[batch].T @ (A[batch] @ x - b[batch]) / len(batch),
        domain=Simplex(), batch_size=40, epochs=300, rng=0,
    )  # fmt: skip
    assert residual(Simplex(), res.x, res.x - res.jac, np.ones(3)) < 1e-6


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"domain": L1Ball}, TypeError, "domain: got the class L1Ball"),
        ({"domain": 1.0}, TypeError, r"domain: got 1.0; must be a record such as L2Ball\(\)"),
        ({"domain": L1Ball(0.0)}, ValueError, "L1Ball.radius: got 0.0"),
        ({"domain": L1Ball(), "penalty": L1(0.1)}, ValueError, "domain: got L1Ball and the penalty L1; leave one"),
        ({"domain": Box(), "penalty": L1(0.1)}, ValueError, "domain: got Box and the penalty L1; leave one"),
        ({"domain": L1Ball(), "sparse_decay": "lazy"}, ValueError, "sparse_decay: 'lazy' delays"),
        ({"domain": L1Ball(), "duplicates": "sequential"}, ValueError, "duplicates: 'sequential' makes several steps"),
        ({"domain": L1Ball(), "rule": COCOB()}, ValueError, "preconditioner of the rule, which COCOB lacks"),
        ({"domain": L1Ball(), "rule": FTRL(l1=0.1)}, ValueError, "FTRL.l1 is positive; set it to 0"),
    ],
)
def test_errors(options, error, message):
    with pytest.raises(error, match=message):
        init(np.zeros(3), **options)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([np.zeros(2), np.zeros(3)], "L1Ball constrains one array, but x has 2; make a state for each"),
        (np.zeros(2, np.complex64), "takes arrays of float32 or float64, but x is complex64"),
        (np.zeros(2, np.float16), "takes arrays of float32 or float64, but x is float16"),
        (np.zeros(0), "which has none"),
    ],
)
def test_arrays_that_are_no_points(x, message):
    with pytest.raises(ValueError, match=message):
        init(x, domain=L1Ball())


def test_errors_of_the_minimisers():
    f = quadratic(2)
    with pytest.raises(ValueError, match="domain: got L1Ball and bounds; leave one of them out"):
        minimize_adagrad(f, np.zeros(2), domain=L1Ball(), bounds=[(0, 1), (0, 1)])
    with pytest.raises(ValueError, match="domain: got L1Ball and the penalty L1"):
        minimize_adagrad(f, np.zeros(2), domain=L1Ball(), penalty=L1(0.1))
    state = minimize_adagrad(f, np.zeros(2), penalty=L1(0.1), maxiter=1).state
    with pytest.raises(ValueError, match="domain: got Simplex and the penalty L1"):
        minimize_adagrad(f, np.zeros(2), domain=Simplex(), state=state)


def test_any_rule_with_a_proportional_step_size(rng):
    x, g = rng.normal(size=4), rng.normal(size=4)
    new, state = update(x, g, init(x, KATE(), lr=0.3, domain=L2Ball(0.1)))
    free, _ = update(x, g, init(x, KATE(), lr=0.3))
    b, m = state.slots[0]
    assert residual(L2Ball(0.1), new, free, b / np.sqrt(m)) < 1e-13
