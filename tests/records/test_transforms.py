"""Transforms: the effect of each on a gradient, and their order."""

import functools
import math

import numpy as np
import pytest
import reference

from adagrad_nb import (
    Accumulate,
    Adagrad,
    AdaptiveClip,
    AddNoise,
    ClipGlobalNorm,
    ClipNorm,
    ClipRMS,
    ClipValue,
    DecoupledDecay,
    Except,
    L2Decay,
    Only,
    Rescale,
    RowAdagrad,
    ZeroNaN,
    init,
    load_state,
    minimize_adagrad,
    update,
)
from adagrad_nb.records.transforms import Chain, Identity, chain_transforms, transform, transform_at

CASES = {
    "rescale": (Rescale(-1.5), functools.partial(reference.rescale, by=-1.5)),
    "value": (ClipValue(0.7), functools.partial(reference.clip_value, bound=0.7)),
    "norm": (ClipNorm(1.2), functools.partial(reference.clip_norm, bound=1.2)),
    "decay": (L2Decay(0.3), functools.partial(reference.l2_decay, strength=0.3)),
    "decoupled": (DecoupledDecay(0.3), functools.partial(reference.decoupled_decay, strength=0.3)),
    "decoupled, without rate": (
        DecoupledDecay(0.3, times_lr=False),
        lambda x, g, lr: reference.decoupled_decay(x, g, 1.0, strength=0.3),
    ),
    "global norm of one array": (ClipGlobalNorm(1.2), functools.partial(reference.clip_norm, bound=1.2)),
    "norm, root mean square": (ClipRMS(0.5), functools.partial(reference.clip_rms, bound=0.5)),
    "norm, adaptive": (AdaptiveClip(0.3, 0.1), functools.partial(reference.adaptive_clip, ratio=0.3, eps=0.1)),
}
ELEMENTWISE = [name for name in CASES if "norm" not in name]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_transform_of_one_coordinate(name, rng):
    record, naive = CASES[name]
    for x, g in rng.normal(size=(50, 2)) * 2:
        (x_new,), (changed,) = naive([x], [g], 0.5)
        assert transform(record, x, g, 0.5) == (pytest.approx(x_new, rel=1e-14), pytest.approx(changed, rel=1e-14))


def test_chain_transforms():
    a, b = Rescale(2.0), L2Decay(1.0)
    assert chain_transforms(()) == Identity()
    assert chain_transforms((a, b)) == Chain(a, Chain(b, Identity()))
    assert transform_at(chain_transforms((a, b)), 1.0, 3.0, 0.1, 0) == (1.0, 7.0)
    assert transform_at(chain_transforms((b, a)), 1.0, 3.0, 0.1, 0) == (1.0, 8.0)


def run(records, x, gradients, lr=0.5):
    state = init(x, Adagrad(eps=0.1), lr=lr, transforms=records)
    for g in gradients:
        x, state = update(x, g, state)
    return x


def expected(functions, x, gradients, lr=0.5):
    rule = functools.partial(reference.of_adagrad, eps=0.1)
    return reference.steps(x, gradients, [lr] * len(gradients), rule=rule, transforms=functions)[0]


@pytest.mark.parametrize("name", CASES)
def test_in_an_update(name, rng):
    record, naive = CASES[name]
    x, gradients = rng.normal(size=6), rng.normal(size=(3, 6)) * 2
    np.testing.assert_allclose(run((record,), x, gradients), expected([naive], x, gradients), rtol=1e-13)


@pytest.mark.parametrize("order", [("norm", "decay", "value"), ("decay", "norm", "value"), ("value", "decay", "norm")])
def test_transforms_apply_in_the_order_of_the_tuple(order, rng):
    x, gradients = rng.normal(size=6), rng.normal(size=(3, 6)) * 2
    got = run(tuple(CASES[name][0] for name in order), x, gradients)
    np.testing.assert_allclose(got, expected([CASES[name][1] for name in order], x, gradients), rtol=1e-13)
    swapped = expected([CASES[name][1] for name in (order[1], order[0], order[2])], x, gradients)
    assert np.abs(got - swapped).max() > 1e-3


