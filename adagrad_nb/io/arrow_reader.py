"""read_parquet and read_arrow: rows of Parquet files, Arrow tables and data frames in chunks."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from .. import _check
from .arrow import CellError, as_table, import_pyarrow, without_views
from .columns import matching_columns
from .table_reader import Batch, TableReader, check_options, column_position

if TYPE_CHECKING:
    import numpy.typing as npt

    from .columns import Columns

CHUNK_ROWS = 8192


def read_parquet(
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
    dtype: "npt.DTypeLike" = np.float64,
    chunk_rows: int = CHUNK_ROWS,
) -> "ParquetTable":
    """Return an iterable that reads a Parquet file in chunks, once per iteration.

    Columns are mapped to features as by `read_csv`.

    Parameters
    ----------
    path : str, os.PathLike or binary file
        Name of a file, or an open file that can seek.
    label, weight, positive, columns, interactions, bits, signed, new_categories, dtype
        As in `read_csv`.
    chunk_rows : int, default 8192
        Rows per chunk.

    Returns
    -------
    ParquetTable
        Iterable of `Chunk` with the attributes `columns`, `feature_names`, `n_features` and, for a progress bar, `size`
        and `position`, in rows.

    Raises
    ------
    ValueError
        If the file is damaged, or a column has values that its entry does not take.
    ImportError
        If pyarrow is not installed.

    Examples
    --------
    >>> import io
    >>> import pyarrow, pyarrow.parquet
    >>> from adagrad_nb import read_parquet
    >>> file = io.BytesIO()
    >>> pyarrow.parquet.write_table(pyarrow.table({"job": ["cook", "judge"], "rich": [0, 1]}), file)
    >>> [chunk] = read_parquet(file, label="rich")
    >>> chunk.X.toarray(), chunk.y
    (array([[1., 0.], [0., 1.]]), array([0., 1.]))
    """
    import_pyarrow("read_parquet")
    options = check_options(label, weight, positive, columns, interactions, bits, signed, new_categories, dtype)
    return ParquetTable(path, options, _check.positive_count("chunk_rows", chunk_rows))


def read_arrow(
    table: Any,
    *,
    label: str | int | None = -1,
    weight: str | int | None = None,
    positive: Any = None,
    columns: "Columns | dict | None" = None,
    interactions: Sequence[Sequence[str]] = (),
    bits: int | None = None,
    signed: bool | None = None,
    new_categories: Literal["add", "ignore"] | None = None,
    dtype: "npt.DTypeLike" = np.float64,
    chunk_rows: int = CHUNK_ROWS,
) -> "ArrowTable":
    """Return an iterable over the rows of an Arrow table or data frame in chunks, once per iteration.

    Columns are mapped to features as by `read_csv`.

    Parameters
    ----------
    table : Arrow table or reader, data frame, or mapping of columns
        A Table, RecordBatch or RecordBatchReader of pyarrow, a data frame of pandas or polars, a relation of DuckDB,
        any other object with ``__arrow_c_stream__``, or a dict of lists.  A RecordBatchReader can be read once.
    label, weight, positive, columns, interactions, bits, signed, new_categories, dtype
        As in `read_csv`.
    chunk_rows : int, default 8192
        Maximum number of rows per chunk.

    Returns
    -------
    ArrowTable
        Iterable of `Chunk` with the attributes `columns`, `feature_names`, `n_features` and, for a progress bar, `size`
        and `position`, in rows.

    Raises
    ------
    ValueError
        If a column has values that its entry does not take.
    ImportError
        If pyarrow is not installed.

    Examples
    --------
    >>> from adagrad_nb import read_arrow
    >>> table = read_arrow({"job": ["cook", "judge"], "age": [30, None], "rich": [False, True]})
    >>> [chunk] = table
    >>> table.feature_names
    ('age', 'job=cook', 'job=judge', 'age=(missing)')
    """
    import_pyarrow("read_arrow")
    options = check_options(label, weight, positive, columns, interactions, bits, signed, new_categories, dtype)
    return ArrowTable(table, options, _check.positive_count("chunk_rows", chunk_rows))


class _BatchReader(TableReader):
    """Reader of Arrow record batches."""

    def __init__(self, options, chunk_rows):
        super().__init__(options)
        self._chunk_rows, self._rows_read = chunk_rows, 0

    def _read_position(self):
        return self._rows_read

    def _split(self, batches) -> Iterator[Batch]:
        """Yield record batches in parts of at most `chunk_rows` rows."""
        self._rows_read = 0
        for batch in batches:
            for start in range(0, batch.num_rows, self._chunk_rows):
                part = batch.slice(start, self._chunk_rows)
                arrays = tuple(without_views(column) for column in part.columns)
                first = self._rows_read
                self._rows_read += part.num_rows
                yield Batch(tuple(part.schema.names), arrays, part.num_rows, lambda row, n=first: f"row {n + row}")


class ParquetTable(_BatchReader):
    """Iterable of `Chunk`, returned by `read_parquet`; see `TableReader` for its attributes."""

    def __init__(self, path, options, chunk_rows):
        super().__init__(options, chunk_rows)
        self._path = path
        is_file = hasattr(path, "read")
        name = getattr(path, "name", None) if is_file else os.fsdecode(path)
        self.name = name if isinstance(name, str) else f"<{type(path).__name__}>"
        if is_file and not path.seekable():
            raise ValueError(f"{self.name}: is a stream, but Parquet files end with their index; save it to a file")

    def _batches(self) -> Iterator[Batch]:
        pa = import_pyarrow("read_parquet")
        from pyarrow import parquet

        if hasattr(self._path, "seek"):
            self._path.seek(0)
        try:
            with _open_parquet(parquet, self._path) as file:
                self.size = file.metadata.num_rows
                schema = file.schema_arrow
                strings = [
                    field.name
                    for field in schema
                    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
                ]
            with _open_parquet(parquet, self._path, read_dictionary=strings) as file:
                used = self._used_columns(schema.names)
                yield from self._split(file.iter_batches(self._chunk_rows, columns=used, use_threads=False))
        except (pa.ArrowException, OSError) as error:
            if getattr(error, "errno", None):  # an error of the disk, not of the content
                raise
            raise ValueError(f"{self.name}: is not a Parquet file, or damaged ({error})") from None

    def _used_columns(self, names):
        """Return the columns to read: all, unless a mapping is given."""
        special = [
            column_position(self.name, argument, value, tuple(names))
            for argument, value in (("label", self._options.label), ("weight", self._options.weight))
        ]
        if self._found is None:
            return None
        matching_columns(self.name, list(names), self._found.names)
        wanted = {*self._found.names, *(names[k] for k in special if k is not None)}
        return [name for name in names if name in wanted]

    def __repr__(self) -> str:
        return f"read_parquet({self.name!r}, label={self._options.label!r}, chunk_rows={self._chunk_rows})"


def _open_parquet(parquet, path, **options):
    if not hasattr(path, "read"):
        path = os.fsdecode(path)
    return parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False, **options)


class ArrowTable(_BatchReader):
    """Iterable of `Chunk`, returned by `read_arrow`; see `TableReader` for its attributes."""

    def __init__(self, table, options, chunk_rows):
        super().__init__(options, chunk_rows)
        self.name = f"<{type(table).__name__}>"
        try:
            self._table = as_table(table, "read_arrow") if not _is_stream(table) else table
        except CellError as error:
            raise ValueError(f"{self.name}: {error}") from None
        self.size = getattr(self._table, "num_rows", None)
        self._is_consumed = False

    def _batches(self) -> Iterator[Batch]:
        pa = import_pyarrow("read_arrow")
        table = as_table(self._table, "read_arrow")
        if isinstance(self._table, pa.RecordBatchReader):
            if self._is_consumed:
                raise ValueError(f"{self.name}: can be read only once; pass a Table to read it again")
            self._is_consumed = True
        batches = table.to_batches(self._chunk_rows) if isinstance(table, pa.Table) else table
        if isinstance(table, pa.Table) and any(column.num_chunks > 1 for column in table.columns):
            batches = _common_batches(table, self._chunk_rows)
        yield from self._split(batches)

    def __repr__(self) -> str:
        return f"read_arrow({self.name}, label={self._options.label!r}, chunk_rows={self._chunk_rows})"


def _is_stream(table):
    return hasattr(table, "__arrow_c_stream__") and not hasattr(table, "iloc")


def _common_batches(table, n_rows):
    """Yield parts of a table whose columns are cut at different rows."""
    for start in range(0, table.num_rows, n_rows):
        yield from table.slice(start, n_rows).combine_chunks().to_batches()
