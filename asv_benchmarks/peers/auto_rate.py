"""One pass without tuning: progressive loss and test loss of the defaults of `fit_linear` and of its peers.

Prints a table in Markdown.  The best of a grid of 36 steps and rates, of which each loss is the smallest, shows what
tuning could reach.  The data sets are those of ``examples/data``, synthetic ones, and those in the folder ``--data``
(see `in_folder`).
"""

import csv
import gzip
import lzma
import os
import pathlib
import tempfile

import numpy as np
import pairs
import scipy.sparse as sp
from epoch_vw import write

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"
GRID = 0.02 * 200 ** (np.arange(12) / 11)
STEPS = ({}, {"invariant": True}, {"normalized": True, "invariant": True})
LEARNERS = ("fit_linear", "grid", "VW", "VW --coin", "SGD", "SGD, scaled")
# Targets: largest test losses, and smallest accuracy with all classes of 20 newsgroups.
LARGEST_TEST_LOSS = {"KDD-99": 0.020, "SMS": 0.061, "a9a": 0.3250}
SMALLEST_ACCURACY = 0.8128


def main():
    arguments = pairs.parse_options(__doc__, folder="adult, KDD-99, SMS and 20 newsgroups")
    import warnings

    warnings.filterwarnings("ignore", message="fit_linear: the progressive loss")  # the grid has such models
    try:
        vowpalwabbit = pairs.import_peer("vowpalwabbit")
    except SystemExit:
        vowpalwabbit = None
    print(f"| data | {' | '.join(LEARNERS)} | test / grid | test / VW | units |\n|---|{'---|' * (len(LEARNERS) + 3)}")
    worst, targets = {"progressive": 0.0, "test": 0.0, "VW": 0.0, "units": 0.0}, []
    for name, load in data_sets(arguments).items():
        train, test = load()
        losses = compare(train, test, vowpalwabbit, arguments.quick)
        auto, best = losses["fit_linear"], losses["grid"]
        units = abs(ours(*scaled(train, test))[1] / auto[1] - 1)
        ratios = {"progressive": auto[0] / best[0], "test": auto[1] / best[1], "units": units}
        if "VW" in losses:
            ratios["VW"] = auto[1] / losses["VW"][1]
        worst = {key: max(value, ratios.get(key, 0.0)) for key, value in worst.items()}
        cells = [" / ".join(f"{value:.4g}" for value in losses.get(learner, ())) for learner in LEARNERS]
        ratio_to_vw = f"{ratios['VW']:.3f}" if "VW" in ratios else ""
        print(f"| {name} | {' | '.join(cells)} | {ratios['test']:.3f} | {ratio_to_vw} | {units:.1e} |", flush=True)
        if name in LARGEST_TEST_LOSS:
            targets.append((f"test loss, {name}", auto[1], "<=", LARGEST_TEST_LOSS[name]))
    targets += [
        ("progressive loss / best of the grid, worst set", worst["progressive"], "<=", 1.02),
        ("test loss / best of the grid, worst set", worst["test"], "<=", 1.02),
        ("test loss / Vowpal Wabbit, worst set", worst["VW"], "<=", 1.005),
        ("change of the test loss with the units, worst set", worst["units"], "<=", 0.02),
    ]
    accuracy = accuracy_of_all_newsgroups(arguments.folder)
    if accuracy is not None:
        print(f"\n20 newsgroups, all classes: accuracy {accuracy[0]:.4f}, best of 12 plain rates {accuracy[1]:.4f}")
        targets.append(("accuracy, 20 newsgroups", accuracy[0], ">=", SMALLEST_ACCURACY))
    print()
    pairs.print_targets(*targets)


# --- learners --------------------------------------------------------------------------------------------------------


def compare(train, test, vowpalwabbit, quick):
    """Return {learner: (progressive loss, test loss)}; SGDClassifier has a test loss only."""
    from sklearn.preprocessing import StandardScaler

    losses = {"fit_linear": ours(train, test)}
    grid = [ours(train, test, lr=rate, **step) for step in STEPS for rate in GRID[:: 4 if quick else 1]]
    losses["grid"] = np.min(grid, axis=0)
    if vowpalwabbit is not None:
        losses["VW"] = vw(vowpalwabbit, train, test)
        losses["VW --coin"] = vw(vowpalwabbit, train, test, "--coin")
    losses["SGD"] = sgd(train, test)
    losses["SGD, scaled"] = sgd(train, test, StandardScaler(with_mean=False))
    return losses


def is_binary(y):
    return np.unique(y).size == 2


def ours(train, test, lr="auto", **options):
    """Return the progressive loss and the test loss of `fit_linear`; infinity if the rate diverges."""
    from adagrad_nb import fit_linear

    try:
        model = fit_linear(*train, loss="logistic" if is_binary(train[1]) else "squared", lr=lr, **options)
        return model.progressive_loss, model.mean_loss(*test)
    except ValueError:
        return np.inf, np.inf


