"""Merging of models and training in parallel rounds by their definition, in slow dense float64."""

import numpy as np
import reference_linear


def root(G, eps):
    return np.sqrt(G) + eps


def moves(w0, G0, learners, eps):
    """Return (average change, sum of the rescaled changes, merged G) of one coordinate; `learners` are pairs (w, G)."""
    gain = sum(G - G0 for _, G in learners)
    G1 = G0 + gain
    whole = sum((w - w0) * root(G, eps) for w, G in learners)
    whole = whole / root(G1, eps) if root(G1, eps) > 0 else 0.0
    if gain > 0:
        return sum((G - G0) / gain * (w - w0) for w, G in learners), whole, G1
    return whole / len(learners), whole, G1


def repeated(prox, i, x, width, k):
    for _ in range(k):
        x = prox(i, x, width)
    return x


def merge(start, learners, lr, b, prox=None, eps=1e-10):
    """Merge `reference_linear.Outcome`s of training from `start`; b is 0 for the average, 1 for the sum."""
    n = sum(one.t - start.t for one in learners)
    w, G = start.w.copy(), start.G.copy()
    for i in range(w.size):
        gain = sum(one.G[i] - start.G[i] for one in learners)
        if prox is not None and gain == 0:  # untouched: only the steps of the penalty
            w[i] = repeated(prox, i, w[i], lr / root(G[i], eps) if root(G[i], eps) else 0.0, n)
            continue
        average, whole, G1 = moves(start.w[i], start.G[i], [(one.w[i], one.G[i]) for one in learners], eps)
        mean = start.w[i] + average
        total = start.w[i] + whole
        if prox is not None:
            shares = [(one.G[i] - start.G[i]) / gain for one in learners]
            made = sum(share * (one.t - start.t) for share, one in zip(shares, learners, strict=True))
            missing = int(n * sum(share**2 for share in shares) - made + 0.5)
            mean = repeated(prox, i, mean, lr / root(G1, eps), missing)
            if all(one.w[i] == 0 for one in learners):
                mean = total = 0.0
        w[i], G[i] = mean + b * (total - mean), G1
        if prox is not None:
            w[i] = prox(i, w[i], 0.0)
    average, whole, Gb = moves(start.b, start.Gb, [(one.b, one.Gb) for one in learners], eps)
    losses = start.losses + [pair for one in learners for pair in one.losses[len(start.losses) :]]
    return reference_linear.Outcome(w, start.b + average + b * (whole - average), G, Gb, start.t + n, losses)


def rounds(X, y, loss, lr, workers, b, *, alone, growth, most, weight=None, prox=None, passes=1, intercept=True):
    """Make `alone` updates by one worker, then rounds of 1 / `growth` times as many rows as updates so far."""
    n, d = X.shape
    weight = np.ones(n) if weight is None else weight
    now = reference_linear.Outcome(np.zeros(d), 0.0, np.zeros(d), 0.0, 0, [])

    def learn(first, end, start):
        return reference_linear.learn(
            X[first:end], y[first:end], loss, lambda t: lr, prox=prox, weight=weight[first:end], start=start,
            intercept=intercept,
        )  # fmt: skip

    for _ in range(passes):
        position = 0
        while position < n and now.t < alone:
            now = learn(position, position + 1, now)
            position += 1
        while position < n:
            end = min(position + min(now.t // growth + 1, most), n)
            size = end - position
            edges = [position + size * k // workers for k in range(workers + 1)]
            parts = [learn(edges[k], edges[k + 1], now) for k in range(workers)]
            if any(weight[position:end]):
                now = merge(now, parts, lr, b, prox)
            position = end
    return now
