"""`update` with dense gradients."""

import numpy as np

from adagrad_nb import init, update

from .common import SIZES, median_seconds


class Dense:
    """One Adagrad step of n coordinates in place: reads x, g and G, writes x and G.

    asv runs `setup` before each timed call.  So each benchmark loops for about 5 ms.
    """

    params = [["float32", "float64"], SIZES["dense"]]
    param_names = ["dtype", "n"]
    timeout = 120

    def setup(self, dtype, n):
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal(n, dtype)
        self.g = rng.standard_normal(n, dtype)
        self.state = init(self.x, lr=0.01)
        self.calls = max(10**7 // (n + 2000), 1)
        self.step()

    def step(self):
        update(self.x, self.g, self.state, out=(self.x, self.state))

    def time_update(self, dtype, n):
        for _ in range(self.calls):
            self.step()

    def track_ns_per_coordinate(self, dtype, n):
        """Return ns per coordinate, because asv reports increases.  20 / ns is GB/s in float32, 40 / ns in float64."""
        return 1e9 * median_seconds(self.step, self.calls, 9) / n

    track_ns_per_coordinate.unit = "ns"


class NewArrays:
    """The same step, written to new arrays."""

    params = [["float32"], SIZES["dense"][:2]]
    param_names = ["dtype", "n"]

    def setup(self, dtype, n):
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal(n, dtype)
        self.g = rng.standard_normal(n, dtype)
        self.state = init(self.x, lr=0.01)
        self.calls = max(10**6 // (n + 2000), 1)
        update(self.x, self.g, self.state)

    def time_update(self, dtype, n):
        for _ in range(self.calls):
            update(self.x, self.g, self.state)
