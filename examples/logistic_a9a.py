"""Online logistic regression on a9a (census income): one pass, an L1 penalty, save and resume.

Run: python examples/logistic_a9a.py
"""

import tempfile
from pathlib import Path

import numpy as np

from adagrad_nb import L1, fit_linear, load_model, load_svmlight, read_svmlight
from adagrad_nb.callbacks import Table
from adagrad_nb.metrics import auc

DATA = Path(__file__).parent / "data"


def report(name, model, X, y):
    """Print log-loss, AUC and number of non-zero weights of a model on test data."""
    area = auc(y == model.classes[1], model.decision_function(X))
    weights = np.count_nonzero(model.coef)
    print(f"{name:24} test log-loss {model.mean_loss(X, y):.4f}  AUC {area:.4f}  {weights} non-zero weights\n")


def main():
    """Train, save and resume models."""
    X, y = load_svmlight(DATA / "a9a.xz")
    X_test, y_test = load_svmlight(DATA / "a9a.t.xz", n_features=X.shape[1])

    model = fit_linear(X, y, callback=Table())
    report("one pass", model, X_test, y_test)

    for strength in (1e-4, 1e-3):
        sparse = fit_linear(X, y, penalty=L1(strength))
        report(f"L1 {strength}", sparse, X_test, y_test)

    # `read_svmlight` reads chunks, so the file may be larger than memory.  Saving and resuming changes no bit.
    first = fit_linear(read_svmlight(DATA / "a9a.xz"))
    with tempfile.TemporaryDirectory() as folder:
        first.save(Path(folder) / "model.npz")
        second = fit_linear(X, y, model=load_model(Path(folder) / "model.npz"))
    two_passes = fit_linear(X, y, passes=2)
    print("a resumed pass equals the second of two passes, bit for bit:", np.array_equal(second.coef, two_passes.coef))


if __name__ == "__main__":
    main()
