"""Adaptive clipping of device arrays: the norms of units are computed on the device."""

import numpy as np
import pytest
from host_device import SIMULATED, assert_same, copy_to_device, copy_to_host, update_on_both

from adagrad_nb import SGD, AdaptiveClip, Except, L2Decay, RowAdagrad, init, update

ULPS = 32


SHAPES = [(), (37,), (5, 1), (9, 3), (3, 37), (2, 3, 5), (2, 3, 2, 5), (0, 3)]


@pytest.mark.parametrize(("shape", "dtype"), list(zip(SHAPES, 4 * [np.float32, np.float64], strict=True)))
def test_shapes(shape, dtype, rng):
    """A vector, columns of a matrix, `x[:, j, k]`, `x[:, :, :, k]`; some units are clipped, and others are not."""
    x, gradients = rng.normal(size=shape).astype(dtype), rng.normal(size=(2, *shape)).astype(dtype)
    gradients *= np.linspace(0.01, 5, shape[-1] if shape else 1).astype(dtype)
    options = {"transforms": (L2Decay(0.1), AdaptiveClip(0.3, 0.1), AdaptiveClip(0.2)), "lr": 0.1}
    (host, host_state), (device, state) = update_on_both(x, gradients, True, **options)
    assert_same(device, host, ULPS)
    assert_same(state.slots[0], host_state.slots[0], ULPS)


def test_many_parts(rng):
    """The rows of a unit are in several blocks of threads."""
    shape = (100, 3) if SIMULATED else (5000, 3)
    x, g = rng.normal(size=shape), rng.normal(size=(1, *shape))
    (host, _), (device, _) = update_on_both(x, g, False, transforms=(AdaptiveClip(0.1),))
    assert_same(device, host, ULPS)


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_squares_neither_overflow_nor_underflow(scale, rng):
    small = np.float32(min(scale, 1))
    x, g = small * rng.normal(size=(6, 3)).astype(np.float32), (scale * rng.normal(size=(1, 6, 3))).astype(np.float32)
    options = {"rule": SGD(), "transforms": (AdaptiveClip(0.3, 0.1 * float(small)),), "lr": 1.0}
    (host, _), (device, _) = update_on_both(x, g, False, **options)
    assert not np.array_equal(host, x)
    assert_same(copy_to_device(copy_to_host(device) / small), host / small, ULPS)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@np.errstate(invalid="ignore")
def test_non_finite_entries(bad):
    """They spread over their unit, as on the host."""
    x, g = np.ones((3, 2)), np.ones((1, 3, 2))
    g[0, 1, 0] = bad
    (host, _), (device, _) = update_on_both(x, g, False, transforms=(AdaptiveClip(0.2),))
    assert np.isnan(host[:, 0]).all()
    assert_same(device, host, ULPS)
    x[1, 0] = bad
    (host, _), (device, _) = update_on_both(x, np.ones((1, 3, 2)), False, transforms=(AdaptiveClip(0.2),))
    assert_same(device, host, ULPS)


def test_sparse_gradients_and_rows(rng):
    x = rng.normal(size=(6, 5))
    where = np.array([4, 1, 4, 0])
    gradients = [(where, rng.normal(size=(4, 5))), (np.array([2, 3]), rng.normal(size=(2, 5)))]
    options = {"rule": RowAdagrad(), "transforms": (L2Decay(0.1), AdaptiveClip(0.1))}
    (host, host_state), (device, state) = update_on_both(x, gradients, False, **options)
    assert_same(device, host, ULPS)
    assert_same(state.slots[0], host_state.slots[0], ULPS)


def test_some_of_several_arrays(rng):
    x, g = ({"weights": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)} for _ in range(2))
    options = {"transforms": (Except(AdaptiveClip(0.1), "bias"),)}
    (host, _), (device, _) = update_on_both(x, [g], False, **options)
    assert_same(device, host, ULPS)
    y, h = copy_to_device(x), copy_to_device(g)
    state = init(y, **options)
    update(y, h, state, out=(y, state))
    assert_same(y, host, ULPS)
