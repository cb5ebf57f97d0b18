"""Readers of lines of label and text: words and n-grams, hashed to columns."""

import os
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import numpy as np
import scipy

from .. import _check
from .hashed_names import HashedNames, key_words
from .hashed_rows import make_keys, sort_and_sum
from .lines import LineError, shorten_repr
from .readers import LOAD_BYTES, Chunk, ChunkedFile, check_value_dtype, stack_chunks
from .source import open_sources
from .svmlight import INT32_COLUMNS
from .text_scanner import (
    FIRST,
    LAST,
    NO_DELIMITER,
    NO_LABEL,
    NO_LABELS,
    NOT_UTF8,
    OK,
    OPEN_QUOTE,
    TextRows,
    TextSettings,
    count_text,
    normalize_rows,
    scan_text,
    word_table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

TEXT_CHUNK_BYTES = 1 << 20  # words and n-grams take some twenty times the memory of their text
MAX_BITS = 30
LABELS = {None: NO_LABELS, "first": FIRST, "last": LAST}
NORMS = ("l2", None)


def load_text(
    path: "str | os.PathLike | BinaryIO | Sequence",
    *,
    label: Literal["first", "last"] | None = "first",
    delimiter: str | None = None,
    bits: int = 20,
    ngrams: "tuple[int, int]" = (1, 2),
    lowercase: bool = True,
    alternate_sign: bool = True,
    norm: Literal["l2"] | None = "l2",
    dtype: "npt.DTypeLike" = np.float64,
    on_error: Literal["raise", "skip", "report"] = "raise",
) -> "tuple[scipy.sparse.csr_array, np.ndarray]":
    """Load a file with a label and a text in each line into memory.

    A feature is a word or a sequence of words.  A word has at least two letters, digits or underscores of any script,
    as in scikit-learn's ``(?u)\\b\\w\\w+\\b``.  Its column is a hash, as in scikit-learn's `HashingVectorizer`, and its
    value the number of occurrences.

    Parameters
    ----------
    path : str, os.PathLike, binary file, or list of them
        File of UTF-8 text, plain or compressed by gzip, xz, bzip2 or zstd; "-" is standard input.  A pattern such as
        ``"part-*.tsv"`` stands for all files that match it.
    label : {"first", "last"} or None, default "first"
        Where the label is; the rest of the line is the text.  None means that each line is a text without a label.
    delimiter : str, optional
        Character between label and text.  By default it is a tab if the first line has one, otherwise a comma.  With a
        comma, fields may be quoted by ``"``, but a quoted text must not have a line end.
    bits : int, default 20
        The features are hashed to ``2**bits`` columns, at most 30 bits.
    ngrams : tuple (shortest, longest), default (1, 2)
        Numbers of words in a feature.
    lowercase : bool, default True
        Whether words are converted to lower case, character by character.
    alternate_sign : bool, default True
        Whether a bit of the hash gives the sign of a value, so that collisions tend to cancel.
    norm : {"l2"} or None, default "l2"
        Whether each row is divided by its Euclidean norm.
    dtype : {numpy.float64, numpy.float32}
        Data type of `X`.
    on_error : {"raise", "skip", "report"}, default "raise"
        Treatment of a malformed line: raise ValueError, omit it, or omit it and warn of the number of such lines.

    Returns
    -------
    X : scipy.sparse.csr_array, shape (n_rows, 2**bits)
        Features, with sorted indices.
    y : numpy.ndarray, shape (n_rows,)
        Labels: float64 if the first one is a number, otherwise strings.  Without labels, NaN.

    Raises
    ------
    ValueError
        If a line has no delimiter or no label, or is not UTF-8.  The message names file, line and remedy.
    ImportError
        If the file is compressed by zstd and no zstd library is installed.

    See Also
    --------
    read_text : Read a file in chunks.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import load_text
    >>> X, y = load_text(io.BytesIO(b"spam\\tWin a prize, win now\\nham\\tSee you\\n"), norm=None, alternate_sign=False)
    >>> y
    array(['spam', 'ham'], dtype='<U4')
    >>> X.shape, X[[0]].data
    ((2, 1048576), array([1., 1., 1., 2., 1., 1.]))
    """
    options = TextOptions(label, delimiter, bits, ngrams, lowercase, alternate_sign, norm)
    file = TextFile(open_sources(path), dtype, LOAD_BYTES, options, on_error)
    chunks = list(file)
    return stack_chunks(file.name, chunks, file.n_features)


def read_text(
    path: "str | os.PathLike | BinaryIO | Sequence",
    *,
    label: Literal["first", "last"] | None = "first",
    delimiter: str | None = None,
    bits: int = 20,
    ngrams: "tuple[int, int]" = (1, 2),
    lowercase: bool = True,
    alternate_sign: bool = True,
    norm: Literal["l2"] | None = "l2",
    dtype: "npt.DTypeLike" = np.float64,
    chunk_bytes: int = TEXT_CHUNK_BYTES,
    on_error: Literal["raise", "skip", "report"] = "raise",
    keep_names: bool = False,
) -> "TextFile":
    """Return an iterable that reads a file with a label and a text in each line in chunks, once per iteration.

    Only one chunk is in memory at a time.  See `load_text` for the format and the options.

    Parameters
    ----------
    path : str, os.PathLike, binary file, or list of them
        As in `load_text`.  An open file is read from its current position, and stays open.
    label, delimiter, bits, ngrams, lowercase, alternate_sign, norm, dtype, on_error
        As in `load_text`.
    chunk_bytes : int, default 1 MiB
        Bytes of decompressed text per chunk.  A chunk is longer if a single line is.
    keep_names : bool, default False
        Whether the attribute `hashed_names` collects the words and sequences of words: a `HashedNames`, which is a
        dictionary ``{column: list of names}`` with a report of collisions.  It needs memory for every name.

    Returns
    -------
    TextFile
        Iterable of `Chunk` with the attributes `n_features`, `errors` and, for a progress bar, `size` and `position`.

    Raises
    ------
    ValueError, ImportError
        As in `load_text`, raised when the chunk is read.  A file without rows yields no chunks.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import fit_linear, read_text
    >>> model = fit_linear(read_text(io.BytesIO(b"spam\\tWin a prize\\nham\\tSee you soon\\n")))
    >>> model.classes
    array(['ham', 'spam'], dtype='<U4')
    """
    options = TextOptions(label, delimiter, bits, ngrams, lowercase, alternate_sign, norm)
    return TextFile(open_sources(path), dtype, chunk_bytes, options, on_error, keep_names)


class TextOptions(NamedTuple):
    """Options of `load_text` for the meaning of the text."""

    label: str | None = "first"
    delimiter: str | None = None
    bits: int = 20
    ngrams: tuple = (1, 2)
    lowercase: bool = True
    alternate_sign: bool = True
    norm: str | None = "l2"


class TextFile(ChunkedFile):
    """Iterable of `Chunk`, returned by `read_text`; see `ChunkedFile` for its attributes."""

    def __init__(self, sources, dtype, chunk_bytes, options, on_error="raise", keep_names=False):
        self._dtype = check_value_dtype(dtype)
        self._options = options
        self._settings = _check_options(options)
        self.hashed_names = HashedNames() if _check.boolean("keep_names", keep_names) else None
        if options.norm not in NORMS:
            raise ValueError(f"norm: got {options.norm!r}; must be 'l2' or None")
        self._delimiter, self._has_numbers = None, None
        super().__init__(sources, 2**options.bits, chunk_bytes, on_error)

    def _start_pass(self):
        self._delimiter, self._has_numbers = self._options.delimiter, None

    def _count(self, text):
        return tuple(int(number) for number in count_text(text))

    def _parse_block(self, block):
        settings = self._settings
        if settings.label != NO_LABELS:
            if self._delimiter is None:
                self._delimiter = "\t" if b"\t" in bytes(block.text[: 1 << 16]).split(b"\n")[0] else ","
            settings = settings._replace(delimiter=ord(self._delimiter))
        n_lines, n_words = block.counts or self._count(block.text)
        n_features = (n_words + n_lines) * (settings.longest - settings.shortest + 1)
        rows = TextRows(
            np.empty((n_lines, 2), np.int64), np.empty(n_lines + 1, np.int64), np.empty(n_features, np.int32),
            np.empty(n_features), np.empty(2 * block.text.size + 2, np.uint8), np.empty((n_words + 1, 2), np.int64),
            np.empty((0 if self.hashed_names is None else n_features, 2), np.int64),
        )  # fmt: skip
        with np.errstate(over="ignore"):
            scanned = scan_text(block.text, settings, rows)
        status, position, n_rows, _, _ = (int(number) for number in scanned)
        if status != OK:
            self._raise_for_line(block, status, position)
        labels = _slice(block.text, rows.labels[:n_rows])
        y = np.full(n_rows, np.nan) if settings.label == NO_LABELS else self._convert_labels(block, rows, labels)
        indptr = rows.indptr[: n_rows + 1]
        if self.hashed_names is not None:
            self._add_names(rows, int(indptr[-1]))
        longest = int(np.diff(indptr).max(initial=0))
        data = np.empty(int(indptr[-1]), self._dtype)
        n_values, _ = sort_and_sum(indptr, rows.columns, rows.values, *make_keys(self._options.bits, longest), data)
        if self._options.norm is not None:
            normalize_rows(indptr, data)
        dtype = np.int32 if n_values <= INT32_COLUMNS else np.int64
        X = scipy.sparse.csr_array(
            (data[:n_values], rows.columns[:n_values].astype(dtype), indptr.astype(dtype)),
            shape=(n_rows, self.n_features),
        )
        X.has_canonical_format = True
        return [Chunk(X, y)]

    def _add_names(self, rows, n_values):
        """Add the names of all features."""
        keys, buffer = np.empty(n_values, np.int64), rows.buffer.data
        with np.errstate(over="ignore"):
            key_words(rows.buffer, rows.names, rows.columns, keys)
        self.hashed_names.add(keys, lambda k: str(buffer[rows.names[k, 0] : rows.names[k, 1]], "utf-8"))

    def _convert_labels(self, block, rows, labels):
        """Return labels as numbers if the first one of the file is a number, otherwise as strings."""
        if not labels:
            return np.empty(0)
        if self._has_numbers is None:
            self._has_numbers = _is_number(labels[0])
        if not self._has_numbers:
            return np.array(labels)
        try:
            y = np.array(labels).astype(np.float64)
        except ValueError:
            y = np.array([float(word) if _is_number(word) else np.nan for word in labels])
        is_finite = np.isfinite(y)
        if not is_finite.all():
            k = int(is_finite.argmin())
            line = block.line_at(int(rows.labels[k, 0]))
            reason = f"got the label {shorten_repr(labels[k])}, but the first label is a finite number; correct it"
            raise LineError(block.name, line, reason)
        return y

    def _raise_for_line(self, block, status, position):
        if status == NOT_UTF8:
            byte = int(block.text[position])
            reason = f"got the byte 0x{byte:02x}, which is not UTF-8; convert the file, for example with iconv"
        else:
            line = shorten_repr(block.text_of_line(position).rstrip("\r"))
            reason = {
                NO_DELIMITER: f"got {line} without the delimiter {self._delimiter!r}; write label and text, "
                "or pass delimiter, or label=None if there are no labels",
                NO_LABEL: f"got {line} without a label; write one, or pass label=None if there are no labels",
                OPEN_QUOTE: f"got {line}, where a quotation mark is not closed; write each row in one line",
            }[status]
        raise LineError(block.name, block.line_at(position), reason)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options._asdict().items())
        return f"read_text({self.name!r}, {options}, dtype={self._dtype.name!r}, chunk_bytes={self._chunk_bytes})"


