"""Targets of a linear model: labels or numbers, sample weights and class weights.

`Numbers`, `BinaryLabels` and `MulticlassLabels` encode y for the loss, each chunk by a new object with the labels seen
so far.
"""

import numbers
from typing import Any, NamedTuple

import numpy as np

from .. import _check
from ..compiler.jit import cast, compiled_entry, compiled_for
from ..records.losses import Logistic, inverse_link
from ..records.multiclass_losses import OneVsRest, Softmax, target_type
from .kernels import rows


class LateLabelError(ValueError):
    """A chunk has a label that the model of the first chunks has no place for."""


class MulticlassLabels(NamedTuple):
    """Labels in increasing order; y is encoded as positions among them.

    If `is_fixed`, the caller declared all labels, and other labels are an error.
    """

    classes: tuple = ()
    is_fixed: bool = False

    @classmethod
    def from_declared(cls, classes):
        """Return the labels that the caller declares."""
        try:
            distinct = np.unique(np.asarray(classes))
        except TypeError:
            raise TypeError(
                f"classes: got {classes!r}; labels must be of one kind, all numbers or all strings"
            ) from None
        if distinct.ndim != 1 or distinct.size != np.size(classes) or distinct.size == 0:
            raise ValueError(f"classes: got {classes!r}; must be a list of different labels")
        return cls(tuple(distinct.tolist()), True)

    def declared(self, classes):
        """Return the labels that the caller declares, which must include the known ones."""
        given = MulticlassLabels.from_declared(classes)
        if self.is_fixed and given != self:
            raise ValueError(f"classes: got {list(given.classes)[:20]}, but the model has {list(self.classes)[:20]}")
        missing = [label for label in self.classes if label not in given.classes]
        if missing:
            raise ValueError(f"classes: got {list(given.classes)}, but the model was trained on {missing[0]!r}; add it")
        return given

    def extended(self, y):
        """Return the labels with those of another chunk added."""
        new = set(np.unique(y).tolist()) - set(self.classes)
        if not new:
            return self
        if self.is_fixed:
            raise ValueError(
                f"y: got the label {min(new, key=str)!r}, which is not among the declared classes, "
                f"{list(self.classes)[:20]}"
            )
        try:
            return MulticlassLabels(tuple(sorted({*self.classes, *new})))
        except TypeError:
            raise TypeError(
                f"y: got the label {new.pop()!r}, but the model has {list(self.classes)[:5]}; "
                "labels must be of one kind, all numbers or all strings"
            ) from None

    def encode(self, y, n, dtype):
        """Return (positions of the labels y of n rows, labels with those of y added)."""
        y = as_labels(y, n)
        labels = self.extended(y)
        return labels._positions(y), labels

    def encode_known(self, y, n, dtype):
        """Return the positions of the labels y of n rows, which must all be known."""
        return self._positions(as_labels(y, n))

    def decode(self, scores):
        """Return the label with the largest score in each row."""
        return self.to_array()[np.argmax(scores, axis=1)]

    def to_json(self):
        """Return the content of a file."""
        return [self.is_fixed, *self.classes]

    def from_json(self, labels):
        """Return the labels of a file."""
        return MulticlassLabels(tuple(labels[1:]), labels[0])

    def _positions(self, y):
        """Return the position of each label of y, all of which must be known."""
        distinct, inverse = np.unique(y, return_inverse=True)
        index_of = {name: k for k, name in enumerate(self.classes)}
        unknown = [label for label in distinct.tolist() if label not in index_of]
        if unknown:
            raise ValueError(f"y: got the label {unknown[0]!r}; the model knows {list(self.classes)[:20]}")
        return np.array([index_of[label] for label in distinct.tolist()], np.int64)[inverse.reshape(-1)]

    def known_labels(self):
        """Return all labels, or None if more may occur."""
        return self.classes if self.is_fixed else None

    def to_array(self):
        """Return the labels as an array."""
        return np.asarray(self.classes)


