"""Cost of ``lr="auto"``: time and peak memory of one pass, relative to one fixed rate with the same kind of step.

The steps with a fixed rate are normalised and invariant, with ``Adagrad(eps=0)`` and ``lr=0.5``.  The rows are those
of a9a, and text-like rows, whose columns are also permuted as if hashed.
"""

import statistics

import pairs

N_FEATURES = 47_000
# Most resident memory, in bytes, of a search over as many rows as the argument says.
_MEMORY = """
import resource, sys
sys.path[:0] = {path!r}
from search_cost import hashed_text
from adagrad_nb import Adagrad, fit_linear
X, y = hashed_text({n}, {n_features})
fit_linear(X[:10], y[:10], lr="auto")
fit_linear(X[:10], y[:10], lr="auto", model=fit_linear(X[:70_000], y[:70_000], lr="auto")) if {warm} else None
"""


def hashed_text(n_rows, n_features=N_FEATURES):
    """Return text-like rows whose columns are in random order, and their labels."""
    import numpy as np
    from benchmarks.common import text_like

    X, y = text_like(n_rows, n_features)
    X = X[:, np.random.default_rng(1).permutation(n_features)]
    X.sort_indices()
    return X, y


def main():
    quick = pairs.parse_options(__doc__).quick
    from benchmarks.common import A9A

    from adagrad_nb import Adagrad, fit_linear, load_svmlight

    pairs.print_versions(ours=1, peer=1)
    sets = {"a9a": load_svmlight(A9A, n_features=123), "text, 30,000 rows": hashed_text(30_000)}
    if not quick:
        X, y = hashed_text(1_000_000)
        sets |= {"text, 150,000 rows": (X[:150_000], y[:150_000]), "text, 1,000,000 rows": (X, y)}
    fixed = {"normalized": True, "invariant": True, "rule": Adagrad(eps=0.0), "lr": 0.5}
    targets = []
    for dtype in ("float64", "float32"):
        for name, (X, y) in sets.items():
            X = X.astype(dtype)

            def search(X=X, y=y):
                return fit_linear(X, y, lr="auto")

            def one_rate(X=X, y=y):
                return fit_linear(X, y, **fixed)

            search(), one_rate()
            n_pairs = 5 if X.shape[0] > 500_000 else 15
            timings = pairs.time_alternately(search, one_rate, n_pairs)
            pairs.print_timings(f"{name}, {dtype}", timings, X.shape[0] / 1e6, "µs/row")
            if name != "text, 150,000 rows":
                ratio = 1 / statistics.median(timings.ratios)
                targets.append((f"{name}, {dtype}", ratio, "<=", 1.6 if X.shape[0] > 500_000 else 3.5))
    pairs.print_targets(*targets)


if __name__ == "__main__":
    main()
