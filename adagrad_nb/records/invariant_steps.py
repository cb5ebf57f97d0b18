"""Importance-weight-aware updates: closed-form gradient flow of a prediction (Karampatziakis and Langford 2011).

An explicit step of a row with weight h can overshoot the target.  The limit of infinitely many small steps cannot, and
makes a row of weight 2 equal to two rows of weight 1.  In this limit the prediction follows the negative slope of its
loss.  The functions here are the solutions of that differential equation for common losses.  The method
``invariant_step`` of losses uses them (see `losses`).
"""

import math

from ..compiler.jit import jitable, method

_slope = method("slope")


@jitable
def _explicit_step(loss, y, p, q, tau):
    """Return the explicit step, for losses without `invariant_step`."""
    return -tau * _slope(loss, y, p)


invariant_step = method("invariant_step", default=_explicit_step)


@jitable
def capped_linear_flow(r, c, max_speed, rate):
    """Return the decrease of r > 0 in the time c under dr/dc = -min(max_speed, rate r)."""
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
    """Return the increase d of the margin m in the time c under dm/dc = 1 / (1 + exp(m)).

    d solves d + exp(m) (exp(d) - 1) = c.  The closed form d = v - m - W(exp(v)) with Lambert's W and
    v = c + m + exp(m) loses all digits of a small d, so the equation is solved by iteration.
    """
    e = math.exp(-abs(m))
    one = type(c)(1)
    a, b = (e, one) if m > 0 else (one, e)  # a d + b (exp(d) - 1) = a c
    d = a * c / (a + b)
    if b > 0:
        d = min(d, math.log1p(a * c / b))
    # Halley's method.  From this start Newton's step is less than 1, so the divisor below is at least 1/2.
    for _ in range(20):
        growth = math.expm1(d)
        speed = a + b * (growth + one)
        newton = (a * (d - c) + b * growth) / speed
        change = newton / (one - newton * (b * (growth + one) / (speed + speed)))
        d -= change
        if abs(change) <= type(c)(3e-6) * d / (one + d):  # convergence is cubic
            break
    return d


@jitable
def poisson_flow(y, mean, c):
    """Return the change of q = log(mean) in the time c under dq/dc = y - exp(q), for y >= 0."""
    elapsed = -math.expm1(-y * c) / y if y > 0 else c
    return -math.log1p((mean - y) * elapsed)
