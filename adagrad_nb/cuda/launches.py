"""Kernel launches without Numba's dispatcher, which takes 40 to 60 µs to type and pack nested records; this takes 8 µs.

The arguments are flattened to the words that Numba's kernels take, and `cuda.core` launches the kernel that Numba has
compiled for their types.  The first launch for each combination of types compares the words with those of Numba.  If
they differ, as they may in another version of numba-cuda, or if an argument is of another type, Numba launches.
"""

import ctypes
import functools
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np

MAX_RECORDS = 512  # records whose words are kept
WORDS_BEFORE_ADDRESS = 4  # words of an array: two unused ones, size, size of an element, address, shape, strides

_PACK = {
    int: int,
    bool: bool,
    float: ctypes.c_double,
    np.float32: ctypes.c_float,
    np.float64: ctypes.c_double,
    np.int32: ctypes.c_int32,
    np.int64: ctypes.c_int64,
    np.uint32: ctypes.c_uint32,
    np.uint64: ctypes.c_uint64,
}

_kernels: dict = {}  # kernel, device and types of the arguments -> kernel of `cuda.core`, or None if Numba launches
_records: dict = {}  # id of a record without arrays -> (record, number of its types, words)
_type_numbers: dict = {}  # types of a record without arrays -> a number
_streams: dict = {}  # handle -> stream of `cuda.core`
_thread_state = threading.local()  # `has_context`, and the `recording` of this thread


class _Driver(NamedTuple):
    """What `cuda.core` and numba-cuda provide."""

    launch: Any
    config_type: Any
    stream_type: Any
    array_type: Any
    current_context: Any
    several_devices: bool


@functools.cache
def _driver():
    """Return the `_Driver`, or None in the simulator and for a numba-cuda without `cuda.core`."""
    from numba.core import config

    if getattr(config, "ENABLE_CUDASIM", False):
        return None
    try:
        from cuda.core import LaunchConfig, Stream, launch
        from numba import cuda
        from numba.cuda.cudadrv.devicearray import DeviceNDArray
    except ImportError:
        return None
    return _Driver(launch, LaunchConfig, Stream, DeviceNDArray, cuda.current_context, len(cuda.gpus) > 1)


class _UnknownTypeError(Exception):
    """An argument whose words only Numba knows."""


def flatten(value, array_type, types, words):
    """Append the types and the words of an argument; return whether it contains no array.

    The words of a record without arrays are kept, since options do not change from step to step.
    """
    kind = type(value)
    pack = _PACK.get(kind)
    if pack is not None:
        types.append(kind)
        words.append(pack(value))
        return True
    if kind is array_type:
        shape, strides, dtype = value.shape, value.strides, value.dtype
        itemsize = dtype.itemsize
        if len(shape) == 1 and strides[0] == itemsize:
            types.append(dtype)
        else:
            types.append(value._numba_type_)
        words += (0, 0, value.size, itemsize, address_of(value), *shape, *strides)
        return False
    if not isinstance(value, tuple):
        raise _UnknownTypeError
    known = _records.get(id(value))
    if known is not None:  # the entry holds the record, so no other object has its id
        types.append(known[1])
        words += known[2]
        return True
    first_type, first_word, is_constant = len(types), len(words), True
    types += (kind, len(value))
    for item in value:
        is_constant &= flatten(item, array_type, types, words)
    if is_constant:
        number = _type_numbers.setdefault(tuple(types[first_type:]), len(_type_numbers))
        types[first_type:] = (number,)
        if len(_records) >= MAX_RECORDS:
            _records.clear()
        _records[id(value)] = value, number, tuple(words[first_word:])
    return is_constant


def address_of(array):
    """Return the address of the first element of a Numba device array; 0 if it is empty."""
    return array.gpu_data.device_ctypes_pointer.value or 0


def launch(kernel, blocks, threads, stream, args):
    """Launch a kernel of `cuda.jit` on a stream."""
    driver = _driver()
    if driver is not None:
        types, words = [kernel], []
        try:
            flatten(args, driver.array_type, types, words)
        except _UnknownTypeError:
            pass
        else:
            native = _native_kernel(driver, kernel, types, args, words)
            if native is not None:
                config, recording = _launch_config(blocks, threads), getattr(_thread_state, "recording", None)
                driver.launch(_core_stream(driver, stream), config, native, *words)
                if recording is not None:
                    recording.add(config, native, words, args)
                return
        if getattr(_thread_state, "recording", None) is not None:
            _thread_state.recording.is_complete = False
    _configure(kernel, blocks, threads, stream)(*args)


def _native_kernel(driver, kernel, types, args, words):
    """Return the kernel of `cuda.core` for these arguments, or None if Numba must launch it."""
    _enter_context(driver)
    types.append(device_number())
    key = tuple(types)
    if key not in _kernels:
        _kernels[key] = _compile(kernel, args, words)
    return _kernels[key]


