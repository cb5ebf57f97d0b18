"""Updates through each kernel, compared with the formulas of the papers; properties that hold for all of them."""

import copy
import functools
import itertools
import textwrap
import tracemalloc
import warnings
from typing import NamedTuple

import numba
import numpy as np
import pytest
import reference
import scipy.sparse
from scipy.optimize import Bounds

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Accumulate,
    Adadelta,
    Adagrad,
    Bounded,
    Box,
    ClipGlobalNorm,
    ClipNorm,
    ClipValue,
    Constant,
    DecoupledDecay,
    ElasticNet,
    InverseSqrt,
    L2Decay,
    MomentumAdagrad,
    NonNegative,
    OnlineToBatch,
    Polyak,
    PowerFTRL,
    Rescale,
    RowAdagrad,
    SkipNonFinite,
    catch_up,
    init,
    minimize_adagrad,
    update,
)
from adagrad_nb.compiler.jit import compiled_for
from adagrad_nb.optim.kernels import array_update
from adagrad_nb.optim.kernels.reductions import resolve_norms

needs_compiler = pytest.mark.compiled_only("is about compiled code")

# --- the matrix --------------------------------------------------------------------------------------------------

RULES = {
    "outside": (Adagrad(eps=0.1), functools.partial(reference.of_adagrad, eps=0.1), (0.0,)),
    "inside": (Adagrad(0.1, inside=True), functools.partial(reference.of_adagrad, eps=0.1, inside=True), (0.0,)),
    "initial": (Adagrad(0.0, initial_accumulator=0.5), functools.partial(reference.of_adagrad, eps=0.0), (0.5,)),
}
OTHER_RULES = {
    "momentum": (
        MomentumAdagrad(0.8, eps=0.1, initial_accumulator=0.2),
        functools.partial(reference.momentum_adagrad, momentum=0.8, eps=0.1),
        (0.2, 0.0),
    ),
    "adadelta": (Adadelta(0.8, eps=0.1), functools.partial(reference.adadelta, rho=0.8, eps=0.1), (0.0, 0.0)),
}
DUAL_RULES = {
    "rda": (RDA(), reference.rda, (0.0, 0.0)),
    "rda with eps and initial": (
        RDA(0.1, initial_accumulator=0.3), functools.partial(reference.rda, eps=0.1, initial=0.3), (0.3, 0.0),
    ),
    "ftrl": (FTRL(0.5, l1=0.2, l2=0.3), functools.partial(reference.ftrl, beta=0.5, l1=0.2, l2=0.3), (0.0, 0.0)),
    "power ftrl": (
        PowerFTRL(0.7, 0.5, 0.1, 0.2, 0.3, 0.1),
        functools.partial(reference.ftrl, beta=0.5, l1=0.1, l2=0.2, initial=0.3, shrinkage=0.1, power=0.7),
        (0.3, 0.0),
    ),
}  # fmt: skip
TRANSFORMS = {
    "raw": ((), ()),
    "all": (
        (Rescale(1.5), ClipValue(1.2), L2Decay(0.3), ClipNorm(1.1), DecoupledDecay(0.2)),
        (
            functools.partial(reference.rescale, by=1.5),
            functools.partial(reference.clip_value, bound=1.2),
            functools.partial(reference.l2_decay, strength=0.3),
            functools.partial(reference.clip_norm, bound=1.1),
            functools.partial(reference.decoupled_decay, strength=0.2),
        ),
    ),
}
PENALTIES = {
    "none": (None, reference.no_prox),
    "l1": (L1(0.2), lambda x, w: reference.l1_prox(x, w, 0.2)),
    "l2": (L2(0.2), lambda x, w: reference.l2_prox(x, w, 0.2)),
    "elastic": (ElasticNet(0.2, 0.3), lambda x, w: reference.elastic_net_prox(x, w, 0.2, 0.3)),
    "box": (Box(-0.4, 0.7), lambda x, w: reference.box_prox(x, w, -0.4, 0.7)),
    "nonnegative": (NonNegative(), lambda x, w: max(x, 0.0)),
    "bounded": (
        Bounded(L1(0.2), -0.4, 0.7),
        lambda x, w: reference.box_prox(reference.l1_prox(x, w, 0.2), w, -0.4, 0.7),
    ),
}
N = 6
RATES = [0.5, 0.25, 0.4]


def backend_of_kernel(kernel_of):
    """Return a backend that calls one of the dense kernels directly."""

    def run(x, gradients, options):
        x, state = x.copy(), init(x, lr=1.0, **options)
        leaf = state.leaves[0]
        for t, (g, rate) in enumerate(zip(gradients, RATES, strict=True)):
            lr = x.dtype.type(rate)
            records = leaf.update
            if leaf.needs_reduction:
                transforms = resolve_norms(records.transforms, leaf.resolved_prefix, array_update.ALL, x, g, lr)
                records = records._replace(transforms=transforms)
            kernel_of(leaf)(records, array_update.ALL, x, g, leaf.flat_slots, lr, t)
        return x, np.array(state.slots[0])

    return run


def backend_of_update(convert, shape=(N,)):
    """Return a backend that calls `update` with the gradient in some form."""

    def run(x, gradients, options):
        x = x.reshape(shape)
        state = init(x, lr=1.0, **options)
        for g, rate in zip(gradients, RATES, strict=True):
            x, state = update(x, convert(g), state, lr=rate)
        return x.ravel(), np.array([slot.ravel() for slot in state.slots[0]])

    return run


BACKENDS = {
    "python": backend_of_kernel(lambda leaf: array_update.update_coordinates),
    "serial": backend_of_update(lambda g: g),
    "threaded": backend_of_kernel(lambda leaf: compiled_for(array_update.threaded, leaf.uncast_update)),
    "sparse": backend_of_update(lambda g: (np.arange(N), g)),
    "rows": backend_of_update(lambda g: (np.arange(3), g.reshape(3, 2)), (3, 2)),
}


