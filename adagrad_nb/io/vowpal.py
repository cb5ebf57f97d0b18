"""Readers of Vowpal Wabbit's text format: numbered features, or names that are hashed as there.

`vowpal_rows` parses a block, `vowpal_scanner` and `hashed_rows` have the kernels.
"""

import os
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import numpy as np
import scipy

from .. import _check
from .hashed_names import HashedNames
from .readers import CHUNK_BYTES, DUPLICATES, LOAD_BYTES, Chunk, ChunkedFile, check_value_dtype, stack_chunks
from .source import open_sources
from .vowpal_rows import ANY_NAMESPACE, VwFormat, hash_rows, number_rows, scan_rows
from .vowpal_scanner import HASH_ALL, HASH_STRINGS, NUMBERED, count_vw

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

MAX_BITS = 30  # the column indices of hashed features are int32
HASHES = {"strings": HASH_STRINGS, "all": HASH_ALL}
MISSING_LABELS = ("error", "nan", "skip")
ANY, PRINTABLE = ord(":"), slice(32, 127)


def load_vw(
    path: "str | os.PathLike | BinaryIO | Sequence",
    *,
    n_features: int | None = None,
    dtype: "npt.DTypeLike" = np.float64,
    duplicates: Literal["error", "sum"] | None = None,
    bits: int | None = None,
    hash: Literal["strings", "all"] = "strings",
    quadratic: "str | Sequence[str]" = (),
    constant: bool = False,
    missing_labels: Literal["error", "nan", "skip"] = "error",
    on_error: Literal["raise", "skip", "report"] = "raise",
) -> "tuple[scipy.sparse.csr_array, np.ndarray, np.ndarray]":
    """Load a file in Vowpal Wabbit text format into memory.

    Each line is ``label [importance] [tag]|namespace[:scale] feature[:value] … |namespace …``.  The default value of a
    feature is 1.  The scale multiplies all values of its namespace.  Blank lines are skipped and tags are ignored.

    Without `bits`, features are numbers, which are the column indices, from 0, and there is one namespace.  With
    `bits`, the columns are those of Vowpal Wabbit with ``-b bits``: the hash of the name, seeded by the hash of the
    namespace.  A value may then be a string, as in ``city:Paris``, and a feature may have no name, as in ``:0.5``.

    Parameters
    ----------
    path : str, os.PathLike, binary file, or list of them
        Plain file, or a file compressed by gzip, xz, bzip2 or zstd, whatever its name.  "-" is standard input.
        A pattern such as ``"day-*.vw.gz"`` stands for all files that match it, in alphabetical order.
    n_features : int, optional
        Number of columns of `X`.  By default the largest feature number determines it; with `bits` it is ``2**bits``.
    dtype : {numpy.float64, numpy.float32}
        Data type of `X`.
    duplicates : {"error", "sum"}, optional
        Treatment of a feature that occurs twice in a line: raise ValueError, or add up the values.  The default is
        "error", and with `bits` "sum", the only choice there, because two names may have the same hash.
    bits : int, optional
        Hash the features to ``2**bits`` columns, at most 30 bits.  Vowpal Wabbit's default is 18.
    hash : {"strings", "all"}, default "strings"
        Whether names that are numbers are added to the seed or hashed, as Vowpal Wabbit's ``--hash``.
    quadratic : str or sequence of str, default ()
        Pairs of namespaces, each by its first character, whose features are multiplied with each other, as Vowpal
        Wabbit's ``-q``: "ab" pairs the features of a and b, "aa" each two of a and each with itself, and ":" stands
        for any namespace that starts with a printable ASCII character.  "ba" has other columns than "ab".
    constant : bool, default False
        Whether each row has Vowpal Wabbit's constant feature.  Linear models have an intercept of their own.
    missing_labels : {"error", "nan", "skip"}, default "error"
        Treatment of a line without a label: raise ValueError, return the label NaN, or omit the row, as Vowpal Wabbit
        does in training.
    on_error : {"raise", "skip", "report"}, default "raise"
        Treatment of a malformed line: raise ValueError, omit it, or omit it and warn of the number of such lines.

    Returns
    -------
    X : scipy.sparse.csr_array, shape (n_rows, n_features)
        Features, with sorted indices.  With `bits`, zeros are omitted.
    y : numpy.ndarray of float64, shape (n_rows,)
        Labels.
    weight : numpy.ndarray of float64, shape (n_rows,)
        Importance weights, 1 by default.

    Raises
    ------
    ValueError
        If the text is malformed or, without `bits`, has several namespaces or names of features.  The message names
        file, line and remedy.  An initial prediction other than 0 after the importance is not supported.
    ImportError
        If the file is compressed by zstd and no zstd library is installed.

    See Also
    --------
    read_vw : Read a file in chunks.

    Notes
    -----
    Vowpal Wabbit learns from two features with the same column in one row by two steps; here their values are summed.
    It ignores the rest of a namespace after a malformed feature, such as ``date:2020-01-01``; here this is an error.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import load_vw
    >>> X, y, weight = load_vw(io.BytesIO(b"1 |f 0:0.5 2\\n-1 2.0 'b|f 1:3\\n"))
    >>> X.toarray()
    array([[0.5, 0. , 1. ],
           [0. , 3. , 0. ]])
    >>> y, weight
    (array([ 1., -1.]), array([1., 2.]))
    >>> X, _, _ = load_vw(io.BytesIO(b"1 |user age:0.3 city:Paris |ad sports\\n"), bits=18, quadratic="ua")
    >>> X.shape, X.nnz
    ((1, 262144), 5)
    """
    options = VwOptions(duplicates, bits, hash, quadratic, constant, missing_labels)
    file = VwFile(open_sources(path), n_features, dtype, LOAD_BYTES, options, on_error)
    chunks = list(file)
    if not chunks:
        raise ValueError(f"{file.name}: there are no rows; the file must have lines such as '1 |f 3:0.5 7'")
    weight = np.concatenate([chunk.weight for chunk in chunks])
    return *stack_chunks(file.name, chunks, file.n_features), weight


