"""Transforms: the effect of each on a gradient, and their order."""

import functools
import math

import numpy as np
import pytest
import reference

from adagrad_nb import Adagrad, ClipGlobalNorm, ClipNorm, ClipValue, DecoupledDecay, L2Decay, Rescale, init, update
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
    (DecoupledDecay(-0.1), r"DecoupledDecay\.strength: got -0\.1; must be a number in \[0, inf\)"),
]


@pytest.mark.parametrize(("record", "message"), DOMAINS, ids=str)
def test_domain(record, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        init(np.zeros(2), transforms=(Rescale(1.0), record))


@pytest.mark.parametrize("bad", [ClipNorm(1.0), "clip", None, 3, (1.0,), (ClipNorm,), (Adagrad(),)], ids=str)
def test_kind(bad):
    with pytest.raises(TypeError, match=r"^transforms: "):
        init(np.zeros(2), transforms=bad)
