"""DaskAdagradClassifier and DaskAdagradRegressor: estimators with the parameters of the local ones, on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..linear.estimators import AdagradClassifier, AdagradRegressor
from . import fit
from .partitions import current_client, is_collection
from .predictions import predict

if TYPE_CHECKING:
    from ..linear.model import LinearModel


class ClusterEstimator:
    """Training and prediction of an estimator on a cluster.

    `client` is the `distributed.Client`, by default the current one.  It is an attribute and no parameter, so that
    estimators can be cloned and saved.
    """

    client: Any = None
    model_: LinearModel

    def __getstate__(self):
        state = super().__getstate__()  # type: ignore[misc]
        return {name: value for name, value in state.items() if name != "client"}

    def _current_client(self):
        return current_client() if self.client is None else self.client

    def _fit_on_cluster(self, X, y, sample_weight, class_weight):
        from sklearn.utils import check_random_state

        options = self._fit_linear_options()
        for name in ("early_stopping", "average", "normalized"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}: got {getattr(self, name)}; training on a cluster does not support it, use {name}=False"
                )
            options.pop(name, None)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1)) if self.shuffle else None
        losses = _PassLosses(self.callback)
        start = self.model_ if self.warm_start and hasattr(self, "model_") else None
        self.model_ = fit.fit_linear(
            self._current_client(), X, y, sample_weight=sample_weight, passes=self.max_iter, model=start,
            shuffle=bool(self.shuffle), rng=seed, class_weight=class_weight, callback=losses, **options,
        )  # fmt: skip
        self.n_features_in_ = self.model_.n_features
        self.loss_curve_ = []
        self._end_pass(losses.means())
        return self

    def _predict_on_cluster(self, X, method):
        self._fitted_model(method)
        return predict(self._current_client(), self.model_, X, method=method)


class _PassLosses:
    """Callback that sums the losses of each pass, and calls another one."""

    def __init__(self, callback):
        self.callback, self.sums, self.n_seen = callback, {}, 0

    def __call__(self, progress):
        n_rows, self.n_seen = progress.n_seen - self.n_seen, progress.n_seen
        loss, count = self.sums.get(progress.passes, (0.0, 0))
        self.sums[progress.passes] = loss + n_rows * progress.recent_loss, count + n_rows
        if self.callback is not None:
            self.callback(progress)

    def means(self):
        return [loss / count for loss, count in self.sums.values()]


class DaskAdagradClassifier(ClusterEstimator, AdagradClassifier):
    """Classifier, trained on the partitions of a Dask collection.

    The parameters are those of `AdagradClassifier`.  As with `adagrad_nb.dask.fit_linear`, there is one learning rate,
    and no averages, early stopping, normalised updates or group penalties.  With `shuffle`, the rows of each
    partition are shuffled once.  Sample weights should be 1 on average.  For data in memory, `predict` and the other
    methods work as those of `AdagradClassifier`.

    Attributes
    ----------
    client : distributed.Client
        The client, by default the current one.
    model_, classes_, coef_, intercept_, n_iter_, loss_curve_
        As for `AdagradClassifier`.
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> DaskAdagradClassifier:  # type: ignore[override]
        """Train on a Dask collection or on files, in `max_iter` passes.

        Parameters
        ----------
        X, y, sample_weight
            As in `adagrad_nb.dask.fit_linear`.

        Returns
        -------
        self
        """
        self._fit_on_cluster(X, y, sample_weight, self.class_weight)
        self.classes_ = self.model_.classes
        return self

    def decision_function(self, X: Any) -> Any:
        """Return the score of each row, for the second of two labels or for each class.

        The result is a Dask array for a Dask collection or files.
        """
        return self._predict_on_cluster(X, "decision_function") if is_collection(X) else super().decision_function(X)

    def predict(self, X: Any) -> Any:
        """Return the label of each row; a Dask array for a Dask collection or files."""
        return self._predict_on_cluster(X, "predict") if is_collection(X) else super().predict(X)

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each label; a Dask array for a Dask collection or files."""
        return self._predict_on_cluster(X, "predict_proba") if is_collection(X) else super().predict_proba(X)


class DaskAdagradRegressor(ClusterEstimator, AdagradRegressor):
    """Regressor, trained on the partitions of a Dask collection.

    The parameters are those of `AdagradRegressor`.  The restrictions are those of `DaskAdagradClassifier`.  Targets are
    not standardised; their scale should be about 1.

    Attributes
    ----------
    client : distributed.Client
        The client, by default the current one.
    model_, coef_, intercept_, n_iter_, loss_curve_
        As for `AdagradRegressor`.
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> DaskAdagradRegressor:  # type: ignore[override]
        """Train on a Dask collection or on files, in `max_iter` passes.

        Parameters
        ----------
        X, y, sample_weight
            As in `adagrad_nb.dask.fit_linear`.

        Returns
        -------
        self
        """
        return self._fit_on_cluster(X, y, sample_weight, None)

    def _model_options(self):
        return {"loss": self._resolve_loss()}

    def predict(self, X: Any) -> Any:
        """Return the number for each row; a Dask array for a Dask collection or files."""
        return self._predict_on_cluster(X, "predict") if is_collection(X) else super().predict(X)
