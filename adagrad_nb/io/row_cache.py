"""Binary cache of rows: chunks in a binary file, so that further passes parse no text.

A file has a header of 64 bytes, the arrays of all chunks, and an index in JSON.  Each array starts at a multiple of 64
bytes.  The index has the type, shape, position and CRC-32 of each array.  The file ends with the position, the length
and the CRC-32 of the index.  The arrays of a chunk are checked when it is first read.
"""

from __future__ import annotations

import json
import math
import os
import struct
import threading
import weakref
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse

from .._check import shorten_repr
from .._csr import as_csr, check_index_pointer
from .archive import atomic_write
from .columns import Columns
from .content import ROW_CACHE_MAGIC, name_content
from .prefetch import prefetch
from .readers import PREFETCH_SIZE, Chunk
from .schema import LARGEST_COUNT, count_entry, entry, reader_options_entry
from .table_reader import NamedChunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FORMAT_VERSION = 1
ALIGNMENT = 64
HEADER = struct.Struct("<16sI44x")
TRAILER = struct.Struct("<QQI12s")  # position, length and CRC-32 of the index, and the end mark
END_MARK = b"END-OF-ROWS\n"
DTYPES = ("<i4", "<i8", "<f2", "<f4", "<f8", "|b1", "|i1", "|u1", "<i2", "<u2", "<u4", "<u8")


def write_cache(
    chunks: Iterable[Chunk], path: str | os.PathLike, *, reader_options: dict[str, Any] | None = None
) -> None:
    """Write chunks of rows to a binary file, which `read_cache` reads without parsing.

    Parameters
    ----------
    chunks : iterable of Chunk
        Such as ``read_svmlight(path)``.  It is read once.
    path : str or path-like
        File name.  The file is replaced when all chunks are written; after an error it has its old content.
    reader_options : dict, optional
        JSON data to keep in the file: how the chunks were read.

    Raises
    ------
    TypeError, ValueError
        For items that are not chunks, for targets other than numbers, Booleans and strings, and for `reader_options`
        that JSON cannot hold.

    See Also
    --------
    read_cache : Read the file.
    CachedReader : Write the file during the first pass of a training.

    Examples
    --------
    >>> import io, os, tempfile
    >>> from adagrad_nb import fit_linear, read_cache, read_svmlight, write_cache
    >>> file = read_svmlight(io.BytesIO(b"1 1:1 3:2\\n-1 2:1\\n"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "rows.cache")
    ...     write_cache(file, path)
    ...     model = fit_linear(read_cache(path), passes=10)
    >>> model.n_seen
    20
    """
    if not (reader_options is None or isinstance(reader_options, dict)):
        raise TypeError(f"reader_options: got {shorten_repr(reader_options)}; must be a dict")
    try:
        json.dumps(reader_options)
    except (TypeError, ValueError) as error:
        raise TypeError(f"reader_options: must be JSON data, such as numbers and strings ({error})") from None
    with atomic_write(path) as file:
        writer = _CacheWriter(file)
        for chunk in chunks:
            writer.write_chunk(chunk)
        writer.write_index(reader_options)


def read_cache(path: str | os.PathLike) -> CachedRows:
    """Return an iterable of the chunks in a file that `write_cache` wrote.

    Two or three chunks are in memory at a time, so the file may be larger than memory.  Another thread reads the next
    chunk while the caller uses the last one.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    CachedRows
        Iterable of `Chunk`.

    Raises
    ------
    ValueError
        If the file is of another kind, damaged, or truncated.  The checksum of a chunk is compared when it is first
        read.
    """
    return CachedRows(path)


