"""Test error and sparsity of online learners on text: the experiment of section 6.1 of the Adagrad paper, table 1.

RDA and FB (forward-backward splitting, which is SGD with an L1 penalty) have one learning rate for all weights.
AdaGrad-RDA and AdaGrad-FB have Adagrad's.  PA and AROW have no penalty.  All of them learn the hinge loss in one pass.
The learning rate and the strength of the penalty are those of the lowest error on held-out rows; of settings within one
standard error, the sparsest.

J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 12
(2011) 2121-2159.

Run: python examples/sparsity_table.py [PICTURE [FOLDER]]

FOLDER has the files of the 20 news groups, `20news_bydate.train.svm.xz` and `20news_bydate.test.svm.xz`.
"""

import pathlib
import sys
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from matplotlib.figure import Figure

import adagrad_nb
from adagrad_nb import L1, RDA, SGD, Adagrad, InverseSqrt, fit_linear, problem, sweep
from adagrad_nb.plots import draw_sparsity, save

DATA = pathlib.Path(__file__).parent / "data"
RATES = (0.1, 0.3, 1.0, 3.0)  # with Adagrad's step sizes
PLAIN_RATES = (1.0, 3.0, 10.0, 30.0, 100.0)  # rows of unit norm have small gradients
STRENGTHS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
GROUPS = {"comp": range(2, 7), "rec": range(8, 12), "sci": range(12, 16), "talk": range(17, 21)}


class PlainRDA(NamedTuple):
    """Regularised dual averaging with one step size for all weights: Xiao (2010), with the L2 regulariser.

    With ``lr=InverseSqrt(eta)`` the solution after t gradients is -eta / sqrt(t) z, where z is their sum.
    """

    slots = 1
    accumulators_add = True

    def initial_slots(self):
        return (0.0,)

    def step(self, x, g, s, lr):
        return -lr * (s[0] + g), (s[0] + g,)

    def step_size(self, s, lr):
        return lr

    def cumulative_step_size(self, s, lr, t):
        return type(lr)(t) * lr

    def primal(self, x, s, lr):
        return -lr * s[0]


def methods(rates=RATES, plain_rates=PLAIN_RATES, strengths=STRENGTHS):
    """Return the grid of each method."""
    decreasing = [InverseSqrt(rate) for rate in plain_rates]
    penalties = [L1(strength) for strength in strengths]
    grids = {
        "RDA": {"rule": [PlainRDA()], "lr": decreasing, "penalty": penalties},
        "FB": {"rule": [SGD()], "lr": decreasing, "penalty": penalties},
        "AdaGrad-RDA": {"rule": [RDA()], "lr": list(rates), "penalty": penalties},
        "AdaGrad-FB": {"rule": [Adagrad()], "lr": list(rates), "penalty": penalties},
    }
    for name, label in (("PassiveAggressive", "PA"), ("AROW", "AROW")):
        if hasattr(adagrad_nb, name):
            grids[label] = {"rule": [getattr(adagrad_nb, name)(value) for value in (0.1, 1.0, 10.0)]}
    return grids


def error(model, X, y):
    """Return the fraction of wrong predictions."""
    return float(np.mean(model.predict(X) != y))


class Result(NamedTuple):
    """Test error and proportion of non-zero weights of a method, and the settings that were chosen."""

    error: float
    proportion: float
    options: dict


def choose(X, y, grid, intercept=True):
    """Return the options of the sparsest cell whose error on the last fifth of the rows is close to the lowest."""
    n = X.shape[0] - X.shape[0] // 5
    cells = list(sweep(X[:n], y[:n], grid, loss="hinge", intercept=intercept, classes=np.unique(y)))
    errors = np.array([1.0 if cell.model is None else error(cell.model, X[n:], y[n:]) for cell in cells])
    limit = errors.min() + np.sqrt(errors.min() * (1 - errors.min()) / (X.shape[0] - n))
    close = [k for k in range(len(cells)) if errors[k] <= limit]
    return cells[min(close, key=lambda k: (cells[k].n_nonzero, errors[k]))].options


def measure(task, grids):
    """Return {method: Result} on one task (X, y, X_test, y_test)."""
    X, y, X_test, y_test = task
    results = {}
    for name, grid in grids.items():
        options = choose(X, y, grid)
        model = fit_linear(X, y, **options)
        proportion = np.count_nonzero(model.coef) / np.unique(X.indices).size
        results[name] = Result(error(model, X_test, y_test), proportion, options)
    return results


def unit_rows(X):
    """Return log(1 + count) of each word, with rows of norm 1."""
    X = sp.csr_array((np.log1p(X.data), X.indices, X.indptr), shape=X.shape)
    return sp.csr_array(sp.diags_array(1 / np.maximum(sp.linalg.norm(X, axis=1), 1e-12)) @ X)


def tasks(folder=None):
    """Return {name: (X, y, X_test, y_test)}: those of the examples, or of the news groups in a folder."""
    if folder is None:
        found = [problem(name, DATA) for name in ("rcv1", "a9a")]
        return {known.name: (known.X, known.y, known.X_test, known.y_test) for known in found}
    news = problem("20news", folder)
    X, X_test = unit_rows(news.X), unit_rows(news.X_test)
    return {
        name: (X, np.isin(news.y, list(labels)), X_test, np.isin(news.y_test, list(labels)))
        for name, labels in GROUPS.items()
    }


def main(picture="sparsity.png", folder=None):
    """Print the table and draw the picture."""
    grids = methods()
    results = {name: measure(task, grids) for name, task in tasks(folder).items()}
    print("test error (proportion of non-zero weights)\n")
    print(f"{'':8}" + "".join(f"{name:>18}" for name in grids))
    for name, row in results.items():
        print(f"{name:8}" + "".join(f"{found.error:>10.3f} ({found.proportion:.3f})" for found in row.values()))
    figure = Figure(figsize=(5.2 * len(results), 4.2), layout="constrained")
    for axes, (name, row) in zip(np.atleast_1d(figure.subplots(1, len(results))), results.items(), strict=True):
        draw_sparsity(axes, {label: (found.proportion, found.error) for label, found in row.items()}, name)
    save(figure, picture)
    print(f"\npicture: {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
