"""Domains: projections by their optimality conditions, minima of linear functions by their extreme points."""

import itertools

import numpy as np
import pytest

from adagrad_nb import Box, L1Ball, L2Ball, Simplex
from adagrad_nb.records.domains import contains, minimize_linear, project

DOMAINS = [L1Ball(1.5), L2Ball(0.7), Simplex(2.0), Box(-0.5, 0.8)]
each = pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: type(domain).__name__)


def points(rng, n=40):
    """Return points and metrics of different sizes, with ties and zeros."""
    for k in range(n):
        size = int(rng.integers(1, 30))
        scale = 10.0 ** rng.integers(-3, 4)
        x, h = rng.normal(size=size) * scale, 10.0 ** rng.uniform(-3, 3, size)
        if k % 4 == 1:
            x[rng.random(size) < 0.3] = 0.0
        if k % 4 == 2:
            h[:] = h[0]
        if k % 4 == 3:
            x = np.round(x)
        yield x, h


def assert_optimal(domain, x, h, z):
    """Check the conditions of Karush, Kuhn and Tucker: h (x - z) is a normal of the domain at z."""
    force = h * (x - z)  # must be a multiple of a subgradient of the constraint
    tolerance = 1e-13 * (np.abs(h * x).max() + np.abs(h * z).max())
    active = z != 0
    if isinstance(domain, L2Ball):
        assert np.linalg.norm(z) == pytest.approx(domain.radius, rel=1e-14)
        multiplier = force @ z / (z @ z)
        assert multiplier >= 0
        np.testing.assert_allclose(force, multiplier * z, rtol=0, atol=tolerance)
        return
    if isinstance(domain, L1Ball):
        assert np.abs(z).sum() == pytest.approx(domain.radius, rel=0, abs=1e-13 * np.abs(x).sum())
        assert np.all(z * x >= 0)
        force, z = force * np.sign(x), np.abs(z)
    else:
        assert z.sum() == pytest.approx(domain.total, rel=0, abs=1e-13 * max(np.abs(x).sum(), domain.total))
        assert z.min() >= 0
    level = force[active].mean()
    np.testing.assert_allclose(force[active], level, rtol=0, atol=tolerance)
    assert np.all(force[~active] <= level + tolerance)


@pytest.mark.parametrize("domain", DOMAINS[:3], ids=lambda domain: type(domain).__name__)
def test_projections_are_optimal(domain, rng):
    n_outside = 0
    for x, h in points(rng):
        z = project(domain, x, h)
        assert contains(domain, z, 1e-9 if np.abs(x).max() > 100 else 1e-12)
        if not isinstance(domain, Simplex) and contains(domain, x, 0.0):
            np.testing.assert_array_equal(z, x)
            continue
        n_outside += 1
        assert_optimal(domain, x, h, z)
    assert n_outside > 20


@pytest.mark.parametrize("domain", DOMAINS[:3], ids=lambda domain: type(domain).__name__)
def test_coordinates_without_preconditioner_are_free(domain, rng):
    """The projection is the limit for small entries of the metric, and no point of the domain is nearer."""
    for n_free in (1, 3, 6):
        x, h = rng.normal(size=6) * 2, 10.0 ** rng.uniform(-1, 1, 6)
        h[:n_free] = 0.0
        z = project(domain, x, h)
        np.testing.assert_allclose(z, project(domain, x, np.maximum(h, 1e-11)), atol=1e-8)
        for u in rng.dirichlet(np.full(6, 0.3), 50):
            u = project(domain, u * rng.choice([-3, 3], 6), np.ones(6))
            assert (h * (z - x)) @ (u - z) >= -1e-12  # optimality condition of the nearest points
    np.testing.assert_array_equal(project(domain, x, h), project(domain, x, np.ones(6)))


def test_projection_onto_a_box():
    np.testing.assert_array_equal(project(Box(-0.5, 0.8), np.array([-3.0, 0.1, 3.0]), np.ones(3)), [-0.5, 0.1, 0.8])


@each
def test_a_point_of_the_domain_stays(domain, rng):
    for x, h in points(rng, 10):
        z = project(domain, x, h)
        np.testing.assert_allclose(project(domain, z, h), z, rtol=1e-12, atol=1e-13)


@each
@pytest.mark.parametrize("l1", [0.0, 0.6])
def test_linear_minimum(domain, l1, rng):
    """The minimum of a linear function, with an L1 penalty, is at an extreme point or at zero; on a ball, search."""
    for n in (1, 2, 3):
        z = rng.normal(size=n)
        if isinstance(domain, Box):
            candidates = itertools.product((domain.lower, 0.0, domain.upper), repeat=n)
        elif isinstance(domain, L1Ball):
            candidates = [np.zeros(n), *(sign * domain.radius * row for row in np.eye(n) for sign in (-1, 1))]
        elif isinstance(domain, Simplex):
            candidates = domain.total * np.eye(n)
        else:
            directions = rng.normal(size=(200_000, n))
            directions[: 2**n * 50_000 // 2**n] *= rng.random((50_000, n)) < 0.5
            norms = np.linalg.norm(directions, axis=1, keepdims=True)
            candidates = np.vstack(
                [np.zeros((1, n)), domain.radius * directions[norms[:, 0] > 0] / norms[norms > 0, None]]
            )
        candidates = np.array(list(candidates))
        best = (candidates @ z + l1 * np.abs(candidates).sum(axis=1)).min()
        minimum = minimize_linear(domain, z, l1)
        assert minimum <= best + 1e-14
        assert minimum == pytest.approx(best, abs=2e-3 if isinstance(domain, L2Ball) else 1e-14)


def test_a_box_without_bounds():
    z = np.array([0.0, 1.0])
    assert minimize_linear(Box(-np.inf, 0.5), z) == -np.inf
    assert minimize_linear(Box(-1.0, np.inf), z) == -1.0
    assert minimize_linear(Box(), np.array([0.3, -0.3]), 0.5) == 0.0
    assert minimize_linear(Box(), np.zeros(2)) == 0.0


@pytest.mark.parametrize("domain", DOMAINS[:3], ids=lambda domain: type(domain).__name__)
def test_points_and_metrics_of_any_size(domain, rng):
    """Far points, whose distance from the domain rounds to their own size, and metrics of very different entries."""
    radius = domain.total if isinstance(domain, Simplex) else domain.radius
    for k in range(200):
        n = int(rng.integers(1, 9))
        x = rng.normal(size=n) * 10.0 ** rng.choice([0, 17, 100, 200, 307], n if k % 2 else 1)
        h = 10.0 ** rng.uniform(-150, 150, n)
        z = project(domain, x, h if k % 3 else np.ones(n))
        assert contains(domain, z, 1e-8)
        sizes = x if isinstance(domain, Simplex) else np.abs(x)
        gaps = np.diff(np.sort(np.clip(sizes, -1e150, 1e150)))
        if not k % 3 and n > 1 and gaps[-1] > 1e16 * radius and not isinstance(domain, L2Ball):
            assert np.abs(z[np.argmax(sizes)]) == pytest.approx(radius, rel=1e-8)  # Euclidean: the largest entry


def test_a_simplex_of_no_coordinates():
    with pytest.raises(ValueError, match="x: has no entries"):
        project(Simplex(), np.zeros(0), np.zeros(0))