def multiclass_loss(loss):
    """Return the multi-class form of a loss: softmax for the logistic loss, one versus rest for other binary losses."""
    if isinstance(loss, Logistic):
        return Softmax()
    return OneVsRest(loss) if target_type(loss) == "binary" else loss


def is_multiclass(loss, y, classes):
    """Return whether a model has an output for each class: by its loss, or for more than two labels."""
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
            return False  # not labels; the binary loss raises an error
    if labels.dtype.kind == "O":
        return len(set(labels.tolist())) > 2
    return np.unique(labels).size > 2


# --- labels and sample weights ---------------------------------------------------------------------------------------


def check_sample_weight(weight, n, dtype):
    """Return sample weights of shape (n,), ones by default."""
    if weight is None:
        return np.ones(n, dtype)
    _check.no_mask("sample_weight", weight)
    weight = _check.numbers_of_objects("sample_weight", np.asarray(weight))
    if weight.dtype.kind not in "fiub":
        raise TypeError(f"sample_weight: got dtype {weight.dtype}; must be real numbers")
    _check.same_length("sample_weight", weight, n, "row of X")
    _check.in_interval("sample_weight", weight, "[0, inf)")
    return cast_finite("sample_weight", weight, dtype)


def cast_finite(name, values, dtype):
    """Return finite numbers in the precision `dtype`; raise ValueError if one overflows there."""
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(values, dtype)
    is_invalid = ~np.isfinite(converted)
    if is_invalid.any():
        k = int(np.argmax(is_invalid))
        raise ValueError(f"{name}: got {values[k]} at index {k}; must be finite in {dtype}, or use dtype=float64")
    return converted


class BinaryLabels(NamedTuple):
    """The two labels of a binary problem, the second one positive; an unknown one is None."""

    negative: Any = None
    positive: Any = None

    @classmethod
    def from_declared(cls, classes):
        """Return the two labels that the caller declares."""
        distinct = np.unique(np.asarray(classes))
        if distinct.size != 2:
            raise ValueError(f"classes: got {classes!r}; must be two different labels")
        return cls(*distinct.tolist())

    def declared(self, classes):
        """Return the labels that the caller declares, which must agree with the known ones."""
        given = BinaryLabels.from_declared(classes)
        if any(mine not in (None, theirs) for mine, theirs in zip(self, given, strict=True)):
            mine = [label for label in self if label is not None]
            raise ValueError(f"classes: got {list(given)}, but the model has {mine}")
        return given

    def extended(self, y):
        """Return the labels with those of another chunk added."""
        new = [label for label in _unique_labels(y) if label not in (self.negative, self.positive)]
        if not new:
            return self
        if len(new) + sum(label is not None for label in self) > 2:
            all_labels = sorted({*new, *(label for label in self if label is not None)}, key=str)
            raise LateLabelError(
                f"y: got {len(all_labels)} labels, {all_labels[:5]}; a binary loss takes two. Train a new "
                "model with all classes=[…], or use a loss for numbers such as 'squared'"
            )
        if len(new) == 2:
            return BinaryLabels(*new)
        if self.negative is None and self.positive is None:
            return self._single_label(new[0])
        other = self.negative if self.positive is None else self.positive
        if self._single_label(other) == self and self._is_consistent(new[0], other):
            return self._replace(negative=new[0]) if self.negative is None else self._replace(positive=new[0])
        raise LateLabelError(
            f"y: got label {new[0]!r} after training on rows with {other!r} only; pass classes=[…] with both labels"
        )

    def _single_label(self, label):
        """Return the labels for a single known one, which must be 0, 1 or -1."""
        if label == 1:
            return BinaryLabels(positive=label)
        if label in (0, -1):
            return BinaryLabels(negative=label)
        raise LateLabelError(f"y: has the single label {label!r}; pass classes=[…] with both labels")

    def _is_consistent(self, label, other):
        """Return whether a new label keeps the side of the other one."""
        return label < other if other == 1 else label > other

    def encode(self, y, n, dtype):
        """Return (-1 or 1 for each of n rows, labels with those of y added)."""
        y = as_labels(y, n)
        labels = self.extended(y)
        return labels._signs(y, dtype), labels

    def encode_known(self, y, n, dtype):
        """Return -1 or 1 for each of n rows."""
        return self.encode(y, n, dtype)[0]

    def decode(self, scores):
        """Return the second label where the score is positive, and the first one elsewhere."""
        return self.to_array()[(scores > 0).astype(np.intp)]

    def to_json(self):
        """Return the content of a file."""
        return list(self)

    def from_json(self, labels):
        """Return the labels of a file."""
        return BinaryLabels(*labels)

    def _signs(self, y, dtype):
        """Return -1 or 1 for each label, in the precision `dtype`."""
        one = np.dtype(dtype).type(1)
        return np.where(np.asarray(y) == self.positive, one, -one)

    def known_labels(self):
        """Return both labels, or None if one is unknown."""
        return None if None in self else tuple(self)

    def to_array(self):
        """Return both labels as an array; an unknown one is -1 or 1."""
        negative, positive = self
        if isinstance(negative, bool) or isinstance(positive, bool):
            return np.array([False, True])
        return np.asarray([-1 if negative is None else negative, 1 if positive is None else positive])


