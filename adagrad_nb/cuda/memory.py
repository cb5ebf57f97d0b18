"""Device memory access beyond x[i]: loads of 16-bit numbers, 128-bit words, and raw addresses."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..compiler.jit import bind


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


# --- many arrays, given by the addresses of their first elements --------------------------------------------------


def load_from(arrays, k, j, like):
    """arrays[k][j], in the precision of the array `like`"""
    return arrays[k][j]


def store_to(arrays, k, j, value, like):
    """arrays[k][j] = value"""
    arrays[k][j] = value


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


bind(load_from)(lambda arrays, k, j, like: lambda arrays, k, j, like: _load_at(arrays[k], j, like))  # type: ignore[call-arg]


@bind(store_to)
def _overload_store_to(arrays, k, j, value, like):
    return lambda arrays, k, j, value, like: _store_at(arrays[k], j, value, like)