def _check_options(options):
    """Return the `TextSettings` of checked options, without the delimiter."""
    if options.label not in LABELS:
        raise ValueError(f"label: got {options.label!r}; must be 'first', 'last' or None")
    delimiter = options.delimiter
    if delimiter is not None and not (
        isinstance(delimiter, str) and len(delimiter) == 1 and delimiter.isascii() and delimiter not in "\r\n"
    ):
        raise ValueError(f"delimiter: got {delimiter!r}; must be an ASCII character, such as '\\t' or ','")
    bits = _check.count("bits", options.bits, 1, MAX_BITS)
    try:
        shortest, longest = options.ngrams
    except (TypeError, ValueError):
        raise ValueError(f"ngrams: got {options.ngrams!r}; must be a pair of numbers, such as (1, 2)") from None
    shortest = _check.count("ngrams[0]", shortest, 1, 100)
    longest = _check.count("ngrams[1]", longest, shortest, 100)
    table = word_table(_check.boolean("lowercase", options.lowercase))
    is_signed = int(_check.boolean("alternate_sign", options.alternate_sign))
    return TextSettings(LABELS[options.label], 0, table, shortest, longest, 2**bits - 1, is_signed)


def _slice(text, spans):
    """Return text[start:end] as strings."""
    raw = text.tobytes()
    return [raw[start:end].decode("utf-8", "backslashreplace") for start, end in spans.tolist()]


def _is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True
