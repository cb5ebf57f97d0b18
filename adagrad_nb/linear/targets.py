"""The labels of a problem of many classes, and which loss such a problem has."""

import numbers
from typing import Any, NamedTuple

import numpy as np

from .. import _check
from ..records.losses import Logistic
from ..records.multiclass_losses import OneVsRest, Softmax, target_type


class Classes(NamedTuple):
    """Labels in increasing order; y is given to the loss as positions among them.

    Where they were announced they are `closed`, and no other is taken.
    """

    names: tuple = ()
    closed: bool = False

    @classmethod
    def of(cls, classes):
        """From labels that were announced."""
        try:
            found = np.unique(np.asarray(classes))
        except TypeError:
            raise TypeError(
                f"classes: got {classes!r}; labels must be of one kind, all numbers or all strings"
            ) from None
        if found.ndim != 1 or found.size != np.size(classes) or found.size == 0:
            raise ValueError(f"classes: got {classes!r}; must be a list of different labels")
        return cls(tuple(found.tolist()), True)

    def announced(self, classes):
        """With all labels told beforehand, which must include those that have been learnt."""
        given = Classes.of(classes)
        if self.closed and given != self:
            raise ValueError(
                f"classes: got {list(given.names)[:20]}, but the model was begun with {list(self.names)[:20]}"
            )
        missing = [label for label in self.names if label not in given.names]
        if missing:
            raise ValueError(f"classes: got {list(given.names)}, but the model has learnt {missing[0]!r}; add it")
        return given

    def seen(self, y):
        """With the labels of another chunk taken in."""
        new = set(np.unique(y).tolist()) - set(self.names)
        if not new:
            return self
        if self.closed:
            raise ValueError(
                f"y: got the label {min(new, key=str)!r}, which is not among the classes that were announced, "
                f"{list(self.names)[:20]}"
            )
        try:
            return Classes(tuple(sorted({*self.names, *new})))
        except TypeError:
            raise TypeError(
                f"y: got the label {new.pop()!r}, but the model was begun with {list(self.names)[:5]}; "
                "labels must be of one kind, all numbers or all strings"
            ) from None

    def positions(self, y):
        """The position of each label of y, all of which must be known."""
        found, inverse = np.unique(y, return_inverse=True)
        place = {name: k for k, name in enumerate(self.names)}
        unknown = [label for label in found.tolist() if label not in place]
        if unknown:
            raise ValueError(f"y: got the label {unknown[0]!r}; the model knows {list(self.names)[:20]}")
        return np.array([place[label] for label in found.tolist()], np.int64)[inverse.reshape(-1)]

    def every(self):
        """All labels there will be, or None where more may come."""
        return self.names if self.closed else None

    def complete(self):
        """The labels as an array."""
        return np.asarray(self.names)


def of_classes(loss):
    """The loss of many classes that a loss means: softmax for the logistic one, one against the rest for others."""
    if isinstance(loss, Logistic):
        return Softmax()
    return OneVsRest(loss) if target_type(loss) == "binary" else loss


def are_many(loss, y, classes):
    """Whether a model is to have a lane for each class: the loss says so, or there are more than two labels."""
    if target_type(loss) != "binary":
        return target_type(loss) == "multiclass"
    labels = np.asarray(y if classes is None else classes)
    if labels.ndim != 1 or not labels.size:
        return False
    if labels.dtype.kind in "fiub":
        low, high = labels.min(), labels.max()
        if np.all((labels == low) | (labels == high)):
            return False
        if labels.dtype.kind == "f" and not np.all(labels == np.floor(labels)):
            return False  # these are no classes, and the binary loss says so
    if labels.dtype.kind == "O":
        return len(set(labels.tolist())) > 2
    return np.unique(labels).size > 2


# --- labels and sample weights ---------------------------------------------------------------------------------------


def sample_weight(weight, n, dtype):
    """Weights of shape (n,), ones where there are none."""
    if weight is None:
        return np.ones(n, dtype)
    weight = np.asarray(weight)
    if weight.dtype.kind not in "fiub":
        raise TypeError(f"sample_weight: got dtype {weight.dtype}; must be real numbers")
    _check.same_length("sample_weight", weight, n, "row of X")
    _check.interval("sample_weight", weight, "[0, inf)")
    return narrowed("sample_weight", weight, dtype)


def narrowed(name, values, dtype):
    """Finite numbers in the precision `dtype`, where they must be finite too."""
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(values, dtype)
    wrong = ~np.isfinite(narrow)
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ValueError(f"{name}: got {values[k]} at index {k}; must be within {dtype}, or learn with dtype=float64")
    return narrow