def test_two_norms(rng):
    """The second clip uses the norm after the first."""
    x, gradients = rng.normal(size=6), rng.normal(size=(3, 6)) * 9
    records = (ClipNorm(2.0), Rescale(3.0), ClipNorm(1.2))
    functions = [
        functools.partial(reference.clip_norm, bound=2.0),
        functools.partial(reference.rescale, by=3.0),
        functools.partial(reference.clip_norm, bound=1.2),
    ]
    np.testing.assert_allclose(run(records, x, gradients), expected(functions, x, gradients), rtol=1e-13)


def test_clip_norm_is_per_array(rng):
    x = {"a": np.zeros(3), "b": np.zeros(2)}
    g = {"a": np.full(3, 5.0), "b": np.full(2, 0.1)}
    updated_tree = update(x, g, init(x, Adagrad(eps=1.0), transforms=(ClipNorm(1.0),)))[0]
    for key in x:
        single = update(x[key], g[key], init(x[key], Adagrad(eps=1.0), transforms=(ClipNorm(1.0),)))[0]
        np.testing.assert_array_equal(updated_tree[key], single)


def test_clip_global_norm_is_of_all_arrays(rng):
    x = {"a": rng.normal(size=3), "b": rng.normal(size=(2, 2))}
    g = {"a": rng.normal(size=3) * 3, "b": rng.normal(size=(2, 2)) * 3}
    x_new, _ = update(x, g, init(x, Adagrad(eps=1.0), transforms=(L2Decay(0.1), ClipGlobalNorm(1.0))))
    flat = [np.concatenate([leaf.ravel() for leaf in tree.values()]) for tree in (x, g, x_new)]
    functions = [
        functools.partial(reference.l2_decay, strength=0.1),
        functools.partial(reference.clip_norm, bound=1.0),
    ]
    rule = functools.partial(reference.of_adagrad, eps=1.0)
    expected = reference.steps(flat[0], [flat[1]], [0.5], rule=rule, transforms=functions)[0]
    np.testing.assert_allclose(flat[2], expected, rtol=1e-13)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_clip_global_norm_spreads_non_finite_values(bad):
    x = [np.ones(2), np.ones(3, np.float32)]
    g = [np.array([bad, 0.5]), np.zeros(3)]
    x_new, _ = update(x, g, init(x, Adagrad(eps=1.0), transforms=(ClipGlobalNorm(1.0),)))
    assert all(np.isnan(leaf).all() for leaf in x_new)


def test_clip_norm_within_the_bound_changes_no_bit(dtype, rng):
    x, g = rng.normal(size=5).astype(dtype), rng.normal(size=5).astype(dtype)
    plain = update(x, g, init(x))[0]
    np.testing.assert_array_equal(update(x, g, init(x, transforms=(ClipNorm(1e3),)))[0], plain)


def test_clip_norm_of_a_sparse_gradient(rng):
    x, g = rng.normal(size=8), rng.normal(size=3) * 5
    dense = np.zeros(8)
    dense[[1, 4, 6]] = g
    listed = update(x, ([1, 4, 6], g), init(x, Adagrad(eps=1.0), transforms=(ClipNorm(1.0),)))[0]
    from_dense = update(x, dense, init(x, Adagrad(eps=1.0), transforms=(ClipNorm(1.0),)))[0]
    np.testing.assert_allclose(listed, from_dense, rtol=1e-14)
    assert np.abs(listed - x).max() > 0.1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_clip_norm_spreads_non_finite_values(bad, dtype):
    x = np.ones(4, dtype)
    g = np.array([0.5, bad, 0.25, 0.0], dtype)
    x_new = update(x, g, init(x, Adagrad(eps=1.0), transforms=(ClipNorm(1.0),)))[0]
    assert np.isnan(x_new).all()


def test_clip_norm_computes_in_the_precision_of_the_array(rng):
    """The result does not depend on an earlier call, which may have compiled the kernel."""
    x, small = np.float32(rng.normal(size=7)), np.float32(rng.normal(size=7) * 0.01)
    large = small * np.float32(1000.0)
    bound = ClipNorm(0.9)
    after_small = init(x, Adagrad(eps=1.0), transforms=(bound,))
    update(x, small, after_small)  # this call decides what is compiled
    single = init(x, Adagrad(eps=1.0), transforms=(bound,))
    np.testing.assert_array_equal(update(x, large, after_small)[0], update(x, large, single)[0])
    norm = np.float32(np.sqrt(np.sum(large.astype(np.float64) ** 2)))
    scaled = large * (np.float32(0.9) / norm)
    exact = init(x, Adagrad(eps=1.0))
    np.testing.assert_allclose(update(x, large, single)[0], update(x, scaled, exact)[0], rtol=3e-7)


