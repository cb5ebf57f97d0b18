"""Sparse gradients of device arrays, in every form and with every treatment of duplicates."""

import numpy as np
import pytest
import scipy
from host_device import SIMULATED, assert_same, copy_to_device, copy_to_host, update_on_both

from adagrad_nb import (
    L1,
    Accumulate,
    Adadelta,
    Adagrad,
    Box,
    ClipNorm,
    ClipValue,
    DecoupledDecay,
    ElasticNet,
    L2Decay,
    MomentumAdagrad,
    RowAdagrad,
    SkipNonFinite,
    init,
    update,
)
from adagrad_nb.cuda import arrays
from adagrad_nb.optim import device_gradients
from adagrad_nb.optim.device_gradients import sort_indices
from adagrad_nb.optim.device_kernels import sparse_kernels
from adagrad_nb.optim.gradients import DUPLICATES

RULES = [Adagrad(), Adagrad(1e-6, inside=True), MomentumAdagrad(0.5), Adadelta()]
TRANSFORMS = {"raw": (), "elementwise": (ClipValue(1.2), L2Decay(0.3), DecoupledDecay(0.2)), "norm": (ClipNorm(0.5),)}
PENALTIES = {"none": None, "l1": L1(0.2), "elastic": ElasticNet(0.2, 0.3), "box": Box(-0.4, 0.7)}
ULPS = 8


def lists(rng, n, width, dtype, m=7):
    """Return gradients that list coordinates, or rows of a width: sorted, unsorted, and with duplicates."""
    index_lists = [
        np.sort(rng.permutation(n)[:4]),
        rng.permutation(n)[:5],
        rng.integers(0, n, m),
        rng.integers(0, 2, m),
    ]
    shape = (width,) if width else ()
    return [(where, rng.normal(size=(where.size, *shape)).astype(dtype)) for where in index_lists]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_matrix(transforms, penalty, dtype, rng):
    x, gradients = rng.normal(size=9).astype(dtype), lists(rng, 9, 0, dtype)
    options = {"transforms": TRANSFORMS[transforms], "penalty": PENALTIES[penalty]}
    for rule in RULES if penalty in ("none", "l1") and transforms != "norm" else RULES[:1]:
        (host, host_state), (device, state) = update_on_both(x, gradients, False, rule=rule, **options)
        assert_same(device, host, ULPS)
        assert_same(state.slots[0], host_state.slots[0], 2 * ULPS)


@pytest.mark.parametrize("duplicates", DUPLICATES)
@pytest.mark.parametrize("width", [0, 3])
def test_duplicates(width, duplicates, dtype, rng):
    shape = (6, width) if width else (6,)
    x, gradients = rng.normal(size=shape).astype(dtype), lists(rng, 6, width, dtype)
    options = {"duplicates": duplicates, "transforms": (L2Decay(0.1),), "penalty": L1(0.05)}
    (host, host_state), (device, state) = update_on_both(x, gradients, True, **options)
    assert_same(device, host, ULPS)
    assert_same(state.slots[0], host_state.slots[0], 2 * ULPS)


@pytest.mark.parametrize("duplicates", [name for name in DUPLICATES if name != "simultaneous"])
def test_row_accumulators(duplicates, dtype, rng):
    x, gradients = rng.normal(size=(6, 5)).astype(dtype), lists(rng, 6, 5, dtype)
    options = {"rule": RowAdagrad(), "duplicates": duplicates, "transforms": (DecoupledDecay(0.1),)}
    (host, host_state), (device, state) = update_on_both(x, gradients, False, **options)
    assert_same(device, host, 2 * ULPS)
    assert_same(state.slots[0], host_state.slots[0], 2 * ULPS)


