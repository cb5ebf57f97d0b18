"""Overhead of unused options: the generic dense loop against a hand-written loop for Adagrad only."""

import math

import pairs


def main():
    quick = pairs.parse_options(__doc__).quick
    import numba
    import numpy as np

    from adagrad_nb import init
    from adagrad_nb.compiler.jit import compiled_entry
    from adagrad_nb.optim.kernels import array_update

    @numba.njit(error_model="numpy")
    def by_hand(x, g, G, lr, eps):
        for i in range(x.shape[0]):
            G[i] += g[i] * g[i]
            root = math.sqrt(G[i]) + eps
            if root != 0:
                x[i] -= lr * g[i] / root

    pairs.print_versions(ours=1)
    rng = np.random.default_rng(0)
    targets = []
    for kind in (np.float32, np.float64):
        for n, calls in ((60_000, 200), (1_000_000, 10)):  # smaller n would show the 0.05 us for unpacking the records
            start, g = rng.standard_normal(n).astype(kind), rng.standard_normal(n).astype(kind)
            calls = max(calls // 5, 1) if quick else calls
            x, y, G = start.copy(), start.copy(), np.zeros(n, kind)
            state = init(x, lr=0.01)

            # Compare compiled entry points, without the dispatch overhead of Numba.
            leaf = state.leaves[0]
            arguments = leaf.update, array_update.ALL, x, g, leaf.flat_slots, leaf.constant_lr, 0
            values = y, g, G, kind(0.01), kind(1e-10)
            loops = compiled_entry(array_update.serial, *arguments), compiled_entry(by_hand, *values)

            def ours(loop=loops[0], arguments=arguments):
                loop(*arguments)

            def plain(loop=loops[1], values=values):
                loop(*values)

            first, second = pairs.repeat(ours, calls), pairs.repeat(plain, calls)
            first(), second()
            assert np.array_equal(x, y), "the results differ"
            timings = pairs.time_alternately(first, second, 5 if quick else 25)
            ratio = pairs.print_timings(f"{np.dtype(kind)}, n = {n:,}", timings, calls * 1e-6, "us")
            targets.append((f"{np.dtype(kind)}, n = {n:,}: our time / by hand", 1 / ratio, "<=", 1.03))
    pairs.print_targets(*targets)


if __name__ == "__main__":
    main()
