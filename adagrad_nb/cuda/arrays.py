"""Device arrays of any package: detection, views, streams, copies and kernel launches.

This is the only module that imports `numba.cuda` on the host side, when the first device array is used.
"""

import contextlib
import copy as copy_module
import functools
import importlib
import math
import sys
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np

from . import launches

BLOCKS_PER_SM = 32  # limit per multiprocessor: enough blocks to hide memory latency, few enough to be resident at once

_thread_state = threading.local()  # its `stream` is the stream on which this thread launches


class ArraySpec(NamedTuple):
    """Shape and dtype of a device array; the dtype is that of NumPy, or the string "bfloat16"."""

    shape: tuple
    dtype: Any

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return math.prod(self.shape)

    def as_flat(self):
        return ArraySpec((self.size,), self.dtype)


def is_device_array(array):
    """Return whether an array is in the memory of a CUDA device, by its attributes alone."""
    is_cuda = getattr(array, "is_cuda", None)
    if isinstance(is_cuda, bool):  # PyTorch; the CUDA array interface of a tensor that requires a gradient raises
        return is_cuda
    return getattr(type(array), "__cuda_ndarray__", False) or hasattr(array, "__cuda_array_interface__")


@functools.cache
def import_cuda():
    """Import and return `numba.cuda` of numba-cuda or of the simulator; Numba's own CUDA target is unmaintained."""
    hint = "install the extra for your driver: pip install 'adagrad_nb[cuda12]' or 'adagrad_nb[cuda13]'"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numba-cuda 0.30 makes some with NumPy 2.5
        try:
            from numba import cuda as module
        except ImportError as error:
            raise ImportError(f"device arrays require numba-cuda ({error}); {hint}") from error
        if not is_simulated() and getattr(module, "implementation", "Built-in") != "NVIDIA":
            raise ImportError(f"numba.cuda is Numba's built-in target, which is not supported; {hint}")
        _import_array_functions()
    return module


def _import_array_functions():
    """Import the array functions of numba-cuda 0.30, which look up `np.row_stack`; NumPy 2.5 does not have it."""
    if is_simulated() or hasattr(np, "row_stack"):
        return  # otherwise numba-cuda imports them when it compiles the first kernel
    np.row_stack = np.vstack  # noqa: NPY201
    try:
        importlib.import_module("numba.cuda.np.arrayobj")
    except AttributeError as error:
        raise ImportError(
            f"numba-cuda does not work with NumPy {np.__version__} ({error}); install an older one: "
            "pip install 'numpy<2.5'"
        ) from error
    finally:
        del np.row_stack  # noqa: NPY201


@functools.cache
def is_simulated():
    """Return whether Numba's CUDA simulator is in use."""
    from numba.core import config

    return bool(getattr(config, "ENABLE_CUDASIM", False))


def has_cuda() -> bool:
    """Return whether device arrays can be updated: numba-cuda is installed and finds a CUDA device.

    Returns
    -------
    bool
        False if numba-cuda is not installed; no exception is raised.

    Examples
    --------
    >>> from adagrad_nb import has_cuda
    >>> has_cuda() in (True, False)
    True
    """
    try:
        return bool(import_cuda().is_available())
    except ImportError:
        return False


@functools.cache
def import_primitives():
    """Import and return the module of the constants and kernels that all launches share."""
    import_cuda()
    from . import primitives

    return with_disk_cache(primitives)


def with_disk_cache(module):
    """Return a module of CUDA kernels, after its kernels have the disk cache; there is none in the simulator."""
    if is_simulated():
        return module
    from .disk_cache import enable_disk_cache

    return enable_disk_cache(module)


# --- arrays of any package ----------------------------------------------------------------------------------------


def _is_numba_array(array):
    return _is_numba_type(type(array))


def _is_numba_type(kind):
    return getattr(kind, "__cuda_ndarray__", False)


def _package_of(array):
    """Return the name of the package of an array, such as "torch"."""
    return type(array).__module__.partition(".")[0]


def array_spec(array):
    """Return the shape and dtype of a device array of any package."""
    if isinstance(array.dtype, np.dtype):
        return ArraySpec(tuple(array.shape), array.dtype)
    name = str(array.dtype).removeprefix("torch.")
    return ArraySpec(tuple(array.shape), name if name == "bfloat16" else np.dtype(name))


