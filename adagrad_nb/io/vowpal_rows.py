"""Parser of one block of Vowpal Wabbit text: rows as CSR, and error messages with line number and remedy."""

import functools
import re
from typing import NamedTuple

import numpy as np
import scipy

from .hashed_names import HashedNames, key_features, key_pairs
from .hashed_rows import count_values, make_keys, order_segments, pair_features, sort_and_sum
from .lines import MAX_VALUES, LineError, shorten_repr
from .murmurhash import hash_namespace
from .svmlight import INT32_COLUMNS, LARGEST_INDEX, LIBFFM_LINE, SEPARATED_LINE, SVMLIGHT_LINE
from .vowpal_scanner import (
    BAD_IMPORTANCE,
    BAD_LABEL,
    BAD_SCALE,
    BAD_VALUE,
    COLUMN_TOO_LARGE,
    HAS_BASE,
    HASH_ALL,
    LABEL,
    LOST_VALUE,
    NO_BAR,
    NO_LABEL,
    NO_NAMESPACE,
    NOT_NUMBERED,
    NUMBERED,
    OK,
    OTHER_NAMESPACE,
    SCALE,
    SECOND_NAMESPACE,
    VALUE,
    VwRows,
    VwSettings,
    scan_vw,
)

CONSTANT = 11650396  # hash of the constant feature of Vowpal Wabbit
WORD = re.compile(rb"[^ \t\r\n|]*")
NAME = re.compile(rb"[^ \t\r\n|:]*")
ANY_NAMESPACE = re.compile(rb"\|([^ \t\r\n|:]*)")
HASHING_HINT = "hash the names of features with bits=18, or number the features from 0 in one namespace"


class VwFormat(NamedTuple):
    """Options of the parser."""

    name: str
    n_features: int | None
    dtype: np.dtype
    sums_duplicates: bool
    names: int  # NUMBERED, HASH_STRINGS or HASH_ALL
    bits: int
    pairs: np.ndarray  # see `hashed_rows.count_values`; shape (0, 0) without interactions
    constant: bool
    labelled: bool
    namespace: bytes | None  # of numbered features, once it is known
    hashed_names: HashedNames | None  # to which names are added


class ParsedRows(NamedTuple):
    """Features of the rows of a block before sorting, and the arrays of the scanner."""

    rows: VwRows
    n_rows: int
    n_values: int
    n_segments: int
    largest: int
    is_sorted: bool  # whether the columns of each row increase


def scan_rows(text_format, block, counts):
    """Return the `ParsedRows` of a block."""
    is_hashed = text_format.names != NUMBERED
    max_column = LARGEST_INDEX if text_format.n_features is None else text_format.n_features - 1
    parsed = status = None
    if is_hashed or max_column < INT32_COLUMNS or text_format.n_features is None:
        parsed, status, position = _scan_block(text_format, block, counts, np.int32, min(max_column, INT32_COLUMNS - 1))
    if parsed is None or (status == COLUMN_TOO_LARGE and max_column >= INT32_COLUMNS):
        parsed, status, position = _scan_block(text_format, block, counts, np.int64, max_column)
    if status != OK:
        _raise_for_token(text_format, block, status, position)
    return parsed


