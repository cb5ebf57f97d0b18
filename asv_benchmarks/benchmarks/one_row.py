"""One row at a time: `predict_proba` and `partial_fit`, in models with few and with many features."""

import numpy as np
import scipy.sparse as sp

from adagrad_nb import L1, AdagradClassifier, RateSearch, fit_linear

from .common import median_seconds

OPTIONS = {
    "plain": {"lr": 0.5},
    "L1": {"lr": 0.5, "penalty": L1(1e-5)},
    "search": {},
    "after a search": {"lr": RateSearch(halve_at=(50, 100, 150))},
}
N_ROWS, N_VALUES, N_CALLS = 200, 20, 200


def random_rows(n_features, n_rows=N_ROWS):
    """Return rows of `N_VALUES` ones at random features, and labels."""
    rng = np.random.default_rng(0)
    indptr = np.arange(n_rows + 1, dtype=np.int32) * N_VALUES
    X = sp.csr_array(
        (np.ones(indptr[-1]), rng.integers(0, n_features, indptr[-1], np.int32), indptr), shape=(n_rows, n_features)
    )
    X.sum_duplicates()
    return X, rng.integers(0, 2, n_rows)


class OneRow:
    """µs of one call on a warm process.  A growth with the number of features shows work for all weights."""

    params = [[2**12, 2**18, 2**22], list(OPTIONS)]
    param_names = ["features", "options"]
    timeout = 300

    def setup(self, n_features, options):
        X, y = random_rows(n_features)
        self.model = fit_linear(X, y, **OPTIONS[options])
        self.estimator = AdagradClassifier(**OPTIONS[options]).partial_fit(X, y, classes=[0, 1])
        self.row, self.label = X[:1], y[:1]
        self.model.predict_proba(self.row)
        self.estimator.partial_fit(self.row, self.label).partial_fit(self.row, self.label)

    def _us_per_call(self, call):
        def calls():
            for _ in range(N_CALLS):
                call()

        return 1e6 * median_seconds(calls) / N_CALLS

    def track_us_predict_proba(self, n_features, options):
        return self._us_per_call(lambda: self.model.predict_proba(self.row))

    def track_us_partial_fit(self, n_features, options):
        return self._us_per_call(lambda: self.estimator.partial_fit(self.row, self.label))

    track_us_predict_proba.unit = track_us_partial_fit.unit = "us"
