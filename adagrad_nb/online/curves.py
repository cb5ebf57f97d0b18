"""Curves of the regret of linear models against the best fixed weights of the rows so far."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _check
from .._csr import as_csr
from ..linear.fit import fit_linear
from ..linear.model_options import check_options
from ..linear.regret_sums import check_ledger
from ..records.dual_averaging import RDA
from ..records.losses import target_type
from ..records.multiclass_losses import is_multi_output_loss
from ..records.rules import Adagrad
from ..records.schedules import has_several_rates
from .comparator import best_fixed
from .tables import data_frame, record_array

if TYPE_CHECKING:
    import numpy.typing as npt

# Options of `fit_linear` for one model.  The others are arguments of `regret`, or would change the rows.
_OPTIONS = ("rule", "lr", "penalty", "average", "batch_size", "normalized", "invariant", "standardize_targets", "dtype")


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
        has a ledger, which a certificate and a penalty need.  Each row has one update, in the given order and with the
        weight 1, so options such as `passes`, `shuffle` and `class_weight` are errors.
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
        _check.check_known_options(f"models[{name!r}]", options, _OPTIONS)
        if has_several_rates(options.get("lr")):
            raise ValueError(f"models[{name!r}]: got {options['lr']!r}; make a model for each learning rate")
    X, y = as_csr(X, np.float64), np.asarray(y)
    n = X.shape[0]
    _check.same_length("y", y, n, "row")
    points = _points(at, n)
    record = check_options(loss, None)["loss"]
    shared = {"loss": loss, "intercept": intercept}
    if is_multi_output_loss(record):
        raise TypeError(
            f"loss: got {record!r}, a loss of several outputs; use a loss of one output, such as 'logistic'"
        )
    if target_type(record) == "binary":
        shared["classes"] = np.unique(y).tolist()
        if len(shared["classes"]) != 2:
            raise ValueError(
                f"y: got the labels {_check.shorten_repr(shared['classes'])}; must have two, or use a loss of "
                "regression, such as 'squared'"
            )
    shape = len(models), len(points)
    losses, best, gaps, certificates = (np.full(shape, np.nan) for _ in range(4))
    found: dict = {}
    for m, (name, options) in enumerate(models.items()):
        obstacle = _ledger_obstacle(options, record)
        has_ledger = not obstacle
        if options.get("penalty") is not None and obstacle:
            reason = obstacle.removeprefix("ledger: ")
            raise ValueError(f"models[{name!r}]: a penalty needs a ledger, which {reason}")
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


def _ledger_obstacle(options, loss):
    """Return why a model with these options has no ledger, or an empty string."""
    rate = options.get("lr", "auto")
    if isinstance(rate, str):
        return "ledger: does not support lr='auto'; use a fixed learning rate, such as lr=0.5"
    flags = (bool(options.get(name)) for name in ("normalized", "invariant", "standardize_targets"))
    rule, batch_size = options.get("rule") or Adagrad(), options.get("batch_size") or 1
    try:
        check_ledger(loss, rule, rate, options.get("penalty"), batch_size, *flags)
    except ValueError as error:
        return str(error)
    return ""


def _points(at, n):
    """Return the numbers of rows."""
    if isinstance(at, str):
        _check.one_of("at", at, ("powers",))
        return [2**k for k in range(n.bit_length()) if 2**k < n] + [n]
    if not hasattr(at, "__iter__"):
        raise TypeError(f"at: got {_check.shorten_repr(at)}; must be 'powers' or increasing numbers of rows")
    points = [_check.count("at", value, 1, n) for value in at]
    if not points or sorted(set(points)) != points:
        raise ValueError(f"at: got {points}; must be increasing numbers of rows")
    return points