def check(rules, backend, transforms, penalty, dtype, tolerance, rng, dual=False):
    x = rng.normal(size=N).astype(dtype)
    gradients = (rng.normal(size=(3, N)) * 1.5).astype(dtype)
    gradients[:, 2] = 0.0
    records, functions = TRANSFORMS[transforms]
    record, prox = PENALTIES[penalty]
    for rule, formula, first in rules:
        expected = reference.steps(
            x, gradients, RATES, rule=formula, first=first, transforms=functions, prox=prox, dual=dual
        )
        options = {"rule": rule, "transforms": records, "penalty": record}
        x_new, s = BACKENDS[backend](x.copy(), gradients, options)
        assert x_new.dtype == s.dtype == dtype
        np.testing.assert_allclose(x_new, expected[0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(s, expected[1], rtol=tolerance, atol=tolerance)


# All kernels share the update of a coordinate.  So only "python" and "serial" are tested with all penalties, the others
# with none, with a record and with a nested record.
MATRIX = [
    (backend, transforms, penalty)
    for backend, transforms, penalty in itertools.product(BACKENDS, TRANSFORMS, PENALTIES)
    if backend in ("python", "serial") or penalty in ("none", "elastic", "bounded")
]


@pytest.mark.parametrize(("backend", "transforms", "penalty"), MATRIX)
def test_matrix(backend, transforms, penalty, dtype, tolerance, rng):
    check(RULES.values(), backend, transforms, penalty, dtype, tolerance, rng)


@pytest.mark.parametrize("rule", OTHER_RULES)
@pytest.mark.parametrize("backend", ["python", "serial", "sparse", "rows"])
def test_other_rules(backend, rule, dtype, tolerance, rng):
    check([OTHER_RULES[rule]], backend, "raw", "elastic", dtype, tolerance, rng)


@pytest.mark.parametrize(("backend", "penalty"), [(b, p) for b, _, p in MATRIX if _ == "raw"])
def test_dual_rules(backend, penalty, dtype, tolerance, rng):
    check(DUAL_RULES.values(), backend, "raw", penalty, dtype, tolerance, rng, dual=True)


def test_backends_agree_to_the_bit(dtype, rng):
    """All backends round alike, except for norms, whose terms may be summed in any order."""
    x, gradients = rng.normal(size=N).astype(dtype), rng.normal(size=(3, N)).astype(dtype)
    records = tuple(record for record in TRANSFORMS["all"][0] if not hasattr(record, "scale_for_norm"))
    for transforms in ((), records):
        options = {"rule": Adagrad(eps=0.1), "transforms": transforms, "penalty": PENALTIES["bounded"][0]}
        results = [backend(x.copy(), gradients, options) for backend in BACKENDS.values()]
        for x_new, G in results[1:]:
            np.testing.assert_array_equal(x_new, results[0][0])
            np.testing.assert_array_equal(G, results[0][1])


@needs_compiler
def test_large_arrays_are_updated_in_threads(monkeypatch, rng):
    x, g = rng.normal(size=array_update.PARALLEL_FROM + 3), rng.normal(size=array_update.PARALLEL_FROM + 3)
    expected = x - 0.5 * g / (np.abs(g) + 1e-10)
    for threads in (1, 4):
        monkeypatch.setattr("adagrad_nb.optim.leaf.num_threads", lambda threads=threads: threads)
        state = init(x)
        np.testing.assert_allclose(update(x, g, state)[0], expected, rtol=1e-12)
        assert next(iter(state.leaves[0].cache))[:2] == ("dense", threads > 1)


LARGE_RULES = [Adagrad(), Adagrad(0.0, inside=True), RowAdagrad(), MomentumAdagrad(0.0), Adadelta(), RDA(), FTRL()]


@pytest.mark.parametrize("rule", LARGE_RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("size", [2.0**62, 2.0**66, 2.0**100])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_gradients_whose_squares_overflow_do_not_stop_a_coordinate(rule, size, is_sparse, dtype):
    """The accumulators stay finite, and the steps have the length of any first steps."""
    size = dtype.type(size if dtype == np.float32 else size**8)
    state, x = init(np.zeros(2, dtype), rule, lr=0.5), np.zeros(2, dtype)
    ordinary, _ = update(x, np.full(2, 3, dtype), init(x, rule, lr=0.5))
    for sign in (1, -1, 1):
        before, g = x, np.array([sign * size, 0], dtype)
        x, state = update(x, ([0], g[:1]) if is_sparse else g, state)
        assert np.sign(before[0] - x[0]) == sign
        assert np.isfinite(x).all()
        assert all(np.isfinite(slot).all() for slot in state.slots[0])
        if state.t == 1:
            np.testing.assert_allclose(x[0], ordinary[0], rtol=0.4)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # where nothing is compiled
@pytest.mark.parametrize("size", [np.inf, -np.inf, np.nan])
def test_gradients_that_are_not_finite_are_not_limited(size):
    x, state = update(np.ones(2), np.array([size, 1.0]), init(np.ones(2)))
    assert np.isnan(x[0])
    assert x[1] == pytest.approx(0.5)
    assert not np.isfinite(state.slots[0][0][0])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"rule": Adagrad(initial_accumulator=1e39)}, "Adagrad.initial_accumulator"),
        ({"rule": Adadelta(eps=1e39)}, "Adadelta.eps"),
        ({"penalty": Bounded(L1(1e39), -1, 1)}, "L1.strength"),
        ({"penalty": L2(np.array([1.0, 1e39]))}, "L2.strength"),
    ],
)
def test_options_that_overflow_in_single_precision(options, name):
    with pytest.raises(ValueError, match=rf"^{name}: got .*1\.?e\+39.*; must be finite in float32"):
        init(np.ones(2, np.float32), **options)
    init(np.ones(2), **options)


def test_masked_gradients_are_refused():
    """NumPy would convert them to the numbers behind the mask."""
    x = np.ones(2)
    state = init(x)
    with pytest.raises(ValueError, match=r"^g: entry 0 is masked; replace masked entries"):
        update(x, np.ma.masked_array(np.ones(2), [True, False]), state)
    moved, _ = update(x, np.ma.masked_array(np.ones(2), [False, False]), state)
    np.testing.assert_allclose(moved, 0.5)


MASKED = np.ma.masked_array(np.ones(2), [False, True])


@pytest.mark.parametrize(
    ("name", "options"),
    [("lr", {"lr": MASKED}), ("L1.strength", {"penalty": L1(MASKED)}), ("lr_scale", {"lr_scale": MASKED})],
)
def test_masked_options_are_refused(name, options):
    with pytest.raises(ValueError, match=rf"^{name}: entry 1 is masked"):
        init(np.ones(2), **options)


def test_masked_bounds_are_refused():
    bounds = Bounds(0, 1)
    bounds.lb = MASKED
    with pytest.raises(ValueError, match=r"^bounds: lower: entry 1 is masked"):
        minimize_adagrad(lambda x: x @ x, np.ones(2), bounds=bounds)


class WeightByIndex(NamedTuple):
    """Penalty and transform of a user whose methods depend on the coordinate."""

    def value(self, x, i):
        return x - x

    def prox(self, x, w, i):
        return x * (i + 1)

    def transform_at(self, x, g, lr, i):
        return x, g * (i + 1)

    def transform(self, x, g, lr):
        return x, g