class Labels(NamedTuple):
    """The two labels of a binary problem, the second one positive; either may still be unknown (None)."""

    negative: Any = None
    positive: Any = None

    @classmethod
    def of(cls, classes):
        """From two labels that were announced."""
        found = np.unique(np.asarray(classes))
        if found.size != 2:
            raise ValueError(f"classes: got {classes!r}; must be two different labels")
        return cls(*found.tolist())

    def announced(self, classes):
        """With both labels told beforehand, which what has been learnt must not contradict."""
        given = Labels.of(classes)
        if any(mine not in (None, theirs) for mine, theirs in zip(self, given, strict=True)):
            mine = [label for label in self if label is not None]
            raise ValueError(f"classes: got {list(given)}, but the model was begun with {mine}")
        return given

    def seen(self, y):
        """With the labels of another chunk taken in."""
        new = [label for label in _distinct(y) if label not in (self.negative, self.positive)]
        if not new:
            return self
        if len(new) + sum(label is not None for label in self) > 2:
            every = sorted({*new, *(label for label in self if label is not None)}, key=str)
            raise ValueError(
                f"y: got {len(every)} labels, {every[:5]}; a binary loss takes two. Begin a model "
                "of many classes with classes=[…], or take a loss of numbers such as 'squared'"
            )
        if len(new) == 2:
            return Labels(*new)
        if self.negative is None and self.positive is None:
            return self._first(new[0])
        other = self.negative if self.positive is None else self.positive
        if self._first(other) == self and self._guessed(new[0], other):
            return self._replace(negative=new[0]) if self.negative is None else self._replace(positive=new[0])
        raise ValueError(
            f"y: label {new[0]!r} came after rows with {other!r} only were learnt; pass classes=[…] with both labels"
        )

    def _first(self, label):
        """A single label says which side it is only if it is one of the usual numbers."""
        if label == 1:
            return Labels(positive=label)
        if label in (0, -1):
            return Labels(negative=label)
        raise ValueError(f"y: has the single label {label!r}; pass classes=[…] with both labels")

    def _guessed(self, label, other):
        return label < other if other == 1 else label > other

    def signs(self, y, dtype):
        """-1 and 1 in the precision `dtype`."""
        one = np.dtype(dtype).type(1)
        return np.where(np.asarray(y) == self.positive, one, -one)

    def every(self):
        """Both labels, or None where one has not come yet."""
        return None if None in self else tuple(self)

    def complete(self):
        """Both labels as an array; a side never seen gets its usual number."""
        negative, positive = self
        if isinstance(negative, bool) or isinstance(positive, bool):
            return np.array([False, True])
        return np.asarray([-1 if negative is None else negative, 1 if positive is None else positive])


def _distinct(y):
    """The labels of y in increasing order; sorting all of y would take a tenth of the time of learning from it."""
    if y.size and y.dtype.kind in "fiub":
        low, high = y.min(), y.max()
        if np.all((y == low) | (y == high)):
            return [low.item()] if low == high else [low.item(), high.item()]
    return np.unique(y).tolist()


def _given(y, n):
    """y as an array of n finite numbers or labels."""
    if y is None:
        raise ValueError("y: got None; give one target per row of X, or chunks with their own")
    y = np.asarray(y)
    _check.same_length("y", y, n, "row of X")
    if y.dtype.kind in "fc":
        _check.finite("y", y)
    return y


def labels_of(y, n):
    """The labels of a chunk of n rows."""
    y = _given(y, n)
    _check_labels(y)
    return y


def targets(y, n, loss, labels, dtype):
    """(y as the loss takes it, labels) of a chunk of n rows."""
    y = _given(y, n)
    if target_type(loss) == "binary":
        _check_labels(y)
        labels = labels.seen(y)
        return labels.signs(y, dtype), labels
    if y.dtype.kind not in "fiub":
        raise TypeError(f"y: got dtype {y.dtype}; the loss takes real numbers")
    if target_type(loss) == "count":
        _check.interval("y", y, "[0, inf)")
    return narrowed("y", y, dtype), labels


def _check_labels(y):
    """Labels are numbers, booleans or strings: what compares, and comes back from a file as it was."""
    if y.dtype.kind == "O":
        names = {isinstance(label, str) for label in y}
        for k, label in enumerate(y):
            if not isinstance(label, (str, numbers.Real, np.bool_)) or label != label:
                raise ValueError(f"y: got {label!r} at index {k}; must be a number, a boolean or a string")
        if len(names) > 1:
            raise TypeError("y: got numbers and strings; labels must be of one kind")
    elif y.dtype.kind not in "fiubUT":
        raise TypeError(f"y: got dtype {y.dtype}; labels must be numbers, booleans or strings")


# --- class weights ---------------------------------------------------------------------------------------------------


def check_class_weight(class_weight, in_memory):
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
    """The weights of rows times those of their labels; `target_type` are what is known of them so far."""
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
