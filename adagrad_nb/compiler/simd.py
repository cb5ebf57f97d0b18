"""Four, eight or sixteen lanes as one value: what a loop over a short, contiguous axis is compiled to.

LLVM's loop vectoriser needs long loops, and unrolls short ones of known length into scalars first; Numba does not run
the pass that would join these again.  A loop over 8 or 24 weights of one feature therefore stays three to six times
slower than its arithmetic.  Here a piece of the axis is a type of Numba's, a vector, with the operators of a number, so
that the scalar methods of a record compile for it as they are, if they choose by `select` and not by
branches.  Without a compiler none of this is used: loops take lane by lane.
"""

import math
import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from .jit import bind

LANES4 = 4
LANES8 = 8
LANES16 = 16


class Vector(types.Type):
    """So many numbers of a kind; with ``is_mask`` their truth values."""

    def __init__(self, dtype, n_lanes, is_mask=False):
        self.dtype, self.n_lanes, self.is_mask = dtype, n_lanes, is_mask
        super().__init__(name=f"Vector({dtype}, {n_lanes}{', bits' if is_mask else ''})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        element = ir.IntType(1) if vector.is_mask else manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.n_lanes))


def select(condition, yes, no):
    """`yes` where the condition holds, `no` elsewhere; both are computed."""
    return yes if condition else no


@bind(select)
def _overload_select(condition, yes, no):
    if isinstance(condition, Vector):
        return lambda condition, yes, no: _select_lanes(condition, yes, no)
    return lambda condition, yes, no: yes if condition else no


def safe_divide(a, b, guard):
    """a / b, and zero where `guard` is zero; where b is zero, so is `guard`."""
    return guard if guard == 0 else a / b


@bind(safe_divide)
def _overload_safe_divide(a, b, guard):
    if isinstance(b, Vector):
        return lambda a, b, guard: _select_lanes(guard == 0, guard, a / b)
    return lambda a, b, guard: guard if guard == 0 else a / b


def one_like(x):
    """1 in the precision of x."""
    return type(x)(1)


@bind(one_like)
def _overload_one_like(x):
    dtype = x.dtype if isinstance(x, Vector) else x
    return lambda x: dtype(1)


# --- memory ------------------------------------------------------------------------------------------------------


def _entry_pointer(context, builder, array_type, array, i, c):
    """Where the entry (i, c) of a two-dimensional array is, whose last axis is contiguous."""
    struct = cgutils.create_struct_proxy(array_type)(context, builder, array)
    stride = builder.extract_value(struct.strides, 0)
    row = builder.gep(builder.bitcast(struct.data, ir.IntType(8).as_pointer()), [builder.mul(i, stride)])
    element = context.get_data_type(array_type.dtype)
    return builder.gep(builder.bitcast(row, element.as_pointer()), [c])


def _extend_index(context, builder, value, index_type):
    """An index as a 64-bit integer, by its own sign."""
    is_signed = index_type.signed
    int64 = ir.IntType(64)
    if value.type.width == 64:
        return value
    return builder.sext(value, int64) if is_signed else builder.zext(value, int64)


def _make_load_codegen(n_lanes):
    """How a vector of a kind and count is loaded."""

    def codegen(context, builder, signature, args):
        array_type = signature.args[0]
        indices = (_extend_index(context, builder, args[k], signature.args[k]) for k in (1, 2))
        vector = ir.VectorType(context.get_data_type(array_type.dtype), n_lanes)
        pointer = builder.bitcast(_entry_pointer(context, builder, array_type, args[0], *indices), vector.as_pointer())
        value = builder.load(pointer)
        value.align = array_type.dtype.bitwidth // 8
        return value

    return codegen


@intrinsic
def load_lanes8(context, array, i, c):
    """array[i, c : c + WIDTH]"""
    return Vector(array.dtype, LANES8)(array, types.unliteral(i), types.unliteral(c)), _make_load_codegen(LANES8)


@intrinsic
def load_lanes4(context, array, i, c):
    """array[i, c : c + NARROW]"""
    return Vector(array.dtype, LANES4)(array, types.unliteral(i), types.unliteral(c)), _make_load_codegen(LANES4)


@intrinsic
def load_lanes16(context, array, i, c):
    """array[i, c : c + WIDE]"""
    return Vector(array.dtype, LANES16)(array, types.unliteral(i), types.unliteral(c)), _make_load_codegen(LANES16)


@intrinsic
def load_lanes_like(context, array, i, c, vector):
    """array[i, c : c + the length of the vector]"""
    index_types = (types.unliteral(i), types.unliteral(c))
    return Vector(array.dtype, vector.n_lanes)(array, *index_types, vector), _make_load_codegen(vector.n_lanes)


@intrinsic
def store_lanes(context, array, i, c, value):
    """array[i, c : c + WIDTH] = value"""

    def codegen(context, builder, signature, args):
        array_type = signature.args[0]
        indices = (_extend_index(context, builder, args[k], signature.args[k]) for k in (1, 2))
        pointer = builder.bitcast(
            _entry_pointer(context, builder, array_type, args[0], *indices), args[3].type.as_pointer()
        )
        builder.store(args[3], pointer).align = array_type.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.unliteral(i), types.unliteral(c), value), codegen


