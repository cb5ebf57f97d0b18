"""Detection of device arrays of other packages by their attributes, and stream order.  No test needs a device."""

import sys
import types

import numba
import numpy as np
import pytest

from adagrad_nb import (
    EMA,
    RDA,
    Accumulate,
    AddNoise,
    ClipNorm,
    Constant,
    InverseSqrt,
    L2Decay,
    Polyak,
    init,
    update,
)
from adagrad_nb.cuda import arrays

if numba.config.ENABLE_CUDASIM:
    pytest.skip("the simulator has its own arrays", allow_module_level=True)


class CudaArray:
    """Array with the CUDA array interface, as in CuPy."""

    def __init__(self, stream=None, dtype="float32", shape=(3,)):
        self.dtype, self.shape = dtype, shape
        self.__cuda_array_interface__ = {"stream": stream, "data": (4096, False), "shape": shape}


class Tensor:
    """PyTorch tensor that requires a gradient: reading its CUDA array interface raises."""

    def __init__(self, is_cuda):
        self.is_cuda, self.dtype, self.shape = is_cuda, "torch.bfloat16", (2, 3)

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("requires grad")


class Stream:
    def __init__(self, pointer, log):
        self.pointer, self.log = pointer, log

    def __int__(self):
        return self.pointer

    def synchronize(self):
        self.log.append(self.pointer)


class Event:
    """An event that logs, as (stream, other), that a stream waits for another."""

    def __init__(self, log):
        self.log = log

    def record(self, stream):
        self.recorded = int(stream)

    def wait(self, stream):
        self.log.append((int(stream), self.recorded))


@pytest.fixture
def waits(monkeypatch):
    """Return a list of the streams that the host waited for, and of pairs of streams of which the first waited."""
    log = []

    class Module:
        @staticmethod
        def external_stream(pointer):
            return Stream(pointer, log)

        @staticmethod
        def default_stream():
            return Stream(0, log)

        @staticmethod
        def per_thread_default_stream():
            return Stream(2, log)

        @staticmethod
        def event(timing):
            assert not timing
            return Event(log)

        @staticmethod
        def get_current_device():
            return types.SimpleNamespace(id=0)

    monkeypatch.setattr(arrays, "import_cuda", lambda: Module)
    monkeypatch.setattr(arrays, "_thread_state", types.SimpleNamespace())
    arrays._external_stream.cache_clear()
    yield log
    arrays._external_stream.cache_clear()


def test_is_device_array():
    assert arrays.is_device_array(Tensor(True))
    assert not arrays.is_device_array(Tensor(False))
    assert arrays.is_device_array(CudaArray())
    assert not arrays.is_device_array(np.ones(2))
    found = arrays.device_arrays_in([{"a": CudaArray()}, (np.ones(1), [Tensor(True)])])
    assert [type(array) for array in found] == [CudaArray, Tensor]


def test_shape_and_dtype():
    assert arrays.array_spec(CudaArray(shape=(2, 5))) == ((2, 5), np.dtype("f4"))
    assert arrays.array_spec(CudaArray(shape=(2, 5))).size == 10
    assert arrays.array_spec(Tensor(True)).dtype == "bfloat16"


def test_jax_arrays_are_not_writable():
    class Array(CudaArray):
        pass

    assert arrays.is_writable(Array())
    Array.__module__ = "jaxlib.xla"
    assert not arrays.is_writable(Array())


def test_addresses_and_alignment():
    assert arrays.data_pointer(CudaArray()) == 4096
    assert arrays.is_aligned(CudaArray(), CudaArray())


@pytest.mark.parametrize(
    ("streams", "current", "before", "after"),
    [
        ([None, None], 0, [], []),
        ([1, None], 0, [], []),
        ([7, 7], 7, [], []),
        ([2, 2], 2, [], []),
        ([7, 9], 7, [(7, 9)], [(9, 7)]),
        ([7, None], 7, [(7, 0)], [(0, 7)]),
        ([None, 9, 9], 0, [(0, 9)], [(9, 0)]),
    ],
)
def test_streams_wait_for_each_other(streams, current, before, after, waits):
    with arrays.on_stream([CudaArray(stream) for stream in streams]):
        assert int(arrays.current_stream()) == current
        assert waits == before
    assert waits == before + after
    assert arrays.current_stream() == 0


def test_the_host_waits_for_jax_arrays(waits):
    class Array(CudaArray):
        def block_until_ready(self):
            waits.append("jax")

    Array.__module__ = "jaxlib._jax"
    with arrays.on_stream([CudaArray(7), Array()]):
        assert waits == ["jax", (7, 0)]
    assert waits[2:] == [(0, 7), 7]


def test_arrays_of_another_device_are_rejected(waits):
    class Array(CudaArray):
        device = types.SimpleNamespace(id=1)

    Array.__module__ = "cupy._core.core"
    with pytest.raises(ValueError, match=r"^x: an array is on CUDA device 1, but the current device is 0; call"):
        arrays.on_stream([Array()]).__enter__()
    Array.device = types.SimpleNamespace(id=0)
    with arrays.on_stream([Array(7)]):
        assert int(arrays.current_stream()) == 7


