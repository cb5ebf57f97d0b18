"""Losses: values, slopes and links, at ordinary margins and at enormous ones."""

import math

import numpy as np
import pytest
import reference

from adagrad_nb import Logistic, Squared
from adagrad_nb.losses import link, slope, value

MARGINS = [0.0, 1e-300, 1e-8, 0.1, 1.0, 5.0, 36.0, 40.0, 700.0, 745.0, 800.0, 1e5, 1e300]


@pytest.mark.parametrize("p", [sign * size for size in MARGINS for sign in (1, -1)])
@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_logistic_at_every_margin(y, p):
    assert value(Logistic(), y, p) == pytest.approx(reference.logistic(y, p), rel=1e-14, abs=0)
    assert slope(Logistic(), y, p) == pytest.approx(reference.logistic_slope(y, p), rel=1e-14, abs=1e-323)
    assert link(Logistic(), p) == pytest.approx(reference.logistic_link(p), rel=1e-14, abs=1e-323)


@pytest.mark.parametrize("p", [-800.0, -3.0, 0.0, 0.5, 1e150])
@pytest.mark.parametrize("y", [-2.5, 0.0, 7.0])
def test_squared(y, p):
    assert value(Squared(), y, p) == reference.squared(y, p)
    assert slope(Squared(), y, p) == p - y
    assert link(Squared(), p) == p


LOSSES = [Logistic(), Squared()]
each = pytest.mark.parametrize("loss", LOSSES, ids=str)


@each
def test_slope_is_the_derivative_of_the_value(loss, rng):
    h = 1e-6
    for p in rng.normal(size=50) * 5:
        for y in (-1.0, 1.0):
            difference = (value(loss, y, p + h) - value(loss, y, p - h)) / (2 * h)
            assert slope(loss, y, p) == pytest.approx(difference, rel=1e-7, abs=1e-8)


@each
def test_the_link_is_where_the_slopes_balance(loss, rng):
    """The mean of y that p stands for makes p optimal: mean y = link(p) has mean slope 0."""
    for p in rng.normal(size=20) * 3:
        mean = link(loss, p)
        if loss.labels == "binary":
            balance = mean * slope(loss, 1.0, p) + (1 - mean) * slope(loss, -1.0, p)
        else:
            balance = slope(loss, mean, p)
        assert balance == pytest.approx(0.0, abs=1e-15)


def test_logistic_link_and_its_inverse(rng):
    for p in rng.normal(size=20) * 5:
        q = link(Logistic(), p)
        assert math.log(q / (1 - q)) == pytest.approx(p, rel=1e-10)
        assert link(Logistic(), -p) == pytest.approx(1 - q, rel=1e-12)


@each
def test_slope_rises(loss):
    """Convex: the slope never falls as p grows."""
    for y in (-1.0, 1.0):
        slopes = [slope(loss, y, p) for p in np.linspace(-50, 50, 2001).tolist()]
        assert all(a <= b for a, b in zip(slopes, slopes[1:], strict=False))


@each
def test_not_a_number_propagates(loss):
    for function in (value, slope):
        assert math.isnan(function(loss, 1.0, math.nan))
        assert math.isnan(function(loss, math.nan, 1.0))
    assert math.isnan(link(loss, math.nan))


@each
def test_single_precision(loss):
    for p in np.float32([-90.0, -1.5, 0.0, 2.0, 90.0]):
        one = np.float32(1)
        for y in (one, -one):
            assert value(loss, y, p) == pytest.approx(value(loss, float(y), float(p)), rel=1e-6)
            assert slope(loss, y, p) == pytest.approx(slope(loss, float(y), float(p)), rel=1e-6)
            assert type(slope(loss, y, p)) is np.float32
