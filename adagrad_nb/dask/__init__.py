"""Training and prediction on a Dask cluster: `fit_linear`, `predict`, and estimators for Dask collections.

In rounds, each partition of the rows trains from the same model, and the results are merged as in
``adagrad_nb.fit_linear(threads=…)``.  The result depends on the partitions, and not on the number of workers or their
timing.  Needs ``pip install "adagrad_nb[dask]"``.

Read `partitions` first: it makes partitions of arrays, data frames, bags and files.  Then read `fit` (the rounds),
`worker` (the tasks), `predictions` and `estimators`.
"""

from .fit import RoundProgress, fit_linear
from .predictions import predict

__all__ = ["DaskAdagradClassifier", "DaskAdagradRegressor", "RoundProgress", "fit_linear", "predict"]


def __getattr__(name):
    if name in ("DaskAdagradClassifier", "DaskAdagradRegressor"):  # which need scikit-learn
        from . import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
