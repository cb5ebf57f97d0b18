"""States: saving, loading and resuming; one norm over several arrays; averages that overwrite the iterate."""

import copy
import pickle

import numba
import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from adagrad_nb import (
    EMA,
    L1,
    Accumulate,
    Adadelta,
    Adagrad,
    ClipGlobalNorm,
    ClipNorm,
    DecoupledDecay,
    InverseSqrt,
    L2Decay,
    LossScale,
    Only,
    Polyak,
    Rescale,
    RowAdagrad,
    SkipNonFinite,
    catch_up,
    init,
    load_state,
    minimize_adadelta,
    minimize_adagrad,
    minimize_stochastic,
    update,
)
from adagrad_nb.testing import Rosenbrock, quadratic


def tree(dtype, seed):
    rng = np.random.default_rng(seed)
    return {"a": rng.normal(size=(3, 2)).astype(dtype), "b": [rng.normal(size=4).astype(dtype)]}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"rule": Adadelta(), "average": Polyak(2), "penalty": L1(0.01)}], ids=str)
def test_a_saved_state_resumes_bit_for_bit(dtype, options, tmp_path):
    x, states = tree(dtype, 0), None
    state = init(x, lr=InverseSqrt(0.3), transforms=(ClipGlobalNorm(1.0), L2Decay(0.1)), **options)
    for t in range(3):
        x, state = update(x, tree(dtype, t + 1), state)
    state.save(tmp_path / "state.npz")
    states = [state, load_state(tmp_path / "state.npz")]
    results = []
    for s in states:
        y = x
        for t in range(3):
            y, s = update(y, tree(dtype, t + 9), s)
        results.append((y, s))
    (one, first), (two, second) = results
    np.testing.assert_array_equal(one["a"], two["a"])
    np.testing.assert_array_equal(one["b"][0], two["b"][0])
    assert first.t == second.t == 6
    assert [leaf.path for leaf in second.leaves] == ["x['a']", "x['b'][0]"]
    for actual, expected in zip(first.means, second.means, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_saved_run_resumes_bit_for_bit(tmp_path):
    options = {"lr": 1.0, "average": Polyak(), "maxiter": 50}
    half = minimize_adagrad(Rosenbrock(), np.zeros(4), **options)
    half.state.save(tmp_path / "state.npz")
    second = minimize_adagrad(Rosenbrock(), half.x, maxiter=50, state=load_state(tmp_path / "state.npz"))
    uninterrupted = minimize_adagrad(Rosenbrock(), np.zeros(4), **{**options, "maxiter": 100})
    np.testing.assert_array_equal(second.x, uninterrupted.x)


def test_a_python_schedule_cannot_be_saved(tmp_path):
    state = init(np.ones(2), lr=lambda t: 0.1)
    with pytest.raises(ValueError, match="lr: a Python function cannot be saved"):
        state.save(tmp_path / "state.npz")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_rejected(tmp_path):
    path = tmp_path / "state.npz"
    init(np.ones(2)).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"state\.npz"):
        load_state(path)


# --- one norm over several arrays --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_global_norm_is_over_all_arrays(dtype):
    x, g = tree(dtype, 0), tree(dtype, 1)
    flat = np.concatenate([g["a"].ravel(), g["b"][0]]).astype(np.float64)
    by = 0.5 / np.linalg.norm(2.0 * flat)
    clipped, _ = update(x, g, init(x, transforms=(Rescale(2.0), ClipGlobalNorm(0.5))))
    scaled = {"a": (2 * by * g["a"]).astype(dtype), "b": [(2 * by * g["b"][0]).astype(dtype)]}
    expected, _ = update(x, scaled, init(x))
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(clipped["a"], expected["a"], rtol=rtol)
    np.testing.assert_allclose(clipped["b"][0], expected["b"][0], rtol=rtol)


