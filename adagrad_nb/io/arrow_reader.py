"""read_parquet and read_arrow: rows of Parquet files, Arrow tables and data frames in chunks."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from .. import _check
from .arrow import CellError, as_table, import_pyarrow, without_views
from .columns import matching_columns
from .source import expand_paths
from .table_reader import Batch, TableReader, check_options

if TYPE_CHECKING:
    import numpy.typing as npt

    from .columns import Columns

CHUNK_ROWS = 8192


def read_parquet(
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
    dtype: "npt.DTypeLike" = np.float64,
    chunk_rows: int = CHUNK_ROWS,
) -> "ParquetTable":
    """Return an iterable that reads Parquet files in chunks, once per iteration.

    Columns are mapped to features as by `read_csv`.

    Parameters
    ----------
    path : str, os.PathLike, binary file, or list of them
        Name of a file, or an open file that can seek.  A pattern such as ``"part-*.parquet"`` stands for all files that
        match it, in alphabetical order.  Their columns are matched by name.
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
    return ParquetTable(expand_paths(path), options, _check.positive_count("chunk_rows", chunk_rows))


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
        self._part_name, self._first_row = "", 0  # of the file that is read

    def _read_position(self):
        return self._rows_read

    def _split(self, batches) -> Iterator[Batch]:
        """Yield record batches in parts of at most `chunk_rows` rows."""
        for batch in batches:
            for start in range(0, batch.num_rows, self._chunk_rows):
                part = batch.slice(start, self._chunk_rows)
                arrays = tuple(without_views(column) for column in part.columns)
                first = self._rows_read
                self._rows_read += part.num_rows
                place = first - self._first_row
                names = tuple(part.schema.names)
                yield Batch(names, arrays, part.num_rows, lambda row, n=place: n + row, self._part_name)


class ParquetTable(_BatchReader):
    """Iterable of `Chunk`, returned by `read_parquet`; see `TableReader` for its attributes."""

    def __init__(self, paths, options, chunk_rows):
        super().__init__(options, chunk_rows)
        self._paths = [(_name_of(path), path) for path in paths]
        more = len(paths) - 1
        self.name = self._paths[0][0] + (f" and {more} more" if more else "")
        for name, path in self._paths:
            if hasattr(path, "read") and not path.seekable():
                raise ValueError(f"{name}: is a stream, but Parquet files end with their index; save it to a file")

    def _batches(self) -> Iterator[Batch]:
        self._rows_read = 0
        if self.size is None:
            self.size = sum(self._count_rows(name, path) for name, path in self._paths)
        names = None  # of the columns of the first file
        for name, path in self._paths:
            self._part_name, self._first_row = name, self._rows_read
            for batch in self._read_file(name, path, names):
                names = names or batch.schema.names
                yield from self._split([batch])

    def _count_rows(self, name, path):
        with _naming_damage(name), _open_parquet(path) as file:
            return file.metadata.num_rows

    def _read_file(self, name, path, names):
        """Yield the record batches of a file; `names` are the columns to read, if it is not the first one."""
        pa = import_pyarrow("read_parquet")
        with _naming_damage(name):
            with _open_parquet(path) as file:
                schema = file.schema_arrow
                strings = [
                    field.name
                    for field in schema
                    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
                ]
            if names is None:
                self._name_special_columns(tuple(schema.names))
                used = self._used_columns(name, schema.names)
            else:
                used = matching_columns(name, schema.names, names)
            with _open_parquet(path, read_dictionary=strings) as file:
                for batch in file.iter_batches(self._chunk_rows, columns=used, use_threads=False):
                    yield batch if names is None else batch.select(names)

    def __repr__(self) -> str:
        return f"read_parquet({self.name!r}, label={self._options.label!r}, chunk_rows={self._chunk_rows})"


def _name_of(path):
    """Return the name of a file in error messages."""
    name = getattr(path, "name", None) if hasattr(path, "read") else os.fsdecode(path)
    return name if isinstance(name, str) else f"<{type(path).__name__}>"


@contextlib.contextmanager
def _naming_damage(name):
    """Turn errors of pyarrow about the content of a file into ValueError with its name."""
    pa = import_pyarrow("read_parquet")
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):  # an error of the disk, not of the content
            raise
        raise ValueError(f"{name}: is not a Parquet file, or damaged ({error})") from None


def _open_parquet(path, **options):
    from pyarrow import parquet

    if hasattr(path, "seek"):
        path.seek(0)
    elif not hasattr(path, "read"):
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
        self._rows_read = 0
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
