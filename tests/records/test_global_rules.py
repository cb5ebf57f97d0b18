"""Rules with sums over all coordinates: against their papers, over trees of arrays, in files and in the minimisers."""

import copy
import pickle

import numba
import numpy as np
import pytest
import reference_global as reference
import scipy.sparse

from adagrad_nb import (
    L1,
    SGD,
    Accumulate,
    AdagradNorm,
    AdagradPlusPlus,
    ClipGlobalNorm,
    Constant,
    DAdaptAdagrad,
    DoG,
    DoWG,
    InverseSqrt,
    L2Ball,
    L2Decay,
    Polyak,
    Rates,
    WNGrad,
    fit_linear,
    init,
    load_state,
    minimize_adagrad,
    minimize_stochastic,
    update,
)
from adagrad_nb.optim import small_arrays
from adagrad_nb.testing import check_rule, quadratic

CASES = {
    "AdagradNorm": (AdagradNorm(0.1), lambda *a: reference.adagrad_norm(*a, 0.1)),
    "WNGrad": (WNGrad(0.5), lambda *a: reference.wngrad(*a, 0.5)),
    "DoG": (DoG(1e-2), lambda *a: reference.dog(*a, 1e-2, 1e-8)),
    "DoWG": (DoWG(), lambda *a: reference.dowg(*a, 1e-4, 1e-4)),
    "AdagradPlusPlus": (AdagradPlusPlus(r_eps=1e-2), lambda *a: reference.adagrad_plus_plus(*a, 1e-8, 1e-2)),
    "DAdaptAdagrad": (DAdaptAdagrad(1e-2), lambda *a: reference.dadapt_adagrad(*a, 1e-2, 1e-6, 1e-6)),
}
each = pytest.mark.parametrize("case", CASES)


def problem(rng, n=12, steps=25):
    """Return a start and gradients of different sizes."""
    return rng.normal(size=n), rng.normal(size=(steps, n)) * 10.0 ** rng.uniform(-2, 2, n)


@each
def test_the_iterates_are_those_of_the_paper(case, rng, dtype):
    rule, iterates = CASES[case]
    x, gradients = problem(rng)
    x, gradients = x.astype(dtype), gradients.astype(dtype)
    state = init(x, rule, lr=0.7)
    for t, expected in enumerate(iterates(x.astype(float), gradients.astype(float), 0.7)):
        if t % 2:
            update(x, gradients[t], state, out=(x, state))
        else:
            x, state = update(x, gradients[t], state)
        np.testing.assert_allclose(
            x, expected, rtol=1e-13 if dtype == np.float64 else 2e-5, atol=1e-6 * (dtype == "f4")
        )
    assert x.dtype == dtype
    assert state.t == len(gradients)


@each
@pytest.mark.parametrize("max_size", [100, 1], ids=["small arrays", "large arrays"])
def test_all_arrays_share_one_memory(case, rng, max_size, monkeypatch):
    """A tree of arrays moves as their concatenation does; small arrays are updated in one pass."""
    monkeypatch.setattr(small_arrays, "MAX_SIZE", max_size)
    rule, _ = CASES[case]
    x, gradients = problem(rng, 12, 5)

    def tree(vector):
        return {"a": vector[:6].reshape(2, 3), "b": [vector[6:10], vector[10:]]}

    options = {"lr": 0.7, "transforms": (ClipGlobalNorm(50.0), L2Decay(0.01))}
    y, state = tree(x.copy()), init(tree(x), rule, **options)
    assert bool(state.array_groups) == (max_size > 1)
    whole = init(x, rule, **options)
    for t, g in enumerate(gradients):
        if t % 2:
            update(y, tree(g), state, out=(y, state))
        else:
            y, state = update(y, tree(g), state)
        x, whole = update(x, g, whole)
    np.testing.assert_allclose(np.concatenate([y["a"].ravel(), *y["b"]]), x, rtol=1e-11)
    np.testing.assert_allclose(state.memory, whole.memory, rtol=1e-12)


