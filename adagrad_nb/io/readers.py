"""Readers of data files: a whole file at once, or chunk by chunk for files that are larger than memory."""

from typing import NamedTuple

import numpy as np
import scipy

from .. import _check
from .source import Source
from .svmlight import INT32_COLUMNS, TextBlock, TextFormat, parse_block
from .svmlight_scanner import count_lines_and_colons

CHUNK_BYTES = 1 << 20  # stays in the cache: 930 MB/s on a9a, against 880 with 4 MiB and 740 with 8 MiB
LOAD_BYTES = 8 << 20  # where all is kept, few large arrays are quicker to allocate: 500 MB/s, against 360 with 1 MiB


class Chunk(NamedTuple):
    """Some rows of a data set: what a reader yields and `fit_linear` learns from.

    Parameters
    ----------
    X : scipy.sparse.csr_array or numpy.ndarray, shape (n_rows, n_features)
        Features; the columns of a sparse row ascend and none occurs twice.
    y : numpy.ndarray, shape (n_rows,)
        Labels or targets.
    weight : numpy.ndarray, shape (n_rows,), optional
        Importance of each row; None means 1.

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


def load_svmlight(path, *, n_features=None, zero_based=False, dtype=np.float64):
    """Read a whole file of svmlight (LIBSVM) text into memory.

    Each line is ``label index:value index:value … # comment``.  Blank lines, comments and ``qid:`` are skipped;
    rows may be unsorted and come out sorted.  Numbers are rounded as ``float`` rounds them.

    Parameters
    ----------
    path : str, os.PathLike or binary file
        Plain, or compressed by gzip, xz, bzip2 or zstd, whatever its name.  zstd needs Python 3.14 or the package
        ``zstandard``.
    n_features : int, optional
        Columns of `X`.  By default as many as the largest index asks for; give it where a test file must match a
        training file.
    zero_based : bool or "auto", default False
        Whether index 0 is the first column; otherwise index 1 is.  With ``"auto"`` an index 0 anywhere in the
        file means True.
    dtype : {numpy.float64, numpy.float32}
        Of the values of `X`.

    Returns
    -------
    X : scipy.sparse.csr_array, shape (n_rows, n_features)
        Values as written, zeros included.  Indices are int32 unless they do not fit.
    y : numpy.ndarray of float64, shape (n_rows,)
        Labels.

    Raises
    ------
    ValueError
        Where the text is malformed, naming file, line and remedy; where there are no rows; where compressed data
        is damaged or cut off.
    ImportError
        Where the data is compressed by zstd and nothing can read that.

    See Also
    --------
    read_svmlight : the same chunk by chunk.

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
    if isinstance(zero_based, str) and zero_based == "auto":
        return _load_auto_based(path, n_features, dtype)
    file = SvmlightFile(Source(path), n_features, zero_based, dtype, LOAD_BYTES)
    return _stack_chunks(file.name, list(file), file.n_features)


def read_svmlight(path, *, n_features=None, zero_based=False, dtype=np.float64, chunk_bytes=CHUNK_BYTES):
    """Read svmlight (LIBSVM) text chunk by chunk, as many times as it is iterated over.

    Memory is needed for one chunk only.  See `load_svmlight` for the format.

    Parameters
    ----------
    path : str, os.PathLike or binary file
        As in `load_svmlight`.  An open file is read from where it stands now, and is left open.
    n_features : int, optional
        Columns of each chunk.  By default as many as the largest index so far asks for, so that later chunks may
        be wider.
    zero_based : bool, default False
        Whether index 0 is the first column; otherwise index 1 is.
    dtype : {numpy.float64, numpy.float32}
        Of the values of `X`.
    chunk_bytes : int, default 1 MiB
        Bytes of text (not compressed) per chunk, more where a line is longer.

    Returns
    -------
    SvmlightFile
        An iterable of `Chunk` with attributes `size` and `position`, for a progress bar, and `n_features`.

    Raises
    ------
    ValueError, ImportError
        As in `load_svmlight`, when the chunk in question is reached.  A file without rows yields nothing.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import read_svmlight
    >>> file = read_svmlight(io.BytesIO(b"1 1:1\\n-1 2:1\\n1 5:1\\n"), chunk_bytes=12)
    >>> [chunk.X.shape for chunk in file], file.position / file.size
    ([(1, 1), (1, 2), (1, 5)], 1.0)
    """
    return SvmlightFile(Source(path), n_features, zero_based, dtype, chunk_bytes)


