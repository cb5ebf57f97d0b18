"""One logistic pass in file order over text-like rows: `fit_linear` against scikit-learn's SGDClassifier."""

import warnings

import pairs


def main():
    quick = pairs.options(__doc__).quick
    pairs.need("sklearn", "scikit-learn")
    from benchmarks.common import text_like
    from sklearn.linear_model import SGDClassifier

    from adagrad_nb import fit_linear

    warnings.simplefilter("ignore")  # one pass does not converge, and says so
    X, y = text_like(20_000 if quick else 200_000)
    pairs.header("scikit-learn", ours=1, sklearn=1)
    print(f"{X.shape[0]} rows, {X.shape[1]} features, {X.nnz / X.shape[0]:.1f} stored values a row")

    def sgd():
        return SGDClassifier(
            loss="log_loss", penalty=None, alpha=1e-12, learning_rate="constant", eta0=0.5, max_iter=1, tol=None,
            shuffle=False,
        ).fit(X, y)  # fmt: skip

    ratios = {}
    for dtype in ("float64", "float32"):
        A = X.astype(dtype)

        def ours(A=A):
            return fit_linear(A, y)

        model, peer = ours(), sgd()
        timings = pairs.interleave(ours, sgd, 3 if quick else 7)
        ratios[dtype] = pairs.report(f"ours {dtype}, SGD float64", timings, X.shape[0] * 1e-6, "M rows/s", rate=True)
    right = [(m.predict(X) == y).mean() for m in (model, peer)]
    print(f"rows on the right side after the pass: Adagrad {right[0]:.4f}, SGD {right[1]:.4f}")
    print(f"progressive loss: {model.progressive_loss:.4f}")
    pairs.verdict(("our float64 rows/s / SGD's", ratios["float64"], ">=", 0.7))


if __name__ == "__main__":
    main()
