"""Metrics of binary classifiers: ROC curve and area under it, calibration, precision and recall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def roc_curve(y: npt.ArrayLike, score: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the ROC curve: false and true positive rates for each threshold, from high to low.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Whether each row is positive.
    score : ndarray of shape (n,)

    Returns
    -------
    false, true : ndarray of shape (m + 1,)
        Rates from 0 to 1: a zero, then one entry for each of the m distinct scores.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb.metrics import roc_curve
    >>> roc_curve(np.array([True, False]), np.array([0.9, 0.1]))
    (array([0., 0., 1.]), array([0., 1., 1.]))
    """
    y, score = np.asarray(y, bool), np.asarray(score)
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[score[order][1:] != score[order][:-1], True])
    true = np.r_[0, np.cumsum(y[order])[last]]
    false = np.r_[0, np.cumsum(~y[order])[last]]
    return false / max(false[-1], 1), true / max(true[-1], 1)


def auc(y: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """Return the area under the ROC curve.

    This is the probability that the score of a positive row exceeds that of a negative one.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Whether each row is positive.
    score : ndarray of shape (n,)
        Ties count 1/2.

    Returns
    -------
    float
        In [0, 1], or NaN if one class is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb.metrics import auc
    >>> auc(np.array([True, False, True]), np.array([0.9, 0.1, 0.1]))
    0.75
    """
    y = np.asarray(y, bool)
    if y.all() or not y.any():
        return float("nan")
    false, true = roc_curve(y, score)
    return float(np.sum(np.diff(false) * (true[1:] + true[:-1])) / 2)


def calibration(y: npt.ArrayLike, probability: np.ndarray, bins: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the calibration curve: mean prediction and fraction of positive rows in quantile bins.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Whether each row is positive.
    probability : ndarray of shape (n,)
        In [0, 1].
    bins : int, default 10
        Number of bins; the rows are distributed evenly.

    Returns
    -------
    predicted, observed, rows : ndarray of shape (m,), m <= bins
        Mean probability, fraction of positive rows and number of rows of each bin.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb.metrics import calibration
    >>> calibration(np.array([False, True]), np.array([0.25, 0.75]), bins=2)
    (array([0.25, 0.75]), array([0., 1.]), array([1, 1]))
    """
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    predicted = np.array([np.mean(probability[part]) for part in parts])
    observed = np.array([np.mean(np.asarray(y, float)[part]) for part in parts])
    return predicted, observed, np.array([part.size for part in parts])


def calibration_error(y: npt.ArrayLike, probability: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error: the mean difference of predicted and observed frequencies [1]_.

    Parameters
    ----------
    y, probability, bins
        As in `calibration`.

    Returns
    -------
    float
        In [0, 1]: the mean over the quantile bins, by number of rows, of the absolute difference.  NaN without rows.

    References
    ----------
    .. [1] M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
       AAAI 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb.metrics import calibration_error
    >>> calibration_error(np.array([False, True]), np.array([0.25, 0.75]), bins=2)
    0.25
    """
    predicted, observed, rows = calibration(y, probability, bins)
    return float(np.average(np.abs(predicted - observed), weights=rows)) if rows.size else float("nan")


def precision_recall(y: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[float, float]:
    """Return precision and recall of predicted labels.

    Parameters
    ----------
    y : array_like of shape (n,)
        Whether each row is positive.
    predicted : array_like of shape (n,)
        Whether each row is predicted to be positive.

    Returns
    -------
    precision, recall : float
        Fraction of the predicted rows that are positive, and of the positive rows that are predicted; NaN if there
        are no such rows.

    Examples
    --------
    >>> from adagrad_nb.metrics import precision_recall
    >>> precision_recall([True, True, False], [True, False, False])
    (1.0, 0.5)
    """
    y, predicted = np.asarray(y, bool), np.asarray(predicted, bool)
    hits = int(np.count_nonzero(y & predicted))
    counts = (int(np.count_nonzero(rows)) for rows in (predicted, y))
    precision, recall = (hits / count if count else float("nan") for count in counts)
    return precision, recall
