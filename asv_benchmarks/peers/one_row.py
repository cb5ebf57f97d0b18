"""One row of 20 values at a time: `predict_proba` and `partial_fit` beside scikit-learn, River and Vowpal Wabbit.

The rows have 2**12, 2**20 and 2**24 features.  Each package gets the row in its own form, which is made before the
timing: scipy.sparse, a dict, or text that Vowpal Wabbit parses.
"""

import time

import pairs


def main():
    options = pairs.parse_options(__doc__)
    from benchmarks.one_row import OPTIONS, random_rows

    n_calls = 50 if options.quick else 200
    for n_features in (2**12, 2**20, 2**24):
        X, y = random_rows(n_features)
        print(f"{n_features} features, {X[:1].nnz} values")
        for name, parameters in OPTIONS.items():
            time_ours(name, parameters, X, y, n_calls)
        time_sklearn(X, y, n_calls if n_features < 2**24 else n_calls // 10)  # which changes all weights
        time_river(X, y, n_calls)
        time_vw(X, y, n_calls)


def us_per_call(call, n_calls):
    """Return the lowest mean CPU time of a call in 5 repetitions, in µs.  Other processes disturb it little."""
    call()
    seconds = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(n_calls):
            call()
        seconds.append((time.process_time() - start) / n_calls)
    return 1e6 * min(seconds)


def print_times(name, predict, learn):
    """Print the times of a package."""
    print(f"  {name:28} predict {predict:8.1f} us  learn {learn:8.1f} us", flush=True)


def single_rows(X):
    """Return each row as a matrix."""
    return [X[r : r + 1] for r in range(X.shape[0])]


def time_ours(name, parameters, X, y, n_calls):
    """Time a model and an estimator with some parameters."""
    from adagrad_nb import AdagradClassifier, fit_linear

    model = fit_linear(X, y, **parameters)
    row, label = X[:1], y[:1]
    estimator = AdagradClassifier(**parameters).partial_fit(X, y, classes=[0, 1]).partial_fit(row, label)
    print_times(
        f"adagrad_nb, {name}",
        us_per_call(lambda: model.predict_proba(row), n_calls),
        us_per_call(lambda: estimator.partial_fit(row, label), n_calls),
    )


def time_sklearn(X, y, n_calls):
    """Time SGDClassifier."""
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(loss="log_loss").partial_fit(X, y, classes=[0, 1])
    row, label = X[:1], y[:1]
    print_times(
        "scikit-learn SGDClassifier",
        us_per_call(lambda: model.predict_proba(row), n_calls),
        us_per_call(lambda: model.partial_fit(row, label), n_calls),
    )


def time_river(X, y, n_calls):
    """Time the logistic regression of River, if it is installed."""
    try:
        from river import linear_model, optim
    except ImportError:
        print("  River is not installed")
        return
    model = linear_model.LogisticRegression(optim.AdaGrad(0.5))
    rows = [dict(zip(row.indices.tolist(), row.data.tolist(), strict=True)) for row in single_rows(X)]
    for row, label in zip(rows, y.tolist(), strict=True):
        model.learn_one(row, label)
    row, label = rows[0], bool(y[0])
    print_times(
        "River",
        us_per_call(lambda: model.predict_proba_one(row), n_calls),
        us_per_call(lambda: model.learn_one(row, label), n_calls),
    )


def time_vw(X, y, n_calls):
    """Time Vowpal Wabbit's Python interface, if it is installed."""
    try:
        import vowpalwabbit
    except ImportError:
        print("  Vowpal Wabbit is not installed")
        return
    workspace = vowpalwabbit.Workspace("--quiet --loss_function logistic --link logistic -b 24")
    texts = [" ".join(f"{i}:{value}" for i, value in zip(row.indices, row.data, strict=True)) for row in single_rows(X)]
    for text, label in zip(texts, y, strict=True):
        workspace.learn(f"{2 * label - 1} | {text}")
    row, example = f"| {texts[0]}", f"1 | {texts[0]}"
    print_times(
        "Vowpal Wabbit",
        us_per_call(lambda: workspace.predict(row), n_calls),
        us_per_call(lambda: workspace.learn(example), n_calls),
    )
    workspace.finish()


if __name__ == "__main__":
    main()