def _scan_block(text_format, block, counts, dtype, max_column):
    """Scan a block, with columns of type `dtype`; return (`ParsedRows`, status, position of an error)."""
    n_lines, n_blanks, n_bars = counts
    features = n_lines + n_blanks + n_bars
    rows = VwRows(
        np.empty((n_lines, 2)), np.empty(n_lines, np.int64), np.empty(n_lines + 1, np.int64),
        np.empty((n_bars + 1, 2), np.int64), np.empty(n_bars), np.empty(features, dtype), np.empty(features),
        np.empty((2 * n_lines + n_bars + features, 3), np.int64),
        np.empty((0 if text_format.hashed_names is None else features, 3), np.int64),
    )  # fmt: skip
    settings = VwSettings(
        text_format.names, np.uint64(2**text_format.bits - 1), max_column,
        np.frombuffer(text_format.namespace or b"", np.uint8), int(text_format.labelled),
    )  # fmt: skip
    with np.errstate(over="ignore"):  # hashing and rounding rely on uint64 overflow
        scanned = scan_vw(block.text, settings, rows)
        status, position, n_rows, n_values, n_segments, n_unrounded, largest, is_sorted = map(int, scanned)
        for start, kind, k in rows.unrounded[: n_unrounded if status == OK else 0].tolist():
            _round_in_python(text_format, block, rows, start, kind, k, n_segments)
    return ParsedRows(rows, n_rows, n_values, n_segments, largest, bool(is_sorted)), status, position


def number_rows(text_format, block, parsed, min_columns):
    """Return the matrix of rows with numbered features."""
    rows, n_rows, n_values, _, largest, is_sorted = parsed
    n_features = text_format.n_features or max(min_columns, largest + 1)
    dtype = np.int32 if max(n_features, n_values) <= INT32_COLUMNS else np.int64
    indptr = rows.segments[rows.row_segments[: n_rows + 1], 0].astype(dtype)
    with np.errstate(over="ignore"):
        data = rows.values[:n_values].astype(text_format.dtype, copy=False)
    columns = rows.columns[:n_values].astype(dtype, copy=False)
    X = scipy.sparse.csr_array((data, columns, indptr), shape=(n_rows, n_features))
    _check_finite(text_format, block, rows, X, "a value")
    if is_sorted:
        X.has_canonical_format = True  # otherwise SciPy would check the indices
        return X
    X.sort_indices()
    if not X.has_canonical_format:
        if not text_format.sums_duplicates:
            _refuse_duplicates(text_format, block, rows, X)
        with np.errstate(over="ignore"):
            X.sum_duplicates()
        _check_finite(text_format, block, rows, X, "the sum of the values of a feature")
    return X


def hash_rows(text_format, block, parsed):
    """Yield (first row, matrix) of rows with hashed features, several times if there are many pairs."""
    rows, n_rows, n_values, n_segments, _, _ = parsed
    row_segments, segments = rows.row_segments[: n_rows + 1], rows.segments[: n_segments + 1]
    names = text_format.hashed_names
    keys = np.empty(0 if names is None else n_values, np.int64)
    if names is not None:
        with np.errstate(over="ignore"):
            key_features(block.text, rows.names, rows.columns, keys)
        columns, mask = rows.columns.copy(), 2**text_format.bits - 1
        seed_of = functools.partial(hash_namespace, hash_all=text_format.names == HASH_ALL)
        name_of = functools.partial(_name_of, block.text, rows.names, columns, mask, seed_of)
    if not text_format.pairs.size and not text_format.constant:
        if names is not None:
            names.add(keys, name_of)
        yield 0, _sort_rows(text_format, block, rows, 0, segments[row_segments, 0], rows.columns, rows.values)
        return
    order, indptr = np.empty(n_segments, np.int64), np.empty(n_rows + 1, np.int64)
    order_segments(row_segments, segments, order)
    count_values(row_segments, segments, order, text_format.pairs, int(text_format.constant), indptr)
    mask, first = np.uint64(2**text_format.bits - 1), 0
    while first < n_rows:
        last = max(int(np.searchsorted(indptr, indptr[first] + MAX_VALUES, "right")) - 1, first + 1)
        pointers = indptr[first : last + 1] - indptr[first]
        columns, values = np.empty(pointers[-1], np.int32), np.empty(pointers[-1])
        parents = np.empty((0 if names is None else columns.size, 2), np.int64)
        out = columns, values, parents, pointers
        with np.errstate(over="ignore"):
            pair_features(
                row_segments[first : last + 1], segments, order, text_format.pairs, rows.columns, rows.values, mask, out
            )
        if text_format.constant:
            columns[pointers[1:] - 1], values[pointers[1:] - 1] = CONSTANT & int(mask), 1.0
        if names is not None:
            if text_format.constant:
                parents[pointers[1:] - 1] = -1
            _add_names(names, parents, columns, keys, name_of)
        yield first, _sort_rows(text_format, block, rows, first, pointers, columns, values)
        first = last