def flat_view(array, name="x"):
    """Return a flat Numba view of a contiguous device array; bfloat16 numbers are viewed as 16-bit integers."""
    if not _is_numba_array(array):
        array = array.detach() if hasattr(array, "detach") else array
        if _package_of(array) == "torch" and array_spec(array).dtype == "bfloat16":
            array = array.view(sys.modules["torch"].int16)
        array = import_cuda().as_cuda_array(array, sync=False)  # `on_stream` synchronises the streams
    if not array.is_c_contiguous():
        raise ValueError(f"{name}: got a device array that is not C-contiguous; make it C-contiguous first")
    return array if array.ndim == 1 else array.reshape(array.size)


def is_contiguous(array):
    """Return whether a device array is C-contiguous."""
    for name in ("is_contiguous", "is_c_contiguous"):
        if hasattr(array, name):
            return getattr(array, name)()
    flags = getattr(array, "flags", None)
    return bool(getattr(flags, "c_contiguous", False))


def is_writable(array):
    """Return whether an array can be changed in place; JAX arrays cannot."""
    return _package_of(array) not in ("jax", "jaxlib")


def data_pointer(array):
    """Return the address of the first element as an integer; in the simulator it is that of host memory."""
    if is_simulated():
        return array.__array_interface__["data"][0]
    for name in ("data_ptr", "device_ctypes_pointer"):
        pointer = getattr(array, name, None)
        if pointer is not None:
            return pointer() if callable(pointer) and name == "data_ptr" else pointer.value
    return array.__cuda_array_interface__["data"][0]


def plain_address(array, shape, dtype, strides):
    """Return the address of a C-contiguous array of Numba, PyTorch or CuPy of this shape and dtype, else None.

    `strides` are those of a C-contiguous array.  Dimensions of one entry, whose strides are arbitrary, need not be
    recognised.
    """
    if array.shape != shape:
        return None
    package = type(array).__module__
    if package == "numba.cuda.cudadrv.devicearray":
        return launches.address_of(array) if array.dtype == dtype and array.strides == strides else None
    if package == "torch" or package.startswith("torch."):
        is_plain = array.dtype is _torch_dtype(dtype) and array.is_cuda and array.is_contiguous()
        return array.data_ptr() if is_plain else None
    if package.startswith("cupy."):
        return array.data.ptr if array.dtype == dtype and array.flags.c_contiguous else None
    return None


def plain_addresses(tree_arrays, shapes, dtype):
    """Return the addresses of C-contiguous device arrays of these shapes and a dtype, or None if one is another array.

    Attributes of a thousand tensors of PyTorch are read without a loop of Python, in 0.3 ms.
    """
    kinds = set(map(type, tree_arrays))
    if all(_is_numba_type(kind) for kind in kinds):
        is_plain = (
            [array.shape for array in tree_arrays] == shapes
            and {array.dtype for array in tree_arrays} == {dtype}
            and all(array.is_c_contiguous() for array in tree_arrays)
        )
        if not is_plain:
            return None
        return [0] * len(shapes) if is_simulated() else list(map(launches.address_of, tree_arrays))
    torch = sys.modules.get("torch")
    if torch is not None and kinds <= {torch.Tensor, torch.nn.Parameter}:
        is_plain = (
            all(tensor.is_cuda for tensor in tree_arrays)
            and {tensor.dtype for tensor in tree_arrays} == {_torch_dtype(dtype)}
            and all(map(torch.Tensor.is_contiguous, tree_arrays))
            and [tensor.shape for tensor in tree_arrays] == shapes
        )
        return list(map(torch.Tensor.data_ptr, tree_arrays)) if is_plain else None
    for array, shape in zip(tree_arrays, shapes, strict=True):
        if not is_device_array(array) or array.shape != shape or not is_contiguous(array):
            return None
        if array_spec(array).dtype != dtype:
            return None
    return list(map(data_pointer, tree_arrays))


def have_fixed_addresses(tree_arrays):
    """Return whether the memory of these arrays cannot be exchanged, as that of a tensor of PyTorch can."""
    return all(map(_is_numba_type, set(map(type, tree_arrays))))


@functools.cache
def _torch_dtype(dtype):
    return getattr(sys.modules["torch"], np.dtype(dtype).name)


