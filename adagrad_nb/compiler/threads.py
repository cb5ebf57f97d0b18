"""Numba's thread pool: checks that its use is safe, and a choice between one thread and several by measured time."""

import os
import threading
import time

import numba

# Once threads have lost more time than they have saved, all kernels use one thread for this many times the loss, so
# that a busy machine costs at most a twentieth.  A waiting thread can lose a time slice of 24 ms for 0.04 ms of work.
BACKOFF = 20
MAX_SAVED = 0.01  # seconds; older savings do not count, so that the threads stop soon on a machine that becomes busy
SERIAL_CALLS = 3  # calls in one thread that measure its time; the first one also touches new memory


class ThreadPool:
    """Permission to use Numba's threads.

    Numba's default pool, "workqueue", ends the process if two Python threads use it at once.  It does not work in a
    forked child of a process that has used it; neither does OpenMP.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.is_usable, self.blocked_until = True, 0.0
        self.saved_seconds = 0.0  # by the threads, less what they lost

    def acquire(self, now):
        """Return whether the caller may use the threads at the time `now`; it must then call `release`."""
        return now >= self.blocked_until and self.is_usable and self.lock.acquire(blocking=False)

    def release(self, start, serial_seconds):
        """End the use that began at `start`, of a call that takes `serial_seconds` in one thread."""
        now = time.perf_counter()
        self.saved_seconds = min(self.saved_seconds + serial_seconds - (now - start), MAX_SAVED)
        if self.saved_seconds < 0:
            self.blocked_until, self.saved_seconds = now - BACKOFF * self.saved_seconds, 0.0
        self.lock.release()

    def after_fork(self):
        """Give up the threads of the parent process in a forked child."""
        self.lock = threading.Lock()
        try:
            numba.threading_layer()
        except ValueError:  # the parent has not used any
            return
        self.is_usable = False


POOL = ThreadPool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.after_fork)


class ThreadedKernel:
    """Kernel that runs in one thread or in several, with the same result.

    Parameters
    ----------
    serial : callable
        Compiled kernel for one thread.
    compile_threaded : callable
        ``compile_threaded(*args)`` returns the compiled kernel for several threads, which takes the same arguments.
    size_of : callable
        ``size_of(*args)`` is the number of coordinates of a call, to which the time is proportional.
    """

    def __init__(self, serial, compile_threaded, size_of):
        self.serial, self.compile_threaded, self.size_of = serial, compile_threaded, size_of
        self.threaded = None
        self.n_serial, self.seconds = 0, float("inf")  # per coordinate, in one thread

    def __call__(self, *args):
        if self.threaded is None and self.n_serial >= SERIAL_CALLS:
            self.threaded = self.compile_threaded(*args)
        start, size = time.perf_counter(), self.size_of(*args)
        if self.n_serial < SERIAL_CALLS or not POOL.acquire(start):
            self.serial(*args)
            self.n_serial += 1
            self.seconds = min(self.seconds, (time.perf_counter() - start) / size)
            return
        try:
            self.threaded(*args)
        finally:
            POOL.release(start, self.seconds * size)