def _add_names(names, parents, columns, keys, name_of):
    """Add the names of features, of pairs of them, and of the constant."""

    def name_pair(k):
        return "*".join(name_of(i) for i in parents[k].tolist() if i >= 0) or "Constant"

    pair_keys = np.empty(columns.size, np.int64)
    with np.errstate(over="ignore"):
        key_pairs(parents, columns, keys, pair_keys)
    names.add(pair_keys, name_pair)


def _name_of(text, positions, columns, mask, seed_of, k):
    """Return the name of feature k."""
    start, end, namespace = positions[k].tolist()
    namespace_name = NAME.match(text[namespace:].data).group()
    name, colon, value = text[start:end].tobytes().partition(b":")
    if not name and not colon:  # the column is that of the namespace plus the number of the feature
        name = b":%d" % (int(columns[k]) - seed_of(namespace_name) & mask)
    full = (namespace_name + b"^" if namespace_name else b"") + name + (b"=" + value if colon else b"")
    return full.decode("utf-8", "backslashreplace")


def _sort_rows(text_format, block, rows, first, indptr, columns, values):
    """Return a matrix of rows with sorted and distinct columns."""
    longest = int(np.diff(indptr).max(initial=0))
    data = np.empty(int(indptr[-1]), text_format.dtype)
    with np.errstate(over="ignore"):
        n_values, bad = sort_and_sum(indptr, columns, values, *make_keys(text_format.bits, longest), data)
    if bad >= 0:
        _raise_for_row(text_format, block, rows, first + int(bad), "a value or a sum of values", None)
    indices = columns[:n_values]
    dtype = np.int32 if n_values <= INT32_COLUMNS else np.int64
    X = scipy.sparse.csr_array(
        (data[:n_values], indices.astype(dtype, copy=False), indptr.astype(dtype)),
        shape=(indptr.size - 1, 2**text_format.bits),
    )
    X.has_canonical_format = True
    return X


# --- error messages ----------------------------------------------------------------------------------------------


def _check_finite(text_format, block, rows, X, subject):
    """Raise for the first row with a value that is not finite."""
    is_finite = np.isfinite(X.data)
    if not is_finite.all():
        row = int(np.searchsorted(X.indptr, int(is_finite.argmin()), "right")) - 1
        _raise_for_row(text_format, block, rows, row, subject, X.dtype)


def _raise_for_row(text_format, block, rows, row, subject, dtype):
    line = block.line_at(int(rows.starts[row]))
    remedy = "scale the data" if text_format.dtype == np.float64 else "pass dtype=np.float64 or scale the data"
    raise LineError(text_format.name, line, f"{subject} exceeds the largest {dtype or text_format.dtype}; {remedy}")


def _refuse_duplicates(text_format, block, rows, X):
    row_of_entry = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    is_duplicate = (X.indices[1:] == X.indices[:-1]) & (row_of_entry[1:] == row_of_entry[:-1])
    k = int(is_duplicate.argmax())
    line = block.line_at(int(rows.starts[row_of_entry[k]]))
    reason = f"feature {X.indices[k]} occurs twice; add the two values, drop one, or pass duplicates='sum'"
    raise LineError(text_format.name, line, reason)


