"""Online learning of linear models with several outputs by its definition, in slow dense float64, without the package.

For each row: predict each output, record the loss, and compute the gradient of each output.  Update *every* weight of
every output by Adagrad with the learning rate of the output.  Then apply the penalty to every weight with the step size
of its own update, or to the weights of every feature together.
"""

from typing import NamedTuple

import numpy as np
import reference


class Outcome(NamedTuple):
    """Weights of shape (d, outputs), intercepts, their accumulators, update count, and (weight, losses) of each row."""

    w: np.ndarray
    b: np.ndarray
    G: np.ndarray
    Gb: np.ndarray
    t: int
    losses: list


def softmax(y, p):
    """(loss, slopes) of Bishop 2006, equations 4.108 and 4.109, where y is the index of the true class."""
    probability = np.exp(p - p.max())
    probability /= probability.sum()
    return -np.log(probability[y]), probability - (np.arange(p.size) == y)


def one_vs_rest(value, slope):
    """The binary loss of each class against all others, summed."""

    def both(y, p):
        signs = np.where(np.arange(p.size) == y, 1.0, -1.0)
        pairs = list(zip(signs, p, strict=True))
        return sum(value(sign, q) for sign, q in pairs), np.array([slope(sign, q) for sign, q in pairs])

    return both


def independent_outputs(value, slope):
    """The same loss of the same target for each output."""
    return lambda y, p: (np.array([value(y, q) for q in p]), np.array([slope(y, q) for q in p]))


def group_l2_prox(x, w, strength):
    """argmin strength |z| + sum (z - x)^2 / (2 w): Duchi 2011, section 5.3, by bisection for |z|."""
    is_penalized = w > 0
    if not np.any(x[~is_penalized]) and np.sqrt(np.sum((x[is_penalized] / w[is_penalized]) ** 2)) <= strength:
        return np.zeros_like(x)
    low, high = 0.0, float(np.sqrt(np.sum(x * x)))
    for _ in range(80):
        s = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            too_small = np.nansum((x / (s + strength * w)) ** 2) > 1
        low, high = (s, high) if too_small else (low, s)
    return x * high / (high + strength * w)


def group_linf_prox(x, w, strength):
    """argmin strength max|z| + sum (z - x)^2 / (2 w): Duchi 2011, section 5.4, by sorting."""
    is_penalized = w > 0
    fixed_level = np.max(np.abs(x[~is_penalized]), initial=0.0)
    order = np.argsort(-np.abs(x[is_penalized]))
    size, stiffness = np.abs(x[is_penalized])[order], 1 / w[is_penalized][order]
    level = 0.0
    for count in range(1, size.size + 1):
        candidate = (np.sum(size[:count] * stiffness[:count]) - strength) / np.sum(stiffness[:count])
        next_size = size[count] if count < size.size else 0.0
        if candidate >= next_size:
            level = candidate
            break
    return np.sign(x) * np.minimum(np.abs(x), max(level, fixed_level))


def fit(
    X,
    y,
    loss,
    lr,
    n_outputs,
    *,
    prox=None,
    group=None,
    intercept=True,
    weight=None,
    passes=1,
    start=None,
    G0=0.0,
    **rule,
):
    """Learn from the rows of the dense array X, in order.

    `lr(t)` is the learning rate of update t, one number or one for each output.  `prox(i, x, w)` is the proximal step
    of one weight of feature i, and `group(i, x, w)` that of all weights of feature i.  `start` is the `Outcome` of
    earlier training.
    """
    n, d = X.shape
    weight = np.ones(n) if weight is None else weight
    new = Outcome(
        np.zeros((d, n_outputs)), np.zeros(n_outputs), np.full((d, n_outputs), G0), np.full(n_outputs, G0), 0, []
    )
    w, b, G, Gb, t, losses = start or new
    w, b, G, Gb, losses = w.copy(), b.copy(), G.copy(), Gb.copy(), list(losses)
    for number in range(passes):
        for r in range(n):
            if weight[r] == 0:
                continue
            value, slopes = loss(y[r], X[r] @ w + b)
            if number == 0:
                losses.append((weight[r], value))
            rate = np.broadcast_to(lr(t), n_outputs)
            step_sizes = np.zeros((d, n_outputs))
            for i in range(d):
                for l in range(n_outputs):
                    g = weight[r] * slopes[l] * X[r, i]
                    w[i, l], G[i, l], step_sizes[i, l] = reference.adagrad(w[i, l], g, G[i, l], rate[l], **rule)
                    if prox is not None:
                        w[i, l] = prox(i, w[i, l], step_sizes[i, l])
                if group is not None:
                    w[i] = group(i, w[i], step_sizes[i])
            if intercept:
                for l in range(n_outputs):
                    b[l], Gb[l], _ = reference.adagrad(b[l], weight[r] * slopes[l], Gb[l], rate[l], **rule)
            t += 1
    return Outcome(w, b, G, Gb, t, losses)


def fit_dual_averaging(X, y, loss, lr, n_outputs, *, step, slots, group, weight, passes=1):
    """Return (weights, intercepts) before the first update and after each, learned by dual averaging.

    `step(x, g, s, lr)` is a rule of `reference`, with the accumulators `slots` at first.  The weights of every feature
    are the argmin of the losses and t times the penalty: `group(i, x, w)`, where w are t times the step sizes.  The
    intercepts have no penalty.
    """
    d = X.shape[1]
    w, b, t = np.zeros((d, n_outputs)), np.zeros(n_outputs), 0
    s, sb = np.tile(slots, (d, n_outputs, 1)), np.tile(slots, (n_outputs, 1))
    iterates = [(w.copy(), b.copy())]
    for _ in range(passes):
        for r in np.flatnonzero(weight):
            _, slopes = loss(y[r], X[r] @ w + b)
            rate = lr(t)
            t += 1
            for i in range(d):
                sizes = np.zeros(n_outputs)
                for l in range(n_outputs):
                    w[i, l], s[i, l], sizes[l] = step(w[i, l], weight[r] * slopes[l] * X[r, i], s[i, l], rate)
                w[i] = group(i, w[i], t * sizes)
            for l in range(n_outputs):
                b[l], sb[l], _ = step(b[l], weight[r] * slopes[l], sb[l], rate)
            iterates.append((w.copy(), b.copy()))
    return iterates


def progressive_loss(losses):
    """The weighted mean over the rows of the loss before each row was learnt, for each output with its own loss."""
    weights, values = zip(*losses, strict=True)
    return np.average(values, weights=weights, axis=0)
