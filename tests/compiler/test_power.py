"""The vectorisable power (1 + u)^-k, compared with extended precision."""

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from adagrad_nb.compiler.jit import jit
from adagrad_nb.compiler.power import exponential_remainder, inverse_power


@jit
def inverse_powers(u, k, power, complement):
    for i in range(u.shape[0]):
        power[i], complement[i] = inverse_power(u[i], k[i])


@jit
def remainder(z):
    return exponential_remainder(z)


@pytest.fixture
def cases(dtype, rng):
    """Return (u, k): u of all magnitudes, 1 + u near powers of sqrt(2), and small and large k."""
    low, high = (-300, 300) if dtype == np.float64 else (-37, 37)
    edges = 2.0 ** np.arange(-3, 8, 0.5)
    edges = np.concatenate([edges - 1, np.nextafter(edges, 0) - 1, np.nextafter(edges, np.inf) - 1])
    u = np.concatenate(
        [10.0 ** rng.uniform(low, high, 2000), 10.0 ** rng.uniform(-6, 1, 4000), edges[edges >= 0], [0.0]]
    )
    k = np.where(rng.random(u.size) < 0.5, rng.integers(0, 4, u.size), rng.integers(0, 10**6, u.size))
    return u.astype(dtype), k.astype(dtype)


def test_both_results_are_accurate(cases, dtype):
    u, k = cases
    power, complement = np.empty_like(u), np.empty_like(u)
    with np.errstate(under="ignore"):
        inverse_powers(u, k, power, complement)
    exponent = np.asarray(k, np.longdouble) * np.log1p(np.asarray(u, np.longdouble))
    eps, small = np.finfo(dtype).eps, np.finfo(dtype).tiny * 4
    true = np.exp(-exponent)
    assert np.all(np.abs(power - true) <= (3 + 2 * exponent) * eps * true + small)
    true = -np.expm1(-exponent)
    assert np.all(np.abs(complement - true) <= 4 * eps * true + small)


def test_zero_k_or_u_gives_exactly_one_and_zero(cases):
    u, _ = cases
    power, complement = np.empty_like(u), np.empty_like(u)
    inverse_powers(u, np.zeros_like(u), power, complement)
    assert_array_equal(power, 1)
    assert_array_equal(complement, 0)
    inverse_powers(np.zeros_like(u), np.full_like(u, 7), power, complement)
    assert_array_equal(power, 1)
    assert_array_equal(complement, 0)


@pytest.mark.parametrize("u", [np.inf, np.nan])
def test_infinite_and_nan_arguments(u, dtype):
    power, complement = np.empty(1, dtype), np.empty(1, dtype)
    inverse_powers(np.array([u], dtype), np.ones(1, dtype), power, complement)
    assert not power[0] > 1e-30
    assert not complement[0] < 1


@pytest.mark.compiled_only("requires the compiler")
def test_loops_are_vectorised(cases, dtype):
    u, k = cases
    inverse_powers(u, k, np.empty_like(u), np.empty_like(u))
    for signature in inverse_powers.signatures:
        if signature[0].dtype.name == dtype.name:
            code = inverse_powers.inspect_llvm(signature)
            assert f"x {'double' if dtype == np.float64 else 'float'}>" in code
            assert "call double @exp" not in code
            if dtype == np.float32:
                assert "double" not in code.partition("define")[2].partition("ret i32")[0]


@pytest.mark.parametrize("z", [-0.5, -0.1, -1e-8, 0.0, 1e-8, 0.3, 0.5])
def test_exponential_remainder_is_accurate(z, dtype):
    z = dtype.type(z)
    exact = sum(np.longdouble(z) ** (m - 2) / math.factorial(m) for m in range(2, 30))
    assert abs(remainder(z) - exact) <= 2 * np.finfo(dtype).eps
