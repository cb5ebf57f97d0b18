"""Kernel that finds the rows of comma-separated text: line ends inside quotes are part of a value."""

import numpy as np

from ..compiler.jit import jit

NEWLINE, RETURN, SPACE, TAB = 10, 13, 32, 9
NO_QUOTE = 256  # no byte


@jit
def scan_rows(text, delimiter, quote, row, counts_blank, ends):
    """Return (end of the last complete row, number of the line where row `row` starts, start of the open quote or -1).

    If `ends` is not empty, write the position and the number of lines up to the end of each row, empty ones included.

    Lines are counted from 0.  Empty lines are no rows; lines of blanks are rows if `counts_blank`.  The text ends with
    a line end.  A quote has its meaning at the start of a field only, as for pyarrow.
    """
    end = np.int64(0)
    line, line_of_row, row_line = 0, -1, 0
    rows, length, n_blank, n_ends = 0, 0, 0, 0
    open_quote = np.int64(-1)
    is_field_start, is_quoted = True, False
    i, size = 0, text.size
    while i < size:
        c = text[i]
        is_end = c == NEWLINE or c == RETURN
        if c == RETURN and i + 1 < size and text[i + 1] == NEWLINE:
            i += 1
        if is_quoted:
            length += 1
            if c == quote:
                if i + 1 < size and text[i + 1] == quote:
                    i += 1
                else:
                    is_quoted, open_quote = False, -1
        elif is_end:
            if length > n_blank or (length > 0 and counts_blank):
                if rows == row:
                    line_of_row = row_line
                rows += 1
            length, n_blank = 0, 0
            is_field_start = True
            end = i + 1
            row_line = line + 1
            if n_ends < ends.shape[0]:
                ends[n_ends, 0], ends[n_ends, 1] = end, row_line
                n_ends += 1
        else:
            length += 1
            if c == SPACE or (c == TAB and delimiter != TAB):
                n_blank += 1
            if c == quote and is_field_start:
                is_quoted, open_quote = True, i
            is_field_start = c == delimiter
        if is_end:
            line += 1
        i += 1
    return end, line_of_row, open_quote
