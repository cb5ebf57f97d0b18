"""Class weights: what multiplies the loss of a row for the label that it has."""

import numpy as np

from .. import _check


def checked(class_weight, in_memory):
    """A dict of weights by label, "balanced", or None."""
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight: got {class_weight!r}; must be 'balanced', a dict, or None")
        if not in_memory:
            raise ValueError(
                "class_weight: 'balanced' needs all labels at once; for chunks give a dict of weights by label"
            )
        return class_weight
    if not isinstance(class_weight, dict):
        raise TypeError(f"class_weight: got {class_weight!r}; must be 'balanced', a dict, or None")
    for label, weight in class_weight.items():
        _check.interval(f"class_weight[{label!r}]", weight, "[0, inf)")
        if np.ndim(weight):
            raise TypeError(f"class_weight[{label!r}]: got {weight!r}; must be a number")
    return class_weight


def weighted(class_weight, y, weight, labels):
    """The weights of rows times those of their labels; `labels` are what is known of them so far."""
    found, where = np.unique(np.asarray(y), return_inverse=True)
    if class_weight == "balanced":
        totals = np.bincount(where, weight)
        share = totals.sum() / (np.count_nonzero(totals) or 1)
        factors = np.divide(share, totals, out=np.zeros(found.size), where=totals > 0)
    else:
        every = labels.every()
        strange = [label for label in class_weight if every is not None and label not in every]
        if strange:
            raise ValueError(f"class_weight: got the label {strange[0]!r}; the labels are {list(every)}")
        factors = np.array([class_weight.get(label, 1.0) for label in found.tolist()], np.float64)
    return weight * factors.astype(weight.dtype)[where.reshape(-1)]
