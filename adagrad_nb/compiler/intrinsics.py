"""Intrinsics: thread barrier, memory prefetch and search in bytes."""

import sys

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import bind

# --- thread barrier -----------------------------------------------------------------------------------------------


@intrinsic
def _increment_arrivals(context, barrier):
    def codegen(context, builder, signature, args):
        counter = context.make_array(signature.args[0])(context, builder, args[0]).data
        builder.atomic_rmw("add", counter, ir.IntType(64)(1), "seq_cst")
        return context.get_dummy_value()

    return types.void(barrier), codegen


@intrinsic
def _load_arrivals(context, barrier):
    def codegen(context, builder, signature, args):
        counter = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(counter, "seq_cst", 8)

    return types.int64(barrier), codegen


def _make_c_call(name, *arguments):
    """Return a function that calls `name` of the C library with integer arguments; on Windows, `SwitchToThread`."""
    if sys.platform == "win32":
        name, arguments = "SwitchToThread", ()

    @intrinsic
    def call_function(context):
        def codegen(context, builder, signature, args):
            int32 = ir.IntType(32)
            function_type = ir.FunctionType(int32, [int32] * len(arguments))
            function = cgutils.get_or_insert_function(builder.module, function_type, name)
            builder.call(function, [int32(number) for number in arguments])
            return context.get_dummy_value()

        return types.void(), codegen

    return call_function


_yield_thread, _sleep = _make_c_call("sched_yield"), _make_c_call("usleep", 20)


def barrier_wait(barrier, n_threads, phase):
    """Wait until `n_threads` threads have reached the barrier for the (phase + 1)-th time; return phase + 1.

    `barrier` is an array with one element, initially zero.  A thread spins first, because the wait usually takes
    microseconds.  Then it yields, and finally it sleeps, for the case that the cores are busy with other work.
    """
    return phase + 1


@bind(barrier_wait)
def _overload_barrier_wait(barrier, n_threads, phase):
    def wait_for_threads(barrier, n_threads, phase):
        if n_threads > 1:
            _increment_arrivals(barrier)
            spins = 0
            while _load_arrivals(barrier) < n_threads * (phase + 1):
                spins += 1
                if spins > 2100:
                    _sleep()
                elif spins > 2000:
                    _yield_thread()
        return phase + 1

    return wait_for_threads


# --- prefetch ---------------------------------------------------------------------------------------------------


@intrinsic
def _emit_prefetch(context, array, i, c):
    def codegen(context, builder, signature, args):
        struct = context.make_array(signature.args[0])(context, builder, args[0])
        row = builder.mul(args[1], builder.extract_value(struct.strides, 0))
        row = builder.gep(builder.bitcast(struct.data, cgutils.voidptr_t), [row])
        address = builder.gep(builder.bitcast(row, struct.data.type), [args[2]])
        int32 = ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, int32, int32, int32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        # for writing, high temporal locality, data cache
        builder.call(function, [builder.bitcast(address, cgutils.voidptr_t), int32(1), int32(3), int32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), codegen


def prefetch(array, i, c=0):
    """Prefetch array[i], or array[i, c], into the cache; an index out of bounds is harmless."""


def prefetch_each(arrays, i):
    """Prefetch element i of each array of a tuple."""


bind(prefetch)(lambda array, i, c=0: lambda array, i, c=0: _emit_prefetch(array, i, c))  # type: ignore[call-arg]


@bind(prefetch_each)
def _overload_prefetch_each(arrays, i):
    if len(arrays) == 0:
        return lambda arrays, i: None

    def prefetch_all(arrays, i):
        prefetch(arrays[0], i)
        prefetch_each(arrays[1:], i)

    return prefetch_all


# --- search in bytes ----------------------------------------------------------------------------------------------

WINDOW = 32  # bytes that are compared at once: one register of AVX2, two of SSE2 and NEON


def _compare_window(predicate):
    """Return an intrinsic that compares the bytes array[i:i + WINDOW] with a byte: bit k for array[i + k]."""

    @intrinsic
    def compare(context, array, i, byte):
        def codegen(context, builder, signature, args):
            struct = context.make_array(signature.args[0])(context, builder, args[0])
            bytes_type, byte_type = ir.VectorType(ir.IntType(8), WINDOW), ir.IntType(8)
            address = builder.gep(struct.data, [args[1]])
            window = builder.load(builder.bitcast(address, bytes_type.as_pointer()))
            window.align = 1
            undefined = ir.Constant(bytes_type, ir.Undefined)
            one = builder.insert_element(undefined, builder.trunc(args[2], byte_type), ir.IntType(32)(0))
            same = ir.Constant(ir.VectorType(ir.IntType(32), WINDOW), [0] * WINDOW)
            bits = builder.icmp_unsigned(predicate, window, builder.shuffle_vector(one, undefined, same))
            return builder.zext(builder.bitcast(bits, ir.IntType(WINDOW)), ir.IntType(64))

        return types.uint64(array, types.uint64, types.uint64), codegen

    return compare


_equal_bits, _up_to_bits = _compare_window("=="), _compare_window("<=")


def match_equal(array, i, byte):
    """Return a number whose bit k says whether array[i + k] is `byte`, for k below `WINDOW`; they must exist."""
    return np.uint64(sum(1 << k for k in range(WINDOW) if array[int(i) + k] == byte))


def match_up_to(array, i, byte):
    """Return a number whose bit k says whether array[i + k] is at most `byte`, for k below `WINDOW`."""
    return np.uint64(sum(1 << k for k in range(WINDOW) if array[int(i) + k] <= byte))


bind(match_equal)(lambda array, i, byte: lambda array, i, byte: _equal_bits(array, i, byte))  # type: ignore[call-arg]
bind(match_up_to)(lambda array, i, byte: lambda array, i, byte: _up_to_bits(array, i, byte))  # type: ignore[call-arg]


@intrinsic
def _cttz(context, bits):
    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.IntType(1)(0))

    return types.uint64(types.uint64), codegen


def count_trailing_zeros(bits):
    """Return the number of the lowest bit that is set in a uint64, or 64."""
    bits = int(bits)
    return np.uint64((bits & -bits).bit_length() - 1 if bits else 64)


bind(count_trailing_zeros)(lambda bits: lambda bits: _cttz(bits))  # type: ignore[call-arg]
