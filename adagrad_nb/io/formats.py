"""Formats of data files, found from their names and first bytes."""

from __future__ import annotations

import io
import os
import re
import sys
from typing import Any, NamedTuple

from .content import ROW_CACHE_MAGIC, name_content
from .source import Source, open_sources

FORMATS = ("svmlight", "vw", "csv", "text", "parquet", "cache")
HEAD_BYTES = 1 << 16
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
_LABEL_AND_TEXT = re.compile(rb"[^\t]+\t[^\t]*")


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


def open_data(path: Any, format: str | None = None) -> DataFile:
    """Return a data file with its format, found from the first bytes and the name unless it is given.

    Parameters
    ----------
    path : str, os.PathLike, or list of them
        "-" is standard input.  A pattern stands for all files that match it.
    format : str, optional
        One of `FORMATS`.

    Raises
    ------
    ValueError
        If the format cannot be found.
    """
    sources = open_sources(path)
    first = sources[0]
    if not first.is_named_file:
        stream = _peekable(first.name if first._file is None else first._file)
        head, path = stream.peek(HEAD_BYTES)[:HEAD_BYTES], stream
    else:
        with open(first.name, "rb") as file:
            head = file.read(HEAD_BYTES)
    if format is None or format in ("vw", "csv"):
        found = _binary_format(head)
        text = b"" if found else _text_head(head)
        format = format or found or _format_of_text(first.name, text)
    else:
        text = b""
    return DataFile(path, format, text)


def _peekable(file):
    """Return a buffered binary stream of which the first bytes can be looked at."""
    if isinstance(file, (str, bytes, os.PathLike)):
        return open(file, "rb", buffering=HEAD_BYTES)
    if file is sys.stdin.buffer and hasattr(file, "peek"):
        return file
    return file if hasattr(file, "peek") else io.BufferedReader(file, HEAD_BYTES)


def _binary_format(head):
    """Return the format of binary data, or None."""
    if head.startswith(b"PAR1"):
        return "parquet"
    return "cache" if head.startswith(ROW_CACHE_MAGIC) else None


def _text_head(head):
    """Return the first bytes of text, decompressed as far as they go."""
    blocks = []
    try:
        for block in Source(io.BytesIO(head)).read_blocks(1 << 12):
            blocks.append(bytes(block))
            if sum(map(len, blocks)) >= HEAD_BYTES:
                break
    except ValueError:  # of compressed data, only the beginning is known; the reader will report real damage
        pass
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
    if all(_LABEL_AND_TEXT.fullmatch(line) for line in lines) and any(b" " in line.split(b"\t")[1] for line in lines):
        return "text"
    if any(all(mark in line for line in lines[:10]) for mark in (b",", b"\t", b";", b"|")):
        return "csv"
    if sum(bool(_SVMLIGHT.fullmatch(line)) for line in lines) > len(lines) // 2:
        return "svmlight"  # its reader names the line that is not
    raise ValueError(
        f"{name}: the format cannot be found from its content, {name_content(lines[0])}; name it, one of "
        f"{', '.join(FORMATS)}"
    )


def _is_vw(line):
    return bool(_VW.fullmatch(line)) and bool(_VW_LABEL.fullmatch(line.split(b"|")[0]))