@pytest.mark.parametrize("width", [3, 70, 1030])
def test_rows_of_any_width(width, rng):
    """A few threads share a row, or all of a warp, or all of a block."""
    x = rng.normal(size=(5, width)).astype(np.float32)
    where = np.array([4, 1, 1, 1, 0])
    gradients = [rng.normal(size=x.shape).astype(np.float32), (where, rng.normal(size=x.shape).astype(np.float32))]
    options = {"rule": RowAdagrad(), "duplicates": "sequential"}
    (host, host_state), (device, state) = update_on_both(x, gradients, False, **options)
    assert_same(device, host, 2 * ULPS)
    assert_same(state.slots[0], host_state.slots[0], 2 * ULPS)


@pytest.mark.parametrize("rule", [Adagrad(), RowAdagrad()])
def test_scipy_sparse(rule, dtype, rng):
    x = rng.normal(size=(4, 5)).astype(dtype)
    g = scipy.sparse.random(4, 5, 0.4, "coo", dtype, np.random.default_rng(3))
    twice = scipy.sparse.coo_matrix((np.r_[g.data, g.data], (np.r_[g.row, g.row], np.r_[g.col, g.col])), (4, 5))
    for kind in (g.tocsr(), twice):
        (host, host_state), (device, state) = update_on_both(x, [kind], False, copy_gradient=lambda g: g, rule=rule)
        assert_same(device, host, ULPS)
        assert_same(state.slots[0], host_state.slots[0], 2 * ULPS)
    row = scipy.sparse.csr_matrix(([1.0, 2.0], ([0, 0], [4, 1])), (1, 6), dtype=dtype)
    (host, _), (device, _) = update_on_both(np.ones(6, dtype), [row], False, copy_gradient=lambda g: g)
    assert_same(device, host)


def test_pairs_on_the_host(dtype, rng):
    x = rng.normal(size=5).astype(dtype)
    g = [3, 1, 3], rng.normal(size=3).astype(dtype)
    (host, _), (device, _) = update_on_both(x, [g], False, copy_gradient=lambda g: g)
    assert_same(device, host)
    (_, _), (mixed, _) = update_on_both(x, [g], False, copy_gradient=lambda g: (np.array(g[0]), copy_to_device(g[1])))
    assert_same(mixed, host)


def test_a_matrix_of_cupy(dtype, rng, monkeypatch):
    """A matrix with the attributes of CuPy's: coordinates and data on the device."""
    g = scipy.sparse.random(3, 4, 0.5, "coo", dtype, np.random.default_rng(2))

    class Fake:
        shape, dtype, row, col, data = (
            g.shape,
            g.dtype,
            copy_to_device(g.row),
            copy_to_device(g.col),
            copy_to_device(g.data),
        )

        def tocoo(self):
            return self

    Fake.__module__ = "cupyx.scipy.sparse"
    x = rng.normal(size=(3, 4)).astype(dtype)
    device, _ = update(copy_to_device(x), Fake(), init(copy_to_device(x)))
    assert_same(device, update(x, g, init(x))[0])
    with pytest.raises(ValueError, match=r"^g: got shape \(3, 4\); must have the shape of x"):
        update(copy_to_device(x.T.copy()), Fake(), init(copy_to_device(x.T.copy())))


def test_values_of_half_precision(dtype, rng):
    x, where = rng.normal(size=6).astype(dtype), np.array([4, 1, 4])
    values = rng.normal(size=3).astype(np.float16)
    device, _ = update(copy_to_device(x), copy_to_device((where, values)), init(copy_to_device(x)))
    assert_same(device, update(x, (where, values.astype(dtype)), init(x))[0])


def test_32_bit_indices_and_empty_gradients(dtype, rng):
    x = rng.normal(size=6).astype(dtype)
    g = np.array([4, 1, 4], np.int32), rng.normal(size=3).astype(dtype)
    (host, _), (device, _) = update_on_both(x, [g], False)
    assert_same(device, host)
    empty = np.zeros(0, np.int64), np.zeros(0, dtype)
    assert_same(update(copy_to_device(x), empty, init(copy_to_device(x)))[0], x)


