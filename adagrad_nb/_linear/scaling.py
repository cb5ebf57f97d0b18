"""What normalised and invariant steps add to a linear model: largest values, sums over the updates, and refusals."""

import numpy as np

from .._kernels import scaled


class Scaling:
    """The options `normalized` and `invariant` of a model, and what normalised steps have noted."""

    def __init__(self, n_features, dtype, normalized, invariant):
        self.normalized, self.invariant = normalized, invariant
        self.largest = np.broadcast_to(np.dtype(dtype).type(0), n_features) if normalized else ()
        self.totals = np.zeros(3) if normalized else ()

    def __bool__(self):
        return self.normalized or self.invariant

    def copy(self):
        """The same with arrays of its own."""
        new = Scaling(0, np.float64, self.normalized, self.invariant)
        if self.normalized:
            new.largest, new.totals = self.largest.copy(), self.totals.copy()
        return new

    @property
    def name(self):
        """The option that asks for these steps."""
        return "normalized" if self.normalized else "invariant"

    def check(self, rule, penalty):
        """Refuse rules whose step has no length of its own, and penalties that are not exact under normalised steps."""
        if self and not getattr(rule, "straight", False):
            raise ValueError(
                f"{self.name}: does not go with the rule {type(rule).__name__}; use Adagrad(…), or {self.name}=False"
            )
        if self.normalized and not getattr(penalty, "additive", False):
            raise ValueError(
                f"normalized: does not go with the penalty {type(penalty).__name__}, which has no closed form where "
                "the width changes from row to row; use L1, Box, NonNegative or Bounded(L1(…)), or normalized=False"
            )

    @property
    def clock(self):
        """The sum of lr m over all updates."""
        return self.totals[2]

    def recipe(self, recipe):
        """The recipe of the loop with these steps."""
        scaling = scaled.Normalized(self.largest, self.totals) if self.normalized else scaled.Unscaled()
        return scaled.ScaledRecipe(*recipe, scaling, int(self.invariant))
