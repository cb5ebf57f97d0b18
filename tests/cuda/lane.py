"""What the tests of device arrays share: a device, real or simulated, and the same updates on host and device."""

import numba
import numpy as np
import pytest

from adagrad_nb import has_cuda, init, update
from adagrad_nb.cuda.arrays import import_cuda, to_host

SIMULATED = bool(numba.config.ENABLE_CUDASIM)

if not SIMULATED and not has_cuda():
    pytest.skip("there is no CUDA device, and NUMBA_ENABLE_CUDASIM=1 is not set", allow_module_level=True)


def put(tree):
    """A copy of arrays on the device."""
    if isinstance(tree, dict):
        return {key: put(leaf) for key, leaf in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(put(leaf) for leaf in tree)
    return import_cuda().to_device(tree)


def get(tree):
    """A copy of arrays on the host."""
    if isinstance(tree, dict):
        return {key: get(leaf) for key, leaf in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(get(leaf) for leaf in tree)
    return to_host(tree)


def same(device, host, ulps=0):
    """The same shapes, and the same bits or numbers within some roundings.

    The simulator rounds as the host does; a device contracts products and sums.
    """
    device = get(device)
    if isinstance(host, (dict, list, tuple)):
        pairs = (
            zip(host.values(), device.values(), strict=True)
            if isinstance(host, dict)
            else zip(host, device, strict=True)
        )
        for one, other in pairs:
            same(put(other), one, ulps)
        return
    assert (device.dtype, device.shape) == (host.dtype, host.shape)
    ulps = ulps if SIMULATED else 32 + 4 * ulps
    if ulps:
        eps = np.finfo(host.dtype).eps
        np.testing.assert_allclose(device, host, rtol=ulps * eps, atol=ulps * eps)
    else:
        np.testing.assert_array_equal(device, host)


def both(x, gradients, place, bring_gradient=put, **options):
    """The same updates on the host and on the device; return what each ends with."""
    ends = []
    for bring in (lambda tree: tree, put):
        y, state = bring(x), init(bring(x), **options)
        if place and bring is not put:
            y = x.copy()
        for g in gradients:
            out = (y, state) if place else None
            moved = update(y, g if bring is not put else bring_gradient(g), state, out=out)
            if place:
                assert moved[0] is y
                assert moved[1] is state
            y, state = moved
        ends.append((y, state))
    return ends


def alike(device, host, dtype):
    """The same linear model, learnt from rows on a device and from the same rows on the host."""
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(device.coef, host.coef, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(device.intercept, host.intercept, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(device.loss_sums, host.loss_sums, rtol=tolerance)
    assert (device.n_seen, device.state.t) == (host.n_seen, host.state.t)
    assert device.dtype == host.dtype == dtype
