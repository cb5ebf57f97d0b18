"""One logistic pass without tuning: progressive loss and test loss of ``lr="auto"`` against fixed rates and peers.

The data sets are those of ``examples/data``, and columns of a9a multiplied by powers of ten.  The best of a grid of
steps and rates, chosen by the test loss, shows what tuning could reach.
"""

import os
import pathlib
import tempfile

import numpy as np
import pairs
import scipy.sparse as sp
from epoch_vw import write

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"
GRID = 0.02 * 200 ** (np.arange(12) / 11)


def main():
    quick = pairs.parse_options(__doc__).quick
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from adagrad_nb import fit_linear

    def ours(train, test, **options):
        try:
            model = fit_linear(*train, **options)
            return model.progressive_loss, model.mean_loss(*test)
        except ValueError:  # the rate diverges
            return np.inf, np.inf

    def best_of_grid(train, test):
        """Return the smallest progressive loss and the smallest test loss of the grid."""
        steps = ({}, {"invariant": True}, {"normalized": True, "invariant": True})
        losses = [ours(train, test, lr=rate, **step) for step in steps for rate in GRID[:: 4 if quick else 1]]
        return np.min(losses, axis=0)

    def sgd(train, test, *steps):
        model = make_pipeline(*steps, SGDClassifier("log_loss", max_iter=1, tol=None)).fit(*train)
        return np.nan, log_loss(test[1], model.predict_proba(test[0]))

    try:
        vowpalwabbit = pairs.import_peer("vowpalwabbit")
    except SystemExit:
        vowpalwabbit = None
    ratios = []
    for name, (train, test) in load(quick).items():
        rows = {"lr='auto'": ours(train, test, lr="auto"), "lr=0.5": ours(train, test, lr=0.5)}
        rows["best of the grid"] = best_of_grid(train, test)
        if vowpalwabbit is not None:
            rows["Vowpal Wabbit"] = vw(vowpalwabbit, train, test)
            rows["Vowpal Wabbit --coin"] = vw(vowpalwabbit, train, test, "--coin")
        rows["SGDClassifier"] = sgd(train, test)
        rows["SGDClassifier, scaled"] = sgd(train, test, StandardScaler(with_mean=False))
        print(f"\n{name}: {train[0].shape[0]} rows, {train[0].shape[1]} features")
        for learner, (progressive, loss) in rows.items():
            print(f"  {learner:24} progressive {progressive:9.4f}   test {loss:9.4f}")
        ratios.append(np.array(rows["lr='auto'"]) / rows["best of the grid"])
    worst = np.max(ratios, axis=0)
    pairs.print_targets(
        ("progressive loss / best of the grid, worst set", worst[0], "<=", 1.02),
        ("test loss / best of the grid, worst set", worst[1], "<=", 1.02),
    )


def load(quick):
    """Return {name: (train, test)}."""
    from adagrad_nb import load_svmlight, load_vw

    def svmlight(train, test, n):
        return load_svmlight(DATA / train, n_features=n), load_svmlight(DATA / test, n_features=n)

    (X, y), (Z, z) = svmlight("a9a.xz", "a9a.t.xz", 123)
    sets = {"a9a": ((X, y), (Z, z))}
    factors = sp.diags_array(10.0 ** np.random.default_rng(0).integers(-6, 7, X.shape[1]))
    sets["a9a, columns times 10^-6 to 10^6"] = (sp.csr_array(X @ factors), y), (sp.csr_array(Z @ factors), z)
    sets["agaricus"] = svmlight("agaricus.txt.train.xz", "agaricus.txt.test.xz", 127)
    pair = [load_vw(DATA / name) for name in ("rcv1_small.dat.vw.xz", "rcv1_small_test.data.vw.xz")]
    n = max(X.shape[1] for X, *_ in pair)
    sets["RCV1, 1,000 rows"] = tuple(
        (sp.csr_array((X.data, X.indices, X.indptr), shape=(X.shape[0], n)), y) for X, y, *_ in pair
    )
    return dict(list(sets.items())[:2]) if quick else sets


def vw(vowpalwabbit, train, test, flags=""):
    """Return the progressive loss and the test loss of Vowpal Wabbit."""
    bits = max(int(train[0].shape[1]).bit_length(), 10)
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("train.vw", "test.vw", "model")]
        for path, (X, y) in zip(paths, (train, test), strict=False):
            write(path, sp.csr_array(X), np.where(y > 0, 1.0, -1.0))
        options = f"--quiet -b {bits} --loss_function logistic"
        losses = []
        for command in (
            f"{options} {flags} -d {paths[0]} -f {paths[2]}",
            f"--quiet --loss_function logistic -t -i {paths[2]} -d {paths[1]}",
        ):
            workspace = vowpalwabbit.Workspace(command)
            losses.append(workspace.get_sum_loss() / workspace.get_weighted_examples())
            workspace.finish()
    return losses


if __name__ == "__main__":
    main()