def read_vw(
    path: "str | os.PathLike | BinaryIO | Sequence",
    *,
    n_features: int | None = None,
    dtype: "npt.DTypeLike" = np.float64,
    chunk_bytes: int = CHUNK_BYTES,
    duplicates: Literal["error", "sum"] | None = None,
    bits: int | None = None,
    hash: Literal["strings", "all"] = "strings",
    quadratic: "str | Sequence[str]" = (),
    constant: bool = False,
    missing_labels: Literal["error", "nan", "skip"] = "error",
    on_error: Literal["raise", "skip", "report"] = "raise",
    keep_names: bool = False,
) -> "VwFile":
    """Return an iterable that reads a file in Vowpal Wabbit text format in chunks, once per iteration.

    Only one chunk is in memory at a time.  See `load_vw` for the format and the options.

    Parameters
    ----------
    path : str, os.PathLike, binary file, or list of them
        As in `load_vw`.  An open file is read from its current position, and stays open.
    n_features : int, optional
        Number of columns of each chunk.  By default the largest feature number so far determines it, and later chunks
        may be wider; with `bits` it is ``2**bits``.
    dtype : {numpy.float64, numpy.float32}
        Data type of `X`.
    chunk_bytes : int, default 4 MiB
        Bytes of decompressed text per chunk.  A chunk is longer if a single line is.  Blocks whose pairs have more than
        two million values make several chunks.
    duplicates, bits, hash, quadratic, constant, missing_labels, on_error
        As in `load_vw`.
    keep_names : bool, default False
        Whether the attribute `hashed_names` collects the names of hashed features: a `HashedNames`, which is a
        dictionary ``{column: list of names}`` with a report of collisions.  It needs memory for every name.

    Returns
    -------
    VwFile
        Iterable of `Chunk` with the attributes `n_features`, `errors` and, for a progress bar, `size` and `position`.

    Raises
    ------
    ValueError, ImportError
        As in `load_vw`, raised when the chunk is read.  A file without rows yields no chunks.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import read_vw
    >>> file = read_vw(io.BytesIO(b"1 |f 0\\n-1 |f 1\\n1 2 |f 4\\n"), chunk_bytes=12)
    >>> [(chunk.X.shape, chunk.weight.tolist()) for chunk in file]
    [((1, 1), [1.0]), ((1, 2), [1.0]), ((1, 5), [2.0])]
    """
    options = VwOptions(duplicates, bits, hash, quadratic, constant, missing_labels, keep_names)
    return VwFile(open_sources(path), n_features, dtype, chunk_bytes, options, on_error)


class VwOptions(NamedTuple):
    """Options of `load_vw` for the meaning of the text."""

    duplicates: str | None = None
    bits: int | None = None
    hash: str = "strings"
    quadratic: Any = ()
    constant: bool = False
    missing_labels: str = "error"
    keep_names: bool = False


