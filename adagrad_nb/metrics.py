"""How well two classes are told apart: the curve and the area that the command line and the plots show."""

import numpy as np


def roc_curve(y, score):
    """Return the rates of false and true positives as the threshold falls through every score.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Whether each row is positive.
    score : ndarray of shape (n,)

    Returns
    -------
    false, true : ndarray of shape (m,)
        From 0 to 1, one entry for each distinct score.

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


def auc(y, score):
    """Return the area under the ROC curve: the chance that a positive row scores above a negative one.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Whether each row is positive.
    score : ndarray of shape (n,)
        Ties count half.

    Returns
    -------
    float
        In [0, 1]; NaN if one class is missing.

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


def calibration(y, probability, bins=10):
    """Return mean prediction, share of positives and rows in bins of equally many rows.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Whether each row is positive.
    probability : ndarray of shape (n,)
        In [0, 1].
    bins : int, default 10

    Returns
    -------
    predicted, observed, rows : ndarray of shape (m,), m <= bins

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
