"""`update` with sparse gradients: listed coordinates, or listed rows of a matrix."""

import numpy as np

from adagrad_nb import init, update

from .common import SIZES, median_seconds

N = 10**6


class Pairs:
    """One step of 10**6 coordinates with a gradient ``(indices, values)``."""

    params = [["float32", "float64"], [100, 10_000], ["unique", "repeated"]]
    param_names = ["dtype", "listed", "indices"]

    def setup(self, dtype, listed, indices):
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal(N, dtype)
        if indices == "unique":
            where = rng.choice(N, listed, replace=False)
        else:
            where = rng.integers(0, listed // 2, listed)
        self.g = where, rng.standard_normal(listed, dtype)
        self.state = init(self.x, lr=0.01)
        self.calls = max(10**6 // (listed + 2000), 1)
        self.step()

    def step(self):
        update(self.x, self.g, self.state, out=(self.x, self.state))

    def time_update(self, dtype, listed, indices):
        for _ in range(self.calls):
            self.step()

    def track_ns_per_listed(self, dtype, listed, indices):
        return 1e9 * median_seconds(self.step, self.calls, 9) / listed

    track_ns_per_listed.unit = "ns"


class Rows:
    """One step of an embedding matrix with 64 columns and a gradient ``(row_indices, rows)``."""

    params = [["float32"], [64, 4096]]
    param_names = ["dtype", "rows"]

    def setup(self, dtype, rows):
        rng = np.random.default_rng(0)
        height = 100_000 if SIZES["rows"] > 20_000 else 20_000
        self.x = rng.standard_normal((height, 64), dtype)
        self.g = rng.choice(height, rows, replace=False), rng.standard_normal((rows, 64), dtype)
        self.state = init(self.x, lr=0.01)
        self.calls = max(4096 // rows, 1)
        update(self.x, self.g, self.state, out=(self.x, self.state))

    def time_update(self, dtype, rows):
        for _ in range(self.calls):
            update(self.x, self.g, self.state, out=(self.x, self.state))
