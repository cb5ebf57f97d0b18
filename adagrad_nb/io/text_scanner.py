"""Byte scanner of lines of label and text: words in lower case and their n-grams, hashed.

``text`` is a uint8 array of whole lines, as in `number_scanner`.
"""

import functools
import re
from typing import NamedTuple

import numpy as np

from ..compiler.jit import borrow_arrays, jit
from .murmurhash import hash_bytes
from .number_scanner import CARRIAGE_RETURN, NEWLINE, SPACE, is_blank

# Status of `scan_text`; after an error, the second number returned is a position in `text`.
OK, NO_DELIMITER, NO_LABEL, OPEN_QUOTE, NOT_UTF8 = range(5)
NO_LABELS, FIRST, LAST = range(3)  # where the label is
QUOTE, COMMA = b'",'
MIN_CHARACTERS = 2  # of a word
N_POINTS = 0x20000  # code points in the table; those above, up to END_OF_IDEOGRAPHS, are rare ideographs: words
END_OF_IDEOGRAPHS = 0x40000  # the points from here on are tags, selectors of variants, and those for private use
TOP_BIT = 2**31
_0, _1, _2, _3, _4, _6 = (np.uint64(k) for k in (0, 1, 2, 3, 4, 6))


class TextSettings(NamedTuple):
    """Options of the scanner."""

    label: int  # NO_LABELS, FIRST or LAST
    delimiter: int
    words: np.ndarray  # for each code point: itself or its lower case if it is part of words, else 0
    shortest: int  # n-gram
    longest: int  # n-gram
    mask: int  # 2^bits - 1
    is_signed: int


class TextRows(NamedTuple):
    """Arrays that the scanner fills."""

    labels: np.ndarray  # (rows, 2): start and end of the label in the text
    indptr: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    buffer: np.ndarray  # words of a row in lower case, with a blank between them
    words: np.ndarray  # (words of a row, 2): start and end in the buffer
    names: (
        np.ndarray
    )  # (features, 2): start and end of each feature in the buffer, which then has the words of all rows


@functools.cache
def word_table(lowercase):
    """Return a table: the lower case of each code point that Python's ``\\w`` matches, and 0 for others."""
    points = "".join(map(chr, range(N_POINTS)))
    table = np.zeros(N_POINTS, np.int32)
    for c in re.findall(r"\w", points):
        lower = c.lower() if lowercase else c
        table[ord(c)] = ord(lower) if len(lower) == 1 else ord(c)
    return table


@jit
def count_text(text):
    """Return the numbers of line ends and of words, an upper bound: a word has two bytes and one after it."""
    lines = 0
    for i in range(text.size):
        lines += text[i] == NEWLINE
    return lines, text.size // 3 + 1


@jit
def decode_point(text, i):
    """Return (code point, bytes) of the UTF-8 sequence of two to four bytes at text[i:]; 0 bytes if it is malformed."""
    c = np.int64(text[i])
    size = 2 if 0xC2 <= c < 0xE0 else 3 if 0xE0 <= c < 0xF0 else 4 if 0xF0 <= c < 0xF5 else 0
    point = c & (0x3F if size == 2 else 0x0F if size == 3 else 0x07)
    for k in range(1, size):
        c = np.int64(text[i + np.uint64(k)])  # the line end stops a truncated sequence
        if c & 0xC0 != 0x80:
            return 0, 0
        point = point << 6 | (c & 0x3F)
    if (size == 3 and (point < 0x800 or 0xD800 <= point < 0xE000)) or (size == 4 and not 0x10000 <= point < 0x110000):
        return 0, 0
    return point, size


@jit
def encode_point(buffer, o, point):
    """Write a code point of two to four bytes to buffer[o:]; return the end."""
    size = 2 if point < 0x800 else 3 if point < 0x10000 else 4
    for k in range(size - 1, 0, -1):
        buffer[o + k] = 0x80 | (point & 0x3F)
        point >>= 6
    buffer[o] = (0xC0 if size == 2 else 0xE0 if size == 3 else 0xF0) | point
    return o + size


