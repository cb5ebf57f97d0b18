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
def elastic_sum(x, step, u, k):
    """Sum of the first k iterates of x = soft_threshold(x, step) / (1 + u), for u > 0."""
    size, n = abs(x), type(x)(k)
    if step > 0:
        n = type(x)(math.floor(min(n, math.log1p(size / step * u) / math.log1p(u))))
    discount_sum = -math.expm1(-n * math.log1p(u)) / u
    return math.copysign(size * discount_sum - step * geometric_complement_sum(n, u), x)


@jitable
def geometric_sum(u, complement, k):
    """The sum of (1 + u)**-j over j = 1, …, k, where `complement` is 1 - (1 + u)**-k."""
    return select(u > 0, complement / select(u > 0, u, one_like(u)), k)
