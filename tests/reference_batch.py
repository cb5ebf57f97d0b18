"""Mini-batches as they are defined, in slow dense float64; nothing here comes from the package.

A batch is the next so many rows of non-zero weight.  All its rows are predicted with the weights before it; then
*every* coordinate moves once, by the sum of the weighted rows' gradients divided by the number of rows, and the penalty
acts on *every* coordinate.
"""

import numpy as np
import reference
import reference_linear


def learn(X, y, loss, lr, size, *, prox=None, intercept=True, weight=None, passes=1, chunks=None, **rule):
    """Like `reference_linear.learn`, with batches of `size` rows that end with the chunks of the given lengths."""
    value, slope = reference_linear.LOSSES[loss]
    n, d = X.shape
    weight = np.ones(n) if weight is None else weight
    w, b, G, Gb, t, losses = np.zeros(d), 0.0, np.zeros(d), 0.0, 0, []
    edges = np.cumsum([0, *(chunks or [n])])
    for number in range(passes):
        for first, end in zip(edges[:-1], edges[1:], strict=True):
            kept = [r for r in range(first, end) if weight[r] != 0]
            for k in range(0, len(kept), size):
                rows = kept[k : k + size]
                p = [float(X[r] @ w) + b for r in rows]
                z = [weight[r] * slope(y[r], q) for r, q in zip(rows, p, strict=True)]
                if number == 0:
                    losses += [(weight[r], value(y[r], q)) for r, q in zip(rows, p, strict=True)]
                g = sum(zr * X[r] for r, zr in zip(rows, z, strict=True)) / len(rows)
                rate = lr(t)
                for i in range(d):
                    w[i], G[i], width = reference.adagrad(w[i], g[i], G[i], rate, **rule)
                    if prox is not None:
                        w[i] = prox(i, w[i], width)
                if intercept:
                    b, Gb, _ = reference.adagrad(b, sum(z) / len(rows), Gb, rate, **rule)
                t += 1
    return reference_linear.Outcome(w, b, G, Gb, t, losses)
