"""Rules whose preconditioner is a matrix: against dense references, in files, in the minimisers, and their bounds."""

import copy
import pickle

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse

from adagrad_nb import (
    L1,
    Adagrad,
    BlockAdagrad,
    ClipNorm,
    DecoupledDecay,
    FullMatrixAdagrad,
    L1Ball,
    L2Ball,
    OnlineNewtonStep,
    Polyak,
    SketchedAdagrad,
    _check,
    fit_linear,
    init,
    load_state,
    minimize_adagrad,
    update,
)
from adagrad_nb.testing import check_rule, quadratic

RULES = [
    FullMatrixAdagrad(1e-3), FullMatrixAdagrad(1e-3, dual_averaging=True), BlockAdagrad(3), SketchedAdagrad(3),
    OnlineNewtonStep(),
]  # fmt: skip
each = pytest.mark.parametrize("rule", RULES, ids=str)


def run(rule, x, gradients, **options):
    """Return the iterates after each gradient, and the state."""
    state, iterates = init(x, rule, **options), []
    for g in gradients:
        x, state = update(x, g, state)
        iterates.append(x)
    return np.array(iterates), state


def root_inverse(gradients, eps):
    """Return the pseudo-inverse of (sum g g')^{1/2} + eps I, restricted to the span of the gradients, by an SVD."""
    _, sizes, V = np.linalg.svd(np.atleast_2d(gradients), full_matrices=False)
    live = sizes > 1e-12 * sizes[0]
    return (V[live].T / (sizes[live] + eps)) @ V[live]