def test_gates_and_weight_decay(dtype, rng):
    x, gradients = rng.normal(size=9).astype(dtype), lists(rng, 9, 0, dtype)
    decay_options = {"sparse_decay": "whole", "transforms": (L2Decay(0.3),)}
    for options in ({"transforms": (Accumulate(2), L2Decay(0.1))}, {"transforms": (SkipNonFinite(),)}, decay_options):
        (host, host_state), (device, state) = update_on_both(x, gradients, False, **options)
        assert_same(device, host, ULPS)
        assert state.t == host_state.t
    with pytest.raises(ValueError, match=r"^g: is sparse, and sparse_decay='refuse' rejects weight decay"):
        update_on_both(x, gradients, False, sparse_decay="refuse", transforms=(L2Decay(0.3),))


@pytest.mark.parametrize(
    ("g", "message"),
    [
        (([0, 6], [1.0, 1.0]), r"^g\[0\]: got index 6 at position 1; must be in \[0, 6\)"),
        (([-1, 5], [1.0, 1.0]), r"^g\[0\]: got index -1 at position 0"),
        (([0, 1], [1.0]), r"^g\[1\]: got float64 of shape \(1,\); must be float64"),
        (([0.0], [1.0]), r"^g\[0\]: got float64 of shape \(1,\); must be a vector of int32 or int64"),
    ],
)
def test_rejected_gradients(g, message):
    x = copy_to_device(np.ones(6))
    state = init(x)
    with pytest.raises((TypeError, ValueError), match=message):
        update(x, (copy_to_device(np.array(g[0])), copy_to_device(np.array(g[1]))), state, out=(x, state))
    assert_same(x, np.ones(6))
    assert state.t == 0


@pytest.mark.parametrize(("m", "n"), [(1, 1), (16, 9), (33, 9), (45 if SIMULATED else 2500, 50)])
def test_the_sort(m, n, rng, monkeypatch):
    """Lists of one tile, of one pass and of two passes."""
    monkeypatch.setattr(device_gradients, "DIGIT_BITS", 4)
    where = rng.integers(0, n, m)
    leaf = init(copy_to_device(np.zeros(n))).leaves[0]
    sorted_, order = sort_indices(leaf, copy_to_device(where), n)
    expected = np.argsort(where, kind="stable")
    np.testing.assert_array_equal(copy_to_host(order), expected)
    np.testing.assert_array_equal(copy_to_host(sorted_), where[expected])


def test_unchecked_indices(dtype, rng, monkeypatch):
    """Without the check nothing is copied to the host, and duplicates are treated as with it."""

    def fail(*args):
        raise AssertionError("copied to the host")

    x, gradients = rng.normal(size=6).astype(dtype), lists(rng, 6, 0, dtype)
    for duplicates in DUPLICATES:
        on_device = copy_to_device(gradients)
        expected, expected_state = copy_to_device(x), init(copy_to_device(x), duplicates=duplicates)
        y, state = copy_to_device(x), init(copy_to_device(x), duplicates=duplicates)
        for g in on_device:
            update(expected, g, expected_state, out=(expected, expected_state))
            with monkeypatch.context() as patch:
                patch.setattr(arrays, "to_host", fail)
                update(y, g, state, out=(y, state), check=False)
        np.testing.assert_array_equal(copy_to_host(y), copy_to_host(expected))


def test_sums_over_many_runs(dtype, rng, monkeypatch):
    """An index with more entries than one thread sums gives the same bits each time."""
    monkeypatch.setattr(sparse_kernels(), "RUN_LENGTH", 4) if SIMULATED else None
    m = 40 if SIMULATED else 1000
    where = np.r_[np.full(m, 3), [1, 5, 5]]
    values = rng.normal(size=m + 3).astype(dtype)
    for duplicates in ("merge", "mean"):
        results = [
            update_on_both(np.zeros(9, dtype), [(where, values)], False, duplicates=duplicates) for _ in range(2)
        ]
        assert_same(results[0][1][0], results[0][0][0], 64)
        np.testing.assert_array_equal(copy_to_host(results[0][1][0]), copy_to_host(results[1][1][0]))