@jit
def find_fields(text, start, end, settings):
    """Return (status, start and end of the label, start and end of the text) of the line text[start:end]."""
    if settings.label == NO_LABELS:
        return OK, start, start, start, end
    quotes = 0
    split = end
    i = start
    while i < end:
        if settings.delimiter == COMMA and text[i] == QUOTE:
            quotes += 1
        elif text[i] == settings.delimiter and quotes % 2 == 0:
            split = i
            if settings.label == FIRST and settings.delimiter != COMMA:
                break
            if settings.label == FIRST:
                i += _1
                while i < end:
                    quotes += text[i] == QUOTE
                    i += _1
                break
        i += _1
    if quotes % 2:
        return OPEN_QUOTE, start, start, start, end
    if split == end:
        return NO_DELIMITER, start, start, start, end
    label, label_end = (start, split) if settings.label == FIRST else (split + _1, end)
    while label < label_end and (text[label] == SPACE or text[label] == QUOTE):
        label += _1
    while label_end > label and (is_blank(text[label_end - _1]) or text[label_end - _1] == QUOTE):
        label_end -= _1
    if label == label_end:
        return NO_LABEL, start, start, start, end
    return (OK, label, label_end, split + _1, end) if settings.label == FIRST else (OK, label, label_end, start, split)


@jit
def split_words(text, i, end, settings, rows, o):
    """Write the words of text[i:end] in lower case to the buffer from o on.

    Return (status, position, number of words, end in the buffer).
    """
    buffer, words, table = rows.buffer, rows.words, settings.words
    count, characters, start = 0, 0, o
    while i <= end:  # text[end] is a line end or a delimiter
        c = np.int64(text[i]) if i < end else 0
        size, point = 1, 0
        if c < 0x80:
            point = table[c]
            if point:
                buffer[o] = point
                o += 1
        else:
            point, size = decode_point(text, i)
            if size == 0:
                return NOT_UTF8, i, count, o
            point = table[point] if point < N_POINTS else point if point < END_OF_IDEOGRAPHS else 0
            if point >= 0x80:
                o = encode_point(buffer, o, point)
            elif point:
                buffer[o] = point
                o += 1
        if point:
            characters += 1
        elif characters >= MIN_CHARACTERS:
            words[count, 0], words[count, 1] = start, o
            count += 1
            buffer[o] = SPACE
            o += 1
            start, characters = o, 0
        else:
            o, characters = start, 0
        i += np.uint64(size)
    return OK, i, count, o


@jit
def scan_text(text, settings, rows):
    """Write the rows of a text; return (status, position, rows, features, end in the buffer)."""
    (text,), settings, rows = borrow_arrays((text,)), borrow_arrays(settings), borrow_arrays(rows)
    i, size, row, k, o = _0, np.uint64(text.size), 0, 0, 0
    words, buffer, names = rows.words, rows.buffer, rows.names
    keeps_names = names.shape[0] > 0
    rows.indptr[0] = 0
    while i < size:
        end = i
        is_empty = True
        while text[end] != NEWLINE:
            is_empty = is_empty and is_blank(text[end])
            end += _1
        line_end = end
        while end > i and text[end - _1] == CARRIAGE_RETURN:
            end -= _1
        if not is_empty:
            status, label, label_end, start, stop = find_fields(text, i, end, settings)
            if status != OK:
                return status, i, row, k, o
            rows.labels[row, 0], rows.labels[row, 1] = label, label_end
            first = o if keeps_names else 0
            status, position, count, o = split_words(text, start, stop, settings, rows, first)
            if status != OK:
                return status, position, row, k, o
            for n in range(settings.shortest, settings.longest + 1):
                for w in range(count - n + 1):
                    a, b = words[w, 0], words[w + n - 1, 1]
                    h = np.int64(hash_bytes(buffer, np.uint64(a), np.uint64(b), _0))
                    is_negative = h >= TOP_BIT
                    magnitude = 2 * TOP_BIT - h if is_negative else h
                    rows.columns[k] = magnitude & settings.mask
                    rows.values[k] = -1.0 if is_negative and settings.is_signed else 1.0
                    if keeps_names:
                        names[k, 0], names[k, 1] = a, b
                    k += 1
            row += 1
            rows.indptr[row] = k
        i = line_end + _1
    return OK, i, row, k, o


@jit
def normalize_rows(indptr, data):
    """Divide each row by its Euclidean norm, in place; rows of zeros remain."""
    for row in range(indptr.size - 1):
        total = 0.0
        for k in range(indptr[row], indptr[row + 1]):
            total += np.float64(data[k]) * np.float64(data[k])
        for k in range(indptr[row], indptr[row + 1]):
            data[k] = data[k] / np.sqrt(total)
