"""Sparse problems, penalties with reference proximal steps, and comparisons, shared by the tests of linear models."""

import contextlib
import itertools
import math
import sys

import numpy as np
import pytest
import reference
import reference_linear
import scipy.sparse as sp

from adagrad_nb import (
    L1,
    L2,
    Bounded,
    Box,
    Chunk,
    ElasticNet,
    InverseSqrt,
    NonNegative,
    NoPenalty,
    Piecewise,
    fit_linear,
)
from adagrad_nb.records import losses

COLUMNS = 9
RNG = np.random.default_rng(20110701)
STRENGTHS = RNG.choice([0.0, 0.01, 0.05, 0.3], COLUMNS)
RIDGE_STRENGTHS = RNG.choice([0.0, 0.1, 0.5], COLUMNS)
LOWER = RNG.uniform(-0.2, 0.1, COLUMNS)
UPPER = LOWER + RNG.uniform(0.0, 0.4, COLUMNS)


def fit_plain(*data, lr=0.5, **options):
    """Call `fit_linear` with plain steps, without a search for the learning rate."""
    return fit_linear(*data, lr=lr, **options)


def of_l1(strength):
    return lambda i, x, w: reference.l1_prox(x, w, np.broadcast_to(strength, COLUMNS)[i])


def of_l2(strength):
    return lambda i, x, w: reference.l2_prox(x, w, np.broadcast_to(strength, COLUMNS)[i])


def of_elastic(l1, l2):
    l1, l2 = np.broadcast_to(l1, COLUMNS), np.broadcast_to(l2, COLUMNS)
    return lambda i, x, w: reference.elastic_net_prox(x, w, l1[i], l2[i])


def of_box(lower, upper, inner=lambda i, x, w: x):
    lower, upper = np.broadcast_to(lower, COLUMNS), np.broadcast_to(upper, COLUMNS)
    return lambda i, x, w: reference.box_prox(inner(i, x, w), w, lower[i], upper[i])


# name: (the record, its proximal step in the reference)
PENALTIES = {
    "none": (NoPenalty(), None),
    "l1": (L1(0.02), of_l1(0.02)),
    "l2": (L2(0.3), of_l2(0.3)),
    "elastic net": (ElasticNet(0.01, 0.2), of_elastic(0.01, 0.2)),
    "box": (Box(-0.1, 0.2), of_box(-0.1, 0.2)),
    "half-open box": (Box(upper=0.1), of_box(-math.inf, 0.1)),
    "box away from zero": (Box(0.05, 0.3), of_box(0.05, 0.3)),
    "non-negative": (NonNegative(), of_box(0.0, math.inf)),
    "bounded l1": (Bounded(L1(0.02), -0.1, 0.2), of_box(-0.1, 0.2, of_l1(0.02))),
    "bounded l2 away from zero": (Bounded(L2(0.3), 0.05, 0.4), of_box(0.05, 0.4, of_l2(0.3))),
    "l1 by feature": (L1(STRENGTHS), of_l1(STRENGTHS)),
    "elastic net by feature": (ElasticNet(STRENGTHS, RIDGE_STRENGTHS), of_elastic(STRENGTHS, RIDGE_STRENGTHS)),
    "box by feature": (Box(LOWER, UPPER), of_box(LOWER, UPPER)),
}
RATES = {
    "constant": (0.5, lambda t: 0.5),
    "inverse root": (InverseSqrt(0.7, 0.3), lambda t: reference.inverse_sqrt(t, 0.7, 0.3)),
    "piecewise": (Piecewise((7, 20), (0.6, 0.25, 0.1)), lambda t: reference.piecewise(t, (7, 20), (0.6, 0.25, 0.1))),
}
LOSSES = reference_linear.NAMES


def data(loss="logistic", n=40, seed=0):
    """Return (X, y, weight): sparse rows, some empty.  Feature 4 first occurs in the middle, feature 7 never."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, COLUMNS)) * (rng.random((n, COLUMNS)) < 0.3)
    X[:: n // 4] = 0.0
    X[: n // 2, 4] = 0.0
    X[:, 7] = 0.0
    score = X @ rng.normal(size=COLUMNS) + 0.3 + 0.3 * rng.normal(size=n)
    labels = losses.LOSSES[loss].target_type
    y = {"binary": np.where(score > 0, 1.0, -1.0), "continuous": score, "count": np.floor(np.exp(score))}[labels]
    weight = rng.choice([0.0, 0.5, 1.0, 3.0], n)
    return sp.csr_array(X), y, weight


X, Y, WEIGHT = data(seed=1)


def model_values(model):
    """Return the content of a model as bytes and numbers; equal contents mean models that are equal bit for bit."""
    slots = [slot.tobytes() for state in (model.state, model.bias_state) for slot in state.slots[0]]
    return {
        "coef": model.coef.tobytes(),
        "dtype": model.coef.dtype,
        "intercept": model.intercept,
        "slots": slots,
        "t": model.state.t,
        "n_seen": model.n_seen,
        "tally": model.loss_sums.tolist(),
        "labels": list(model.target),
    }


def assert_same_model(a, b):
    assert model_values(a) == model_values(b)


def split_rows(X, y, *boundaries):
    """Return chunks of the rows, split at the cuts."""
    edges = [0, *boundaries, X.shape[0]]
    return [Chunk(X[a:b], y[a:b]) for a, b in itertools.pairwise(edges)]


COMPILED = [
    ("none", "logistic", "constant"),
    ("l1", "logistic", "constant"),
    ("l2", "squared", "piecewise"),
    ("elastic net by feature", "squared", "inverse root"),
    ("box away from zero", "logistic", "inverse root"),
    ("bounded l1", "squared", "constant"),
    ("l1", "hinge", "inverse root"),
    ("elastic net", "poisson", "constant"),
    ("l2", "quantile", "piecewise"),
]


def unsorted_duplicates(X, seed=0):
    """Return the same matrix with unsorted indices and each value as two duplicate entries."""
    rng = np.random.default_rng(seed)
    indptr, indices, values = [0], [], []
    for r in range(X.shape[0]):
        row = X[[r]]
        where, parts = np.repeat(row.indices, 2), np.repeat(row.data, 2) * np.tile([0.25, 0.75], row.nnz)
        order = rng.permutation(where.size)
        indices += where[order].tolist()
        values += parts[order].tolist()
        indptr.append(len(indices))
    return sp.csr_array((np.array(values), np.array(indices, np.int32), np.array(indptr, np.int32)), shape=X.shape)


def with_value(array, k, value):
    array = array.copy()
    array[k] = value
    return array


@contextlib.contextmanager
def interpreting():
    """Run the kernels of linear models in the interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("adagrad_nb.linear") and hasattr(module, "compiled_for"):
                patch.setattr(module, "compiled_for", lambda kernel, *records: getattr(kernel, "py_func", kernel))
        yield