@pytest.mark.parametrize("options", [{"penalty": WeightByIndex()}, {"transforms": (WeightByIndex(),)}], ids=str)
@pytest.mark.parametrize("in_place", [False, True])
def test_users_records_see_the_coordinate_of_the_array(options, in_place):
    """In a group of small arrays, too, whose kernel takes one vector."""
    x, g = [np.ones(2), np.ones(3)], [np.full(2, 0.5), np.full(3, 0.5)]
    state = init(x, lr=0.1, rule=Adagrad(eps=1.0), **options)
    expected = [
        update(xk, gk, init(xk, lr=0.1, rule=Adagrad(eps=1.0), **options))[0] for xk, gk in zip(x, g, strict=True)
    ]
    moved, _ = update(x, g, state, out=(x, state) if in_place else None)
    for k in range(2):
        assert_same(moved[k], expected[k])


@pytest.mark.parametrize(
    ("made_for", "given"), [(np.complex128, np.float64), (np.float16, np.float32), (np.float32, np.float16)]
)
@pytest.mark.parametrize("in_place", [False, True])
def test_an_array_of_another_dtype_is_refused(made_for, given, in_place):
    x = np.ones(3, given)
    state = init(np.ones(3, made_for))
    with pytest.raises(ValueError, match=rf"^x: got {np.dtype(given)} of shape \(3,\); the state was made for"):
        update(x, np.ones(3, given), state, out=(x, state) if in_place else None)
    assert np.all(x == 1)
    assert state.t == 0


# --- arrays without gradient -------------------------------------------------------------------------------------

WITHOUT = {
    "plain": {},
    "clips": {"transforms": (ClipNorm(1.0), ClipGlobalNorm(2.0))},
    "decay of whole arrays": {"transforms": (DecoupledDecay(0.1),), "sparse_decay": "whole"},
    "refused decay": {"transforms": (L2Decay(0.1),), "sparse_decay": "refuse"},
    "lazy decay": {"transforms": (DecoupledDecay(0.1),), "sparse_decay": "lazy"},
    "rows": {"rule": RowAdagrad()},
    "penalty": {"penalty": L1(0.1)},
    "sequential": {"duplicates": "sequential"},
    "gate": {"transforms": (SkipNonFinite(),)},
}


@pytest.mark.parametrize("name", WITHOUT)
@pytest.mark.parametrize("in_place", [False, True])
def test_an_array_without_gradient_is_unchanged(name, in_place, dtype, rng):
    x = {"a": rng.normal(size=(4, 3)).astype(dtype), "b": rng.normal(size=5).astype(dtype), "c": np.ones(3, dtype)}
    options = WITHOUT[name] | ({} if name == "lazy decay" else {"average": Polyak()})
    state = init(x, **options)
    twin = {key: x[key].copy() for key in "bc"}
    twin_state = init(twin, **options)
    before, mean = x["a"].copy(), copy.copy(state.means[0])
    for t in range(3):
        g = {"a": None, "b": rng.normal(size=5).astype(dtype), "c": rng.normal(size=3).astype(dtype)}
        if t == 1:
            g["b"] = None
        x, state = update(x, g, state, out=(x, state) if in_place else None)
        twin, twin_state = update(twin, {key: g[key] for key in "bc"}, twin_state)
    np.testing.assert_array_equal(x["a"], before)
    np.testing.assert_array_equal(state.means[0], mean)
    assert not np.any(state.slots[0][0])
    for key in "bc":
        np.testing.assert_array_equal(x[key], twin[key])
    assert state.t == 3
    if name == "lazy decay":
        np.testing.assert_array_equal(catch_up(x, state)[0]["a"], before)


def test_an_array_without_gradient_accumulates_zeros():
    x = [np.zeros(2), np.zeros(2)]
    state = init(x, Adagrad(eps=1.0), transforms=(Accumulate(2),))
    for g in ([None, np.ones(2)], [np.full(2, 4.0), None]):
        x, state = update(x, g, state)
    np.testing.assert_array_equal([slots[0] for slots in state.slots], [[4, 4], [0.25, 0.25]])


@pytest.mark.parametrize("g", [None, [None, None]])
def test_a_step_without_any_gradient_is_refused(g):
    x = np.ones(2) if g is None else [np.ones(2), np.ones(2)]
    with pytest.raises(ValueError, match=r"^g: is None for all arrays; call update only if there is a gradient"):
        update(x, g, init(x))


# --- shared memory -----------------------------------------------------------------------------------------------


def one_step(x, g):
    """Return x after one step of Adagrad from fresh accumulators with lr=0.5, and copies of the arguments before it."""
    return x - 0.5 * g / (np.abs(g) + 1e-10)


@pytest.mark.parametrize("n", [5, 300] if numba.config.DISABLE_JIT else [5, 5000, 70_000])
@pytest.mark.parametrize(
    "views",
    [
        lambda buffer: (buffer[:-1], buffer[1:]), lambda buffer: (buffer[1:], buffer[:-1]),
        lambda buffer: (buffer[::-1], buffer), lambda buffer: (buffer, buffer[::-1]), lambda buffer: (buffer, buffer),
        lambda buffer: (buffer[1:], buffer[:-1].copy()), lambda buffer: (buffer, buffer[:]),
        lambda buffer: (buffer[: buffer.size & ~1].reshape(2, -1), buffer[-(buffer.size & ~1) :].reshape(2, -1)),
    ],
)  # fmt: skip
def test_gradients_that_share_memory_with_x(n, views, rng):
    """In place and into another array, with the result for copies."""
    buffer = rng.normal(size=n)
    for use_out in (False, True):
        x, g = views(buffer.copy())
        expected = one_step(x.copy(), g.copy())
        state = init(x.copy())
        if use_out:
            state_out = init(x.copy())
            result, _ = update(x.copy(), g, state, out=(g, state_out))
            assert result is g
        else:
            result, _ = update(x, g, state, out=(x, state))
        np.testing.assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.parametrize("n", [5, 300] if numba.config.DISABLE_JIT else [5, 5000, 70_000])
