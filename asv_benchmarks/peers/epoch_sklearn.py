"""One logistic pass in file order over text-like rows: `fit_linear` against scikit-learn's SGDClassifier."""

import warnings

import pairs


def main():
    quick = pairs.parse_options(__doc__).quick
    pairs.import_peer("sklearn", "scikit-learn")
    from benchmarks.common import text_like
    from sklearn.linear_model import SGDClassifier

    from adagrad_nb import L1, fit_linear

    warnings.simplefilter("ignore")  # SGDClassifier warns that one pass does not converge
    X, y = text_like(20_000 if quick else 200_000)
    pairs.print_versions("scikit-learn", ours=1, sklearn=1)
    print(f"{X.shape[0]} rows, {X.shape[1]} features, {X.nnz / X.shape[0]:.1f} stored values a row")

    def sgd(penalty=None):
        return SGDClassifier(
            loss="log_loss", penalty=penalty, alpha=1e-5 if penalty else 1e-12, learning_rate="constant", eta0=0.5,
            max_iter=1, tol=None, shuffle=False,
        ).fit(X, y)  # fmt: skip

    ratios = {}
    for dtype in ("float64", "float32"):
        A = X.astype(dtype)
        for name, penalty in (("none", None), ("l1", L1(1e-5))):

            def ours(A=A, penalty=penalty):
                return fit_linear(A, y, penalty=penalty, lr=0.5)

            def peer(name=name):
                return sgd(None if name == "none" else name)

            models = ours(), peer()
            timings = pairs.time_alternately(ours, peer, 3 if quick else 7)
            title = f"penalty {name}, ours {dtype}, SGD float64"
            ratios[name, dtype] = pairs.print_timings(title, timings, X.shape[0] * 1e-6, "M rows/s", rate=True)
            right = [(m.predict(X) == y).mean() for m in models]
            print(f"  training accuracy: Adagrad {right[0]:.4f}, SGD {right[1]:.4f}")
    pairs.print_targets(
        ("our float64 rows/s / SGD's", ratios["none", "float64"], ">=", 0.8),
        ("float32", ratios["none", "float32"], ">=", 1.0),
        ("with L1 float64", ratios["l1", "float64"], ">=", 1.5),
        ("float32", ratios["l1", "float32"], ">=", 1.5),
    )


if __name__ == "__main__":
    main()
