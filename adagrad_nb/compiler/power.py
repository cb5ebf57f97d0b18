"""The power (1 + u)^-k without branches and calls, so that loops over coordinates vectorise."""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import bind_inlined
from .simd import select


def inverse_power(u, k):
    """Return (1 + u)^-k and 1 - (1 + u)^-k, both to full precision, for u >= 0 and k >= 0."""
    exponent = -k * math.log1p(u)
    return math.exp(exponent), -math.expm1(exponent)


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


@bind_inlined(inverse_power)
def _overload_inverse_power(u, k):
    """Compute log1p and expm1 by argument reduction and series.

    W. Cody, W. Waite, "Software Manual for the Elementary Functions", Prentice-Hall 1980, chapters 5 and 6.
    """
    if not isinstance(u, types.Float):
        return None
    dtype, n_bits = (np.float64 if u.bitwidth == 64 else np.float32), u.bitwidth
    one, two, largest = dtype(1), dtype(2), dtype(np.finfo(dtype).max / 4)
    ln2, inverse_ln2, max_exponent = dtype(_LN2), dtype(1 / _LN2), dtype((_EXPONENT_BIAS[n_bits] - 2) * _LN2)
    high, low = (dtype(part) for part in _LN2_PARTS[n_bits])
    magic = dtype(1.5 * 2.0 ** _MANTISSA_BITS[n_bits])  # magic + x holds x, rounded to an integer, in its last bits
    a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10 = (dtype(2 / (2 * j + 1)) for j in range(11))
    b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12 = (dtype(1 / math.factorial(j + 1)) for j in range(13))

    def evaluate_series(u, k):
        v = select(u < largest, u, largest)
        e = _extract_exponent(one + v)  # 1 + v = 2**e (1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1)
        scale = _exp2_negated(e)
        f = v * scale + (scale - one)
        s = f / (two + f)
        q = s * s
        log = a5 + q * (a6 + q * (a7 + q * (a8 + q * (a9 + q * a10))))
        log = s * (a0 + q * (a1 + q * (a2 + q * (a3 + q * (a4 + q * log))))) + dtype(e) * ln2
        y = k * log
        underflows = y > max_exponent
        y = select(underflows, max_exponent, y)
        shifted = magic - y * inverse_ln2
        n = shifted - magic  # exp(-y) = 2**n exp(r), |r| <= ln(2) / 2
        r = (-y - n * high) - n * low
        polynomial = b6 + r * (b7 + r * (b8 + r * (b9 + r * (b10 + r * (b11 + r * b12)))))
        polynomial = r * (b0 + r * (b1 + r * (b2 + r * (b3 + r * (b4 + r * (b5 + r * polynomial))))))
        scale = _exp2_shifted(shifted)
        expm1_part = scale * polynomial
        return select(underflows, one - one, scale + expm1_part), select(underflows, one, (one - scale) - expm1_part)

    return evaluate_series
