"""SIMD vectors of 4, 8 or 16 lanes as a Numba type, for loops over a short contiguous axis.

LLVM's loop vectoriser needs long loops.  It unrolls short loops of known length into scalar code first, and Numba does
not run the pass that would vectorise this code.  A loop over 8 or 24 weights of one feature is therefore three to six
times slower than its arithmetic.  The type `Vector` has the operators of a number, so the scalar methods of a record
compile for it if they use `select` in place of branches.  With the compiler disabled, loops process single elements
and this type is not used.
"""

import math
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from .jit import bind, bind_inlined, jitable

LANES4 = 4
LANES8 = 8
LANES16 = 16


class Vector(types.Type):
    """Numba type of `n_lanes` numbers of one dtype or, with `is_mask`, of as many truth values."""

    def __init__(self, dtype, n_lanes, is_mask=False):
        self.dtype, self.n_lanes, self.is_mask = dtype, n_lanes, is_mask
        super().__init__(name=f"Vector({dtype}, {n_lanes}{', bits' if is_mask else ''})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        element = ir.IntType(1) if vector.is_mask else manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.n_lanes))


def select(condition, yes, no):
    """Return `yes` where the condition holds and `no` elsewhere, without a branch."""
    return yes if condition else no


@bind(select)
def _overload_select(condition, yes, no):
    if isinstance(condition, Vector):
        return lambda condition, yes, no: _select_lanes(condition, yes, no)
    return lambda condition, yes, no: yes if condition else no


def safe_divide(a, b, guard):
    """Return a / b, or zero where `guard` is zero; `guard` must be zero wherever b is."""
    return guard if guard == 0 else a / b


@bind(safe_divide)
def _overload_safe_divide(a, b, guard):
    if isinstance(b, Vector):
        return lambda a, b, guard: _select_lanes(guard == 0, guard, a / b)
    return lambda a, b, guard: guard if guard == 0 else a / b


def one_like(x):
    """Return 1 in the precision of x."""
    return type(x)(1)


@bind(one_like)
def _overload_one_like(x):
    dtype = x.dtype if isinstance(x, Vector) else x
    return lambda x: dtype(1)


def number_like(k, x):
    """Return the number k in the precision of x."""
    return type(x)(k)


@bind(number_like)
def _overload_number_like(k, x):
    dtype = x.dtype if isinstance(x, Vector) else x
    return lambda k, x: dtype(k)


# Magnitudes whose squares are far from overflow.
MAGNITUDE_LIMITS: dict[type, np.floating] = {np.float32: np.float32(2.0**58), np.float64: np.float64(2.0**500)}
SMALLEST_ACCURATE_NORMS = {
    dtype: 1 / float(limit) for dtype, limit in MAGNITUDE_LIMITS.items()
}  # of `is_accurate_norm`


def magnitude_limit_like(x):
    """Return a magnitude in the precision of x of which 2,000 squares can be added without overflow."""
    return MAGNITUDE_LIMITS[np.float32 if type(x) is np.float32 else np.float64]


@bind(magnitude_limit_like)
def _overload_magnitude_limit_like(x):
    limit = MAGNITUDE_LIMITS[getattr(np, (x.dtype if isinstance(x, Vector) else x).name)]
    return lambda x: limit


LARGEST = {np.float32: np.finfo(np.float32).max, np.float64: np.finfo(np.float64).max}


def largest_like(x):
    """Return the largest finite number in the precision of x."""
    return LARGEST[np.float32 if type(x) is np.float32 else np.float64]


@bind(largest_like)
def _overload_largest_like(x):
    largest = LARGEST[getattr(np, x.name)]
    return lambda x: largest


@jitable
def is_accurate_norm(norm):
    """Return whether the root of a sum of squares is accurate: none overflowed, and underflows are negligible."""
    return norm * magnitude_limit_like(norm) >= type(norm)(1) and norm < type(norm)(math.inf)


@jitable
def rescale_norm(largest, total):
    """Return largest * sqrt(total): the norm of a vector, where `total` is the sum of squares of the vector / largest.

    A norm beyond the largest finite number is that number, so that a finite vector has a finite norm.
    """
    return min(largest * math.sqrt(total), largest_like(total))


# --- memory ---------------------------------------------------------------------------------------------------------

CACHE_LINE = 64  # bytes


def aligned_zeros(shape, dtype):
    """Return zeros that start at the boundary of a cache line, so that few SIMD vectors straddle two lines."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = np.zeros(size + CACHE_LINE, np.uint8)
    offset = -buffer.ctypes.data % CACHE_LINE
    return buffer[offset : offset + size].view(dtype).reshape(shape)


# --- loads and stores --------------------------------------------------------------------------------------------


def _entry_pointer(context, builder, array_type, array, i, c):
    """Return the pointer to element (i, c) of a two-dimensional array whose last axis is contiguous."""
    struct = cgutils.create_struct_proxy(array_type)(context, builder, array)
    stride = builder.extract_value(struct.strides, 0)
    row = builder.gep(builder.bitcast(struct.data, ir.IntType(8).as_pointer()), [builder.mul(i, stride)])
    element = context.get_data_type(array_type.dtype)
    return builder.gep(builder.bitcast(row, element.as_pointer()), [c])


def _extend_index(context, builder, value, index_type):
    """Extend an index to 64 bits, with its sign if its type is signed."""
    is_signed = index_type.signed
    int64 = ir.IntType(64)
    if value.type.width == 64:
        return value
    return builder.sext(value, int64) if is_signed else builder.zext(value, int64)


def _make_load_codegen(n_lanes):
    """Return the code generator of a load of `n_lanes` elements."""

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
    """array[i, c : c + LANES8]"""
    return Vector(array.dtype, LANES8)(array, types.unliteral(i), types.unliteral(c)), _make_load_codegen(LANES8)


@intrinsic
def load_lanes4(context, array, i, c):
    """array[i, c : c + LANES4]"""
    return Vector(array.dtype, LANES4)(array, types.unliteral(i), types.unliteral(c)), _make_load_codegen(LANES4)


@intrinsic
def load_lanes16(context, array, i, c):
    """array[i, c : c + LANES16]"""
    return Vector(array.dtype, LANES16)(array, types.unliteral(i), types.unliteral(c)), _make_load_codegen(LANES16)


@intrinsic
def load_lanes_like(context, array, i, c, vector):
    """array[i, c : c + n], where n is the number of lanes of `vector`"""
    index_types = (types.unliteral(i), types.unliteral(c))
    return Vector(array.dtype, vector.n_lanes)(array, *index_types, vector), _make_load_codegen(vector.n_lanes)


@intrinsic
def store_lanes(context, array, i, c, value):
    """array[i, c : c + n] = value, where n is the number of lanes of `value`"""

    def codegen(context, builder, signature, args):
        array_type = signature.args[0]
        indices = (_extend_index(context, builder, args[k], signature.args[k]) for k in (1, 2))
        pointer = builder.bitcast(
            _entry_pointer(context, builder, array_type, args[0], *indices), args[3].type.as_pointer()
        )
        builder.store(args[3], pointer).align = array_type.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.unliteral(i), types.unliteral(c), value), codegen


def load_entry(array, i, c, like):
    """Return array[i, c], or the SIMD vector from there on if `like` is a vector."""
    return array[i, c]


@bind_inlined(load_entry)
def _overload_load_entry(array, i, c, like):
    if isinstance(like, Vector):
        return lambda array, i, c, like: load_lanes_like(array, i, c, like)
    return lambda array, i, c, like: array[i, c]


def store_entry(array, i, c, value):
    """Set array[i, c], or the SIMD vector from there on, to `value`."""
    array[i, c] = value


@bind_inlined(store_entry)
def _overload_store_entry(array, i, c, value):
    if isinstance(value, Vector):
        return lambda array, i, c, value: store_lanes(array, i, c, value)

    def store_number(array, i, c, value):
        array[i, c] = value

    return store_number


def load_slots(arrays, i, c, vector):
    """Return the entries, or the SIMD vectors like `vector`, at (i, c) of a tuple of arrays."""
    return tuple(array[i, c] for array in arrays)


def store_slots(arrays, i, c, values):
    """Store numbers or SIMD vectors at (i, c) of a tuple of arrays."""
    for array, entry in zip(arrays, values, strict=True):
        array[i, c] = entry


@bind(load_slots)
def _overload_load_slots(arrays, i, c, vector):
    if len(arrays) == 0:
        return lambda arrays, i, c, vector: ()
    return lambda arrays, i, c, vector: (load_entry(arrays[0], i, c, vector),) + load_slots(arrays[1:], i, c, vector)


@bind(store_slots)
def _overload_store_slots(arrays, i, c, values):
    if len(arrays) == 0:
        return lambda arrays, i, c, values: None

    def store_each(arrays, i, c, values):
        store_entry(arrays[0], i, c, values[0])
        store_slots(arrays[1:], i, c, values[1:])

    return store_each


def accumulate_entry(table, i, first, bounded, last):
    """Add `first` to table[i, 0] and `last` to table[i, 3], and extend the bounds table[i, 1:3] to `bounded`.

    Compiled, this is one load, three operations and one store of a SIMD vector.
    """
    table[i, 0] += first
    table[i, 1] = min(table[i, 1], bounded)
    table[i, 2] = max(table[i, 2], bounded)
    table[i, 3] += last


@intrinsic
def _accumulate_lanes(context, table, i, first, bounded, last):
    def codegen(context, builder, signature, args):
        array_type = signature.args[0]
        index = _extend_index(context, builder, args[1], signature.args[1])
        number, int32 = context.get_data_type(first), ir.IntType(32)
        given = ir.Constant(ir.VectorType(number, LANES4), ir.Undefined)
        for lane, value in enumerate((args[2], args[3], args[3], args[4])):
            given = builder.insert_element(given, value, int32(lane))
        vector = ir.VectorType(context.get_data_type(array_type.dtype), LANES4)
        if vector != given.type:
            given = builder.fpext(given, vector)
        pointer = _entry_pointer(context, builder, array_type, args[0], index, ir.IntType(64)(0))
        pointer = builder.bitcast(pointer, vector.as_pointer())
        old = builder.load(pointer)
        total = builder.fadd(old, given)
        lower = builder.select(builder.fcmp_ordered("<", given, old), given, old)
        upper = builder.select(builder.fcmp_ordered(">", given, old), given, old)
        bounds = builder.shuffle_vector(lower, upper, ir.Constant(ir.VectorType(int32, LANES4), [0, 1, 6, 7]))
        new = builder.shuffle_vector(total, bounds, ir.Constant(ir.VectorType(int32, LANES4), [0, 5, 6, 3]))
        store = builder.store(new, pointer)
        old.align = store.align = array_type.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(table, types.unliteral(i), first, bounded, last), codegen


@bind_inlined(accumulate_entry)
def _overload_accumulate_entry(table, i, first, bounded, last):
    return lambda table, i, first, bounded, last: _accumulate_lanes(table, i, first, bounded, last)


# --- arithmetic --------------------------------------------------------------------------------------------------


def _splat_scalar(context, builder, value, value_type, vector):
    """Return a vector with a number in all lanes; return a vector unchanged."""
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
    """Define an operator for two vectors, or for a vector and a number."""

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
    """Return the logarithm of each lane; compiled code only."""


@overload(math.log1p)
def _overload_log1p(a):
    if not isinstance(a, Vector):
        return None

    def log1p_lanes(a):  # W. Kahan's formula, which cancels the rounding error of 1 + a
        shifted = a + one_like(a)
        return select(shifted == one_like(a), a, _log_lanes(shifted) * (a / (shifted - one_like(a))))

    return log1p_lanes


@overload(operator.neg)
def _overload_neg(a):
    return (lambda a: a * -one_like(a)) if isinstance(a, Vector) else None


def _define_unary(function, name):
    """Define a function of a vector by the LLVM intrinsic `name`."""

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