def test_outputs_that_share_memory_are_refused(n, rng):
    """One array twice, and overlapping views; new arrays are made from both, and neighbours in a buffer are fine."""
    buffer = rng.normal(size=2 * n)
    before = buffer.copy()
    for x in (
        {"a": buffer, "b": buffer}, {"a": buffer[: n + 1], "b": buffer[n - 1 :]}, {"a": buffer[:n], "b": buffer},
        {"a": buffer.reshape(2, n), "b": buffer[n:]},
    ):  # fmt: skip
        g = {name: np.ones_like(array) for name, array in x.items()}
        state = init(x)
        for out in ((x, state), (x, init(x))):
            with pytest.raises(ValueError, match=r"^out: x\['a'\] and x\['b'\]: share memory"):
                update(x, g, state, out=out)
        np.testing.assert_array_equal(buffer, before)
        assert state.t == 0
        moved, _ = update(x, g, state)
        np.testing.assert_allclose(moved["b"], one_step(x["b"], g["b"]))
    x = {"a": buffer[:n], "b": buffer[n:]}
    state = init(x)
    for _ in range(2):
        update(x, {"a": np.ones(n), "b": np.ones(n)}, state, out=(x, state))
    np.testing.assert_allclose(buffer, before - 0.5 - 0.5 / np.sqrt(2), atol=1e-9)


# --- properties --------------------------------------------------------------------------------------------------


def assert_same(a, b):
    np.testing.assert_array_equal(a, b)
    assert a.dtype == b.dtype


def test_a_sparse_gradient_equals_a_dense_one_with_zeros(dtype, rng):
    x = rng.normal(size=9).astype(dtype)
    a, b = (x, init(x)), (x, init(x))
    for _ in range(4):
        where = np.sort(rng.choice(9, 4, replace=False))
        g = np.zeros(9, dtype)
        g[where] = rng.normal(size=4)
        a, b = update(a[0], g, a[1]), update(b[0], (where, g[where]), b[1])
    assert_same(a[0], b[0])
    assert_same(a[1].slots[0][0], b[1].slots[0][0])


def test_unlisted_coordinates_are_unchanged(rng):
    """The penalty acts on the listed coordinates only, too."""
    x = rng.normal(size=5) + 3
    x_new, state = update(x, ([1, 3], [0.5, -0.5]), init(x, penalty=L1(0.1), transforms=(L2Decay(0.1),)))
    assert_same(x_new[[0, 2, 4]], x[[0, 2, 4]])
    assert (x_new[[1, 3]] != x[[1, 3]]).all()
    assert_same(state.slots[0][0] != 0, np.array([False, True, False, True, False]))


def test_duplicates_are_summed_before_squaring(dtype, rng):
    x = rng.normal(size=5).astype(dtype)
    listed = update(x, ([3, 1, 3, 1, 3], np.array([1.0, 5.0, 2.0, -4.0, 4.0], dtype)), init(x))
    summed = update(x, ([1, 3], np.array([1.0, 7.0], dtype)), init(x))
    assert_same(listed[0], summed[0])
    assert_same(listed[1].slots[0][0], summed[1].slots[0][0])
    assert listed[1].slots[0][0][3] == 49.0


def test_duplicate_rows_are_summed(rng):
    x = rng.normal(size=(4, 3))
    rows = rng.normal(size=(3, 3))
    listed = update(x, ([2, 0, 2], rows), init(x))[0]
    assert_same(listed, update(x, ([0, 2], np.array([rows[1], rows[0] + rows[2]])), init(x))[0])


def test_permuting_coordinates_commutes(rng):
    x, g, order = rng.normal(size=7), rng.normal(size=(3, 7)), rng.permutation(7)
    strength, lr = rng.uniform(size=7), rng.uniform(size=7)

    def run(x, g, strength, lr):
        state = init(x, lr=lr, penalty=L1(strength), transforms=(ClipValue(0.9),))
        for gt in g:
            x, state = update(x, gt, state)
        return x

    assert_same(run(x[order], g[:, order], strength[order], lr[order]), run(x, g, strength, lr)[order])


def test_a_zero_gradient_changes_nothing(dtype, rng):
    x = rng.normal(size=5).astype(dtype)
    for eps, inside in itertools.product([0.0, 1e-10, 0.1], [False, True]):
        x_new, state = update(x, np.zeros(5, dtype), init(x, Adagrad(eps, inside)))
        assert_same(x_new, x)
        assert_same(state.slots[0][0], np.zeros(5, dtype))


def test_nan_affects_its_coordinate_only(rng):
    x, g = rng.normal(size=5), rng.normal(size=5)
    g[2] = np.nan
    x_new, state = update(x, g, init(x, penalty=L1(0.1)))
    assert_same(np.isnan(x_new), np.arange(5) == 2)
    assert_same(np.isnan(state.slots[0][0]), np.arange(5) == 2)


# --- new arrays and out= -----------------------------------------------------------------------------------------

OPTIONS = [
    {},
    {"lr": np.linspace(0.1, 0.6, 6)},
    {"lr": InverseSqrt(0.5)},
    {"average": Polyak(1)},
    {"penalty": L1(0.1), "transforms": (ClipNorm(1.0),)},
]


def snapshot(x, state):
    """Return all bits of x and state."""
    leaves = x.values() if isinstance(x, dict) else [x]
    arrays = [np.array(leaf) for leaf in leaves]
    arrays += [np.array(slot) for slots in state.slots for slot in slots]
    arrays += [np.array(mean) for mean in state.means if mean is not None]
    return [(a.dtype, a.shape, a.tobytes()) for a in arrays] + [(state.t, repr(state))]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
@pytest.mark.parametrize("gradient_form", ["dense", "sparse"])
def test_out_gives_the_same_as_new_arrays(options, gradient_form, dtype, rng):
    x = rng.normal(size=6).astype(dtype)
    gradients = [rng.normal(size=6).astype(dtype) for _ in range(4)]
    if gradient_form == "sparse":
        gradients = [([4, 0], g[[4, 0]]) for g in gradients]
    new = (x, init(x, **options))
    in_place = (x.copy(), init(x, **options))
    other = (np.zeros_like(x), init(x, lr=9.0))
    for g in gradients:
        before = snapshot(*new)
        after = update(*new[:1], g, new[1])
        assert snapshot(*new) == before  # the arguments are unchanged
        returned = update(in_place[0], g, in_place[1], out=in_place)
        assert returned[0] is in_place[0]
        assert returned[1] is in_place[1]
        returned = update(new[0], g, new[1], out=other)
        assert returned[0] is other[0]
        assert returned[1] is other[1]
        new = after
        assert snapshot(*new) == snapshot(*in_place) == snapshot(*other)


def test_states_share_no_memory(rng):
    x = rng.normal(size=6)
    state = init(x, average=Polyak())
    for other in (update(x, x, state)[1], state.copy(), copy.deepcopy(state)):
        assert not np.shares_memory(state.slots[0][0], other.slots[0][0])
        assert not np.shares_memory(state.means[0], other.means[0])
    assert not np.shares_memory(x, state.means[0])