def vw(vowpalwabbit, train, test, flags=""):
    """Return the progressive loss and the test loss of Vowpal Wabbit."""
    bits = max(int(train[0].shape[1]).bit_length(), 10)
    loss, factor = ("logistic", 1.0) if is_binary(train[1]) else ("squared", 0.5)
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("train.vw", "test.vw", "model")]
        for path, (X, y) in zip(paths, (train, test), strict=False):
            write(path, sp.csr_array(X), np.where(y > 0, 1.0, -1.0) if is_binary(y) else y)
        losses = []
        for command in (
            f"--quiet -b {bits} --loss_function {loss} {flags} -d {paths[0]} -f {paths[2]}",
            f"--quiet --loss_function {loss} -t -i {paths[2]} -d {paths[1]}",
        ):
            workspace = vowpalwabbit.Workspace(command)
            losses.append(factor * workspace.get_sum_loss() / workspace.get_weighted_examples())
            workspace.finish()
    return losses


def sgd(train, test, *steps):
    """Return the test loss of the stochastic gradient learner of scikit-learn after one pass, in random order."""
    from sklearn.linear_model import SGDClassifier, SGDRegressor
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline

    (X, y), (Z, z) = ((int32_rows(X), y) for X, y in (train, test))
    if is_binary(y):
        model = make_pipeline(*steps, SGDClassifier("log_loss", max_iter=1, tol=None, random_state=0)).fit(X, y)
        return (log_loss(z, model.predict_proba(Z)),)
    model = make_pipeline(*steps, SGDRegressor(max_iter=1, tol=None, random_state=0)).fit(X, y)
    return (float(np.mean((model.predict(Z) - z) ** 2) / 2),)


def int32_rows(X):
    """Return sparse rows with the indices that scikit-learn takes."""
    return sp.csr_array((X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)), shape=X.shape)


def accuracy_of_all_newsgroups(folder):
    """Return the test accuracy of the default and of the best of 12 plain rates, or None without the files."""
    from adagrad_nb import fit_linear

    if folder is None or not (folder / "20news_bydate.train.svm.xz").exists():
        return None
    train, (Z, z) = newsgroups(folder)
    accuracies = []
    for lr in ("auto", *GRID):
        try:
            accuracies.append(np.mean(fit_linear(*train, lr=lr).predict(Z) == z))
        except ValueError as error:  # no search for several classes
            print(f"\n20 newsgroups, all classes, lr={lr!r}: {error}")
            accuracies.append(np.nan)
    return accuracies[0], np.nanmax(accuracies[1:])


# --- data ------------------------------------------------------------------------------------------------------------


def data_sets(arguments):
    """Return {name: function that returns (train, test)}."""
    sets = {"a9a": lambda: svmlight(DATA, "a9a.xz", "a9a.t.xz", 123), "clicks": clicks}
    if arguments.quick:
        return sets
    sets["agaricus"] = lambda: svmlight(DATA, "agaricus.txt.train.xz", "agaricus.txt.test.xz", 127)
    sets |= {"RCV1, 1,000 rows": rcv1, "long texts": texts, "regression": regression}
    return sets if arguments.folder is None else sets | in_folder(arguments.folder)


def in_folder(folder):
    """Return the data sets whose files are in a folder.

    The files are adult.data.xz and adult.test.xz of UCI, kddcup99_10_percent.gz, SMSSpamCollection.tsv.xz, and
    20news_bydate.train.svm.xz and 20news_bydate.test.svm.xz with raw word counts and classes from 1.
    """
    sets = {}
    if (folder / "adult.data.xz").exists():
        sets["adult"] = lambda: adult(folder)
    if (folder / "kddcup99_10_percent.gz").exists():
        sets["KDD-99"] = lambda: kdd(folder)
    if (folder / "SMSSpamCollection.tsv.xz").exists():
        sets["SMS"] = lambda: sms(folder)
    if (folder / "20news_bydate.train.svm.xz").exists():
        for k in (1, 8, 16):
            sets[f"20 newsgroups, class {k}"] = lambda k=k: tuple((X, y == k) for X, y in newsgroups(folder))
    return sets


def scaled(train, test):
    """Return the rows with columns multiplied by random powers of ten."""
    factors = sp.diags_array(10.0 ** np.random.default_rng(0).integers(-6, 7, train[0].shape[1]))
    return [(sp.csr_array(X @ factors), y) for X, y in (train, test)]


def split(X, y, n):
    return (X[:n], y[:n]), (X[n:], y[n:])


