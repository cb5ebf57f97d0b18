"""Progress of the training on the command line: table, progress bar, and signals."""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any

from ..callbacks import History, Table
from ..io.readers import ReadingInterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..io.readers import Chunk
    from ..linear.trainer import Progress

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)]


class TrainingMonitor:
    """Callback that prints a table, records the history, shows a progress bar and stops the training on a signal.

    A signal also interrupts the reading of a chunk of `watched`, such as one of a pipe that has no data.

    Attributes
    ----------
    interrupted : int or None
        The number of the signal, SIGINT or SIGTERM, that stopped the training.
    """

    def __init__(self, reader: Any, passes: int, quiet: bool) -> None:
        self.reader, self.quiet = reader, quiet
        self.history = History()
        self.interrupted: int | None = None
        self.is_reading = False
        self.progress_bar = None if quiet or not sys.stderr.isatty() else self._make_bar(reader, passes)
        self.table = Table(self.progress_bar.write if self.progress_bar is not None else None)

    @staticmethod
    def _make_bar(reader, passes):
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError("the progress bar needs tqdm; run pip install 'adagrad_nb[progress]'") from error
        total = None if reader.size is None else reader.size * passes
        return tqdm(total=total, unit="B", unit_scale=True, desc="train", leave=False, file=sys.stderr)

    def __enter__(self):
        self.previous_handlers = {number: signal.getsignal(number) for number in SIGNALS}
        with contextlib.suppress(ValueError):  # signal handlers can be set in the main thread only
            for number in SIGNALS:
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind, error, trace):
        with contextlib.suppress(ValueError):
            for number, handler in self.previous_handlers.items():
                signal.signal(number, handler)
        if self.progress_bar is not None:
            self.progress_bar.close()
        if kind is None and not self.quiet:
            self.table.line()

    def _on_signal(self, number, frame):
        if self.interrupted is not None and number == signal.SIGINT:  # a second Ctrl-C stops at once
            raise KeyboardInterrupt
        self.interrupted = number
        if self.is_reading:
            raise ReadingInterrupted

    def watched(self) -> WatchedRows:
        """Return the reader; while it reads a chunk, a signal interrupts it."""
        return WatchedRows(self)

    def __call__(self, progress: Progress) -> None:
        self.history(progress)
        if not self.quiet:
            self.table(progress)
        if self.progress_bar is not None:
            done = progress.passes * (self.reader.size or 0) + self.reader.position
            self.progress_bar.update(max(done - self.progress_bar.n, 0))
        if self.interrupted is not None:
            raise StopIteration


class WatchedRows:
    """Reader of a monitor, whose reading a signal interrupts."""

    def __init__(self, monitor: TrainingMonitor) -> None:
        self.monitor = monitor

    def __iter__(self) -> Iterator[Chunk]:
        monitor = self.monitor
        iterator = iter(monitor.reader)
        while True:
            try:
                monitor.is_reading = True
                if monitor.interrupted is not None:  # since the last call of the monitor
                    raise ReadingInterrupted
                chunk = next(iterator, None)
            finally:
                monitor.is_reading = False
            if chunk is None:
                return
            yield chunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.monitor.reader, name)
