"""Proximal operators of one variable, and closed forms for the sums of their iterates."""

import math
from typing import Any, NamedTuple

from ..compiler.jit import jitable
from ..compiler.power import decay, exponential_remainder, log_growth
from ..compiler.simd import one_like, select


@jitable
def soft_threshold(x, threshold):
    """sign(x) max(|x| - threshold, 0); NaN stays NaN."""
    magnitude = abs(x) - threshold
    return select(magnitude > 0, math.copysign(magnitude, x), x - x)


@jitable
def clip(x, lower, upper):
    """min(max(x, lower), upper); NaN stays NaN."""
    return select(x < lower, lower, select(x > upper, upper, x))


@jitable
def soft_threshold_sum(x, step, k):
    """Sum of soft_threshold(x, j step) over j = 1, …, k."""
    size = abs(x)
    n = _whole_part(select(size < k * step, size / select(step > 0, step, one_like(step)), k))  # the others are zero
    return math.copysign(n * size - step * (n * (n + one_like(x)) / (one_like(x) + one_like(x))), x)


@jitable
def _whole_part(x):
    """Return the largest integer that is not more than x >= 0, as a float."""
    return type(x)(math.floor(x))


class ElasticSteps(NamedTuple):
    """Proximal steps size = max(size - step, 0) / (1 + u) of the elastic net, as far as the results are not zero.

    `n` is their number, `discounts` the sum of (1 + u)**-j over j = 1, …, n, `last_discount` its last term, and
    `iterate_sum` the sum of the results.
    """

    n: Any
    discounts: Any
    last_discount: Any
    iterate_sum: Any


@jitable
def elastic_steps(size, step, u, k):
    """Return the `ElasticSteps` of k steps from a size; without branches, so that loops vectorise."""
    zero, half = size - size, type(size)(0.5)
    rate = log_growth(u)
    remainder, complement = decay(k * rate)
    is_positive = size * remainder > step * geometric_sum(u, complement, k)
    ratio = size / select(step > 0, step, one_like(step))
    n_positive = select(rate > 0, log_growth(ratio * u) / select(rate > 0, rate, one_like(rate)), ratio)
    n_positive = _whole_part(select(n_positive < k, n_positive, k))
    n = select(step > 0, select(is_positive, k, n_positive), k)
    growth = n * rate
    remainder, complement = decay(growth)
    discounts = geometric_sum(u, complement, n)
    # The sum of 1 - (1 + u)**-j over j = 1, …, n, divided by u; a series where the difference would cancel.
    short = select(growth < half, growth, zero)
    ratio = select(u > 0, rate / select(u > 0, u, one_like(u)), one_like(u))
    series = exponential_remainder(select(growth < half, rate, zero)) + n * exponential_remainder(-short)
    complements = select(growth < half, n * ratio * ratio * series, (n - discounts) / select(u > 0, u, one_like(u)))
    return ElasticSteps(n, discounts, remainder, size * discounts - step * complements)


@jitable
def elastic_sum(x, step, u, k):
    """Sum of the first k iterates of x = soft_threshold(x, step) / (1 + u)."""
    return math.copysign(elastic_steps(abs(x), step, u, k).iterate_sum, x)


@jitable
def geometric_sum(u, complement, k):
    """The sum of (1 + u)**-j over j = 1, …, k, where `complement` is 1 - (1 + u)**-k."""
    return select(u > 0, complement / select(u > 0, u, one_like(u)), k)


@jitable
def squared_geometric_sum(u, discounts, last_discount):
    """The sum of (1 + u)**(-2 j) over j = 1, …, k, where `discounts` is the sum of (1 + u)**-j."""
    one = one_like(u)
    return discounts * (one + last_discount) / (one + one + u)


@jitable
def elastic_value_sum(x, l1, l2, w, k):
    """Sum of l1 |x| + l2 x² / 2 at the first k iterates of x = soft_threshold(x, w l1) / (1 + w l2).

    An iterate x > 0 and the one before it, x', have w (l1 + l2 x) = x' - x.  So the value at x is
    (x' - x) x / (2 w) + l1 x / 2.  The differences x' - x are a geometric sequence, and so nothing cancels.
    """
    size, u, two = abs(x), w * l2, type(x)(2)
    _, discounts, last_discount, iterate_sum = elastic_steps(size, w * l1, u, k)
    slope = l1 + l2 * size
    decrease = w * slope * discounts
    squares = w * slope * squared_geometric_sum(u, discounts, last_discount)
    products = slope * (discounts * (two * size - decrease) - squares)  # of (x' - x) x, by w / 2
    return products / (two * two) + l1 * iterate_sum / two
