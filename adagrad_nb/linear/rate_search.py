"""Parameters of a model that searches for its learning rate: one weight for each feature and remaining rate.

`RateSearch` of `records.schedules` says which rates remain, and `kernels.search_rows` has the updates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..records.group_penalties import is_group_penalty
from ..records.multiclass_losses import is_multi_output_loss
from ..records.rules import is_scaled_gradient
from .kernels.search_rows import SearchRowBuffers, SearchSpec
from .parameters import MultiOutput

if TYPE_CHECKING:
    import numpy.typing as npt


def supports_search(options: dict[str, Any], n_workers: int, is_on_device: bool, has_initial_weights: bool) -> bool:
    """Return whether a new model can search for its learning rate.

    Parameters
    ----------
    options : dict
        Checked options of the model, with the loss for the number of classes.
    n_workers : int
    is_on_device, has_initial_weights : bool
        Whether the rows are on a device; whether training starts from given weights, which the scales would change.
    """
    return not (
        is_multi_output_loss(options["loss"])
        or ("rule" in options and not is_scaled_gradient(options["rule"]))
        or is_group_penalty(options["penalty"])
        or options.get("batch_size", 1) > 1
        or options.get("normalized", False)
        or options.get("invariant", False)
        or n_workers > 1
        or is_on_device
        or has_initial_weights
    )


class Candidate(NamedTuple):
    """Learning rate of a search and its progressive loss.

    Attributes
    ----------
    rate : float
        The learning rate, or its factor on the schedule.
    progressive_loss : float
        Mean loss of the rows of the first pass, each before its update, until the candidate was removed.
    removed_at : int or None
        Update number at which it was removed; None if it remains.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import RateSearch, fit_linear
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> model = fit_linear(X, X @ [1.0, -2.0, 3.0] > 0, lr=RateSearch((0.01, 1.0), halve_at=(200,)))
    >>> [(candidate.rate, candidate.removed_at) for candidate in model.candidates]
    [(0.01, 200), (1.0, None)]
    """

    rate: float
    progressive_loss: float
    removed_at: int | None


class SearchedParameters(MultiOutput):
    """One weight for each feature and remaining learning rate, and the scales of the features.

    Attributes
    ----------
    scales : ndarray of shape (n_features, 2)
        As in `SearchSpec`.
    removed : ndarray of shape (n_removed, 3)
        Learning rate, mean loss and update number of each removed candidate.
    """

    def __init__(
        self,
        n_features: int,
        dtype: npt.DTypeLike,
        loss: Any,
        has_intercept: bool,
        rule: Any,
        lr: Any,
        penalty: Any,
        average: Any = False,
        rates: npt.ArrayLike | None = None,
    ) -> None:
        super().__init__(
            n_features, dtype, loss, has_intercept, rule, lr, penalty, lr.values if rates is None else rates, average
        )
        if not is_scaled_gradient(self.state.rule):
            raise ValueError(
                f"lr: a search over learning rates does not support the rule {type(self.state.rule).__name__}; use "
                "Adagrad(…), or lr=Rates()"
            )
        self.scales = np.zeros((n_features, 2), self.dtype)
        self.removed = np.zeros((0, 3))

    @property
    def n_loss_sums(self) -> int:
        """Number of loss sums: see `SearchedOutput`."""
        return 2 * self.n_outputs + 2

    def spec(self, n_updates: int = 0) -> SearchSpec:
        """Return the records that the learning kernel is compiled for; it makes at most `n_updates` updates."""
        return SearchSpec(*(*super().spec(n_updates), self.scales))

    def _similar(self, loss, average, **options):
        """Return new parameters for the same rates with other options."""
        return SearchedParameters(
            self.n_features, self.dtype, loss, self.has_intercept, **options, average=average, rates=self.rate_factors
        )

    # --- candidates --------------------------------------------------------------------------------------------------

    def updates_until_halving(self) -> int | None:
        """Return the number of updates until candidates are removed, or None."""
        update = self.state.lr.next_halving(self.t)
        return None if update is None else update - self.t

    def halve(self, loss_sums: np.ndarray) -> np.ndarray | None:
        """Remove the worse candidates if it is time to, in place.

        Parameters
        ----------
        loss_sums : ndarray
            As in `SearchedOutput`.

        Returns
        -------
        ndarray or None
            Positions of those that remain; None if all do.
        """
        n, n_kept = self.n_outputs, self.state.lr.n_kept(self.t)
        if n <= n_kept:
            return None
        order = np.argsort(loss_sums[:n], kind="stable")
        kept, removed = np.sort(order[:n_kept]), np.sort(order[n_kept:])
        means = loss_sums[n : 2 * n] / loss_sums[-1]
        rows = [(self.rate_factors[k], means[k], self.t) for k in removed]
        self.removed = np.concatenate([self.removed, rows])
        self._keep_outputs(kept)
        return kept

    def _keep_outputs(self, kept):
        """Remove the outputs that are not in `kept`, in place."""
        self.rate_factors = self.rate_factors[kept]
        tables = []
        for table in (self.table, self.bias_table):
            new = self._new_table(table.shape[0])
            rows = self.scales[:, 1] > 0 if table is self.table else slice(None)  # others have no updates
            new[rows, :, : kept.size] = table[rows][:, :, kept]
            tables.append(new)
        self.table, self.bias_table = tables
        if self.iterate_sums is not None:
            self.iterate_sums.keep_outputs(kept)

    def candidates(self, losses: np.ndarray) -> list[Candidate]:
        """Return all candidates by rate, given the mean losses of those that remain."""
        remaining = [
            Candidate(float(rate), float(loss), None) for rate, loss in zip(self.rate_factors, losses, strict=True)
        ]
        removed = [Candidate(float(rate), float(loss), int(update)) for rate, loss, update in self.removed]
        return sorted(remaining + removed)

    # --- arrays ------------------------------------------------------------------------------------------------------

    def _copy_arrays(self):
        super()._copy_arrays()
        self.scales = self.scales.copy()
        self.removed = self.removed.copy()

    def resize(self, n_features: int) -> None:
        """Grow to `n_features` features in place; new weights are zero."""
        n_new = max(n_features - self.n_features, 0)
        super().resize(n_features)
        self.scales = np.concatenate([self.scales, np.zeros((n_new, 2), self.dtype)])

    def search_workspace(self, index_dtype: npt.DTypeLike, longest_row: int) -> SearchRowBuffers:
        """Return the workspace of the kernel for rows of at most `longest_row` values."""
        row = self.row_workspace(index_dtype)
        q, u = (self._new_table(1)[:, 0] for _ in range(2))
        return SearchRowBuffers(
            row.p, row.z, row.losses, row.lr, q, u, self._new_table(longest_row + 1)[:, 0],
            tuple(np.zeros((5, longest_row), self.dtype)), row.rate_factors, row.step_sizes, row.bias_column,
            row.bias_value,
        )  # fmt: skip

    def _table_arrays(self):
        arrays = {"rates": self.rate_factors, "removed": self.removed, "scales": self.scales}
        return super()._table_arrays() | arrays

    def _from_arrays(self, arrays):
        super()._from_arrays(arrays)
        self.scales = arrays["scales"]

    def fit_to_file(self, rates: np.ndarray, removed: np.ndarray) -> None:
        """Set the remaining and the removed candidates of new parameters to those of a file."""
        values = np.array(self.state.lr.values)
        kept = np.flatnonzero(np.isin(values, rates))
        if rates.shape != kept.shape or not kept.size or not np.array_equal(values[kept], rates):
            raise ValueError(f"rates: got {rates}; must be some of the learning rates {values}, in increasing order")
        gone = np.setdiff1d(values, rates)
        if removed.shape != (gone.size, 3) or not np.array_equal(np.sort(removed[:, 0]), gone):
            raise ValueError("removed: must have a row for each learning rate that does not remain")
        self._keep_outputs(kept)
        self.removed = removed
