"""Every quirk of Numba in one place: decorators, the binding of records, their precision and identity.

A *record* is a ``typing.NamedTuple`` of hyper-parameters whose methods are plain Python functions of scalars.
``step = method("step")`` makes ``step(rule, …)`` a call that Numba binds when it compiles, by the type of the
record, and that Python binds when it runs.  The same source is then serial, parallel, simulated and CUDA code.
"""

import functools
import re
import typing
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_jitable, register_model

from .._legacy import get_member

# Python's error model checks each division for zero; the check keeps LLVM from vectorising (4 to 7 times slower),
# and one callee compiled with it spoils every caller.
OPTIONS: Any = {"error_model": "numpy"}

# What a sum may be allowed: terms in any order.  NaN and infinity keep their meaning.
REASSOCIATE = {"reassoc", "nsz"}

# What only compiled code calls needs no door for Python, which would take as long to compile as a small function.
INTERNAL = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
jitable = register_jitable(**INTERNAL)  # a helper that stays plain Python, for CPU and CUDA kernels alike
reassociating = register_jitable(fastmath=REASSOCIATE, **INTERNAL)  # the same, for sums
bind = functools.partial(overload, strict=False, jit_options=INTERNAL)
# Taken into the caller by LLVM, whatever their size: what is passed in vectors or as many arrays takes its time in a
# call.  (Numba's own inline="always" types every caller anew, which takes four times as long to compile.)
FORCE_INLINE = INTERNAL | {"forceinline": True}
force_inline = functools.partial(register_jitable, **FORCE_INLINE)
bind_inlined = functools.partial(bind, jit_options=FORCE_INLINE)
prange = numba.prange


def jit(function=None, **options):
    """Compile a loop for the CPU: lazily, without the GIL, kept in the disk cache where there is one."""
    if function is None:
        return functools.partial(jit, **options)
    try:
        return numba.njit(function, nogil=True, cache=True, **OPTIONS, **options)
    except RuntimeError:  # no writable directory for the cache: compile in memory
        return numba.njit(function, nogil=True, **OPTIONS, **options)


parallel = functools.partial(jit, parallel=True)


def field_type(record_type, name):
    """The Numba type of a field of a record's type."""
    return record_type.types[record_type.fields.index(name)]


def method(name, default=None, **options):
    """Return the free function ``f(record, *args)`` that means ``record.<name>(*args)``.

    Where the record has no such method, `default` is called with the same arguments.  `options` are those of Numba's
    `overload`.
    """

    def call_method(record, *args):
        function = get_member(record, name)
        return default(record, *args) if function is None else function(*args)

    def resolve_method(record, *args):
        if isinstance(record, types.BaseNamedTuple):
            return get_member(record.instance_class, name, default)
        return None

    call_method.__name__ = call_method.__qualname__ = name
    bind(call_method, **options)(resolve_method)
    return call_method


# --- tuples of arrays, and values that may be one per coordinate ------------------------------------------------


def load(arrays, i):
    """The scalars at position i of a tuple of arrays."""
    return tuple(a[i] for a in arrays)


def store(arrays, i, values):
    """Write scalars to position i of a tuple of arrays."""
    for a, value in zip(arrays, values, strict=True):
        a[i] = value


class DeviceScalar(typing.NamedTuple):
    """A number in memory, the one entry of an array: read at every coordinate, when the loop runs."""

    array: Any


def pick(value, i):
    """value[i] of an array, a number that is held in memory, a scalar as it is."""
    if isinstance(value, DeviceScalar):
        return value.array[0]
    return value[i] if getattr(value, "ndim", 0) else value


@bind(load)
def _overload_load(arrays, i):
    if len(arrays) == 0:
        return lambda arrays, i: ()
    return lambda arrays, i: (arrays[0][i],) + load(arrays[1:], i)


@bind(store)
def _overload_store(arrays, i, values):
    if len(arrays) == 0:
        return lambda arrays, i, values: None

    def store_each(arrays, i, values):
        arrays[0][i] = values[0]
        store(arrays[1:], i, values[1:])

    return store_each


@bind(pick)
def _overload_pick(value, i):
    if isinstance(value, types.Array):
        return lambda value, i: value[i]
    if isinstance(value, types.BaseNamedTuple):
        return lambda value, i: value.array[0]
    return lambda value, i: value