# --- root mean squares, units, noise -------------------------------------------------------------------------------


def square_of(x, g, *transforms, rule=Adagrad()):  # noqa: B008 - a constant record
    """Return the accumulators of the first update, the squares of the transformed gradient."""
    return update(x, g, init(x, rule, transforms=transforms))[1].slots[0][0]


def test_clip_rms_is_per_array_and_counts_all_entries(dtype):
    x = {"a": np.zeros((2, 8), dtype), "b": np.zeros(4, dtype)}
    g = {"a": np.full((2, 8), 3.0, dtype), "b": np.array([3.0, 4.0, 0.0, 0.0], dtype)}
    state = update(x, g, init(x, transforms=(ClipRMS(0.5),)))[1]
    np.testing.assert_allclose(state.slots[0][0], 0.25, rtol=1e-6)
    np.testing.assert_allclose(state.slots[1][0], np.array([9, 16, 0, 0]) / 25, rtol=1e-6)
    sparse = square_of(x["b"], ([0, 1], np.array([3.0, 4.0], dtype)), ClipRMS(0.5))
    np.testing.assert_allclose(sparse, state.slots[1][0], rtol=1e-6)
    z = np.zeros(2, np.complex128)
    np.testing.assert_allclose(
        square_of(z, np.array([3.0 + 0j, 4.0j]), ClipRMS(0.5), rule=Adagrad(modulus=True)), [0.18, 0.32]
    )


@pytest.mark.parametrize("shape", [(6,), (1, 6), (6, 1), (4, 3), (2, 3, 4), (2, 3, 2, 3), ()], ids=str)
def test_units_of_adaptive_clip(shape, dtype, rng):
    """The units of optax: a vector; x[:, j]; x[:, j, k]; x[:, :, :, k]."""
    x, g = rng.normal(size=shape).astype(dtype), (rng.normal(size=shape) * 3).astype(dtype)
    if x.ndim > 1:
        x[..., 0] = 0
        g[..., -1] /= 1000
    axes = {2: (0,), 3: (0,), 4: (0, 1, 2)}.get(x.squeeze().ndim if x.squeeze().ndim < 2 else x.ndim)
    units = [np.arange(x.size)]
    if axes is not None:
        numbers = np.moveaxis(np.arange(x.size).reshape(shape), axes, range(len(axes)))
        units = list(numbers.reshape(int(np.prod([shape[axis] for axis in axes])), -1).T)
    expected = np.zeros(x.size)
    for unit in units:
        expected[unit] = reference.adaptive_clip(
            x.reshape(-1)[unit].tolist(), g.reshape(-1)[unit].tolist(), 0.5, ratio=0.2, eps=0.1
        )[1]
    actual = square_of(x, g, AdaptiveClip(0.2, 0.1))
    np.testing.assert_allclose(actual.reshape(-1), expected**2, rtol=1e-5 if dtype == np.float32 else 1e-12)


def test_adaptive_clip_of_other_gradients(rng):
    x, g = rng.normal(size=(5, 3)), rng.normal(size=(2, 3))
    dense = np.zeros((5, 3))
    dense[[1, 4]] = g
    expected = square_of(x, dense, L2Decay(0.1), AdaptiveClip(0.2))
    actual = update(x, ([1, 4], g), init(x, transforms=(L2Decay(0.1), AdaptiveClip(0.2)), sparse_decay="whole"))
    np.testing.assert_allclose(actual[1].slots[0][0], expected, rtol=1e-14)
    rows = square_of(x, dense, AdaptiveClip(0.2), rule=RowAdagrad())
    np.testing.assert_allclose(rows, np.mean(square_of(x, dense, AdaptiveClip(0.2)), axis=1), rtol=1e-14)
    z, w = x[:, :2] + 1j * x[:, 1:], dense[:, :2] + 1j * dense[:, 1:]
    norms, limits = np.linalg.norm(w, axis=0), 0.2 * np.linalg.norm(z, axis=0)
    expected = np.abs(w * np.minimum(limits / norms, 1)) ** 2
    np.testing.assert_allclose(square_of(z, w, AdaptiveClip(0.2), rule=Adagrad(modulus=True)), expected, rtol=1e-13)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_adaptive_clip_spreads_non_finite_values_over_the_unit(bad):
    g = np.ones((2, 3))
    g[0, 1] = bad
    squares = square_of(np.ones((2, 3)), g, AdaptiveClip(0.2))
    np.testing.assert_array_equal(np.isnan(squares), [[False, True, False]] * 2)


