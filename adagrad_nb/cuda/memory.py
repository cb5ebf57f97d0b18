"""Device memory access beyond x[i]: loads of 16-bit numbers, 128-bit words, and raw addresses."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..compiler.jit import bind, store


def load_as(g, k, x):
    """Return g[k] in the precision of x; 16-bit integers are the bits of bfloat16 numbers."""
    if g.dtype.kind in "iu":
        return (g[k : k + 1].view("u2").astype("u4") << 16).view("f4")[0]
    return x.dtype.type(g[k])


@intrinsic
def _bfloat16_to_float(context, bits):
    def codegen(context, builder, signature, args):
        int32 = builder.zext(args[0], ir.IntType(32))
        return builder.bitcast(builder.shl(int32, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(bits), codegen


@bind(load_as)
def _overload_load_as(g, k, x):
    if isinstance(g.dtype, types.Integer):
        return lambda g, k, x: _bfloat16_to_float(g[k])
    dtype = x.dtype
    if g.dtype == dtype:
        return lambda g, k, x: g[k]
    return lambda g, k, x: dtype(g[k])


def divide_index(i, n):
    """Return i // n and i % n for i >= 0 and n > 0."""
    return divmod(i, n)


@intrinsic
def _divide_unsigned(context, i, n):
    def codegen(context, builder, signature, args):
        quotient = builder.udiv(*args)
        remainder = builder.sub(args[0], builder.mul(quotient, args[1]))
        return context.make_tuple(builder, signature.return_type, [quotient, remainder])

    return types.UniTuple(types.int64, 2)(types.int64, types.int64), codegen


# Python's division of signed numbers takes 20 instructions more.  NVVM divides in 32 bits if both numbers have no more.
bind(divide_index)(lambda i, n: lambda i, n: _divide_unsigned(i, n))  # type: ignore[call-arg]


def load4(a, i):
    """a[i], a[i + 1], a[i + 2], a[i + 3]"""
    return a[i], a[i + 1], a[i + 2], a[i + 3]


def store4(a, i, values):
    """a[i : i + 4] = values"""
    a[i], a[i + 1], a[i + 2], a[i + 3] = values


def _word_pointers(context, builder, array, i, signature):
    """Return pointers to the 128-bit words of four elements, and the number of elements in a word."""
    element_type = context.get_value_type(signature.args[0].dtype)
    word_size = 4 if signature.args[0].dtype.bitwidth == 32 else 2
    data = context.make_array(signature.args[0])(context, builder, array).data
    pointer = ir.VectorType(element_type, word_size).as_pointer()
    offsets = [builder.add(i, ir.Constant(i.type, n)) for n in range(0, 4, word_size)]
    return [builder.bitcast(builder.gep(data, [offset]), pointer) for offset in offsets], word_size


@intrinsic
def _load_words(context, a, i):
    def codegen(context, builder, signature, args):
        words, word_size = _word_pointers(context, builder, *args, signature)
        loaded = [builder.load(word) for word in words]
        for word in loaded:
            word.align = 16
        numbers = [
            builder.extract_element(word, ir.Constant(ir.IntType(32), n)) for word in loaded for n in range(word_size)
        ]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(a.dtype, 4)(a, i), codegen


@intrinsic
def _store_words(context, a, i, values):
    def codegen(context, builder, signature, args):
        words, word_size = _word_pointers(context, builder, args[0], args[1], signature)
        element_type = context.get_value_type(signature.args[0].dtype)
        for n, word in enumerate(words):
            vector = ir.Constant(ir.VectorType(element_type, word_size), ir.Undefined)
            for m in range(word_size):
                number = builder.extract_value(args[2], n * word_size + m)
                vector = builder.insert_element(vector, number, ir.Constant(ir.IntType(32), m))
            builder.store(vector, word).align = 16
        return context.get_dummy_value()

    return types.none(a, i, values), codegen


bind(load4)(lambda a, i: lambda a, i: _load_words(a, i))  # type: ignore[call-arg]
bind(store4)(lambda a, i, values: lambda a, i, values: _store_words(a, i, values))  # type: ignore[call-arg]


def load4_each(arrays, i):
    """Return load(arrays, j) for j = i, …, i + 3."""
    return tuple(tuple(a[j] for a in arrays) for j in range(i, i + 4))


def store4_each(arrays, i, values):
    """store(arrays, i + k, values[k]) for k = 0, …, 3"""
    for k, scalars in enumerate(values):
        store(arrays, i + k, scalars)


@bind(load4_each)
def _overload_load4_each(arrays, i):
    if len(arrays) == 1:

        def load4_one(arrays, i):
            a0, a1, a2, a3 = load4(arrays[0], i)
            return (a0,), (a1,), (a2,), (a3,)

        return load4_one

    def load4_two(arrays, i):
        a0, a1, a2, a3 = load4(arrays[0], i)
        b0, b1, b2, b3 = load4(arrays[1], i)
        return (a0, b0), (a1, b1), (a2, b2), (a3, b3)

    return load4_two


@bind(store4_each)
def _overload_store4_each(arrays, i, values):
    if len(arrays) == 1:
        return lambda arrays, i, values: store4(arrays[0], i, (values[0][0], values[1][0], values[2][0], values[3][0]))

    def store4_two(arrays, i, values):
        v0, v1, v2, v3 = values
        store4(arrays[0], i, (v0[0], v1[0], v2[0], v3[0]))
        store4(arrays[1], i, (v0[1], v1[1], v2[1], v3[1]))

    return store4_two


# --- arrays given by the addresses of their first elements --------------------------------------------------------


def load_from(array, j, like):
    """array[j], where `array` is an address and the precision is that of the array `like`; an array in the simulator"""
    return array[j]


def store_to(array, j, value, like):
    """array[j] = value"""
    array[j] = value


def _entry_pointer(context, builder, address, j, dtype):
    """Return the pointer to element j of the array at an address in global memory."""
    element_type = context.get_value_type(dtype)
    byte_offset = builder.mul(j, ir.Constant(j.type, dtype.bitwidth // 8))
    return builder.inttoptr(builder.add(address, byte_offset), ir.PointerType(element_type, addrspace=1))


@intrinsic
def _load_at(context, address, j, like):
    def codegen(context, builder, signature, args):
        return builder.load(_entry_pointer(context, builder, args[0], args[1], like.dtype))

    return like.dtype(types.int64, types.int64, like), codegen


@intrinsic
def _store_at(context, address, j, value, like):
    def codegen(context, builder, signature, args):
        builder.store(args[2], _entry_pointer(context, builder, args[0], args[1], like.dtype))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, like.dtype, like), codegen


bind(load_from)(lambda array, j, like: lambda array, j, like: _load_at(array, j, like))  # type: ignore[call-arg]


@bind(store_to)
def _overload_store_to(array, j, value, like):
    return lambda array, j, value, like: _store_at(array, j, value, like)
