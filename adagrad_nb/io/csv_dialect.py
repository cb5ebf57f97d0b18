"""Delimiter, header and names of the columns of comma-separated text, found from its first rows."""

import csv
import re
from typing import NamedTuple

from .. import _check
from .svmlight import SVMLIGHT_LINE, VOWPAL_LINE

DELIMITERS = "\t,;|"
SAMPLE_ROWS, SAMPLE_BYTES = 200, 1 << 16
VOWPAL_FEATURES = re.compile(r"^[-+.\d\s]*\s\S*\|\S*\s.*\w:[-+.\d]")  # such as "1 |f a:1 b"
LINE_END = re.compile(rb"\r\n|\n|\r")


class Dialect(NamedTuple):
    """How the text is written.

    `names` are those of the columns, and `start` is the position of the first row of data.  `has_blanks` is whether a
    quote may follow blanks, and `has_header` whether the names are in the text.
    """

    delimiter: str
    quote: str | None
    names: tuple
    start: int
    has_blanks: bool
    has_header: bool


def find_dialect(source_name, head, delimiter, quote, header, missing, names_in_use=(), expected=()):
    """Return the dialect of the text that begins with `head`.

    Parameters
    ----------
    source_name : str
        Name of the file, for errors.
    head : bytes
        First lines of the text.
    delimiter : str or None
        None to find it.
    quote : str or None
        Quote character, None for none.
    header : bool, sequence of str, or None
        Whether there is a header, the names of the columns if there is none, or None to find it.
    missing : set of str
        Words for missing values.
    names_in_use : sequence of str
        Names of columns that the caller uses.  A first row with one of them is a header.
    expected : sequence of str
        Names of the columns of the first file, if this is another one.
    """
    lines = _first_lines(head)
    if not any(line.strip() for line in lines):
        raise ValueError(f"{source_name}: is empty; the file must have rows such as '5.1,red,yes'")
    if delimiter is None:
        delimiter = _find_delimiter(source_name, lines, quote)
    rows = _read_rows(lines, delimiter, quote)
    width = _modal_width(rows)
    preamble = 0
    while preamble < len(rows) and _is_preamble(rows[preamble][1], width):
        preamble += 1
    if preamble == len(rows):
        raise ValueError(f"{source_name}: has no rows of {width} fields; pass delimiter=…, such as delimiter=';'")
    fields = rows[preamble][1]
    data = [row for _, row in rows[preamble + 1 :] if len(row) == len(fields)]
    if isinstance(header, (list, tuple)):
        names, has_header = tuple(header), False
        if len(names) != len(fields):
            raise ValueError(f"header: got {len(names)} names, but {source_name} has {len(fields)} columns")
    else:
        if header is None:
            header = any(field.strip() in (*names_in_use, *expected) for field in fields)
            header = header or (not expected and _is_header(fields, data, missing))
        has_header = header
        names = tuple(name.strip() or f"f{k}" for k, name in enumerate(fields)) if has_header else tuple(expected)
        if names and len(names) != len(fields):
            raise ValueError(f"{source_name}: has {len(fields)} columns, but the first file has {len(names)}")
        names = names or tuple(f"f{k}" for k in range(len(fields)))
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{source_name}: the column name {name!r} occurs {names.count(name)} times; rename the columns, or "
                "pass header=[…] with their names after removing the header, or header=False if there is none"
            )
    n_lines = rows[preamble][0] if has_header else (rows[preamble - 1][0] if preamble else 0)
    has_blanks = quote is not None and blanks_before_quote(delimiter, quote).search(head[:SAMPLE_BYTES]) is not None
    return Dialect(delimiter, quote, names, _end_of_lines(head, n_lines), has_blanks, has_header)


def blanks_before_quote(delimiter, quote):
    """Return the pattern of blanks between a delimiter and a quote."""
    return re.compile(b"(?<=" + re.escape(delimiter.encode()) + b") +(?=" + re.escape(quote.encode()) + b")")


def _first_lines(head):
    text = head[:SAMPLE_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
    return lines[:SAMPLE_ROWS]


def _read_rows(lines, delimiter, quote):
    """Return [(number of the line after the row, fields)] of rows that are not empty."""
    options = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, **options)
    rows = []
    try:
        for row in reader:
            if any(field.strip() for field in row):
                rows.append((reader.line_num, row))
    except csv.Error:  # a field larger than the limit, or NUL in old versions of Python
        pass
    return rows


def _modal_width(rows):
    """Return the most frequent number of fields, the larger one of two."""
    widths = [len(row) for _, row in rows]
    return max(set(widths), key=lambda width: (widths.count(width), width), default=1)


def _is_preamble(fields, width):
    return width > 1 and len(fields) != width and (len(fields) == 1 or fields[0].startswith("#"))


def _find_delimiter(source_name, lines, quote):
    best = None
    for delimiter in DELIMITERS:
        rows = _read_rows(lines, delimiter, quote)
        width = _modal_width(rows)
        if width > 1:
            share = sum(len(row) == width for _, row in rows) / len(rows)
            if best is None or share > best[0]:
                best = share, delimiter
    first = next(line for line in lines if line.strip())
    if best is None or (best[1] == "|" and VOWPAL_FEATURES.search(first)):
        _raise_without_delimiter(source_name, first)
    return best[1]


def _raise_without_delimiter(source_name, line):
    line = line.rstrip()
    shown = _check.shorten_repr(line)
    if SVMLIGHT_LINE.search(line):
        raise ValueError(f"{source_name}: got {shown}; this is svmlight text, read it with read_svmlight")
    if VOWPAL_LINE.search(line):
        raise ValueError(f"{source_name}: got {shown}; this is Vowpal Wabbit text, read it with read_vw")
    raise ValueError(
        f"{source_name}: found no delimiter (comma, tab, semicolon or |) in {shown}; pass delimiter=…, such as "
        "delimiter=' '"
    )


def _is_header(fields, data, missing):
    """Return whether the first row is a header: distinct words that occur nowhere else in their columns."""
    words = [field.strip() for field in fields]
    if any(word and (is_number(word) or word in missing) for word in words):
        return False
    named = [word for word in words if word]
    if len(set(named)) < len(named) and not any(_is_numeric_column(data, k, missing) for k in range(len(words))):
        return False
    if any(_is_numeric_column(data, k, missing) for k in range(len(words))):
        return True
    return not any(row[k].strip() == word for row in data for k, word in enumerate(words) if word)


def _is_numeric_column(data, k, missing):
    values = [row[k].strip() for row in data if row[k].strip() not in missing]
    return bool(values) and all(is_number(value) for value in values)


def is_number(text):
    """Return whether a field is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _end_of_lines(head, n_lines):
    """Return the position after a number of lines."""
    end = 0
    for _ in range(n_lines):
        found = LINE_END.search(head, end)
        if found is None:
            return len(head)
        end = found.end()
    return end
