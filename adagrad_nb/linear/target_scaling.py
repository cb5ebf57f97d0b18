"""Standardised targets: the location and the scale of the targets of regression, estimated during training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..records.losses import target_type
from ..records.regression_losses import (
    Absolute,
    EpsilonInsensitive,
    Huber,
    Quantile,
    Squared,
    SquaredEpsilonInsensitive,
)

RESIDUAL_LOSSES = (Absolute, EpsilonInsensitive, Huber, Quantile, Squared, SquaredEpsilonInsensitive)
QUADRATIC_LOSSES = (Squared, SquaredEpsilonInsensitive)


def can_standardize(loss: Any) -> bool:
    """Return whether a loss is a function of the residual p - y, as a custom loss says by ``is_residual = True``."""
    return isinstance(loss, RESIDUAL_LOSSES) or (
        target_type(loss) == "continuous" and bool(getattr(loss, "is_residual", False))
    )


class TargetScaling:
    """Offset of the targets, and their scale, by which the learning rate is multiplied.

    Training on (y - offset) / scale with the learning rate lr takes the same steps, in the units of y, as training on
    y - offset with the learning rate lr scale.  The second form is used.  So weights, accumulators, losses and
    penalties are always in the units of y, and nothing is converted when the estimate of the scale changes.

    The offset is the first target, so the intercept starts there.  The scale is the root mean square deviation of a
    target from the mean of those before it, or the mean absolute deviation if the loss grows linearly.  A model without
    an intercept has the offset 0, and deviations from 0.

    The scale is estimated before rows 2, 4, 8, … of all passes together.  Before row 2 it is 0, and no weight changes.
    The sums are added one row after another, so they do not depend on chunks.

    Attributes
    ----------
    values : ndarray of shape (8,)
        The state: offset, sum of weighted targets minus the offset, power of the deviations, number of rows of non-zero
        weight, their total weight, sum of weighted deviations, number of rows at which to estimate the scale next, and
        the scale.
    """

    def __init__(self, loss: Any, has_intercept: bool) -> None:
        self.is_centered, self.has_offset = has_intercept, not has_intercept
        self.values = np.array([0, 0, 2 if isinstance(loss, QUADRATIC_LOSSES) else 1, 0, 0, 0, 2, 0], np.float64)

    def copy(self) -> TargetScaling:
        """Return a copy with its own array."""
        new = object.__new__(TargetScaling)
        new.is_centered, new.has_offset, new.values = self.is_centered, self.has_offset, self.values.copy()
        return new

    @property
    def offset(self) -> float:
        """First target, or 0."""
        return float(self.values[0])

    @property
    def scale(self) -> float:
        """Scale of the targets by the last estimate."""
        return float(self.values[7])

    @property
    def loss_unit(self) -> float:
        """The scale squared, or the scale itself for losses that grow linearly."""
        return self.scale ** float(self.values[2])

    @property
    def is_due(self) -> bool:
        """Whether the scale is to be estimated before the next row."""
        return bool(self.values[3] >= self.values[6])

    def set_offset(self, target: float) -> None:
        """Set the offset, once."""
        self.values[0], self.has_offset = target, True

    def restore(self, values: np.ndarray) -> None:
        """Set the state to that of a file."""
        self.values = values
        self.has_offset = self.has_offset or bool(values[3])

    def rows_until_due(self) -> int:
        """Return the number of rows up to the next estimate."""
        return int(self.values[6] - self.values[3])

    def add_rows(self, y: np.ndarray, weight: np.ndarray) -> None:
        """Add rows of non-zero weight to the sums; `y` is the targets minus the offset."""
        if not y.size:
            return
        _, total, power, n_rows, total_weight, deviation, _, _ = self.values.tolist()
        if y.size == 1 and total_weight > 0 and power in (1.0, 2.0):  # the same sums, in a twentieth of the time
            target, h = float(y[0]), float(weight[0])
            distance = abs(target - total / total_weight) if self.is_centered else abs(target)
            deviation += h * (distance if power == 1.0 else distance * distance)
            self.values[1], self.values[3:6] = total + h * target, (n_rows + 1, total_weight + h, deviation)
            return
        with np.errstate(over="ignore", invalid="ignore"):  # the kernels reject targets whose squares overflow
            weights = np.cumsum(np.concatenate([[total_weight], weight]))
            totals = np.cumsum(np.concatenate([[total], weight * y]))
            means = np.divide(totals[:-1], weights[:-1], out=y[:1].repeat(y.size), where=weights[:-1] > 0)
            means = means if self.is_centered else 0.0
            deviations = np.cumsum(np.concatenate([[deviation], weight * np.abs(y - means) ** power]))
        self.values[1], self.values[3:6] = totals[-1], (n_rows + y.size, weights[-1], deviations[-1])

    def update_scale(self) -> None:
        """Estimate the scale from all rows so far."""
        _, _, power, n_rows, total_weight, deviation, _, scale = self.values
        estimate = (deviation / total_weight) ** (1 / power)
        self.values[6:] = 2 * n_rows, estimate if math.isfinite(estimate) else scale
