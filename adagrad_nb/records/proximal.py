"""Proximal operators of one variable, and closed forms for the sums of their iterates."""

import math

from ..compiler.jit import jitable
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
    size, n = abs(x), k
    if size < k * step:
        n = type(x)(math.floor(size / step))  # the other terms are zero
    return math.copysign(n * size - step * (n * (n + type(x)(1)) / type(x)(2)), x)


@jitable
def geometric_complement_sum(n, u):
    """Sum of 1 - (1 + u)**-j over j = 1, …, n, divided by u, without cancellation for small u."""
    zero = u - u
    rate = math.log1p(u)
    log_growth = n * rate
    if log_growth > type(u)(0.5):
        return (n + math.expm1(-log_growth) / u) / u
    # The series of n expm1(rate) + expm1(-log_growth), whose first-order terms cancel exactly.
    series, a, b = zero, rate, -log_growth
    for m in range(2, 16):
        a *= rate / type(u)(m)
        b *= -log_growth / type(u)(m)
        series += n * a + b
    return series / (u * u)


@jitable
def _elastic_steps(size, step, u, k):
    """Return how many of the first k iterates of size = max(size - step, 0) / (1 + u) are not zero, for u > 0."""
    n = type(size)(k)
    if step > 0:
        n = type(size)(math.floor(min(n, math.log1p(size / step * u) / math.log1p(u))))
    return n


@jitable
def elastic_sum(x, step, u, k):
    """Sum of the first k iterates of x = soft_threshold(x, step) / (1 + u), for u > 0."""
    size = abs(x)
    n = _elastic_steps(size, step, u, k)
    discount_sum = -math.expm1(-n * math.log1p(u)) / u
    return math.copysign(size * discount_sum - step * geometric_complement_sum(n, u), x)


@jitable
def geometric_sum(u, complement, k):
    """The sum of (1 + u)**-j over j = 1, …, k, where `complement` is 1 - (1 + u)**-k."""
    return select(u > 0, complement / select(u > 0, u, one_like(u)), k)


@jitable
def elastic_value_sum(x, l1, l2, w, k):
    """Sum of l1 |x| + l2 x² / 2 at the first k iterates of x = soft_threshold(x, w l1) / (1 + w l2), for w l2 > 0.

    An iterate x > 0 and the one before it, x', have w (l1 + l2 x) = x' - x.  So the value at x is
    (x' - x) x / (2 w) + l1 x / 2.  The differences x' - x are a geometric sequence, and so nothing cancels.
    """
    size, u, two = abs(x), w * l2, type(x)(2)
    n = _elastic_steps(size, w * l1, u, k)
    log_growth = n * math.log1p(u)
    discounts = -math.expm1(-log_growth) / u
    squared_discounts = -math.expm1(-two * log_growth) / (u * (two + u))
    slope = l1 + l2 * size
    decrease = w * slope * discounts
    products = slope * (discounts * (two * size - decrease) - w * slope * squared_discounts)  # of (x' - x) x, by w / 2
    return products / (two * two) + l1 * abs(elastic_sum(x, w * l1, u, k)) / two
