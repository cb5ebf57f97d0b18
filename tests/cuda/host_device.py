"""Helpers of the tests of device arrays: a device, real or simulated, and the same updates on host and device."""

from copy import deepcopy

import numba
import numpy as np
import pytest

from adagrad_nb import has_cuda, init, update
from adagrad_nb.cuda.arrays import import_cuda, to_host

SIMULATED = bool(numba.config.ENABLE_CUDASIM)

if not SIMULATED and not has_cuda():
    pytest.skip("there is no CUDA device, and NUMBA_ENABLE_CUDASIM=1 is not set", allow_module_level=True)


def copy_to_device(tree):
    """Return a copy of arrays on the device."""
    if isinstance(tree, dict):
        return {key: copy_to_device(leaf) for key, leaf in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(copy_to_device(leaf) for leaf in tree)
    return import_cuda().to_device(tree)


def copy_to_host(tree):
    """Return a copy of arrays on the host."""
    if isinstance(tree, dict):
        return {key: copy_to_host(leaf) for key, leaf in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(copy_to_host(leaf) for leaf in tree)
    return to_host(tree)


def assert_same(device, host, ulps=0):
    """Check for equal shapes, and for equal bits or numbers within rounding errors.

    The simulator rounds as the host does; a device contracts products and sums.
    """
    device = copy_to_host(device)
    if isinstance(host, (dict, list, tuple)):
        pairs = (
            zip(host.values(), device.values(), strict=True)
            if isinstance(host, dict)
            else zip(host, device, strict=True)
        )
        for expected, actual in pairs:
            assert_same(copy_to_device(actual), expected, ulps)
        return
    assert (device.dtype, device.shape) == (host.dtype, host.shape)
    ulps = ulps if SIMULATED else 32 + 4 * ulps
    if ulps:
        eps = np.finfo(host.dtype).eps
        np.testing.assert_allclose(device, host, rtol=ulps * eps, atol=ulps * eps)
    else:
        np.testing.assert_array_equal(device, host)


def update_on_both(x, gradients, in_place, copy_gradient=copy_to_device, **options):
    """Apply the same updates on the host and on the device; return the results of both."""
    results = []
    for copy in (lambda tree: tree, copy_to_device):
        y, state = copy(x), init(copy(x), **options)
        if in_place and copy is not copy_to_device:
            y = deepcopy(x)
        for g in gradients:
            out = (y, state) if in_place else None
            updated = update(y, g if copy is not copy_to_device else copy_gradient(g), state, out=out)
            if in_place:
                assert updated[0] is y
                assert updated[1] is state
            y, state = updated
        results.append((y, state))
    return results


def assert_same_model(device, host, dtype):
    """Compare a linear model trained on a device with one trained from the same rows on the host."""
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(device.coef, host.coef, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(device.intercept, host.intercept, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(device.loss_sums, host.loss_sums, rtol=tolerance)
    assert (device.n_seen, device.state.t) == (host.n_seen, host.state.t)
    assert device.dtype == host.dtype == dtype