def test_the_state_copies_its_options():
    """Changes of an array by the caller do not change the options."""
    x, lr, strength = np.ones(3), np.full(3, 0.1), np.full(3, 0.1)
    state = init(x, lr=lr, penalty=L1(strength))
    expected = update(x, x, state)[0]
    lr[:], strength[:] = np.nan, np.nan
    assert_same(update(x, x, state)[0], expected)


@pytest.mark.parametrize(
    "options", [{}, {"lr": 0.1, "penalty": L1(0.1)}, {"average": Polyak()}, {"lr": InverseSqrt(0.5)}], ids=str
)
def test_out_allocates_no_arrays(options):
    x, g = np.ones(40_000 if not numba.config.DISABLE_JIT else 8_000), None
    g = x * 0.5
    state = init(x, **options)
    update(x, g, state, out=(x, state))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(3):
            update(x, g, state, out=(x, state))
        assert tracemalloc.get_traced_memory()[1] - before < x.nbytes / 4
    finally:
        tracemalloc.stop()


# --- trees -------------------------------------------------------------------------------------------------------

V = np.zeros(4)
M = np.zeros((3, 2))


@pytest.mark.parametrize("kind", ["dict", "list", "tuple", "nested", "one", "empty"])
def test_trees(kind, dtype, rng):
    a, b, c = (rng.normal(size=shape).astype(dtype) for shape in ((3,), (2, 2), ()))
    tree = {
        "dict": lambda f: {"a": f(a), "b": f(b), "c": f(c)},
        "list": lambda f: [f(a), f(b), f(c)],
        "tuple": lambda f: (f(a), f(b), f(c)),
        "nested": lambda f: {"layers": [{"w": f(b), "b": f(a)}, (f(c),)], "top": f(a)},
        "one": lambda f: [f(a)],
        "empty": lambda f: {"a": f(a), "nothing": [], "c": f(c)},
    }[kind]

    def update_alone(leaf):
        y, state = leaf, init(leaf, lr=0.3)
        for k in (1, 2):
            y, state = update(y, leaf * k, state)
        return y

    x, state = tree(lambda leaf: leaf), init(tree(lambda leaf: leaf), lr=0.3)
    for k in (1, 2):
        x, state = update(x, tree(lambda leaf, k=k: leaf * dtype.type(k)), state)
    np.testing.assert_equal(x, tree(update_alone))
    in_place, state = tree(np.copy), init(tree(np.copy), lr=0.3)
    for k in (1, 2):
        out = update(in_place, tree(lambda leaf, k=k: leaf * dtype.type(k)), state, out=(in_place, state))
        assert out[0] is in_place
    np.testing.assert_equal(in_place, tree(update_alone))


def test_keys_of_the_gradient_may_be_in_any_order(rng):
    x = {"a": np.ones(2), "b": np.ones(3)}
    x_new, _ = update(x, {"b": np.full(3, 2.0), "a": np.zeros(2)}, init(x))
    np.testing.assert_equal(x_new, {"a": np.ones(2), "b": update(np.ones(3), np.full(3, 2.0), init(np.ones(3)))[0]})


def test_containers_keep_their_class():
    from collections import OrderedDict, defaultdict, namedtuple

    Pair = namedtuple("Pair", "w b")
    for x in (OrderedDict(a=V), defaultdict(list, a=V), Pair(V, np.zeros(2)), [Pair(V, V)]):
        x_new, _ = update(x, x, init(x))
        assert type(x_new) is type(x)
        np.testing.assert_equal(x_new, x)


def test_leaves_of_two_precisions(rng):
    x = [np.ones(2, np.float32), np.ones(2)]
    x_new, state = update(x, [np.ones(2), np.ones(2, np.float32)], init(x))
    assert [leaf.dtype for leaf in x_new] == [np.float32, np.float64]
    assert [slots[0].dtype for slots in state.slots] == [np.float32, np.float64]


# --- learning rates ----------------------------------------------------------------------------------------------


def test_learning_rate_of_one_step(dtype, rng):
    x, g = rng.normal(size=4).astype(dtype), rng.normal(size=4).astype(dtype)
    state = init(x, lr=0.1)
    assert_same(update(x, g, state, lr=0.7)[0], update(x, g, init(x, lr=0.7))[0])
    array = np.linspace(0.1, 0.9, 4)
    assert_same(update(x, g, state, lr=array)[0], update(x, g, init(x, lr=array))[0])
    after = update(x, g, state, lr=0.7)[1]
    assert after.lr == 0.1
    assert_same(update(x, g, after)[0], update(x, g, update(x, g, init(x, lr=0.1))[1])[0])


def test_learning_rate_per_coordinate(dtype, rng):
    x, g = rng.normal(size=(2, 3)).astype(dtype), rng.normal(size=(2, 3)).astype(dtype)
    lr = rng.uniform(size=(2, 3))
    x_new = update(x, g, init(x, lr=lr))[0]
    for i in np.ndindex(2, 3):
        update_alone = x[i].reshape(1)
        assert x_new[i] == update(update_alone, g[i].reshape(1), init(update_alone, lr=float(lr[i])))[0][0]


def test_callable_and_schedule(rng):
    x, g = rng.normal(size=4), rng.normal(size=4)
    update_numbers = []

    def rate(t):
        update_numbers.append(t)
        return 0.5 / (1 + t) ** 0.5

    a, b = (x, init(x, lr=rate)), (x, init(x, lr=InverseSqrt(0.5)))
    for _ in range(5):
        a, b = update(a[0], g, a[1]), update(b[0], g, b[1])
    np.testing.assert_allclose(a[0], b[0], rtol=1e-14)
    assert update_numbers == [0, 1, 2, 3, 4]


def test_callable_learning_rate_per_coordinate(rng):
    x, lr = rng.normal(size=4), rng.uniform(size=4)
    assert_same(update(x, x, init(x, lr=lambda t: lr))[0], update(x, x, init(x, lr=lr))[0])
    assert_same(update(x, x, init(x, lr=Constant(lr)))[0], update(x, x, init(x, lr=lr))[0])


