"""Reader of a subset of Vowpal Wabbit's text format: one namespace with numbered features."""

import os
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import scipy

from .. import _check
from .readers import CHUNK_BYTES, check_value_dtype
from .source import Source

if TYPE_CHECKING:
    import numpy.typing as npt

HASHING_HINT = "feature names require hashing, which is not supported; number the features from 0 in one namespace"


def load_vw(
    path: str | os.PathLike | BinaryIO, *, n_features: int | None = None, dtype: "npt.DTypeLike" = np.float64
) -> "tuple[scipy.sparse.csr_array, np.ndarray, np.ndarray]":
    """Load a file in Vowpal Wabbit text format with numbered features into memory.

    Each line is ``label [importance] [tag]|namespace[:scale] feature[:value] …``.  The default value of a feature is 1.
    The scale multiplies all values of its line.  Feature numbers are column indices, from 0; they are not hashed.
    Blank lines are skipped and tags are ignored.

    Parameters
    ----------
    path : str, os.PathLike or binary file
        Plain file, or a file compressed by gzip, xz, bzip2 or zstd, whatever its name.
    n_features : int, optional
        Number of columns of `X`.  By default the largest feature number determines it.
    dtype : {numpy.float64, numpy.float32}
        Data type of `X`.

    Returns
    -------
    X : scipy.sparse.csr_array, shape (n_rows, n_features)
        Features, with sorted indices.
    y : numpy.ndarray of float64, shape (n_rows,)
        Labels.
    weight : numpy.ndarray of float64, shape (n_rows,)
        Importance weights, 1 by default.

    Raises
    ------
    ValueError
        If the text is malformed or not in the subset: a missing label, several namespaces, features that are not
        numbers, or a feature that occurs twice in a line.  The message names file, line and remedy.
    ImportError
        If the file is compressed by zstd and no zstd library is installed.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import load_vw
    >>> X, y, weight = load_vw(io.BytesIO(b"1 |f 0:0.5 2\\n-1 2.0 'b|f 1:3\\n"))
    >>> X.toarray()
    array([[0.5, 0. , 1. ],
           [0. , 3. , 0. ]])
    >>> y, weight
    (array([ 1., -1.]), array([1., 2.]))
    """
    dtype = check_value_dtype(dtype)
    if n_features is not None:
        n_features = _check.positive_count("n_features", n_features)
    source = Source(path)
    labels, weights, indptr, indices, values = [], [], [0], [], []
    namespace = None
    for number, line in _read_lines(source):
        try:
            row = _parse_row(line, namespace, n_features)
        except _LineError as error:
            raise ValueError(f"{source.name}:line {number}: {error}") from None
        namespace = row.namespace
        labels.append(row.label)
        weights.append(row.weight)
        indices += row.features
        values += row.values
        indptr.append(len(indices))
    if not labels:
        raise ValueError(f"{source.name}: there are no rows; the file must have lines such as '1 |f 3:0.5 7'")
    n = n_features or max(indices, default=-1) + 1
    index_dtype = np.int32 if max(n, len(indices)) <= np.iinfo(np.int32).max else np.int64
    with np.errstate(over="ignore"):
        data = np.array(values).astype(dtype, copy=False)
    parts = data, np.array(indices, index_dtype), np.array(indptr, index_dtype)
    X = scipy.sparse.csr_array(parts, shape=(len(labels), n))
    _check_overflow(source.name, X)
    X.sort_indices()
    return X, np.array(labels), np.array(weights)


class _LineError(Exception):
    """Error in a line, without file and line number."""


class _Row(NamedTuple):
    label: float
    weight: float
    namespace: str
    features: list
    values: list


def _read_lines(source):
    """Yield the number and the text of each line that is not blank."""
    number = 0
    for block in source.read_blocks(CHUNK_BYTES):
        for line in block.tobytes().decode("utf-8", "backslashreplace").split("\n")[:-1]:
            number += 1
            if line.strip():
                yield number, line


def _parse_row(line, namespace, n_features):
    head, bar, body = line.partition("|")
    if not bar:
        raise _LineError("there is no '|'; write the label, '|' and the features")
    if "|" in body:
        raise _LineError(f"got several namespaces; {HASHING_HINT}")
    label, weight = _parse_label(head)
    names = body.split()
    name, scale = "", 1.0
    if names and not body[0].isspace():
        name, colon, scale_text = names.pop(0).partition(":")
        scale = _parse_number(scale_text, "the scale of the namespace") if colon else 1.0
    if namespace not in (None, name):
        raise _LineError(f"got the namespace {name!r} after {namespace!r}; {HASHING_HINT}")
    features, values = [], []
    for token in names:
        feature, colon, value = token.partition(":")
        features.append(_parse_column(feature, n_features))
        values.append(scale * (_parse_number(value, f"the value of feature {feature}") if colon else 1.0))
    if len(set(features)) < len(features):
        duplicate = next(f for f in features if features.count(f) > 1)
        raise _LineError(f"feature {duplicate} occurs twice; add the two values or drop one")
    return _Row(label, weight, name, features, values)


def _parse_label(head):
    """Return the label and the importance weight in the text before the bar."""
    words = head.split()
    if words and (words[-1].startswith("'") or not head[-1].isspace()):
        words.pop()  # a tag touches the bar or starts with a quote
    if not words:
        raise _LineError("there is no label; write a label and a blank before the '|'")
    if len(words) > 2:
        raise _LineError(
            f"got {len(words)} numbers before the '|'; write label and importance only, without an initial prediction"
        )
    label = _parse_number(words[0], "the label")
    weight = _parse_number(words[1], "the importance") if len(words) == 2 else 1.0
    if weight < 0:
        raise _LineError(f"got the importance {words[1]!r}; it must not be negative")
    return label, weight


def _parse_number(word, meaning):
    try:
        number = float(word)
    except ValueError:
        number = np.nan
    if not np.isfinite(number) or "_" in word:
        raise _LineError(f"got {word!r} for {meaning}; write a finite number")
    return number


def _parse_column(feature, n_features):
    if not (feature.isascii() and feature.isdigit()):
        raise _LineError(f"got the feature {feature!r}; {HASHING_HINT}")
    column = int(feature[:20])
    if n_features is not None and column >= n_features:
        raise _LineError(
            f"got the feature {column} with n_features={n_features}; pass {column + 1} or more, or omit it"
        )
    if column > 10**18 - 1:
        raise _LineError(f"got the feature {feature!r}; the largest supported number is {10**18 - 1}")
    return column


def _check_overflow(name, X):
    if not np.isfinite(X.data).all():
        raise ValueError(f"{name}: a value exceeds the largest {X.dtype}; pass dtype=np.float64 or scale the data")
