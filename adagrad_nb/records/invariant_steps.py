"""Where a prediction comes to that follows the negative slope of its loss, the slope changing on the way.

The invariant step of Karampatziakis and Langford (2011): many infinitely small steps in place of one, so that a row of
weight 2 is the same row twice and no row is overshot.  A loss has it as ``flow(y, p, q, tau)``: the u by which p + q u
is reached from p in the time tau, where p moves q times as fast as u.  Each has a closed form.
"""

import math

from ..compiler.jit import jitable


@jitable
def capped_linear_flow(r, c, max_speed, rate):
    """How far r > 0 falls in the time c where its speed is min(steep, bend r)."""
    linear_below = max_speed / rate
    if r <= linear_below:
        return -r * math.expm1(-rate * c)
    if max_speed * c <= r - linear_below:
        return max_speed * c
    if linear_below <= 0:
        return r
    return r - linear_below * math.exp(-rate * (c - (r - linear_below) / max_speed))


@jitable
def logistic_flow(m, c):
    """How far the margin m climbs in the time c where its speed is 1 / (1 + exp(m)).

    It is the d with d + exp(m) (exp(d) - 1) = c.  By Lambert's function, d = v - m - W(exp(v)) with v = c + m + exp(m),
    which loses all digits of a small d.
    """
    e = math.exp(-abs(m))
    one = type(c)(1)
    a, b = (e, one) if m > 0 else (one, e)  # a d + b (exp(d) - 1) = a c
    d = a * c / (a + b)
    if b > 0:
        d = min(d, math.log1p(a * c / b))
    # Halley's method: Newton's step is less than 1 from such a start, so that nothing is divided by less than a half.
    for _ in range(20):
        growth = math.expm1(d)
        speed = a + b * (growth + one)
        newton = (a * (d - c) + b * growth) / speed
        change = newton / (one - newton * (b * (growth + one) / (speed + speed)))
        d -= change
        if abs(change) <= type(c)(3e-6) * d / (one + d):  # the next change would be about the cube of this one
            break
    return d


@jitable
def poisson_flow(y, mean, c):
    """How far the logarithm of `mean` moves in the time c where its speed is y - mean, y >= 0."""
    elapsed = -math.expm1(-y * c) / y if y > 0 else c
    return -math.log1p((mean - y) * elapsed)
