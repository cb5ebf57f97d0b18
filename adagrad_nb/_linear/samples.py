"""Data as people have it, made ready for the kernels: rows in CSR form, targets, weights, labels."""

import numbers
from typing import Any, NamedTuple

import numpy as np
import scipy

from .. import _check

UNSIGNED = {np.dtype(np.int32): np.uint32, np.dtype(np.int64): np.uint64}


def as_rows(X, dtype):
    """Any matrix as CSR in the precision `dtype`, without copying what already is; its parts are sound."""
    if hasattr(X, "of_dtype"):  # rows on a device, which were checked on their way there
        return X.of_dtype(dtype)
    if scipy.sparse.issparse(X):
        if X.ndim != 2:
            raise ValueError(f"X: got shape {X.shape}; must have two dimensions, rows and columns")
        if X.format != "csr":
            _check.sparse_indices("X", X)
            X = X.tocsr()
    else:
        X = dense(X)
        if X.ndim != 2:
            raise ValueError(f"X: got shape {X.shape}; must have two dimensions, such as X.reshape(1, -1)")
        if X.dtype.kind not in "fiub":
            raise TypeError(f"X: got dtype {X.dtype}; must be real numbers")
        X = scipy.sparse.csr_array(X)
    _check.compressed_rows(X)
    if X.data.dtype != dtype:
        with np.errstate(over="ignore"):  # what becomes infinite is refused with its place when its row is reached
            X = scipy.sparse.csr_array((X.data.astype(dtype), X.indices, X.indptr), shape=X.shape)
    return X


def dense(values):
    """Anything but a sparse matrix as an array."""
    try:
        return np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"X: cannot be made an array; {error}") from None


def common_dtype(X, dtype):
    """The precision to compute in: as asked, else float32 for float32 data and float64 for all other."""
    if dtype is not None:
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"dtype: got {dtype}; must be float32 or float64")
        return dtype
    return np.dtype(np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64)


def unsigned(indices):
    """Column indices as the kernels take them: unsigned, so that a negative one shows as too large."""
    return np.ascontiguousarray(indices).view(UNSIGNED[indices.dtype])


def canonical(X):
    """Rows with increasing indices, what is listed twice in a row summed."""
    X = scipy.sparse.csr_array((X.data.copy(), X.indices.copy(), X.indptr.copy()), shape=X.shape)
    X.sum_duplicates()
    return X


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
    if loss.labels == "binary":
        _check_labels(y)
        labels = labels.seen(y)
        return labels.signs(y, dtype), labels
    if y.dtype.kind not in "fiub":
        raise TypeError(f"y: got dtype {y.dtype}; the loss takes real numbers")
    if loss.labels == "count":
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
