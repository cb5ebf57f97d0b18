"""RateModel: a linear model that tries several learning rates at once."""

import numpy as np

from ..records.group_penalties import is_group_penalty
from ..records.multiclass_losses import IndependentOutputs
from ..records.schedules import Rates
from .multi_output_model import MultiOutputModel
from .targets import BinaryLabels


class RateSearchModel(MultiOutputModel):
    """A linear model that tries several learning rates: a lane for each, of which the best is the model.

    A `LinearModel` whose `coef`, `intercept`, predictions and `progressive_loss` are those of the rate with the lowest
    progressive loss so far.

    Attributes
    ----------
    rates : ndarray of shape (n_rates,)
    rate : float
        The best of them.
    progressive_losses : ndarray of shape (n_rates,)
        Of all rates; inf where the weights became infinite.
    """

    def __init__(self, n_features, dtype, loss, rule, lr, penalty, intercept, **options):
        if not isinstance(lr, Rates):
            raise ValueError(f"lr: got {lr!r}, but the model was begun with several rates; leave lr out, or 'auto'")
        if is_group_penalty(penalty):
            raise ValueError(
                f"penalty: got {penalty!r}, whose groups are the classes of a feature; with several rates each lane is "
                "a model of its own, take L1 or a single rate"
            )
        self.labels, self.loss_sums = BinaryLabels(), np.zeros(len(lr.values) + 1)
        super().__init__(n_features, dtype, loss, rule, lr, penalty, intercept, lr.values, **options)

    @property
    def _active_outputs(self):
        return self.best_index

    def _row_loss(self):
        return IndependentOutputs(self.loss)

    def _with_options(self, **options):
        values = getattr(options.get("lr"), "values", self._rate_factors)
        if len(values) != self._rate_factors.size:
            raise ValueError(
                f"lr: got {len(values)} rates, but the model was begun with {self._rate_factors.size}; each rate has "
                "weights of its own"
            )
        return super()._with_options(**options)

    @property
    def rates(self):
        """The learning rates, or what they are multiplied with by the schedule."""
        return self._rate_factors.copy()

    @property
    def progressive_losses(self):
        """Mean loss of each row before it was learnt, over the first pass, of every rate."""
        return (
            self.loss_sums[:-1] / self.loss_sums[-1] if self.loss_sums[-1] else np.full(self._rate_factors.size, np.nan)
        )

    @property
    def best_index(self):
        """Which rate has the lowest progressive loss."""
        return int(np.argmin(self.loss_sums[:-1]))

    @property
    def rate(self):
        """The learning rate with the lowest progressive loss."""
        return float(self._rate_factors[self.best_index])

    @property
    def progressive_loss(self):
        """Mean loss of each row before it was learnt, over the first pass; NaN before the first row."""
        return float(self.progressive_losses[self.best_index])

    def _loss_totals(self, loss_sums):
        """(sum of losses, sum of weights) of the best rate in loss sums."""
        return loss_sums[self.best_index], loss_sums[-1]

    @property
    def coef(self):
        """Weights of shape (n_features,), with the penalty of every update so far."""
        return np.ascontiguousarray(self._reported_table()[:, self.best_index])

    @property
    def intercept(self):
        """The intercept as a float."""
        return float(self._reported_bias()[0, self.best_index])