def svmlight(folder, train, test, n_features):
    from adagrad_nb import load_svmlight

    return tuple(load_svmlight(folder / name, n_features=n_features) for name in (train, test))


def rcv1():
    from adagrad_nb import load_vw

    pair = [load_vw(DATA / name) for name in ("rcv1_small.dat.vw.xz", "rcv1_small_test.data.vw.xz")]
    n = max(X.shape[1] for X, *_ in pair)
    return tuple((sp.csr_array((X.data, X.indices, X.indptr), shape=(X.shape[0], n)), y) for X, y, *_ in pair)


def newsgroups(folder):
    return svmlight(folder, "20news_bydate.train.svm.xz", "20news_bydate.test.svm.xz", 173763)


def one_hot(numbers, categories):
    """Return rows of numeric columns and of one column for each value of each category."""
    parts = [sp.csr_array(np.asarray(numbers, float))]
    for column in categories.T:
        values, codes = np.unique(column, return_inverse=True)
        n = codes.size
        parts.append(sp.csr_array((np.ones(n), (np.arange(n), codes)), shape=(n, values.size)))
    return sp.csr_array(sp.hstack(parts))


def adult(folder):
    rows = []
    for name in ("adult.data.xz", "adult.test.xz"):
        with lzma.open(folder / name, "rt") as file:
            rows += [row for row in csv.reader(file, skipinitialspace=True) if len(row) == 15]
    table, numeric = np.array(rows), [0, 2, 4, 10, 11, 12]
    X = one_hot(table[:, numeric], np.delete(table[:, :14], numeric, axis=1))
    return split(X, np.char.startswith(table[:, 14], ">50K"), 32561)


def kdd(folder):
    with gzip.open(folder / "kddcup99_10_percent.gz", "rt") as file:
        rows = list(csv.reader(file))
    table = np.array([rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:50_000]])
    X = one_hot(np.delete(table[:, :41], [1, 2, 3], axis=1), table[:, 1:4])
    return split(X, table[:, 41] != "normal.", 40_000)


def sms(folder):
    from sklearn.feature_extraction.text import HashingVectorizer

    with lzma.open(folder / "SMSSpamCollection.tsv.xz", "rt", encoding="latin-1") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    vectorizer = HashingVectorizer(n_features=2**18, alternate_sign=False, norm=None)
    X = sp.csr_array(vectorizer.transform([row[1] for row in rows]))
    return split(X, np.array([row[0] == "spam" for row in rows]), len(rows) * 4 // 5)


def clicks(n=60_000, sizes=(1000, 5000, 200, 50, 24, 7, 20_000, 300, 10, 2)):
    """Return rows with one value of each of ten categories, and 4 % positive labels."""
    rng = np.random.default_rng(1)
    columns, score, start = [], np.full(n, -4.75), 0
    for size in sizes:
        share = 1 / np.arange(1, size + 1) ** 1.1
        column = rng.choice(size, n, p=share / share.sum())
        score += rng.normal(size=size)[column] / 2
        columns.append(start + column)
        start += size
    indices = np.ravel(columns, order="F")
    X = sp.csr_array((np.ones(indices.size), indices, np.arange(n + 1) * len(sizes)), shape=(n, start))
    return split(X, rng.random(n) < 1 / (1 + np.exp(-score)), n * 5 // 6)


def texts(n=12_000, n_words=30_000):
    """Return counts of words of texts of about 400 words; the classes differ in the shares of two topics."""
    rng = np.random.default_rng(2)
    share = 1 / np.arange(1, n_words + 1) ** 1.05
    tilt = np.exp(rng.normal(size=n_words) * (rng.random(n_words) < 0.1))
    topics = [np.cumsum(p / p.sum()) for p in (share, share * tilt)]
    y, rows = rng.random(n) < 0.5, []
    for label in y:
        n_drawn = max(int(rng.lognormal(np.log(400), 0.9)), 3)
        topic = rng.random(n_drawn) < (0.7 if label else 0.3) * rng.random()
        u = rng.random(n_drawn)
        words = np.where(topic, np.searchsorted(topics[1], u), np.searchsorted(topics[0], u))
        rows.append(np.unique(np.minimum(words, n_words - 1), return_counts=True))
    indptr = np.cumsum([0, *(words.size for words, _ in rows)])
    words, counts = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return split(sp.csr_array((counts.astype(float), words, indptr), shape=(n, n_words)), y, n * 5 // 6)


def regression(n=20_000, n_features=30):
    """Return rows of numbers whose columns have units from 10^-6 to 10^6, and numbers to predict."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, n_features))
    y = X @ rng.normal(size=n_features) + rng.normal(size=n)
    return split(sp.csr_array(X * 10.0 ** rng.integers(-6, 7, n_features)), y / y.std(), n * 5 // 6)


if __name__ == "__main__":
    main()
