"""Arrays on a CUDA device: the one module that talks to `numba.cuda`, which it imports when the first one arrives."""

import contextlib
import functools
import math
import sys
import threading
from typing import Any, NamedTuple

import numpy as np

WAVES = 32  # most blocks for each multiprocessor: enough to hide its memory, few enough to be started at once

_here = threading.local()  # the stream that this thread launches on


class Form(NamedTuple):
    """Shape and dtype of a device array, as NumPy would have them; "bfloat16" is no dtype of NumPy's."""

    shape: tuple
    dtype: Any

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return math.prod(self.shape)

    def flattened(self):
        return Form((self.size,), self.dtype)


def is_device(array):
    """Whether an array lives on a CUDA device, by its type alone."""
    there = getattr(array, "is_cuda", None)
    if isinstance(there, bool):  # PyTorch, which does not say where an array is that takes part in a gradient
        return there
    return getattr(type(array), "__cuda_ndarray__", False) or hasattr(array, "__cuda_array_interface__")


@functools.cache
def cuda():
    """`numba.cuda` of the package numba-cuda, or of the simulator; Numba's built-in target is no longer kept up."""
    remedy = "install the extra for your driver: pip install 'adagrad_nb[cuda12]' or 'adagrad_nb[cuda13]'"
    try:
        from numba import cuda as module
    except ImportError as error:
        raise ImportError(f"arrays on a CUDA device need numba-cuda ({error}); {remedy}") from error
    if not is_simulated() and getattr(module, "implementation", "Built-in") != "NVIDIA":
        raise ImportError(f"numba.cuda is Numba's built-in target, which this package does not use; {remedy}")
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
        return bool(cuda().is_available())
    except ImportError:
        return False


@functools.cache
def primitives():
    """Import and return the kernels and constants that every launch needs."""
    cuda()
    from . import primitives

    return primitives


# --- arrays of others ---------------------------------------------------------------------------------------------


def _is_known(array):
    return getattr(type(array), "__cuda_ndarray__", False)


def _owner(array):
    """The package that an array comes from, such as "torch"."""
    return type(array).__module__.partition(".")[0]


def form(array):
    """Shape and dtype of a device array of any package."""
    name = str(array.dtype).removeprefix("torch.")
    return Form(tuple(array.shape), name if name == "bfloat16" else np.dtype(name))


def view(array, name="x"):
    """The array as Numba knows it, flat; of bfloat16 numbers the bits."""
    if not _is_known(array):
        array = array.detach() if hasattr(array, "detach") else array
        if _owner(array) == "torch" and form(array).dtype == "bfloat16":
            array = array.view(sys.modules["torch"].int16)
        array = cuda().as_cuda_array(array, sync=False)  # `ordered` sees to the order
    if not array.is_c_contiguous():
        raise ValueError(f"{name}: is a device array with gaps or another order of axes; make it C-contiguous first")
    return array if array.ndim == 1 else array.reshape(array.size)


def is_packed(array):
    """Whether the entries follow one another without gaps, in C order."""
    for name in ("is_contiguous", "is_c_contiguous"):
        if hasattr(array, name):
            return getattr(array, name)()
    flags = getattr(array, "flags", None)
    return bool(getattr(flags, "c_contiguous", False))


def is_writable(array):
    """Whether an array may be changed in place; those of JAX may not."""
    return _owner(array) not in ("jax", "jaxlib")


def address(array):
    """Where the first entry is; a number."""
    if is_simulated():
        return 0
    for get in ("data_ptr", "device_ctypes_pointer"):
        found = getattr(array, get, None)
        if found is not None:
            return found() if callable(found) and get == "data_ptr" else found.value
    return array.__cuda_array_interface__["data"][0]


def is_aligned(*arrays):
    """Whether arrays begin at words of 128 bits."""
    return all(address(array) % 16 == 0 for array in arrays)


def among(tree):
    """The device arrays in nested containers."""
    if isinstance(tree, (list, tuple)):
        return [array for item in tree for array in among(item)]
    if isinstance(tree, dict):
        return among(list(tree.values()))
    return [tree] if is_device(tree) else []


