"""Four, eight or sixteen lanes as one value: what a loop over a short, contiguous axis is compiled to.

LLVM's loop vectoriser needs long loops, and unrolls short ones of known length into scalars first; Numba does not run
the pass that would join these again.  A loop over 8 or 24 weights of one feature therefore stays three to six times
slower than its arithmetic.  Here a piece of the axis is a type of Numba's, a vector, with the operators of a number, so
that the scalar methods of a record compile for it as they are, if they choose by `choose` and not by
branches.  Without a compiler none of this is used: loops take lane by lane.
"""

import math
import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from .jit import bind

NARROW = 4
WIDTH = 8
WIDE = 16


class Vector(types.Type):
    """So many numbers of a kind; with ``bits`` their truth values."""

    def __init__(self, dtype, count, bits=False):
        self.dtype, self.count, self.bits = dtype, count, bits
        super().__init__(name=f"Vector({dtype}, {count}{', bits' if bits else ''})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        element = ir.IntType(1) if vector.bits else manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.count))


def choose(condition, yes, no):
    """`yes` where the condition holds, `no` elsewhere; both are computed."""
    return yes if condition else no


@bind(choose)
def _choose(condition, yes, no):
    if isinstance(condition, Vector):
        return lambda condition, yes, no: _select(condition, yes, no)
    return lambda condition, yes, no: yes if condition else no


def ratio(a, b, ground):
    """a / b, and zero where `ground` is zero; where b is zero, so is `ground`."""
    return ground if ground == 0 else a / b


@bind(ratio)
def _ratio(a, b, ground):
    if isinstance(b, Vector):
        return lambda a, b, ground: _select(ground == 0, ground, a / b)
    return lambda a, b, ground: ground if ground == 0 else a / b


def one(x):
    """1 in the precision of x."""
    return type(x)(1)


@bind(one)
def _one(x):
    kind = x.dtype if isinstance(x, Vector) else x
    return lambda x: kind(1)


# --- memory ------------------------------------------------------------------------------------------------------


def _address(context, builder, kind, array, i, c):
    """Where the entry (i, c) of a two-dimensional array is, whose last axis is contiguous."""
    parts = cgutils.create_struct_proxy(kind)(context, builder, array)
    stride = builder.extract_value(parts.strides, 0)
    row = builder.gep(builder.bitcast(parts.data, ir.IntType(8).as_pointer()), [builder.mul(i, stride)])
    element = context.get_data_type(kind.dtype)
    return builder.gep(builder.bitcast(row, element.as_pointer()), [c])


def _wide(context, builder, value, kind):
    """An index as a 64-bit integer, by its own sign."""
    signed = kind.signed
    word = ir.IntType(64)
    if value.type.width == 64:
        return value
    return builder.sext(value, word) if signed else builder.zext(value, word)


def _fetching(count):
    """How a vector of a kind and count is loaded."""

    def codegen(context, builder, signature, args):
        kind = signature.args[0]
        at = (_wide(context, builder, args[k], signature.args[k]) for k in (1, 2))
        vector = ir.VectorType(context.get_data_type(kind.dtype), count)
        pointer = builder.bitcast(_address(context, builder, kind, args[0], *at), vector.as_pointer())
        value = builder.load(pointer)
        value.align = kind.dtype.bitwidth // 8
        return value

    return codegen


@intrinsic
def fetch(context, array, i, c):
    """array[i, c : c + WIDTH]"""
    return Vector(array.dtype, WIDTH)(array, types.unliteral(i), types.unliteral(c)), _fetching(WIDTH)


@intrinsic
def fetch_narrow(context, array, i, c):
    """array[i, c : c + NARROW]"""
    return Vector(array.dtype, NARROW)(array, types.unliteral(i), types.unliteral(c)), _fetching(NARROW)


@intrinsic
def fetch_wide(context, array, i, c):
    """array[i, c : c + WIDE]"""
    return Vector(array.dtype, WIDE)(array, types.unliteral(i), types.unliteral(c)), _fetching(WIDE)


@intrinsic
def alike(context, array, i, c, vector):
    """array[i, c : c + the length of the vector]"""
    kinds = (types.unliteral(i), types.unliteral(c))
    return Vector(array.dtype, vector.count)(array, *kinds, vector), _fetching(vector.count)


@intrinsic
def put(context, array, i, c, value):
    """array[i, c : c + WIDTH] = value"""

    def codegen(context, builder, signature, args):
        kind = signature.args[0]
        at = (_wide(context, builder, args[k], signature.args[k]) for k in (1, 2))
        pointer = builder.bitcast(_address(context, builder, kind, args[0], *at), args[3].type.as_pointer())
        builder.store(args[3], pointer).align = kind.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.unliteral(i), types.unliteral(c), value), codegen


