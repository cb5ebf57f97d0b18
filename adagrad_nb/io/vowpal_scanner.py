"""Byte scanner of Vowpal Wabbit text: labels, weights, namespaces, and features with numbers or hashed names.

``text`` is a uint8 array of whole lines, as in `number_scanner`: every inner loop stops at a line end.
"""

from typing import NamedTuple

import numpy as np

from ..compiler.intrinsics import count_trailing_zeros, match_equal
from ..compiler.jit import borrow_arrays, jit
from .murmurhash import hash_name
from .number_scanner import (
    CARRIAGE_RETURN,
    COLON,
    DECIMAL_POINT,
    LOOKAHEAD,
    MALFORMED,
    MINUS,
    NEWLINE,
    PLUS,
    SPACE,
    TAB,
    UNROUNDED,
    ZERO,
    digit_value,
    find_pair,
    inline,
    is_blank,
    parse_digits,
    parse_integer,
    parse_number,
    parse_short,
)

# Status of `scan_vw`; after an error, the second number returned is the position of the token in `text`.
(
    OK, NO_BAR, NO_LABEL, BAD_LABEL, BAD_IMPORTANCE, HAS_BASE, NO_NAMESPACE, BAD_SCALE, NOT_NUMBERED, COLUMN_TOO_LARGE,
    OTHER_NAMESPACE, SECOND_NAMESPACE, BAD_VALUE, LOST_VALUE,
) = range(14)  # fmt: skip
# Meaning of the names of features.
NUMBERED, HASH_STRINGS, HASH_ALL = range(3)
# Kind of a number that `parse_number` cannot round.
LABEL, WEIGHT, SCALE, VALUE = range(4)

BAR, QUOTE = b"|'"
LOWER_CASE = 32
ENDS_WORD = np.isin(np.arange(256), np.frombuffer(b" \t\r\n|", np.uint8))  # a table is faster than five comparisons
ENDS_NAME = ENDS_WORD | (np.arange(256) == COLON)
NAN, INFINITY = np.frombuffer(b"nan", np.uint8), np.frombuffer(b"infinity", np.uint8)
_0, _1, _3, _8, _18 = (np.uint64(k) for k in (0, 1, 3, 8, 18))


class VwSettings(NamedTuple):
    """Options of the scanner."""

    names: int  # NUMBERED, HASH_STRINGS or HASH_ALL
    mask: np.uint64  # 2^bits - 1, for hashed names
    max_column: int  # for numbered features
    namespace: np.ndarray  # the only namespace of numbered features, as bytes
    labelled: int  # whether each line must have a label; otherwise the label of a line without one is NaN


class VwRows(NamedTuple):
    """Arrays that the scanner fills."""

    labels: np.ndarray  # (rows, 2): label and weight
    starts: np.ndarray  # position of each row in the text
    row_segments: np.ndarray  # (rows + 1,): first segment of each row
    segments: np.ndarray  # (segments + 1, 2): first feature of each namespace of a row; its first byte
    scales: np.ndarray  # (segments,): factor of the numbers, but not of the value 1 of a string
    columns: np.ndarray
    values: np.ndarray  # a string is NaN where `parse_number` cannot round the scale, which then is taken as 1
    unrounded: np.ndarray  # (n, 3): position of a number, its kind, and its index
    names: np.ndarray  # (features, 3): start and end of the name, start of the namespace; without rows, not kept


@jit
def count_vw(text):
    """Return the numbers of line ends, blanks and bars."""
    lines = blanks = bars = 0
    for i in range(text.size):
        c = text[i]
        lines += c == NEWLINE
        blanks += (c == SPACE) | (c == TAB) | (c == CARRIAGE_RETURN)
        bars += c == BAR
    return lines, blanks, bars


@inline
def ends_word(c):
    """Return whether a word ends before the byte c."""
    return ENDS_WORD[c]


@inline
def ends_name(c):
    """Return whether a name ends before the byte c."""
    return ENDS_NAME[c]


@inline
def hash_word(text, start, end, seed, names):
    """Return the hash of a name."""
    return hash_name(text, start, end, seed, names == HASH_ALL)


@jit
def is_not_finite(text, start, end):
    """Return whether text[start:end] is nan, inf or infinity, with or without a sign, in any case."""
    if text[start] == MINUS or text[start] == PLUS:
        start += _1
    size = end - start
    if size != _3 and size != _8:
        return False
    is_nan, is_infinite = size == _3, True
    for k in range(size):
        c = text[start + np.uint64(k)] | LOWER_CASE
        is_nan = is_nan and c == NAN[k]
        is_infinite = is_infinite and c == INFINITY[k]
    return is_nan or is_infinite


