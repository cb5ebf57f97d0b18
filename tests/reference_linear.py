"""Online learning of a linear model as it is defined, in slow dense float64; nothing here comes from the package.

For row t: predict, note the loss, take the gradient of the row's weighted loss, move *every* coordinate by Adagrad,
then let the penalty act on *every* coordinate with the width of its own step (Duchi 2011, figure 1, composite mirror
descent).  No sparsity, no laziness.
"""

from typing import NamedTuple

import numpy as np
import reference


class Outcome(NamedTuple):
    """What has been learnt: weights, intercept, their accumulators, updates made, and (weight, loss) of each row."""

    w: np.ndarray
    b: float
    G: np.ndarray
    Gb: float
    t: int
    losses: list


NAMES = (
    "logistic", "hinge", "squared_hinge", "smooth_hinge", "modified_huber", "perceptron", "squared", "huber",
    "absolute", "epsilon_insensitive", "squared_epsilon_insensitive", "quantile", "poisson",
)  # fmt: skip
LOSSES = {name: (getattr(reference, name), getattr(reference, f"{name}_slope")) for name in NAMES}


def learn(X, y, loss, lr, *, prox=None, intercept=True, weight=None, passes=1, start=None, G0=0.0, **rule):
    """Learn from the rows of the dense array X, in order.

    `lr` is a function of the number of the update, `prox(i, x, width)` the proximal step of coordinate i; `rule` has
    the settings of `reference.adagrad`.  `start` is an `Outcome` to go on from.
    """
    value, slope = LOSSES[loss]
    n, d = X.shape
    weight = np.ones(n) if weight is None else weight
    w, b, G, Gb, t, losses = start or Outcome(np.zeros(d), 0.0, np.full(d, G0), G0, 0, [])
    w, G, losses = w.copy(), G.copy(), list(losses)
    for number in range(passes):
        for r in range(n):
            if weight[r] == 0:
                continue
            p = float(X[r] @ w) + b
            if number == 0:
                losses.append((weight[r], value(y[r], p)))
            z = weight[r] * slope(y[r], p)
            rate = lr(t)
            for i in range(d):
                w[i], G[i], width = reference.adagrad(w[i], z * X[r, i], G[i], rate, **rule)
                if prox is not None:
                    w[i] = prox(i, w[i], width)
            if intercept:
                b, Gb, _ = reference.adagrad(b, z, Gb, rate, **rule)
            t += 1
    return Outcome(w, b, G, Gb, t, losses)


def progressive_loss(losses):
    """Blum 1999: the mean over the rows, by weight, of the loss of each before it was learnt."""
    weights, values = zip(*losses, strict=True)
    return float(np.average(values, weights=weights))
