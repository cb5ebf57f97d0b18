"""How a linear model is written to a file, and what of it comes back."""

import numpy as np

from .._files import archive


class Storage:
    """The file of a model; a base of `LinearModel`.

    A kind of model says by ``_tables()`` and ``_hold(arrays)`` what its weights, accumulators and notes are in a file,
    and by ``_names()`` and ``_name(names)`` what its labels are.
    """

    KIND = "linear model"  # of a file

    def save(self, path):
        """Write the whole model, its state included, so that learning can go on where it stopped.

        Parameters
        ----------
        path : str or path-like
            Replaced in one move: it holds the old file or all of the new one.
        """
        arrays = {"tally": self.tally} | self._tables()
        if not isinstance(self._last, tuple):
            arrays["last"] = self._last
        if self._mean is not None:
            arrays |= {"total": self._mean.total, "bias_total": self._mean.bias_total}
        if self.normalized:
            arrays |= {"largest": self.scaling.largest, "totals": self.scaling.totals}
        options = {name: getattr(self._state, name) for name in ("rule", "lr", "penalty")} | {"average": self.average}
        names = self._names()
        meta = {
            "kind": type(self).__name__,
            "options": {name: archive.encode(value, arrays) for name, value in options.items()},
            "numbers": {name: getattr(self, name) for name in ("batch_size", "normalized", "invariant")}
            | {"intercept": self.has_intercept},
            "loss": archive.encode(self.loss, arrays),
            "labels": [label.item() if isinstance(label, np.generic) else label for label in names],
            "n_features": self.n_features,
            "dtype": self.dtype.name,
            "since": 0 if self._mean is None else self._mean.since,
            "t": self._state.t,
            "n_seen": self.n_seen,
        }
        archive.write(path, self.KIND, meta, arrays)

    def restore(self, meta, arrays):
        """Take over what a file holds."""
        self._name(meta["labels"])
        self.tally, self.n_seen = arrays["tally"], meta["n_seen"]
        if self.normalized:
            self.scaling.largest, self.scaling.totals = arrays["largest"], arrays["totals"]
        self._hold(arrays)
        if self._mean is not None:
            self._mean.since = meta["since"]
            self._mean.total, self._mean.bias_total = arrays["total"], arrays["bias_total"]
        self._state.t = self._bias_state.t = meta["t"]