def test_updates_that_depend_on_t_are_not_captured(monkeypatch):
    """A captured graph repeats the arguments of its launches, and so t."""
    state = init(np.ones(2))
    for options, changes in [
        ({"lr": Constant(0.1)}, False), ({"lr": InverseSqrt(0.1)}, True), ({"lr": lambda t: 0.1}, True),
        ({"rule": RDA()}, True), ({"transforms": (ClipNorm(1.0), L2Decay(0.1))}, False),
        ({"transforms": (AddNoise(0.1),)}, True), ({"transforms": (Accumulate(2),)}, True),
        ({"average": EMA(0.5)}, False), ({"average": EMA(0.5, overwrite=2)}, True), ({"average": Polyak()}, True),
    ]:  # fmt: skip
        assert init(np.ones(2), **options).options.depends_on_t == changes
    monkeypatch.setattr(arrays, "is_device_array", lambda array: True)
    monkeypatch.setattr(arrays, "is_capturing", lambda array: True)
    state.changes_with_t = True
    with pytest.raises(
        RuntimeError, match=r"^update: a captured CUDA graph would repeat the update t = 0, but the lea"
    ):
        update(np.ones(2), np.ones(2), state)


def test_the_previous_stream_is_restored_after_an_error(waits):
    def fail():
        with arrays.on_stream([CudaArray(7)]):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert arrays.current_stream() == 0


class FakeTorch:
    """Module with the functions of PyTorch that are used; its tensors are NumPy arrays with an address."""

    float32, float64, int64 = "torch.float32", "torch.float64", "torch.int64"

    class Tensor(np.ndarray):
        is_cuda, device_number, address = True, 0, 4096
        dtype = property(lambda self: getattr(FakeTorch, np.ndarray.dtype.__get__(self).name))

        def is_contiguous(self):
            return self.flags.c_contiguous

        def data_ptr(self):
            return self.address

        def get_device(self):
            return self.device_number

        def detach(self):
            return self.view(np.ndarray)

    Tensor.__module__ = "torch"

    class nn:
        class Parameter:
            pass

    @staticmethod
    def sort(array, stable):
        return np.sort(array), np.argsort(array, kind="stable" if stable else "quicksort")


@pytest.fixture
def tensor(monkeypatch):
    """Return a function that makes a tensor of `FakeTorch`."""
    monkeypatch.setitem(sys.modules, "torch", FakeTorch)
    arrays._torch_dtype.cache_clear()
    yield lambda *args: np.zeros(*args).view(FakeTorch.Tensor)
    arrays._torch_dtype.cache_clear()


def test_addresses_of_plain_tensors(tensor):
    """Only contiguous tensors on the device, of the shape and dtype, have an address."""
    plain, host = tensor((2, 5), "f4"), tensor((2, 5), "f4")
    host.is_cuda = False
    others = [tensor((5, 2), "f4"), tensor((2, 5), "f8"), tensor((5, 2), "f4").T.view(FakeTorch.Tensor), host]
    shape, dtype = (2, 5), np.dtype("f4")
    assert arrays.plain_address(plain, shape, dtype, (20, 4)) == 4096
    assert [arrays.plain_address(other, shape, dtype, (20, 4)) for other in others] == [None] * 4
    assert arrays.plain_addresses([plain, plain], [shape, shape], dtype) == [4096, 4096]
    for other in others:
        assert arrays.plain_addresses([plain, other], [shape, shape], dtype) is None
        assert arrays.plain_addresses([other, plain], [shape, shape], dtype) is None
    assert not arrays.have_fixed_addresses([plain])


def test_addresses_of_arrays_of_other_packages():
    array = CudaArray()
    array.flags = types.SimpleNamespace(c_contiguous=True)
    assert arrays.plain_addresses([array], [(3,)], np.dtype("f4")) == [4096]
    assert arrays.plain_addresses([array], [(3,)], np.dtype("f8")) is None
    assert arrays.plain_addresses([array, np.zeros(3, "f4")], [(3,), (3,)], np.dtype("f4")) is None
    assert arrays.plain_address(array, (3,), np.dtype("f4"), (4,)) is None  # left to the general way
    array.flags.c_contiguous = False
    assert arrays.plain_addresses([array], [(3,)], np.dtype("f4")) is None


def test_a_common_stream(monkeypatch, tensor):
    monkeypatch.setattr(arrays, "_stream_of", lambda array: getattr(array, "address", 0))
    x, g = tensor(3, "f4"), tensor(3, "f4")
    assert arrays.common_stream(x, g) == arrays.common_stream(x, x) == 4096
    g.device_number = 1
    assert arrays.common_stream(x, g) is None
    assert arrays.common_stream(x, CudaArray()) is None
    assert arrays.common_stream(CudaArray(), CudaArray()) == 0


def test_the_sort_of_the_package(monkeypatch, tensor):
    streams = {"of": 7, "current": 7}
    monkeypatch.setattr(arrays, "_stream_of", lambda array: streams["of"])
    monkeypatch.setattr(arrays, "current_stream", lambda: streams["current"])
    monkeypatch.setattr(arrays, "flat_view", lambda array: array)
    where = tensor(4, "i8")
    where[:] = [3, 1, 3, 0]
    sorted_, positions = arrays.sort_with_positions(where)
    assert (sorted_.tolist(), positions.tolist()) == ([0, 1, 3, 3], [3, 1, 0, 2])
    streams["current"] = 0
    assert arrays.sort_with_positions(where) is None
    assert arrays.sort_with_positions(CudaArray()) is None


def test_to_device_record_copies_arrays_only(monkeypatch):
    from adagrad_nb import L1, Box

    monkeypatch.setattr(arrays, "to_device_array", lambda array: ("there", array.tolist()))
    assert arrays.to_device_record((L1(0.5), Box(np.zeros(2), 1.0))) == (L1(0.5), Box(("there", [0.0, 0.0]), 1.0))
