"""Detection of device arrays of other packages by their attributes, and stream order.  No test needs a device."""

import numba
import numpy as np
import pytest

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


@pytest.fixture
def synchronized_streams(monkeypatch):
    """Return the list of the streams that were synchronised."""
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

    monkeypatch.setattr(arrays, "import_cuda", lambda: Module)
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
    ("streams", "current", "synchronised"),
    [
        ([None, None], 0, []),
        ([1, None], 0, []),
        ([7, 7], 7, []),
        ([2, 2], 2, []),
        ([7, 9], 7, [9, 7]),
        ([7, None], 7, [0, 7]),
        ([None, 9, 9], 0, [9, 0]),
    ],
)
def test_streams_are_synchronised(streams, current, synchronised, synchronized_streams):
    with arrays.on_stream([CudaArray(stream) for stream in streams]):
        assert int(arrays.current_stream()) == current
    assert synchronized_streams == synchronised
    assert arrays.current_stream() == 0


def test_the_previous_stream_is_restored_after_an_error(synchronized_streams):
    def fail():
        with arrays.on_stream([CudaArray(7)]):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert arrays.current_stream() == 0


def test_to_device_record_copies_arrays_only(monkeypatch):
    from adagrad_nb import L1, Box

    monkeypatch.setattr(arrays, "to_device_array", lambda array: ("there", array.tolist()))
    assert arrays.to_device_record((L1(0.5), Box(np.zeros(2), 1.0))) == (L1(0.5), Box(("there", [0.0, 0.0]), 1.0))
