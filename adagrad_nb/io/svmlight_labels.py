"""Lists of labels and query identifiers of svmlight text, which the scanner of features does not keep."""

import numpy as np

from ..compiler.jit import borrow_arrays, jit
from .lines import NUMBER, shorten_repr
from .number_scanner import (
    COLON,
    HASH,
    MALFORMED,
    MINUS,
    NEWLINE,
    SPACE,
    UNROUNDED,
    ZERO,
    append_digits,
    ends_token,
    is_blank,
    parse_number,
)
from .svmlight import raise_at_line
from .svmlight_scanner import LETTER_D, LETTER_I, LETTER_Q, OK

BAD_LABELS, NO_QUERY_ID, BAD_QUERY_ID = range(1, 4)
COMMA = ord(",")
_0, _1, _2, _3, _4, _19, _63 = (np.uint64(k) for k in (0, 1, 2, 3, 4, 19, 63))


@jit
def scan_label_lists(text, out, labels, positions, indptr):
    """Copy the text with one label 0 in place of the labels of each row; write the labels, and where each starts.

    Return (status, position of a token with an error, bytes of `out`, rows).  A label that `parse_number` cannot round
    is NaN.
    """
    (text,) = borrow_arrays((text,))
    i, o, size = _0, _0, np.uint64(text.size)
    rows = k = _0
    indptr[0] = 0
    while i < size:
        while is_blank(text[i]):
            i += _1
        if text[i] != NEWLINE and text[i] != HASH:
            start = end = i
            is_feature = False  # the first token of a row without labels
            while not ends_token(text[end]):
                is_feature = is_feature or text[end] == COLON
                end += _1
            while not is_feature:
                positions[k] = i
                labels[k], i, state = parse_number(text, i)
                if state == UNROUNDED:
                    labels[k] = np.nan
                if state == MALFORMED or not (text[i] == COMMA or i == end):
                    return BAD_LABELS, start, o, rows
                k += _1
                if i == end:
                    break
                i += _1
            out[o], out[o + _1] = ZERO, SPACE
            o += _2
            rows += _1
            indptr[rows] = k
        while text[i] != NEWLINE:
            out[o] = text[i]
            o += _1
            i += _1
        out[o] = NEWLINE
        o += _1
        i += _1
    return OK, i, o, rows


@jit
def scan_query_ids(text, query_ids):
    """Write the number of the token qid: of each row; return (status, position of a token with an error, rows)."""
    (text,) = borrow_arrays((text,))
    i, size, rows = _0, np.uint64(text.size), _0
    while i < size:
        while is_blank(text[i]):
            i += _1
        if text[i] != NEWLINE and text[i] != HASH:
            start = i
            while not ends_token(text[i]):  # the label
                i += _1
            while is_blank(text[i]):
                i += _1
            if text[i] != LETTER_Q or text[i + _1] != LETTER_I or text[i + _2] != LETTER_D or text[i + _3] != COLON:
                return NO_QUERY_ID, start, rows
            start = i
            i += _4
            negative = text[i] == MINUS
            i += np.uint64(negative)
            magnitude, end = append_digits(text, i, _0)
            largest = (_1 << _63) - np.uint64(not negative)
            if end == i or end - i > _19 or magnitude > largest or not ends_token(text[end]):
                return BAD_QUERY_ID, start, rows
            query_ids[rows] = -np.int64(magnitude - _1) - 1 if negative and magnitude > _0 else np.int64(magnitude)
            i = end
            rows += _1
        while text[i] != NEWLINE:
            i += _1
        i += _1
    return OK, i, rows


def split_labels(text_format, block, lines):
    """Return (block with one label 0 in each row, labels of all rows, start of the labels of each row)."""
    text = block.text
    n_labels = lines + int(np.count_nonzero(text == COMMA))
    out = np.empty(text.size + 2 * lines, np.uint8)
    labels, positions, indptr = np.empty(n_labels), np.empty(n_labels, np.int64), np.empty(lines + 1, np.int64)
    with np.errstate(over="ignore"):  # as in `svmlight`
        scanned = scan_label_lists(text, out, labels, positions, indptr)
    status, position, size, rows = (int(number) for number in scanned)
    if status != OK:
        raise_at_line(
            text_format,
            block.line_at(position),
            f"got the labels {shorten_repr(block.token_at(position))}",
            "write numbers with commas between them and without blanks",
        )
    labels, indptr = labels[: indptr[rows]], indptr[: rows + 1]
    for k in np.flatnonzero(np.isnan(labels)):
        labels[k] = float(NUMBER.match(text[positions[k] :].data).group())
        if not np.isfinite(labels[k]):
            problem = f"got the labels {shorten_repr(block.token_at(positions[k]))}, which exceed the largest float64"
            raise_at_line(text_format, block.line_at(positions[k]), problem, "scale the labels")
    return block._replace(text=out[:size]), labels, indptr


def read_query_ids(text_format, block, lines):
    """Return the query identifier of each row."""
    query_ids = np.empty(lines, np.int64)
    with np.errstate(over="ignore"):
        status, position, rows = (int(number) for number in scan_query_ids(block.text, query_ids))
    if status == NO_QUERY_ID:
        raise_at_line(
            text_format,
            block.line_at(position),
            "the row has no query identifier",
            "write qid:1 after the label, or omit query_id",
        )
    if status == BAD_QUERY_ID:
        raise_at_line(
            text_format,
            block.line_at(position),
            f"got {shorten_repr(block.token_at(position))}",
            "qid: takes an integer of 64 bits",
        )
    return query_ids[:rows]


def as_tuples(labels, indptr):
    """Return the labels of each row as a sorted tuple."""
    return [tuple(sorted(labels[a:b].tolist())) for a, b in zip(indptr[:-1], indptr[1:], strict=True)]