def _round_in_python(text_format, block, rows, position, kind, k, n_segments):
    """Parse by `float` a number that the scanner cannot round: more than 19 digits, subnormal or infinite."""
    token = block.token_at(position, WORD)
    number = float(token)
    if not np.isfinite(number):
        raise LineError(text_format.name, block.line_at(position), _explain_number(block, position, kind, token))
    if kind == SCALE:
        rows.scales[k] = number
        values = rows.values[rows.segments[k, 0] : rows.segments[k + 1, 0]]
        is_string = np.isnan(values)
        values *= number
        values[is_string] = 1.0
    elif kind == VALUE:
        segment = np.searchsorted(rows.segments[:n_segments, 0], k, "right") - 1
        rows.values[k] = number * rows.scales[segment]
    else:
        rows.labels[k, kind - LABEL] = number


def _explain_number(block, position, kind, token):
    if kind == VALUE:
        name = NAME.search(block.text[:position].tobytes()[: position - 1][::-1]).group()[::-1]
        meaning = f"the value of feature {name.decode('utf-8', 'backslashreplace')}"
    else:
        meaning = {LABEL: "the label", SCALE: "the scale of the namespace"}.get(kind, "the importance")
    return f"got {shorten_repr(token)} for {meaning}; write a finite number"


def _raise_for_token(text_format, block, status, position):
    """Raise the error for the token at which the scanner stopped."""
    word = block.token_at(position, WORD)
    name = block.token_at(position, NAME)
    value = word[len(name) + 1 :]
    column = name.lstrip("0")
    reasons = {
        NO_BAR: lambda: f"there is no '|'; {_explain_format(block.text_of_line(position))}",
        NO_LABEL: lambda: (
            "there is no label; write a label and a blank before the '|', or choose missing_labels='nan' or 'skip'"
        ),
        BAD_LABEL: lambda: f"got {shorten_repr(word)} for the label; write a finite number",
        BAD_IMPORTANCE: lambda: (
            f"got the importance {shorten_repr(word)}; it must not be negative"
            if re.match(r"-[\d.]", word)
            else f"got {shorten_repr(word)} for the importance; write a finite number"
        ),
        HAS_BASE: lambda: (
            "got 3 numbers before the '|'; write label and importance only, without an initial prediction"
        ),
        NO_NAMESPACE: lambda: "got ':' after '|'; write the name of a namespace or a blank after '|'",
        BAD_SCALE: lambda: f"got {shorten_repr(word)} for the scale of the namespace; write a finite number",
        NOT_NUMBERED: lambda: f"got the feature {shorten_repr(name)}; {HASHING_HINT}",
        COLUMN_TOO_LARGE: lambda: (
            f"got the feature {shorten_repr(name)}; the largest supported number is {LARGEST_INDEX}"
            if text_format.n_features is None or len(column) > 18
            else f"got the feature {column} with n_features={text_format.n_features}; pass {int(column) + 1} or more, "
            "or omit it"
        ),
        OTHER_NAMESPACE: lambda: (
            f"got the namespace {name!r} after {text_format.namespace.decode('utf-8', 'backslashreplace')!r}; "
            f"{HASHING_HINT}"
        ),
        SECOND_NAMESPACE: lambda: f"got several namespaces; {HASHING_HINT}",
        BAD_VALUE: lambda: (
            f"got {shorten_repr(value)} for the value of feature {name}; write a finite number"
            + ("" if text_format.names == NUMBERED else " or a string that does not start with a digit")
        ),
        LOST_VALUE: lambda: f"there is no value after {shorten_repr(word)}; write it without a blank after the ':'",
    }
    raise LineError(text_format.name, block.line_at(position), reasons[status]())


def _explain_format(line):
    """Return a remedy for a line without a bar: the name of the format that it seems to have."""
    if LIBFFM_LINE.search(line):
        return "this is LIBFFM text, field:feature:value; number the features and write label | feature:value"
    if SVMLIGHT_LINE.search(line):
        return "this is svmlight text; read it with load_svmlight"
    if SEPARATED_LINE.search(line):
        return "this is CSV, comma-separated text; read it with read_csv"
    return "write the label, '|' and the features"