# --- averages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 2])
def test_polyak(start, dtype, tolerance, rng):
    x = {"a": rng.normal(size=3).astype(dtype), "b": rng.normal(size=(2, 2)).astype(dtype)}
    state = init(x, average=Polyak(start))
    iterates = []
    for _ in range(6):
        x, state = update(x, {key: leaf * 2 for key, leaf in x.items()}, state)
        iterates.append(x)
        for mean, key in zip(state.means, x, strict=True):
            expected = reference.means([np.float64(it[key]) for it in iterates], start)[-1]
            np.testing.assert_allclose(mean, expected, rtol=tolerance, atol=tolerance)
            assert mean.dtype == dtype
            assert mean.shape == x[key].shape


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("transforms", [(), (ClipNorm(1.0),), (Accumulate(2),)])
def test_the_mean_of_the_points_of_the_gradients(start, transforms, dtype, tolerance, rng):
    x = {"a": rng.normal(size=3).astype(dtype), "b": rng.normal(size=(2, 2)).astype(dtype)}
    state = init(x, average=OnlineToBatch(start), transforms=transforms)
    points = []
    for _ in range(8):
        before, t = x, state.t
        x, state = update(x, {key: leaf * 2 for key, leaf in x.items()}, state)
        points += [before] * (state.t - t)  # none while gradients are accumulated
        for mean, key in zip(state.means, x, strict=True):
            if points:
                expected = reference.means([np.float64(point[key]) for point in points], start)[-1]
                np.testing.assert_allclose(mean, expected, rtol=tolerance, atol=tolerance)
    assert len(points) > 3


# --- gradients in every form -------------------------------------------------------------------------------------

FORMATS = ["csr", "csc", "coo", "lil", "dok", "dia", "bsr"]


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("kind", ["array", "matrix"])
def test_scipy_sparse(fmt, kind, rng):
    sparse = getattr(scipy.sparse, f"{fmt}_{kind}")
    g = np.zeros((4, 6))
    g[[0, 0, 2, 3, 3], [1, 4, 0, 2, 5]] = rng.normal(size=5)
    x = rng.normal(size=(4, 6))
    assert_same(update(x, sparse(g), init(x))[0], update(x, g, init(x))[0])
    row, column = x[0].copy(), x[:, 2].copy()
    assert_same(update(row, sparse(g[:1]), init(row))[0], update(row, g[0], init(row))[0])
    assert_same(update(column, sparse(g[:, 2:3]), init(column))[0], update(column, g[:, 2], init(column))[0])


def test_scipy_sparse_vectors(rng):
    g, x = np.array([0.0, 2.0, 0.0, -1.0]), rng.normal(size=4)
    for gradient_form in (scipy.sparse.coo_array, scipy.sparse.csr_array, scipy.sparse.dok_array):
        assert_same(update(x, gradient_form(g), init(x))[0], update(x, g, init(x))[0])


def test_scipy_sparse_sums_duplicates():
    g = scipy.sparse.coo_array(([1.0, 2.0, 4.0], ([0, 1, 0], [2, 0, 2])), shape=(2, 3))
    x = np.zeros((2, 3))
    assert_same(update(x, g, init(x, Adagrad(eps=1.0)))[0], update(x, g.toarray(), init(x, Adagrad(eps=1.0)))[0])
    csr = scipy.sparse.csr_array(([1.0, 4.0, 2.0], [2, 2, 0], [0, 2, 3]), shape=(2, 3))
    assert_same(update(x, csr, init(x, Adagrad(eps=1.0)))[0], update(x, g.toarray(), init(x, Adagrad(eps=1.0)))[0])


@pytest.mark.parametrize("fmt", ["csr", "csc", "bsr"])
def test_unused_entries_after_the_last_are_ignored(fmt, rng):
    """indptr may end before indices and data do."""
    x = rng.normal(size=4)
    g = getattr(scipy.sparse, f"{fmt}_array")(np.array([[1.0, 2.0, 3.0, 4.0]]))
    g.indptr[-1] = 2
    if fmt == "csc":
        g.indptr[3] = 2
    n_entries = g.data.size
    assert_same(update(x, g, init(x))[0], update(x, np.array([1.0, 2.0, 0.0, 0.0]), init(x))[0])
    assert g.data.size == n_entries  # g itself is unchanged


