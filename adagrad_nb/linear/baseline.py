"""Best constant prediction for the rows of the first pass, with which `Trainer` compares the model, and their order.

A model that predicts worse than a constant has learnt nothing: its learning rate or its step does not suit the data.
Rows sorted by label give a small progressive loss and a large test loss.  The labels of KDD-99 change 534 times in
494,021 rows, where a random order has 291,985 changes; there the test loss is 0.085, and 0.011 for shuffled rows.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ..records.losses import value as loss_value
from ..records.multiclass_losses import OneVsRest, Softmax, is_multi_output_loss
from .targets import MulticlassLabels, Numbers

if TYPE_CHECKING:
    from .model import LinearModel

MIN_ROWS = 1000  # with fewer rows even a good learner may lose against a constant that is chosen afterwards
FIRST_SNAPSHOT = 512  # rows; the losses of the model are kept there and at each doubling
SORTED_RATIO = 0.02  # of the changes of the label from row to row, to those of a random order
MARGIN = 0.05  # relative difference of the losses, beside three standard errors
MAX_SAMPLE = 256  # numbers to estimate the best constant from; 35 losses of each are computed


class ConstantBaseline:
    """Best constant prediction in hindsight, from the targets and the sample weights of chunks.

    Labels are counted.  Of numbers, every k-th one is kept; k doubles when there are too many.
    """

    def __init__(self) -> None:
        self.n_rows = 0
        self.weight = self.square_weight = 0.0
        self.targets: dict[Any, float] = {}  # weight of each label
        self.counts: dict[Any, int] = {}  # rows of each label
        self.n_changes = 0  # of the label from row to row
        self.last_label: Any = None
        self.sample = np.zeros((0, 2))  # numbers and their weights
        self.stride = 1
        self.snapshots: list[np.ndarray] = []  # loss sums of the model
        self.next_snapshot = FIRST_SNAPSHOT

    def add_rows(self, y: np.ndarray, weight: np.ndarray, target: Any) -> None:
        """Add the encoded targets of rows with positive weights."""
        if isinstance(target, Numbers):
            self._add_numbers(y, weight)
        else:
            is_multiclass = isinstance(target, MulticlassLabels)
            labels = target.classes if is_multiclass else (-1.0, 1.0)
            codes = y.astype(np.intp) if is_multiclass else (y > 0).astype(np.intp)
            totals, counts = np.bincount(codes, weights=weight), np.bincount(codes)
            for label, total, count in zip(labels, totals.tolist(), counts.tolist(), strict=False):
                if count > 0:
                    self.targets[label] = self.targets.get(label, 0.0) + total
                    self.counts[label] = self.counts.get(label, 0) + count
            if y.size:
                self.n_changes += np.count_nonzero(codes[1:] != codes[:-1]) + (labels[codes[0]] != self.last_label)
                self.last_label = labels[codes[-1]]
        self.n_rows += y.size
        self.weight += float(weight.sum(dtype=np.float64))
        with np.errstate(over="ignore"):
            self.square_weight += float(np.square(weight, dtype=np.float64).sum())

    def _add_numbers(self, y, weight):
        first = -self.n_rows % self.stride
        new = np.column_stack([y[first :: self.stride], weight[first :: self.stride]]).astype(np.float64)
        self.sample = np.concatenate([self.sample, new])
        while len(self.sample) > MAX_SAMPLE:
            self.sample, self.stride = self.sample[::2], self.stride * 2

    def _late_loss(self, model):
        """Return the mean loss of the rows of the first pass after the last snapshot in their first half."""
        totals, now = model.selection.loss_totals, model.loss_sums
        early = [sums for sums in self.snapshots if 2 * totals(sums)[1] <= totals(now)[1]]
        if not early:
            return math.inf
        if model.is_searching:  # candidates may have been removed since
            loss, weight = np.subtract(totals(now), totals(early[-1]))
        else:
            loss, weight = totals(now - early[-1])
        return loss / weight if weight else math.inf

    def best_loss(self, loss: Any) -> tuple[float, float] | None:
        """Return the mean loss of the best constant and its standard error, or None if it is unknown or zero."""
        targets, weights = self.sample.T if self.sample.size else np.array([*self.targets.items()], object).T
        weights = weights.astype(np.float64)
        if np.unique(targets).size < 2:
            return None
        if not math.isfinite(self.square_weight):
            return None
        share, n = weights / weights.sum(), self.weight * self.weight / self.square_weight
        if isinstance(loss, Softmax):
            losses = -np.log(share)
        elif isinstance(loss, OneVsRest):
            columns = [_losses_of_best_constant(loss.loss, np.where(targets == k, 1.0, -1.0), share) for k in targets]
            losses = np.sum(columns, axis=0)
        elif is_multi_output_loss(loss):
            return None
        else:
            losses = _losses_of_best_constant(loss, targets.astype(np.float64), share)
        mean = float(share @ losses)
        variance = float(share @ np.square(losses - mean))
        if self.sample.size:
            n = min(n, len(self.sample))
        return (mean, math.sqrt(variance / n)) if mean != 0 else None  # a perceptron's is 0

    def rows_until_snapshot(self, n_seen: int) -> int:
        """Return the number of rows until the next snapshot of the losses."""
        return self.next_snapshot - n_seen

    def add_snapshot(self, model: LinearModel) -> None:
        """Keep the losses of the model if it is time to."""
        if model.n_seen >= self.next_snapshot:
            self.next_snapshot = 1 << int(model.n_seen).bit_length()
            self.snapshots.append(model.loss_sums.copy())

    def warn_if_sorted(self) -> None:
        """Warn if the rows of the first pass are sorted by label."""
        expected = self.n_rows - sum(count * count / self.n_rows for count in self.counts.values())
        if self.n_rows >= MIN_ROWS and self.counts and self.n_changes - 1 < SORTED_RATIO * expected:
            warnings.warn(
                f"fit_linear: the rows are sorted by label, which changes {self.n_changes - 1:,} times and in a random "
                f"order {expected:,.0f} times, so the model may predict early labels badly; shuffle the rows, or use "
                "shuffle=True with chunks that hold many rows",
                UserWarning,
                stacklevel=6,
            )

    def warn_if_better(self, model: LinearModel) -> None:
        """Warn if the best constant predicts the rows of the first pass better than the model did.

        The model must be worse for all rows, and for the last half of them or more: the first ones may be predicted
        from nothing, far from the targets.
        """
        if self.n_rows < MIN_ROWS:
            return
        loss = model.progressive_loss
        best = self.best_loss(model.loss)
        if best is None or not min(loss, self._late_loss(model)) > best[0] + MARGIN * abs(best[0]) + 3 * best[1]:
            return
        warnings.warn(
            f"fit_linear: the progressive loss {loss:.4g} is larger than {best[0]:.4g}, the loss of the best constant "
            f"prediction; {_remedy(model)}",
            UserWarning,
            stacklevel=6,
        )


def _remedy(model):
    """Return what the caller can do about a model that is worse than a constant."""
    if not model.is_searching:
        return (
            f"lr={model.state.lr!r} or the scale of the columns does not suit these steps, use lr='auto', which "
            "chooses the rate and does not depend on the scale"
        )
    if isinstance(model.target, Numbers) and not model.standardize_targets:
        return "the unit of y does not suit the rates of the search, use standardize_targets=True"
    return "check that the columns of X predict y, that both are in the same order, and that the rows are shuffled"


def _losses_of_best_constant(loss, targets, share):
    """Return the losses of the targets for the constant that minimises their mean, a convex function."""

    def losses(p):
        try:
            return np.array([loss_value(loss, y, p) for y in targets.tolist()], np.float64)
        except OverflowError:
            return np.full(targets.size, math.inf)

    def mean(p):
        return float(share @ losses(p))

    low, high, step = -1.0, 1.0, 1.0  # around 0: double the interval towards the smaller side
    while mean(high) < mean(high - step) and high < 1e15:
        step, high = 2 * step, high + 2 * step
    step = 1.0
    while mean(low) < mean(low + step) and low > -1e15:
        step, low = 2 * step, low - 2 * step
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = mean(a), mean(b)
    for _ in range(60):
        if high - low <= 1e-3 * (1 + abs(low)) and abs(at_a - at_b) <= 1e-4 * at_a:
            break
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = mean(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = mean(b)
    return losses(min((0.0, mean(0.0)), (a, at_a), (b, at_b), key=lambda pair: pair[1])[0])
