"""Use of Numba's thread pool: safe in forked children and in several Python threads, and only while it is quicker."""

import multiprocessing
import textwrap
import threading

import numpy as np
import pytest

from adagrad_nb import init, update
from adagrad_nb.compiler import threads
from adagrad_nb.optim.kernels import array_update

needs_compiler = pytest.mark.compiled_only("the JIT is off")
STEPS = """
    import sys, threading
    import numpy as np
    from adagrad_nb import init, update
    from adagrad_nb.compiler import threads

    def run(n):
        x, g = np.ones(n), np.ones(n)
        state = init(x)
        for _ in range(threads.SERIAL_CALLS + 3):
            threads.POOL.blocked_until = 0.0
            update(x, g, state, out=(x, state))
        return float(x[-1])

    if __name__ == "__main__":
        expected = run(2**17)
"""
FORK = """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool:
            results = pool.map_async(run, [2**17] * 4).get(timeout=60)
        print(results == [expected] * 4)
"""
TWO_THREADS = """
        results = []
        workers = [threading.Thread(target=lambda: results.append(run(2**17))) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(results == [expected] * 2)
"""


@needs_compiler
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork")
def test_forked_children_take_large_steps(python, tmp_path):
    """Numba's thread pools hang or abort in a child of a process that has used them."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(STEPS + FORK))
    assert python(program, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2") == "True\n"


@needs_compiler
def test_two_python_threads_take_large_steps(python, tmp_path):
    """The pool "workqueue" aborts the process if two Python threads use it at once."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(STEPS + TWO_THREADS))
    assert python(program, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2") == "True\n"


class Clock:
    """Kernels that take a given time, and the clock that shows it."""

    def __init__(self, serial, threaded):
        self.now, self.calls = 0.0, []
        self.seconds = {"serial": serial, "threaded": threaded}

    def perf_counter(self):
        return self.now

    def kernel(self, name):
        def run(size):
            self.calls.append(name)
            self.now += self.seconds[name] * size

        return run


@pytest.fixture
def make_kernel(monkeypatch):
    """Make a threaded kernel whose calls take these times per coordinate."""

    def make(serial, threaded):
        clock = Clock(serial, threaded)
        monkeypatch.setattr(threads, "time", clock)
        monkeypatch.setattr(threads, "POOL", threads.ThreadPool())
        kernel = threads.ThreadedKernel(
            clock.kernel("serial"), lambda size: clock.kernel("threaded"), size_of=lambda size: size
        )
        return kernel, clock

    return make


def test_threads_are_used_while_they_are_quicker(make_kernel):
    kernel, clock = make_kernel(serial=2.0, threaded=1.0)
    for _ in range(20):
        kernel(100)
    assert clock.calls == ["serial"] * threads.SERIAL_CALLS + ["threaded"] * (20 - threads.SERIAL_CALLS)


@pytest.mark.parametrize("ratio", [1.1, 2.0, 300.0])
def test_slow_threads_cost_a_twentieth(make_kernel, ratio):
    kernel, clock = make_kernel(serial=1.0, threaded=ratio)
    for _ in range(20_000):
        kernel(100)
    assert "threaded" in clock.calls
    assert clock.now < 20_000 * 100 * (1 + 2 / threads.BACKOFF)


def test_threads_are_tried_again(make_kernel):
    kernel, clock = make_kernel(serial=1.0, threaded=10.0)
    for _ in range(10):
        kernel(100)
    clock.seconds["threaded"] = 0.5
    for _ in range(400):
        kernel(100)
    assert clock.calls[-1] == "threaded"


def test_the_pool_has_one_user(make_kernel):
    """A second thread that comes meanwhile runs its kernel alone; so does a nested call."""
    kernel, clock = make_kernel(serial=2.0, threaded=1.0)
    for _ in range(threads.SERIAL_CALLS):
        kernel(1)
    inner = []

    def call_during_another(size):
        worker = threading.Thread(target=lambda: inner.append(kernel.serial is clock_serial and kernel(size)))
        worker.start()
        worker.join()

    clock_serial, kernel.threaded = kernel.serial, call_during_another
    kernel(1)
    assert len(inner) == 1
    assert clock.calls[-1] == "serial"


def test_an_error_gives_the_pool_back(make_kernel):
    kernel, _ = make_kernel(serial=2.0, threaded=1.0)
    for _ in range(threads.SERIAL_CALLS):
        kernel(1)

    def fail(size):
        raise KeyboardInterrupt

    kernel.threaded = fail
    with pytest.raises(KeyboardInterrupt):
        kernel(1)
    assert not threads.POOL.lock.locked()


@needs_compiler
def test_one_thread_and_several_give_the_same_bits(rng):
    n = array_update.PARALLEL_FROM + 7
    x, g = rng.normal(size=n), rng.normal(size=n)
    results = []
    for n_serial in (0, 10**9):  # several threads; one
        state, y = init(x, lr=0.1), x.copy()
        for step in range(8):
            update(y, g * (step + 1), state, out=(y, state))
            kernel = next(iter(state.leaves[0].cache.values()))
            threads.POOL.blocked_until = 0.0
            if isinstance(kernel, threads.ThreadedKernel):
                kernel.n_serial = max(kernel.n_serial, threads.SERIAL_CALLS) if n_serial == 0 else -n_serial
        results.append((y, state.slots[0][0]))
    np.testing.assert_array_equal(results[0], results[1])
