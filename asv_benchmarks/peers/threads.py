"""One logistic pass over text-like rows: `fit_linear` with two threads against one, in speed and test loss.

Two independent fits of half of the rows each, in two threads, give the speedup that the machine allows.
"""

import threading

import pairs


def main():
    quick = pairs.parse_options(__doc__).quick
    import numpy as np
    from benchmarks.common import A9A, text_like

    from adagrad_nb import fit_linear, load_svmlight

    n = 20_000 if quick else 200_000
    X, y = text_like(n + n // 5)
    pairs.print_versions(ours=2, peer=1)
    print(f"{n} rows, {X.shape[1]} features, {X.nnz / X.shape[0]:.1f} stored values a row")
    targets = []
    for dtype in ("float64", "float32"):
        A = X.astype(dtype)
        rows, labels, test_rows, test_labels = A[:n], y[:n], A[n:], y[n:]

        def fit(threads, rows=rows, labels=labels):
            return fit_linear(rows, labels, threads=threads, lr=0.5)

        halves = [(rows[part], labels[part]) for part in (slice(n // 2), slice(n // 2, n))]

        def fit_halves(halves=halves):
            thread = threading.Thread(target=fit_linear, args=halves[1])
            thread.start()
            fit_linear(*halves[0], lr=0.5)
            thread.join()

        one_thread, two_threads = fit(1), fit(2)
        fit_halves()
        timings = pairs.time_alternately(
            pairs.repeat(lambda fit=fit: fit(2), 5), pairs.repeat(lambda fit=fit: fit(1), 5), 11
        )
        ratio = pairs.print_timings(f"{dtype}: two threads, one thread", timings, 5e-6 * n, "M rows/s", rate=True)
        timings = pairs.time_alternately(pairs.repeat(fit_halves, 5), pairs.repeat(lambda fit=fit: fit(1), 5), 11)
        pairs.print_timings(f"{dtype}: two independent halves, one thread", timings, 5e-6 * n, "M rows/s", rate=True)
        is_reproducible = {fit(2).coef.tobytes() for _ in range(5)} == {two_threads.coef.tobytes()}
        losses = [model.mean_loss(test_rows, test_labels) for model in (one_thread, two_threads)]
        print(f"  test log-loss {losses[0]:.4f}, {losses[1]:.4f} with two threads; ", end="")
        print(f"identical bits in five runs: {is_reproducible}")
        targets.append((f"{dtype} two threads / one", ratio, ">=", 1.6))
        targets.append(("its test loss / one's", losses[1] / losses[0], "<=", 1.01))
    X, y = load_svmlight(A9A, n_features=123)
    X_test, y_test = load_svmlight(A9A.with_name("a9a.t.xz"), n_features=123)
    losses = [fit_linear(X, y, threads=threads, lr=0.5).mean_loss(X_test, y_test) for threads in (1, 2, 4)]
    print("a9a test log-loss with 1, 2, 4 threads:", np.round(losses, 4))
    targets.append(("a9a loss with two / with one", losses[1] / losses[0], "<=", 1.01))
    pairs.print_targets(*targets)


if __name__ == "__main__":
    main()
