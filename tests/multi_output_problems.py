"""Small problems with several classes or learning rates, shared by the tests of multi-output models."""

import numpy as np
import scipy.sparse as sp

COLUMNS, CLASSES, ROWS = 9, 5, 40


def data(kind="classes", n=ROWS, seed=0):
    """Return (X, y, weight): sparse rows, some empty.  Feature 4 first occurs in the middle, feature 7 never."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, COLUMNS)) * (rng.random((n, COLUMNS)) < 0.35)
    X[:: n // 4] = 0.0
    X[: n // 2, 4] = 0.0
    X[:, 7] = 0.0
    score = X @ rng.normal(size=(COLUMNS, CLASSES)) + 0.5 * rng.normal(size=(n, CLASSES))
    weight = rng.choice([0.0, 0.5, 1.0, 3.0], n)
    if kind == "classes":
        return sp.csr_array(X), score.argmax(axis=1), weight
    return sp.csr_array(X), (np.where(score[:, 0] > 0, 1.0, -1.0) if kind == "signs" else score[:, 0]), weight


# --- comparisons ------------------------------------------------------------------------------------------------------


def model_values(model):
    """Return the content of a model as bytes and numbers; equal contents mean models that are equal bit for bit."""
    return {
        "table": model.parameters.table.tobytes(),
        "bias": model.parameters.bias_table.tobytes(),
        "coef": model.coef.tobytes(),
        "intercept": np.asarray(model.intercept).tobytes(),
        "shape": model.coef.shape,
        "t": model.state.t,
        "n_seen": model.n_seen,
        "tally": model.loss_sums.tolist(),
        "labels": tuple(model.target),
        "rates": model.parameters.rate_factors.tolist(),
    }
