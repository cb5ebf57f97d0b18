"""Curves of the regret of linear models against the best fixed weights of the rows so far."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _check
from .._csr import as_csr
from ..linear.fit import fit_linear
from ..linear.model_options import check_options
from ..records.dual_averaging import RDA
from ..records.losses import target_type
from ..records.rules import Adagrad
from .comparator import best_fixed
from .tables import data_frame, record_array

if TYPE_CHECKING:
    import numpy.typing as npt


class RegretCurves(NamedTuple):
    """Regret of several models after some numbers of rows, as `regret` returns it.

    Attributes
    ----------
    names : list of str
        Models.
    rows : ndarray of shape (n_points,)
        Numbers of rows.
    losses : ndarray of shape (n_models, n_points)
        Sums of the progressive losses and of the penalties of the weights that predicted the rows.
    best : ndarray of shape (n_models, n_points)
        The same of the best fixed weights for the rows so far.
    gaps : ndarray of shape (n_models, n_points)
        No fixed weights have a sum below ``best - gaps``, within the radius of `best_fixed`.
    certificates : ndarray of shape (n_models, n_points)
        Bound of the regret against the best fixed weights (`Ledger.certificate`); NaN if there is none.
    """

    names: Any
    rows: Any
    losses: Any
    best: Any
    gaps: Any
    certificates: Any

    @property
    def regret(self) -> np.ndarray:
        """Regret of each model: `losses` minus `best`."""
        return self.losses - self.best

    def to_pandas(self) -> Any:
        """Return a data frame with one line for each model and number of rows."""
        arrays = {name: np.ravel(getattr(self, name)) for name in ("losses", "best", "gaps", "regret", "certificates")}
        n_models, n_points = self.losses.shape
        keys = {"model": np.repeat(self.names, n_points), "rows": np.tile(self.rows, n_models)}
        return data_frame(record_array(keys | arrays))


def regret(
    X: Any,
    y: npt.ArrayLike,
    models: dict[str, dict[str, Any]],
    at: Any = "powers",
    *,
    loss: Any = "logistic",
    intercept: bool = False,
    tol: float = 1e-6,
) -> RegretCurves:
    """Train models online and measure their regret against the best fixed weights of the rows so far.

    Parameters
    ----------
    X : sparse matrix or array of shape (n_rows, n_features)
        Rows, in the order of the training.
    y : array_like of shape (n_rows,)
        Two labels, or numbers for a loss of regression.
    models : dict of dict
        Options of `fit_linear` for each name.  With a fixed learning rate and the rule `Adagrad` or `RDA`, the model
        has a ledger, which a certificate and a penalty need.
    at : "powers" or increasing list of int, default "powers"
        Numbers of rows: 1, 2, 4, … and all.
    loss : str or loss record, default "logistic"
        Convex loss of one output, for all models.
    intercept : bool, default False
        Whether the models and the best fixed weights have an intercept.
    tol : float, default 1e-6
        Tolerance of `best_fixed`.

    Returns
    -------
    RegretCurves
        `adagrad_nb.plots.plot_regret` plots it.

    Notes
    -----
    For few rows of separable classes there are no best fixed weights; their loss is then near zero, and `gaps` says how
    near.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import regret
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> curves = regret(X, X[:, 0] > 0.1 * X[:, 1] ** 2, {"Adagrad": {"lr": 0.5}}, at=[100, 200])
    >>> bool(np.all(curves.regret <= curves.certificates))
    True
    """
    if not isinstance(models, dict) or not models or not all(isinstance(each, dict) for each in models.values()):
        raise TypeError("models: must be a dict of dicts of options, such as {'Adagrad': {'lr': 0.5}}")
    for name, options in models.items():
        for reserved in ("loss", "intercept", "passes", "model", "ledger", "classes", "sample_weight"):
            if reserved in options:
                raise ValueError(f"models[{name!r}]: {reserved} must not be given; it is the same for all models")
    X, y = as_csr(X, np.float64), np.asarray(y)
    n = X.shape[0]
    _check.same_length("y", y, n, "row")
    points = _points(at, n)
    is_binary = target_type(check_options(loss, None)["loss"]) == "binary"
    shared = {"loss": loss, "intercept": intercept} | ({"classes": np.unique(y).tolist()} if is_binary else {})
    shape = len(models), len(points)
    losses, best, gaps, certificates = (np.full(shape, np.nan) for _ in range(4))
    found: dict = {}
    for m, (name, options) in enumerate(models.items()):
        has_ledger = _has_ledger(options)
        if options.get("penalty") is not None and not has_ledger:
            raise ValueError(f"models[{name!r}]: a penalty needs a fixed lr and the rule Adagrad or RDA")
        model, start = None, 0
        for k, end in enumerate(points):
            first = options | shared | {"ledger": has_ledger} if model is None else {}
            model = fit_linear(X[start:end], y[start:end], model=model, **first)
            start, ledger, key = end, model.ledger, (repr(options.get("penalty")), end)
            if key not in found:
                with warnings.catch_warnings():  # the gap is reported
                    warnings.simplefilter("ignore", RuntimeWarning)
                    found[key] = best_fixed(X[:end], y[:end], penalty=options.get("penalty"), tol=tol, **shared)
            at_best = found[key]
            losses[m, k] = model.progressive_loss * end + (0.0 if ledger is None else ledger.penalty_loss)
            best[m, k], gaps[m, k] = at_best.total, at_best.gap * end
            if ledger is not None and not (isinstance(ledger.rule, RDA) and ledger.first_preconditioner == 0):
                certificates[m, k] = ledger.certificate(at_best)
    return RegretCurves(list(models), np.array(points), losses, best, gaps, certificates)


def _has_ledger(options):
    """Return whether a model with these options can have a ledger."""
    rate = options.get("lr", "auto")
    return not isinstance(rate, (str, tuple)) and isinstance(options.get("rule") or Adagrad(), (Adagrad, RDA))


def _points(at, n):
    """Return the numbers of rows."""
    if isinstance(at, str):
        _check.one_of("at", at, ("powers",))
        return [2**k for k in range(n.bit_length()) if 2**k < n] + [n]
    points = [_check.count("at", value, 1, n) for value in at]
    if not points or sorted(set(points)) != points:
        raise ValueError(f"at: got {points}; must be increasing numbers of rows")
    return points