@pytest.mark.parametrize("power", [-0.75, 0.75])
def test_adaptive_clip_of_squares_that_overflow_or_underflow(power, dtype):
    scale = float(np.finfo(dtype).max) ** power
    g = np.array([[3 * scale, 1.0], [4 * scale, 0.0]], dtype)
    x = np.array([[0.3 * scale, 1.0], [0.4 * scale, 0.0]], dtype)
    squares = square_of(x, g, AdaptiveClip(0.5, scale / 100), Rescale(1 / scale))
    np.testing.assert_allclose(squares[:, 0], [0.15**2, 0.2**2], rtol=1e-5)


def test_adaptive_clip_in_a_minimiser(rng):
    x = rng.normal(size=4)

    def jac(x):
        return 40 * x

    res = minimize_adagrad(lambda x: 20 * x @ x, x, jac=jac, transforms=(AdaptiveClip(0.1),), maxiter=4, gtol=0)
    state = init(x, transforms=(AdaptiveClip(0.1),))
    for _ in range(4):
        x, state = update(x, jac(x), state)
    np.testing.assert_allclose(res.x, x, rtol=1e-14)


def noise(x, transforms, n, zero=None):
    """Return the transformed gradients of n updates with zero gradients."""
    rule = Adagrad(eps=1.0, initial_accumulator=0.0)
    state, found = init(x, rule, transforms=transforms), []
    for _ in range(n):
        before = state.slots
        _, state = update(x, np.zeros_like(x) if zero is None else zero, state)
        found.append(np.sqrt(state.slots[0][0] - before[0][0]))
    return np.array(found)


def test_noise_is_normal_and_decays(dtype):
    sizes = noise(np.zeros(20_000, dtype), (AddNoise(0.04, 0.5, seed=3),), 5)
    for t, size in enumerate(sizes):
        deviation = 0.2 / (1 + t) ** 0.25
        assert np.sqrt(np.mean(size**2)) == pytest.approx(deviation, rel=0.03)
        assert np.mean(size) == pytest.approx(deviation * math.sqrt(2 / math.pi), rel=0.03)
        assert np.mean(size > 2 * deviation) == pytest.approx(0.0455, abs=0.006)
    x = np.zeros(20_000, dtype)
    changes = update(x, x, init(x, transforms=(AddNoise(1.0),)))
    assert abs(np.mean(np.sign(changes[0]))) < 0.03


def test_noise_depends_on_the_seed_the_update_and_the_array(dtype, tmp_path):
    x = [np.zeros(9, dtype), np.zeros(9, dtype)]
    zero = [np.zeros(9, dtype), np.zeros(9, dtype)]
    state = init(x, lr=1.0, transforms=(AddNoise(1.0, seed=5),))
    one, state = update(x, zero, state)
    two, _ = update(one, zero, state)
    state.save(tmp_path / "state.npz")
    again, _ = update(one, zero, load_state(tmp_path / "state.npz"))
    other, _ = update(x, zero, init(x, lr=1.0, transforms=(AddNoise(1.0, seed=6),)))
    for k in range(2):
        np.testing.assert_array_equal(two[k], again[k])
    steps = [one[0], one[1], two[0] - one[0], other[0]]
    for a in range(4):
        for b in range(a):
            assert np.abs(np.sign(steps[a]) - np.sign(steps[b])).max() > 0 or not np.allclose(steps[a], steps[b])
    in_place, state = [array.copy() for array in x], init(x, lr=1.0, transforms=(AddNoise(1.0, seed=5),))
    for _ in range(2):
        update(in_place, zero, state, out=(in_place, state))
    for k in range(2):
        np.testing.assert_array_equal(in_place[k], two[k])


def test_noise_before_accumulation_is_new_for_each_gradient():
    x = np.zeros(1000)
    before = noise(x, (AddNoise(1.0, 0.0), Accumulate(4)), 8)[7]
    after = noise(x, (Accumulate(4), AddNoise(1.0, 0.0)), 8)[7]
    assert np.std(before) < 0.7 * np.std(after)
    assert np.sqrt(np.mean(before**2)) == pytest.approx(0.5, rel=0.1)