def test_gradients_below_the_global_norm_are_unchanged():
    x, g = tree(np.float64, 0), tree(np.float64, 1)
    one, _ = update(x, g, init(x, transforms=(ClipGlobalNorm(1e6),)))
    two, _ = update(x, g, init(x))
    np.testing.assert_array_equal(one["a"], two["a"])


def test_the_global_norm_includes_sparse_rows():
    x = {"a": np.zeros((4, 2)), "b": np.zeros(3)}
    g = {"a": (np.array([2, 0]), np.array([[3.0, 0.0], [0.0, 0.0]])), "b": np.array([0.0, 4.0, 0.0])}
    _, state = update(x, g, init(x, transforms=(ClipGlobalNorm(1.0),)))
    np.testing.assert_allclose(state.slots[0][0], [[0, 0], [0, 0], [0.36, 0], [0, 0]])
    np.testing.assert_allclose(state.slots[1][0], [0, 0.64, 0])


# --- averages that overwrite, Adadelta -----------------------------------------------------------------------------


def test_an_average_overwrites_the_iterate_in_every_loop():
    average = EMA(0.5, overwrite=3)
    problem = quadratic(5, 10.0)
    compiled = minimize_adagrad(problem, np.zeros(5), lr=0.3, average=average, maxiter=8, gtol=0)

    def gradient(x):
        g = np.empty_like(x)
        problem.value_grad(x, g)
        return g

    python = minimize_adagrad(
        lambda x: problem.value_grad(x, np.empty_like(x)), np.zeros(5), jac=gradient, lr=0.3, average=average,
        maxiter=8, gtol=0,
    )  # fmt: skip
    np.testing.assert_array_equal(compiled.x, python.x)
    x, mean, G = np.zeros(5), None, np.zeros(5)
    for t in range(8):
        g = gradient(x)
        G += g * g
        x = x - 0.3 * g / (np.sqrt(G) + 1e-10)
        mean = x.copy() if mean is None else mean + 0.5 * (x - mean)
        if (t + 1) % 3 == 0:
            x = mean.copy()
    np.testing.assert_allclose(python.x, mean, rtol=1e-12)


def test_adadelta_minimises_and_resumes():
    start = np.array([3.0, -2.0, 1.0])
    uninterrupted = minimize_adadelta(quadratic(3, 10.0), start, maxiter=2000)
    assert uninterrupted.fun < 1e-2 < quadratic(3, 10.0).value_grad(start, np.empty(3))
    half = minimize_adadelta(quadratic(3, 10.0), start, maxiter=1000)
    second = minimize_adadelta(quadratic(3, 10.0), half.x, maxiter=1000, state=half.state)
    np.testing.assert_array_equal(second.x, uninterrupted.x)
    assert second.state.rule == Adadelta()


def test_adadelta_follows_the_paper():
    """Zeiler 2012, algorithm 1."""
    rng = np.random.default_rng(0)
    x, gradients = rng.normal(size=6), rng.normal(size=(20, 6))
    state = init(x, Adadelta(rho=0.8, eps=1e-3), lr=1.0)
    expected, E, D = x.copy(), np.zeros(6), np.zeros(6)
    for g in gradients:
        E = 0.8 * E + 0.2 * g**2
        step = -np.sqrt(D + 1e-3) / np.sqrt(E + 1e-3) * g
        D = 0.8 * D + 0.2 * step**2
        expected = expected + step
        x, state = update(x, g, state)
    np.testing.assert_allclose(x, expected, rtol=1e-12)


def test_minimize_stochastic_with_adadelta():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(60, 3))
    b = A @ [1.0, -2.0, 3.0]

    def fun(x, batch):
        return 0.5 * np.mean((A[batch] @ x - b[batch]) ** 2)

    def jac(x, batch):
        return A[batch].T @ (A[batch] @ x - b[batch]) / len(batch)

    res = minimize_stochastic(
        fun, np.zeros(3), 60, jac=jac, rule=Adadelta(eps=1e-3), lr=1.0, batch_size=6, epochs=30, rng=0
    )
    assert res.fun < 0.05 < fun(np.zeros(3), np.arange(60))


