"""Iteration in a second thread: the next items are computed while the caller uses the last one."""

import queue
import threading

POLL = 0.1  # seconds after which a thread that waits for its reader looks whether it shall end


def prefetch(items):
    """Yield the items of a generator, which runs in a thread one or two items ahead.

    An exception in the generator is raised here after the items before it.  When this generator ends or is closed, the
    other one is closed, and its thread has ended.
    """
    results, stopped = queue.Queue(maxsize=1), threading.Event()
    thread = threading.Thread(target=_produce, args=(items, results, stopped), name="adagrad_nb reader", daemon=True)
    thread.start()
    try:
        while True:
            item, error, is_last = results.get()
            if error is not None:
                raise error
            if is_last:
                return
            yield item
            item = None  # so that its memory can be freed while the next one is computed
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for a place in the queue
            try:
                results.get_nowait()
            except queue.Empty:
                thread.join(POLL / 10)


def _produce(items, results, stopped):
    """Put (item, exception, whether it was the last) for each item into the queue."""
    try:
        for item in items:
            if not _put(results, (item, None, False), stopped):
                return
        _put(results, (None, None, True), stopped)
    except BaseException as error:
        _put(results, (None, error, True), stopped)
    finally:
        items.close()


def _put(results, result, stopped):
    """Put a result into the queue when there is a place; return whether the reader still wants results."""
    while not stopped.is_set():
        try:
            results.put(result, timeout=POLL)
        except queue.Full:
            continue
        return True
    return False
