"""What compiled loops ask of the machine: that threads meet within them, and that memory is brought near."""

import sys

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import bind

# --- threads that meet within one compiled loop -------------------------------------------------------------------


@intrinsic
def _arrive(context, gate):
    def codegen(context, builder, signature, args):
        counter = context.make_array(signature.args[0])(context, builder, args[0]).data
        builder.atomic_rmw("add", counter, ir.IntType(64)(1), "seq_cst")
        return context.get_dummy_value()

    return types.void(gate), codegen


@intrinsic
def _arrived(context, gate):
    def codegen(context, builder, signature, args):
        counter = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(counter, "seq_cst", 8)

    return types.int64(gate), codegen


def _system(name, *given):
    """A call of the C library with small integers; on Windows whatever lets another thread run."""
    if sys.platform == "win32":
        name, given = "SwitchToThread", ()

    @intrinsic
    def call(context):
        def codegen(context, builder, signature, args):
            word = ir.IntType(32)
            kind = ir.FunctionType(word, [word] * len(given))
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(function, [word(number) for number in given])
            return context.get_dummy_value()

        return types.void(), codegen

    return call


_give_way, _sleep = _system("sched_yield"), _system("usleep", 20)


def meet(gate, threads, meetings):
    """Wait until `threads` threads have met once more than `meetings` times; return their number.

    `gate` is an array with one zero when the first of them starts.  Waiting burns time for the microseconds that it
    should take, then lets other threads of the machine run, then sleeps: where cores are busy it must.
    """
    return meetings + 1


@bind(meet)
def _meet(gate, threads, meetings):
    def wait(gate, threads, meetings):
        if threads > 1:
            _arrive(gate)
            turns = 0
            while _arrived(gate) < threads * (meetings + 1):
                turns += 1
                if turns > 2100:
                    _sleep()
                elif turns > 2000:
                    _give_way()
        return meetings + 1

    return wait


# --- what is needed soon ----------------------------------------------------------------------------------------


@intrinsic
def _prefetch(context, array, i, c):
    def codegen(context, builder, signature, args):
        parts = context.make_array(signature.args[0])(context, builder, args[0])
        row = builder.mul(args[1], builder.extract_value(parts.strides, 0))
        row = builder.gep(builder.bitcast(parts.data, cgutils.voidptr_t), [row])
        address = builder.gep(builder.bitcast(row, parts.data.type), [args[2]])
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # to write to, to be kept, data rather than code
        builder.call(function, [builder.bitcast(address, cgutils.voidptr_t), number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), codegen


def prefetch(array, i, c=0):
    """Ask for array[i], or array[i, c], to be brought near; it may lie outside, and nothing waits for it."""


def prefetch_each(arrays, i):
    """The same for a tuple of arrays."""


bind(prefetch)(lambda array, i, c=0: lambda array, i, c=0: _prefetch(array, i, c))  # type: ignore[call-arg]


@bind(prefetch_each)
def _prefetch_each(arrays, i):
    if len(arrays) == 0:
        return lambda arrays, i: None

    def each(arrays, i):
        prefetch(arrays[0], i)
        prefetch_each(arrays[1:], i)

    return each