@jit
def begins_number(text, i):
    """Return whether text[i:] starts as a number: a digit, or a sign or point before a digit or the end of the word."""
    start = i
    if text[i] == MINUS or text[i] == PLUS:
        i += _1
    if text[i] == DECIMAL_POINT:
        i += _1
    return 0 <= digit_value(text[i]) <= 9 or (i > start and ends_word(text[i]))


@jit
def scan_label(text, i, bar, row, out, n_unrounded):
    """Write the label and the weight in text[i:bar].

    Return (status, position of a token with an error, numbers found, n_unrounded).
    """
    labels, unrounded = out.labels, out.unrounded
    labels[row, 0], labels[row, 1] = np.nan, 1.0
    count = 0
    while is_blank(text[i]):
        i += _1
    while i < bar:
        start = i
        while not ends_word(text[i]):
            i += _1
        end = i
        while is_blank(text[i]):
            i += _1
        if i == bar and (end == bar or text[start] == QUOTE):
            break  # the tag
        value, stop, state = parse_number(text, start)
        if state == MALFORMED or stop != end:
            return (BAD_LABEL if count == 0 else BAD_IMPORTANCE if count == 1 else HAS_BASE), start, count, n_unrounded
        if count > 2 or (count == 2 and (state == UNROUNDED or value != 0.0)):
            return HAS_BASE, start, count, n_unrounded
        if count == 1 and text[start] == MINUS and (state == UNROUNDED or value < 0.0):
            return BAD_IMPORTANCE, start, count, n_unrounded
        if count < 2:
            labels[row, count] = value
            if state == UNROUNDED:
                unrounded[n_unrounded, 0], unrounded[n_unrounded, 1] = start, LABEL + count
                unrounded[n_unrounded, 2] = row
                n_unrounded += _1
        count += 1
    return OK, i, count, n_unrounded


@jit
def scan_namespace(text, i, settings):
    """Return (status, end of the name, hash) of the namespace at text[i:]."""
    start = i
    if text[i] == COLON:
        return NO_NAMESPACE, start, _0
    while not ends_name(text[i]):
        i += _1
    if settings.names != NUMBERED:
        return OK, i, _0 if i == start else hash_word(text, start, i, _0, settings.names)
    same = i - start == np.uint64(settings.namespace.size)
    for k in range(settings.namespace.size if same else 0):
        same = same and text[start + np.uint64(k)] == settings.namespace[k]
    return (OK if same else OTHER_NAMESPACE), i, _0


@jit
def scan_column(text, i, max_column):
    """Return (status, end, column) of the numbered feature at text[i:]."""
    start = i
    while text[i] == ZERO:
        i += _1
    first = i
    column, i = parse_integer(text, i)
    if i == start or not (ends_word(text[i]) or text[i] == COLON):
        return NOT_NUMBERED, i, column
    if i - first > _18 or column > max_column:
        return COLUMN_TOO_LARGE, i, column
    return OK, i, column


@jit
def scan_value(text, start, name_start, name_end, seed, names):
    """Return (status, end, value, state, hash) of the value at text[start:].

    The state is that of `parse_number`; MALFORMED means a string, of which the hash is that of the feature.
    """
    value, i, state = parse_number(text, start)
    if state != MALFORMED:
        return (OK if ends_word(text[i]) else BAD_VALUE), i, value, state, _0
    if names == NUMBERED or begins_number(text, start):
        return BAD_VALUE, i, 0.0, state, _0
    i = start
    while not (is_blank(text[i]) or text[i] == NEWLINE):
        i += _1
    if i == start:
        return LOST_VALUE, i, 0.0, state, _0
    if is_not_finite(text, start, i):
        return BAD_VALUE, i, 0.0, state, _0
    return OK, i, 1.0, state, hash_word(text, start, i, hash_word(text, name_start, name_end, seed, names), names)


@inline
def scan_short(text, i, seed, settings):
    """Return (status, end of the name, end, column, value) of a token of usual length at text[i:].

    Its name has no bar and, if it is a number, at most 8 digits; its value is a `parse_short` number or missing.  The
    status is not OK for other tokens, which may be sound.
    """
    colon, end = find_pair(text, i)
    name_end = min(colon, end)
    value, is_short, column = 1.0, name_end > _0, np.int64(0)
    if colon < end:
        value, is_short = parse_short(text, i, colon + _1, end)
    if settings.names == NUMBERED:
        number, others = parse_digits(text, i, min(name_end, _8))
        column = np.int64(number)
        is_short = is_short and others == _0 and _0 < name_end <= _8 and column <= settings.max_column
    elif is_short and name_end > _0 and count_trailing_zeros(match_equal(text, i, np.uint64(BAR))) >= end:
        column = np.int64(hash_word(text, i, i + name_end, seed, settings.names) & settings.mask)
    else:
        is_short = False
    return (OK if is_short else NOT_NUMBERED), i + name_end, i + end, column, value


