"""Byte scanner of svmlight text: count lines and features, then write labels and CSR rows.

``text`` is a uint8 array of whole lines, as in `number_scanner`: every inner loop stops at a line end.
"""

import numpy as np

from ..compiler.jit import borrow_arrays, jit
from .number_scanner import (
    COLON,
    HASH,
    LOOKAHEAD,
    MALFORMED,
    MINUS,
    NEWLINE,
    SPACE,
    TAB,
    UNROUNDED,
    digit_value,
    ends_token,
    find_pair,
    is_blank,
    parse_digits,
    parse_integer,
    parse_number,
    parse_short,
)

# Status of `scan`; after an error, the second number returned is the position of the token in `text`.
OK, BAD_LABEL, BAD_FEATURE, BAD_VALUE, INDEX_TOO_SMALL, INDEX_TOO_LARGE = range(6)

LETTER_Q, LETTER_I, LETTER_D = b"qid"

_0, _1, _2, _3, _4, _8, _18 = (np.uint64(k) for k in (0, 1, 2, 3, 4, 8, 18))


@jit
def count_lines_and_colons(text):
    """Return the numbers of line ends and colons, which are upper bounds of the numbers of rows and features."""
    lines = colons = 0
    for i in range(text.size):
        lines += text[i] == NEWLINE
        colons += text[i] == COLON
    return lines, colons


@jit
def skip_qid(text, i):
    """Return the end of a token qid:integer at text[i:], or i if there is none."""
    if text[i] != LETTER_Q or text[i + _1] != LETTER_I or text[i + _2] != LETTER_D or text[i + _3] != COLON:
        return i
    digits = i + _4 + np.uint64(text[i + _4] == MINUS)
    _, end = parse_integer(text, digits)
    return end if end > digits and ends_token(text[end]) else i


@jit
def scan(text, first_index, max_index, labels, indptr, indices, values, unrounded):
    """Write the label and the CSR row of each line.

    Return (status, position, rows, nnz, max_column, is_sorted, n_unrounded).

    Columns are index - first_index.  An index outside [first_index, max_index] ends the scan.  Numbers that
    `parse_number` cannot round are listed in ``unrounded`` as (position of the token, k), where k stands for values[k]
    or, if negative, for labels[-1 - k].
    """
    (text,) = borrow_arrays((text,))  # counting references in each call of a helper takes 14 ns
    i, size = _0, np.uint64(text.size)
    rows = nnz = n_unrounded = _0
    max_column, is_sorted = np.int64(-1), True
    indptr[0] = 0
    while i < size:
        while is_blank(text[i]):
            i += _1
        if text[i] != NEWLINE and text[i] != HASH:
            start = i
            value, i, state = parse_number(text, start)
            if state == MALFORMED or not ends_token(text[i]):
                return BAD_LABEL, start, rows, nnz, max_column, is_sorted, n_unrounded
            if state == UNROUNDED:
                unrounded[n_unrounded, 0], unrounded[n_unrounded, 1] = start, -1 - np.int64(rows)
                n_unrounded += _1
            labels[rows] = value
            while is_blank(text[i]):
                i += _1
            if text[i] == LETTER_Q:
                i = skip_qid(text, i)
            previous = np.int64(-1)
            while True:
                while is_blank(text[i]):
                    i += _1
                if text[i] == NEWLINE or text[i] == HASH:
                    break
                start = i
                if i + LOOKAHEAD <= size:
                    colon, end = find_pair(text, i)
                    if colon < end and _0 < colon <= _8:
                        column, others = parse_digits(text, i, colon)
                        value, is_short = parse_short(text, i, colon + _1, end)
                        index = np.int64(column)
                        if is_short and others == _0 and first_index <= index <= max_index:
                            index -= first_index
                            is_sorted = is_sorted and index > previous
                            previous = index
                            max_column = max(max_column, index)
                            indices[nnz] = index
                            values[nnz] = value
                            nnz += _1
                            i += end
                            continue
                index, i = parse_integer(text, start)
                if i == start or text[i] != COLON:
                    return BAD_FEATURE, start, rows, nnz, max_column, is_sorted, n_unrounded
                if index > max_index or i - start > _18:
                    return INDEX_TOO_LARGE, start, rows, nnz, max_column, is_sorted, n_unrounded
                index -= first_index
                if index < 0:
                    return INDEX_TOO_SMALL, start, rows, nnz, max_column, is_sorted, n_unrounded
                i += _1
                d = digit_value(text[i])
                if 0 <= d <= 9 and ends_token(text[i + _1]):  # one digit is frequent enough to avoid the call
                    value = np.float64(d)
                    i += _1
                else:
                    value, i, state = parse_number(text, i)
                    if state == MALFORMED and (text[i] == SPACE or text[i] == TAB) and text[i - _1] == COLON:
                        while text[i] == SPACE or text[i] == TAB:  # "7: 0.5" is a feature, as for LIBSVM
                            i += _1
                        value, i, state = parse_number(text, i)
                    if state == MALFORMED or not ends_token(text[i]):
                        return BAD_VALUE, start, rows, nnz, max_column, is_sorted, n_unrounded
                    if state == UNROUNDED:
                        unrounded[n_unrounded, 0], unrounded[n_unrounded, 1] = start, nnz
                        n_unrounded += _1
                is_sorted = is_sorted and index > previous
                previous = index
                max_column = max(max_column, index)
                indices[nnz] = index
                values[nnz] = value
                nnz += _1
            rows += _1
            indptr[rows] = nnz
        while text[i] != NEWLINE:
            i += _1
        i += _1
    return OK, i, rows, nnz, max_column, is_sorted, n_unrounded
