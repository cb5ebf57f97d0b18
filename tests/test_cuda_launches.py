"""Flattened arguments of CUDA kernels, and recordings of launches.  No test needs a device."""

import ctypes
from types import SimpleNamespace
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from adagrad_nb.cuda import launches

if numba.config.ENABLE_CUDASIM:
    pytest.skip("the simulator launches by itself", allow_module_level=True)


class Array:
    """Device array with the attributes of Numba's."""

    def __init__(self, address, shape=(3,), dtype="f4", strides=None):
        self.dtype, self.shape, self.ndim = np.dtype(dtype), shape, len(shape)
        self.size = int(np.prod(shape))
        self.strides = strides or np.empty(shape, dtype).strides
        self._numba_type_ = ("array", self.dtype, self.strides)
        pointer = ctypes.c_void_p(address if self.size else 0)
        self.gpu_data = SimpleNamespace(device_ctypes_pointer=pointer)


class Rule(NamedTuple):
    eps: Any
    power: Any = 2


class OtherRule(NamedTuple):
    eps: Any
    power: Any = 2


def flatten(value):
    types, words = [], []
    launches.flatten(value, Array, types, words)
    return tuple(types), [getattr(word, "value", word) for word in words]


def test_words():
    assert flatten(Array(64))[1] == [0, 0, 3, 4, 64, 3, 4]
    assert flatten(Array(64, (2, 5), "f8"))[1] == [0, 0, 10, 8, 64, 2, 5, 40, 8]
    assert flatten(Array(64, (2, 5), "f8", (8, 16)))[1] == [0, 0, 10, 8, 64, 2, 5, 8, 16]
    assert flatten(Array(64, (0,), strides=(4,)))[1] == [0, 0, 0, 4, 0, 0, 4]
    nested = (Rule(np.float32(0.5), (Array(64), 7)), 2.5, True, ())
    assert flatten(nested)[1] == [0.5, 0, 0, 3, 4, 64, 3, 4, 7, 2.5, True]


def test_types_tell_arguments_apart():
    values = [
        1, 1.0, True, np.float32(1), np.float64(1), np.int32(1), np.int64(1), np.uint32(1), np.uint64(1),
        (), (1,), (1, 1), ((1,), 1), ((1, 1),), Rule(1.0), OtherRule(1.0), Rule(np.float32(1)), Rule(1, (1,)),
        (Rule(1),),
        Array(64), Array(64, dtype="f8"), Array(64, dtype=">f4"), Array(64, (3,), strides=(8,)), Array(64, (3, 1)),
        (Array(64), 1), (Array(64), Array(64)), Rule(Array(64)), Rule(Array(64), 1.0),
    ]  # fmt: skip
    kinds = [flatten((value, value))[0] for value in values]
    assert len(set(kinds)) == len(values)
    assert kinds == [flatten((value, value))[0] for value in values]
    assert flatten(Array(64))[0] == flatten(Array(128, (9,)))[0]


def test_words_of_a_record_are_kept_for_this_record_only(monkeypatch):
    monkeypatch.setattr(launches, "_records", {})
    rule = Rule(0.5)
    assert flatten(rule) == flatten(rule) == flatten(Rule(0.5))
    assert flatten(Rule(0.25))[1] == [0.25, 2]
    assert len(launches._records) == 3
    flatten(Rule(Array(64)))
    assert len(launches._records) == 3  # an array has an owner, which an entry would keep alive
    monkeypatch.setattr(launches, "MAX_RECORDS", 3)
    flatten(Rule(0.125))
    assert len(launches._records) == 1


@pytest.mark.parametrize("value", [None, "a", 1j, np.float16(1), np.complex64(1), np.zeros(3), [1], np.bool_(True)])
def test_other_arguments_are_left_to_numba(value):
    with pytest.raises(launches._UnknownTypeError):
        flatten((1, (value,)))


class Kernel:
    """Kernel of `cuda.jit` that logs the launches of Numba, and whose arguments have the given words."""

    debug = cooperative = False

    def __init__(self, log, words=None):
        self.log, self.words, self.n_compiled = log, words, 0
        self._codelibrary = SimpleNamespace(get_cufunc=lambda: SimpleNamespace(kernel="native"))

    def typeof_pyval(self, value):
        return type(value)

    def compile(self, types):
        self.n_compiled += 1
        return self

    def _prepare_args(self, arg_type, value, stream, cleanup, words):
        if self.words is None:
            launches.flatten(value, Array, [], words)
        else:
            words += self.words

    def __getitem__(self, config):
        return lambda *args: self.log.append(("Numba", config, args))


@pytest.fixture
def log(monkeypatch):
    """Return the list of launches by a driver that only logs them."""
    found = []

    class Stream(int):
        from_handle = classmethod(lambda cls, handle: cls(handle))

    def launch(stream, config, kernel, *words):
        found.append((stream, config, kernel, [getattr(word, "value", word) for word in words]))

    driver = launches._Driver(launch, lambda grid, block, shmem_size: (grid, block), Stream, Array, lambda: None, False)
    monkeypatch.setattr(launches, "_driver", lambda: driver)
    for name in ("_kernels", "_streams"):
        monkeypatch.setattr(launches, name, {})
    launches._launch_config.cache_clear()
    yield found
    launches._launch_config.cache_clear()


