"""Search for the learning rate of a linear model by its definition, in slow dense float64, without the package.

The scale of a feature is the root mean square of its non-zero values, weighted by the sample weights.  Each model makes
importance-weight-aware Adagrad steps, divided by the scales.  A weight changes with the scale so that their product
stays the same.  An accumulator starts with the mean square of all slopes so far, beside that of its first row.  Row k
counts k times in the comparison of the models, and the better half of them remains after given numbers of updates.  A
model has one output, or one for each class.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq


class Search(NamedTuple):
    """Result of a search: per model the rate, weights, intercepts and losses; the honest loss; the removed models."""

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


class Outputs(NamedTuple):
    """Functions of a row for one model: the loss and slopes, the squares that are accumulated, and the steps."""

    loss: object  # (y, p) -> (value, slopes)
    squares: object  # slopes -> squares
    steps: object  # (y, p, q, tau) -> u


def own_squares(slopes):
    return slopes**2


def one_output(loss, slope, step):
    """A model with one output."""

    def steps(y, p, q, tau):
        return np.array([step(slope, y, p[0], q[0], tau) if slope(y, p[0]) != 0 else 0.0])

    return Outputs(lambda y, p: (loss(y, p[0]), np.array([slope(y, p[0])])), own_squares, steps)


def classes_against_the_rest(loss, slope, step):
    """Each class is a model of its own."""

    def sides(y, p):
        return np.where(np.arange(p.size) == y, 1.0, -1.0)

    def loss_and_slopes(y, p):
        pairs = list(zip(sides(y, p), p, strict=True))
        return sum(loss(*pair) for pair in pairs), np.array([slope(*pair) for pair in pairs])

    def steps(y, p, q, tau):
        return np.array([step(slope, *row, tau) for row in zip(sides(y, p), p, q, strict=True)])

    return Outputs(loss_and_slopes, own_squares, steps)


def softmax(y, p):
    """Loss and slopes of softmax."""
    log_probability = p - np.logaddexp.reduce(p)
    return -log_probability[y], np.exp(log_probability) - (np.arange(p.size) == y)


def logistic_flow(m, c):
    """Increase of the margin m in the time c under dm/dc = 1 / (1 + exp(m)), from the integral of that equation."""
    return brentq(lambda d: d + np.exp(m) * np.expm1(d) - c, 0.0, c, xtol=1e-15, rtol=1e-14) if c else 0.0


def softmax_steps(y, p, q, tau, n_parts=4):
    """The flow of all scores in parts whose times double; in each, every class sees the others at their old scores."""
    u, times = np.zeros(p.size), tau * 2.0 ** np.arange(n_parts) / (2**n_parts - 1)
    for time in times:
        scores = p + q * u
        for l in range(p.size):
            side = 1.0 if l == y else -1.0
            margin = side * (scores[l] - np.logaddexp.reduce(np.delete(scores, l)))
            u[l] += side * logistic_flow(margin, q[l] * time) / q[l]
    return u


SOFTMAX = Outputs(softmax, lambda slopes: np.full(slopes.size, np.mean(slopes**2)), softmax_steps)


def search(X, y, weight, loss, slope, rates, halve_at, prox=None, step=flow, eps=1e-10, max_ratio=16.0):
    """Train models of one output on the rows of a dense X in order."""
    outputs = one_output(loss, slope, step)
    found = search_outputs(X, y, weight, 1, outputs, rates, halve_at, prox, eps, max_ratio)
    return found._replace(w=found.w[:, 0], b=found.b[:, 0])


def search_outputs(X, y, weight, n_outputs, outputs, rates, halve_at, prox=None, eps=1e-10, max_ratio=16.0):
    """Train models of several outputs on the rows of a dense X in order."""
    d, rates = X.shape[1], list(rates)
    n = len(rates)
    w, G = np.zeros((n, n_outputs, d)), np.zeros((n, n_outputs, d))
    b, Gb = np.zeros((n, n_outputs)), np.zeros((n, n_outputs))
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
        values = np.array([h * outputs.loss(target, scores)[0] for scores in p])
        leader_loss += values[np.argmin(ranks)]
        total += h
        losses += values
        ranks += values * total
        used = x != 0
        scale_weight[used] += h
        mean_square[used] += (x[used] ** 2 - mean_square[used]) * h / scale_weight[used]
        scale = np.sqrt(mean_square)
        known = (old > 0) & (scale != old)
        w[:, :, known] *= old[known] / scale[known]
        for k in range(len(rates)):
            squares = h * outputs.squares(outputs.loss(target, p[k])[1])
            Gb[k] += squares
            one_more_row = np.where((G[k] == 0) & (squares != 0)[:, None], Gb[k][:, None] / (t + 1), 0.0)
            G[k] += (squares[:, None] + one_more_row) * x**2
            with np.errstate(divide="ignore", invalid="ignore"):
                r = np.where(G[k] > 0, 1 / ((np.sqrt(G[k]) + eps) * scale), 0.0)
                rb = np.where(Gb[k] > 0, 1 / (np.sqrt(Gb[k]) + eps), 0.0)
            r = np.nan_to_num(r, posinf=0.0)
            u = outputs.steps(target, p[k], r @ x**2 + rb, rates[k] * h)
            w[k] += u[:, None] * x * r
            b[k] += u * rb
            if prox is not None:
                w[k] = prox(w[k], rates[k] * r)
        t += 1
    return Search(rates, w, b, ranks, losses, leader_loss, total, removed)