def cast_like(value, like):
    """A scalar in the precision of the array `like`; an array as it is."""
    return value if getattr(value, "ndim", 0) else like.dtype.type(value)


@bind(cast_like)
def _overload_cast_like(value, like):
    if isinstance(value, types.Array):
        return lambda value, like: value
    dtype = like.dtype
    return lambda value, like: dtype(value)


def add_tuples(a, b):
    """Entry by entry a + b of two tuples of scalars."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def subtract_tuples(a, b):
    """Entry by entry a - b of two tuples of scalars."""
    return tuple(x - y for x, y in zip(a, b, strict=True))


@bind(add_tuples)
def _overload_add_tuples(a, b):
    if len(a) == 0:
        return lambda a, b: ()
    return lambda a, b: (a[0] + b[0],) + add_tuples(a[1:], b[1:])


@bind(subtract_tuples)
def _overload_subtract_tuples(a, b):
    if len(a) == 0:
        return lambda a, b: ()
    return lambda a, b: (a[0] - b[0],) + subtract_tuples(a[1:], b[1:])


# --- nested records in parallel loops ----------------------------------------------------------------------------


class Packed(types.Type):
    """A record as one opaque value: Numba takes tuples apart on entry to a parallel loop, but only one level deep."""

    def __init__(self, inner):
        self.inner = inner
        super().__init__(name=f"Packed({inner})")

    @property
    def key(self):
        return self.inner


@register_model(Packed)
class _PackedModel(models.StructModel):
    def __init__(self, manager, packed):
        super().__init__(manager, packed, [("inner", packed.inner)])

    def traverse(self, builder):
        return []  # the record that was packed outlives the loop and keeps its arrays alive


@intrinsic
def _build_packed(context, record):
    def codegen(context, builder, signature, args):
        packed = cgutils.create_struct_proxy(signature.return_type)(context, builder)
        packed.inner = args[0]
        return packed._getvalue()

    return Packed(record)(record), codegen


@intrinsic
def _extract_record(context, packed):
    def codegen(context, builder, signature, args):
        record = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0]).inner
        context.nrt.incref(builder, packed.inner, record)
        return record

    return packed.inner(packed), codegen


def pack_record(record):
    """Wrap a tuple so that a parallel loop can use it; `unpack_record` gives it back."""
    return record


def unpack_record(packed):
    """Return the tuple that `pack_record` wrapped."""
    return packed


bind(pack_record)(lambda record: lambda record: _build_packed(record))  # type: ignore[call-arg]
bind(unpack_record)(lambda packed: lambda packed: _extract_record(packed))  # type: ignore[call-arg]


# --- arrays that are not counted ---------------------------------------------------------------------------------


@intrinsic
def _clear_meminfo(context, record):
    def strip_meminfo(context, builder, numba_type, value):
        if isinstance(numba_type, types.Array):
            array = cgutils.create_struct_proxy(numba_type)(context, builder, value)
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            array.parent = cgutils.get_null_value(array.parent.type)
            return array._getvalue()
        if isinstance(numba_type, types.BaseTuple):
            for index, part_type in enumerate(numba_type):
                stripped = strip_meminfo(context, builder, part_type, builder.extract_value(value, index))
                value = builder.insert_value(value, stripped, index)
        return value

    def codegen(context, builder, signature, args):
        return strip_meminfo(context, builder, signature.args[0], args[0])

    return record(record), codegen


def borrow_arrays(record):
    """The same arrays, whose references are no longer counted: the caller must hold them.

    Counting is atomic, 5 ns each time that an array gets another name; a loop over short rows spends a fourth of its
    time on it.
    """
    return record


bind(borrow_arrays)(lambda record: lambda record: _clear_meminfo(record))  # type: ignore[call-arg]


# --- from the user's records to records a kernel can take --------------------------------------------------------

_class_owners: dict = {}  # (name, fields) -> the class that owns them


def unique_class(cls):
    """Make Numba tell `cls` from any other record class of the same name and fields.

    Numba's dispatcher knows a named tuple by the *name* of its class and the types of its fields, so that a class
    defined again, in a notebook cell or another module, would run the code of the first one.  Renaming the
    newcomer is enough; pickling goes by ``__qualname__`` and is not disturbed.
    """
    owner = _class_owners.setdefault((cls.__name__, cls._fields), cls)
    suffix = 1
    while owner is not cls:
        suffix += 1
        name = f"{cls.__name__}_{suffix}"
        owner = _class_owners.setdefault((name, cls._fields), cls)
        if owner is cls:
            cls.__name__ = name
    return cls


def cast(record, dtype):
    """The same record (or tuple of them) in the precision `dtype`.

    Numba takes a Python float for a double, and one double makes a float32 kernel compute in doubles.
    """
    if hasattr(record, "_fields"):
        finalized = get_member(record, "finalized")
        if finalized is not None:
            record = finalized()
        annotations = getattr(unique_class(type(record)), "__annotations__", {})
        values = (
            _cast_field(value, dtype, _is_float_annotation(annotations.get(name)))
            for name, value in zip(record._fields, record, strict=True)
        )
        return type(record)(*values)
    if isinstance(record, tuple):
        return tuple(cast(item, dtype) for item in record)
    return _cast_field(record, dtype, False)


def _is_float_annotation(annotation):
    return annotation in (float, "float") or float in typing.get_args(annotation)


def _cast_field(value, dtype, is_float):
    if isinstance(value, tuple):
        return cast(value, dtype)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]  # or it would become an array of one entry, read at every coordinate
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, dtype) if value.dtype.kind == "f" or is_float else value
    if isinstance(value, (bool, np.bool_)):
        return int(value)  # a boolean cannot be packed: it is one bit in a register and a byte in memory
    if isinstance(value, (float, np.floating)) or (is_float and isinstance(value, (int, np.integer))):
        return np.dtype(dtype).type(value)
    return value


def _is_user_defined(record):
    if is_compiled(record):
        return True
    if hasattr(record, "_fields") and type(record).__module__.split(".")[0] != __name__.partition(".")[0]:
        return True
    return isinstance(record, tuple) and any(_is_user_defined(item) for item in record)


def compiled_for(kernel, *records):
    """`kernel`, or its twin outside the disk cache where a record's class is not from this package.

    The cache of a kernel names the classes it was compiled for.  It would go on using the machine code of a
    user's class after the class was edited, and fail in every script that cannot import the class.  And what was
    compiled with a user's compiled function no other process ever finds: it would only fill the disk.
    """
    if not is_compiled(kernel) or not any(_is_user_defined(record) for record in records):
        return kernel
    return _compile_uncached(kernel)


@functools.cache
def _compile_uncached(kernel):
    options = {name: value for name, value in kernel.targetoptions.items() if name not in ("nopython", "cache")}
    return numba.njit(kernel.py_func, **options)


def is_compiled(function):
    """Whether `function` was compiled by Numba for the CPU."""
    return isinstance(function, numba.core.registry.CPUDispatcher)


def compiled_entry(kernel, *args):
    """The machine code of a kernel for arguments of just these types.

    It skips Numba's dispatch, which spends 2 microseconds on recognising nested records.  The caller answers for the
    types: arrays of the same dtype, dimension and contiguity.
    """
    if not is_compiled(kernel):
        return kernel
    arg_types = (numba.typeof(argument) for argument in args)
    signature = tuple(
        arg_type.copy(readonly=False) if isinstance(arg_type, types.Array) else arg_type for arg_type in arg_types
    )
    kernel.compile(signature)
    return kernel.overloads[signature].entry_point


def llvm_ir(kernel, *args):
    """The LLVM code of a kernel for arguments of just these types, without what wraps it for Python."""
    recompiled = _compile_uncached(kernel)  # what comes from the disk cache cannot be looked into
    signature = tuple(numba.typeof(argument) for argument in args)
    recompiled.compile(signature)
    functions = re.split(r"(?m)^(?=define )", recompiled.inspect_llvm(signature))
    return "".join(function for function in functions if "cpython" not in function.partition("{")[0])


def num_threads():
    """How many threads a parallel kernel may use."""
    return numba.config.NUMBA_NUM_THREADS


def coordinate_of(where, k):
    """The coordinate that gradient entry k belongs to: where[k], or k itself where nothing is listed."""
    return k if isinstance(where, tuple) else where[k]


@bind(coordinate_of)
def _overload_coordinate_of(where, k):
    if isinstance(where, types.Array):
        return lambda where, k: where[k]
    return lambda where, k: k
