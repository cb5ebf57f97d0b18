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
from .columns import matching_columns
from .csv_dialect import blanks_before_quote, find_dialect
from .csv_scanner import NO_QUOTE, scan_rows
from .readers import CHUNK_BYTES, PREFETCH_SIZE
from .source import Source
from .table_reader import Batch, TableReader, check_options, column_position

if TYPE_CHECKING:
    import numpy.typing as npt

    from .columns import Columns

HEAD_BYTES = 1 << 20  # text from which the dialect and the types of the columns are found
PARALLEL_BYTES = 1 << 18  # smaller texts are parsed by one thread
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
    path: str | os.PathLike | BinaryIO,
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
) -> "CsvFile":
    """Return an iterable that reads comma-separated text in chunks, once per iteration.

    The first 8192 rows determine the kind of each column.  Numbers are one feature: minus their mean, unless most of
    them are 0, and divided by their standard deviation.  Strings are one-hot encoded.  Columns with more than 1000
    different strings are hashed, and sentences become hashed words.  `columns` declares other kinds.

    Blanks around values are removed.  Leading lines with a single field, such as comments, are skipped.

    Parameters
    ----------
    path : str, os.PathLike or binary file
        Plain file, or a file compressed by gzip, xz, bzip2 or zstd, whatever its name.  "-" is standard input.
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

    Returns
    -------
    CsvFile
        Iterable of `Chunk` with the attributes `columns`, `feature_names`, `n_features` and, for a progress bar, `size`
        and `position`.

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
    return CsvFile(Source(path), options, header, delimiter, quote, missing, chunk_bytes)


class CsvFile(TableReader):
    """Iterable of `Chunk`, returned by `read_csv`; see `TableReader` for its attributes."""

    def __init__(self, source, options, header, delimiter, quote, missing, chunk_bytes):
        super().__init__(options)
        self._source = source
        self._chunk_bytes = _check.positive_count("chunk_bytes", chunk_bytes)
        if header is not None and not isinstance(header, (bool, list, tuple)):
            raise TypeError(f"header: got {_check.shorten_repr(header)}; must be True, False or a list of names")
        for name, value in (("delimiter", delimiter), ("quote", quote)):
            if value is not None and (not isinstance(value, str) or len(value) != 1 or ord(value) > 127):
                raise ValueError(f"{name}: got {_check.shorten_repr(value)}; must be one ASCII character")
        if isinstance(missing, str):
            raise TypeError(f"missing: got {missing!r}; must be a sequence of words")
        self._text_format = header, delimiter, quote, {word.strip() for word in missing}
        self._types = None

    @property
    def name(self) -> str:  # type: ignore[override]
        return self._source.name

    @property
    def size(self) -> int | None:  # type: ignore[override]
        return self._source.size

    def _read_position(self):
        return self._source.position

    def _is_prefetched(self):
        return (self.size or 0) > PREFETCH_SIZE and self._source.is_named_file

    def __repr__(self) -> str:
        return f"read_csv({self.name!r}, label={self._options.label!r}, chunk_bytes={self._chunk_bytes})"

    # --- blocks of text --------------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[Batch]:
        """Yield the rows of each block of text."""
        header, delimiter, quote, missing = self._text_format
        blocks = self._source.read_blocks(self._chunk_bytes)
        first, n_bytes = [], 0
        for block in blocks:
            first.append(block.copy())
            n_bytes += block.size
            if n_bytes >= HEAD_BYTES:
                break
        if not n_bytes:
            raise ValueError(f"{self.name}: is empty; the file must have rows such as '5.1,red,yes'")
        head = np.concatenate(first).tobytes()
        dialect = find_dialect(self.name, head, delimiter, quote, header, missing, self._names_in_use())
        rows = _without_blanks(np.frombuffer(head, np.uint8)[dialect.start :], dialect).tobytes()
        rows = rows[: self._end_of_rows(np.frombuffer(rows[:HEAD_BYTES], np.uint8), dialect)]
        types = self._column_types(dialect, rows)
        line = 1 + _count_line_ends(np.frombuffer(head[: dialect.start], np.uint8))
        texts = _drop_first(_chain(first, blocks), dialect.start)
        del first, head, rows
        for text, first_line in self._whole_rows(texts, dialect, line):
            yield from self._parse(text, first_line, dialect, types)

    def _names_in_use(self):
        """Return the names of columns in the options."""
        special = {name for name in (self._options.label, self._options.weight) if isinstance(name, str)}
        return {*special, *self._options.declared, *(() if self._found is None else self._found.names)}

    def _whole_rows(self, blocks, dialect, line):
        """Yield (text, number of its first line): blocks that end with a row, where quotes may contain line ends."""
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
                self._raise_for_quote(line, f"within {MAX_QUOTED} bytes")
        if rest.size:
            self._raise_for_quote(line, "before the end of the file")

    def _end_of_rows(self, text, dialect):
        """Return the position behind the last complete row."""
        if not text.size:
            return 0
        if not _has(text, dialect.quote):
            return text.size if text[-1] in (10, 13) else text.tobytes().rfind(b"\n") + 1
        return int(scan_rows(text, ord(dialect.delimiter), ord(dialect.quote), -1, True)[0])

    def _raise_for_quote(self, line, where):
        quote = self._text_format[2]
        raise ValueError(
            f"{self.name}:line {line}: a quote {quote} in this row is not closed {where}; close it, or pass quote=None "
            "if the character is part of the text"
        )

    # --- rows ------------------------------------------------------------------------------------------------------

    def _parse(self, text, first_line, dialect, types):
        """Yield the rows of a text, if it has any."""
        pa = import_pyarrow("read_csv")

        def place_of(row, counts_blank=False):
            quote = NO_QUOTE if dialect.quote is None else ord(dialect.quote)
            return f"line {first_line + int(scan_rows(text, ord(dialect.delimiter), quote, row, counts_blank)[1])}"

        try:
            table = self._read_table(text, dialect, types, self._used_columns(dialect))
        except pa.ArrowInvalid as error:
            message = str(error)
        else:
            table = table.combine_chunks()
            arrays = tuple(_single_chunk(pa, column) for column in table.columns)
            if table.num_rows:
                yield Batch(tuple(table.column_names), arrays, table.num_rows, place_of)
            return
        self._raise_for_row(message, dialect, types, place_of)

    def _used_columns(self, dialect):
        """Return the columns to convert: all, unless a mapping is given."""
        if self._found is None:
            return None
        special = (
            column_position(self.name, argument, value, dialect.names)
            for argument, value in (("label", self._options.label), ("weight", self._options.weight))
        )
        matching_columns(self.name, list(dialect.names), self._found.names)
        wanted = {*self._found.names, *(dialect.names[k] for k in special if k is not None)}
        return [name for name in dialect.names if name in wanted]

    def _read_table(self, text, dialect, types, used):
        """Return a text as a Table, parsed by several threads; raise errors of one thread, which name the row."""
        pa = import_pyarrow("read_csv")
        if len(text) >= PARALLEL_BYTES:
            with contextlib.suppress(pa.ArrowInvalid):
                return self._read_blocks(text, dialect, types, used, len(text) // pa.cpu_count() + 1, True)
        return self._read_blocks(text, dialect, types, used, len(text) + 1, False)

    def _read_blocks(self, text, dialect, types, used, block_size, use_threads):
        pa = import_pyarrow("read_csv")
        from pyarrow import csv

        words = {form for word in self._text_format[3] for form in (word, f" {word}", f"{word} ", f" {word} ")}
        return csv.read_csv(
            pa.py_buffer(text),
            csv.ReadOptions(use_threads=use_threads, block_size=block_size, column_names=list(dialect.names)),
            csv.ParseOptions(
                delimiter=dialect.delimiter, quote_char=dialect.quote or False,
                newlines_in_values=_has(text, dialect.quote), invalid_row_handler=_skip_blank_row,
            ),
            csv.ConvertOptions(
                column_types=types, null_values=sorted(words), strings_can_be_null=True, include_columns=used,
            ),
            memory_pool=pa.system_memory_pool(),  # the default one keeps up to 40 MB more
        )  # fmt: skip

    def _column_types(self, dialect, rows):
        """Return the Arrow types of the columns, inferred from the first rows."""
        pa = import_pyarrow("read_csv")
        text, category = pa.string(), pa.dictionary(pa.int32(), pa.string())
        declared = self._declared_kinds()
        label = column_position(self.name, "label", self._options.label, dialect.names)
        try:
            inferred = self._read_table(np.frombuffer(rows, np.uint8), dialect, {}, None).schema if rows.strip() else {}
        except pa.ArrowInvalid:
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

    def _raise_for_row(self, message, dialect, types, place_of):
        """Raise ValueError for an error of pyarrow."""
        found = _BAD_WIDTH.match(message)
        if found:
            row, expected, got, text = found.groups()
            place = place_of(int(row) - 1, True) if row else " "
            raise ValueError(
                f"{self.name}:{place}: got {got} fields in place of {expected}: {_check.shorten_repr(text)}; correct "
                f"the row, or put quotes around values that contain {dialect.delimiter!r}"
            )
        found = _BAD_VALUE.match(message)
        if not found:
            raise ValueError(f"{self.name}: {message}")
        column, row, arrow_type, problem = found.groups()
        name = dialect.names[int(column)]
        place = f"{place_of(int(row) - 1, True)}, " if row else " "
        if problem.startswith("invalid UTF8"):
            error = CellError(None, name, "the text is not UTF-8", "convert the file, as with iconv -t utf-8")
        else:
            value = problem.removeprefix("invalid value ")
            label = column_position(self.name, "label", self._options.label, dialect.names)
            if int(column) == label:
                remedy = "correct it; the labels in the first rows are numbers"
            elif arrow_type == "double":
                remedy = f"correct it, or declare the column: columns={{{name!r}: 'one_hot'}}"
            else:
                remedy = f"correct it; the values in the first rows are of the type {types[name]}"
            error = CellError(None, name, f"got {value} in place of a {_type_word(arrow_type)}", remedy)
        raise ValueError(f"{self.name}:{place}{error}")


def _without_blanks(text, dialect):
    """Return a text without the blanks between delimiters and quotes, after which pyarrow expects no quote."""
    if not dialect.has_blanks:
        return text
    return np.frombuffer(blanks_before_quote(dialect.delimiter, dialect.quote).sub(b"", text.tobytes()), np.uint8)


def _type_word(arrow_type):
    return {"double": "number", "bool": "boolean"}.get(arrow_type, arrow_type)


def _skip_blank_row(row):
    return "error" if row.text.strip() else "skip"


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
