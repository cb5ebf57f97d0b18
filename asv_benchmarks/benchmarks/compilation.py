"""Latency before the first result: the import, and first calls with an empty and a filled disk cache."""

import statistics
import tempfile

from .common import FIRST_CALLS, SIZES, first_call, import_seconds


def track_import():
    """Return the median import time over new processes, NumPy included, start of Python excluded."""
    with tempfile.TemporaryDirectory() as cache:
        return statistics.median(import_seconds(cache) for _ in range(2 * SIZES["processes"] + 1))


track_import.unit = "s"


class FirstCall:
    """First call in a new process, import excluded."""

    params = [list(FIRST_CALLS), ["cold", "warm"]]
    param_names = ["function", "cache"]
    timeout = 300

    def track_first_call(self, function, cache):
        with tempfile.TemporaryDirectory() as directory:
            seconds = first_call(function, directory)
            if cache == "cold":
                return seconds
            return statistics.median(first_call(function, directory) for _ in range(SIZES["processes"]))

    track_first_call.unit = "s"
