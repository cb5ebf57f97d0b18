"""Powers of what is near to one, without branches or calls: a loop over coordinates that takes them vectorises."""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import bind_inlined
from .simd import choose


def fade(u, k):
    """(1 + u)**-k, and one minus that to full precision, for u >= 0 and k >= 0."""
    exponent = -k * math.log1p(u)
    return math.exp(exponent), -math.expm1(exponent)


# Digits of the mantissa, and what is added to exponents, by the bits of a number.
_DIGITS, _BIAS = {64: 52, 32: 23}, {64: 1023, 32: 127}


@intrinsic
def _exponent(context, x):
    """The e of x = 2**e m, sqrt(1/2) <= m < sqrt(2), of a positive x."""
    word, width = ir.IntType(x.bitwidth), x.bitwidth
    real = np.float64 if width == 64 else np.float32
    root = int(np.array(math.sqrt(0.5), real).view(f"i{width // 8}"))

    def codegen(context, builder, signature, args):
        above = builder.sub(builder.bitcast(args[0], word), word(root))
        return builder.ashr(above, word(_DIGITS[width]))

    return types.Integer.from_bitwidth(width, True)(x), codegen


def _power_of_two(build):
    """A function of an exponent, of which the last bits of `build(builder, bias, its bits)` are the number's."""

    @intrinsic
    def power(context, e):
        word, width = ir.IntType(e.bitwidth), e.bitwidth
        real = types.Float(f"float{width}")

        def codegen(context, builder, signature, args):
            bits = builder.bitcast(args[0], word)
            bits = builder.shl(build(builder, word(_BIAS[width]), bits), word(_DIGITS[width]))
            return builder.bitcast(bits, context.get_value_type(real))

        return real(e), codegen

    return power


_down = _power_of_two(lambda builder, bias, e: builder.sub(bias, e))  # 2**-e of an integer
_up = _power_of_two(lambda builder, bias, n: builder.add(bias, n))  # 2**n of n + `magic`


_LN2 = math.log(2.0)
# ln 2 in two parts, of which the first has zeros at its end: its products with exponents are exact.
_PARTS = {64: (6.93147180369123816490e-01, 1.90821492927058770002e-10), 32: (0.693359375, -2.12194440e-4)}


@bind_inlined(fade)
def _fade(u, k):
    """Exponent and mantissa of 1 + u apart; the logarithm and the exponential by their series, on short intervals.

    W. Cody, W. Waite, "Software Manual for the Elementary Functions", Prentice-Hall 1980, chapters 5 and 6.
    """
    if not isinstance(u, types.Float):
        return None
    real, width = (np.float64 if u.bitwidth == 64 else np.float32), u.bitwidth
    one, two, most = real(1), real(2), real(np.finfo(real).max / 4)
    ln2, per_ln2, deepest = real(_LN2), real(1 / _LN2), real((_BIAS[width] - 2) * _LN2)
    high, low = (real(part) for part in _PARTS[width])
    magic = real(1.5 * 2.0 ** _DIGITS[width])  # what is added to it is rounded to an integer, in the last bits
    a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10 = (real(2 / (2 * j + 1)) for j in range(11))
    b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12 = (real(1 / math.factorial(j + 1)) for j in range(13))

    def series(u, k):
        v = choose(u < most, u, most)
        e = _exponent(one + v)  # 1 + v = 2**e (1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1)
        scale = _down(e)
        f = v * scale + (scale - one)
        s = f / (two + f)
        q = s * s
        log = a5 + q * (a6 + q * (a7 + q * (a8 + q * (a9 + q * a10))))
        log = s * (a0 + q * (a1 + q * (a2 + q * (a3 + q * (a4 + q * log))))) + real(e) * ln2
        y = k * log
        gone = y > deepest
        y = choose(gone, deepest, y)
        shifted = magic - y * per_ln2
        n = shifted - magic  # exp(-y) = 2**n exp(r), |r| <= ln(2) / 2
        r = (-y - n * high) - n * low
        p = b6 + r * (b7 + r * (b8 + r * (b9 + r * (b10 + r * (b11 + r * b12)))))
        p = r * (b0 + r * (b1 + r * (b2 + r * (b3 + r * (b4 + r * (b5 + r * p))))))
        scale = _up(shifted)
        rest = scale * p
        return choose(gone, one - one, scale + rest), choose(gone, one, (one - scale) - rest)

    return series
