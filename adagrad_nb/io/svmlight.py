"""Parser of one block of svmlight text: rows as CSR, and error messages with line number and remedy."""

import re
from typing import NamedTuple

import numpy as np
import scipy

from .lines import NUMBER, LineError, shorten_repr
from .svmlight_scanner import BAD_FEATURE, BAD_LABEL, BAD_VALUE, INDEX_TOO_LARGE, INDEX_TOO_SMALL, OK, scan

INT32_COLUMNS = np.iinfo(np.int32).max  # most columns for which SciPy uses int32 indices
LARGEST_INDEX = 10**18 - 1  # the scanner reads up to 18 digits
NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
# Lines of other formats, for error messages.
LIBFFM_LINE = re.compile(r"(?:^|\s)\d+:\d+:[-+.\d]")
SVMLIGHT_LINE = re.compile(r"^\s*[-+.\deE]+\s(?:\s*\d+:[-+.\deE]+)+\s*(?:#|$)")
SEPARATED_LINE = re.compile(r"^[^:|]*[^:|\s][,;][^:|]*$")
VOWPAL_LINE = re.compile(r"\s\S*\|")


class TextFormat(NamedTuple):
    """Options of the parser."""

    name: str  # name of the file, for error messages
    n_features: int | None
    first_index: int  # index of the first column: 0 or 1
    dtype: np.dtype
    duplicates: str = "error"  # or "sum"


def parse_block(text_format, block, lines, colons, min_columns):
    """Return (X, y) of a block.

    `lines` and `colons` are upper bounds of the numbers of rows and non-zeros; X has at least `min_columns` columns.
    """
    needs_int64 = max(min_columns, text_format.n_features or 0) > INT32_COLUMNS
    max_index = (
        LARGEST_INDEX if text_format.n_features is None else text_format.n_features - 1 + text_format.first_index
    )
    result = None
    if not needs_int64:
        X, y, result = _scan_block(
            text_format, block, lines, colons, np.int32, min(max_index, INT32_COLUMNS - 1 + text_format.first_index)
        )
    if needs_int64 or (result.status == INDEX_TOO_LARGE and max_index >= INT32_COLUMNS):
        X, y, result = _scan_block(text_format, block, lines, colons, np.int64, max_index)
    if result.status != OK:
        _raise_for_token(text_format, block, result.status, result.position)
    n_features = text_format.n_features or max(min_columns, result.max_column + 1)
    X = scipy.sparse.csr_array(X, shape=(y.size, n_features))
    if result.is_sorted:
        X.has_canonical_format = True  # otherwise SciPy would check the indices
    else:
        _sort_columns(text_format, block, X)
    return X, y


class ScanResult(NamedTuple):
    """Result of the scanner."""

    status: int
    position: int
    rows: int
    nnz: int
    max_column: int
    is_sorted: bool
    n_unrounded: int


def _scan_block(text_format, block, lines, colons, index_dtype, max_index):
    """Scan a block; return ((data, indices, indptr), y, result)."""
    labels = np.empty(lines)
    indptr = np.empty(lines + 1, index_dtype)
    indices = np.empty(colons, index_dtype)
    values = np.empty(colons, text_format.dtype)
    unrounded = np.empty((lines + colons, 2), np.int64)  # rarely written; untouched pages use no memory
    with np.errstate(over="ignore"):  # the scanner relies on uint64 overflow, of which NumPy warns in interpreted mode
        scanned = scan(block.text, text_format.first_index, max_index, labels, indptr, indices, values, unrounded)
    result = ScanResult(*(int(number) for number in scanned))
    for position, target in unrounded[: result.n_unrounded].tolist():
        _round_in_python(text_format, block, position, *((labels, -1 - target) if target < 0 else (values, target)))
    arrays = values[: result.nnz], indices[: result.nnz], indptr[: result.rows + 1]
    return arrays, labels[: result.rows], result


def _round_in_python(text_format, block, position, numbers, k):
    """Parse by `float` a number that the scanner cannot round: more than 19 digits, subnormal or infinite."""
    token = block.token_at(position, NUMBER)
    if token.endswith(":"):  # a blank before the value
        blanks = re.compile(rb"[ \t]*").match(block.text[position + len(token) :].data).end()
        token += block.token_at(position + len(token) + blanks, NUMBER)
    with np.errstate(over="ignore"):
        numbers[k] = float(token.rpartition(":")[2])
    if not np.isfinite(numbers[k]):
        problem = f"got {shorten_repr(token)}, which exceeds the largest {numbers.dtype}"
        remedy = "pass dtype=np.float64 or scale the data" if numbers.dtype != np.float64 else "scale the data"
        raise_at_line(text_format, block.line_at(position), problem, remedy)