class VwFile(ChunkedFile):
    """Iterable of `Chunk`, returned by `read_vw`; see `ChunkedFile` for its attributes."""

    def __init__(self, sources, n_features, dtype, chunk_bytes, options, on_error="raise"):
        if n_features is not None:
            n_features = _check.positive_count("n_features", n_features)
        self._text_format = _check_options("", n_features, check_value_dtype(dtype), options)
        self._skips_unlabelled = options.missing_labels == "skip"
        super().__init__(sources, self._text_format.n_features, chunk_bytes, on_error)

    @property
    def hashed_names(self) -> HashedNames | None:
        """Names of the columns read so far, or None if they are not kept."""
        return self._text_format.hashed_names

    def _start_pass(self):
        self._text_format = self._text_format._replace(namespace=None)

    def _count(self, text):
        return tuple(int(number) for number in count_vw(text))

    def _parse_block(self, block):
        text_format = self._text_format._replace(name=block.name)
        if text_format.names == NUMBERED and text_format.namespace is None:
            found = ANY_NAMESPACE.search(block.text.data)
            text_format = text_format._replace(namespace=found and found.group(1))
        parsed = scan_rows(text_format, block, block.counts or self._count(block.text))
        if text_format.names == NUMBERED:
            matrices = [(0, number_rows(text_format, block, parsed, self.n_features))]
        else:
            matrices = list(hash_rows(text_format, block, parsed))
        chunks = []
        for first, X in matrices:
            labels = parsed.rows.labels[first : first + X.shape[0]]
            chunk = Chunk(X, labels[:, 0].copy(), labels[:, 1].copy())
            chunks.append(_omit_unlabelled(chunk) if self._skips_unlabelled else chunk)
            self.n_features = max(self.n_features, X.shape[1])
        if chunks and text_format.namespace is not None:
            self._text_format = self._text_format._replace(namespace=text_format.namespace)
        return chunks

    def __repr__(self) -> str:
        text_format = self._text_format
        hashed = "" if text_format.names == NUMBERED else f"bits={text_format.bits}, "
        n_features = text_format.n_features if text_format.names == NUMBERED else None
        return (
            f"read_vw({self.name!r}, n_features={n_features}, dtype={text_format.dtype.name!r}, {hashed}"
            f"chunk_bytes={self._chunk_bytes})"
        )


def _check_options(name, n_features, dtype, options):
    """Return the `VwFormat` of checked options."""
    duplicates, bits, hashing, quadratic, constant, missing_labels, keep_names = options
    keep_names = _check.boolean("keep_names", keep_names)
    hashing = _check.one_of("hash", hashing, tuple(HASHES))
    missing_labels = _check.one_of("missing_labels", missing_labels, MISSING_LABELS)
    constant = _check.boolean("constant", constant)
    pairs = _pair_namespaces(quadratic)
    if duplicates is not None:
        duplicates = _check.one_of("duplicates", duplicates, DUPLICATES)
    if bits is None:
        given = {"hash": hashing != "strings", "quadratic": pairs.size, "constant": constant, "keep_names": keep_names}
        for option in filter(given.get, given):
            raise ValueError(f"{option}: is only for hashed features; pass bits=18 too")
    else:
        bits = _check.count("bits", bits, 1, MAX_BITS)
        if n_features not in (None, 2**bits):
            raise ValueError(f"n_features: got {n_features} with bits={bits}, which makes {2**bits} columns; omit it")
        if duplicates == "error":
            raise ValueError(
                "duplicates: got 'error' with bits, but two names may have the same hash; omit it or pass 'sum'"
            )
        n_features = 2**bits
    return VwFormat(
        name, n_features, dtype, duplicates == "sum", NUMBERED if bits is None else HASHES[hashing], bits or 0, pairs,
        constant, missing_labels == "error", None, HashedNames() if keep_names else None,
    )  # fmt: skip


def _pair_namespaces(quadratic):
    """Return the matrix of the ordered pairs of first bytes of namespaces whose features are paired."""
    items = [quadratic] if isinstance(quadratic, str) else list(quadratic)
    pairs = np.zeros((256, 256) if items else (0, 0), np.bool_)
    for item in items:
        if not (isinstance(item, str) and len(item) == 2 and item.isascii() and "|" not in item):
            raise ValueError(
                f"quadratic: got {item!r}; must be the first characters of two namespaces, such as 'ab', 'aa' or '::'"
            )
        a, b = item.encode()
        pairs[PRINTABLE if a == ANY else a, PRINTABLE if b == ANY else b] = True
    return pairs & ~np.tril(pairs.T, -1)  # of a pair and its reverse, the ordered one remains


def _omit_unlabelled(chunk):
    """Return a chunk without the rows whose label is NaN."""
    has_label = ~np.isnan(chunk.y)
    if has_label.all():
        return chunk
    X = chunk.X[np.flatnonzero(has_label)]
    X.has_canonical_format = True
    return Chunk(X, chunk.y[has_label], chunk.weight[has_label])