def common_stream(x, g):
    """Return the stream on which both arrays are used, or None if they are not used on one stream.

    All tensors of PyTorch on a device are used on its current stream.
    """
    stream = _stream_of(x)
    package = _package_of(x)
    if package == _package_of(g) == "torch":
        return stream if x.get_device() == g.get_device() else None
    return stream if g is x or _stream_of(g) is stream else None


def is_aligned(*arrays):
    """Return whether all arrays start at a multiple of 128 bits; the simulator has no such limit."""
    return is_simulated() or all(data_pointer(array) % 16 == 0 for array in arrays)


def device_arrays_in(tree):
    """Return a list of the device arrays in nested containers."""
    if isinstance(tree, (list, tuple)):
        return [array for item in tree for array in device_arrays_in(item)]
    if isinstance(tree, dict):
        return device_arrays_in(list(tree.values()))
    return [tree] if is_device_array(tree) else []


# --- streams ------------------------------------------------------------------------------------------------------


@functools.cache
def _external_stream(pointer):
    return import_cuda().external_stream(pointer)


def _stream_of(array):
    """Return the stream on which an array is used; 0 is the default stream."""
    if _is_numba_array(array):
        return getattr(array, "stream", 0)
    package = _package_of(array)
    if package == "torch":
        _check_current_device(array.device.index)
        pointer = sys.modules["torch"].cuda.current_stream(array.device).cuda_stream
    else:
        if package == "cupy":
            _check_current_device(array.device.id)
        pointer = array.__cuda_array_interface__.get("stream")
    if pointer == 2:
        return import_cuda().per_thread_default_stream()
    return _external_stream(pointer) if pointer not in (None, 0, 1) else 0


def _check_current_device(number):
    """Raise ValueError unless this is the number of the device on which this thread launches kernels."""
    if number == getattr(_thread_state, "device", None):
        return
    _thread_state.device = int(import_cuda().get_current_device().id)
    if number != _thread_state.device:
        raise ValueError(
            f"x: an array is on CUDA device {number}, but the current device is {_thread_state.device}; call "
            f"numba.cuda.select_device({number}) first, or move the array"
        )


def _synchronize(stream):
    if stream:
        stream.synchronize()
    else:
        import_cuda().default_stream().synchronize()


def synchronize_device():
    """Wait until the current device has finished its work on all streams."""
    import_cuda().synchronize()


def _make_wait(stream, other):
    """Let a stream wait for the work that another stream has now; the host does not wait."""
    event = import_cuda().event(timing=False)
    event.record(other)
    event.wait(stream)


def _stream_id(stream):
    """Return the handle of a stream, which identifies it whatever object represents it."""
    return int(getattr(stream, "handle", stream))


@contextlib.contextmanager
def on_stream(arrays):
    """Launch kernels on the stream of the first array.

    The kernels wait for the streams of the other arrays, and these streams wait for the kernels.  The host waits for
    neither.  The stream of JAX is not known.  So the host waits for JAX arrays, and for kernels that read them.
    """
    packages, streams, reads_jax = set(), {}, False
    for array in arrays:
        package = _package_of(array)
        if package in ("jax", "jaxlib"):
            array.block_until_ready()
            reads_jax = True
        if package not in packages:
            array_stream = _stream_of(array)
            streams.setdefault(_stream_id(array_stream), array_stream)
        if package in ("torch", "cupy"):  # all their arrays are on one current stream, so one query is enough
            packages.add(package)
    first, *others = streams.values() or [0]
    previous = current_stream()
    _thread_state.stream = first
    try:
        for other in others:
            _make_wait(first, other)
        yield
        for other in others:
            _make_wait(other, first)
        if reads_jax:
            _synchronize(first)
    finally:
        _thread_state.stream = previous


def current_stream():
    """Return the stream on which this thread launches kernels."""
    return getattr(_thread_state, "stream", 0)


def is_capturing(array):
    """Return whether the stream of a device array is being captured into a CUDA graph."""
    if is_simulated():
        return False
    from cuda.bindings import driver

    error, status = driver.cuStreamIsCapturing(_stream_id(_stream_of(array)))
    is_idle = status == driver.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE
    return error == driver.CUresult.CUDA_ERROR_STREAM_CAPTURE_IMPLICIT or not is_idle