# --- arithmetic --------------------------------------------------------------------------------------------------


def _splat_scalar(context, builder, value, value_type, vector):
    """A number in all lanes; a vector as it is."""
    if isinstance(value_type, Vector):
        return value
    value = context.cast(builder, value, value_type, vector.dtype)
    vector_type = ir.VectorType(value.type, vector.n_lanes)
    first = builder.insert_element(ir.Constant(vector_type, ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.n_lanes), [0] * vector.n_lanes)
    return builder.shuffle_vector(first, ir.Constant(vector_type, ir.Undefined), zeros)


@intrinsic
def _select_lanes(context, condition, yes, no):
    vector = yes if isinstance(yes, Vector) else no if isinstance(no, Vector) else Vector(yes, condition.n_lanes)

    def codegen(context, builder, signature, args):
        operands = [_splat_scalar(context, builder, args[k], signature.args[k], vector) for k in (1, 2)]
        return builder.select(args[0], *operands)

    return vector(condition, types.unliteral(yes), types.unliteral(no)), codegen


def _define_binary(function, build, is_mask=False):
    """Define an operator of two vectors, or of a vector and a number."""

    @intrinsic
    def apply_operator(context, a, b):
        vector = a if isinstance(a, Vector) else b

        def codegen(context, builder, signature, args):
            operands = [_splat_scalar(context, builder, args[k], signature.args[k], vector) for k in (0, 1)]
            return build(builder, *operands)

        return Vector(vector.dtype, vector.n_lanes, is_mask)(types.unliteral(a), types.unliteral(b)), codegen

    @overload(function)
    def overload_operator(a, b):
        are_vectors = [isinstance(operand, Vector) for operand in (a, b)]
        if any(are_vectors) and all(
            is_vector or isinstance(operand, types.Number)
            for is_vector, operand in zip(are_vectors, (a, b), strict=True)
        ):
            return lambda a, b: apply_operator(a, b)
        return None


def _make_comparison(predicate):
    return lambda builder, a, b: builder.fcmp_ordered(predicate, a, b)


for _function, _build in (
    (operator.add, lambda builder, a, b: builder.fadd(a, b)),
    (operator.sub, lambda builder, a, b: builder.fsub(a, b)),
    (operator.mul, lambda builder, a, b: builder.fmul(a, b)),
    (operator.truediv, lambda builder, a, b: builder.fdiv(a, b)),
):
    _define_binary(_function, _build)
    _define_binary(getattr(operator, f"i{_function.__name__}"), _build)
for _function, _predicate in (
    (operator.eq, "=="), (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="),
):  # fmt: skip
    _define_binary(_function, _make_comparison(_predicate), is_mask=True)


def _log_lanes(a):
    """The logarithm of each entry of a vector; compiled only."""


@overload(math.log1p)
def _overload_log1p(a):
    if not isinstance(a, Vector):
        return None

    def log1p_lanes(a):  # W. Kahan: the rounding of 1 + a is divided out
        shifted = a + one_like(a)
        return select(shifted == one_like(a), a, _log_lanes(shifted) * (a / (shifted - one_like(a))))

    return log1p_lanes


@overload(operator.neg)
def _overload_neg(a):
    return (lambda a: a * -one_like(a)) if isinstance(a, Vector) else None


def _define_unary(function, name):
    """Define a function of a vector by LLVM's of the same meaning."""

    @intrinsic
    def apply_function(context, a):
        def codegen(context, builder, signature, args):
            function_type = ir.FunctionType(args[0].type, [args[0].type])
            symbol = f"llvm.{name}.v{a.n_lanes}f{a.dtype.bitwidth}"
            return builder.call(cgutils.get_or_insert_function(builder.module, function_type, symbol), args)

        return a(a), codegen

    @overload(function)
    def overload_function(a):
        return (lambda a: apply_function(a)) if isinstance(a, Vector) else None


_define_unary(math.sqrt, "sqrt")
_define_unary(abs, "fabs")
_define_unary(math.exp, "exp")
_define_unary(_log_lanes, "log")


@intrinsic
def _copysign_lanes(context, magnitude, sign):
    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(args[0].type, [args[0].type] * 2)
        symbol = f"llvm.copysign.v{magnitude.n_lanes}f{magnitude.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, function_type, symbol), args)

    return magnitude(magnitude, sign), codegen


@overload(math.copysign)
def _overload_copysign(magnitude, sign):
    if isinstance(magnitude, Vector) and isinstance(sign, Vector):
        return lambda magnitude, sign: _copysign_lanes(magnitude, sign)
    return None
