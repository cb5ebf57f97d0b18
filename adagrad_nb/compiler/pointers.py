"""Calls of a kernel by its address, with a record in memory as the first argument.

A kernel that calls another one is compiled again for each type of either.  A call by address separates them: the
caller is compiled without the code, and without the types, of the kernel that it calls.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.errors import NumbaTypeError
from numba.extending import intrinsic, models, register_model

from .jit import bind, clear_meminfo, compiled_for, is_compiled, jit


class RecordPointer(types.Type):
    """Numba type of the address of a record."""

    def __init__(self, inner):
        self.inner = inner
        super().__init__(name=f"RecordPointer({inner})")

    @property
    def key(self):
        return self.inner


@register_model(RecordPointer)
class _RecordPointerModel(models.PrimitiveModel):
    def __init__(self, manager, pointer):
        super().__init__(manager, pointer, cgutils.voidptr_t)


@intrinsic
def _load_record(context, pointer):
    def codegen(context, builder, signature, args):
        record_type = signature.return_type
        memory = builder.bitcast(args[0], context.get_value_type(record_type).as_pointer())
        return clear_meminfo(context, builder, record_type, builder.load(memory))

    return pointer.inner(pointer), codegen


def _can_borrow(field_type):
    """Return whether the value of a type is valid for as long as its object, without a reference of its own."""
    if isinstance(field_type, types.BaseTuple):
        return all(_can_borrow(part) for part in field_type)
    borrowed = (types.Array, types.Number, types.Boolean, types.NoneType, types.Dispatcher)
    return isinstance(field_type, borrowed)


@intrinsic
def _store_record(context, record, buffer):
    """Write a record to the start of a byte array that is large enough; return the bytes that it needs."""

    def codegen(context, builder, signature, args):
        n_bytes = context.get_abi_sizeof(args[0].type)
        value = clear_meminfo(context, builder, signature.args[0], args[0])
        array = context.make_array(signature.args[1])(context, builder, args[1])
        is_large_enough = builder.icmp_signed(">=", array.nitems, array.nitems.type(n_bytes))
        with builder.if_then(is_large_enough):
            builder.store(value, builder.bitcast(array.data, value.type.as_pointer()))
        return array.nitems.type(n_bytes)

    return types.intp(record, buffer), codegen


@intrinsic
def _call_address(context, address, record, args):
    arg_types = (types.voidptr, *args)

    def codegen(context, builder, signature, values):
        address, record, args = values
        convention = context.call_conv
        function_type = convention.get_function_type(types.int64, arg_types)
        function = builder.inttoptr(address, function_type.as_pointer())
        arguments = [builder.inttoptr(record, cgutils.voidptr_t), *cgutils.unpack_tuple(builder, args)]
        status, result = convention.call_function(builder, function, types.int64, arg_types, arguments)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return result

    return types.int64(types.int64, types.int64, args), codegen


def load_record(record):
    """Return the record at the address that a kernel got as its first argument."""
    return record


bind(load_record)(lambda record: lambda record: _load_record(record))  # type: ignore[call-arg]


@jit
def _write_record(record, buffer):
    return _store_record(record, buffer)


class BoundKernel(NamedTuple):
    """A kernel and its first argument: two addresses, or two objects of Python if the JIT is off."""

    function: Any
    record: Any


def call_kernel(bound, *args):
    """Call a `BoundKernel` with further arguments of its types, and return its status number."""
    return bound.function(bound.record, *args)


@bind(call_kernel)
def _overload_call_kernel(bound, *args):
    return lambda bound, *args: _call_address(bound.function, bound.record, args)


def bind_kernel(kernel, record, *arg_types):
    """Return (bound, owner): the `BoundKernel` of a kernel that returns an int64, and the owner of its memory.

    The caller must keep the owner while it calls the kernel.

    Parameters
    ----------
    kernel : function with the decorator `jit`
        It gets the address of the record, which `load_record` reads, and further arguments.
    record : NamedTuple
        It may contain numbers, arrays, and tuples of them.
    *arg_types : Numba types
        Types of the further arguments.
    """
    if not is_compiled(kernel):
        return BoundKernel(kernel, record), record
    key = (kernel, arg_types, _layout(record))  # `numba.typeof` of nested records takes 0.1 ms
    if key not in _compiled:
        _compiled[key] = compiled_for(_write_record, record), _address(compiled_for(kernel, record), record, arg_types)
    write, address = _compiled[key]
    memory = np.empty(1024, np.uint8)
    n_bytes = write(record, memory)
    if n_bytes > memory.size:
        memory = np.empty(n_bytes, np.uint8)
        write(record, memory)
    return BoundKernel(address, memory.ctypes.data), (memory, record)


_compiled: dict = {}  # (kernel, types, layout of the record) -> (kernel that writes the record, address)


def _layout(value):
    """Return the properties of a field that determine its Numba type."""
    if isinstance(value, tuple):
        return (type(value), *map(_layout, value))
    if isinstance(value, np.ndarray):
        flags = value.flags
        return value.dtype, value.ndim, flags.c_contiguous, flags.f_contiguous, flags.aligned, flags.writeable
    return value if is_compiled(value) else type(value)


def _address(kernel, record, arg_types):
    """Return the address of a kernel that is compiled for a record and further arguments."""
    record_type = numba.typeof(record)
    if not _can_borrow(record_type):
        raise NumbaTypeError(
            f"a record for compiled code may hold numbers, arrays and tuples of them; got {record_type}"
        )
    signature = (RecordPointer(record_type), *arg_types)
    kernel.compile(signature)
    compiled = kernel.overloads[signature]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