def _enter_context(driver):
    """Give this thread a CUDA context at its first launch."""
    if not getattr(_thread_state, "has_context", False):
        driver.current_context()
        _thread_state.has_context = True


def _compile(kernel, args, words):
    """Compile a kernel; return it if Numba would pass the same words, else None."""
    arg_types = tuple(map(kernel.typeof_pyval, args))
    compiled = kernel.compile(arg_types)
    expected: list = []
    try:
        if compiled.debug or compiled.cooperative:
            return None
        for arg_type, value in zip(arg_types, args, strict=True):
            compiled._prepare_args(arg_type, value, 0, [], expected)
        return compiled._codelibrary.get_cufunc().kernel if are_same_words(words, expected) else None
    except (AttributeError, NotImplementedError, TypeError):
        return None


def are_same_words(a, b):
    """Return whether two lists of kernel arguments have the same bytes."""
    return [*map(_as_bytes, a)] == [*map(_as_bytes, b)]


def _as_bytes(word):
    """Return the bytes of a kernel argument; integers have 64 bits, and None is the address of an empty array."""
    if isinstance(word, ctypes._SimpleCData):
        return bytes(word)
    return bytes(word) if isinstance(word, bool) else bytes(ctypes.c_int64(word or 0))


@functools.lru_cache(maxsize=1024)
def _launch_config(blocks, threads):
    return _driver().config_type(grid=(blocks, 1, 1), block=(threads, 1, 1), shmem_size=0)


def _core_stream(driver, stream):
    """Return a stream as one of `cuda.core`; 0 is the default stream."""
    if isinstance(stream, driver.stream_type):
        return stream
    handle = stream if type(stream) is int else int(getattr(stream, "handle", stream) or 0)
    known = _streams.get(handle)
    if known is None:
        known = _streams[handle] = driver.stream_type.from_handle(handle)
    return known


@functools.lru_cache(maxsize=4096)
def _configured(kernel, blocks, threads, stream):
    """Return a kernel with Numba's launch configuration, without its warning of a grid of few blocks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")
        return kernel[blocks, threads, stream]


def _configure(kernel, blocks, threads, stream):
    """Return a kernel with Numba's launch configuration; in the simulator a kernel is its own, so none is kept."""
    return kernel[blocks, threads, stream] if _driver() is None else _configured(kernel, blocks, threads, stream)


class StepNumber(int):
    """The number of an update while launches are recorded; the recorded launches take that of each later update."""


_PACK[StepNumber] = int


class Recording:
    """Launches that can be repeated with other addresses and another number of the update.

    Attributes
    ----------
    launches : list of (config, kernel, words, places)
        `places` are pairs (position of a word, index of the value that replaces it).
    arrays : tuple of Numba device arrays
        Those whose addresses are replaced, identified as objects.
    """

    __slots__ = ("_driver", "arrays", "is_complete", "launches")

    def __init__(self, driver, arrays):
        self._driver, self.arrays, self.launches, self.is_complete = driver, arrays, [], True

    def add(self, config, kernel, words, args):
        """Add a launch."""
        places: list = []
        self._find_places(args, 0, places)
        self.launches.append((config, kernel, words, places))

    def _find_places(self, value, start, places):
        """Append the places in an argument whose first word has number `start`; return the number of the next word."""
        if isinstance(value, tuple):
            for item in value:
                start = self._find_places(item, start, places)
            return start
        if type(value) is not self._driver.array_type:
            if type(value) is StepNumber:
                places.append((start, len(self.arrays)))
            return start + 1
        places.extend((start + WORDS_BEFORE_ADDRESS, i) for i, array in enumerate(self.arrays) if array is value)
        return start + WORDS_BEFORE_ADDRESS + 1 + 2 * value.ndim

    def run(self, stream, *values):
        """Repeat the launches; `values` are the addresses of the arrays and the number of the update."""
        driver = self._driver
        _enter_context(driver)
        stream = _core_stream(driver, stream)
        for config, kernel, words, places in self.launches:
            for position, i in places:
                words[position] = values[i]
            driver.launch(stream, config, kernel, *words)


def record(function, arrays):
    """Call a function; return the `Recording` of its launches, or None if Numba has made one of them."""
    driver = _driver()
    recording = None if driver is None else Recording(driver, arrays)
    _thread_state.recording = recording
    try:
        function()
    finally:
        _thread_state.recording = None
    return recording if recording is not None and recording.is_complete else None


def device_number():
    """Return the number of the current device."""
    driver = _driver()
    return driver.current_context().device.id if driver is not None and driver.several_devices else 0