def test_noise_of_a_sparse_gradient_is_added_to_the_listed_coordinates():
    x = np.zeros(50)
    sparse = update(x, ([3, 7], [0.0, 0.0]), init(x, lr=1.0, transforms=(AddNoise(1.0),)))[0]
    dense = update(x, x, init(x, lr=1.0, transforms=(AddNoise(1.0),)))[0]
    assert np.flatnonzero(sparse).tolist() == [3, 7]
    np.testing.assert_array_equal(sparse[[3, 7]], dense[[3, 7]])
    z = np.zeros(5, np.complex128)
    changed = update(z, z, init(z, lr=1.0, transforms=(AddNoise(1.0),)))[0]
    assert len({*np.abs(changed.real), *np.abs(changed.imag)}) >= 1
    res = minimize_adagrad(lambda x: x @ x, [1.0], jac=lambda x: 2 * x, transforms=(AddNoise(0.1),), maxiter=3, gtol=0)
    same = minimize_adagrad(lambda x: x @ x, [1.0], jac=lambda x: 2 * x, transforms=(AddNoise(0.1),), maxiter=2, gtol=0)
    same = minimize_adagrad(lambda x: x @ x, same.x, jac=lambda x: 2 * x, state=same.state, maxiter=1, gtol=0)
    np.testing.assert_array_equal(res.x, same.x)


def test_zero_nan(dtype):
    g = np.array([np.nan, 2.0, -np.nan, 0.0], dtype)
    np.testing.assert_array_equal(square_of(np.zeros(4, dtype), g, ZeroNaN()), [0, 4, 0, 0])
    state = init(np.zeros(2, dtype), transforms=(ZeroNaN(), ClipNorm(1.0)))
    assert np.isnan(update(np.zeros(2, dtype), np.array([np.inf, 1], dtype), state)[0]).all()


# --- choices of arrays ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choose", [Only, Except])
@pytest.mark.parametrize("record", [ClipNorm(1.0), ClipRMS(0.5), AdaptiveClip(0.1), AddNoise(1.0)])
def test_several_arrays_with_a_transform_for_some(choose, record):
    """Each array has its own norm, also if several small ones are updated in one pass."""
    match = "w" if choose is Only else "b"
    x = {"w1": np.full(2, 0.5), "w2": np.full(2, 0.25), "b": np.ones(2)}
    g = {"w1": np.array([3.0, 4.0]), "w2": np.array([30.0, 40.0]), "b": np.array([3.0, 4.0])}
    together, in_place = init(x, transforms=(choose(record, match),)), init(x, transforms=(choose(record, match),))
    expected = init(x, transforms=(record,))
    actual, plain = update(x, g, together)[0], update(x, g, init(x))[0]
    expected = update(x, g, expected)[0]
    target = {key: array.copy() for key, array in x.items()}
    update(target, g, in_place, out=(target, in_place))
    for key in x:
        np.testing.assert_array_equal(actual[key], (plain if key == "b" else expected)[key])
        np.testing.assert_array_equal(target[key], actual[key])


def test_a_function_chooses_arrays(tmp_path):
    x, g = {"w": np.ones(2), "b": np.ones(2)}, {"w": np.zeros(2), "b": np.zeros(2)}
    state = init(x, lr=0.5, transforms=(Only(L2Decay(0.1), lambda path: "w" in path),))
    changed = update(x, g, state)[0]
    assert (changed["w"].round(6).tolist(), changed["b"].tolist()) == ([0.5, 0.5], [1.0, 1.0])
    with pytest.raises(ValueError, match="is a Python function, which cannot be saved"):
        state.save(tmp_path / "state.npz")
    with pytest.raises(TypeError, match=r"Only\.match: got <class 'str'>; must be a regular expression, a tuple"):
        init(x, transforms=(Only(L2Decay(0.1), str),))