@each
def test_states_resume_bit_for_bit(case, rng, tmp_path):
    rule, _ = CASES[case]
    x, gradients = problem(rng, 6, 8)
    state = init(x, rule, lr=InverseSqrt(0.7), average=Polyak())
    for g in gradients[:4]:
        x, state = update(x, g, state)
    state.save(tmp_path / "state.npz")
    others = [load_state(tmp_path / "state.npz"), pickle.loads(pickle.dumps(state)), copy.copy(state)]
    others.append(state.with_options(x, lr=InverseSqrt(0.7)))
    for other in others:
        assert other.memory == state.memory
        y, z, s = x, x, state
        for g in gradients[4:]:
            y, other = update(y, g, other)
            z, s = update(z, g, s)
        np.testing.assert_array_equal(y, z)
        np.testing.assert_array_equal(other.means[0], s.means[0])


@each
def test_minimisers_converge_and_resume(case):
    rule, _ = CASES[case]
    f = quadratic(5, 10.0)
    options = {"rule": rule, "lr": 1.0, "gtol": 1e-4}
    res = minimize_adagrad(f, np.full(5, 2.0), maxiter=2000, **options)
    assert res.fun < 1e-2
    half = minimize_adagrad(f, np.full(5, 2.0), maxiter=7, **options)
    both = minimize_adagrad(f, half.x, maxiter=7, state=half.state)
    np.testing.assert_array_equal(both.x, minimize_adagrad(f, np.full(5, 2.0), maxiter=14, **options).x)


def test_a_gradient_that_is_not_finite_is_rolled_back():
    def jac(x):
        return np.full(3, np.nan) if x[0] < 0.5 else np.ones(3)

    res = minimize_adagrad(lambda x: x.sum(), np.ones(3), jac=jac, rule=AdagradNorm(), lr=0.4)
    assert res.status == 2
    assert np.isfinite(res.x).all()
    assert res.state.memory == pytest.approx((3 * res.nit,))


def test_stochastic_minimisation(rng):
    A = rng.normal(size=(60, 3))
    b = A @ [1.0, -2.0, 3.0]
    res = minimize_stochastic(
        lambda x, batch: 0.5 * np.mean((A[batch] @ x - b[batch]) ** 2), np.zeros(3), 60,
        jac=lambda x, batch: A[batch].T @ (A[batch] @ x - b[batch]) / len(batch),
        rule=DoG(), lr=1.0, batch_size=10, epochs=100, rng=0,
    )  # fmt: skip
    np.testing.assert_allclose(res.x, [1.0, -2.0, 3.0], atol=1e-2)


@pytest.mark.parametrize("rule", [AdagradNorm(), WNGrad()])
def test_sparse_gradients_are_exact_where_only_the_norm_counts(rule, rng):
    x = rng.normal(size=8)
    y, state, dense_state = x, init(x, rule), init(x, rule)
    for t in range(6):
        where, values = rng.integers(8, size=4), rng.normal(size=4)
        dense = np.zeros(8)
        np.add.at(dense, where, values)
        g = (where, values) if t % 2 else scipy.sparse.csr_array(dense[None])
        x, state = update(x, g, state)
        y, dense_state = update(y, dense, dense_state)
    np.testing.assert_allclose(x, y, rtol=1e-14)
    pair, state = update([x, x], [None, np.ones(8)], init([x, x], rule))
    np.testing.assert_array_equal(pair[0], x)


def test_the_step_size_of_a_penalty_has_the_factor_of_the_rule():
    x, _ = update(
        np.array([3.0, 0.1]), np.array([3.0, 4.0]), init(np.zeros(2), AdagradNorm(0.0), lr=1.0, penalty=L1(0.5))
    )
    np.testing.assert_allclose(x, [3.0 - 0.6 - 0.1, -0.8 + 0.1 + 0.1], rtol=1e-14)


