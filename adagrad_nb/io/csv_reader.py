"""read_csv: rows of comma-separated text in chunks, parsed by pyarrow.

`csv_dialect` finds delimiter and header, `csv_scanner` finds the ends of rows, and `table_reader` maps columns to
features.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from .. import _check
from .arrow import CellError, import_pyarrow, type_kind
from .column_entries import Numeric, OneHot, Text
from .csv_dialect import blanks_before_quote, find_dialect
from .csv_scanner import NO_QUOTE, scan_rows
from .lines import ON_ERROR, LineError, parse_good_rows
from .readers import PREFETCH_SIZE
from .source import name_of_sources, open_sources, size_of_sources
from .table_reader import Batch, TableReader, check_options

if TYPE_CHECKING:
    import numpy.typing as npt

    from .columns import Columns

CHUNK_BYTES = 1 << 20
HEAD_BYTES = 1 << 20  # text from which the dialect and the types of the columns are found
PARALLEL_BYTES = 1 << 18  # smaller texts are parsed by one thread
TO_UTF8 = "convert the file, as with iconv -t utf-8"
NO_ENDS = np.empty((0, 2), np.int64)
MAX_QUOTED = 1 << 24  # bytes of a row with line ends inside quotes
QUOTE = '"'
MISSING_WORDS = (
    "", "?", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null",
)  # fmt: skip
_BAD_WIDTH = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)
_BAD_VALUE = re.compile(
    r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to ([^:]*): (invalid UTF8 data|.*)", re.DOTALL
)


def read_csv(
    path: "str | os.PathLike | BinaryIO | Sequence",
    *,
    label: str | int | None = -1,
    weight: str | int | None = None,
    positive: Any = None,
    columns: "Columns | dict | None" = None,
    interactions: Sequence[Sequence[str]] = (),
    bits: int | None = None,
    signed: bool | None = None,
    new_categories: Literal["add", "ignore"] | None = None,
    header: bool | Sequence[str] | None = None,
    delimiter: str | None = None,
    quote: str | None = QUOTE,
    missing: Sequence[str] = MISSING_WORDS,
    dtype: "npt.DTypeLike" = np.float64,
    chunk_bytes: int = CHUNK_BYTES,
    on_error: Literal["raise", "skip", "report"] = "raise",
) -> "CsvFile":
    """Return an iterable that reads comma-separated text in chunks, once per iteration.

    The first 8192 rows determine the kind of each column.  Numbers are one feature: minus their mean, unless most of
    them are 0, and divided by their standard deviation.  Strings are one-hot encoded.  Columns with more than 1000
    different strings are hashed, and sentences become hashed words.  `columns` declares other kinds.

    Blanks around values are removed.  Leading lines with a single field, such as comments, are skipped.

    Parameters
    ----------
    path : str, os.PathLike, binary file, or list of them
        Plain file, or a file compressed by gzip, xz, bzip2 or zstd, whatever its name.  "-" is standard input.
        A pattern such as ``"part-*.csv"`` stands for all files that match it, in alphabetical order.  Later files have
        the columns of the first one: in any order if their first row has names, otherwise in the same one.
    label : str, int or None, default -1
        Name or position of the column of labels, by default the last one.  Labels are numbers, booleans or strings; a
        final dot of a string is removed.  None if there are no labels; then `y` of the chunks is None.
    weight : str or int, optional
        Name or position of a column of sample weights.
    positive : label or sequence of labels, optional
        If given, `y` is whether the label is one of these, so that several classes become two.
    columns : Columns or dict, optional
        A whole mapping, such as ``model.columns``, or the kinds of some columns by name: "numeric", "one_hot",
        "hashed", "text", "ignore", or a record such as ``Text("review", ngrams=2)``.
    interactions : sequence of sequences of str, optional
        Columns whose products are hashed features.
    bits : int, default 18
        There are ``2**bits`` hashed features, if any column is hashed.
    signed : bool, default False
        Whether the sign of a hashed value depends on its hash.
    new_categories : {"add", "ignore"}, optional
        Whether categories that the mapping lacks become new features, behind the others, or have no feature.  By
        default they are added, unless `columns` is a `Columns` record.
    header : bool or sequence of str, optional
        Whether the first row has the names of the columns; or the names, if no row has them.  By default it has if a
        field in it is a name that another argument uses, or if no field in it is a number and a column below has
        numbers, or if its words do not occur again below.  Columns
        without names are ``f0``, ``f1``, ….
    delimiter : str, optional
        Character between fields; by default a comma, tab, semicolon or vertical bar is found.
    quote : str or None, default '"'
        Character around fields that contain delimiters or line ends; None if it has no such meaning.
    missing : sequence of str
        Words for missing values, by default an empty field, ``?``, ``NA``, ``NaN``, ``null`` and similar ones.
    dtype : {numpy.float64, numpy.float32}
        Data type of `X`.
    chunk_bytes : int, default 1 MiB
        Bytes of decompressed text per chunk.  A chunk is longer if a single row is.
    on_error : {"raise", "skip", "report"}, default "raise"
        Treatment of a malformed row, such as one with too few fields, a word in a numeric column, or without a label:
        raise ValueError, omit it and list it in `errors`, or also warn of the number of such rows.  A quote that is
        not closed is always an error.

    Returns
    -------
    CsvFile
        Iterable of `Chunk` with the attributes `columns`, `feature_names`, `n_features`, `errors` and, for a progress
        bar, `size` and `position`.

    Raises
    ------
    ValueError
        If the text is malformed, when the chunk is read.  The message names file, line, column and remedy.
    ImportError
        If pyarrow is not installed.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import read_csv
    >>> file = read_csv(io.BytesIO(b"age,job,rich\\n30,cook,no\\n40,judge,yes\\n?,cook,no\\n"), label="rich")
    >>> [chunk] = file
    >>> file.feature_names
    ('age', 'job=cook', 'job=judge', 'age=(missing)')
    >>> chunk.X.toarray()
    array([[30.,  1.,  0.,  0.],
           [40.,  0.,  1.,  0.],
           [ 0.,  1.,  0.,  1.]])
    >>> chunk.y.tolist()
    ['no', 'yes', 'no']
    """
    import_pyarrow("read_csv")
    options = check_options(label, weight, positive, columns, interactions, bits, signed, new_categories, dtype)
    return CsvFile(open_sources(path), options, header, delimiter, quote, missing, chunk_bytes, on_error)


class CsvFile(TableReader):
    """Iterable of `Chunk`, returned by `read_csv`; see `TableReader` for its attributes."""

    _place = "line"

    def __init__(self, sources, options, header, delimiter, quote, missing, chunk_bytes, on_error):
        super().__init__(options)
        self._sources = sources
        self._on_error = _check.one_of("on_error", on_error, ON_ERROR)
        self._chunk_bytes = _check.positive_count("chunk_bytes", chunk_bytes)
        if header is not None and not isinstance(header, (bool, list, tuple)):
            raise TypeError(f"header: got {_check.shorten_repr(header)}; must be True, False or a list of names")
        for name, value in (("delimiter", delimiter), ("quote", quote)):
            if value is not None and (not isinstance(value, str) or len(value) != 1 or ord(value) > 127):
                raise ValueError(f"{name}: got {_check.shorten_repr(value)}; must be one ASCII character")
        if isinstance(missing, str):
            raise TypeError(f"missing: got {missing!r}; must be a sequence of words")
        self._text_format = header, delimiter, quote, {word.strip() for word in missing}

    @property
    def name(self) -> str:  # type: ignore[override]
        return name_of_sources(self._sources)

    @property
    def size(self) -> int | None:  # type: ignore[override]
        return size_of_sources(self._sources)

    def _read_position(self):
        return sum(source.position for source in self._sources)

    def _is_prefetched(self):
        return (self.size or 0) > PREFETCH_SIZE and all(source.is_named_file for source in self._sources)

    def __repr__(self) -> str:
        return f"read_csv({self.name!r}, label={self._options.label!r}, chunk_bytes={self._chunk_bytes})"

    # --- blocks of text --------------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[Batch]:
        """Yield the rows of each block of text of all files."""
        for source in self._sources:
            source.position = 0
        names, types = None, None
        for source in self._sources:
            part = CsvPart(source, names, types)
            yield from self._read_file(part)
            names, types = part.names, part.types
        if names is None:
            raise ValueError(f"{self.name}: is empty; the file must have rows such as '5.1,red,yes'")

    def _read_file(self, part):
        """Yield the rows of each block of text of a file."""
        header, delimiter, quote, missing = self._text_format
        blocks = part.source.read_blocks(self._chunk_bytes)
        first, n_bytes = [], 0
        for block in blocks:
            first.append(block.copy())
            n_bytes += block.size
            if n_bytes >= HEAD_BYTES:
                break
        if not n_bytes:
            return
        head = np.concatenate(first).tobytes()
        expected = part.names or ()
        dialect = find_dialect(
            part.source.name, head, delimiter, quote, header, missing, self._names_in_use(), expected
        )
        part.dialect = dialect
        if part.names is None:
            part.names = dialect.names
            self._name_special_columns(dialect.names)
            rows = _without_blanks(np.frombuffer(head, np.uint8)[dialect.start :], dialect).tobytes()
            rows = rows[: self._end_of_rows(np.frombuffer(rows[:HEAD_BYTES], np.uint8), dialect)]
            part.types = self._column_types(part, rows)
            del rows
        line = 1 + _count_line_ends(np.frombuffer(head[: dialect.start], np.uint8))
        texts = _drop_first(_chain(first, blocks), dialect.start)
        del first, head
        for text, first_line in self._whole_rows(texts, part, line):
            yield from self._parse_rows(text, first_line, part)

    def _names_in_use(self):
        """Return the names of columns in the options."""
        special = {name for name in (self._options.label, self._options.weight) if isinstance(name, str)}
        return {*special, *self._options.declared, *(() if self._found is None else self._found.names)}

    def _whole_rows(self, blocks, part, line):
        """Yield (text, number of its first line): blocks that end with a row, where quotes may contain line ends."""
        dialect = part.dialect
        rest = np.empty(0, np.uint8)
        for block in blocks:
            block = _without_blanks(block, dialect)
            text = np.concatenate([rest, block]) if rest.size else block
            end = self._end_of_rows(text, dialect)
            if end:
                yield text[:end], line
                line += _count_line_ends(text[:end])
            rest = text[end:].copy()
            if rest.size > MAX_QUOTED:
                self._raise_for_quote(part, line, f"within {MAX_QUOTED} bytes")
        if rest.size:
            self._raise_for_quote(part, line, "before the end of the file")

    def _end_of_rows(self, text, dialect):
        """Return the position behind the last complete row."""
        if not text.size:
            return 0
        if not _has(text, dialect.quote):
            return text.size if text[-1] in (10, 13) else text.tobytes().rfind(b"\n") + 1
        return int(scan_rows(text, ord(dialect.delimiter), ord(dialect.quote), -1, True, NO_ENDS)[0])

    def _raise_for_quote(self, part, line, where):
        quote = self._text_format[2]
        raise ValueError(
            f"{part.source.name}:line {line}: a quote {quote} in this row is not closed {where}; close it, or pass "
            "quote=None if the character is part of the text"
        )

    # --- rows ------------------------------------------------------------------------------------------------------

    def _parse_rows(self, text, first_line, part):
        """Return the rows of a text as a list of batches; rows with errors are omitted with ``on_error="skip"``."""
        if self._on_error == "raise":
            return self._parse(text, first_line, part)
        try:
            return self._parse(text, first_line, part)
        except LineError:
            n_ends = int(np.count_nonzero((text == 10) | (text == 13)))
        ends, dialect = np.zeros((n_ends + 1, 2), np.int64), part.dialect
        scan_rows(
            text, ord(dialect.delimiter), NO_QUOTE if dialect.quote is None else ord(dialect.quote), -1, True, ends
        )
        ends = np.unique(ends, axis=0)  # from 0 on
        starts, lines = ends[:, 0].tolist(), first_line + ends[:, 1]

        def parse(row, end):
            return self._parse(text[starts[row] : starts[end]], int(lines[row]), part)

        return parse_good_rows(
            parse, len(starts) - 1, lambda error: int(np.searchsorted(lines, error.line, "right")) - 1, self.errors
        )

    def _parse(self, text, first_line, part):
        """Return the rows of a text as a list of at most one batch."""
        pa = import_pyarrow("read_csv")
        dialect = part.dialect

        def line_of(row, counts_blank=False):
            quote = NO_QUOTE if dialect.quote is None else ord(dialect.quote)
            return first_line + int(scan_rows(text, ord(dialect.delimiter), quote, row, counts_blank, NO_ENDS)[1])

        if self._on_error != "raise" and not text.tobytes().strip():
            return []
        try:
            table = self._read_table(text, part, part.types, self._columns_of(part))
        except pa.ArrowInvalid as error:
            message = str(error)
        except UnicodeDecodeError as error:
            line = first_line + _count_line_ends(text[: error.start])
            raise LineError(part.source.name, line, f"the text is not UTF-8; {TO_UTF8}") from None
        else:
            table = table.combine_chunks()
            arrays = tuple(_single_chunk(pa, column) for column in table.columns)
            return [Batch(tuple(table.column_names), arrays, table.num_rows, line_of, part.source.name)] * (
                table.num_rows > 0
            )
        self._raise_for_row(message, part, line_of)

    def _columns_of(self, part):
        """Return the names of the columns to convert, or None for all of them."""
        names = part.dialect.names
        missing = [name for name in part.names if name not in names]
        if self._found is None and missing:
            raise ValueError(
                f"{part.source.name}: has no column {missing[0]!r}, which the first file has; the columns are "
                f"{', '.join(map(repr, names[:10]))}"
            )
        return list(part.names) if self._found is None else self._used_columns(part.source.name, names)

    def _read_table(self, text, part, types, used):
        """Return a text as a Table, parsed by several threads; raise errors of one thread, which name the row.

        Rows of blanks are omitted only after an error, because pyarrow cannot pass text that is not UTF-8 to a handler.
        """
        pa = import_pyarrow("read_csv")
        if len(text) >= PARALLEL_BYTES:
            with contextlib.suppress(pa.ArrowInvalid):
                return self._read_blocks(text, part.dialect, types, used, len(text) // pa.cpu_count() + 1, True)
        try:
            return self._read_blocks(text, part.dialect, types, used, len(text) + 1, False)
        except pa.ArrowInvalid as error:
            if not _BAD_WIDTH.match(str(error)):
                raise
            text.tobytes().decode()  # raises UnicodeDecodeError
        return self._read_blocks(text, part.dialect, types, used, len(text) + 1, False, _skip_blank_row)

    def _read_blocks(self, text, dialect, types, used, block_size, use_threads, handler=None):
        pa = import_pyarrow("read_csv")
        from pyarrow import csv

        words = {form for word in self._text_format[3] for form in (word, f" {word}", f"{word} ", f" {word} ")}
        return csv.read_csv(
            pa.py_buffer(text),
            csv.ReadOptions(use_threads=use_threads, block_size=block_size, column_names=list(dialect.names)),
            csv.ParseOptions(
                delimiter=dialect.delimiter, quote_char=dialect.quote or False,
                newlines_in_values=_has(text, dialect.quote), invalid_row_handler=handler,
            ),
            csv.ConvertOptions(
                column_types=types, null_values=sorted(words), strings_can_be_null=True, include_columns=used,
            ),
            memory_pool=pa.system_memory_pool(),  # the default one keeps up to 40 MB more
        )  # fmt: skip

    def _column_types(self, part, rows):
        """Return the Arrow types of the columns, inferred from the first rows."""
        pa = import_pyarrow("read_csv")
        text, category = pa.string(), pa.dictionary(pa.int32(), pa.string())
        declared, dialect = self._declared_kinds(), part.dialect
        label = self._special_columns(dialect.names)[0]
        try:
            if not rows.strip():
                inferred = {}
            elif self._on_error == "raise":
                inferred = self._read_table(np.frombuffer(rows, np.uint8), part, {}, None).schema
            else:
                rows = np.frombuffer(rows.decode("utf-8", "replace").encode(), np.uint8)
                inferred = self._read_blocks(rows, dialect, {}, None, len(rows) + 1, False, _skip_row).schema
        except (pa.ArrowInvalid, UnicodeDecodeError):
            inferred = {}  # the error is raised with its line when the rows are read
        types = {}
        for k, name in enumerate(dialect.names):
            found = inferred.field(name).type if inferred else pa.null()
            kind = declared.get(name)
            if k == label:
                kind = None
            if kind is Text:
                types[name] = text
            elif kind is not None and kind is not Numeric:
                types[name] = category
            elif type_kind(found) == "number":
                types[name] = found if pa.types.is_boolean(found) else pa.float64()
            elif type_kind(found) == "time":
                types[name] = category if k == label else found
            elif kind is Numeric:
                types[name] = pa.float64()
            else:
                types[name] = category
        return types

    def _declared_kinds(self):
        """Return the classes of entries that the user declares or the mapping has, by column."""
        if self._found is not None:
            return {entry.name: type(entry) for entry in self._found.entries if hasattr(entry, "name")}
        return {name: OneHot if entry == "ignore" else type(entry) for name, entry in self._options.declared.items()}

    def _raise_for_row(self, message, part, line_of):
        """Raise ValueError for an error of pyarrow, LineError if it has a row."""
        dialect = part.dialect
        found = _BAD_WIDTH.match(message)
        if found:
            row, expected, got, text = found.groups()
            reason = (
                f"got {got} fields in place of {expected}: {_check.shorten_repr(text)}; correct the row, or put quotes "
                f"around values that contain {dialect.delimiter!r}"
            )
            _raise_at(part.source.name, row, line_of, reason)
        found = _BAD_VALUE.match(message)
        if not found:
            raise ValueError(f"{part.source.name}: {message}")
        column, row, arrow_type, problem = found.groups()
        name = dialect.names[int(column)]
        if problem.startswith("invalid UTF8"):
            error = CellError(None, name, "the text is not UTF-8", TO_UTF8)
        else:
            value = problem.removeprefix("invalid value ")
            if int(column) == self._special_columns(dialect.names)[0]:
                remedy = "correct it; the labels in the first rows are numbers"
            elif arrow_type == "double":
                remedy = f"correct it, or declare the column: columns={{{name!r}: 'one_hot'}}"
            else:
                remedy = f"correct it; the values in the first rows are of the type {part.types[name]}"
            error = CellError(None, name, f"got {value} in place of a {_type_word(arrow_type)}", remedy)
        _raise_at(part.source.name, row, line_of, str(error))


class CsvPart:
    """One of the files: its source, the names and types of the columns of the first file, and its dialect."""

    def __init__(self, source, names, types):
        self.source, self.names, self.types, self.dialect = source, names, types, None


def _raise_at(name, row, line_of, reason):
    """Raise the error of a row of a file, numbered from 1; None if it is not known."""
    if row is None:
        raise ValueError(f"{name}: {reason}")
    raise LineError(name, line_of(int(row) - 1, True), reason)


def _without_blanks(text, dialect):
    """Return a text without the blanks between delimiters and quotes, after which pyarrow expects no quote."""
    if not dialect.has_blanks:
        return text
    return np.frombuffer(blanks_before_quote(dialect.delimiter, dialect.quote).sub(b"", text.tobytes()), np.uint8)


def _type_word(arrow_type):
    return {"double": "number", "bool": "boolean"}.get(arrow_type, arrow_type)


def _skip_blank_row(row):
    return "error" if row.text.strip() else "skip"


def _skip_row(row):
    return "skip"


def _single_chunk(pa, column):
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)


def _has(text, quote):
    """Return whether a text has a quote."""
    return quote is not None and bool((text == ord(quote)).any())


def _count_line_ends(text):
    """Return the number of line ends: of newlines, or of carriage returns in a text without any other newline."""
    n = int(np.count_nonzero(text == 10))
    return n if n > 1 else max(n, int(np.count_nonzero(text == 13)))


def _chain(first, blocks):
    first.reverse()
    while first:
        yield first.pop()
    yield from blocks


def _drop_first(blocks, n_bytes):
    """Yield the blocks without the first `n_bytes` bytes."""
    for block in blocks:
        skipped = min(n_bytes, block.size)
        n_bytes -= skipped
        if skipped < block.size:
            yield block[skipped:]