def _sort_columns(text_format, block, X):
    """Sort the columns of each row in place; raise if a column occurs twice in a row."""
    X.has_sorted_indices = False
    X.sort_indices()
    if X.has_canonical_format:
        return
    if text_format.duplicates == "sum":
        with np.errstate(over="ignore"):
            X.sum_duplicates()
        is_finite = np.isfinite(X.data)
        if not is_finite.all():
            row = int(np.searchsorted(X.indptr, int(is_finite.argmin()), "right")) - 1
            problem = f"the sum of the values of a feature exceeds the largest {X.dtype}"
            raise_at_line(text_format, _line_of_row(block, row), problem, "pass dtype=np.float64 or scale the data")
        return
    row_of_entry = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    is_duplicate = (X.indices[1:] == X.indices[:-1]) & (row_of_entry[1:] == row_of_entry[:-1])
    k = int(is_duplicate.argmax())
    index = X.indices[k] + text_format.first_index
    raise_at_line(
        text_format,
        _line_of_row(block, row_of_entry[k]),
        f"index {index} occurs twice",
        "add the two values, drop one, or pass duplicates='sum'",
    )


def _line_of_row(block, row):
    """Return the number of the line of row `row`; lines without a label are not rows."""
    lines = block.text.tobytes().split(b"\n")
    labelled = [number for number, line in enumerate(lines) if line.partition(b"#")[0].strip(b" \t\r")]
    return block.line + labelled[row]


# --- error messages ----------------------------------------------------------------------------------------------


def raise_at_line(text_format, line, problem, remedy):
    """Raise the error of a line of a file."""
    raise LineError(text_format.name, line, f"{problem}; {remedy}")


def _raise_for_token(text_format, block, status, position):
    """Raise the error for the token at which the scanner stopped."""
    token = block.token_at(position)
    explain = {
        BAD_LABEL: _explain_label,
        BAD_FEATURE: _explain_feature,
        BAD_VALUE: _explain_value,
        INDEX_TOO_SMALL: _explain_index_too_small,
        INDEX_TOO_LARGE: _explain_index_too_large,
    }[status]
    explained = _explain_format(block.text_of_line(position)) or explain(text_format, token)
    raise_at_line(text_format, block.line_at(position), *explained)


def _explain_format(line):
    """Return what is wrong with a line in another format, and the remedy, or None."""
    line = line.partition("#")[0].rstrip()
    if LIBFFM_LINE.search(line):
        return "this is LIBFFM text, field:feature:value", "remove the fields and number the features"
    if VOWPAL_LINE.search(line):
        return "this is Vowpal Wabbit text", "read it with load_vw"
    if SEPARATED_LINE.search(line):
        return (
            f"got {shorten_repr(line)}; this is CSV, comma-separated text",
            "read it with read_csv",
        )
    return None


def _explain_label(text_format, token):
    if "," in token:
        return (
            f"got several labels, {shorten_repr(token)}",
            "write one number per row, or pass multilabel=True to load_svmlight",
        )
    if NOT_FINITE.fullmatch(token):
        return f"got the label {shorten_repr(token)}", "labels must be finite; remove the row"
    if ":" in token:
        return (
            f"got {shorten_repr(token)} in place of the label",
            "start each row with a number, 0 if the label is unknown; label:weight, as XGBoost reads it, is not "
            "supported, so pass the weights as sample_weight",
        )
    return f"got the label {shorten_repr(token)}", "labels must be numbers; replace class names by 1, 2, 3"


def _explain_feature(text_format, token):
    index, colon, _ = token.partition(":")
    if index == "qid":
        return f"got {shorten_repr(token)}", "qid: takes an integer and may occur once, after the label"
    if not colon:
        return (
            f"got {shorten_repr(token)} in place of index:value",
            f"write {text_format.first_index + 2}:0.5, without a blank inside",
        )
    if re.fullmatch(r"-\d+", index):
        return (
            f"got the negative index {index} in {shorten_repr(token)}",
            f"number the features from {text_format.first_index}",
        )
    return (
        f"got the index {shorten_repr(index)} in {shorten_repr(token)}",
        f"an index must be an integer; number the features from {text_format.first_index}",
    )


def _explain_value(text_format, token):
    index, _, value = token.partition(":")
    if NOT_FINITE.fullmatch(value):
        return (
            f"got the value {value} in {shorten_repr(token)}",
            "omit a missing feature or give it a finite value",
        )
    return f"got the value {shorten_repr(value)} in {shorten_repr(token)}", f"write a number, as in {index}:0.5"


def _explain_index_too_small(text_format, token):
    return f"got {shorten_repr(token)} with zero_based=False, where indices start at 1", "pass zero_based=True"


def _explain_index_too_large(text_format, token):
    digits = token.partition(":")[0]
    if len(digits) > 18 and len(digits.lstrip("0")) <= 18:
        return f"got the index {shorten_repr(digits)} of {len(digits)} digits", "write it without leading zeros"
    index = int(digits[:60])
    if text_format.n_features is None:
        return f"got the index {index}", f"the largest supported index is {LARGEST_INDEX}; renumber the features"
    needed = index + 1 - text_format.first_index
    return (
        f"got the index {index} with n_features={text_format.n_features}",
        f"pass n_features={needed} or more, or omit it",
    )
