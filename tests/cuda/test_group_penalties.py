"""Group penalties of device arrays: the same proximal steps as on the host."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy
from host_device import assert_same, copy_to_device, update_on_both

from adagrad_nb import RDA, DecoupledDecay, Grouped, GroupL2, GroupLinf, RowAdagrad, init, update
from adagrad_nb.optim import device_leaf

PENALTIES = [GroupL2(0.3), GroupLinf(0.8)]
ULPS = 64


class HalveRows(NamedTuple):
    """A user's group penalty, without a proximal step of several threads: it halves the rows."""

    strength: float | Any = 1.0

    is_group = True

    def value(self, x, i):
        return x - x

    def prox(self, x, w, i):
        return x

    def group_value(self, x, i):
        return x[0] - x[0]

    def group_prox(self, x, w, k, i):
        for l in range(x.shape[0]):
            x[l] = x[l] / type(x[l])(2)


def small_and_large_rows(rng, width, dtype):
    """Return a matrix of four rows and gradients: two dense ones, rows in order, and rows with duplicates."""
    scales = np.array([[0.01], [10], [0.01], [10]])
    x = rng.uniform(0.5, 1, (4, width)) * scales * rng.choice([-1, 1], (4, width))
    lists = [slice(None), slice(None), np.array([0, 3]), np.array([3, 1, 0, 1])]
    shapes = [x[where].shape for where in lists]
    values = [(rng.uniform(0.08, 0.12, shape) * rng.choice([-1, 1], shape)).astype(dtype) for shape in shapes]
    return x.astype(dtype), [*values[:2], *zip(lists[2:], values[2:], strict=True)]


def assert_same_steps(x, gradients, **options):
    """Check that host and device make the same steps in place; return x on the host."""
    (host, host_state), (device, state) = update_on_both(x, gradients, True, **options)
    assert_same(device, host, ULPS)
    assert_same(state.slots[0], host_state.slots[0], ULPS)
    return host


def n_zero_rows(x):
    """Return the number of rows of zeros."""
    return np.count_nonzero(~x.any(axis=1))


@pytest.mark.parametrize("penalty", PENALTIES, ids=["l2", "linf"])
@pytest.mark.parametrize(
    ("width", "max_lane_width", "dtype"),
    [(1, 1024, np.float32), (3, 1024, np.float64), (33, 1024, np.float32), (40, 32, np.float64)],
)
def test_rows(width, max_lane_width, dtype, penalty, rng, monkeypatch):
    """A few threads share a row, or all of a warp, or all of a block."""
    monkeypatch.setattr(device_leaf, "MAX_LANE_WIDTH", max_lane_width)
    x, gradients = small_and_large_rows(rng, width, dtype)
    scale = width**0.5 if isinstance(penalty, GroupL2) else width
    host = assert_same_steps(x, gradients, penalty=penalty._replace(strength=0.2 * scale), lr=0.3)
    assert n_zero_rows(host) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"rule": RowAdagrad(), "penalty": GroupL2(np.array([1.0, 0.5, 2.0, 0.0]))},
        {"rule": RDA(), "penalty": GroupLinf(0.1), "duplicates": "mean"},
        {"penalty": GroupL2(0.5), "duplicates": "simultaneous", "transforms": (DecoupledDecay(0.1),)},
        {"penalty": HalveRows(), "lr": np.full((4, 5), 0.2)},
        {"penalty": GroupL2(0.5), "duplicates": "atomic"},
    ],
    ids=["row rule", "dual averaging", "simultaneous", "user", "atomic"],
)
def test_options(options, rng):
    x, gradients = small_and_large_rows(rng, 5, np.float64)
    assert_same_steps(x, gradients, **{"lr": 0.3} | options)


def test_special_rows(rng):
    """No rows, one row, three axes, a gradient of NaN, and x as its own gradient."""
    for shape in ((0, 3), (1, 4), (2, 3, 2)):
        x = rng.normal(size=shape)
        (host, _), (device, _) = update_on_both(x, [np.ones(shape)], False, penalty=GroupL2(0.5))
        assert_same(device, host, ULPS)
    x, g = np.ones((3, 2)), np.full((3, 2), 0.1)
    g[1, 0] = np.nan
    for penalty in PENALTIES:
        (host, _), (device, _) = update_on_both(x, [g], True, penalty=penalty)
        assert np.isnan(host[1, 0])
        assert_same(device, host, ULPS)
    y = copy_to_device(x)
    update(y, y, state := init(y, penalty=GroupL2(0.5)), out=(y, state))
    assert_same(y, update(x, x, init(x, penalty=GroupL2(0.5)))[0], ULPS)


def test_scipy_sparse(rng):
    """Matrices on the host become whole rows."""
    x = rng.normal(size=(4, 5))
    g = scipy.sparse.random(4, 5, 0.3, "csr", np.float64, np.random.default_rng(3))
    (host, _), (device, _) = update_on_both(x, [g], False, copy_gradient=lambda g: g, penalty=GroupL2(0.5))
    assert_same(device, host, ULPS)
    twice = scipy.sparse.coo_matrix(([1.0, 2.0], ([1, 1], [2, 2])), (4, 5))
    y = copy_to_device(x)
    state = init(y, penalty=GroupL2(0.5), duplicates="simultaneous")
    with pytest.raises(ValueError, match=r"^g: lists single entries; GroupL2 on a device takes whole rows, given as"):
        update(y, twice, state)


@pytest.mark.parametrize("penalty", PENALTIES, ids=["l2", "linf"])
def test_groups_of_a_vector(penalty, rng):
    """Group 1 has no entries, group 4 has one."""
    dtype = np.float32 if isinstance(penalty, GroupL2) else np.float64
    groups = [0, 2, 3, 0, 2, 2, 4, 3, 3]
    x = np.array([0.01, 3, 0.01, 0.02, -3, 2, 0.01, -0.01, 0.02], dtype)
    values = (rng.uniform(0.05, 0.15, 9) * rng.choice([-1, 1], 9)).astype(dtype)
    gradients = [values, (np.array([6, 0, 6]), values[:3]), (np.array([1]), values[:1])]
    host = assert_same_steps(x, gradients, penalty=Grouped(penalty, groups), lr=0.3)
    assert (host == 0).tolist() == [group != 2 for group in groups]
