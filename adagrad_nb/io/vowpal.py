"""Readers of a subset of Vowpal Wabbit's text format: one namespace with numbered features."""

import math
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import numpy as np
import scipy

from .. import _check
from .readers import CHUNK_BYTES, DUPLICATES, LOAD_BYTES, Chunk, ChunkedFile, check_value_dtype, stack_chunks
from .source import Source
from .svmlight import INT32_COLUMNS, LIBFFM_LINE, SEPARATED_LINE, SVMLIGHT_LINE, sum_duplicates

if TYPE_CHECKING:
    import numpy.typing as npt

BLANKS = " \t\r"  # other white space and control characters are part of a word
WORD = re.compile(r"[^ \t\r]+")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
MAX_DIGITS = 18
HASHING_HINT = "feature names require hashing, which is not supported; number the features from 0 in one namespace"


def load_vw(
    path: str | os.PathLike | BinaryIO,
    *,
    n_features: int | None = None,
    dtype: "npt.DTypeLike" = np.float64,
    duplicates: Literal["error", "sum"] = "error",
) -> "tuple[scipy.sparse.csr_array, np.ndarray, np.ndarray]":
    """Load a file in Vowpal Wabbit text format with numbered features into memory.

    Each line is ``label [importance] [tag]|namespace[:scale] feature[:value] …``.  The default value of a feature is 1.
    The scale multiplies all values of its line.  Feature numbers are column indices, from 0; they are not hashed.
    Blank lines are skipped and tags are ignored.

    Parameters
    ----------
    path : str, os.PathLike or binary file
        Plain file, or a file compressed by gzip, xz, bzip2 or zstd, whatever its name.  "-" is standard input.
    n_features : int, optional
        Number of columns of `X`.  By default the largest feature number determines it.
    dtype : {numpy.float64, numpy.float32}
        Data type of `X`.
    duplicates : {"error", "sum"}, default "error"
        Treatment of a feature that occurs twice in a line: raise ValueError, or add up the values, as Vowpal Wabbit
        does.

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

    See Also
    --------
    read_vw : Read a file in chunks.

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
    file = VwFile(Source(path), n_features, dtype, LOAD_BYTES, duplicates)
    chunks = list(file)
    if not chunks:
        raise ValueError(f"{file.name}: there are no rows; the file must have lines such as '1 |f 3:0.5 7'")
    weight = np.concatenate([chunk.weight for chunk in chunks])
    return *stack_chunks(file.name, chunks, file.n_features), weight


def read_vw(
    path: str | os.PathLike | BinaryIO,
    *,
    n_features: int | None = None,
    dtype: "npt.DTypeLike" = np.float64,
    chunk_bytes: int = CHUNK_BYTES,
    duplicates: Literal["error", "sum"] = "error",
) -> "VwFile":
    """Return an iterable that reads a file in Vowpal Wabbit text format in chunks, once per iteration.

    Only one chunk is in memory at a time.  See `load_vw` for the format.

    Parameters
    ----------
    path : str, os.PathLike or binary file
        As in `load_vw`.  An open file is read from its current position, and stays open.
    n_features : int, optional
        Number of columns of each chunk.  By default the largest feature number so far determines it, and later chunks
        may be wider.
    dtype : {numpy.float64, numpy.float32}
        Data type of `X`.
    chunk_bytes : int, default 1 MiB
        Bytes of decompressed text per chunk.  A chunk is longer if a single line is.
    duplicates : {"error", "sum"}, default "error"
        As in `load_vw`.

    Returns
    -------
    VwFile
        Iterable of `Chunk` with the attribute `n_features` and, for a progress bar, `size` and `position`.

    Raises
    ------
    ValueError, ImportError
        As in `load_vw`, raised when the chunk is read.  A file without rows yields no chunks.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import read_vw
    >>> file = read_vw(io.BytesIO(b"1 |f 0\\n-1 |f 1\\n1 2 |f 4\\n"), chunk_bytes=12)
    >>> [(chunk.X.shape, chunk.weight.tolist()) for chunk in file]
    [((1, 1), [1.0]), ((1, 2), [1.0]), ((1, 5), [2.0])]
    """
    return VwFile(Source(path), n_features, dtype, chunk_bytes, duplicates)


class VwFile(ChunkedFile):
    """Iterable of `Chunk`, returned by `read_vw`; see `ChunkedFile` for its attributes."""

    def __init__(self, source, n_features, dtype, chunk_bytes, duplicates):
        self._dtype = check_value_dtype(dtype)
        self._wanted = None if n_features is None else _check.positive_count("n_features", n_features)
        super().__init__(source, self._wanted, chunk_bytes)
        self._duplicates = _check.one_of("duplicates", duplicates, DUPLICATES)

    def __iter__(self) -> Iterator[Chunk]:
        number, namespace = 0, None
        for block in self._source.read_blocks(self._chunk_bytes):
            lines = block.tobytes().decode("utf-8", "backslashreplace").split("\n")[:-1]
            rows = []
            for line in lines:
                number += 1
                if not line.strip(BLANKS):
                    continue
                try:
                    rows.append(_parse_row(line, namespace, self._wanted, self._duplicates))
                except _LineError as error:
                    raise ValueError(f"{self.name}:line {number}: {error}") from None
                namespace = rows[-1].namespace
            if rows:
                yield self._to_chunk(rows)

    def _to_chunk(self, rows):
        """Return rows as a chunk."""
        indices = [column for row in rows for column in row.features]
        self.n_features = max(self.n_features, max(indices, default=-1) + 1)
        index_dtype = np.int32 if max(self.n_features, len(indices)) <= INT32_COLUMNS else np.int64
        indptr = np.cumsum([0, *(len(row.features) for row in rows)], dtype=index_dtype)
        with np.errstate(over="ignore"):
            data = np.array([value for row in rows for value in row.values], np.float64).astype(self._dtype, copy=False)
        X = scipy.sparse.csr_array((data, np.array(indices, index_dtype), indptr), shape=(len(rows), self.n_features))
        _check_overflow(self.name, X)
        X.sort_indices()
        if self._duplicates == "sum":
            sum_duplicates(self.name, X)
        return Chunk(X, np.array([row.label for row in rows]), np.array([row.weight for row in rows]))

    def __repr__(self) -> str:
        return (
            f"read_vw({self.name!r}, n_features={self._wanted}, dtype={self._dtype.name!r}, "
            f"chunk_bytes={self._chunk_bytes})"
        )


class _LineError(Exception):
    """Error in a line, without file and line number."""


class _Row(NamedTuple):
    label: float
    weight: float
    namespace: str
    features: list
    values: list


def _parse_row(line, namespace, n_features, duplicates):
    head, bar, body = line.partition("|")
    if not bar:
        raise _LineError(f"there is no '|'; {_explain_format(line)}")
    if "|" in body:
        raise _LineError(f"got several namespaces; {HASHING_HINT}")
    label, weight = _parse_label(head)
    names = WORD.findall(body)
    name, scale = "", 1.0
    if names and body[0] not in BLANKS:
        name, colon, scale_text = names.pop(0).partition(":")
        scale = _parse_number(scale_text, "the scale of the namespace") if colon else 1.0
    if namespace not in (None, name):
        raise _LineError(f"got the namespace {name!r} after {namespace!r}; {HASHING_HINT}")
    features, values = [], []
    for token in names:
        feature, colon, value = token.partition(":")
        features.append(_parse_column(feature, n_features))
        values.append(scale * (_parse_number(value, f"the value of feature {feature}") if colon else 1.0))
    if duplicates == "error" and len(set(features)) < len(features):
        duplicate = next(f for f in features if features.count(f) > 1)
        raise _LineError(f"feature {duplicate} occurs twice; add the two values, drop one, or pass duplicates='sum'")
    return _Row(label, weight, name, features, values)


def _explain_format(line):
    """Return a remedy for a line without a bar: the name of the format that it seems to have."""
    if LIBFFM_LINE.search(line):
        return "this is LIBFFM text, field:feature:value; number the features and write label | feature:value"
    if SVMLIGHT_LINE.search(line):
        return "this is svmlight text; read it with load_svmlight"
    if SEPARATED_LINE.search(line):
        return "this is comma-separated text; write label | feature:value"
    return "write the label, '|' and the features"


def _parse_label(head):
    """Return the label and the importance weight in the text before the bar."""
    words = WORD.findall(head)
    if words and (words[-1].startswith("'") or head[-1] not in BLANKS):
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
    number = float(word) if NUMBER.fullmatch(word) else math.nan
    if not math.isfinite(number):
        raise _LineError(f"got {word!r} for {meaning}; write a finite number")
    return number


def _parse_column(feature, n_features):
    if not (feature.isascii() and feature.isdigit()):
        raise _LineError(f"got the feature {feature!r}; {HASHING_HINT}")
    digits = feature.lstrip("0") if feature[0] == "0" else feature
    if len(digits) > MAX_DIGITS:
        raise _LineError(f"got the feature {_shorten(feature)!r}; the largest supported number is {10**MAX_DIGITS - 1}")
    column = int(digits or "0")
    if n_features is not None and column >= n_features:
        raise _LineError(
            f"got the feature {column} with n_features={n_features}; pass {column + 1} or more, or omit it"
        )
    return column


def _shorten(word):
    return word if len(word) <= 60 else word[:57] + "..."


def _check_overflow(name, X):
    if not np.isfinite(X.data).all():
        raise ValueError(f"{name}: a value exceeds the largest {X.dtype}; pass dtype=np.float64 or scale the data")