# --- the steps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_full_matrix_steps(eps, rng):
    """The root of the sum of outer products comes from an SVD of the gradients; the first steps are rank-deficient."""
    x, gradients = rng.normal(size=6), rng.normal(size=(15, 6))
    descent, _ = run(FullMatrixAdagrad(eps), x, gradients, lr=0.7)
    dual, _ = run(FullMatrixAdagrad(eps, dual_averaging=True), x, gradients, lr=0.7)
    for t, g in enumerate(gradients):
        inverse = root_inverse(gradients[: t + 1], eps)
        x = x - 0.7 * inverse @ g
        np.testing.assert_allclose(descent[t], x, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(dual[t], -0.7 * inverse @ gradients[: t + 1].sum(axis=0), rtol=1e-9, atol=1e-9)


def test_steps_along_the_axes_are_those_of_adagrad(rng):
    gradients = np.eye(5)[rng.integers(5, size=20)] * rng.normal(size=(20, 1))
    for rule in (FullMatrixAdagrad(1e-2), BlockAdagrad(2, 1e-2), SketchedAdagrad(5, 1e-2)):
        iterates, _ = run(rule, np.ones(5), gradients)
        np.testing.assert_allclose(iterates, run(Adagrad(1e-2), np.ones(5), gradients)[0], rtol=1e-12)


def test_blocks_are_full_matrices_of_their_own(rng):
    x, gradients = rng.normal(size=7), rng.normal(size=(10, 7))
    iterates, state = run(BlockAdagrad(3, 1e-3), x, gradients)
    parts = [run(FullMatrixAdagrad(1e-3), x[k : k + 3], gradients[:, k : k + 3])[0] for k in (0, 3, 6)]
    np.testing.assert_allclose(iterates, np.hstack(parts), rtol=1e-9, atol=1e-12)
    assert state.slots[0][0].shape == (3, 3, 3)
    whole, _ = run(BlockAdagrad(100, 1e-3), x, gradients)
    np.testing.assert_allclose(whole, run(FullMatrixAdagrad(1e-3), x, gradients)[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rank", [6, 10])
def test_a_sketch_of_full_rank_is_the_full_matrix(rank, rng):
    x, gradients = rng.normal(size=6), rng.normal(size=(20, 6))
    gradients[3] = gradients[2]  # does not raise the rank
    expected, _ = run(FullMatrixAdagrad(), x, gradients)
    iterates, state = run(SketchedAdagrad(rank), x, gradients)
    np.testing.assert_allclose(iterates, expected, rtol=1e-8, atol=1e-8)
    assert state.slots[0][2] == 0


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_sketched_steps(eps, rng):
    """Frequent directions with dense matrices; the sketch lies above the sum, by no more than the tail allows."""
    x, gradients, rank, n = rng.normal(size=8), rng.normal(size=(20, 8)) * 2.0 ** -np.arange(8.0), 3, 8
    iterates, state = run(SketchedAdagrad(rank, eps), x, gradients, lr=0.7)
    sketch, rho = np.zeros((n, n)), 0.0
    for t, g in enumerate(gradients):
        w, V = np.linalg.eigh(sketch + np.outer(g, g))
        if w[-rank - 1] > 1e-12 * w[-1]:
            rho += w[-rank - 1]
        w = np.maximum(w - w[-rank - 1], 0)
        sketch = (V * w) @ V.T
        metric, E = np.linalg.eigh(sketch + rho * np.eye(n))
        live = metric > 1e-12 * metric[-1]
        x = x - 0.7 * E[:, live] @ (E[:, live].T @ g / (np.sqrt(metric[live]) + eps))
        np.testing.assert_allclose(iterates[t], x, rtol=1e-7, atol=1e-9)
    U, eigenvalues, rho = state.slots[0]
    total = gradients.T @ gradients
    difference = (U * eigenvalues) @ U.T + rho * np.eye(n) - total
    assert np.linalg.eigvalsh(difference).min() > -1e-9
    tails = np.cumsum(np.linalg.eigvalsh(total))[::-1]  # sums of all but the k largest eigenvalues
    assert rho[0] <= min(tails[k] / (rank + 1 - k) for k in range(rank + 1)) * (1 + 1e-12)


def test_online_newton_steps(rng):
    x, gradients = rng.normal(size=5), rng.normal(size=(12, 5))
    iterates, _ = run(OnlineNewtonStep(0.5, 0.1), x, gradients, lr=0.7)
    for t, g in enumerate(gradients):
        A = 0.1 * np.eye(5) + gradients[: t + 1].T @ gradients[: t + 1]
        x = x - 0.7 / 0.5 * scipy.linalg.solve(A, g, assume_a="pos")
        np.testing.assert_allclose(iterates[t], x, rtol=1e-10)


def test_online_newton_steps_with_gradients_much_larger_than_eps(rng):
    """A grows from 1 to more than the inverse of the machine precision."""
    for dtype, size, tolerance in ((np.float32, 1e4, 1e-2), (np.float64, 1e6, 1e-2)):
        gradients = size * rng.normal(size=(50, 5))
        iterates, state = run(OnlineNewtonStep(), np.zeros(5, dtype), gradients.astype(dtype), lr=1.0)
        A, L, x = np.eye(5), state.slots[0][0].astype(float), np.zeros(5)
        for t, g in enumerate(gradients):
            A += np.outer(g, g)
            x -= np.linalg.solve(A, g)
            np.testing.assert_allclose(iterates[t], x, rtol=0, atol=tolerance * np.abs(x).max())
        np.testing.assert_allclose(L @ L.T, A, rtol=0, atol=tolerance * A.max())


@pytest.mark.parametrize("rule", [r for r in RULES if not isinstance(r, BlockAdagrad)], ids=str)
def test_the_iterates_rotate_with_the_problem(rule, rng):
    Q, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    x, gradients = rng.normal(size=6), rng.normal(size=(15, 6))
    rotated, _ = run(rule, Q @ x, gradients @ Q.T)
    np.testing.assert_allclose(rotated, run(rule, x, gradients)[0] @ Q.T, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dual_averaging", [False, True])
def test_projections_onto_a_ball_are_optimal_in_the_metric(dual_averaging, rng):
    """H (y - x) is a non-negative multiple of x, for the unconstrained step y."""
    x, gradients, lr, domain = np.zeros(5), rng.normal(size=(15, 5)), 1.0, L2Ball(0.8)
    iterates, _ = run(FullMatrixAdagrad(0.01, dual_averaging), x, gradients, lr=lr, domain=domain)
    n_at_boundary = 0
    for t, g in enumerate(gradients):
        inverse = root_inverse(gradients[: t + 1], 0.01)
        y = -lr * inverse @ gradients[: t + 1].sum(axis=0) if dual_averaging else x - lr * inverse @ g
        _, sizes, V = np.linalg.svd(gradients[: t + 1], full_matrices=False)
        H = (V.T * sizes) @ V + 0.01 * np.eye(5)
        x = iterates[t]
        if np.linalg.norm(y) <= 0.8:
            np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-10)
            continue
        n_at_boundary += 1
        assert np.linalg.norm(x) == pytest.approx(0.8, rel=1e-12)
        force = H @ (y - x)
        assert force @ x > 0
        np.testing.assert_allclose(force, force @ x / 0.64 * x, atol=1e-7 * np.linalg.norm(force))
    assert n_at_boundary > 4


# --- theorem 7 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_regret_is_below_the_bound_of_theorem_7(seed):
    """Linear losses: correlated, of low rank, and chosen against the learner; the best point of a ball in hindsight."""
    rng = np.random.default_rng(seed)
    n, T, radius, lr = 6, 60, 1.0, 0.8
    mixing = rng.normal(size=(n, n if seed % 2 else 2))

    def learn(rule, domain):
        x, state, played, gradients = np.zeros(n), init(np.zeros(n), rule, lr=lr, domain=domain), [], []
        for _ in range(T):
            g = mixing @ rng.normal(size=mixing.shape[1])
            g = np.copysign(g, x) if seed > 1 else g
            g = g / max(np.linalg.norm(g), 1.0)
            played.append(x)
            gradients.append(g)
            x, state = update(x, g, state)
        return np.array(played), np.array(gradients)

    def trace_of_root(gradients):
        return np.linalg.svd(gradients, compute_uv=False).sum()

    played, gradients = learn(FullMatrixAdagrad(0.0), L2Ball(radius))
    best = -radius * gradients.sum(axis=0) / np.linalg.norm(gradients.sum(axis=0))
    regret = np.sum(gradients * (played - best))
    farthest = np.max(np.sum((played - best) ** 2, axis=1))
    trace = trace_of_root(gradients)
    assert regret <= farthest * trace / (2 * lr) + lr * trace
    eps = 1.0  # the theorem needs it to be the largest norm of a gradient
    played, gradients = learn(FullMatrixAdagrad(eps, dual_averaging=True), None)
    best = -radius * gradients.sum(axis=0) / np.linalg.norm(gradients.sum(axis=0))
    trace = trace_of_root(gradients)
    assert np.sum(gradients * (played - best)) <= (eps + trace) * radius**2 / lr + lr * trace


# --- states ----------------------------------------------------------------------------------------------------------


@each
def test_states_resume_bit_for_bit(rule, rng, tmp_path):
    x, gradients = rng.normal(size=5), rng.normal(size=(8, 5))
    state = init(x, rule, average=Polyak())
    for g in gradients[:4]:
        x, state = update(x, g, state)
    state.save(tmp_path / "state.npz")
    others = [load_state(tmp_path / "state.npz"), pickle.loads(pickle.dumps(state)), copy.copy(state)]
    for other in [*others, state.with_options(x, lr=0.5)]:
        y, z, s = x, x.copy(), state.copy()
        for g in gradients[4:]:
            y, other = update(y, g, other)
            update(z, g, s, out=(z, s))
        np.testing.assert_array_equal(y, z)


@each
def test_arrays_have_matrices_of_their_own(rule, rng):
    """Arrays of any shape and order, sparse gradients, and None."""
    x = {"a": np.asfortranarray(rng.normal(size=(2, 3))), "b": rng.normal(size=4)}
    state, b_state, y = init(x, rule), init(x["b"], rule), x["b"]
    assert not state.array_groups
    for t in range(5):
        g = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=4) * (rng.random(4) < 0.5)}
        y, b_state = update(y, g["b"], b_state)
        sparse = {"a": g["a"], "b": scipy.sparse.csr_array(g["b"][None])}
        before = x["a"]
        x, state = update(x, (g, sparse, sparse | {"a": None})[t % 3], state)
        if t % 3 == 2:
            np.testing.assert_array_equal(x["a"], before)
    np.testing.assert_allclose(x["b"], y, rtol=1e-12)


@each
def test_float32_and_transforms(rule, rng):
    x, gradients = rng.normal(size=5), rng.normal(size=(8, 5))
    transforms = (ClipNorm(1.0), DecoupledDecay(0.1))
    expected, _ = run(rule, x, gradients, lr=0.2, transforms=transforms)
    single, state = run(rule, x.astype("f4"), gradients.astype("f4"), lr=0.2, transforms=transforms)
    assert single.dtype == np.float32
    assert {slot.dtype for slot in state.slots[0]} == {np.dtype("f4")}
    np.testing.assert_allclose(single, expected, rtol=2e-3, atol=2e-3)
    clipped = gradients / np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), 1.0)
    first, _ = run(rule, x * (1 - 0.2 * 0.1), clipped[:1], lr=0.2)
    np.testing.assert_allclose(expected[0], first[0], rtol=1e-12)