class Numbers(NamedTuple):
    """Targets of regression, which the loss takes unchanged.

    `target_type` is "continuous", or "count" for non-negative numbers.
    """

    target_type: str

    def encode(self, y, n, dtype):
        """Return (y as n finite numbers of type `dtype`, self)."""
        return self.encode_known(y, n, dtype), self

    def encode_known(self, y, n, dtype):
        """Return y as n finite numbers of type `dtype`."""
        y = _check.numbers_of_objects("y", _as_targets(y, n))
        if y.dtype.kind not in "fiub":
            raise TypeError(f"y: got dtype {y.dtype}; the loss takes real numbers")
        if self.target_type == "count":
            _check.in_interval("y", y, "[0, inf)")
        return cast_finite("y", y, dtype)

    def to_array(self):
        """Return None: there are no labels."""
        return None

    def to_json(self):
        """Return the content of a file, as version 0.1.0 writes it."""
        return [None, None]

    def from_json(self, labels):
        """Return self: there are no labels in the file."""
        return self


def _unique_labels(y):
    """Return the labels of y in increasing order.

    Two numbers are found without sorting, which would take a tenth of the training time.
    """
    if y.size and y.dtype.kind in "fiub":
        low, high = y.min(), y.max()
        if np.all((y == low) | (y == high)):
            return [low.item()] if low == high else [low.item(), high.item()]
    return np.unique(y).tolist()


def _as_targets(y, n):
    """Return y as an array of n finite numbers or labels."""
    if y is None:
        raise ValueError("y: got None; must have one target for each row of X, unless X is chunks")
    _check.no_mask("y", y)
    y = np.asarray(y)
    _check.same_length("y", y, n, "row of X")
    if y.dtype.kind in "fc":
        _check.finite_array("y", y)
    return y


def as_labels(y, n):
    """Return y as an array of n labels; raise for another length, and for NaN and objects that are no labels."""
    y = _as_targets(y, n)
    _check_label_types(y)
    return y


def _check_label_types(y):
    """Raise an error for labels other than numbers, booleans or strings, which compare and can be saved."""
    if y.dtype.kind == "O":
        are_strings = {isinstance(label, str) for label in y}
        for k, label in enumerate(y):
            if not isinstance(label, (str, numbers.Real, np.bool_)) or label != label:
                raise ValueError(f"y: got {label!r} at index {k}; must be a number, a boolean or a string")
        if len(are_strings) > 1:
            raise TypeError("y: got numbers and strings; labels must be of one kind")
    elif y.dtype.kind not in "fiubUT":
        raise TypeError(f"y: got dtype {y.dtype}; labels must be numbers, booleans or strings")


