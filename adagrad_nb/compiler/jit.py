"""Decorators for kernels, and records as kernel arguments: method dispatch, precision, identity and disk cache.

A *record* is a ``typing.NamedTuple`` of hyper-parameters whose methods are plain Python functions of scalars.
``step = method("step")`` defines a function ``step(rule, …)`` that calls ``rule.step(…)``.  Numba resolves the call
by the type of the record at compile time; Python resolves it at run time.  One source therefore compiles to serial,
parallel and CUDA code, and also runs in the interpreter.
"""

import contextlib
import functools
import re
import typing
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.errors import NumbaError, NumbaTypeError
from numba.core.typing.templates import infer_getattr, make_overload_method_template
from numba.extending import intrinsic, models, overload, register_jitable, register_model

from .._legacy import get_member
from .cache import enable_cache

# Numba's default error model checks each division for zero, which prevents vectorisation (4 to 7 times slower).
# One callee with that error model prevents it in all its callers.
OPTIONS: Any = {"error_model": "numpy"}

# Fast-math flags for sums: terms may be added in any order.  NaN and infinity keep their meaning.
REASSOCIATE = {"reassoc", "nsz"}

# Helpers called only from compiled code get no CPython wrapper: compiling one takes as long as a small function.
INTERNAL = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
jitable = register_jitable(**INTERNAL)  # a helper that remains a Python function, for CPU and CUDA kernels
reassociating = register_jitable(fastmath=REASSOCIATE, **INTERNAL)  # a helper that sums in any order
bind = functools.partial(overload, strict=False, jit_options=INTERNAL)
# LLVM inlines these helpers whatever their size, because passing vectors or many arrays in a call is costly.
# (Numba's inline="always" repeats type inference in each caller; compilation then takes four times as long.)
FORCE_INLINE = INTERNAL | {"forceinline": True}
force_inline = functools.partial(register_jitable, **FORCE_INLINE)
bind_inlined = functools.partial(bind, jit_options=FORCE_INLINE)
prange = numba.prange


def jit(function=None, **options):
    """Compile a function for the CPU at its first call, without the GIL and with the disk cache of `cache`."""
    if function is None:
        return functools.partial(jit, **options)
    compiled = numba.njit(function, nogil=True, **OPTIONS, **options)
    return enable_cache(compiled) if is_compiled(compiled) else compiled


parallel = functools.partial(jit, parallel=True)


def field_type(record_type, name):
    """Return the Numba type of a field of a record type."""
    return record_type.types[record_type.fields.index(name)]


def method(name, default=None, **options):
    """Return a function ``f(record, *args)`` that calls ``record.<name>(*args)``.

    If the record has no such method, it calls ``default(record, *args)``.  `options` are passed to Numba's
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


# --- tuples of arrays; scalars or arrays with one entry per coordinate -------------------------------------------


def load(arrays, i):
    """Return the elements at index i of a tuple of arrays."""
    return tuple(a[i] for a in arrays)


def store(arrays, i, values):
    """Write scalars to index i of a tuple of arrays."""
    for a, value in zip(arrays, values, strict=True):
        a[i] = value


class DeviceScalar(typing.NamedTuple):
    """Scalar in an array with one element, which is read at each coordinate when the kernel runs."""

    array: Any


def pick(value, i):
    """Return value[i] of an array, the element of a `DeviceScalar`, or a scalar unchanged."""
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
    """Return a scalar in the precision of the array `like`, or an array unchanged."""
    return value if getattr(value, "ndim", 0) else like.dtype.type(value)


@bind(cast_like)
def _overload_cast_like(value, like):
    if isinstance(value, types.Array):
        return lambda value, like: value
    dtype = like.dtype
    return lambda value, like: dtype(value)


def add_tuples(a, b):
    """Return the elementwise sum a + b of two tuples of scalars."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def subtract_tuples(a, b):
    """Return the elementwise difference a - b of two tuples of scalars."""
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
    """Numba type of a record as one opaque value, for parallel loops, which unpack only one level of nested tuples."""

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
        return []  # no reference counting: the record outlives the loop and keeps its arrays alive


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
    """Wrap a tuple for use in a parallel loop; `unpack_record` returns the tuple there."""
    return record


def unpack_record(packed):
    """Return the tuple that `pack_record` wrapped."""
    return packed


bind(pack_record)(lambda record: lambda record: _build_packed(record))  # type: ignore[call-arg]
bind(unpack_record)(lambda packed: lambda packed: _extract_record(packed))  # type: ignore[call-arg]


# --- arrays without reference counting ---------------------------------------------------------------------------


def clear_meminfo(context, builder, numba_type, value):
    """Return a native value with the same arrays without reference counting, while code is generated."""
    if isinstance(numba_type, types.Array):
        array = cgutils.create_struct_proxy(numba_type)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    if isinstance(numba_type, types.BaseTuple):
        for index, part_type in enumerate(numba_type):
            part = clear_meminfo(context, builder, part_type, builder.extract_value(value, index))
            value = builder.insert_value(value, part, index)
    return value


