"""TableReader: common part of the readers of tables, which maps batches of columns to chunks.

`csv_reader` and `arrow_reader` supply the batches.
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import _check
from .arrow import CellError, import_pyarrow, to_categories, to_numbers, type_kind
from .column_entries import MISSING
from .column_finder import FIRST_ROWS, check_declared, find_entries
from .columns import Columns, matching_columns
from .lines import LineError, LineErrors, parse_good_rows, report_errors
from .prefetch import prefetch
from .readers import Chunk, check_value_dtype, stack_chunks

NEW_CATEGORIES = ("add", "ignore")
FIRST_BYTES = 1 << 24  # of the batches from which the columns are found, if they have fewer than FIRST_ROWS rows


class TableOptions(NamedTuple):
    """Checked options of the readers of tables."""

    label: Any
    weight: Any
    positive: tuple | None
    columns: Columns | None  # the whole mapping, if the user gives it
    declared: dict  # else the entries of some columns
    interactions: tuple
    bits: int
    signed: bool
    adds_categories: bool
    dtype: np.dtype


def check_options(label, weight, positive, columns, interactions, bits, signed, new_categories, dtype):
    """Return the checked options."""
    for name, value in (("label", label), ("weight", weight)):
        is_position = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if value is not None and not isinstance(value, str) and not is_position:
            raise TypeError(f"{name}: got {_check.shorten_repr(value)}; must be a name or a position of a column")
    is_mapping = isinstance(columns, Columns)
    if is_mapping and (interactions or bits is not None or signed is not None):
        raise ValueError("columns: got a Columns record, which has bits, signed and interactions; leave these out")
    if new_categories is not None:
        _check.one_of("new_categories", new_categories, NEW_CATEGORIES)
    if isinstance(interactions, str) or not all(isinstance(names, (tuple, list)) for names in interactions):
        raise TypeError(f"interactions: got {_check.shorten_repr(interactions)}; must be pairs, such as [('a', 'b')]")
    if positive is not None and not isinstance(positive, (tuple, list, set, frozenset)):
        positive = (positive,)
    return TableOptions(
        label, weight, None if positive is None else tuple(positive), columns if is_mapping else None,
        {} if is_mapping or columns is None else check_declared(columns), tuple(tuple(names) for names in interactions),
        18 if bits is None else bits, False if signed is None else signed,
        new_categories == "add" if new_categories is not None else not is_mapping, check_value_dtype(dtype),
    )  # fmt: skip


class Batch(NamedTuple):
    """Columns of some rows."""

    names: tuple
    arrays: tuple  # of pyarrow
    n_rows: int
    place_of: Any  # function from a row number in the batch to the number of its line or row in the file
    source: str = ""  # name of the file

    def part(self, start, end):
        """Return the rows from `start` to `end`."""
        arrays = tuple(array.slice(start, end - start) for array in self.arrays)
        return Batch(self.names, arrays, end - start, lambda row: self.place_of(start + row), self.source)


class TableReader:
    """Iterable of `Chunk`.  Each iteration reads the table from the start.

    Attributes
    ----------
    name : str
        Name of the file or the table.
    columns : Columns or None
        Mapping from columns to features; None before the first chunk unless it was given.  Each chunk may add
        categories.
    n_features : int
        Number of features so far.
    errors : list
        Rows that the current pass has skipped, with the ``on_error`` of `read_csv`; see `ChunkedFile`.
    feature_names : tuple of str
        Names of the features so far.
    column_names : tuple of str
        Names of the columns that are read, in the order of the table; empty before the first chunk.
    hashed_names : dict
        If `keep_names` was set to True before the reading: the names of the hashed features by column.
    has_positive : bool
        Whether any label was one of `positive`.
    size, position : int or None
        Size of the data and the part that the current pass has read, in bytes or rows; None if unknown.
    """

    name: str
    size: int | None = None
    _place = "row"  # unit of the places in error messages

    def __init__(self, options: TableOptions) -> None:
        self._options = options
        self._on_error = "raise"
        self.errors = LineErrors()
        self._special: tuple | None = None  # names of the label and the weight, once the names of all columns are known
        self.columns: Columns | None = options.columns
        self._found = options.columns  # by the rows read so far
        self._position = 0
        self.column_names: tuple = ()
        self.keep_names = self.has_positive = False
        self.hashed_names: dict = {}

    @property
    def position(self) -> int:
        """Part of the data that the current pass has read, in bytes or rows."""
        return self._position

    @property
    def n_features(self) -> int:
        """Number of features so far."""
        return 0 if self.columns is None else self.columns.n_features

    @property
    def feature_names(self) -> tuple:
        """Names of the features so far."""
        return () if self.columns is None else self.columns.feature_names

    def __iter__(self) -> Iterator[Chunk]:
        self._found = self.columns
        self._special = None
        self.errors, self._position = LineErrors(), 0
        chunks = self._read_chunks()
        for position, chunk in prefetch(chunks) if self._is_prefetched() else chunks:
            self._position, self.columns = position, chunk.columns
            yield chunk
        self._position = self._read_position()
        if self._on_error == "report":
            report_errors(self.name, self.errors)

    def read_labels(self) -> Iterator[np.ndarray]:
        """Yield the labels of each chunk; no other column is converted."""
        reader = copy.copy(self)
        reader._options = self._options._replace(columns=Columns(), weight=None, adds_categories=False)
        reader.columns, reader.keep_names = Columns(), False
        for chunk in reader:
            yield chunk.y  # type: ignore[misc]

    def _is_prefetched(self):
        """Return whether the next chunk is parsed in another thread while the caller uses the last one."""
        return False

    def _read_position(self):
        """Return how far the data has been read, possibly ahead of the chunk in use."""
        raise NotImplementedError

    def _read_chunks(self):
        """Yield (position, chunk) for each chunk."""
        encoder = None
        for batch in self._with_columns(self._batches()):
            if encoder is None:
                encoder = self._found.new_encoder()  # type: ignore[union-attr]
            try:
                chunk = self._to_chunk(batch, encoder)
            except CellError as error:
                if self._on_error == "raise" or error.row is None:
                    self._raise_for_cell(error, [batch])
                chunk = self._to_good_rows(batch, encoder)
            if chunk is not None:
                yield self._read_position(), chunk

    def _to_good_rows(self, batch, encoder):
        """Return the rows without errors as a chunk, or None if there are none; the others are added to `errors`."""

        def parse(start, end):
            part = batch.part(start, end)
            try:
                return [self._to_chunk(part, encoder)]
            except CellError as error:
                if error.row is None:
                    self._raise_for_cell(error, [part])
                raise RowError(batch.source, start + error.row, part.place_of(error.row), str(error)) from None

        chunks = parse_good_rows(parse, batch.n_rows, lambda error: error.row, self.errors)
        if not chunks:
            return None
        weight = None if chunks[0].weight is None else np.concatenate([chunk.weight for chunk in chunks])
        labelled = [chunk._replace(y=np.empty(chunk.X.shape[0])) if chunk.y is None else chunk for chunk in chunks]
        has_labels = chunks[0].y is not None
        X, y = stack_chunks("", labelled, encoder.n_features)
        return NamedChunk.with_columns(Chunk(X, y if has_labels else None, weight), self._found)

    def _with_columns(self, batches):
        """Yield the batches; before, find the columns from the first rows, unless they are known."""
        if self._found is None:
            first, n_rows, n_bytes = [], 0, 0
            for batch in batches:
                first.append(batch)
                n_rows += batch.n_rows
                n_bytes += sum(array.nbytes for array in batch.arrays)
                if n_rows >= FIRST_ROWS or n_bytes >= FIRST_BYTES:
                    break
            if first:
                try:
                    self._found = self._find_columns(self._first_rows(first))
                except CellError as error:
                    self._raise_for_cell(error, first)
            first.reverse()
            while first:
                yield first.pop()
        yield from batches

    def _raise_for_cell(self, error, batches):
        """Raise ValueError for a cell of consecutive batches."""
        row = error.row
        for batch in batches:
            if row is not None and row < batch.n_rows:
                name = batch.source or self.name
                raise ValueError(f"{name}:{self._place} {batch.place_of(row)}: {error}") from None
            row = None if row is None else row - batch.n_rows
        raise ValueError(f"{self.name}: {error}") from None

    def _batches(self):
        """Yield the rows as `Batch`."""
        raise NotImplementedError

    def _to_chunk(self, batch, encoder):
        options = self._options
        self.column_names = self.column_names or batch.names
        label, weight = self._special_columns(batch.names)
        names = tuple(name for k, name in enumerate(batch.names) if k not in (label, weight))
        used = matching_columns(self.name, list(names), self._found.names)
        arrays = {name: batch.arrays[batch.names.index(name)] for name in used}
        y = None if label is None else self._labels(batch.names[label], batch.arrays[label])
        if options.positive is not None and y is not None:
            self.has_positive = self.has_positive or bool(np.any(y))
        weights = None
        if weight is not None:
            weights, mask = to_numbers(batch.names[weight], batch.arrays[weight])
            if mask is not None:
                raise CellError(int(mask.argmax()), batch.names[weight], "the weight is missing", "write it")
        X = encoder.encode(arrays, batch.n_rows, options.dtype, options.adds_categories)
        if self.keep_names:
            for index, found in encoder.hashed_names(arrays, batch.n_rows).items():
                self.hashed_names.setdefault(index, set()).update(found)
        if encoder.n_features > self._found.n_features:
            self._found = self._found.with_features(encoder.index_of)
        return NamedChunk.with_columns(Chunk(X, y, weights), self._found)

    def _find_columns(self, batch):
        options = self._options
        special = self._special_columns(batch.names)
        names = [name for k, name in enumerate(batch.names) if k not in special]
        for name in names:
            matching_columns(self.name, list(batch.names), [name])
        arrays = {name: batch.arrays[batch.names.index(name)] for name in names}
        entries = find_entries(self.name, arrays, options.declared, options.interactions)
        return Columns(entries, options.bits, options.signed)

    def _first_rows(self, batches):
        """Return the first rows of consecutive batches as one batch, in which errors of rows are not skipped."""
        batch = _first_rows(batches)
        if self._on_error == "raise":
            return batch

        def parse(start, end):
            try:
                self._find_columns(batch.part(start, end))
            except CellError as error:
                if error.row is not None:
                    raise RowError("", start + error.row, 0, str(error)) from None
            return [batch.part(start, end)]

        parts = parse_good_rows(parse, batch.n_rows, lambda error: error.row, LineErrors())  # encoding finds them again
        return _first_rows(parts) if parts else batch

    def _special_columns(self, names):
        """Return the positions of the label and the weight, or None."""
        special = (self._options.label, self._options.weight) if self._special is None else self._special
        return tuple(
            column_position(self.name, argument, value, names)
            for argument, value in zip(("label", "weight"), special, strict=True)
        )

    def _name_special_columns(self, names):
        """Keep the names of the label and the weight, which stay valid when columns are omitted or reordered."""
        self._special = tuple(None if k is None else names[k] for k in self._special_columns(names))

    def _used_columns(self, name, names):
        """Return the columns to read of a file: all, unless a mapping is given."""
        if self._found is None:
            return None
        matching_columns(name, list(names), self._found.names)
        wanted = {*self._found.names, *self._special}
        return [column for column in names if column in wanted]

    def _labels(self, name, array):
        """Return labels as an array of numbers, booleans or strings, or whether they are positive."""
        kind = type_kind(array.type)
        if kind == "number":
            pa = import_pyarrow("reading tables")
            y, mask = to_numbers(name, array)
            if mask is not None:
                raise CellError(int(mask.argmax()), name, "the label is missing", "write it, or remove the row")
            if pa.types.is_boolean(array.type):
                y = y.astype(bool)
            return y if self._options.positive is None else np.isin(y, _numbers(self._options.positive))
        if kind in ("time", "other"):
            raise CellError(None, name, f"has the type {array.type}", "labels must be numbers, booleans or strings")
        codes, distinct = to_categories(name, array)
        is_missing = np.array([label == MISSING for label in distinct], bool)[codes] if distinct else np.empty(0, bool)
        if is_missing.any():
            raise CellError(int(is_missing.argmax()), name, "the label is missing", "write it, or remove the row")
        distinct = [label.removesuffix(".") or label for label in distinct]
        if self._options.positive is not None:
            positive = {str(label).removesuffix(".") for label in self._options.positive}
            return np.array([label in positive for label in distinct], bool)[codes]
        return np.array(distinct, str)[codes] if distinct else np.empty(0, "U1")


def _first_rows(batches):
    """Return the first rows of consecutive batches as one batch."""
    pa = import_pyarrow("reading tables")
    names, n_rows = batches[0].names, min(sum(batch.n_rows for batch in batches), FIRST_ROWS)
    columns = [[batch.arrays[k] for batch in batches] for k in range(len(names))]
    arrays = [parts[0] if len(parts) == 1 else pa.concat_arrays(_of_one_type(parts)) for parts in columns]
    return Batch(names, tuple(array.slice(0, n_rows) for array in arrays), n_rows, None)


def _of_one_type(arrays):
    """Return arrays with the type of the first one; numbers of several types, as of several files, become float64."""
    pa = import_pyarrow("reading tables")
    if all(array.type == arrays[0].type for array in arrays):
        return arrays
    if all(type_kind(array.type) == "number" for array in arrays):
        return [array.cast(pa.float64(), safe=False) for array in arrays]
    return [array.cast(pa.large_string()) for array in arrays]


class RowError(LineError):
    """Error in a row of a table: its number in the batch, and its place in the file."""

    def __init__(self, name, row, line, reason):
        super().__init__(name, line, reason)
        self.row = row

    def __reduce__(self):
        return type(self), (self.name, self.row, self.line, self.reason)


class NamedChunk(Chunk):
    """Chunk with the mapping `columns` of its features."""

    columns: Columns

    @classmethod
    def with_columns(cls, chunk, columns):
        """Return a chunk with a mapping."""
        named = cls(*chunk)
        named.columns = columns
        return named


def column_position(where, argument, value, names):
    """Return the position of a column given by name or position; None for None."""
    if value is None:
        return None
    if isinstance(value, str):
        if value not in names:
            raise ValueError(f"{argument}: got {value!r}, but {where} has the columns {', '.join(map(repr, names))}")
        if names.count(value) > 1:
            raise ValueError(f"{argument}: got {value!r}, which occurs {names.count(value)} times in {where}")
        return names.index(value)
    if not -len(names) <= value < len(names):
        raise ValueError(f"{argument}: got the position {value}, but {where} has {len(names)} columns")
    return int(value) % len(names)


def _numbers(labels):
    try:
        return [float(label) for label in labels]
    except (TypeError, ValueError):
        raise ValueError(f"positive: got {_check.shorten_repr(labels)}, but the labels are numbers") from None
