"""Tests of calls by address: `bind_kernel` and `call_kernel`."""

import gc
from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import types
from numba.core.errors import NumbaTypeError

from adagrad_nb.compiler.jit import jit
from adagrad_nb.compiler.pointers import bind_kernel, call_kernel, load_record

needs_compiler = pytest.mark.compiled_only("is about compiled code")


class Weights(NamedTuple):
    scale: Any
    arrays: Any


@jit
def add_weighted(record, i, factor):
    weights = load_record(record)
    total = 0.0
    for array in weights.arrays:
        total += array[i]
    weights.arrays[0][i] = total
    return int(weights.scale * total * factor)


@jit
def call(bound, i, factor):
    return call_kernel(bound, i, factor)


def test_the_kernel_reads_and_writes_the_record():
    array = np.arange(4.0)
    record = Weights(2, (array, np.full(4, 10.0)))
    bound, owner = bind_kernel(add_weighted, record, types.int64, types.float64)
    assert call(bound, 3, 0.5) == 13
    np.testing.assert_array_equal(array, [0, 1, 2, 13])
    array[3] = 1.0
    assert call(bound, 3, 1.0) == 22
    del owner


def test_a_record_of_many_arrays():
    arrays = tuple(np.full(3, float(k)) for k in range(30))
    bound, owner = bind_kernel(add_weighted, Weights(1.0, arrays), types.int64, types.float64)
    assert call(bound, 0, 1.0) == sum(range(30))
    assert arrays[0][0] == sum(range(30))
    del owner


def test_the_owner_keeps_the_arrays():
    bound, owner = bind_kernel(add_weighted, Weights(1, (np.full(1000, 7.0),)), types.int64, types.float64)
    gc.collect()
    others = [np.full(1000, -1.0) for _ in range(50)]
    assert call(bound, 999, 1.0) == 7
    del owner, others


@needs_compiler
def test_fields_that_need_a_reference_are_refused():
    with pytest.raises(NumbaTypeError, match="a record for compiled code may hold numbers, arrays and tuples of them"):
        bind_kernel(add_weighted, Weights("text", (np.ones(1),)), types.int64, types.float64)


@needs_compiler
def test_a_call_compiles_nothing_for_another_record():
    bound, owner = bind_kernel(add_weighted, Weights(2, (np.ones(4),)), types.int64, types.float64)
    call(bound, 1, 1.0)
    before = len(call.signatures)
    bound, owner = bind_kernel(add_weighted, Weights(2.5, (np.ones(4),) * 3), types.int64, types.float64)
    assert call(bound, 1, 1.0) == 7
    assert len(call.signatures) == before
    del owner