@each
def test_zero_and_nan_gradients_and_empty_arrays(rule):
    x, state = update(np.ones(3), np.zeros(3), init(np.ones(3), rule))
    if not getattr(rule, "dual_averaging", False):
        np.testing.assert_array_equal(x, 1.0)
    x, state = update(x, np.array([1.0, np.nan, 1.0]), state)
    assert np.isnan(x).all()
    assert np.isnan(state.slots[0][0]).all()
    assert update(np.zeros(0), np.zeros(0), init(np.zeros(0), rule))[0].size == 0


@each
def test_minimisers_converge_and_resume(rule):
    f = quadratic(6, 100.0)
    Q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))
    g = np.empty(6)

    def fun(x):
        return f.value_grad(Q @ x, g), Q.T @ g

    options = {"jac": True, "rule": rule, "lr": 1.0}
    res = minimize_adagrad(fun, np.zeros(6), maxiter=1000, **options)
    limit = {FullMatrixAdagrad: 1e-8, OnlineNewtonStep: fun(np.zeros(6))[0]}
    assert res.fun < limit.get(type(rule), 1e-1)
    half = minimize_adagrad(fun, np.zeros(6), maxiter=5, **options)
    both = minimize_adagrad(fun, half.x, jac=True, maxiter=5, state=half.state)
    np.testing.assert_array_equal(both.x, minimize_adagrad(fun, np.zeros(6), maxiter=10, **options).x)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": FullMatrixAdagrad(), "penalty": L1(0.1)}, "penalty: FullMatrixAdagrad takes no penalty or bounds"),
        ({"rule": FullMatrixAdagrad(), "domain": L1Ball()}, "domain: got L1Ball, but FullMatrixAdagrad takes L2Ball"),
        ({"rule": OnlineNewtonStep(), "domain": L2Ball()}, "got L2Ball, but OnlineNewtonStep takes no domain"),
        ({"rule": FullMatrixAdagrad(), "sparse_decay": "lazy"}, "sparse_decay: 'lazy' delays"),
        ({"rule": BlockAdagrad(), "duplicates": "sequential"}, "steps by one coordinate, BlockAdagrad by all of x"),
        ({"rule": BlockAdagrad(), "duplicates": "simultaneous"}, "squares before the step, which BlockAdagrad cannot"),
        ({"rule": BlockAdagrad(0)}, "BlockAdagrad.block_size: got 0; must be an integer of at least 1"),
        ({"rule": SketchedAdagrad(2.5)}, "SketchedAdagrad.rank: got 2.5"),
        ({"rule": FullMatrixAdagrad(-1.0)}, "FullMatrixAdagrad.eps: got -1.0"),
    ],
)
def test_errors_of_options(options, message):
    with pytest.raises(ValueError, match=message):
        init(np.zeros(3), **options)