@jit
def scan_vw(text, settings, out):
    """Write the rows of a text.

    Return (status, position, rows, features, segments, n_unrounded, largest column, whether the columns of each row
    increase).
    """
    (text,), settings, out = borrow_arrays((text,)), borrow_arrays(settings), borrow_arrays(out)
    starts, row_segments, segments = out.starts, out.row_segments, out.segments
    scales, columns, values, unrounded, positions = out.scales, out.columns, out.values, out.unrounded, out.names
    names, mask = settings.names, settings.mask
    i, size, rows, k, s, n_unrounded = _0, np.uint64(text.size), _0, _0, _0, _0
    largest, is_sorted = np.int64(-1), True
    keeps_names = positions.shape[0] > 0
    row_segments[0] = 0
    while i < size:
        while is_blank(text[i]):
            i += _1
        if text[i] == NEWLINE:
            i += _1
            continue
        bar = i
        while text[bar] != BAR and text[bar] != NEWLINE:
            bar += _1
        if text[bar] == NEWLINE:
            return NO_BAR, i, rows, k, s, n_unrounded, largest, is_sorted
        starts[rows] = i
        status, position, count, n_unrounded = scan_label(text, i, bar, rows, out, n_unrounded)
        if status == OK and count == 0 and settings.labelled:
            status = NO_LABEL
        if status != OK:
            return status, position, rows, k, s, n_unrounded, largest, is_sorted
        i, previous = bar, np.int64(-1)
        while text[i] == BAR:
            i += _1
            namespace = i
            if names == NUMBERED and s > np.uint64(row_segments[rows]):
                return SECOND_NAMESPACE, namespace, rows, k, s, n_unrounded, largest, is_sorted
            status, i, seed = scan_namespace(text, i, settings)
            if status != OK:
                return status, namespace, rows, k, s, n_unrounded, largest, is_sorted
            segments[s, 0], segments[s, 1] = k, (SPACE if i == namespace else text[namespace])
            scale, string_value = 1.0, 1.0
            if text[i] == COLON:
                start = i + _1
                scale, i, state = parse_number(text, start)
                if state == MALFORMED or not ends_word(text[i]):
                    return BAD_SCALE, start, rows, k, s, n_unrounded, largest, is_sorted
                if state == UNROUNDED:
                    scale, string_value = 1.0, np.nan
                    unrounded[n_unrounded, 0], unrounded[n_unrounded, 1] = start, SCALE
                    unrounded[n_unrounded, 2] = s
                    n_unrounded += _1
            scales[s] = scale
            s += _1
            anonymous = _0
            while True:
                while is_blank(text[i]):
                    i += _1
                if text[i] == NEWLINE or text[i] == BAR:
                    break
                start = i
                if i + LOOKAHEAD <= size:
                    status, end, stop, column, value = scan_short(text, i, seed, settings)
                    if status == OK:
                        i = stop
                        is_sorted = is_sorted and column > previous
                        previous = column
                        largest = max(largest, column)
                        columns[k] = column
                        values[k] = scale * value
                        if keeps_names:
                            positions[k, 0], positions[k, 1], positions[k, 2] = start, end, namespace
                        k += _1
                        continue
                hashed, column = _0, np.int64(0)
                if names == NUMBERED:
                    status, i, column = scan_column(text, i, settings.max_column)
                    if status != OK:
                        return status, start, rows, k, s, n_unrounded, largest, is_sorted
                else:
                    while not ends_name(text[i]):
                        i += _1
                end, value, is_string = i, 1.0, False
                if text[i] == COLON:
                    i += _1
                    d = digit_value(text[i])
                    if 0 <= d <= 9 and ends_word(text[i + _1]):  # one digit is frequent enough to avoid the call
                        value = np.float64(d)
                        i += _1
                    else:
                        status, stop, value, state, hashed = scan_value(text, i, start, end, seed, names)
                        if status != OK:
                            return status, start, rows, k, s, n_unrounded, largest, is_sorted
                        is_string = state == MALFORMED
                        if state == UNROUNDED:
                            unrounded[n_unrounded, 0], unrounded[n_unrounded, 1] = i, VALUE
                            unrounded[n_unrounded, 2] = k
                            n_unrounded += _1
                        i = stop
                if names != NUMBERED:
                    if end > start and not is_string:
                        hashed = hash_word(text, start, end, seed, names)
                    elif not is_string:
                        hashed = seed + anonymous
                        anonymous += _1
                    column = np.int64(hashed & mask)
                is_sorted = is_sorted and column > previous
                previous = column
                largest = max(largest, column)
                columns[k] = column
                values[k] = string_value if is_string else scale * value
                if keeps_names:
                    positions[k, 0], positions[k, 1], positions[k, 2] = start, (i if is_string else end), namespace
                k += _1
        rows += _1
        row_segments[rows] = s
    segments[s, 0] = k
    return OK, i, rows, k, s, n_unrounded, largest, is_sorted
