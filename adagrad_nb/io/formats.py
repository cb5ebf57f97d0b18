"""Formats of data files, found from their names and first bytes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from typing import Any, NamedTuple

from .content import ROW_CACHE_MAGIC, name_content
from .source import PrefixedStream, Source, open_sources, read_prefix

FORMATS = ("svmlight", "vw", "csv", "text", "parquet", "cache")
HEAD_BYTES = 1 << 16
BZIP2_BYTES = 1 << 20  # a whole block, which cannot be decompressed in parts
COMPRESSED_SUFFIXES = (".gz", ".xz", ".bz2", ".zst")
SUFFIXES = {
    ".svm": "svmlight", ".svmlight": "svmlight", ".libsvm": "svmlight", ".vw": "vw", ".csv": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".cache": "cache",
}  # fmt: skip
_NUMBER = rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_SVMLIGHT = re.compile(
    rb"[ \t]*(?:%(n)s(?:,%(n)s)*)?(?:[ \t]+qid:[0-9]+)?(?:[ \t]+[0-9]+:[ \t]*%(n)s)*[ \t]*(?:#.*)?" % {b"n": _NUMBER}
)
_VW = re.compile(rb"[^|]{0,200}\|(?:[^ \t|:]+(?::%(n)s)?)?(?:[ \t].*)?" % {b"n": _NUMBER})
_VW_LABEL = re.compile(rb"(?:%(n)s[ \t]+){0,3}(?:%(n)s)?[ \t]*(?:'?[^ \t|]*)?" % {b"n": _NUMBER})
_NUMBERED = re.compile(rb"[^|]*\|[^ \t|:]*(?::%(n)s)?(?:[ \t]+[0-9]+(?::%(n)s)?)*[ \t]*" % {b"n": _NUMBER})
_LABEL_AND_TEXT = re.compile(rb"[^\t]+\t[^\t]*\t*")
MAX_COMMENTS = 5  # lines before the rows of comma-separated text
TEXT_FORMATS = ("svmlight", "vw", "csv", "text")


class DataFile(NamedTuple):
    """A data file whose format is known.

    Attributes
    ----------
    path : path, binary file, or list of them
        What to pass to the reader: standard input and pipes, of which the first bytes were read, are open files.
    format : str
        One of `FORMATS`.
    head : bytes
        The first bytes of the text, decompressed; empty for binary formats.
    """

    path: Any
    format: str
    head: bytes

    @property
    def has_names(self) -> bool:
        """Whether a file in Vowpal Wabbit's format has names of features, or several namespaces."""
        lines = [line for line in _whole_lines(self.head) if line.strip()]
        return not all(_NUMBERED.fullmatch(line) for line in lines)


def open_data(path: Any, format: str | None = None, expected: str | None = None) -> DataFile:
    """Return a data file with its format, found from the first bytes and the name unless it is given.

    Parameters
    ----------
    path : str, os.PathLike, or list of them
        "-" is standard input.  A pattern stands for all files that match it.
    format : str, optional
        One of `FORMATS`.
    expected : str, optional
        Format of other data of the same kind.  If it is a format of text, or a table, it is that of all text.

    Raises
    ------
    ValueError
        If the format cannot be found.
    """
    sources = open_sources(path)
    first = sources[0]
    if first.is_named_file:
        with open(first.name, "rb") as file:
            head = _read_head(file)
    else:
        head, path = _read_stream(first)
        if len(sources) > 1:
            path = [path, *(source.name if source.is_named_file else _stream_of(source) for source in sources[1:])]
    found = _binary_format(head)
    text = b"" if found else _text_head(first.name, head)
    if format is None and found is None:
        expected = "csv" if expected == "parquet" else expected
        found = expected if expected in TEXT_FORMATS else _format_of_text(first.name, text)
    return DataFile(path, format or found, text)


def _read_stream(source):
    """Return the first bytes of a stream, and a stream with all bytes.

    A file that can seek is returned itself, so that it can be read again.
    """
    file = _stream_of(source)
    if file.seekable():
        start = file.tell()
        head = _read_head(file)
        file.seek(start)
        return head, file
    head = _read_head(file)
    return head, NamedStream(source.name, head, file, source.file is None)


def _read_head(file):
    head = read_prefix(file, HEAD_BYTES)
    return head + read_prefix(file, BZIP2_BYTES - len(head)) if head.startswith(b"BZh") else head


def _stream_of(source):
    return open(source.name, "rb", buffering=0) if source.file is None else source.file


class NamedStream(PrefixedStream):
    """A stream of which the first bytes have been read, with the name that error messages show."""

    def __init__(self, name, prefix, raw, is_own):
        super().__init__(prefix, raw)
        self.name, self._is_own = name, is_own

    def close(self):
        """Close the file, if it was opened here."""
        if self._is_own:
            self._raw.close()
        super().close()


def _binary_format(head):
    """Return the format of binary data, or None."""
    if head.startswith(b"PAR1"):
        return "parquet"
    return "cache" if head.startswith(ROW_CACHE_MAGIC) else None


def _text_head(name, head):
    """Return the first bytes of text, decompressed as far as they go."""
    blocks, source = [], Source(io.BytesIO(head))
    source.name = name
    # Of compressed data, only the beginning is known.  The reader will report damage.
    with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):
        for block in source.read_blocks(1 << 12):
            blocks.append(bytes(block))
            if sum(map(len, blocks)) >= HEAD_BYTES:
                break
    return b"".join(blocks)


def _whole_lines(text):
    lines = re.split(rb"\r\n|\r|\n", text)
    return lines if len(lines) == 1 else lines[:-1]


def _format_of_text(name, text):
    """Return the format of a text that begins as `text`."""
    lines = [line for line in _whole_lines(text) if line.strip()][:100]
    base = os.path.basename(name).lower()
    for suffix in COMPRESSED_SUFFIXES:
        base = base.removesuffix(suffix)
    suffix = os.path.splitext(base)[1]
    if not lines:
        return SUFFIXES.get(suffix, "svmlight")
    if all(_SVMLIGHT.fullmatch(line) for line in lines):
        return "svmlight"
    if all(_is_vw(line) for line in lines):
        return "vw"
    if suffix in SUFFIXES and SUFFIXES[suffix] not in ("parquet", "cache"):
        return SUFFIXES[suffix]
    if _is_label_and_text(lines):
        return "text"
    if any(_is_delimited(lines, mark) for mark in (b",", b"\t", b";", b"|")):
        return "csv"
    if sum(bool(_SVMLIGHT.fullmatch(line)) for line in lines) > len(lines) // 2:
        return "svmlight"  # its reader names the line that is not
    raise ValueError(
        f"{name}: the format cannot be found from its content, {name_content(lines[0])}; name it, one of "
        f"{', '.join(FORMATS)}"
    )


def _is_label_and_text(lines):
    """Return whether nearly all lines are a label, a tab and a text, possibly followed by empty fields."""
    texts = [line.split(b"\t")[1] for line in lines if _LABEL_AND_TEXT.fullmatch(line)]
    return len(texts) >= 0.9 * len(lines) and any(b" " in text for text in texts)


def _is_delimited(lines, mark):
    """Return whether a mark is in all lines but comments at the beginning."""
    rows = lines[:20]
    while len(rows) > 1 and len(lines[:20]) - len(rows) < MAX_COMMENTS and mark not in rows[0]:
        rows = rows[1:]
    return all(mark in line for line in rows)


def _is_vw(line):
    return bool(_VW.fullmatch(line)) and bool(_VW_LABEL.fullmatch(line.split(b"|")[0]))