def test_other_errors(tmp_path):
    for dtype in (np.complex128, np.float16):
        with pytest.raises(ValueError, match="takes arrays of float32 or float64, but x is"):
            init(np.zeros(3, dtype), FullMatrixAdagrad())
    with pytest.raises(ValueError, match="rule: FullMatrixAdagrad needs all weights at each row"):
        fit_linear(np.eye(2), [0, 1], rule=FullMatrixAdagrad())
    with pytest.raises(ValueError, match="OnlineNewtonStep cannot continue with the sums of FullMatrixAdagrad"):
        init(np.zeros(3), FullMatrixAdagrad()).with_options(np.zeros(3), rule=OnlineNewtonStep())
    with pytest.raises(TypeError, match="check_rule takes rules of one coordinate"):
        check_rule(FullMatrixAdagrad())


def test_memory_is_checked_before_it_is_allocated(monkeypatch):
    x = np.zeros(2**20)
    message = r"rule: a step of FullMatrixAdagrad for 2 arrays, of which x\[1\] is the largest, needs 43980.[45] GB"
    with pytest.raises(MemoryError, match=message):
        init([np.zeros(3), x], FullMatrixAdagrad())
    monkeypatch.setattr(_check, "available_memory", lambda: 10_000)
    with pytest.raises(MemoryError, match="needs 0.0 GB of memory, of which 0.0 GB are available; use BlockAdagrad"):
        init(np.zeros(20), FullMatrixAdagrad())
    init(np.zeros(20), SketchedAdagrad(2))
    assert _check.available_memory() == 10_000
