"""Merging of models and training in parallel rounds by their definition, in slow dense float64."""

import numpy as np
import reference_linear


def root(G, eps):
    return np.sqrt(G) + eps


def merged_changes(w0, G0, learners, eps):
    """Return (average change, sum of the rescaled changes, merged G) of one coordinate; `learners` are pairs (w, G)."""
    growth_sum = sum(G - G0 for _, G in learners)
    G1 = G0 + growth_sum
    change_sum = sum((w - w0) * root(G, eps) for w, G in learners)
    change_sum = change_sum / root(G1, eps) if root(G1, eps) > 0 else 0.0
    if growth_sum > 0:
        return sum((G - G0) / growth_sum * (w - w0) for w, G in learners), change_sum, G1
    return change_sum / len(learners), change_sum, G1


def prox_steps(prox, i, x, preconditioner, lr, t, k):
    """Make the proximal steps of the updates t, …, t + k - 1."""
    for update in range(t, t + k):
        x = prox(i, x, lr(update) / preconditioner if preconditioner else 0.0)
    return x


def merge(start, learners, lr, b, prox=None, eps=1e-10):
    """Merge `reference_linear.Outcome`s of training from `start`; b is 0 for the average, 1 for the sum.

    `lr(t)` is the learning rate of update t.
    """
    n = sum(learner.t - start.t for learner in learners)
    w, G = start.w.copy(), start.G.copy()
    for i in range(w.size):
        growth_sum = sum(learner.G[i] - start.G[i] for learner in learners)
        if prox is not None and growth_sum == 0:  # untouched: only the steps of the penalty
            w[i] = prox_steps(prox, i, w[i], root(G[i], eps), lr, start.t, n)
            continue
        average, change_sum, G1 = merged_changes(
            start.w[i], start.G[i], [(learner.w[i], learner.G[i]) for learner in learners], eps
        )
        mean = start.w[i] + average
        total = start.w[i] + change_sum
        if prox is not None:
            fractions = [(learner.G[i] - start.G[i]) / growth_sum for learner in learners]
            made_steps = sum(
                fraction * (learner.t - start.t) for fraction, learner in zip(fractions, learners, strict=True)
            )
            missing = int(n * sum(fraction**2 for fraction in fractions) - made_steps + 0.5)
            mean = prox_steps(prox, i, mean, root(G1, eps), lr, start.t, missing)
            if all(learner.w[i] == 0 for learner in learners):
                mean = total = 0.0
        w[i], G[i] = mean + b * (total - mean), G1
        if prox is not None:
            w[i] = prox(i, w[i], 0.0)
    average, change_sum, Gb = merged_changes(start.b, start.Gb, [(learner.b, learner.Gb) for learner in learners], eps)
    losses = start.losses + [pair for learner in learners for pair in learner.losses[len(start.losses) :]]
    return reference_linear.Outcome(w, start.b + average + b * (change_sum - average), G, Gb, start.t + n, losses)


def merge_outputs(start, learners, lr, b, prox=None):
    """Merge `reference_multi_output.Outcome`s: each output by itself, with the same b."""

    def of_output(outcome, c):
        w, bias, G, Gb, t, losses = outcome
        return reference_linear.Outcome(w[:, c], bias[c], G[:, c], Gb[c], t, losses)

    merged = [
        merge(of_output(start, c), [of_output(learner, c) for learner in learners], lr, b, prox)
        for c in range(start.b.size)
    ]
    w, bias, G, Gb = (np.stack([getattr(one, name) for one in merged], axis=-1) for name in ("w", "b", "G", "Gb"))
    return type(start)(w, bias, G, Gb, merged[0].t, merged[0].losses)


def fit_in_rounds(
    X, y, loss, lr, workers, b, *, serial_updates, growth, max_rows, weight=None, prox=None, passes=1, intercept=True
):
    """Make `serial_updates` updates by one worker, then rounds of 1 / `growth` times as many rows as updates so far."""
    n, d = X.shape
    weight = np.ones(n) if weight is None else weight
    current_state = reference_linear.Outcome(np.zeros(d), 0.0, np.zeros(d), 0.0, 0, [])

    def fit_shard(first, end, start):
        return reference_linear.fit(
            X[first:end], y[first:end], loss, lr, prox=prox, weight=weight[first:end], start=start,
            intercept=intercept,
        )  # fmt: skip

    for _ in range(passes):
        position = 0
        while position < n and current_state.t < serial_updates:
            current_state = fit_shard(position, position + 1, current_state)
            position += 1
        while position < n:
            end = min(position + min(current_state.t // growth + 1, max_rows), n)
            size = end - position
            edges = [position + size * k // workers for k in range(workers + 1)]
            parts = [fit_shard(edges[k], edges[k + 1], current_state) for k in range(workers)]
            if any(weight[position:end]):
                current_state = merge(current_state, parts, lr, b, prox)
            position = end
    return current_state