def encode_chunk(chunk, n, model, class_weight):
    """Return y as the loss takes it, the sample weights, and the target with the labels of a chunk of n rows."""
    weight = check_sample_weight(chunk.weight, n, model.dtype)
    y, target = model.target.encode(chunk.y, n, model.dtype)
    if class_weight is not None:
        if isinstance(target, Numbers):
            raise ValueError(f"class_weight: the loss {type(model.loss).__name__} takes numbers; leave it out")
        weight = apply_class_weight(class_weight, chunk.y, weight, target)
    return y, weight, target


# --- class weights ---------------------------------------------------------------------------------------------------


def check_class_weight(class_weight, in_memory):
    """Return the checked argument `class_weight`: a dict of weights by label, "balanced" or None."""
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
        _check.in_interval(f"class_weight[{label!r}]", weight, "[0, inf)")
        if np.ndim(weight):
            raise TypeError(f"class_weight[{label!r}]: got {weight!r}; must be a number")
    return class_weight


def apply_class_weight(class_weight, y, weight, labels):
    """Return the sample weights times the class weights of the rows; `labels` are the known labels."""
    distinct, inverse = np.unique(np.asarray(y), return_inverse=True)
    if class_weight == "balanced":
        totals = np.bincount(inverse, weight)
        class_total = totals.sum() / (np.count_nonzero(totals) or 1)
        factors = np.divide(class_total, totals, out=np.zeros(distinct.size), where=totals > 0)
    else:
        known = labels.known_labels()
        unknown = [label for label in class_weight if known is not None and label not in known]
        if unknown:
            raise ValueError(f"class_weight: got the label {unknown[0]!r}; the labels are {list(known)}")
        factors = np.array([class_weight.get(label, 1.0) for label in distinct.tolist()], np.float64)
    return weight * factors.astype(weight.dtype)[inverse.reshape(-1)]


# --- probabilities ---------------------------------------------------------------------------------------------------


def multiclass_probabilities(loss, scores, dtype):
    """Return the probability of each class, of the shape (n, n_classes) of `scores`."""
    if isinstance(loss, Softmax):
        probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    elif isinstance(loss, OneVsRest):
        probabilities = InverseLink(loss.loss).apply(scores.ravel(), dtype).reshape(scores.shape)
        probabilities[probabilities.sum(axis=1) == 0] = 1  # no binary problem predicts its class
    else:
        loss = cast(loss, dtype)
        return np.array([_class_probabilities(loss, row) for row in scores], dtype).reshape(scores.shape)
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def two_columns(probability):
    """Return the probabilities of both labels, given those of the positive one.  It is faster than `column_stack`."""
    both = np.empty((probability.size, 2), probability.dtype)
    both[:, 1] = probability
    np.subtract(1, probability, out=both[:, 0])
    return both


class InverseLink:
    """Compiled inverse link of a loss."""

    def __init__(self, loss):
        self.loss, scores = cast(loss, np.float64), np.empty(0)
        self.kernel = compiled_entry(compiled_for(rows.apply_inverse_link, self.loss), self.loss, scores, scores)

    def apply(self, scores, dtype):
        """Return the inverse link of a vector of scores, computed in double precision."""
        scores, out = np.ascontiguousarray(scores, np.float64), np.empty(np.shape(scores))
        self.kernel(self.loss, scores, out)
        return out.astype(dtype, copy=False)


def _class_probabilities(loss, scores):
    """Return the inverse link of one row of scores, as a user's record gives it."""
    row = np.asarray(inverse_link(loss, scores))
    if row.shape != scores.shape:
        raise ValueError(
            f"{type(loss).__name__}.inverse_link: gives shape {row.shape}; must give {scores.shape}, a probability for "
            "each class"
        )
    return row
