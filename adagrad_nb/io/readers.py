"""Readers of svmlight files: into memory, or in chunks for files larger than memory.

`vowpal` has the reader of Vowpal Wabbit text.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import numpy as np
import scipy

from .. import _check
from .lines import MAX_VALUES, ON_ERROR, LineErrors, TextBlock, parse_good_lines, report_errors
from .number_scanner import NEWLINE
from .prefetch import prefetch
from .source import name_of_sources, open_sources, size_of_sources
from .svmlight import INT32_COLUMNS, TextFormat, parse_block
from .svmlight_labels import as_tuples, read_query_ids, split_labels
from .svmlight_scanner import count_lines_and_colons

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

CHUNK_BYTES = 4 << 20  # with 1 MiB, the work for each chunk takes as long as training on it
DUPLICATES = ("error", "sum")
PREFETCH_SIZE = 1 << 19  # bytes of a file, stored, from which a thread is worth its start
LOAD_BYTES = 8 << 20  # for whole files, a few large arrays are faster to allocate: 500 MB/s, against 360 with 1 MiB


class ReadingInterrupted(BaseException):
    """Raised while a chunk is read, as by a signal handler: `fit_linear` ends with the rows of the chunks before."""


class Chunk(NamedTuple):
    """Some rows of a data set, as readers yield them and `fit_linear` accepts them.

    Parameters
    ----------
    X : scipy.sparse.csr_array or numpy.ndarray, shape (n_rows, n_features)
        Features.  The column indices of a sparse row are sorted and distinct.
    y : numpy.ndarray, shape (n_rows,)
        Labels or targets.
    weight : numpy.ndarray, shape (n_rows,), optional
        Sample weights; None means 1.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Chunk
    >>> Chunk(np.eye(2), np.array([1.0, -1.0])).y
    array([ 1., -1.])
    """

    X: object
    y: np.ndarray
    weight: np.ndarray | None = None


def load_svmlight(
    path: "str | os.PathLike | BinaryIO | Sequence",
    *,
    n_features: int | None = None,
    zero_based: bool | Literal["auto"] = False,
    dtype: "npt.DTypeLike" = np.float64,
    duplicates: Literal["error", "sum"] = "error",
    query_id: bool = False,
    multilabel: bool = False,
    offset: int = 0,
    length: int = -1,
    on_error: Literal["raise", "skip", "report"] = "raise",
) -> tuple:
    """Load a file in svmlight (LIBSVM) format into memory.

    Each line is ``label index:value index:value … # comment``.  Blank lines and comments are skipped.  So is ``qid:``,
    which may follow the label, unless `query_id` is True.
    Features may be unsorted in the file; they are sorted in the result.  Numbers are rounded as by ``float``.

    Parameters
    ----------
    path : str, os.PathLike, binary file, or list of them
        Plain file, or a file compressed by gzip, xz, bzip2 or zstd, whatever its name.  zstd requires Python 3.14 or
        the package ``zstandard``.  Pipes can be read once; "-" is standard input.  A pattern such as ``"part-*.gz"``
        stands for all files that match it, in alphabetical order.
    n_features : int, optional
        Number of columns of `X`.  By default the largest index determines it; pass it if a test file must have the
        columns of a training file.
    zero_based : bool or "auto", default False
        Whether indices start at 0; otherwise they start at 1.  ``"auto"`` means True if index 0 occurs in the file.
    dtype : {numpy.float64, numpy.float32}
        Data type of `X`.
    duplicates : {"error", "sum"}, default "error"
        Treatment of an index that occurs twice in a row: raise ValueError, or add up the values, as Vowpal Wabbit does.
    query_id : bool, default False
        Whether to return the integers of ``qid:`` too.  Each row must have one.
    multilabel : bool, default False
        Whether a row has any number of labels, such as ``1,3 2:0.5`` or, without labels, ``2:0.5``.
    offset : int, default 0
        Skip so many bytes of the text, and the rest of the line up to which they reach.
    length : int, default -1
        Skip the lines that start more than `length` bytes after `offset`.  -1 or 0 means none.  So parts with
        ``offset_2 = offset_1 + length_1`` and so on have each line once.  They need `n_features`, and `zero_based` must
        not be "auto".
    on_error : {"raise", "skip", "report"}, default "raise"
        Treatment of a malformed line: raise ValueError, omit it, or omit it and warn of the number of such lines.

    Returns
    -------
    X : scipy.sparse.csr_array, shape (n_rows, n_features)
        Features; explicit zeros are kept.  Indices are int32 if they fit, else int64.
    y : numpy.ndarray of float64, shape (n_rows,)
        Labels; with `multilabel`, a list of tuples of sorted labels.
    query_ids : numpy.ndarray of int64, shape (n_rows,)
        Query identifiers, only with ``query_id=True``.

    Raises
    ------
    ValueError
        If the text is malformed (the message names file, line and remedy), if there are no rows, unless `offset` or
        `length` is given, or if compressed data is damaged or truncated.
    ImportError
        If the file is compressed by zstd and no zstd library is installed.

    See Also
    --------
    read_svmlight : Read a file in chunks.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import load_svmlight
    >>> X, y = load_svmlight(io.BytesIO(b"+1 1:0.5 3:2\\n-1 2:1e-1 # a comment"))
    >>> X.toarray()
    array([[0.5, 0. , 2. ],
           [0. , 0.1, 0. ]])
    >>> y
    array([ 1., -1.])
    """
    extras = {"query_id": query_id, "multilabel": multilabel, "on_error": on_error}
    is_part = _check.count("offset", offset) > 0 or _check.count("length", length, minimum=-1) > 0
    if is_part and n_features is None:
        raise ValueError("n_features: is needed with offset or length, so that all parts have the same columns")
    if isinstance(zero_based, str) and zero_based == "auto":
        if is_part:
            raise ValueError(
                "zero_based: got 'auto' with offset or length, but a part of a file need not have its smallest index; "
                "pass True or False"
            )
        return _load_auto_based(path, n_features, dtype, duplicates, extras)
    file = SvmlightFile(
        open_sources(path), n_features, zero_based, dtype, LOAD_BYTES, duplicates, offset, length, **extras
    )
    chunks = list(file)
    if is_part and not chunks:
        chunks = [Chunk(scipy.sparse.csr_array((0, file.n_features), dtype=dtype), np.empty(0))]
    return file.with_extras(*stack_chunks(file.name, chunks, file.n_features))


def read_svmlight(
    path: "str | os.PathLike | BinaryIO | Sequence",
    *,
    n_features: int | None = None,
    zero_based: bool = False,
    dtype: "npt.DTypeLike" = np.float64,
    chunk_bytes: int = CHUNK_BYTES,
    duplicates: Literal["error", "sum"] = "error",
    offset: int = 0,
    length: int = -1,
    on_error: Literal["raise", "skip", "report"] = "raise",
) -> "SvmlightFile":
    """Return an iterable that reads a file in svmlight (LIBSVM) format in chunks, once per iteration.

    Only one chunk is in memory at a time.  See `load_svmlight` for the format.

    Parameters
    ----------
    path : str, os.PathLike, binary file, or list of them
        As in `load_svmlight`.  An open file is read from its current position, and stays open.
    n_features : int, optional
        Number of columns of each chunk.  By default the largest index so far determines it, and later chunks may be
        wider.
    zero_based : bool, default False
        Whether indices start at 0; otherwise they start at 1.
    dtype : {numpy.float64, numpy.float32}
        Data type of `X`.
    chunk_bytes : int, default 4 MiB
        Bytes of decompressed text per chunk.  A chunk is longer if a single line is.
    duplicates : {"error", "sum"}, default "error"
        As in `load_svmlight`.
    offset, length : int, default 0 and -1
        As in `load_svmlight`: the part of the file to read.
    on_error : {"raise", "skip", "report"}, default "raise"
        As in `load_svmlight`.  The omitted lines of a pass are in the attribute `errors`.

    Returns
    -------
    SvmlightFile
        Iterable of `Chunk` with the attributes `n_features`, `errors` and, for a progress bar, `size` and `position`.

    Raises
    ------
    ValueError, ImportError
        As in `load_svmlight`, raised when the chunk is read.  A file without rows yields no chunks.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import read_svmlight
    >>> file = read_svmlight(io.BytesIO(b"1 1:1\\n-1 2:1\\n1 5:1\\n"), chunk_bytes=12)
    >>> [chunk.X.shape for chunk in file], file.position / file.size
    ([(1, 1), (1, 2), (1, 5)], 1.0)
    """
    sources = open_sources(path)
    return SvmlightFile(
        sources, n_features, zero_based, dtype, chunk_bytes, duplicates, offset, length, on_error=on_error
    )


class ChunkedFile:
    """Iterable of `Chunk`.  Each iteration reads the files from the start.

    Attributes
    ----------
    name : str
        Name of the file.
    n_features : int
        Requested number of columns or, by default, the number determined by all rows so far, earlier passes included.
    size : int or None
        Size in bytes as stored, compressed or not; None for a stream without a known size.
    position : int
        Number of stored bytes that the current pass has read.
    errors : LineErrors
        Lines that the current pass has skipped, with ``on_error="skip"`` or "report": a list of `ValueError` with the
        attributes `name`, `line` and `reason`.  The list ends after 1000; ``errors.count`` is their number.
    """

    n_features: int
    errors: LineErrors

    def __init__(self, sources, n_features, chunk_bytes, on_error="raise"):
        self._sources = sources if isinstance(sources, list) else [sources]
        self._chunk_bytes = _check.positive_count("chunk_bytes", chunk_bytes)
        self._on_error = _check.one_of("on_error", on_error, ON_ERROR)
        self.n_features = n_features or 0
        self.errors = LineErrors()
        self._position = 0

    @property
    def name(self) -> str:
        return name_of_sources(self._sources)

    @property
    def size(self) -> int | None:
        return size_of_sources(self._sources)

    @property
    def position(self) -> int:
        return self._position

    def __iter__(self) -> Iterator[Chunk]:
        self.errors, self._position = LineErrors(), 0
        self._start_pass()
        chunks = self._read_chunks()
        for position, chunk in prefetch(chunks) if self._is_prefetched() else chunks:
            self._position = position
            if chunk.y.size:
                yield chunk
        self._position = self._stored_position()
        if self._on_error == "report":
            report_errors(self.name, self.errors)

    def _is_prefetched(self):
        """Return whether the next chunk is parsed in another thread while the caller uses the last one.

        Streams and open files are read by the caller's thread: it can be interrupted while it waits for data.
        """
        return (self.size or 0) > PREFETCH_SIZE and all(source.is_named_file for source in self._sources)

    def _read_chunks(self):
        """Yield (number of stored bytes read, chunk) for each chunk."""
        for block in self._read_blocks():
            chunks = self._parse_lines(block)
            for chunk in chunks:
                yield self._stored_position(), chunk

    def _stored_position(self):
        """Return the number of stored bytes that have been read, possibly ahead of the chunk in use."""
        return sum(source.position for source in self._sources)

    def _read_blocks(self):
        """Yield each `TextBlock` of all files."""
        for source in self._sources:
            source.position = 0
        for source in self._sources:
            line = 1
            for skipped_lines, text in self._select_text(source.read_blocks(self._chunk_bytes)):
                block = TextBlock(text, line + skipped_lines, source.name, self._count(text))
                yield block
                line = block.line + block.counts[0]

    def _parse_lines(self, block):
        """Return the chunks of a block; lines with errors are omitted with ``on_error="skip"``."""
        if self._on_error == "raise":
            return self._parse_block(block)
        return merge_chunks(parse_good_lines(self._parse_block, block, self.errors))

    def _start_pass(self):
        """Prepare a new iteration."""

    def _select_text(self, blocks):
        """Yield (number of lines skipped before the text, text)."""
        return ((0, text) for text in blocks)

    def _count(self, text):
        """Return the number of lines of a text, and what else `_parse_block` needs to know of its size."""
        raise NotImplementedError

    def _parse_block(self, block):
        """Return a list of chunks, or raise LineError and leave the attributes as they were."""
        raise NotImplementedError


class SvmlightFile(ChunkedFile):
    """Iterable of `Chunk`, returned by `read_svmlight`; see `ChunkedFile` for its attributes."""

    def __init__(
        self,
        sources,
        n_features,
        zero_based,
        dtype,
        chunk_bytes,
        duplicates="error",
        offset=0,
        length=-1,
        query_id=False,
        multilabel=False,
        on_error="raise",
    ):
        if isinstance(zero_based, str):
            raise ValueError(
                f"zero_based: got {zero_based!r}; read_svmlight takes True or False, only load_svmlight takes 'auto'"
            )
        zero_based = _check.boolean("zero_based", zero_based)
        if n_features is not None:
            n_features = _check.positive_count("n_features", n_features)
        super().__init__(sources, n_features, chunk_bytes, on_error)
        self._text_format = TextFormat(
            self.name, n_features, 0 if zero_based else 1, check_value_dtype(dtype),
            _check.one_of("duplicates", duplicates, DUPLICATES),
        )  # fmt: skip
        self._part = _check.count("offset", offset), _check.count("length", length, minimum=-1)
        if len(self._sources) > 1 and self._part not in ((0, -1), (0, 0)):
            raise ValueError("offset, length: select a part of one file, but path has several; pass one file")
        self._query_id = _check.boolean("query_id", query_id)
        self._multilabel = _check.boolean("multilabel", multilabel)
        self._query_ids = []
        self._labels = []

    def _start_pass(self):
        self._query_ids, self._labels = [], []

    def _select_text(self, blocks):
        return select_lines(blocks, *self._part)

    def _count(self, text):
        return tuple(int(number) for number in count_lines_and_colons(text))

    def _parse_block(self, block):
        text_format = self._text_format._replace(name=block.name)
        lines, colons = block.counts or self._count(block.text)
        labels, query_ids = None, None
        if self._multilabel:
            block, *labels = split_labels(text_format, block, lines)
        if self._query_id:
            query_ids = read_query_ids(text_format, block, lines)
        X, y = parse_block(text_format, block, lines, colons, self.n_features)
        self.n_features = max(self.n_features, X.shape[1])
        if labels is not None:
            self._labels += as_tuples(*labels)
        if query_ids is not None:
            self._query_ids.append(query_ids)
        return [Chunk(X, y)]

    def with_extras(self, X: Any, y: np.ndarray) -> tuple:
        """Return (X, y) of all rows with the labels and query identifiers of the last iteration."""
        labels = (self._labels if self._multilabel else y,)
        return (
            (X, *labels, np.concatenate([np.empty(0, np.int64), *self._query_ids])) if self._query_id else (X, *labels)
        )

    def __repr__(self) -> str:
        _, n_features, first_index, dtype, _ = self._text_format
        return (
            f"read_svmlight({self.name!r}, n_features={n_features}, zero_based={first_index == 0}, "
            f"dtype={dtype.name!r}, chunk_bytes={self._chunk_bytes})"
        )


def select_lines(blocks, offset, length):
    """Yield (number of lines skipped since the last block, lines) of a part of the text; see `load_svmlight`.

    The lines are those that start in (offset, offset + length], and the first line of the text if `offset` is 0.
    """
    position = skipped_lines = 0
    limit = offset + length
    for text in blocks:
        start = _line_end(text, offset - position) if offset > 0 else 0
        end = _line_end(text, limit - position) if length > 0 else text.size
        if start > 0:
            skipped_lines += int(np.count_nonzero(text[:start] == NEWLINE))
        if end > start:
            yield skipped_lines, text[start:end]
            skipped_lines = 0
        position += text.size
        if 0 < length and limit < position:
            return


def _line_end(text, position):
    """Return the end of the line with the byte at `position`, limited to the text."""
    if position < 0:
        return 0
    return position + 1 + int((text[position:] == NEWLINE).argmax()) if position < text.size else text.size


def check_value_dtype(dtype):
    """Return a NumPy dtype; raise if it is not float32 or float64."""
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype: got {dtype}; must be float32 or float64")
    return dtype


def _load_auto_based(path, n_features, dtype, duplicates, extras):
    """Load a file with ``zero_based="auto"``: read it zero-based, then shift the columns if index 0 is missing."""
    source = open_sources(path)
    SvmlightFile(source, n_features, True, dtype, LOAD_BYTES)  # to check the arguments
    file = SvmlightFile(source, None, True, dtype, LOAD_BYTES, duplicates, **extras)
    chunks = list(file)
    zero_based = any((chunk.X.indices == 0).any() for chunk in chunks)
    X, y = stack_chunks(file.name, chunks, file.n_features)
    if not zero_based and X.nnz:
        X = scipy.sparse.csr_array((X.data, X.indices - 1, X.indptr), shape=(X.shape[0], X.shape[1] - 1))
    if n_features is None:
        return file.with_extras(X, y)
    if X.shape[1] > n_features:  # read again, for the error that names the line, or to skip the line
        file = SvmlightFile(source, n_features, zero_based, dtype, LOAD_BYTES, duplicates, **extras)
        return file.with_extras(*stack_chunks(file.name, list(file), n_features))
    return file.with_extras(scipy.sparse.csr_array((X.data, X.indices, X.indptr), shape=(X.shape[0], n_features)), y)


def merge_chunks(chunks):
    """Return the small chunks as one, so that lines with errors do not make a chunk for every few rows."""
    if len(chunks) < 2 or sum(chunk.X.nnz for chunk in chunks) > MAX_VALUES:
        return chunks
    weights = None if chunks[0].weight is None else np.concatenate([chunk.weight for chunk in chunks])
    n_features = max(chunk.X.shape[1] for chunk in chunks)
    return [Chunk(*stack_chunks("", chunks, n_features), weights)]


def stack_chunks(name, chunks, n_features):
    """Return (X, y) of all chunks with `n_features` columns; the list of chunks is emptied."""
    if not chunks:
        raise ValueError(f"{name}: there are no rows; the file must have lines such as '1 3:0.5 7:1'")
    y = np.concatenate([chunk.y for chunk in chunks])
    nnz = sum(chunk.X.nnz for chunk in chunks)
    dtype = np.int64 if max(nnz, n_features) > INT32_COLUMNS else np.int32
    indptr, indices = np.empty(y.size + 1, dtype), np.empty(nnz, dtype)
    values = np.empty(nnz, chunks[0].X.dtype)
    indptr[0] = row = k = 0
    chunks.reverse()
    while chunks:  # each chunk is freed after copying, so the peak memory is little above one copy of the data
        X = chunks.pop().X
        m, n = X.nnz, X.shape[0]
        indices[k : k + m], values[k : k + m] = X.indices, X.data
        np.add(X.indptr[1:], k, out=indptr[row + 1 : row + 1 + n], casting="same_kind")
        row, k = row + n, k + m
    X = scipy.sparse.csr_array((values, indices, indptr), shape=(y.size, n_features))
    X.has_canonical_format = True
    return X, y
