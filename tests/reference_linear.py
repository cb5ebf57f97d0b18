"""Online learning of a linear model by its definition, in slow dense float64, independent of the package.

For each row: predict, record the loss, and compute the gradient of the weighted loss.  Update *every* coordinate by
Adagrad.  Then apply the penalty to *every* coordinate with the step size of its own update (Duchi 2011, figure 1,
composite mirror descent).  There is no sparsity and there are no lazy updates.
"""

from typing import NamedTuple

import numpy as np
import reference
from scipy.integrate import solve_ivp


class Outcome(NamedTuple):
    """Weights, intercept, their accumulators, number of updates, and (weight, loss) of each row."""

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


def fit(X, y, loss, lr, *, prox=None, intercept=True, weight=None, passes=1, start=None, G0=0.0, **rule):
    """Learn from the rows of the dense array X, in order.

    `lr(t)` is the learning rate of update t, and `prox(i, x, w)` the proximal step of coordinate i.  `rule` has the
    options of `reference.adagrad`.  `start` is the `Outcome` of earlier training.
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
                w[i], G[i], step_size = reference.adagrad(w[i], z * X[r, i], G[i], rate, **rule)
                if prox is not None:
                    w[i] = prox(i, w[i], step_size)
            if intercept:
                b, Gb, _ = reference.adagrad(b, z, Gb, rate, **rule)
            t += 1
    return Outcome(w, b, G, Gb, t, losses)


def fit_dual_averaging(
    X, y, loss, lr, rule, *, prox=None, intercept=True, weight=None, passes=1, first=0.0, bias_rule=None
):
    """Learn by dual averaging: after each row, recompute *every* coordinate with the penalty of all rows so far.

    `rule` is a function (x, g, s, lr) -> (x, s, step size) of `reference`, and `bias_rule` that of the intercept if it
    differs.  The initial accumulators are `first` and zero.
    """
    value, slope = LOSSES[loss]
    n, d = X.shape
    weight = np.ones(n) if weight is None else weight
    w, b, s, sb, t, losses = np.zeros(d), 0.0, [(first, 0.0)] * d, (first, 0.0), 0, []
    for number in range(passes):
        for r in range(n):
            if weight[r] == 0:
                continue
            p = float(X[r] @ w) + b
            if number == 0:
                losses.append((weight[r], value(y[r], p)))
            z = weight[r] * slope(y[r], p)
            for i in range(d):
                w[i], s[i], step_size = rule(w[i], z * X[r, i], s[i], lr(t))
                if prox is not None:
                    w[i] = prox(i, w[i], step_size * (t + 1))
            if intercept:
                b, sb, _ = (bias_rule or rule)(b, z, sb, lr(t))
            t += 1
    return Outcome(w, b, np.array(s), np.array(sb), t, losses)


def fit_groups(X, y, loss, lr, rule, *, group_prox, groups, slots, is_dual, weight, passes=1):
    """Return (weights, intercept) before the first update and after each: a penalty of groups of features.

    After each row, *every* group has its proximal step: `group_prox(j, x, w)`, with the step sizes w of its weights,
    times the number of updates if `is_dual`.  `rule` is as for `fit_dual_averaging`, with the accumulators `slots` at
    first.
    """
    _, slope = LOSSES[loss]
    d, w, b, t = X.shape[1], np.zeros(X.shape[1]), 0.0, 0
    s, sb = [slots] * d, slots
    iterates = [(w.copy(), b)]
    for _ in range(passes):
        for r in np.flatnonzero(weight):
            z, sizes = weight[r] * slope(y[r], float(X[r] @ w) + b), np.zeros(d)
            for i in range(d):
                w[i], s[i], sizes[i] = rule(w[i], z * X[r, i], s[i], lr(t))
            b, sb, _ = rule(b, z, sb, lr(t))
            t += 1
            for j in np.unique(groups):
                w[groups == j] = group_prox(j, w[groups == j], sizes[groups == j] * (t if is_dual else 1))
            iterates.append((w.copy(), b))
    return iterates


def integrate_flow(slope, kinks, y, p, q, tau):
    """Karampatziakis 2011: the u for which dp/dt = -q slope(y, p) leads from p to p + q u in the time tau.

    The equation is integrated numerically between the `kinks`, the predictions at which the slope is not smooth.
    """
    start, t = p, 0.0
    while t < tau and slope(y, p) != 0.0:
        direction = -np.sign(slope(y, p))
        next_kink = min(
            (k for k in kinks if direction * (k - p) > 0), key=lambda k: abs(k - p), default=direction * 1e300
        )
        edge = (
            next_kink - direction * 1e-9
        )  # the slope is continued beyond it, so that the integrated function is smooth

        def speed(_, x, direction=direction, edge=edge):
            return [-q * slope(y, direction * min(direction * x[0], direction * edge))]

        def arrival(_, x, next_kink=next_kink):
            return x[0] - next_kink

        arrival.terminal = True
        path = solve_ivp(speed, (t, tau), [p], "DOP853", events=arrival, rtol=1e-13, atol=1e-14)
        t, p = (path.t[-1], next_kink) if path.status == 1 else (tau, path.y[0, -1])
    return (p - start) / q


def fit_scaled(
    X, y, loss, lr, *, normalized, invariant, kinks=None, prox=None, intercept=True, weight=None, passes=1, eps=1e-10
):
    """Ross 2013, algorithm 2, and Karampatziakis 2011, as in Vowpal Wabbit, without lazy penalties.

    In predictions, a value is clipped to 16 times the largest value before it.  The accumulators grow in proportion to
    the weight of a row.  The penalty of a coordinate has the step size of its update.  The intercept is a feature with
    the constant value 1.  `kinks(y)` gives the kinks of the loss.  Returns an `Outcome` whose G ends with that of the
    intercept; Gb has the scales.
    """
    value, slope = LOSSES[loss]
    n, d = X.shape
    X = np.column_stack([X, np.full(n, 1.0 if intercept else 0.0)])
    weight = np.ones(n) if weight is None else weight
    w, G, S, N, T, t, losses = np.zeros(d + 1), np.zeros(d + 1), np.zeros(d + 1), 0.0, 0.0, 0, []
    for number in range(passes):
        for row in range(n):
            h, x = weight[row], X[row]
            if h == 0:
                continue
            clipped = [
                np.sign(a) * min(abs(a), 16 * b) if normalized and b > 0 else a for a, b in zip(x, S, strict=True)
            ]
            p = float(np.dot(clipped, w))
            if number == 0:
                losses.append((h, value(y[row], p)))
            dloss = slope(y[row], p)
            if dloss != 0.0:
                G = G + h * dloss**2 * x**2
                if normalized:
                    for i in range(d + 1):
                        if abs(x[i]) > S[i]:
                            w[i] *= S[i] / abs(x[i]) if S[i] > 0 else 1.0
                            S[i] = abs(x[i])
            scale = np.array([1 / S[i] if S[i] > 0 else 0.0 for i in range(d + 1)]) if normalized else np.ones(d + 1)
            r = np.array([scale[i] / (np.sqrt(G[i]) + eps) if G[i] + eps > 0 else 0.0 for i in range(d + 1)])
            if dloss != 0.0 and normalized:
                N, T = N + h * float(np.sum((x * scale) ** 2)), T + h
            m = np.sqrt(T / N) if normalized and N > 0 else 1.0
            q, rate = m * float(np.sum(x**2 * r)), lr(t)
            if dloss != 0.0:
                u = -rate * h * dloss
                if invariant and q > 0 and kinks is not None:
                    u = integrate_flow(slope, kinks(y[row]), y[row], p, q, rate * h)
                w = w + m * u * x * r
            if prox is not None:
                w[:d] = [prox(i, w[i], rate * m * r[i]) for i in range(d)]
            t += 1
    return Outcome(w[:d], w[d], G, S, t, losses)


def progressive_loss(losses):
    """Blum 1999: the weighted mean over the rows of the loss before each row was learnt."""
    weights, values = zip(*losses, strict=True)
    return float(np.average(values, weights=weights))