@intrinsic
def _clear_meminfo(context, record):
    def codegen(context, builder, signature, args):
        return clear_meminfo(context, builder, signature.args[0], args[0])

    return record(record), codegen


def borrow_arrays(record):
    """Return a record with the same arrays without reference counting; the caller must keep the arrays alive.

    Reference counts are atomic and cost 5 ns for each new reference, a fourth of the time of a loop over short rows.
    """
    return record


bind(borrow_arrays)(lambda record: lambda record: _clear_meminfo(record))  # type: ignore[call-arg]


# --- records as kernel arguments ---------------------------------------------------------------------------------

_class_owners: dict = {}  # (name, fields) -> the class that owns them
_known_classes: set = set()  # user-defined classes whose methods may call each other in compiled code
_bound_names: set = set()  # names of these methods
_TUPLE_MEMBERS = frozenset(dir(typing.NamedTuple("Fields", [])))


def _bind_methods(cls):
    """Let compiled methods of a user-defined record call its other methods, as in ``self.root(x)``."""
    _known_classes.add(cls)
    if is_own_class(cls):
        return
    for name in set(dir(cls)) - _TUPLE_MEMBERS - set(cls._fields) - _bound_names:
        if isinstance(getattr(cls, name), FunctionType):
            _bound_names.add(name)
            _bind_method(name)


def _bind_method(name):
    """Let compiled code call ``record.<name>(*args)``; like `overload_method`, but fields of that name stay fields."""
    call_method = method(name)

    def resolve_method(record, *args):
        cls = record.instance_class
        if not isinstance(getattr(cls, name, None), FunctionType):
            return None
        if not cls._fields:  # Numba omits the argument `self` where the type of it is empty, and so false
            raise NumbaTypeError(
                f"{cls.__name__}.{name}: cannot be called by another compiled method, because {cls.__name__} has "
                "no fields; give it a field"
            )
        return lambda record, *args: call_method(record, *args)

    template = make_overload_method_template(types.BaseNamedTuple, name, resolve_method, "never")
    resolve_any = template._resolve
    template._resolve = lambda self, record, attr: None if attr in record.fields else resolve_any(self, record, attr)
    infer_getattr(template)
    bind(resolve_method)(resolve_method)


def unique_class(cls):
    """Rename `cls` if another record class has its name and fields, and return it.

    Numba's dispatcher identifies a named tuple by the *name* of its class and the types of its fields.  A class that
    is defined again, in a notebook cell or another module, would therefore run the code of the first one.  Pickling
    is not affected, because it uses ``__qualname__``.
    """
    owner = _class_owners.setdefault((cls.__name__, cls._fields), cls)
    if cls not in _known_classes:
        _bind_methods(cls)
    suffix = 1
    while owner is not cls:
        suffix += 1
        name = f"{cls.__name__}_{suffix}"
        owner = _class_owners.setdefault((name, cls._fields), cls)
        if owner is cls:
            cls.__name__ = name
    return cls


def cast(record, dtype):
    """Return a record, or a tuple of records, with its numbers in the precision `dtype`.

    Numba types a Python float as a double, and one double makes a float32 kernel compute in double precision.
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
        value = value[()]  # `ascontiguousarray` would return an array with one element
    if isinstance(value, np.ndarray):
        value = np.ascontiguousarray(value, dtype) if value.dtype.kind == "f" or is_float else value
        return value if value.flags.writeable else value.copy()  # Numba would compile the kernels again
    if isinstance(value, (bool, np.bool_)):
        return int(value)  # `Packed` cannot hold a boolean: it is one bit in a register and one byte in memory
    if isinstance(value, (float, np.floating)) or (is_float and isinstance(value, (int, np.integer))):
        return np.dtype(dtype).type(value)
    return value


@functools.cache
def is_own_class(cls):
    """Return whether a class is defined in the package."""
    return cls.__module__.split(".")[0] == __name__.partition(".")[0]


_NUMBERS = frozenset({int, float, np.float32, np.float64, np.ndarray})


def is_user_defined(record):
    """Return whether a record, or one in a tuple or field of it, or a compiled function is not of this package."""
    kind = type(record)
    if kind in _NUMBERS:  # most fields; this function takes a fourth of the time of a prediction of one row
        return False
    if not isinstance(record, tuple):
        return is_compiled(record)
    return (hasattr(kind, "_fields") and not is_own_class(kind)) or any(map(is_user_defined, record))


def compiled_for(kernel, *records):
    """Return `kernel`, or a copy of it without disk cache if a record or function is defined outside the package.

    The cache index of a kernel refers to the classes of its arguments.  If a user edits such a class, the cached
    machine code is stale.  A script that cannot import the class fails to load the index.  Code that calls a user's
    compiled function is never found again by another process and only fills the disk.
    """
    if not is_compiled(kernel) or not any(is_user_defined(record) for record in records):
        return kernel
    return _compile_uncached(kernel)


@functools.cache
def _compile_uncached(kernel):
    options = {name: value for name, value in kernel.targetoptions.items() if name not in ("nopython", "cache")}
    compiled = numba.njit(kernel.py_func, **options)
    compiled.compile = functools.partial(_compile_or_explain, compiled.compile)
    return compiled


def _compile_or_explain(compile_signature, signature):
    """Compile a kernel; raise an error of one sentence where a method of a user's record is at fault."""
    try:
        return compile_signature(signature)
    except NumbaError as error:
        text = str(error)
        for pattern, explain in _EXPLANATIONS:
            found = re.search(pattern, text, re.DOTALL)
            cls = found and _find_class(signature, found["cls"])
            if cls:
                raise explain(found, cls) from None
        raise


