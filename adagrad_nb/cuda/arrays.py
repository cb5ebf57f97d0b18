"""Arrays on a CUDA device: the one module that talks to `numba.cuda`, which it imports when the first one arrives."""

import contextlib
import functools
import math
import sys
import threading
from typing import Any, NamedTuple

import numpy as np

BLOCKS_PER_SM = 32  # most blocks for each multiprocessor: enough to hide its memory, few enough to be started at once

_thread_state = threading.local()  # the stream that this thread launches on


class ArraySpec(NamedTuple):
    """Shape and dtype of a device array, as NumPy would have them; "bfloat16" is no dtype of NumPy's."""

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
    """Whether an array lives on a CUDA device, by its type alone."""
    is_cuda = getattr(array, "is_cuda", None)
    if isinstance(is_cuda, bool):  # PyTorch, which does not say where an array is that takes part in a gradient
        return is_cuda
    return getattr(type(array), "__cuda_ndarray__", False) or hasattr(array, "__cuda_array_interface__")


@functools.cache
def import_cuda():
    """`numba.cuda` of the package numba-cuda, or of the simulator; Numba's built-in target is no longer kept up."""
    hint = "install the extra for your driver: pip install 'adagrad_nb[cuda12]' or 'adagrad_nb[cuda13]'"
    try:
        from numba import cuda as module
    except ImportError as error:
        raise ImportError(f"arrays on a CUDA device need numba-cuda ({error}); {hint}") from error
    if not is_simulated() and getattr(module, "implementation", "Built-in") != "NVIDIA":
        raise ImportError(f"numba.cuda is Numba's built-in target, which this package does not use; {hint}")
    return module


def is_simulated():
    """Whether CUDA is simulated in Python."""
    from numba.core import config

    return bool(getattr(config, "ENABLE_CUDASIM", False))


