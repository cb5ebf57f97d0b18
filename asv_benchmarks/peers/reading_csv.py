"""CSV to a model: `fit_linear(read_csv(path), lr="auto")` against pandas with scikit-learn, in chunks.

The peer reads chunks by pandas, encodes strings by OneHotEncoder (its categories are given) or HashingVectorizer,
scales numbers by StandardScaler and trains SGDClassifier by `partial_fit`.  The table is synthetic.
"""

import os
import tempfile

import numpy as np
import pairs

CHUNK_ROWS = 8192


def write_table(path, n_rows, seed=0):
    """Write a table of 6 numeric and 8 categorical columns, and a label; return its size in bytes."""
    rng = np.random.default_rng(seed)
    numbers = np.round(rng.normal(50, 20, (n_rows, 3)), 2), rng.integers(0, 90, (n_rows, 3))
    sizes = (9, 16, 7, 15, 6, 5, 2, 42)
    categories = [rng.integers(size, size=n_rows) for size in sizes]
    score = (numbers[0][:, 0] - 50) / 20 + (categories[0] % 3) - (categories[3] % 4) / 2 + rng.logistic(size=n_rows)
    words = [np.array([f"Value-of-{k}-{j}" for j in range(size)]) for k, size in enumerate(sizes)]
    columns = [
        *(column.astype(str) for part in numbers for column in part.T),
        *(word[codes] for word, codes in zip(words, categories, strict=True)),
        np.where(score > 0.3, "yes", "no"),
    ]
    with open(path, "w") as file:
        file.write(",".join([*(f"n{k}" for k in range(6)), *(f"c{k}" for k in range(8)), "label"]) + "\n")
        file.writelines(",".join(row) + "\n" for row in zip(*columns, strict=True))
    return os.path.getsize(path)


def main():
    quick = pairs.parse_options(__doc__).quick
    for module, package in (("pandas", None), ("pyarrow", None), ("sklearn", "scikit-learn")):
        pairs.import_peer(module, package)
    import pandas as pd
    import scipy.sparse
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from adagrad_nb import fit_linear, read_csv

    pairs.print_versions("pandas", "pyarrow", "scikit-learn", ours=1, peers=1)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "table.csv")
        n_rows = 20_000 if quick else 200_000
        size = write_table(path, n_rows)
        print(f"{n_rows} rows, {size / 1e6:.1f} MB")
        first = pd.read_csv(path, nrows=CHUNK_ROWS)
        strings = [name for name in first.columns[:-1] if not pd.api.types.is_numeric_dtype(first[name])]
        numeric = [name for name in first.columns[:-1] if name not in strings]

        def ours():
            return fit_linear(read_csv(path), lr="auto")

        def ours_hashed():
            kinds = dict.fromkeys(strings, "hashed")
            return fit_linear(read_csv(path, columns=kinds), lr="auto")

        def peer(encode):
            model, scaler = SGDClassifier(loss="log_loss"), StandardScaler()
            for frame in pd.read_csv(path, chunksize=CHUNK_ROWS):
                numbers = scaler.partial_fit(frame[numeric]).transform(frame[numeric])
                X = scipy.sparse.hstack([scipy.sparse.csr_matrix(numbers), encode(frame[strings])], "csr")
                model.partial_fit(X, frame["label"], classes=["no", "yes"])
            return model

        encoder = OneHotEncoder(handle_unknown="ignore").fit(first[strings])
        vectorizer = HashingVectorizer(n_features=2**18, norm=None, analyzer=lambda row: row)

        def hash_words(frame):
            names = list(frame.columns)
            rows = zip(*(frame[name] for name in names), strict=True)
            return vectorizer.transform([f"{n}={v}" for n, v in zip(names, row, strict=True)] for row in rows)

        ratios = {}
        for name, run, encode in (
            ("one-hot", ours, encoder.transform), ("hashed", ours_hashed, hash_words),
        ):  # fmt: skip
            model, other = run(), peer(encode)
            print(f"{name}: {model!r}, {other.coef_.size} weights of the peer")
            timings = pairs.time_alternately(run, lambda encode=encode: peer(encode), 3 if quick else 5)
            ratios[name] = pairs.print_timings(name, timings, n_rows / 1e6, "M rows/s", rate=True)
    pairs.print_targets(*((f"{name}: rows/s / peer's", ratio, ">=", 3) for name, ratio in ratios.items()))


if __name__ == "__main__":
    main()