# --- copies and pickles ------------------------------------------------------------------------------------------


def read_only_pickle(state):
    """Return a state whose arrays come from read-only memory, as joblib's memory maps do."""
    buffers = []
    content = pickle.dumps(state, 5, buffer_callback=buffers.append)
    return pickle.loads(content, buffers=[bytes(buffer.raw()) for buffer in buffers])


CLONES = {
    "copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda state: pickle.loads(pickle.dumps(state)),
    "read-only pickle": read_only_pickle, "list": lambda state: copy.deepcopy([state])[0],
}  # fmt: skip
LARGE = 2**13 + 1 if not numba.config.DISABLE_JIT else 40  # too many entries for a group; minutes in pure Python
STATES = {
    "vector": ((5,), {}),
    "matrix": ((4, 3), {"transforms": (ClipNorm(1.0),)}),
    "rows": ((4, 3), {"rule": RowAdagrad()}),
    "small arrays": ([(4,), (2, 2)], {"transforms": (ClipGlobalNorm(1.0),)}),
    "small arrays, averaged": ([(4,), (2, 2), (3,)], {"average": Polyak(1), "rule": Adadelta()}),
    "small and large": ([(4,), (LARGE,), (3,)], {"lr": InverseSqrt(0.3)}),
    "accumulating": ([(4,), (3,)], {"transforms": (Accumulate(2),)}),
    "loss scale": ((4,), {"transforms": (LossScale(4.0),)}),
    "lazy decay": ([(4,), (3,)], {"transforms": (DecoupledDecay(0.1),), "sparse_decay": "lazy"}),
    "penalty": ((4,), {"penalty": L1(np.linspace(0, 0.1, 4))}),
}


def arrays_of(shapes, dtype, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape).astype(dtype) for shape in (shapes if isinstance(shapes, list) else [shapes])]
    return arrays if isinstance(shapes, list) else arrays[0]


def run(x, state, shapes, dtype, steps):
    """Step in place from copies of the arrays; return all that the state and the iterate hold."""
    x = copy.deepcopy(x)
    for step in steps:
        update(x, arrays_of(shapes, dtype, 10 + step), state, out=(x, state))
    held = x if isinstance(x, list) else [x]
    return [*held, *(slot for slots in state.slots for slot in slots), *(m for m in state.means if m is not None)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128, np.float16])
@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("clone", CLONES)
@pytest.mark.parametrize("n_before", [0, 3])
def test_clones_of_a_state_are_states_of_their_own(dtype, kind, clone, n_before):
    shapes, options = STATES[kind]
    if dtype in (np.complex128, np.float16) and kind in ("penalty", "loss scale", "lazy decay"):
        dtype = np.float64
    x = arrays_of(shapes, dtype, 0)
    state = init(x, **options)
    run(x, state, shapes, dtype, range(n_before))
    other = CLONES[clone](state)
    first = run(x, other, shapes, dtype, range(5))  # does not change `state`
    second = run(x, state, shapes, dtype, range(5))
    assert len(first) == len(second)
    for mine, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert other.counts == state.counts


