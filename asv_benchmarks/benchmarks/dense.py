"""`update` with dense gradients, in place."""

import numpy as np

from adagrad_nb import init, update

from .common import SIZES, median_seconds


class Dense:
    """One Adagrad step of n coordinates: x, g and G are read, x and G are written.

    asv sets up anew before each call that it times, so that each benchmark loops for about 5 ms.
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
        """20 divided by this is GB/s in float32, 40 in float64; a cost, because asv takes every increase for a loss."""
        return 1e9 * median_seconds(self.step, self.calls, 9) / n

    track_ns_per_coordinate.unit = "ns"


class NewArrays:
    """The same step into new arrays."""

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
