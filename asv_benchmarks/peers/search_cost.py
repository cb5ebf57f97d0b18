"""Cost of ``lr="auto"``: time and memory of one pass, relative to one fixed rate with the same kind of step.

The steps with a fixed rate are normalised and invariant, with ``Adagrad(eps=0)`` and ``lr=0.5``.  The rows are those
of a9a, and text-like rows whose columns are in random order, as if hashed.  Memory is in models: in units of one weight
and one accumulator for each feature.
"""

import statistics
import tracemalloc

import pairs

N_FEATURES = 47_000
PEAK_ROWS, END_ROWS = 4_000, 70_000  # before the first candidate is removed, and after the last one


def main():
    quick = pairs.parse_options(__doc__).quick
    from benchmarks.common import A9A

    from adagrad_nb import Adagrad, fit_linear, load_svmlight

    pairs.print_versions(ours=1, peer=1)
    rows = hashed_text(30_000 if quick else 1_000_000)
    sets = {"a9a": load_svmlight(A9A, n_features=123)}
    for n in (30_000,) if quick else (30_000, 150_000, 1_000_000):
        sets[f"text, {n:,} rows"] = rows[0][:n], rows[1][:n]
    targets = []
    for dtype in ("float64", "float32"):
        for name, (X, y) in sets.items():
            X = X.astype(dtype)

            def search(X=X, y=y):
                return fit_linear(X, y, lr="auto")

            def one_rate(X=X, y=y):
                return fit_linear(X, y, normalized=True, invariant=True, rule=Adagrad(eps=0.0), lr=0.5)

            search(), one_rate()
            timings = pairs.time_alternately(search, one_rate, 7 if X.shape[0] > 500_000 else 15)
            pairs.print_timings(f"{name}, {dtype}", timings, X.shape[0] / 1e6, "µs/row")
            if X.shape[0] != 150_000:
                ratio = 1 / statistics.median(timings.ratios)
                targets.append((f"{name}, {dtype}", ratio, "<=", 1.6 if X.shape[0] > 500_000 else 3.5))
    if not quick:
        targets += measure_memory(*rows)
    pairs.print_targets(*targets)


def hashed_text(n_rows):
    """Return text-like rows whose columns are in random order, and their labels."""
    import numpy as np
    from benchmarks.common import text_like

    X, y = text_like(n_rows, N_FEATURES)
    X = X[:, np.random.default_rng(1).permutation(N_FEATURES)]
    X.sort_indices()
    return X, y


def measure_memory(X, y):
    """Return the targets for the memory of a search: its peak with all candidates, and that of the last one."""
    from adagrad_nb import fit_linear

    one_model, memory = 2 * N_FEATURES * X.dtype.itemsize, {}
    for n in (PEAK_ROWS, END_ROWS):
        rows, labels = X[:n], y[:n]
        fit_linear(rows, labels, lr="auto")
        tracemalloc.start()
        model = fit_linear(rows, labels, lr="auto")
        memory[n] = [size / one_model for size in tracemalloc.get_traced_memory()]
        tracemalloc.stop()
    assert model.rates.size == 1
    return [
        ("peak memory at the start", memory[PEAK_ROWS][1], "<=", 16),
        ("memory at the end", memory[END_ROWS][0], "<=", 3),
    ]


if __name__ == "__main__":
    main()