def test_results_can_be_pickled():
    """Also with Python objectives, after steps have compiled kernels."""
    half = minimize_adagrad(rosen, np.full(3, 1.3), jac=rosen_der, maxiter=20, average=Polyak())
    whole = minimize_adagrad(rosen, np.full(3, 1.3), jac=rosen_der, maxiter=40, average=Polyak())
    for clone in (copy.deepcopy, lambda res: pickle.loads(pickle.dumps(res)), read_only_pickle):
        res = clone(half)
        rest = minimize_adagrad(rosen, res.x, jac=rosen_der, maxiter=20, state=res.state)
        np.testing.assert_array_equal(rest.x, whole.x)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 5.0), ("rule", Adagrad(1.0)), ("transforms", ()), ("penalty", L1(1.0)), ("average", Polyak()),
        ("lr_scale", None), ("duplicates", "mean"), ("sparse_decay", "whole"),
    ],
)  # fmt: skip
def test_options_of_a_state_cannot_be_set(name, value):
    """The compiled kernels would not notice."""
    state = init(np.ones(2))
    before = getattr(state, name)
    message = rf"^{name}: the options of a state cannot be changed; .*state.with_options\(x, {name}="
    with pytest.raises(AttributeError, match=message):
        setattr(state, name, value)
    assert getattr(state, name) is before


