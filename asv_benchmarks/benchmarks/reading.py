"""Readers of svmlight text, on repeated copies of a9a."""

import numpy as np

from adagrad_nb import load_svmlight, read_svmlight

from .common import SIZES, median_seconds, svmlight_file


class Svmlight:
    """An uncompressed file.  It is in the page cache after the first call."""

    params = [["read_svmlight", "load_svmlight"], ["float32", "float64"]]
    param_names = ["function", "dtype"]

    def setup_cache(self):
        return svmlight_file("a9a.svm", SIZES["copies"])

    def setup(self, file, function, dtype):
        self.path, self.bytes = file
        self.function = {"read_svmlight": self.read, "load_svmlight": self.load}[function]
        self.dtype = np.dtype(dtype)
        next(iter(read_svmlight(self.path, dtype=self.dtype)))  # compiles, or loads from the disk cache

    def read(self):
        rows = 0
        for chunk in read_svmlight(self.path, dtype=self.dtype):
            rows += chunk.X.shape[0]
        assert rows == 32_561 * SIZES["copies"]

    def load(self):
        X, _ = load_svmlight(self.path, dtype=self.dtype)
        assert X.shape == (32_561 * SIZES["copies"], 123)

    def time_file(self, file, function, dtype):
        self.function()

    def track_ns_per_byte(self, file, function, dtype):
        """Return ns per byte, because asv reports increases as regressions.  1000 / ns is MB/s."""
        self.function()
        return 1e9 * median_seconds(self.function) / self.bytes

    track_ns_per_byte.unit = "ns"
