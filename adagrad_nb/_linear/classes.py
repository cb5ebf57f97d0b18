"""The labels of a problem of many classes, and which loss such a problem has."""

from typing import NamedTuple

import numpy as np

from ..losses import Logistic
from ..multiclass import OneVsRest, Softmax


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
    return OneVsRest(loss) if loss.labels == "binary" else loss


def are_many(loss, y, classes):
    """Whether a model is to have a lane for each class: the loss says so, or there are more than two labels."""
    if loss.labels != "binary":
        return loss.labels == "classes"
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