# --- memory -------------------------------------------------------------------------------------------------------


def empty(shape, dtype):
    """Allocate a Numba device array."""
    return import_cuda().device_array(shape, dtype, stream=current_stream())


def full(shape, value, dtype):
    """Allocate a Numba device array and fill it with a number."""
    array = empty(shape, dtype)
    fill(array, value)
    return array


def new_view(array):
    """Return another object for a Numba device array, to tell it from the same array in another role."""
    return copy_module.copy(array)


def fill(array, value):
    """Set all elements of a device array to a number."""
    flat = flat_view(array)
    launch_kernel(import_primitives().fill, flat.size, flat, flat.dtype.type(value))


def copy(array):
    """Return a copy of a device array, of the same package if that package can copy it."""
    for name in ("clone", "copy"):
        if not _is_numba_array(array) and hasattr(array, name) and is_writable(array):
            return getattr(array.detach() if name == "clone" else array, name)()
    target = empty(array_spec(array).shape, array_spec(array).dtype)
    copy_into(target, array)
    return target


def copy_into(target, source):
    """Copy the elements of one device array to another."""
    flat = flat_view(target)
    if flat.size:
        flat.copy_to_device(flat_view(source), stream=current_stream())


def write(target, source):
    """Copy the elements of a host array to a Numba device array."""
    target.copy_to_device(source, stream=current_stream())


def to_device_array(array):
    """Return a device copy of a host array."""
    return import_cuda().to_device(np.ascontiguousarray(array), stream=current_stream())


def to_host(array):
    """Return a host copy of a device array, after the transfer is complete."""
    view = array if _is_numba_array(array) else flat_view(array)
    host = view.copy_to_host(stream=current_stream())
    if not is_simulated():
        _synchronize(current_stream())
    return host.reshape(array_spec(array).shape)


def to_device_record(record):
    """Return a record with its arrays copied to the device."""
    if isinstance(record, tuple):
        fields = (to_device_record(field) for field in record)
        return type(record)(*fields) if hasattr(record, "_fields") else tuple(fields)
    return to_device_array(record) if isinstance(record, np.ndarray) and record.ndim else record


# --- sorting by the package of an array ---------------------------------------------------------------------------


def sort_with_positions(array):
    """Return a sorted vector and the positions of its entries as flat views, by a stable sort of PyTorch or CuPy.

    Return None for arrays of other packages, or if their package does not use the stream of the launches.
    """
    package = _package_of(array)
    if package not in ("torch", "cupy") or _stream_id(_stream_of(array)) != _stream_id(current_stream()):
        return None
    if package == "torch":
        pair = sys.modules["torch"].sort(array.detach(), stable=True)
    else:
        positions = sys.modules["cupy"].argsort(array)  # its only kind is a stable sort
        pair = array[positions], positions
    return tuple(flat_view(part) for part in pair)


# --- launches -----------------------------------------------------------------------------------------------------


@functools.cache
def _max_blocks():
    return BLOCKS_PER_SM * getattr(import_cuda().get_current_device(), "MULTIPROCESSOR_COUNT", 1)


def launch_kernel(kernel, size, *args):
    """Launch a kernel with one thread per coordinate, up to the number of blocks that run at once."""
    if size:
        block = import_primitives().BLOCK_SIZE
        launches.launch(kernel, min(-(-size // block), _max_blocks()), block, current_stream(), args)


def launch_blocks(kernel, blocks, *args):
    """Launch a kernel with a given number of blocks, at least one."""
    launches.launch(kernel, max(blocks, 1), import_primitives().BLOCK_SIZE, current_stream(), args)


def n_sum_blocks(size):
    """Return the number of blocks of a sum; it is independent of the device, so that the result is, too."""
    return max(min(-(-size // import_primitives().BLOCK_SIZE), import_primitives().MAX_SUM_BLOCKS), 1)


def record_launches(step, replaced, t):
    """Call ``step(t)``; return the recording of its launches, or None if they cannot be repeated.

    ``recording.run(stream, *addresses, t)`` repeats them with other addresses of the arrays `replaced`, and another t.
    """
    return launches.record(lambda: step(launches.StepNumber(t)), replaced)


def device_number():
    """Return the number of the current device."""
    return launches.device_number()
