"""What shrinking steps leave of a coordinate, and the sums of what they leave one after the other."""

import math

from ..compiler.jit import plain
from ..compiler.simd import choose, one


@plain
def soft(x, threshold):
    """sign(x) max(|x| - threshold, 0); NaN stays NaN."""
    size = abs(x) - threshold
    return choose(size > 0, math.copysign(size, x), x - x)


@plain
def clip(x, lower, upper):
    """min(max(x, lower), upper); NaN stays NaN."""
    return choose(x < lower, lower, choose(x > upper, upper, x))


@plain
def lasso_total(x, step, k):
    """Sum of soft(x, j step) over j = 1, …, k."""
    size, n = abs(x), k
    if size < k * step:
        n = type(x)(math.floor(size / step))  # the other terms are zero
    return math.copysign(n * size - step * (n * (n + type(x)(1)) / type(x)(2)), x)


@plain
def lag(n, u):
    """Sum of 1 - (1 + u)**-j over j = 1, …, n, divided by u; without cancellation for small u."""
    zero = u - u
    rate = math.log1p(u)
    span = n * rate
    if span > type(u)(0.5):
        return (n + math.expm1(-span) / u) / u
    # n expm1(rate) + expm1(-span) as a series, in which the first-order terms cancel exactly
    whole, a, b = zero, rate, -span
    for m in range(2, 16):
        a *= rate / type(u)(m)
        b *= -span / type(u)(m)
        whole += n * a + b
    return whole / (u * u)


@plain
def elastic_total(x, step, u, k):
    """Sum over j = 1, …, k of x after j times soft(x, step) / (1 + u), for u > 0."""
    size, n = abs(x), type(x)(k)
    if step > 0:
        n = type(x)(math.floor(min(n, math.log1p(size / step * u) / math.log1p(u))))
    fresh = -math.expm1(-n * math.log1p(u)) / u
    return math.copysign(size * fresh - step * lag(n, u), x)


@plain
def steps(u, gone, k):
    """The sum of (1 + u)**-j over j = 1, …, k, where `gone` is 1 - (1 + u)**-k."""
    return choose(u > 0, gone / choose(u > 0, u, one(u)), k)