def has_cuda():
    """Whether arrays on a CUDA device can be updated here: numba-cuda is installed and finds a device.

    Returns
    -------
    bool
        Never an error: without numba-cuda, False.

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
    """Import and return the kernels and constants that every launch needs."""
    import_cuda()
    from . import primitives

    return primitives


# --- arrays of others ---------------------------------------------------------------------------------------------


def _is_numba_array(array):
    return getattr(type(array), "__cuda_ndarray__", False)


def _package_of(array):
    """The package that an array comes from, such as "torch"."""
    return type(array).__module__.partition(".")[0]


def array_spec(array):
    """Shape and dtype of a device array of any package."""
    name = str(array.dtype).removeprefix("torch.")
    return ArraySpec(tuple(array.shape), name if name == "bfloat16" else np.dtype(name))


def flat_view(array, name="x"):
    """The array as Numba knows it, flat; of bfloat16 numbers the bits."""
    if not _is_numba_array(array):
        array = array.detach() if hasattr(array, "detach") else array
        if _package_of(array) == "torch" and array_spec(array).dtype == "bfloat16":
            array = array.view(sys.modules["torch"].int16)
        array = import_cuda().as_cuda_array(array, sync=False)  # `on_stream` sees to the order
    if not array.is_c_contiguous():
        raise ValueError(f"{name}: is a device array with gaps or another order of axes; make it C-contiguous first")
    return array if array.ndim == 1 else array.reshape(array.size)


def is_contiguous(array):
    """Whether the entries follow one another without gaps, in C order."""
    for name in ("is_contiguous", "is_c_contiguous"):
        if hasattr(array, name):
            return getattr(array, name)()
    flags = getattr(array, "flags", None)
    return bool(getattr(flags, "c_contiguous", False))


def is_writable(array):
    """Whether an array may be changed in place; those of JAX may not."""
    return _package_of(array) not in ("jax", "jaxlib")


def data_pointer(array):
    """Where the first entry is; a number."""
    if is_simulated():
        return 0
    for name in ("data_ptr", "device_ctypes_pointer"):
        pointer = getattr(array, name, None)
        if pointer is not None:
            return pointer() if callable(pointer) and name == "data_ptr" else pointer.value
    return array.__cuda_array_interface__["data"][0]


def is_aligned(*arrays):
    """Whether arrays begin at words of 128 bits."""
    return all(data_pointer(array) % 16 == 0 for array in arrays)


def device_arrays_in(tree):
    """The device arrays in nested containers."""
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
    """The stream that an array is used on; 0 is the default one."""
    if _is_numba_array(array):
        return getattr(array, "stream", 0)
    if _package_of(array) == "torch":
        pointer = sys.modules["torch"].cuda.current_stream(array.device).cuda_stream
    else:
        pointer = array.__cuda_array_interface__.get("stream")
    if pointer == 2:
        return import_cuda().per_thread_default_stream()
    return _external_stream(pointer) if pointer not in (None, 0, 1) else 0


def _synchronize(stream):
    if stream:
        stream.synchronize()
    else:
        import_cuda().default_stream().synchronize()


def _stream_id(stream):
    """The number of a stream, the same for every object that stands for it."""
    return int(stream)


@contextlib.contextmanager
def on_stream(arrays):
    """Launch on the stream of the first array; where others are used on other streams, each waits for the other."""
    packages, streams = set(), {}
    for array in arrays:
        package = _package_of(array)
        if package not in packages:
            array_stream = _stream_of(array)
            streams.setdefault(_stream_id(array_stream), array_stream)
        if package in ("torch", "cupy"):  # which have one current stream, not one for each array
            packages.add(package)
    first, *others = streams.values() or [0]
    previous = current_stream()
    _thread_state.stream = first
    try:
        for other in others:
            _synchronize(other)
        yield
        if others:
            _synchronize(first)
    finally:
        _thread_state.stream = previous


def current_stream():
    """The stream of this thread."""
    return getattr(_thread_state, "stream", 0)


# --- memory -------------------------------------------------------------------------------------------------------


def empty(shape, dtype):
    """A new device array, of Numba."""
    return import_cuda().device_array(shape, dtype, stream=current_stream())


def full(shape, value, dtype):
    """A new device array of a shape, filled."""
    array = empty(shape, dtype)
    fill(array, value)
    return array


def fill(array, value):
    """Set all entries to a number."""
    flat = flat_view(array)
    launch_kernel(import_primitives().fill, flat.size, flat, flat.dtype.type(value))


def copy(array):
    """A new device array with the same content, of the same package where it can copy."""
    for name in ("clone", "copy"):
        if not _is_numba_array(array) and hasattr(array, name) and is_writable(array):
            return getattr(array.detach() if name == "clone" else array, name)()
    target = empty(array_spec(array).shape, array_spec(array).dtype)
    copy_into(target, array)
    return target


def copy_into(target, source):
    """Copy the entries of one device array to another."""
    flat = flat_view(target)
    if flat.size:
        flat.copy_to_device(flat_view(source), stream=current_stream())


def to_device_array(array):
    """A copy of a host array on the device."""
    return import_cuda().to_device(np.ascontiguousarray(array), stream=current_stream())


def to_host(array):
    """A copy of a device array on the host, once it is there."""
    host = (
        array.copy_to_host(stream=current_stream())
        if _is_numba_array(array)
        else flat_view(array).copy_to_host(stream=current_stream())
    )
    if not is_simulated():
        _synchronize(current_stream())
    return host.reshape(array_spec(array).shape)


def to_device_record(record):
    """The same record with the arrays in it on the device."""
    if isinstance(record, tuple):
        fields = (to_device_record(field) for field in record)
        return type(record)(*fields) if hasattr(record, "_fields") else tuple(fields)
    return to_device_array(record) if isinstance(record, np.ndarray) and record.ndim else record


# --- launches -----------------------------------------------------------------------------------------------------


@functools.cache
def _max_blocks():
    return BLOCKS_PER_SM * getattr(import_cuda().get_current_device(), "MULTIPROCESSOR_COUNT", 1)


def launch_kernel(kernel, size, *args):
    """Run a CUDA loop over `size` coordinates."""
    if size:
        block = import_primitives().BLOCK_SIZE
        kernel[min(-(-size // block), _max_blocks()), block, current_stream()](*args)


def launch_blocks(kernel, blocks, *args):
    """Run a CUDA loop with just so many blocks, at least one."""
    kernel[max(blocks, 1), import_primitives().BLOCK_SIZE, current_stream()](*args)


def n_sum_blocks(size):
    """The blocks of a sum over so many coordinates: not a matter of the device, so that the sum is not either."""
    return max(min(-(-size // import_primitives().BLOCK_SIZE), import_primitives().MAX_SUM_BLOCKS), 1)