# --- arithmetic --------------------------------------------------------------------------------------------------


def _spread(context, builder, value, kind, vector):
    """A number in all lanes; a vector as it is."""
    if isinstance(kind, Vector):
        return value
    value = context.cast(builder, value, kind, vector.dtype)
    shape = ir.VectorType(value.type, vector.count)
    first = builder.insert_element(ir.Constant(shape, ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, ir.Constant(shape, ir.Undefined), zeros)


@intrinsic
def _select(context, condition, yes, no):
    vector = yes if isinstance(yes, Vector) else no if isinstance(no, Vector) else Vector(yes, condition.count)

    def codegen(context, builder, signature, args):
        sides = [_spread(context, builder, args[k], signature.args[k], vector) for k in (1, 2)]
        return builder.select(args[0], *sides)

    return vector(condition, types.unliteral(yes), types.unliteral(no)), codegen


def _binary(function, build, bits=False):
    """Define an operator of two vectors, or of a vector and a number."""

    @intrinsic
    def apply(context, a, b):
        vector = a if isinstance(a, Vector) else b

        def codegen(context, builder, signature, args):
            sides = [_spread(context, builder, args[k], signature.args[k], vector) for k in (0, 1)]
            return build(builder, *sides)

        return Vector(vector.dtype, vector.count, bits)(types.unliteral(a), types.unliteral(b)), codegen

    @overload(function)
    def operate(a, b):
        kinds = [isinstance(side, Vector) for side in (a, b)]
        if any(kinds) and all(kind or isinstance(side, types.Number) for kind, side in zip(kinds, (a, b), strict=True)):
            return lambda a, b: apply(a, b)
        return None


def _compared(sign):
    return lambda builder, a, b: builder.fcmp_ordered(sign, a, b)


for _function, _build in (
    (operator.add, lambda builder, a, b: builder.fadd(a, b)),
    (operator.sub, lambda builder, a, b: builder.fsub(a, b)),
    (operator.mul, lambda builder, a, b: builder.fmul(a, b)),
    (operator.truediv, lambda builder, a, b: builder.fdiv(a, b)),
):
    _binary(_function, _build)
    _binary(getattr(operator, f"i{_function.__name__}"), _build)
for _function, _sign in (
    (operator.eq, "=="), (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="),
):  # fmt: skip
    _binary(_function, _compared(_sign), bits=True)


def _log(a):
    """The logarithm of each entry of a vector; compiled only."""


@overload(math.log1p)
def _log1p(a):
    if not isinstance(a, Vector):
        return None

    def accurate(a):  # W. Kahan: the rounding of 1 + a is divided out
        whole = a + one(a)
        return choose(whole == one(a), a, _log(whole) * (a / (whole - one(a))))

    return accurate


@overload(operator.neg)
def _neg(a):
    return (lambda a: a * -one(a)) if isinstance(a, Vector) else None


def _unary(function, name):
    """Define a function of a vector by LLVM's of the same meaning."""

    @intrinsic
    def apply(context, a):
        def codegen(context, builder, signature, args):
            kind = ir.FunctionType(args[0].type, [args[0].type])
            title = f"llvm.{name}.v{a.count}f{a.dtype.bitwidth}"
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, title), args)

        return a(a), codegen

    @overload(function)
    def operate(a):
        return (lambda a: apply(a)) if isinstance(a, Vector) else None


_unary(math.sqrt, "sqrt")
_unary(abs, "fabs")
_unary(math.exp, "exp")
_unary(_log, "log")


@intrinsic
def _with_sign(context, size, sign):
    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(args[0].type, [args[0].type] * 2)
        title = f"llvm.copysign.v{size.count}f{size.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, title), args)

    return size(size, sign), codegen


@overload(math.copysign)
def _copysign(size, sign):
    if isinstance(size, Vector) and isinstance(sign, Vector):
        return lambda size, sign: _with_sign(size, sign)
    return None
