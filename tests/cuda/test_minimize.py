"""Tests of the minimisers of device arrays: a run ends where it ends on the host."""

import numpy as np
import pytest
from host_device import assert_same, copy_to_device, copy_to_host

from adagrad_nb import (
    L1,
    Accumulate,
    Adadelta,
    ClipGlobalNorm,
    ClipNorm,
    InverseSqrt,
    Polyak,
    minimize_adadelta,
    minimize_adagrad,
    minimize_stochastic,
)

A, B = np.array([1.0, 3.0, 0.5]), np.array([1.0, -2.0, 0.25])


def fun(x):
    return float(0.5 * np.sum(A * (x - B) ** 2))


def jac(x):
    return (A * (x - B)).astype(x.dtype)


def lifted(function):
    """Turn a function of host arrays into one of device arrays."""

    def on_device(x, *args):
        result = function(copy_to_host(x), *args)
        if isinstance(result, tuple) and not isinstance(result[0], np.ndarray):
            return result[0], copy_to_device(result[1])
        return copy_to_device(result) if isinstance(result, (np.ndarray, tuple)) else result

    return on_device


def minimize_on_both(x0, *, minimizer=minimize_adagrad, fun=fun, jac=jac, **options):
    """Return the results on the host and on the device."""
    lifted_jac = jac if jac is True else lifted(jac)
    return (
        minimizer(fun, x0, jac=jac, **options),
        minimizer(lifted(fun), copy_to_device(x0), jac=lifted_jac, **options),
    )


def assert_same_result(host, device):
    assert_same(device.x, host.x, 8)
    assert_same(device.state.slots[0], host.state.slots[0], 16)
    assert (device.nit, device.status, device.state.t) == (host.nit, host.status, host.state.t)
    np.testing.assert_allclose(device.fun, host.fun, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"maxiter": 37},
        {"gtol": 1e-2, "lr": 1.0},
        {"penalty": L1(0.3), "gtol": 1e-3, "lr": 1.0},
        {"bounds": [(0, 2), (-1, None), (0.5, 0.75)], "gtol": 1e-3, "lr": 1.0},
        {"average": Polyak(), "maxiter": 21},
        {"average": Polyak(), "bounds": [(0, 2), (-1, None), (0.5, 0.75)], "maxiter": 0},
        {"lr_scale": np.array([0.5, 1.0, 2.0]), "maxiter": 5},
        {"transforms": (ClipNorm(0.5), ClipGlobalNorm(0.4)), "maxiter": 9},
        {"transforms": (Accumulate(2),), "maxiter": 9},
        {"lr": InverseSqrt(0.5), "rule": Adadelta(), "maxiter": 5},
    ],
    ids=str,
)
def test_ends_as_on_the_host(options, dtype):
    host, device = minimize_on_both(np.array([3.0, 3.0, -1.0], dtype), **options)
    assert_same_result(host, device)


def test_value_and_gradient_in_one(dtype):
    x0 = np.array([3.0, 3.0, -1.0], dtype)
    assert_same_result(*minimize_on_both(x0, fun=lambda x: (fun(x), jac(x)), jac=True, gtol=1e-2, lr=1.0))


def test_sparse_gradients(dtype):
    def part(x):
        i = np.argsort(-np.abs(jac(x)))[:2].copy()
        return i, jac(x)[i]

    host, device = minimize_on_both(
        np.array([3.0, 3.0, -1.0], dtype), jac=part, gtol=1e-2, lr=1.0, penalty=L1(0.01), maxiter=60
    )
    assert_same_result(host, device)


def test_resumed_is_uninterrupted(dtype):
    x0 = copy_to_device(np.array([3.0, 3.0, -1.0], dtype))
    for average in (None, Polyak()):
        options = {"jac": lifted(jac), "average": average}
        half = minimize_adagrad(lifted(fun), x0, maxiter=10, **options)
        second = minimize_adagrad(lifted(fun), half.x, maxiter=10, state=half.state, jac=lifted(jac))
        assert_same(second.x, copy_to_host(minimize_adagrad(lifted(fun), x0, maxiter=20, **options).x))
    assert_same(x0, np.array([3.0, 3.0, -1.0], dtype))


@pytest.mark.parametrize("wall", [1, 2, 5, 20])
def test_never_a_nan(wall):
    """The gradient is not finite from some step on."""

    def broken(x):
        return jac(x) if np.sum(np.abs(x - 3.0)) < 0.35 * wall else np.full(3, np.nan)

    host, device = minimize_on_both(np.full(3, 3.0), jac=broken, maxiter=100, lr=0.3)
    assert_same_result(host, device)
    assert host.status == 2
    assert np.isfinite(copy_to_host(device.x)).all()


def test_a_value_that_is_not_finite():
    def infinite_below_two(x):
        return fun(x) if x[0] > 2.0 else np.inf

    host, device = minimize_on_both(np.full(3, 3.0), fun=infinite_below_two, maxiter=100, lr=0.3)
    assert host.status == device.status == 2
    assert_same(device.x, host.x, 8)


def test_callbacks():
    iterates = []

    def callback(intermediate_result):
        iterates.append(copy_to_host(intermediate_result.x))
        if len(iterates) == 4:
            raise StopIteration

    result = minimize_adagrad(lifted(fun), copy_to_device(np.full(3, 3.0)), jac=lifted(jac), callback=callback)
    host = []
    minimize_adagrad(fun, np.full(3, 3.0), jac=jac, maxiter=4, callback=lambda x: host.append(x))
    assert result.status == 99
    np.testing.assert_allclose(iterates, host, rtol=1e-12)


def test_adadelta_and_samples(dtype, rng):
    x0 = np.array([3.0, 3.0, -1.0], dtype)
    assert_same_result(*minimize_on_both(x0, minimizer=minimize_adadelta, maxiter=6))
    X = rng.normal(size=(20, 3)).astype(dtype)
    y = X @ B.astype(dtype)

    def loss(x, batch):
        return float(0.5 * np.mean((X[batch] @ x - y[batch]) ** 2))

    def slope(x, batch):
        return X[batch].T @ (X[batch] @ x - y[batch]) / dtype.type(len(batch))

    options = {"n_samples": 20, "batch_size": 6, "epochs": 3, "rng": 0}
    assert_same_result(*minimize_on_both(x0, minimizer=minimize_stochastic, fun=loss, jac=slope, **options))


def test_bad_arguments_raise():
    x0 = copy_to_device(np.ones(3))
    with pytest.raises(ValueError, match=r"^jac: got None; where x is on a device"):
        minimize_adagrad(lifted(fun), x0)
    with pytest.raises(ValueError, match=r"^x0: got shape \(2, 2\)"):
        minimize_adagrad(lifted(fun), copy_to_device(np.ones((2, 2))), jac=lifted(jac))
    with pytest.raises(TypeError, match=r"^x0: got dtype int64"):
        minimize_adagrad(lifted(fun), copy_to_device(np.ones(3, np.int64)), jac=lifted(jac))
    with pytest.raises(ValueError, match=r"^jac: must return a device array of shape"):
        minimize_adagrad(lifted(fun), x0, jac=lambda x: np.ones(3))
