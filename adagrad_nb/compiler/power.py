"""The power (1 + u)^-k and its parts without branches and calls, so that loops over coordinates vectorise."""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import bind_inlined, force_inline
from .simd import select


def log_growth(u):
    """Return log(1 + u) for u >= 0."""
    return math.log1p(u)


def decay(y):
    """Return exp(-y) and 1 - exp(-y), both to full precision, for y >= 0."""
    return math.exp(-y), -math.expm1(-y)


@force_inline()
def inverse_power(u, k):
    """Return (1 + u)^-k and 1 - (1 + u)^-k, both to full precision, for u >= 0 and k >= 0."""
    return decay(k * log_growth(u))


def exponential_remainder(z):
    """Return (exp(z) - 1 - z) / z² for abs(z) <= 1/2, and 1/2 for z = 0."""
    total, term = 0.0, 0.5
    for m in range(3, 18):
        total += term
        term *= z / m
    return type(z)(total)


# Number of mantissa bits and exponent bias, by the width of the floating-point type.
_MANTISSA_BITS, _EXPONENT_BIAS = {64: 52, 32: 23}, {64: 1023, 32: 127}


@intrinsic
def _extract_exponent(context, x):
    """Return the exponent e of a positive x = 2^e m with sqrt(1/2) <= m < sqrt(2)."""
    int_type, n_bits = ir.IntType(x.bitwidth), x.bitwidth
    dtype = np.float64 if n_bits == 64 else np.float32
    sqrt_half_bits = int(np.array(math.sqrt(0.5), dtype).view(f"i{n_bits // 8}"))

    def codegen(context, builder, signature, args):
        difference = builder.sub(builder.bitcast(args[0], int_type), int_type(sqrt_half_bits))
        return builder.ashr(difference, int_type(_MANTISSA_BITS[n_bits]))

    return types.Integer.from_bitwidth(n_bits, True)(x), codegen


def _make_power_of_two(build):
    """Return an intrinsic that computes a power of two; `build(builder, bias, bits)` gives its biased exponent."""

    @intrinsic
    def power_of_two(context, e):
        int_type, n_bits = ir.IntType(e.bitwidth), e.bitwidth
        float_type = types.Float(f"float{n_bits}")

        def codegen(context, builder, signature, args):
            bits = builder.bitcast(args[0], int_type)
            bits = builder.shl(build(builder, int_type(_EXPONENT_BIAS[n_bits]), bits), int_type(_MANTISSA_BITS[n_bits]))
            return builder.bitcast(bits, context.get_value_type(float_type))

        return float_type(e), codegen

    return power_of_two


_exp2_negated = _make_power_of_two(lambda builder, bias, e: builder.sub(bias, e))  # 2**-e of an integer
_exp2_shifted = _make_power_of_two(lambda builder, bias, n: builder.add(bias, n))  # 2**n of n + `magic`


_LN2 = math.log(2.0)
# ln 2 as a sum of two numbers; the first ends with zero bits, so its products with exponents are exact.
_LN2_PARTS = {64: (6.93147180369123816490e-01, 1.90821492927058770002e-10), 32: (0.693359375, -2.12194440e-4)}


def _power_series(coefficients, dtype):
    """Return an inlined function of x: the polynomial with these coefficients, by Horner's rule."""
    first = dtype(coefficients[0])
    if len(coefficients) == 1:
        return force_inline()(lambda x: first)
    rest = _power_series(coefficients[1:], dtype)
    return force_inline()(lambda x: first + x * rest(x))


@bind_inlined(log_growth)
def _overload_log_growth(u):
    """Compute log1p by argument reduction and a series.

    W. Cody, W. Waite, "Software Manual for the Elementary Functions", Prentice-Hall 1980, chapter 5.
    """
    if not isinstance(u, types.Float):
        return None
    dtype = np.float64 if u.bitwidth == 64 else np.float32
    one, two, largest, ln2 = dtype(1), dtype(2), dtype(np.finfo(dtype).max / 4), dtype(_LN2)
    series = _power_series([2 / (2 * j + 1) for j in range(11 if dtype == np.float64 else 5)], dtype)

    def evaluate_series(u):
        v = select(u < largest, u, largest)
        e = _extract_exponent(one + v)  # 1 + v = 2**e (1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1)
        scale = _exp2_negated(e)
        f = v * scale + (scale - one)
        s = f / (two + f)
        q = s * s
        return s * series(q) + dtype(e) * ln2

    return evaluate_series


@bind_inlined(decay)
def _overload_decay(y):
    """Compute exp and expm1 by argument reduction and a series, as in chapter 6 of the same book."""
    if not isinstance(y, types.Float):
        return None
    dtype, n_bits = (np.float64 if y.bitwidth == 64 else np.float32), y.bitwidth
    one, inverse_ln2, max_exponent = dtype(1), dtype(1 / _LN2), dtype((_EXPONENT_BIAS[n_bits] - 2) * _LN2)
    high, low = (dtype(part) for part in _LN2_PARTS[n_bits])
    magic = dtype(1.5 * 2.0 ** _MANTISSA_BITS[n_bits])  # magic + x holds x, rounded to an integer, in its last bits
    series = _power_series([1 / math.factorial(j + 1) for j in range(13 if dtype == np.float64 else 8)], dtype)

    def evaluate_series(y):
        underflows = y > max_exponent
        y = select(underflows, max_exponent, y)
        shifted = magic - y * inverse_ln2
        n = shifted - magic  # exp(-y) = 2**n exp(r), |r| <= ln(2) / 2
        r = (-y - n * high) - n * low
        scale = _exp2_shifted(shifted)
        expm1_part = scale * (r * series(r))
        return select(underflows, one - one, scale + expm1_part), select(underflows, one, (one - scale) - expm1_part)

    return evaluate_series


@bind_inlined(exponential_remainder)
def _overload_exponential_remainder(z):
    dtype = np.float64 if z.bitwidth == 64 else np.float32
    series = _power_series([1 / math.factorial(j + 2) for j in range(14 if dtype == np.float64 else 8)], dtype)
    return lambda z: series(z)
