"""Explanation of one prediction: the largest contributions to its score, by name."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _check
from .._csr import as_csr
from ..io.arrow import is_table
from .named_rows import as_row_table, to_features

INTERCEPT = "(intercept)"


class Contribution(NamedTuple):
    """Contribution of a feature to a score: its value times its weight.

    Attributes
    ----------
    name : str
        Name of the feature, or its number if the model has no names.
    value, weight, contribution : float
        Value of the feature, weight of the model, and their product.
    """

    name: str
    value: float
    weight: float
    contribution: float


class Explanation(NamedTuple):
    """Contributions to one score, the largest first; it is printed as a table.

    Attributes
    ----------
    label : label or None
        Label to which the score belongs; None for regression.
    score : float
        Sum of the intercept and of all contributions, shown or not.
    contributions : tuple of Contribution
        The largest contributions by absolute value, the intercept included.
    n_others, others : int and float
        Number and sum of the contributions that are not in the list.
    """

    label: Any
    score: float
    contributions: tuple
    n_others: int
    others: float

    def __str__(self) -> str:
        rows = [(f"{c.contribution:+.4f}", c.name, f"{c.value:g} x {c.weight:+.4f}") for c in self.contributions]
        if self.n_others:
            rows.append((f"{self.others:+.4f}", f"{self.n_others} others", ""))
        title = "score" if self.label is None else f"score of {self.label}"
        width = max((len(name) for _, name, _ in rows), default=0)
        lines = [f"{number:>10}  {name:{width}}  {product}".rstrip() for number, name, product in rows]
        return "\n".join([f"{title} {self.score:+.4f}", *lines])


def explain(model: Any, X: Any, n_largest: int, label: Any, names: Any = None) -> Explanation:
    """Return the explanation of the score of the only row of X; see `LinearModel.explain`."""
    _check.positive_count("n_largest", n_largest)
    columns, hashed = model.columns, {} if names is None else names
    if columns is not None:
        X = as_row_table(X)
        if columns.n_hashed and is_table(X) and names is None:
            hashed = columns.hashed_names(X)
    rows = as_csr(to_features(X, columns, model.dtype), model.dtype)
    if rows.shape[0] != 1:
        raise ValueError(f"X: got {rows.shape[0]} rows; explain takes one, such as X[[0]] or frame.iloc[[0]]")
    scores = np.atleast_1d(model.decision_function(rows)[0])
    classes = None if model.classes is None else model.classes.tolist()
    position, sign, label = _output(classes, scores, label)
    end = rows.indptr[-1]
    indices, values = rows.indices[:end], rows.data[:end]
    coef = np.atleast_2d(model.coef_of(indices))[position]
    intercept = float(np.atleast_1d(model.intercept)[position])
    products = sign * values * coef
    found = [
        Contribution(_name_of(model, hashed, j), value, sign * weight, product)
        for j, value, weight, product in zip(
            indices.tolist(), values.tolist(), coef.tolist(), products.tolist(), strict=True
        )
        if value
    ]
    if model.has_intercept:
        found.append(Contribution(INTERCEPT, 1.0, sign * intercept, sign * intercept))
    found.sort(key=lambda contribution: -abs(contribution.contribution))
    others = [contribution.contribution for contribution in found[n_largest:]]
    return Explanation(label, sign * float(scores[position]), tuple(found[:n_largest]), len(others), float(sum(others)))


def _output(classes, scores, label):
    """Return the position of the output of a label, the sign of its score, and the label."""
    if classes is None:
        if label is not None:
            raise ValueError(f"label: got {label!r}, but the model predicts numbers; leave it out")
        return 0, 1.0, None
    if label is not None and (np.ndim(label) or label not in classes):
        raise ValueError(f"label: got {_check.shorten_repr(label)}; must be one of {classes[:20]}")
    if len(classes) == 2 and scores.size == 1:
        if label is None:
            label = classes[int(scores[0] > 0)]
        return 0, 1.0 if label == classes[1] else -1.0, label
    position = int(np.argmax(scores)) if label is None else classes.index(label)
    return position, 1.0, classes[position]


def _name_of(model, hashed, j):
    return " or ".join(hashed[j]) if j in hashed else feature_name(model, j)


def feature_name(model: Any, index: int) -> str:
    """Return the name of a feature of a model, or its number in the files that the command line trained it on."""
    if model.columns is not None:
        return model.columns.feature_name(index)
    options = model.reader_options or {}
    is_one_based = options.get("format") == "svmlight" and not options.get("zero_based")
    return str(index + 1 if is_one_based else index)


def largest_weights(coef: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the features with the largest weights, the largest first, and the weight of each feature.

    For several classes, the weight of a feature is the one with the largest absolute value.
    """
    if coef.ndim == 2:
        coef = coef[np.argmax(np.abs(coef), axis=0), np.arange(coef.shape[1])]
    order = np.argsort(-np.abs(coef), kind="stable")[:most]
    return order[coef[order] != 0], coef