class SvmlightFile:
    """An iterable of `Chunk`, made by `read_svmlight`.  Each iteration starts the file anew.

    Attributes
    ----------
    name : str
        Of the file.
    n_features : int
        Columns asked for, or else as many as all rows read so far have needed, earlier passes included.
    size : int or None
        Bytes of the file as stored, compressed or not; None for a stream that cannot tell.
    position : int
        How many of them the present pass has read.
    """

    def __init__(self, source, n_features, zero_based, dtype, chunk_bytes):
        if isinstance(zero_based, str):
            raise ValueError(
                f"zero_based: got {zero_based!r}; chunks need True or False, 'auto' works with load_svmlight only"
            )
        zero_based = _check.boolean("zero_based", zero_based)
        if n_features is not None:
            n_features = _check.positive_count("n_features", n_features)
        self._source = source
        self._text_format = TextFormat(source.name, n_features, 0 if zero_based else 1, check_value_dtype(dtype))
        self._chunk_bytes = _check.positive_count("chunk_bytes", chunk_bytes)
        self.n_features = n_features or 0

    def __iter__(self):
        line = 1
        for text in self._source.read_blocks(self._chunk_bytes):
            lines, colons = (int(number) for number in count_lines_and_colons(text))
            X, y = parse_block(self._text_format, TextBlock(text, line), lines, colons, self.n_features)
            line += lines
            self.n_features = max(self.n_features, X.shape[1])
            if y.size:
                yield Chunk(X, y)

    def __repr__(self):
        _, n_features, first_index, dtype = self._text_format
        return (
            f"read_svmlight({self.name!r}, n_features={n_features}, zero_based={first_index == 0}, "
            f"dtype={dtype.name!r}, chunk_bytes={self._chunk_bytes})"
        )

    @property
    def name(self):
        return self._source.name

    @property
    def size(self):
        return self._source.size

    @property
    def position(self):
        return self._source.position


def check_value_dtype(dtype):
    """float32 or float64 as a NumPy dtype."""
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype: got {dtype}; must be float32 or float64")
    return dtype


def _load_auto_based(path, n_features, dtype):
    """`load_svmlight` of a file that must be seen whole before its columns can be numbered."""
    source = Source(path)
    SvmlightFile(source, n_features, True, dtype, LOAD_BYTES)  # checks the arguments
    file = SvmlightFile(source, None, True, dtype, LOAD_BYTES)
    chunks = list(file)
    zero_based = any((chunk.X.indices == 0).any() for chunk in chunks)
    X, y = _stack_chunks(file.name, chunks, file.n_features)
    if not zero_based and X.nnz:
        X = scipy.sparse.csr_array((X.data, X.indices - 1, X.indptr), shape=(X.shape[0], X.shape[1] - 1))
    if n_features is None:
        return X, y
    if X.shape[1] > n_features:  # read again for the sentence that names the line
        list(SvmlightFile(source, n_features, zero_based, dtype, LOAD_BYTES))
    return scipy.sparse.csr_array((X.data, X.indices, X.indptr), shape=(X.shape[0], n_features)), y


def _stack_chunks(name, chunks, n_features):
    """(X, y) of all chunks, one below the other, as wide as asked for; the list of chunks is emptied."""
    if not chunks:
        raise ValueError(f"{name}: there are no rows; the file must have lines such as '1 3:0.5 7:1'")
    y = np.concatenate([chunk.y for chunk in chunks])
    nnz = sum(chunk.X.nnz for chunk in chunks)
    dtype = np.int64 if max(nnz, n_features) > INT32_COLUMNS else np.int32
    indptr, indices = np.empty(y.size + 1, dtype), np.empty(nnz, dtype)
    values = np.empty(nnz, chunks[0].X.dtype)
    indptr[0] = row = k = 0
    chunks.reverse()
    while chunks:  # each is freed once it is copied, so that the peak stays little above one copy of the data
        X = chunks.pop().X
        m, n = X.nnz, X.shape[0]
        indices[k : k + m], values[k : k + m] = X.indices, X.data
        np.add(X.indptr[1:], k, out=indptr[row + 1 : row + 1 + n], casting="same_kind")
        row, k = row + n, k + m
    X = scipy.sparse.csr_array((values, indices, indptr), shape=(y.size, n_features))
    X.has_canonical_format = True
    return X, y
