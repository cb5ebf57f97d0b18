"""How CUDA loops read and write memory beyond x[i]: 16-bit numbers as wide ones, 128-bit words, addresses."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..compiler.jit import bind


def wide(g, k, x):
    """g[k] in the precision of x; of integers of 16 bits, the bfloat16 number that has those bits."""
    if g.dtype.kind in "iu":
        return (g[k : k + 1].view("u2").astype("u4") << 16).view("f4")[0]
    return x.dtype.type(g[k])


@intrinsic
def _from_bits(context, bits):
    def codegen(context, builder, signature, args):
        word = builder.zext(args[0], ir.IntType(32))
        return builder.bitcast(builder.shl(word, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(bits), codegen


@bind(wide)
def _wide(g, k, x):
    if isinstance(g.dtype, types.Integer):
        return lambda g, k, x: _from_bits(g[k])
    kind = x.dtype
    if g.dtype == kind:
        return lambda g, k, x: g[k]
    return lambda g, k, x: kind(g[k])


def quad(a, i):
    """a[i], a[i + 1], a[i + 2], a[i + 3]"""
    return a[i], a[i + 1], a[i + 2], a[i + 3]


def set_quad(a, i, values):
    """a[i : i + 4] = values"""
    a[i], a[i + 1], a[i + 2], a[i + 3] = values


def _halves(context, builder, array, i, signature):
    """Pointers to the 128-bit words of four entries, and how many entries a word has."""
    kind = context.get_value_type(signature.args[0].dtype)
    each = 4 if signature.args[0].dtype.bitwidth == 32 else 2
    data = context.make_array(signature.args[0])(context, builder, array).data
    pointer = ir.VectorType(kind, each).as_pointer()
    spots = [builder.add(i, ir.Constant(i.type, n)) for n in range(0, 4, each)]
    return [builder.bitcast(builder.gep(data, [at]), pointer) for at in spots], each


@intrinsic
def _load_quad(context, a, i):
    def codegen(context, builder, signature, args):
        words, each = _halves(context, builder, *args, signature)
        loaded = [builder.load(word) for word in words]
        for word in loaded:
            word.align = 16
        numbers = [
            builder.extract_element(word, ir.Constant(ir.IntType(32), n)) for word in loaded for n in range(each)
        ]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(a.dtype, 4)(a, i), codegen


@intrinsic
def _store_quad(context, a, i, values):
    def codegen(context, builder, signature, args):
        words, each = _halves(context, builder, args[0], args[1], signature)
        kind = context.get_value_type(signature.args[0].dtype)
        for n, word in enumerate(words):
            vector = ir.Constant(ir.VectorType(kind, each), ir.Undefined)
            for m in range(each):
                number = builder.extract_value(args[2], n * each + m)
                vector = builder.insert_element(vector, number, ir.Constant(ir.IntType(32), m))
            builder.store(vector, word).align = 16
        return context.get_dummy_value()

    return types.none(a, i, values), codegen


bind(quad)(lambda a, i: lambda a, i: _load_quad(a, i))  # type: ignore[call-arg]
bind(set_quad)(lambda a, i, values: lambda a, i, values: _store_quad(a, i, values))  # type: ignore[call-arg]


# --- many arrays, each known by the address of its first entry ----------------------------------------------------


def peek(arrays, k, j, like):
    """arrays[k][j], of the precision of the array `like`"""
    return arrays[k][j]


def poke(arrays, k, j, number, like):
    """arrays[k][j] = number"""
    arrays[k][j] = number


def _entry(context, builder, address, j, kind):
    """The pointer to entry j of the array at an address of global memory."""
    number = context.get_value_type(kind)
    step = builder.mul(j, ir.Constant(j.type, kind.bitwidth // 8))
    return builder.inttoptr(builder.add(address, step), ir.PointerType(number, addrspace=1))


@intrinsic
def _load_at(context, address, j, like):
    def codegen(context, builder, signature, args):
        return builder.load(_entry(context, builder, args[0], args[1], like.dtype))

    return like.dtype(types.int64, types.int64, like), codegen


@intrinsic
def _store_at(context, address, j, number, like):
    def codegen(context, builder, signature, args):
        builder.store(args[2], _entry(context, builder, args[0], args[1], like.dtype))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, like.dtype, like), codegen


bind(peek)(lambda arrays, k, j, like: lambda arrays, k, j, like: _load_at(arrays[k], j, like))  # type: ignore[call-arg]


@bind(poke)
def _poke(arrays, k, j, number, like):
    return lambda arrays, k, j, number, like: _store_at(arrays[k], j, number, like)
