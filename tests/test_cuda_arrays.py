"""Device arrays of other packages, known by what they say of themselves; streams; nothing here needs a device."""

import numba
import numpy as np
import pytest

from adagrad_nb.cuda import arrays

if numba.config.ENABLE_CUDASIM:
    pytest.skip("the simulator has its own arrays", allow_module_level=True)


class Foreign:
    """An array with the interface of CuPy and others."""

    def __init__(self, stream=None, dtype="float32", shape=(3,)):
        self.dtype, self.shape = dtype, shape
        self.__cuda_array_interface__ = {"stream": stream, "data": (4096, False), "shape": shape}


class Tensor:
    """An array as PyTorch has them: its interface cannot be asked for while it takes part in a gradient."""

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
def waits(monkeypatch):
    """The streams that were waited for."""
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


def test_whose_arrays_are_on_a_device():
    assert arrays.is_device_array(Tensor(True))
    assert not arrays.is_device_array(Tensor(False))
    assert arrays.is_device_array(Foreign())
    assert not arrays.is_device_array(np.ones(2))
    assert [type(one) for one in arrays.device_arrays_in([{"a": Foreign()}, (np.ones(1), [Tensor(True)])])] == [
        Foreign,
        Tensor,
    ]


def test_shape_and_dtype():
    assert arrays.array_spec(Foreign(shape=(2, 5))) == ((2, 5), np.dtype("f4"))
    assert arrays.array_spec(Foreign(shape=(2, 5))).size == 10
    assert arrays.array_spec(Tensor(True)).dtype == "bfloat16"


def test_arrays_that_cannot_be_changed():
    class Array(Foreign):
        pass

    assert arrays.is_writable(Array())
    Array.__module__ = "jaxlib.xla"
    assert not arrays.is_writable(Array())


def test_addresses():
    assert arrays.data_pointer(Foreign()) == 4096
    assert arrays.is_aligned(Foreign(), Foreign())


@pytest.mark.parametrize(
    ("streams", "mine", "waited"),
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
def test_streams_wait_for_each_other(streams, mine, waited, waits):
    with arrays.on_stream([Foreign(stream) for stream in streams]):
        assert int(arrays.current_stream()) == mine
    assert waits == waited
    assert arrays.current_stream() == 0


def test_a_stream_is_given_up_after_an_error(waits):
    def fail():
        with arrays.on_stream([Foreign(7)]):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert arrays.current_stream() == 0


def test_records_keep_their_numbers_when_their_arrays_go(monkeypatch):
    from adagrad_nb import L1, Box

    monkeypatch.setattr(arrays, "to_device_array", lambda array: ("there", array.tolist()))
    assert arrays.to_device_record((L1(0.5), Box(np.zeros(2), 1.0))) == (L1(0.5), Box(("there", [0.0, 0.0]), 1.0))