# --- streams ------------------------------------------------------------------------------------------------------


@functools.cache
def _external(pointer):
    return cuda().external_stream(pointer)


def _stream_of(array):
    """The stream that an array is used on; 0 is the default one."""
    if _is_known(array):
        return getattr(array, "stream", 0)
    if _owner(array) == "torch":
        pointer = sys.modules["torch"].cuda.current_stream(array.device).cuda_stream
    else:
        pointer = array.__cuda_array_interface__.get("stream")
    if pointer == 2:
        return cuda().per_thread_default_stream()
    return _external(pointer) if pointer not in (None, 0, 1) else 0


def _waits(stream):
    if stream:
        stream.synchronize()
    else:
        cuda().default_stream().synchronize()


def _key(stream):
    """The number of a stream, the same for every object that stands for it."""
    return int(stream)


@contextlib.contextmanager
def ordered(arrays):
    """Launch on the stream of the first array; where others are used on other streams, each waits for the other."""
    owners, streams = set(), {}
    for array in arrays:
        owner = _owner(array)
        if owner not in owners:
            found = _stream_of(array)
            streams.setdefault(_key(found), found)
        if owner in ("torch", "cupy"):  # which have one current stream, not one for each array
            owners.add(owner)
    mine, *others = streams.values() or [0]
    before = stream()
    _here.stream = mine
    try:
        for other in others:
            _waits(other)
        yield
        if others:
            _waits(mine)
    finally:
        _here.stream = before


def stream():
    """The stream of this thread."""
    return getattr(_here, "stream", 0)


# --- memory -------------------------------------------------------------------------------------------------------


def empty(shape, dtype):
    """A new device array, of Numba."""
    return cuda().device_array(shape, dtype, stream=stream())


def full(shape, value, dtype):
    """A new device array of a shape, filled."""
    array = empty(shape, dtype)
    fill(array, value)
    return array


def fill(array, value):
    """Set all entries to a number."""
    flat = view(array)
    launch(primitives().fill, flat.size, flat, flat.dtype.type(value))


def copy(array):
    """A new device array with the same content, of the same package where it can copy."""
    for name in ("clone", "copy"):
        if not _is_known(array) and hasattr(array, name) and is_writable(array):
            return getattr(array.detach() if name == "clone" else array, name)()
    target = empty(form(array).shape, form(array).dtype)
    assign(target, array)
    return target


def assign(target, source):
    """Copy the entries of one device array to another."""
    flat = view(target)
    if flat.size:
        flat.copy_to_device(view(source), stream=stream())


def put(array):
    """A copy of a host array on the device."""
    return cuda().to_device(np.ascontiguousarray(array), stream=stream())


def fetch(array):
    """A copy of a device array on the host, once it is there."""
    host = array.copy_to_host(stream=stream()) if _is_known(array) else view(array).copy_to_host(stream=stream())
    if not is_simulated():
        _waits(stream())
    return host.reshape(form(array).shape)


def upload(record):
    """The same record with the arrays in it on the device."""
    if isinstance(record, tuple):
        fields = (upload(field) for field in record)
        return type(record)(*fields) if hasattr(record, "_fields") else tuple(fields)
    return put(record) if isinstance(record, np.ndarray) and record.ndim else record


# --- launches -----------------------------------------------------------------------------------------------------


@functools.cache
def _most_blocks():
    return WAVES * getattr(cuda().get_current_device(), "MULTIPROCESSOR_COUNT", 1)


def launch(kernel, size, *args):
    """Run a CUDA loop over `size` coordinates."""
    if size:
        block = primitives().BLOCK
        kernel[min(-(-size // block), _most_blocks()), block, stream()](*args)


def launch_blocks(kernel, blocks, *args):
    """Run a CUDA loop with just so many blocks, at least one."""
    kernel[max(blocks, 1), primitives().BLOCK, stream()](*args)


def blocks_of_sum(size):
    """The blocks of a sum over so many coordinates: not a matter of the device, so that the sum is not either."""
    return max(min(-(-size // primitives().BLOCK), primitives().PARTS), 1)