EXTREME = {
    # squares overflow
    "large": {np.float32: [3e19, -4e19, 0.0, 1.0], np.float64: [3e200, -4e200, 0.0, 1.0]},
    # squares underflow
    "small": {np.float32: [3e-30, -4e-30, 0.0, 0.0], np.float64: [3e-200, -4e-200, 0.0, 0.0]},
}


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("size", EXTREME)
@pytest.mark.parametrize("record", [ClipNorm, ClipGlobalNorm])
def test_clip_norm_of_gradients_whose_squares_overflow_or_underflow(record, size, dtype):
    g = np.array(EXTREME[size][dtype.type], dtype)
    norm = 5 * abs(float(g[0])) / 3
    bound = norm / 8 if size == "small" else 0.5
    x = np.zeros(4, dtype)
    state = init(x, Adagrad(eps=1.0, initial_accumulator=0.0), lr=1.0, transforms=(record(bound), Rescale(1 / bound)))
    x_new, state = update(x, g, state)
    clipped = np.array([0.6, -0.8, g[2] / norm, g[3] / norm])
    np.testing.assert_allclose(x_new, -clipped / (1 + np.abs(clipped)), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_the_norm_of_a_finite_gradient_is_finite(dtype):
    """A norm beyond the largest number counts as that number."""
    largest = np.finfo(dtype).max
    g = np.array([largest, -largest, 1.0], dtype)
    for transform_of in (ClipNorm, ClipGlobalNorm):
        x, g_list = [np.zeros(3, dtype), np.zeros(3, dtype)], [g, g]
        state = init(x, Adagrad(eps=1.0), lr=1.0, transforms=(transform_of(0.5), Rescale(2.0)))
        for changed in update(x, g_list, state)[0]:
            np.testing.assert_allclose(changed, [-0.5, 0.5, 0.0], rtol=4 * np.finfo(dtype).eps, atol=1e-37)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_clip_norm_of_large_gradients_in_a_compiled_loop():
    from adagrad_nb import minimize_adagrad
    from adagrad_nb.testing import Quadratic

    options = {"lr": 1.0, "transforms": (ClipNorm(1.0),), "maxiter": 1, "gtol": 0}
    steep = Quadratic(np.array([3e19, 4e19]), np.zeros(2))
    for dtype in (np.float32, np.float64):
        x = minimize_adagrad(steep, np.ones(2, dtype), **options).x
        np.testing.assert_allclose(x, 1 - np.ones(2), atol=1e-6)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_not_a_number_propagates(name):
    assert math.isnan(transform(CASES[name][0], 1.0, math.nan, 0.5)[1])


DOMAINS = [
    (Rescale(math.inf), r"Rescale\.by: got inf; must be a number in \(-inf, inf\)"),
    (ClipValue(0.0), r"ClipValue\.bound: got 0\.0; must be a number in \(0, inf\)"),
    (ClipNorm(-1.0), r"ClipNorm\.bound: got -1\.0; must be a number in \(0, inf\)"),
    (L2Decay(math.nan), r"L2Decay\.strength: got nan; must be a number in \[0, inf\)"),
    (ClipRMS(0.0), r"ClipRMS\.bound: got 0\.0; must be a number in \(0, inf\)"),
    (AdaptiveClip(-1.0), r"AdaptiveClip\.ratio: got -1\.0; must be a number in \(0, inf\)"),
    (AddNoise(-1.0), r"AddNoise\.variance: got -1\.0; must be a number in \[0, inf\)"),
    (AddNoise(1.0, seed=-1), r"AddNoise\.seed: got -1; must be an integer of at least 0"),
    (DecoupledDecay(-0.1), r"DecoupledDecay\.strength: got -0\.1; must be a number in \[0, inf\)"),
]


@pytest.mark.parametrize(("record", "message"), DOMAINS, ids=str)
def test_domain(record, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        init(np.zeros(2), transforms=(Rescale(1.0), record))


def test_adaptive_clip_of_an_array_without_entries():
    assert square_of(np.zeros((3, 0)), np.zeros((3, 0)), AdaptiveClip()).shape == (3, 0)


def test_adaptive_clip_takes_at_most_four_axes():
    with pytest.raises(ValueError, match=r"^x: has 5 axes; AdaptiveClip takes arrays of at most four"):
        init(np.zeros((2, 1, 1, 1, 2)), transforms=(AdaptiveClip(),))


@pytest.mark.parametrize("bad", [ClipNorm(1.0), "clip", None, 3, (1.0,), (ClipNorm,), (Adagrad(),)], ids=str)
def test_kind(bad):
    with pytest.raises(TypeError, match=r"^transforms: "):
        init(np.zeros(2), transforms=bad)