def test_a_launch(log):
    kernel = Kernel(log)
    for address in (64, 128):
        launches.launch(kernel, 5, 256, 0, (Array(address), np.float32(0.5), 3))
    config = ((5, 1, 1), (256, 1, 1))
    assert log == [(0, config, "native", [0, 0, 3, 4, address, 3, 4, 0.5, 3]) for address in (64, 128)]
    assert kernel.n_compiled == 1
    launches.launch(kernel, 5, 256, SimpleNamespace(handle=7), (Array(64, dtype="f8"),))
    assert log[-1][0] == 7
    assert kernel.n_compiled == 2


def test_numba_launches_if_its_words_differ(log):
    args = (Array(64), 3)
    for kernel in (Kernel(log, [0]), Kernel(log, []), Kernel(log)):
        kernel.debug = kernel.words is None
        for _ in range(2):
            launches.launch(kernel, 5, 256, 0, args)
        assert kernel.n_compiled == 1
    kernel = Kernel(log)
    del kernel._codelibrary
    launches.launch(kernel, 5, 256, 0, args)
    launches.launch(Kernel(log), 5, 256, 0, (None,))
    assert [entry[:2] for entry in log] == [("Numba", (5, 256, 0))] * 8


@pytest.mark.parametrize(
    ("a", "b", "is_same"),
    [
        ([1, ctypes.c_float(0.5)], [ctypes.c_int64(1), ctypes.c_float(0.5)], True),
        ([0], [None], True),
        ([1], [ctypes.c_int32(1)], False),
        ([1], [True], False),
        ([ctypes.c_float(0.5)], [ctypes.c_double(0.5)], False),
        ([1, 2], [1], False),
        ([ctypes.c_float(np.nan)], [ctypes.c_float(np.nan)], True),
    ],
)
def test_same_words(a, b, is_same):
    assert launches.are_same_words(a, b) == is_same


def test_a_recording_replaces_addresses_and_the_number_of_the_update(log):
    kernel, x, g, s = Kernel(log), Array(64), Array(128), Array(192)

    def step():
        launches.launch(kernel, 1, 256, 0, (Rule(0.5, (g,)), x, (s, s)))
        launches.launch(kernel, 2, 256, 0, (x, 9, launches.StepNumber(4)))

    recording = launches.record(step, (x, g))
    first = [entry[3] for entry in log]
    log.clear()
    recording.run(7, 1000, 2000, 5)
    assert [entry[0] for entry in log] == [7, 7]
    assert [entry[1][0][0] for entry in log] == [1, 2]
    a, b = (entry[3] for entry in log)
    assert first == [[0.5, *words(128), *words(64), *words(192), *words(192)], [*words(64), 9, 4]]
    assert a == [0.5, *words(2000), *words(1000), *words(192), *words(192)]
    assert b == [*words(1000), 9, 5]


def words(address):
    """Return the words of an array of three float32 numbers."""
    return [0, 0, 3, 4, address, 3, 4]


def test_a_step_that_numba_launches_is_not_recorded(log):
    assert launches.record(lambda: launches.launch(Kernel(log), 1, 256, 0, (None,)), ()) is None
    assert launches.record(lambda: launches.launch(Kernel(log), 1, 256, 0, (1,)), ()) is not None


def test_words_are_those_of_numba():
    """Compare with numba-cuda, if it is installed, for all kinds of arguments that kernels of this package take."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    dispatcher = pytest.importorskip("numba.cuda.dispatcher", exc_type=ImportError)
    from numba.cuda.cudadrv.devicearray import DeviceNDArray
    from numba.cuda.typing.typeof import Purpose, typeof

    class Memory:
        """Memory of the device at an address."""

        __cuda_memory__ = True
        device_ctypes_pointer = ctypes.c_void_p(4096)

    def array(shape, dtype, strides=None):
        strides = strides or np.empty(shape, dtype).strides
        return DeviceNDArray(shape, strides, np.dtype(dtype), gpu_data=Memory())

    scalars = [
        3,
        -(2**40),
        0.5,
        True,
        np.float32(0.5),
        np.float64(0.1),
        np.int32(-3),
        np.int64(5),
        np.uint32(7),
        np.uint64(9),
    ]
    values = [
        *scalars,
        *(array((3,), dtype) for dtype in ("f4", "f8", "i4", "i8", "f2", "i2", "u1")),
        array((2, 5), "f4"), array((2, 5), "f4", (4, 8)), array((4,), "f4", (8,)), array((1, 1), "f8"), array((), "f8"),
        (), Rule(np.float32(0.5), (array((3,), "f4"), 2)), ((Rule(0.5),), array((3,), "i8"), tuple(scalars)),
    ]  # fmt: skip
    kernel = SimpleNamespace(extensions=[])
    kernel._prepare_args = lambda *args: dispatcher._Kernel._prepare_args(kernel, *args)
    for value in values:
        expected: list = []
        kernel._prepare_args(typeof(value, Purpose.argument), value, 0, [], expected)
        found: list = []
        launches.flatten(value, DeviceNDArray, [], found)
        assert launches.are_same_words(found, expected), value