def test_gates_domains_rates_and_complex_arrays(rng):
    x, g = rng.normal(size=4), rng.normal(size=4)
    state = init(x, AdagradNorm(0.0), transforms=(Accumulate(2),))
    y, state = update(x, g, state)
    assert state.memory == (0.0,)
    y, state = update(y, 3 * g, state)
    assert state.memory == pytest.approx((4 * g @ g,))
    y, _ = update(x, g, init(x, AdagradNorm(0.0), lr=5.0, domain=L2Ball(0.5)))
    free = x - 5.0 * g / np.linalg.norm(g)
    np.testing.assert_allclose(y, 0.5 * free / np.linalg.norm(free), rtol=1e-14)
    rates = np.array([1.0, 2.0, 0.0, 0.5])
    y, _ = update(x, g, init(x, AdagradNorm(0.0), lr=rates, lr_scale=0.5))
    np.testing.assert_allclose(y, x - 0.5 * rates * g / np.linalg.norm(g), rtol=1e-14)
    z = x[:2] + 1j * x[2:]
    y, state = update(z, g[:2] + 1j * g[2:], init(z, DoG(), lr=1.0))
    real, _ = update(x, g, init(x, DoG(), lr=1.0))
    np.testing.assert_allclose([*y.real, *y.imag], real, rtol=1e-14)
    assert state.slots[0][0].dtype == np.complex128
    half, state = update(x.astype(np.float16), g, init(x.astype(np.float16), DoG(), lr=1.0))
    assert (half.dtype, state.slots[0][0].dtype) == (np.float16, np.float32)


def test_zero_gradients_and_empty_arrays():
    for rule in (
        AdagradNorm(0.0),
        WNGrad(),
        DoG(eps=0.0),
        DoWG(eps=0.0),
        AdagradPlusPlus(eps=0.0),
        DAdaptAdagrad(eps=0.0),
    ):
        x, _ = update(np.ones(2), np.zeros(2), init(np.ones(2), rule))
        np.testing.assert_array_equal(x, 1.0)
        x, _ = update(np.zeros(0), np.zeros(0), init(np.zeros(0), rule))
        assert x.size == 0


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: fit_linear(np.eye(2), [0, 1], rule=DoG()), "rule: DoG needs all weights at each row"),
        (lambda: fit_linear(np.eye(2), [0, 1], rule=WNGrad(), lr=Rates()), "rule: WNGrad needs all weights"),
        (lambda: init(np.ones(2), DAdaptAdagrad(), penalty=L1(0.1)), "penalty: DAdaptAdagrad takes no penalty"),
        (lambda: minimize_adagrad(quadratic(2), np.ones(2), rule=DAdaptAdagrad(), bounds=[(0, 1)] * 2), "or bounds"),
        (lambda: init(np.ones(2), DAdaptAdagrad(), domain=L2Ball()), "preconditioner of the rule, which DAdaptAdagrad"),
        (lambda: init(np.ones(2), DoG(), duplicates="sequential"), "steps by one coordinate, DoG by all of x"),
        (lambda: init(np.ones(2), DoG(r_eps=0.0)), "DoG.r_eps: got 0.0"),
        (lambda: update(np.ones(2), ([0], [1.0]), init(np.ones(2), DoG())), "g: lists some coordinates or is None"),
        (lambda: update([np.ones(2)] * 2, [None, np.ones(2)], init([np.ones(2)] * 2, DoWG())), r"g\[0\]: lists some"),
        (lambda: init(np.ones(2), SGD()).with_options(np.ones(2), rule=WNGrad()), "cannot continue with the sums"),
        (lambda: init(np.ones(2), DoG()).with_options(np.ones(2), rule=DoWG()), "DoWG cannot continue"),
    ],
)  # fmt: skip
def test_errors(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def test_checks_of_files_and_records(tmp_path):
    state = init(np.ones(2), DoG())
    state.memory = (-1.0, 0.0)
    with pytest.raises(ValueError, match=r"memory\[0\]: got -1.0"):
        state.save(tmp_path / "state.npz")
    with pytest.raises(ValueError, match="memory: got 1 numbers; DoG has 2"):
        state._check_memory([1.0])
    with pytest.raises(TypeError, match="check_rule takes rules of one coordinate"):
        check_rule(DoG())


@pytest.mark.compiled_only("is about compiled code")
def test_sums_in_float32_are_vectorised_without_doubles():
    from adagrad_nb.compiler.jit import llvm_ir
    from adagrad_nb.optim.kernels.array_update import ALL
    from adagrad_nb.optim.kernels.reductions import sum_totals

    leaf = init(np.ones(64, np.float32), DoG(), lr=Constant(1.0)).leaves[0]
    x, one = np.ones(64, np.float32), np.float32(1)
    ir = llvm_ir(sum_totals, leaf.update, ALL, x, x, leaf.flat_slots, one, (one, one))
    assert " fpext float" not in ir
    assert "fadd reassoc" in ir or "fadd fast" in ir
    assert numba.typeof(x).layout == "C"
