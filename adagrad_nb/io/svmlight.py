"""One block of svmlight text: its rows as CSR, or the sentence that says what is wrong with it and where."""

import re
from typing import NamedTuple

import numpy as np
import scipy

from .svmlight_scanner import BELOW, BEYOND, FEATURE, LABEL, OK, VALUE, scan

INT32_COLUMNS = np.iinfo(np.int32).max  # what SciPy indexes with int32
LARGEST_INDEX = 10**18 - 1  # what the scanner reads: 18 digits
NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
TOKEN = re.compile(rb"[^ \t\r\n#]*")


class Format(NamedTuple):
    """What the text is taken for."""

    name: str  # of the file, for messages
    n_features: int | None
    least: int  # the index of the first column: 0 or 1
    dtype: np.dtype


class Place(NamedTuple):
    """A block of text, and the number of its first line in the file."""

    text: np.ndarray
    line: int

    def line_at(self, position):
        """The number of the line that holds the byte at `position`."""
        return self.line + int(np.count_nonzero(self.text[:position] == 10))

    def line_of_row(self, row):
        """The number of the line that became row `row`; lines without a label became none."""
        lines = self.text.tobytes().split(b"\n")
        full = [number for number, line in enumerate(lines) if line.partition(b"#")[0].strip(b" \t\r")]
        return self.line + full[row]

    def token_at(self, position):
        """The token that starts at `position`."""
        text = self.text[position:].data
        return TOKEN.match(text).group().decode("utf-8", "backslashreplace")


def rows(form, place, lines, colons, columns):
    """(X, y) of a block of at most `lines` rows and `colons` features, and at least `columns` columns."""
    wide = max(columns, form.n_features or 0) > INT32_COLUMNS
    most = LARGEST_INDEX if form.n_features is None else form.n_features - 1 + form.least
    result = None
    if not wide:
        X, y, result = _scanned(form, place, lines, colons, np.int32, min(most, INT32_COLUMNS - 1 + form.least))
    if wide or (result.status == BEYOND and most >= INT32_COLUMNS):
        X, y, result = _scanned(form, place, lines, colons, np.int64, most)
    if result.status != OK:
        _refuse(form, place, result.status, result.position)
    n = form.n_features or max(columns, result.largest + 1)
    X = scipy.sparse.csr_array(X, shape=(y.size, n))
    if result.ascending:
        X.has_canonical_format = True  # spares SciPy a pass over the indices
    else:
        _sort(form, place, X)
    return X, y


class Scanned(NamedTuple):
    """What the scanner returns."""

    status: int
    position: int
    rows: int
    nnz: int
    largest: int
    ascending: bool
    left: int


def _scanned(form, place, lines, colons, index_dtype, most):
    """((data, indices, indptr), y, result) of the scanner."""
    labels = np.empty(lines)
    indptr = np.empty(lines + 1, index_dtype)
    indices = np.empty(colons, index_dtype)
    values = np.empty(colons, form.dtype)
    leftover = np.empty((lines + colons, 2), np.int64)  # rarely written, and pages never written cost nothing
    with np.errstate(over="ignore"):  # without the compiler, NumPy would warn of what uint64 is meant to do
        found = scan(place.text, form.least, most, labels, indptr, indices, values, leftover)
    result = Scanned(*(int(number) for number in found))
    for position, target in leftover[: result.left].tolist():
        _round(form, place, position, *((labels, -1 - target) if target < 0 else (values, target)))
    arrays = values[: result.nnz], indices[: result.nnz], indptr[: result.rows + 1]
    return arrays, labels[: result.rows], result


def _round(form, place, position, numbers, k):
    """Let Python read a number that the scanner could not round: more than 19 digits, subnormal or infinite."""
    token = place.token_at(position)
    with np.errstate(over="ignore"):
        numbers[k] = float(token.rpartition(":")[2])
    if not np.isfinite(numbers[k]):
        problem = f"got {_show(token)}, which exceeds the largest {numbers.dtype}"
        wider = "pass dtype=np.float64 or scale the data" if numbers.dtype != np.float64 else "scale the data"
        _complain(form, place.line_at(position), problem, wider)


def _sort(form, place, X):
    """Sort the columns of each row in place, and refuse a column that stands in a row twice."""
    X.has_sorted_indices = False
    X.sort_indices()
    if X.has_canonical_format:
        return
    row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    twice = (X.indices[1:] == X.indices[:-1]) & (row[1:] == row[:-1])
    k = int(twice.argmax())
    index = X.indices[k] + form.least
    _complain(form, place.line_of_row(row[k]), f"index {index} occurs twice", "add the two values up or drop one")


# --- sentences ---------------------------------------------------------------------------------------------------


def _complain(form, line, problem, remedy):
    raise ValueError(f"{form.name}:line {line}: {problem}; {remedy}")


def _show(token):
    return repr(token if len(token) <= 60 else token[:57] + "...")


def _refuse(form, place, status, position):
    """Raise the sentence for the token at which the scanner stopped."""
    token = place.token_at(position)
    sentence = {LABEL: _label, FEATURE: _feature, VALUE: _value, BELOW: _below, BEYOND: _beyond}[status]
    _complain(form, place.line_at(position), *sentence(form, token))


def _label(form, token):
    if "," in token:
        return f"got several labels, {_show(token)}", "write one number per row, for example one file per label"
    if NOT_FINITE.fullmatch(token):
        return f"got the label {_show(token)}", "labels are finite numbers, leave the row out"
    if ":" in token:
        return f"got {_show(token)} where the label belongs", "start each row with a number, 0 where it is unknown"
    return f"got the label {_show(token)}", "labels are numbers, replace the names of classes by 1, 2, 3"


def _feature(form, token):
    index, colon, _ = token.partition(":")
    if index == "qid":
        return f"got {_show(token)}", "qid: takes a whole number and stands once, after the label"
    if not colon:
        return f"got {_show(token)} where index:value belongs", f"write {form.least + 2}:0.5, with no blank inside"
    if re.fullmatch(r"-\d+", index):
        return f"got the negative index {index} in {_show(token)}", f"number the features from {form.least}"
    return (
        f"got the index {_show(index)} in {_show(token)}",
        f"an index is a whole number, number the features from {form.least}",
    )


def _value(form, token):
    index, _, value = token.partition(":")
    if NOT_FINITE.fullmatch(value):
        return f"got the value {value} in {_show(token)}", "leave a missing feature out or give it a finite number"
    return f"got the value {_show(value)} in {_show(token)}", f"a value is a number, as in {index}:0.5"


def _below(form, token):
    return f"got {_show(token)} in a file whose indices are taken to start at 1", "pass zero_based=True"


def _beyond(form, token):
    index = int(token.partition(":")[0])
    if form.n_features is None:
        return f"got the index {index}", f"the largest that can be read is {LARGEST_INDEX}, number the features anew"
    need = index + 1 - form.least
    return f"got the index {index} with n_features={form.n_features}", f"pass n_features={need} or more, or none"
