"""Blocks of whole lines of a text file, and errors in lines, which readers raise or skip."""

import re
import warnings
from typing import NamedTuple

import numpy as np

ON_ERROR = ("raise", "skip", "report")
MAX_VALUES = 1 << 21  # values up to which rows make one chunk, where a chunk is put together
MAX_LISTED = 1000
FEW_LINES = 16
NEWLINE = ord("\n")
TOKEN = re.compile(rb"[^ \t\r\n#]*")
NUMBER = re.compile(rb"[^\x00- #,]*")  # up to the bytes at which the scanner of svmlight text ends a token, or a comma
LINE = re.compile(rb"[^\n]*")


class TextBlock(NamedTuple):
    """Block of whole lines, the number of its first line in the file, and the name of the file."""

    text: np.ndarray
    line: int
    name: str = ""
    counts: tuple | None = None  # number of lines, and upper bounds of what a parser will find, if known

    def part(self, start, end, line):
        """Return the lines text[start:end]; `line` is the number of the first one."""
        return self._replace(text=self.text[start:end], line=line, counts=None)

    def line_at(self, position):
        """Return the number of the line with the byte at `position`."""
        return self.line + int(np.count_nonzero(self.text[:position] == NEWLINE))

    def text_of_line(self, position):
        """Return the line with the byte at `position`."""
        start = self.text.data[:position].tobytes().rfind(b"\n") + 1
        return LINE.match(self.text[start:].data).group().decode("utf-8", "backslashreplace")

    def token_at(self, position, token=TOKEN):
        """Return the token that starts at `position`."""
        return token.match(self.text[position:].data).group().decode("utf-8", "backslashreplace")


def shorten_repr(token):
    """Return the representation of a token, at most about 60 characters of it."""
    return repr(token if len(token) <= 60 else token[:57] + "...")


class LineError(ValueError):
    """Error in a line of a text file.

    Attributes
    ----------
    name : str
        Name of the file.
    line : int
        Number of the line, from 1.
    reason : str
        What is wrong, and a remedy.
    """

    def __init__(self, name, line, reason):
        super().__init__(f"{name}:line {line}: {reason}")
        self.name, self.line, self.reason = name, line, reason

    def __reduce__(self):
        return type(self), (self.name, self.line, self.reason)


class LineErrors(list):
    """List of the first 1000 errors of a pass through a file.

    Attributes
    ----------
    count : int
        Number of all errors, listed or not.
    """

    def __init__(self):
        super().__init__()
        self.count = 0

    def add(self, error):
        """Count an error, and list it unless there are too many."""
        self.count += 1
        if len(self) < MAX_LISTED:
            self.append(error)


def parse_good_lines(parse, block, errors):
    """Return the joined lists ``parse(block)`` of the lines without errors; the others are added to `errors`.

    `block` is a `TextBlock`.  After an error the text is parsed in parts of few lines, then of more and more, so that
    many errors do not take many passes through the block.
    """
    try:
        return parse(block)
    except LineError:
        ends = np.flatnonzero(block.text == NEWLINE) + 1
    starts = np.concatenate([[0], ends])

    def parse_lines(line, end):
        return parse(block.part(int(starts[line]), int(starts[end]), block.line + line))

    return parse_good_rows(parse_lines, ends.size, lambda error: error.line - block.line, errors)


def parse_good_rows(parse, n_rows, row_of, errors):
    """Return the joined lists ``parse(row, end)`` of the rows without errors; the others are added to `errors`.

    `parse` raises LineError, and `row_of` returns its row.
    """
    parsed, row, size = [], 0, FEW_LINES
    while row < n_rows:
        end = min(row + size, n_rows)
        try:
            parsed += parse(row, end)
        except LineError as error:
            bad = row_of(error)
            if bad > row:  # parse the rows before it
                size = bad - row
            else:
                errors.add(error)
                row, size = row + 1, FEW_LINES
        else:
            row, size = end, 2 * size
    return parsed


def report_errors(name, errors):
    """Warn of the lines that have been skipped."""
    if errors.count:
        warnings.warn(
            f"{name}: skipped {errors.count} malformed lines; the first is {errors[0]}",
            UserWarning,
            stacklevel=2,
        )
