"""(1 + u)**-k by series, against the same in extended precision."""

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from adagrad_nb.compiler.jit import jit
from adagrad_nb.compiler.power import inverse_power


@jit
def fades(u, k, left, gone):
    for i in range(u.shape[0]):
        left[i], gone[i] = inverse_power(u[i], k[i])


@pytest.fixture
def cases(dtype, rng):
    """(u, k): u from the smallest to the largest, k small and large, and 1 + u around powers of two and their roots."""
    low, high = (-300, 300) if dtype == np.float64 else (-37, 37)
    edges = 2.0 ** np.arange(-3, 8, 0.5)
    edges = np.concatenate([edges - 1, np.nextafter(edges, 0) - 1, np.nextafter(edges, np.inf) - 1])
    u = np.concatenate(
        [10.0 ** rng.uniform(low, high, 2000), 10.0 ** rng.uniform(-6, 1, 4000), edges[edges >= 0], [0.0]]
    )
    k = np.where(rng.random(u.size) < 0.5, rng.integers(0, 4, u.size), rng.integers(0, 10**6, u.size))
    return u.astype(dtype), k.astype(dtype)


def test_both_are_good_to_the_last_bits(cases, dtype):
    u, k = cases
    left, gone = np.empty_like(u), np.empty_like(u)
    with np.errstate(under="ignore"):
        fades(u, k, left, gone)
    exponent = np.asarray(k, np.longdouble) * np.log1p(np.asarray(u, np.longdouble))
    eps, small = np.finfo(dtype).eps, np.finfo(dtype).tiny * 4
    true = np.exp(-exponent)
    assert np.all(np.abs(left - true) <= (3 + 2 * exponent) * eps * true + small)
    true = -np.expm1(-exponent)
    assert np.all(np.abs(gone - true) <= 4 * eps * true + small)


def test_no_step_changes_nothing(cases):
    u, _ = cases
    left, gone = np.empty_like(u), np.empty_like(u)
    fades(u, np.zeros_like(u), left, gone)
    assert_array_equal(left, 1)
    assert_array_equal(gone, 0)
    fades(np.zeros_like(u), np.full_like(u, 7), left, gone)
    assert_array_equal(left, 1)
    assert_array_equal(gone, 0)


@pytest.mark.parametrize("u", [np.inf, np.nan])
def test_what_is_not_finite(u, dtype):
    left, gone = np.empty(1, dtype), np.empty(1, dtype)
    fades(np.array([u], dtype), np.ones(1, dtype), left, gone)
    assert not left[0] > 1e-30
    assert not gone[0] < 1


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="is about compiled code")
def test_a_loop_over_them_is_vectorised(cases, dtype):
    u, k = cases
    fades(u, k, np.empty_like(u), np.empty_like(u))
    for signature in fades.signatures:
        if signature[0].dtype.name == dtype.name:
            code = fades.inspect_llvm(signature)
            assert f"x {'double' if dtype == np.float64 else 'float'}>" in code
            assert "call double @exp" not in code
            if dtype == np.float32:
                assert "double" not in code.partition("define")[2].partition("ret i32")[0]