@pytest.mark.parametrize("index", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_rows(index, dtype, rng):
    x, rows = rng.normal(size=(5, 3)).astype(dtype), rng.normal(size=(2, 3)).astype(dtype)
    g = np.zeros((5, 3), dtype)
    g[[4, 1]] = rows
    assert_same(update(x, (np.array([4, 1], index), rows), init(x))[0], update(x, g, init(x))[0])


def test_rows_of_three_dimensions(rng):
    x, rows = rng.normal(size=(4, 2, 3)), rng.normal(size=(2, 2, 3))
    g = np.zeros((4, 2, 3))
    g[[3, 0]] = rows
    state = init(x, Adagrad(eps=1.0), transforms=(ClipNorm(0.5),), lr=rng.uniform(size=x.shape))
    np.testing.assert_allclose(update(x, ([3, 0], rows), state)[0], update(x, g, state)[0], rtol=1e-13)


@pytest.mark.parametrize("empty", [([], []), (np.zeros(0, np.int32), np.zeros(0))], ids=["lists", "arrays"])
def test_an_empty_gradient(empty, rng):
    x = rng.normal(size=4)
    x_new, state = update(x, empty, init(x, transforms=(ClipNorm(1.0),)))
    assert_same(x_new, x)
    assert state.t == 1
    matrix = rng.normal(size=(3, 2))
    assert_same(update(matrix, (empty[0], np.zeros((0, 2))), init(matrix))[0], matrix)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
def test_empty_arrays(shape):
    x = np.zeros(shape)
    for options in ({}, {"transforms": (ClipNorm(1.0),)}, {"average": Polyak()}):
        assert update(x, x, init(x, **options))[0].shape == shape


def views(a):
    """Yield copies in layouts that a kernel does not take."""
    yield a.copy(order="F")
    yield np.repeat(a, 2, axis=0)[::2]
    yield a[::-1].copy()[::-1]
    buffer = np.zeros(a.nbytes + 1, np.uint8)[1:]
    misaligned = np.frombuffer(buffer, a.dtype).reshape(a.shape)
    misaligned[...] = a
    yield misaligned


@pytest.mark.parametrize("shape", [(6,), (3, 2)])
def test_layouts(shape, dtype, rng):
    x, g = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    expected = update(x, g, init(x))[0]
    for view, other in itertools.product(views(x), views(g)):
        state = init(view)
        assert_same(update(view, other, state)[0], expected)
        returned = update(view, other, state, out=(view, state))
        assert returned[0] is view
        assert_same(view, expected)
        view[...] = x


def test_read_only_gradients(rng):
    x, g = rng.normal(size=6), rng.normal(size=6)
    expected = update(x, g, init(x))[0]
    g.flags.writeable = False
    where = np.arange(6)
    where.flags.writeable = False
    state = init(x)
    for gradient in (g, (where, g)):
        assert_same(update(x, gradient, state)[0], expected)
    x.flags.writeable = False
    assert_same(update(x, g, init(x))[0], expected)


@pytest.mark.parametrize("kind", ["i1", "i4", "i8", "u2", "f4", "f8", ">f8", ">i4"])
def test_gradients_of_any_real_kind(kind, dtype):
    x = np.array([1.0, 2.0, 3.0], dtype)
    g = np.array([3.0, 0.0, 5.0])
    expected = update(x, g, init(x))[0]
    assert_same(update(x, g.astype(kind), init(x))[0], expected)
    assert_same(update(x, (np.arange(3), g.astype(kind)), init(x))[0], expected)


@pytest.mark.parametrize("kind", ["i1", "i8", "u4"])
def test_integer_x_counts_as_float64(kind):
    x = np.array([1, 2, 3], kind)
    x_new, state = update(x, np.array([1.0, 0.0, -1.0]), init(x, Adagrad(eps=0.0)))
    assert_same(x_new, np.array([0.5, 2.0, 3.5]))
    assert x.dtype == kind
    with pytest.raises(ValueError, match=r"^out: x must be a writable array of float64; call update without out$"):
        update(x, x, state, out=(x, state))


def test_scalars_in_a_tree():
    x = {"w": np.ones(2), "b": 3.0}
    x_new, _ = update(x, {"w": np.zeros(2), "b": 1}, init(x, Adagrad(eps=0.0)))
    assert x_new["b"] == 2.5
    assert x_new["b"].shape == ()


# --- errors leave x and the state unchanged ----------------------------------------------------------------------


def broken(fmt, change):
    g = getattr(scipy.sparse, f"{fmt}_array")(np.diag([1.0, 2.0, 3.0, 4.0])[:1] + 1)
    change(g)
    return g


BAD = {
    "shape": (V, np.zeros(3), "g: got shape (3,); must have the shape of x, (4,)"),
    "scalar": (V, 1.0, "g: got shape (); must have the shape of x, (4,)"),
    "complex": (V, V * 1j, "g: got dtype complex128; must be real numbers"),
    "object": (V, np.array([None] * 4), "g: got dtype object; must be real numbers"),
    "boolean": (V, np.array([True] * 4), "g: got dtype bool; must be real numbers"),
    "text": (V, "gradient", "g: got dtype <U8"),
    "triple": (V, ([0], [1.0], [2.0]), "g: got a tuple of 3; a sparse gradient is a pair (indices, values)"),
    "outside": (V, ([0, 4], [1.0, 1.0]), "g[0]: got index 4 at position 1; must be in [0, 4)"),
    "negative": (V, ([-1, 2], [1.0, 1.0]), "g[0]: got index -1 at position 0; must be in [0, 4)"),
    "huge": (V, (np.array([2**64 - 1], np.uint64), [1.0]), "g[0]: got index -1 at position 0; must be in [0, 4)"),
    "float index": (V, ([0.0, 1.0], [1.0, 1.0]), "g[0]: got dtype float64"),
    "boolean index": (V, ([True, False], [1.0, 1.0]), "g[0]: got dtype bool"),
    "index shape": (V, ([[0], [1]], [1.0, 1.0]), "g[0]: got dtype int64 and shape (2, 1); must be a vector"),
    "lengths": (V, ([0, 1], [1.0]), "g[1]: got dtype float64 and shape (1,); must be real numbers of shape (2,)"),
    "complex values": (V, ([0], [1j]), "g[1]: got dtype complex128"),
    "row width": (M, ([0], [[1.0]]), "g[1]: got dtype float64 and shape (1, 1); must be real numbers of shape (1, 2)"),
    "row outside": (M, ([3], [[1.0, 2.0]]), "g[0]: got index 3 at position 0; must be in [0, 3)"),
    "sparse shape": (V, scipy.sparse.csr_array((1, 5)), "g: got shape (1, 5); must be a row or column of the 4"),
    "sparse matrix shape": (M, scipy.sparse.csr_array((2, 3)), "g: got shape (2, 3); must have the shape of x, (3, 2)"),
    "sparse complex": (V, scipy.sparse.csr_array(np.ones((1, 4)) * 1j), "g[1]: got dtype complex128"),
    "index of nothing": (np.float64(1.0), ([0], [1.0]), "g: got indices and values for a single number"),
    "csr index": (V, broken("csr", lambda g: g.indices.__setitem__(1, 7)), "g: malformed CSR matrix: index 7 at"),
    "csr negative": (V, broken("csr", lambda g: g.indices.__setitem__(0, -1)), "g: malformed CSR matrix: index -1 at"),
    "csr end": (V, broken("csr", lambda g: g.indptr.__setitem__(1, 5)), "g: malformed CSR matrix: indptr: ends with 5"),
    "csr start": (V, broken("csr", lambda g: g.indptr.__setitem__(0, 1)), "g: malformed CSR matrix: indptr: starts"),
    "csc falls": (V, broken("csc", lambda g: g.indptr.__setitem__(2, 9)), "g: malformed CSC matrix: indptr: falls"),
    "coo index": (V, broken("coo", lambda g: g.col.__setitem__(0, 4)), "g: malformed COO matrix: index 4 on axis 1"),
    "bsr index": (V, broken("bsr", lambda g: g.indices.__setitem__(0, 4)), "g: malformed BSR matrix: index 4"),
}


@pytest.mark.parametrize(("x", "g", "message"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("within", ["alone", "tree"])
def test_errors_change_nothing(x, g, message, within):
    x = np.array(x)
    if within == "tree":  # the error is in the second array; the first must be unchanged, too
        x, g = {"good": np.ones(2), "bad": x}, {"good": np.ones(2), "bad": g}
        message = message.replace("g", "g['bad']", 1)
    options = {"average": Polyak(), "transforms": (ClipNorm(1.0),)}
    state = init(x, **options)
    for out in (None, (x, state), (copy.deepcopy(x), init(x, **options))):
        before = snapshot(x, state), None if out is None else snapshot(*out)
        with pytest.raises((TypeError, ValueError)) as raised:
            update(x, g, state, out=out)
        assert message in str(raised.value)
        assert (snapshot(x, state), None if out is None else snapshot(*out)) == before


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (-1.0, r"lr: got -1\.0; must be"), (np.nan, "lr: got nan; must be"), ("1", "lr: got '1'; must be"),
        (True, "lr: got True"), (np.ones(3), r"lr: got shape \(3,\)"), ([0.1, -1, 1, 1], r"lr: got -1\.0 at index 1"),
    ],
    ids=str,
)  # fmt: skip
def test_an_invalid_learning_rate_changes_nothing(lr, message):
    x = np.ones(4)
    state = init(x)
    before = snapshot(x, state)
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        update(x, x, state, lr=lr, out=(x, state))
    assert snapshot(x, state) == before


@pytest.mark.parametrize("rate", [lambda t: -1.0, lambda t: np.ones(3), lambda t: "x", lambda t: 1 / t], ids=range(4))
def test_an_invalid_value_of_a_callable_changes_nothing(rate):
    x = np.ones(4)
    state = init(x, lr=rate)
    before = snapshot(x, state)
    with pytest.raises((TypeError, ValueError, ZeroDivisionError)):
        update(x, x, state, out=(x, state))
    assert snapshot(x, state) == before


STRUCTURES = {
    "missing": ({"a": V, "b": V}, {"a": V}, "g: its structure differs from that of x, which holds ['a', 'b'] here"),
    "more": ({"a": V}, {"a": V, "b": V}, "g: its structure differs"),
    "list": ({"a": V}, [V], "g: its structure differs"),
    "array": ({"a": V}, V, "g: its structure differs"),
    "deep": ([{"a": V}], [{"b": V}], "g[0]: its structure differs from that of x, which holds ['a'] here"),
    "leaf": ([V, V], [V, M], "g[1]: got shape (3, 2); must have the shape of x, (4,)"),
}


@pytest.mark.parametrize(("x", "g", "message"), STRUCTURES.values(), ids=STRUCTURES.keys())
def test_structures_differ(x, g, message):
    with pytest.raises(ValueError) as raised:
        update(x, g, init(x))
    assert message in str(raised.value)


def test_a_state_for_another_x():
    state = init(np.zeros(4))
    wrong_states = [
        np.zeros(3),
        np.zeros(4, np.float32),
        np.zeros((4, 1)),
        [np.zeros(4), np.zeros(4)],
        np.zeros(4) * 1j,
        {},
        [],
    ]
    for x in wrong_states:
        with pytest.raises((TypeError, ValueError), match=r"^(x|g)"):
            update(x, x, state)
    assert state.t == 0


class Marked(np.ndarray):
    """A subclass of ndarray."""


@pytest.mark.parametrize("kind", [np.ma.masked_array, lambda array: array.view(Marked)], ids=["masked", "own class"])
def test_subclasses_of_ndarray_give_the_same(kind, rng):
    x, g = rng.normal(size=6), rng.normal(size=6)
    expected, _ = update(x, g, init(x, Adagrad(0.25)))
    got, _ = update(kind(x), kind(g), init(kind(x), Adagrad(0.25)))
    np.testing.assert_array_equal(np.asarray(got), expected)
    subclass_array = kind(x.copy())
    state = init(subclass_array, Adagrad(0.25))  # without compiled kernels
    update(subclass_array, kind(g), state, out=(subclass_array, state))
    np.testing.assert_array_equal(np.asarray(subclass_array), expected)


def test_out_for_another_x():
    x = np.zeros(4)
    state = init(x)
    frozen = np.zeros(4)
    frozen.flags.writeable = False
    bad = [
        (np.zeros(3), state), (np.zeros(4, np.float32), state), (frozen, state), ([0.0] * 4, state),
        (x, init(np.zeros(3))), (x, init([x, x])), (np.zeros(4, np.float32), init(np.zeros(4, np.float32))),
    ]  # fmt: skip
    for out in bad:
        with pytest.raises(ValueError, match=r"^out: "):
            update(x, x + 1, state, out=out)
    assert state.t == 0
    assert not x.any()


def test_x_of_unsupported_dtype():
    for x in (np.array([None]), "x", None, np.zeros(2, ">f8"), np.zeros(2, ">c16"), np.zeros(2, np.longdouble)):
        with pytest.raises(TypeError, match=r"^x: got dtype "):
            init(x)


FUZZ = """
    import sys, warnings
    import numpy as np, scipy.sparse
    from adagrad_nb import init, update

    warnings.simplefilter("ignore")
    rng = np.random.default_rng(int(sys.argv[1]))
    n_accepted = n_rejected = 0
    for trial in range(int(sys.argv[2])):
        shape = [(1, 12), (12, 1), (3, 4)][rng.integers(3)]
        x = rng.normal(size=shape if shape == (3, 4) else 12)
        kind = ["csr", "csc", "coo", "bsr", "lil"][rng.integers(5)]
        g = scipy.sparse.random_array(shape, density=0.4, rng=rng).asformat(kind)
        parts = {"coo": ["row", "col", "data"], "lil": ["rows", "data"]}.get(kind, ["indptr", "indices", "data"])
        for _ in range(rng.integers(1, 3)):
            part = parts[rng.integers(len(parts))]
            a = np.array(getattr(g, part))
            damage = rng.integers(7)
            if kind == "lil":
                row = a[rng.integers(a.size)]
                row.append([99, -5, 2**40, 1][rng.integers(4)] if rng.random() < 0.7 or not row else row.pop())
            elif damage == 0 and a.size and a.dtype.kind == "i":
                a.flat[rng.integers(a.size)] = rng.choice([-1, -2**31, 2**31 - 1, 12, 99, 4, 3, 1, 0])
            elif damage == 1:
                a = a[: a.size // 2]
            elif damage == 2:
                a = np.concatenate([a, a])
            elif damage == 3:
                a = a.astype(rng.choice(["i1", "u8", "f4", "i8", "c16", "O"]))
            elif damage == 4:
                a = a.reshape(a.shape + (1,))
            elif damage == 5:
                a = a[::-1]
            elif damage == 6:
                a = np.zeros(0, a.dtype)
            try:
                setattr(g, part, a)
            except (AttributeError, ValueError, TypeError):
                pass
        state = init(x)
        before = x.tobytes(), state.slots[0][0].tobytes()
        try:
            x_new, after = update(x, g, state)
        except (ValueError, TypeError):
            n_rejected += 1
        else:
            n_accepted += 1
            assert np.isfinite(x_new).all() and np.abs(x_new - x).max() <= 0.5 + 1e-12, (kind, shape)
        assert (x.tobytes(), state.slots[0][0].tobytes()) == before
    print(n_accepted, n_rejected)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_corrupted_matrices_raise_or_work(seed, python):
    """In a subprocess, since a failure would be a crash."""
    n_accepted, n_rejected = map(int, python(textwrap.dedent(FUZZ), str(seed), "250").split())
    assert n_accepted > 20
    assert n_rejected > 100


def test_no_warnings_from_ordinary_updates():
    x = np.zeros(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        update(x, x, init(x, Adagrad(eps=0.0)))