class CachedRows:
    """Iterable of `Chunk`, returned by `read_cache`.

    Attributes
    ----------
    name : str
        Name of the file.
    n_features : int
        Number of columns of the widest chunk.
    n_rows : int
        Number of rows.
    size : int
        Size of the file in bytes.
    position : int
        Number of bytes that the current pass has read.
    columns : Columns or None
        Mapping from the columns of a table to the features, if a reader of tables yielded the chunks.
    reader_options : dict or None
        How the chunks were read, if the writer was told.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.name = os.fsdecode(path)
        self.position = 0
        self._file = _StoredBytes(path)
        self.size = self._file.size
        try:
            index = _read_index(self._file)
            self.n_rows, self.n_features = (count_entry(index, name) for name in ("n_rows", "n_features"))
            self._chunks = entry(index, "chunks", list)
            self.columns = Columns.from_json(index["columns"]) if "columns" in index else None
            self.reader_options = reader_options_entry(index)
        except Exception as error:  # one wrong byte can make JSON nest too deeply
            raise ValueError(f"{path}: not a row cache, or damaged ({error})") from None
        self._checked: set[int] = set()  # numbers of the chunks whose checksums were compared

    def __iter__(self) -> Iterator[Chunk]:
        self.position = 0
        chunks = self._read_chunks()
        for position, chunk in prefetch(chunks) if self.size > PREFETCH_SIZE else chunks:
            self.position = position
            yield chunk
        self.position = self.size

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self._chunks)

    def _read_chunks(self):
        """Yield (position after a chunk, chunk) for each chunk."""
        for number, item in enumerate(self._chunks):
            try:
                chunk, position = self._read_chunk(number, item), _end_of(item)
            except Exception as error:
                raise ValueError(f"{self.name}: chunk {number} is damaged ({error}); write the cache again") from None
            yield (
                position,
                chunk if self.columns is None else NamedChunk.with_columns(chunk, self.columns.first(chunk.X.shape[1])),
            )

    def _read_chunk(self, number, item):
        arrays = {}
        for name, field in entry(item, "arrays", dict).items():
            arrays[name] = self._read_array(name, ArrayPlace(*field), number not in self._checked)
        shape = count_entry(item, "n_rows"), count_entry(item, "n_features")
        if "dense" in arrays:
            X = arrays["dense"]
        else:
            indptr, indices, data = arrays["indptr"], arrays["indices"], arrays.get("data")
            if data is None:
                if entry(item, "data_type", str) not in ("<f4", "<f8"):
                    raise ValueError("data_type: must be float32 or float64")
                data = np.ones(indices.size, item["data_type"])
            if number not in self._checked:
                _check_indices(indptr, indices, data, shape)
            X = scipy.sparse.csr_array((data, indices, indptr), shape=shape)
            X.has_canonical_format = True
        y, weight = arrays["y"], arrays.get("weight")
        if X.shape != shape or y.shape != shape[:1] or (weight is not None and weight.shape != shape[:1]):
            raise ValueError(f"its arrays do not have {shape[0]} rows and {shape[1]} columns")
        if "labels" in item:
            labels = np.array([str(label) for label in entry(item, "labels", list)])
            y = labels[y.astype(np.int64)] if y.size else np.empty(0, "U1")
        self._checked.add(number)
        return Chunk(X, y, weight)

    def _read_array(self, name, place, is_new):
        """Return an array of the file."""
        if place.dtype not in DTYPES:
            raise ValueError(f"{name}: got the type {place.dtype!r}")
        n_bytes = math.prod(place.shape) * np.dtype(place.dtype).itemsize
        numbers = (place.position, place.crc, *place.shape)
        is_sound = all(type(number) is int and 0 <= number <= LARGEST_COUNT for number in numbers)
        if not is_sound or place.position % ALIGNMENT or place.position + n_bytes > self.size:
            raise ValueError(f"{name}: the position or the shape is outside the file")
        content = self._file.read(place.position, n_bytes)
        if is_new and zlib.crc32(content) != place.crc:
            raise ValueError(f"{name}: the checksum does not match")
        return content.view(place.dtype).reshape(place.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedRows, (self.name,)  # a pickle opens the file again

    def __repr__(self) -> str:
        return f"read_cache({self.name!r})"


class CachedReader:
    """Iterable of the chunks of a reader that writes them to a binary file during its first complete pass.

    Further passes read the file.  An incomplete pass leaves no file.

    Parameters
    ----------
    reader : iterable of Chunk
        Such as ``read_svmlight(path)``.
    path : str or path-like
        File name of the cache.

    Attributes
    ----------
    n_features, size, position
        As those of the reader, and of `CachedRows` in further passes.

    Examples
    --------
    >>> import io, os, tempfile
    >>> from adagrad_nb import CachedReader, fit_linear, read_svmlight
    >>> file = read_svmlight(io.BytesIO(b"1 1:1 3:2\\n-1 2:1\\n"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = fit_linear(CachedReader(file, os.path.join(folder, "rows.cache")), passes=10)
    >>> model.n_seen
    20
    """

    def __init__(self, reader: Iterable[Chunk], path: str | os.PathLike) -> None:
        self._rows: Any = reader  # those of the next pass
        self._path: str | os.PathLike | None = path

    def __iter__(self) -> Iterator[Chunk]:
        if self._path is None:
            yield from self._rows
            return
        with atomic_write(self._path) as file:
            writer = _CacheWriter(file)
            for chunk in self._rows:
                writer.write_chunk(chunk)
                yield chunk
            writer.write_index()
        self._rows, self._path = CachedRows(self._path), None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._rows, name)

    def __repr__(self) -> str:
        return f"CachedReader({self._rows!r}{'' if self._path is None else f', {self._path!r}'})"


# --- writing ---------------------------------------------------------------------------------------------------------


class ArrayPlace(NamedTuple):
    """Type, shape, position and checksum of an array in a file."""

    dtype: str
    shape: tuple
    position: int
    crc: int


class _CacheWriter:
    """Writes chunks to an open file."""

    def __init__(self, file):
        self.file, self.position = file, 0
        self.chunks, self.n_rows, self.n_features = [], 0, 0
        self.columns = None  # of the last chunk, which has all features
        self._write(HEADER.pack(ROW_CACHE_MAGIC, FORMAT_VERSION))

    def write_chunk(self, chunk):
        """Append a chunk."""
        if not isinstance(chunk, Chunk):
            raise TypeError(f"chunks: got a {type(chunk).__name__}; must yield Chunk(X, y, weight)")
        if scipy.sparse.issparse(chunk.X):
            X = as_csr(chunk.X)
            if not X.has_canonical_format:
                X = X.copy()
                X.sum_duplicates()
            n = int(X.indptr[-1])
            arrays, data = {"indptr": X.indptr, "indices": X.indices[:n]}, X.data[:n]
            item = {}
            if n and np.all(data == 1):
                item["data_type"] = data.dtype.newbyteorder("<").str
            else:
                arrays["data"] = data
        else:
            X = np.asarray(chunk.X)
            if X.ndim != 2:
                raise ValueError(f"X: got shape {X.shape}; must have two dimensions, rows and columns")
            arrays, item = {"dense": X}, {}
        arrays["y"] = np.asarray(chunk.y)
        if chunk.weight is not None:
            arrays["weight"] = np.asarray(chunk.weight)
        for name in ("y", "weight"):
            if name in arrays and arrays[name].shape != X.shape[:1]:
                raise ValueError(f"{name}: got shape {arrays[name].shape} for {X.shape[0]} rows")
        if arrays["y"].dtype.kind in "OU":
            arrays["y"], item["labels"] = _encode_labels(arrays["y"])
        self.columns = getattr(chunk, "columns", None)
        places = {name: self._write_array(name, array) for name, array in arrays.items()}
        n_rows, n_features = X.shape
        self.chunks.append(item | {"n_rows": n_rows, "n_features": n_features, "arrays": places})
        self.n_rows, self.n_features = self.n_rows + n_rows, max(self.n_features, n_features)

    def write_index(self, reader_options=None):
        """Append the index."""
        index = {"n_rows": self.n_rows, "n_features": self.n_features, "chunks": self.chunks}
        if self.columns is not None:
            index["columns"] = self.columns.to_json()
        if reader_options is not None:
            index["reader"] = reader_options
        text, position = json.dumps(index).encode(), self.position
        self._write(text)
        self._write(TRAILER.pack(position, len(text), zlib.crc32(text), END_MARK))

    def _write_array(self, name, array):
        array = np.ascontiguousarray(array)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if array.dtype.str not in DTYPES:
            name = "X" if name in ("dense", "data") else name
            raise TypeError(f"{name}: got dtype {array.dtype}; must be numbers of at most 64 bits, Booleans or strings")
        self._write(bytes(-self.position % ALIGNMENT))
        place, content = self.position, array.reshape(-1).view(np.uint8).data
        self._write(content)
        return ArrayPlace(array.dtype.str, array.shape, place, zlib.crc32(content))

    def _write(self, content):
        self.file.write(content)
        self.position += len(content)


def _encode_labels(y):
    """Return strings as integers, and the list of the distinct strings."""
    is_string = [isinstance(label, str) for label in y.tolist()]
    if not all(is_string):
        raise TypeError(f"y: got {y[is_string.index(False)]!r}; must be numbers, Booleans or strings")
    labels, codes = np.unique(y.astype(str), return_inverse=True)
    return codes.astype(np.int32), labels.tolist()


# --- reading ---------------------------------------------------------------------------------------------------------


def _check_indices(indptr, indices, data, shape):
    """Raise ValueError unless the arrays are those of a CSR matrix with sorted and distinct indices."""
    check_index_pointer(indptr, indices, data.size, shape[0])
    if indices.size and not 0 <= indices.min() <= indices.max() < shape[1]:
        raise ValueError(f"indices: must be in [0, {shape[1]})")
    if not scipy.sparse.csr_array((data, indices, indptr), shape=shape).has_canonical_format:
        raise ValueError("indices: must be sorted and distinct in each row")


def _end_of(item):
    """Return the position after the last array of a chunk."""
    places = [ArrayPlace(*field) for field in item["arrays"].values()]
    return max(place.position + math.prod(place.shape) * np.dtype(place.dtype).itemsize for place in places)


class _StoredBytes:
    """The open file of a cache, which several threads may read.  It is read, and not mapped into memory.

    Pages of a map count as memory of the process, and the process would end if another one truncated the file.
    """

    def __init__(self, path):
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        head = self._file.read(HEADER.size)
        if not head.startswith(ROW_CACHE_MAGIC):
            raise ValueError(f"{path}: not a row cache, but {name_content(head)}")
        version = HEADER.unpack(head)[1] if len(head) == HEADER.size else 0
        if version > FORMAT_VERSION:
            raise ValueError(
                f"{path}: has format {version}; this version reads up to {FORMAT_VERSION}, so upgrade adagrad_nb"
            )
        self.size = os.fstat(self._file.fileno()).st_size
        if self.size < HEADER.size + TRAILER.size:
            raise ValueError(f"{path}: is truncated; write the cache again")

    def read(self, position, count):
        """Return `count` bytes as an array."""
        content, filled = np.empty(count, np.uint8), 0
        with self._lock:
            self._file.seek(position)
            while filled < count:
                n = self._file.readinto(memoryview(content)[filled:])
                if not n:
                    raise ValueError("the file is truncated")
                filled += n
        return content


def _read_index(file):
    position, length, crc, mark = TRAILER.unpack(file.read(file.size - TRAILER.size, TRAILER.size))
    if mark != END_MARK or position + length + TRAILER.size != file.size:
        raise ValueError("its end is missing")
    text = file.read(position, length).tobytes()
    if zlib.crc32(text) != crc:
        raise ValueError("the checksum of the index does not match")
    return json.loads(text)
