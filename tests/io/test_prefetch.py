"""Iteration in a second thread: the same items, exceptions in their place, and no thread left behind."""

import gc
import lzma
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from adagrad_nb import fit_linear, read_svmlight, read_text, read_vw
from adagrad_nb.io import readers
from adagrad_nb.io.prefetch import prefetch


def readers_running():
    return [thread for thread in threading.enumerate() if thread.name == "adagrad_nb reader"]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert readers_running() == []


def count(n, closed=None, error=None):
    try:
        yield from range(n)
        if error is not None:
            raise error
    finally:
        if closed is not None:
            closed.append(threading.current_thread().name)


@pytest.mark.parametrize("n", [0, 1, 2, 100])
def test_all_items_in_order(n):
    closed = []
    assert list(prefetch(count(n, closed))) == list(range(n))
    assert closed == ["adagrad_nb reader"]


def test_an_exception_comes_after_the_items_before_it():
    for error in (ValueError("damaged"), KeyboardInterrupt(), StopIteration("odd")):
        expected = RuntimeError if isinstance(error, StopIteration) else type(error)  # as in any generator
        items = prefetch(count(3, error=error))
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(expected):
            next(items)
        assert readers_running() == []


def test_an_incomplete_iteration_ends_the_thread():
    for n_taken in (1, 3):
        closed = []
        items = prefetch(count(10**9, closed))
        assert [next(items) for _ in range(n_taken)] == list(range(n_taken))
        assert readers_running()
        items.close()
        assert readers_running() == []
        assert closed == ["adagrad_nb reader"]
    items = prefetch(count(10**9))
    next(items)
    del items
    gc.collect()
    assert readers_running() == []


def test_items_are_computed_while_the_last_one_is_used_but_not_too_many():
    started = []

    def items():
        for k in range(10):
            started.append(k)
            yield k

    for k in prefetch(items()):
        deadline = time.monotonic() + 10
        while len(started) < min(k + 3, 10) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert k + 2 <= len(started) <= k + 3 or len(started) == 10


FORMATS = {
    "svmlight": (b"%d 3:1 %d:0.5\n", read_svmlight, {}),
    "vw": (b"%d |f 3 %d:0.5\n", read_vw, {}),
    "names": (b"%d |f a w%d:0.5|g c\n", read_vw, {"bits": 18}),
    "text": (b"%d\tsome more words %d\n", read_text, {}),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("compress", [bytes, lzma.compress])
def test_files(kind, compress, tmp_path, monkeypatch):
    """With and without a thread: chunks, positions, errors and models are equal, bit for bit."""
    line, read, options = FORMATS[kind]
    raw = b"".join(line % (n % 2, 4 + n % 50) + b"a bad line\n" * (n % 100 == 7) for n in range(1000))
    path = tmp_path / "data"
    path.write_bytes(compress(raw))
    results = []
    for size in (1 << 60, 0):
        monkeypatch.setattr(readers, "PREFETCH_SIZE", size)
        file = read(path, chunk_bytes=2000, on_error="skip", **options)
        for _ in range(2):
            chunks, positions = [], []
            for chunk in file:
                assert bool(readers_running()) in ((size == 0), False)
                chunks.append(chunk)
                positions.append(file.position)
            assert file.position == file.size
        errors = [error.line for error in file.errors]
        results.append((chunks, positions, errors, fit_linear(file, lr=0.5).coef.tobytes()))
    (one, positions, errors, coef), (two, other_positions, other_errors, other_coef) = results
    assert len(one) == len(two) > 5
    assert len(errors) == 10
    assert (errors, coef, positions) == (other_errors, other_coef, other_positions)
    for a, b in zip(one, two, strict=True):
        assert a.X.shape == b.X.shape
        assert_array_equal(a.X.indices, b.X.indices)
        assert_array_equal(a.X.data, b.X.data)
        assert_array_equal(a.y, b.y)


def test_errors_and_incomplete_passes_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "PREFETCH_SIZE", 0)
    path = tmp_path / "data"
    path.write_bytes(b"1 1:1\n" * 1000 + b"x\n" + b"1 1:1\n" * 1000)
    file = read_svmlight(path, chunk_bytes=600)
    chunks = iter(file)
    assert sum(next(chunks).y.size for _ in range(10)) == 1000
    with pytest.raises(ValueError, match="line 1001: got the label 'x'"):
        next(chunks)
    assert readers_running() == []
    for _ in file:
        assert readers_running()
        break
    gc.collect()
    assert readers_running() == []

    class Interrupt(Exception):
        pass

    def stop(progress):
        raise Interrupt

    path.write_bytes(b"1 1:1\n0 2:1\n" * 1000)
    with pytest.raises(Interrupt):
        fit_linear(file, callback=stop)
    gc.collect()
    assert readers_running() == []
    path.write_bytes(b"1 1:1\nx\n0 2:1\n")
    with pytest.warns(UserWarning, match="skipped 1 malformed lines"):
        chunks = list(read_svmlight(path, on_error="report"))
    assert np.concatenate([chunk.y for chunk in chunks]).tolist() == [1, 0]
