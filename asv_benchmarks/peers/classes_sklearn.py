"""One pass over rows with many classes: softmax by `fit_linear` against one-vs-rest SGDClassifier.

For 20 newsgroups ("bydate", word counts as svmlight text): `--train 20news_bydate.train.svm.xz --test …`.
"""

import warnings

import pairs


def main():
    options = pairs.parse_options(__doc__, data="word counts")
    pairs.import_peer("sklearn", "scikit-learn")
    import numpy as np
    from benchmarks.common import text_classes
    from sklearn.linear_model import SGDClassifier

    from adagrad_nb import fit_linear, load_svmlight

    warnings.simplefilter("ignore")  # SGDClassifier warns that one pass does not converge
    if options.train:
        X, y = _weigh_counts(*load_svmlight(options.train))
    else:
        X, y = text_classes(2_000 if options.quick else 12_000)
    tests = [("on the training rows", X, y)]
    if options.test:
        counts, labels = load_svmlight(options.test)
        tests = [("on the test rows", *_weigh_counts(counts[:, : X.shape[1]], labels))]
    pairs.print_versions("scikit-learn", ours=1, sklearn=1)
    mean_nnz = X.nnz / X.shape[0]
    print(f"{X.shape[0]} rows, {X.shape[1]} features, {mean_nnz:.1f} stored values a row, {np.unique(y).size} classes")

    def sgd():
        return SGDClassifier(
            loss="log_loss", alpha=1e-12, learning_rate="constant", eta0=0.5, max_iter=1, tol=None, shuffle=False
        ).fit(X, y)

    ratios = {}
    for dtype in ("float64", "float32"):
        A = X.astype(dtype)

        def ours(A=A):
            return fit_linear(A, y, lr=0.5)

        models = ours(), sgd()
        timings = pairs.time_alternately(ours, sgd, 3 if options.quick else 7)
        ratios[dtype] = pairs.print_timings(
            f"softmax {dtype}, SGD float64", timings, X.shape[0] * 1e-3, "k rows/s", rate=True
        )
        for name, rows, labels in tests:
            right = [(m.predict(rows) == labels).mean() for m in models]
            print(f"  accuracy {name}: softmax {right[0]:.4f}, SGD {right[1]:.4f}")
    pairs.print_targets(("float64 rows/s / SGD's", ratios["float64"], ">=", 5), ("float32", ratios["float32"], ">=", 5))


def _weigh_counts(counts, labels):
    """Return rows of log(1 + count), normalised to unit length, and the labels."""
    from sklearn.preprocessing import normalize

    return normalize(counts.log1p()), labels


if __name__ == "__main__":
    main()
