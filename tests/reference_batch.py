"""Mini-batch learning by its definition, in slow dense float64, independent of the package.

A batch is the next `size` rows with non-zero weights.  The weights before the batch predict all its rows.  Then *every*
coordinate gets one update with the sum of the weighted gradients divided by the number of rows, and the penalty acts on
*every* coordinate.
"""

import numpy as np
import reference
import reference_linear


def fit(X, y, loss, lr, size, *, prox=None, intercept=True, weight=None, passes=1, chunks=None, **rule):
    """Like `reference_linear.learn`, with batches of `size` rows.  A batch ends at the end of each chunk."""
    value, slope = reference_linear.LOSSES[loss]
    n, d = X.shape
    weight = np.ones(n) if weight is None else weight
    w, b, G, Gb, t, losses = np.zeros(d), 0.0, np.zeros(d), 0.0, 0, []
    edges = np.cumsum([0, *(chunks or [n])])
    for number in range(passes):
        for first, end in zip(edges[:-1], edges[1:], strict=True):
            used_rows = [r for r in range(first, end) if weight[r] != 0]
            for k in range(0, len(used_rows), size):
                rows = used_rows[k : k + size]
                p = [float(X[r] @ w) + b for r in rows]
                z = [weight[r] * slope(y[r], q) for r, q in zip(rows, p, strict=True)]
                if number == 0:
                    losses += [(weight[r], value(y[r], q)) for r, q in zip(rows, p, strict=True)]
                g = sum(zr * X[r] for r, zr in zip(rows, z, strict=True)) / len(rows)
                rate = lr(t)
                for i in range(d):
                    w[i], G[i], step_size = reference.adagrad(w[i], g[i], G[i], rate, **rule)
                    if prox is not None:
                        w[i] = prox(i, w[i], step_size)
                if intercept:
                    b, Gb, _ = reference.adagrad(b, sum(z) / len(rows), Gb, rate, **rule)
                t += 1
    return reference_linear.Outcome(w, b, G, Gb, t, losses)
