"""`update` of device arrays with dense and sparse gradients; skipped without a GPU."""

import numpy as np

from adagrad_nb import has_cuda, init, update

from .common import SIZES, median_seconds


class Device:
    """One step of n coordinates on a device, followed by a synchronisation."""

    params = [["dense", "sparse", "atomic"], SIZES["dense"]]
    param_names = ["gradient", "n"]
    timeout = 120

    def setup(self, gradient, n):
        if not has_cuda():
            raise NotImplementedError("no CUDA device was found")
        from numba import cuda

        self.cuda, rng = cuda, np.random.default_rng(0)
        self.x = cuda.to_device(rng.standard_normal(n, "float32"))
        self.state = init(self.x, lr=0.01, duplicates="atomic" if gradient == "atomic" else "merge")
        if gradient == "dense":
            self.g = cuda.to_device(rng.standard_normal(n, "float32"))
        else:
            where = rng.integers(0, n, max(n // 100, 1))
            self.g = cuda.to_device(where), cuda.to_device(rng.standard_normal(where.size, "float32"))
        self.step()

    def step(self):
        update(self.x, self.g, self.state, out=(self.x, self.state))
        self.cuda.synchronize()

    def time_update(self, gradient, n):
        self.step()

    def track_us(self, gradient, n):
        return 1e6 * median_seconds(self.step, 10, 9)

    track_us.unit = "us"
