"""MCP and SCAD: values by integration of their derivatives, proximal steps by search on a grid."""

import numpy as np
import pytest

from adagrad_nb import L1, MCP, SCAD, fit_linear, init, update


def derivative(penalty, x):
    """Return the derivative of the penalty at x > 0, as Zhang 2010 and Fan and Li 2001 define it."""
    if isinstance(penalty, MCP):
        return np.maximum(penalty.strength - x / penalty.gamma, 0.0)
    tail = np.maximum(penalty.a * penalty.strength - x, 0.0) / (penalty.a - 1)
    return np.where(x <= penalty.strength, penalty.strength, tail)


PENALTIES = [MCP(0.5), MCP(1.0, 1.5), SCAD(0.5), SCAD(1.0, 2.5)]
each = pytest.mark.parametrize("penalty", PENALTIES, ids=str)


@each
def test_value_is_the_integral_of_the_derivative(penalty):
    grid = np.linspace(0, 6, 60_001)
    middle = (grid[1:] + grid[:-1]) / 2
    integral = np.concatenate([[0.0], np.cumsum(derivative(penalty, middle) * np.diff(grid))])
    for k in range(0, grid.size, 997):
        for sign in (-1, 1):
            assert penalty.value(sign * grid[k], 0) == pytest.approx(integral[k], abs=1e-8)


@each
@pytest.mark.parametrize("w", [0.1, 1.0, 1.49, 1.51, 2.0, 3.0, 10.0])
def test_prox_is_the_minimiser(penalty, w):
    grid = np.linspace(0, 8, 4001)
    values = np.array([penalty.value(z, 0) for z in grid])
    for x in np.linspace(0.01, 7.5, 60):
        objective = values + (grid - x) ** 2 / (2 * w)
        z = penalty.prox(x, w, 0)
        assert penalty.value(z, 0) + (z - x) ** 2 / (2 * w) <= objective.min() + 1e-12
        assert penalty.prox(-x, w, 0) == -z
    assert penalty.prox(0.0, w, 0) == 0.0


@each
def test_optimality(penalty, rng):
    """Where the step is small, z = x - w * derivative(z), up to rounding."""
    w = 0.3
    for x in rng.normal(size=200) * 3:
        z = penalty.prox(x, w, 0)
        slope = derivative(penalty, abs(z))
        if z == 0:
            assert abs(x) <= w * penalty.strength * (1 + 1e-15)
        else:
            assert z + w * slope * np.sign(z) == pytest.approx(x, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("penalty", [MCP(0.3), SCAD(0.3)], ids=str)
def test_compiled_steps(penalty, rng):
    x, g = rng.normal(size=7), rng.normal(size=7)
    x_new, _ = update(x, g, init(x, lr=0.5, penalty=penalty))
    plain, _ = update(x, g, init(x, lr=0.5))
    width = 0.5 / (np.abs(g) + 1e-10)
    expected = [penalty.prox(value, w, 0) for value, w in zip(plain, width, strict=True)]
    np.testing.assert_allclose(x_new, expected, rtol=1e-14)


def test_large_weights_are_not_biased(rng, interpreted):
    X = rng.normal(size=(200, 4))
    y = X @ np.array([5.0, 0.0, 0.0, 5.0])
    biased, *unbiased = (
        fit_linear(X, y, loss="squared", lr=1.0, penalty=penalty, passes=2, intercept=False).coef
        for penalty in (L1(0.5), MCP(0.5), SCAD(0.5))
    )
    assert abs(biased[0] - 5.0) > 0.2
    for coef in unbiased:
        np.testing.assert_array_equal(coef[1:3], 0.0)
        np.testing.assert_allclose(coef[[0, 3]], 5.0, atol=0.02)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (MCP(-1.0), r"MCP\.strength: got -1\.0; must be a number in \[0, inf\)"),
        (MCP(1.0, 0.0), r"MCP\.gamma: got 0\.0; must be a number in \(0, inf\)"),
        (SCAD(1.0, 2.0), r"SCAD\.a: got 2\.0; must be a number in \(2, inf\)"),
    ],
    ids=str,
)
def test_domains(penalty, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        init(np.zeros(2), penalty=penalty)