@pytest.mark.parametrize("clone", [lambda state: state, copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_arrays_of_the_options_of_a_state_are_read_only(clone):
    """The kernels have copies in their precision, and the entries have been checked."""
    options = {"lr": np.ones(3), "lr_scale": np.ones(3), "penalty": L1(np.ones(3))}
    options |= {"transforms": (Only(DecoupledDecay(np.full(3, 0.5)), "x"),)}
    x = np.ones(3)
    state = clone(init(x, **options))
    arrays = (state.lr, state.lr_scale[0], state.penalty.strength, state.transforms[0].inner.strength)
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = -1.0
    np.testing.assert_array_equal(update(x, x, state)[0], update(x, x, init(x, **options))[0])


@pytest.mark.parametrize("value", [-1, 2.5, 3.0, "1", None, True, 2**63])
def test_the_number_of_updates_is_checked(value):
    state = init(np.ones(2))
    with pytest.raises(ValueError, match=r"^t: got .*; must be"):
        state.t = value
    state.t = 3
    assert update(np.ones(2), np.ones(2), state)[1].t == 4


def test_a_state_continues_with_other_options():
    x, g = np.ones(3), np.array([1.0, -2.0, 0.5])
    x, state = update(x, g, init(x, lr=0.5, transforms=(ClipNorm(1.0),)))
    moved, new = update(x, g, state.with_options(x, lr=0.1))
    assert (new.t, new.lr, new.transforms, state.lr) == (2, 0.1, (ClipNorm(1.0),), 0.5)
    np.testing.assert_array_equal(moved, update(x, g, state, lr=0.1)[0])
    with pytest.raises(TypeError, match=r"^with_options: unknown option 'rate'; the options are average, "):
        state.with_options(x, rate=1.0)
    with pytest.raises(ValueError, match=r"^state: it was made for float64 of shape \(3,\)"):
        state.with_options(np.ones(4), lr=1.0)


@pytest.mark.parametrize("rules", [(RowAdagrad(), Adagrad()), (Adagrad(), RowAdagrad()), (Adagrad(), Adadelta())])
def test_a_state_refuses_a_rule_with_other_accumulators(rules):
    """The kernels would read and write beyond them."""
    x = np.ones((4, 3))
    with pytest.raises(ValueError, match=rf"^rule: {type(rules[1]).__name__} has accumulators of shapes .*; call init"):
        init(x, rules[0]).with_options(x, rule=rules[1])


def test_counters_fit_the_other_options():
    x = np.ones(2)
    scaled = init(x, transforms=(LossScale(),))
    assert scaled.with_options(x, transforms=()).scale == 1.0
    assert init(x).with_options(x, transforms=(LossScale(),)).scale == scaled.scale
    assert scaled.with_options(x, lr=0.1).scale == scaled.scale
    x, state = update(x, x, init(x, transforms=(Accumulate(4),)))
    for transforms in ((), (Accumulate(2),)):
        with pytest.raises(ValueError, match=r"^transforms: Accumulate has 1 gradients without an update"):
            state.with_options(x, transforms=transforms)
    assert state.with_options(x, lr=0.1).n_pending == 1


def test_missed_decay_survives_other_options():
    """Lazy decay that no row has had yet is neither lost nor applied again."""
    x = np.ones((2, 1))
    state = init(x, lr=0.5, transforms=(DecoupledDecay(0.5),), sparse_decay="lazy")
    x, state = update(x, ([0], [[0.0]]), state)
    np.testing.assert_array_equal(catch_up(x, state.with_options(x, lr=0.1))[0], [[0.75], [0.75]])
    with pytest.raises(ValueError, match=r"^sparse_decay: rows of x have missed decay; call x, state = catch_up"):
        state.with_options(x, sparse_decay="whole")
    with pytest.raises(ValueError, match=r"^sparse_decay: rows of x have missed decay; call x, state = catch_up"):
        state.with_options(x, transforms=())
    x, state = catch_up(x, state)
    assert state.with_options(x, sparse_decay="whole").t == 1


def test_missed_decay_of_one_array_of_several_survives_other_options():
    x = {"decayed": np.ones(2), "other": np.ones(2)}
    state = init(x, lr=0.5, transforms=(Only(DecoupledDecay(0.5), "decayed"),), sparse_decay="lazy")
    x, state = update(x, dict.fromkeys(x, ([0], [0.0])), state)
    caught_up, _ = catch_up(x, state.with_options(x, lr=0.1))
    np.testing.assert_array_equal(caught_up["decayed"], [0.75, 0.75])
    np.testing.assert_array_equal(caught_up["other"], [1.0, 1.0])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(3), r"x: got float64 of shape \(3,\); the state was made for float64 of \(2,\)"),
        (np.ones(2, np.float32), r"x: got float32 of shape \(2,\); the state was made for float64"),
        ([np.ones(2), np.ones(2)], r"x: got 2 arrays; the state was made for 1"),
    ],
    ids=["shape", "dtype", "number"],
)
def test_catch_up_checks_x(x, message):
    state = init(np.ones(2), lr=0.5, transforms=(DecoupledDecay(0.5),), sparse_decay="lazy")
    with pytest.raises(ValueError, match=f"^{message}"):
        catch_up(x, state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transforms": (DecoupledDecay(0.1),), "sparse_decay": "lazy"}, "sparse_decay: 'lazy' delays the decay"),
        ({"transforms": (SkipNonFinite(),)}, "transforms: SkipNonFinite works with update only"),
    ],
    ids=["lazy", "gate"],
)
def test_a_minimiser_checks_the_options_of_a_state(options, message):
    x = np.ones(2)
    with pytest.raises(ValueError, match=f"^{message}"):
        minimize_adagrad(lambda x: x @ x, x, jac=lambda x: 2 * x, state=init(x, **options))


def test_small_arrays_get_the_decay_that_they_missed():
    """In place, in one pass for all small arrays, as each array by itself."""
    results = []
    for names in ("a", "ab"):
        for in_place in (False, True):
            x = {name: np.ones(3) for name in names}
            state = init(x, lr=0.5, transforms=(DecoupledDecay(0.5),), sparse_decay="lazy")
            for g in [([0], [1.0])] * 3 + [np.ones(3)]:
                step = update(x, dict.fromkeys(names, g), state, out=(x, state) if in_place else None)
                x, state = step
            results.append(catch_up(x, state)[0]["a"])
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    np.testing.assert_allclose(results[0][1:], 0.75**3 * 0.75 - 0.5, rtol=1e-9)


def test_block_indices_have_64_bits():
    """Rows with int32 indices of a matrix of more than 2**31 entries; np.int32 products would wrap around."""
    from adagrad_nb.optim.gradients import PreparedGradient, reblock

    row, width = 1_399_995, 2048
    gradient = PreparedGradient(np.array([row], np.int32), np.zeros(width), width)
    where, _ = gradient.to_coordinates()
    assert where[-1] == row * width + width - 1
    assert reblock(gradient, 2, 2 * row * width).where[0] == row * width // 2