def _explain_attribute(found, cls):
    """Return the error for an attribute that compiled code cannot read."""
    name, where = f"{found['cls']}.{found['name']}", f"used in {found['file']}, line {found['line']}"
    if hasattr(cls, found["name"]):  # interpreted code can read it: `minimize_adagrad` interprets such objectives
        return NumbaTypeError(
            f"{name}: an attribute of the class, which compiled code cannot read, but {where}; make it a field"
        )
    fields = ", ".join(cls._fields) or "none"
    return AttributeError(f"{name}: not a field or method of {found['cls']}, but {where}; the fields are {fields}")


def _explain_parameters(found, cls):
    """Return the error for a method that is called with another number of arguments."""
    return TypeError(
        f"{found['cls']}.{found['method']}: has the parameters {found['parameters']}, with which it cannot be called: "
        f"{found['reason']}; the modules of adagrad_nb.records describe the methods"
    )


_EXPLANATIONS = (
    (
        r"Unknown attribute '(?P<name>\w+)' of type (?P<cls>\w+)\(.*?get attribute at (?P<file>.*?) \((?P<line>\d+)\)",
        _explain_attribute,
    ),
    (
        r"Cannot bind 'args=\((?P<cls>\w+)\([^\n]* to signature '(?P<parameters>[^\n]*?)' due to "
        r"\"TypeError: (?P<reason>[^\n]*?)\"\..*?resolving callee type: Function\(<function (?P<method>\w+) ",
        _explain_parameters,
    ),
    (
        r"(?P<message>(?P<cls>\w+)\.\w+: cannot be called by another compiled method.*?)\n",
        lambda found, cls: NumbaTypeError(found["message"]),
    ),
)


def _find_class(kinds, name):
    """Return the class with this name among the types of records, or None."""
    for kind in kinds:
        if isinstance(kind, types.BaseNamedTuple) and kind.instance_class.__name__ == name:
            return kind.instance_class
        inner = kind if isinstance(kind, types.BaseTuple) else (kind.inner,) if hasattr(kind, "inner") else ()
        cls = _find_class(inner, name)
        if cls is not None:
            return cls
    return None


def is_compiled(function):
    """Return whether `function` is compiled by Numba for the CPU."""
    return isinstance(function, numba.core.registry.CPUDispatcher)


_NO_CHANGE = contextlib.nullcontext()


def errors_ignored():
    """Return a context without NumPy's warnings of overflow, which interpreted kernels give and compiled ones do not.

    ``np.errstate`` takes 1 µs, so it is left out where kernels are compiled.
    """
    return np.errstate(over="ignore", invalid="ignore") if numba.config.DISABLE_JIT else _NO_CHANGE


def compiled_entry(kernel, *args):
    """Return the compiled entry point of a kernel for the types of these arguments.

    It bypasses Numba's dispatcher, which takes 2 microseconds to type nested records.  The caller must pass arguments
    of the same types: arrays of the same dtype, dimension and contiguity.
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
    """Return the LLVM IR of a kernel for the types of these arguments, without its CPython wrapper."""
    recompiled = _compile_uncached(kernel)  # code loaded from the disk cache cannot be inspected
    signature = tuple(numba.typeof(argument) for argument in args)
    recompiled.compile(signature)
    functions = re.split(r"(?m)^(?=define )", recompiled.inspect_llvm(signature))
    return "".join(function for function in functions if "cpython" not in function.partition("{")[0])


def num_threads():
    """Return the number of threads that a parallel kernel may use."""
    return numba.config.NUMBA_NUM_THREADS


def coordinate_of(where, k):
    """Return the coordinate of gradient entry k: where[k], or k for a dense gradient (`where` is a tuple)."""
    return k if isinstance(where, tuple) else where[k]


@bind(coordinate_of)
def _overload_coordinate_of(where, k):
    if isinstance(where, types.Array):
        return lambda where, k: where[k]
    return lambda where, k: k
