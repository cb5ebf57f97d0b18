"""Search for the learning rate of a linear model by its definition, in slow dense float64, without the package.

The scale of a feature is the root mean square of its non-zero values, weighted by the sample weights.  Each model makes
importance-weight-aware Adagrad steps, divided by the scales.  A weight changes with the scale so that their product
stays the same.  An accumulator starts with the mean square of all slopes so far, beside that of its first row.  Row k
counts k times in the comparison of the models, and the better half of them remains after given numbers of updates.
"""

from typing import NamedTuple

import numpy as np


class Search(NamedTuple):
    """Result of a search: per model the rate, weights, intercept and losses; the honest loss; the removed models."""

    rates: list
    w: np.ndarray
    b: np.ndarray
    ranks: np.ndarray
    losses: np.ndarray
    leader_loss: float
    weight: float
    removed: list


def flow(slope, y, p, q, tau, n=4000):
    """u with p + q u = the solution of dp/dt = -q slope(y, p) at tau, by n steps of the method of Runge and Kutta."""
    step, start = tau / n, p
    for _ in range(n):
        k1 = -q * slope(y, p)
        k2 = -q * slope(y, p + step / 2 * k1)
        k3 = -q * slope(y, p + step / 2 * k2)
        p += step / 6 * (k1 + 2 * k2 + 2 * k3 - q * slope(y, p + step * k3))
    return (p - start) / q


def search(X, y, weight, loss, slope, rates, halve_at, prox=None, step=flow, eps=1e-10, max_ratio=16.0):
    """Train on the rows of a dense X in order."""
    d, rates = X.shape[1], list(rates)
    n = len(rates)
    w, b, G, Gb = np.zeros((n, d)), np.zeros(n), np.zeros((n, d)), np.zeros(n)
    mean_square, scale_weight = np.zeros(d), np.zeros(d)
    ranks, losses, leader_loss, total, t, removed = np.zeros(n), np.zeros(n), 0.0, 0.0, 0, []
    for x, target, h in zip(X, y, weight, strict=True):
        if h == 0:
            continue
        if t in halve_at and len(rates) > 1:
            order = np.argsort(ranks, kind="stable")
            n_kept = (len(rates) + 1) // 2
            kept = np.sort(order[:n_kept])
            removed += [(rates[k], losses[k] / total, t) for k in np.sort(order[n_kept:])]
            rates = [rates[k] for k in kept]
            w, b, G, Gb, ranks, losses = w[kept], b[kept], G[kept], Gb[kept], ranks[kept], losses[kept]
        old = np.sqrt(mean_square)
        limit = np.where(old > 0, max_ratio * old, np.inf)
        p = w @ np.clip(x, -limit, limit) + b
        values = np.array([h * loss(target, q) for q in p])
        leader_loss += values[np.argmin(ranks)]
        total += h
        losses += values
        ranks += values * total
        used = x != 0
        scale_weight[used] += h
        mean_square[used] += (x[used] ** 2 - mean_square[used]) * h / scale_weight[used]
        scale = np.sqrt(mean_square)
        for k in range(len(rates)):
            known = (old > 0) & (scale != old)
            w[k, known] *= old[known] / scale[known]
            z = np.sqrt(h) * slope(target, p[k])
            Gb[k] += z * z
            one_more_row = np.where((G[k] == 0) & (z != 0), Gb[k] / (t + 1), 0.0)
            G[k] += (z * z + one_more_row) * x * x
            with np.errstate(divide="ignore", invalid="ignore"):
                r = np.where(G[k] > 0, 1 / ((np.sqrt(G[k]) + eps) * scale), 0.0)
                rb = 1 / (np.sqrt(Gb[k]) + eps) if Gb[k] > 0 else 0.0
            r = np.nan_to_num(r, posinf=0.0)
            q = np.sum(x * x * r) + rb
            u = step(slope, target, p[k], q, rates[k] * h) if z != 0 else 0.0
            w[k] += u * x * r
            b[k] += u * rb
            if prox is not None:
                w[k] = prox(w[k], rates[k] * r)
        t += 1
    return Search(rates, w, b, ranks, losses, leader_loss, total, removed)
