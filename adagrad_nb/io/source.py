"""Blocks of whole lines of a plain or compressed file.  It needs only the standard library and NumPy."""

import bz2
import contextlib
import errno
import glob
import gzip
import io
import lzma
import os
import stat
import sys
import warnings
import zlib

import numpy as np

from .content import REMEDIES, recognize

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
LONGEST_MAGIC = max(map(len, MAGIC))
# A block of zstd has at least 4 bytes and at most 128 KiB of text: at most 64 MiB of text are in memory at once.
ZSTD_INPUT = 1 << 11
MAX_LINE = 1 << 27  # bytes of a line of compressed text; a few bytes may expand to gigabytes without a line end
NO_LINE_END = 1 << 16  # bytes without a line feed after which carriage returns are taken as line ends
ZSTD_CHECKSUM = 4  # bit of the fifth byte of a frame
DECOMPRESSION_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError)


def open_sources(path):
    """Return a list of `Source`: one, or those of a list of files or of a pattern such as ``"part-*.gz"``."""
    return [Source(file) for file in expand_paths(path)]


def expand_paths(path):
    """Return a list of file names and open files, in which lists and patterns are replaced by their files."""
    if isinstance(path, (list, tuple)):
        if not path:
            raise ValueError("path: got an empty list; pass at least one file")
        return [file for item in path for file in expand_paths(item)]
    if isinstance(path, (str, os.PathLike)) and not os.path.exists(path):
        pattern = os.fsdecode(path)
        if glob.has_magic(pattern):
            found = sorted(name for name in glob.glob(pattern, recursive=True) if not os.path.isdir(name))
            if not found:
                raise FileNotFoundError(errno.ENOENT, "No file matches this pattern", pattern)
            return found
    return [path]


def name_of_sources(sources):
    """Return the name of several files in error messages."""
    more = len(sources) - 1
    return sources[0].name + (f" and {more} more" if more else "")


def size_of_sources(sources):
    """Return the size of several files in bytes, or None if one is not known."""
    sizes = [source.size for source in sources]
    return None if None in sizes else sum(sizes)


class Source:
    """File name or open binary file that is read from the same position in each pass.

    Parameters
    ----------
    file : str, os.PathLike or binary file
        An open file is read from its current position, and stays open.  The name "-" means standard input.  Pipes and
        other streams can be read once.

    Attributes
    ----------
    name : str
        Name in error messages.
    size : int or None
        Size in bytes as stored, compressed or not; None for a stream without a known size.
    position : int
        Number of stored bytes read in the current pass or, if `size` is None, number of bytes of text.
    """

    def __init__(self, file):
        self.position, self._file, self._is_consumed = 0, None, False
        if isinstance(file, io.TextIOBase):
            if file is sys.stdin:
                raise TypeError("path: got sys.stdin, which is text; pass sys.stdin.buffer or '-'")
            raise TypeError('path: got a file opened in text mode; open it with open(name, "rb")')
        if isinstance(file, str) and file == "-":
            if not hasattr(sys.stdin, "buffer"):
                raise ValueError("path: got '-', but there is no standard input; pass the name of a file")
            file = sys.stdin.buffer
        if hasattr(file, "readinto"):
            name = getattr(file, "name", None)
            self.name = name if isinstance(name, str) else f"<{type(file).__name__}>"
            self._file = file
            self._start = file.tell() if file.seekable() else None
            self.size = None if self._start is None else _remaining_bytes(file)
        elif isinstance(file, (str, bytes, os.PathLike)):
            self.name = os.fsdecode(file)
            found = os.stat(file)
            is_stream = not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))
            self._start, self.size = (None, None) if is_stream else (0, found.st_size)
        else:
            raise TypeError(f"path: got {file!r}; pass a file name or a file opened in binary mode")

    @property
    def file(self):
        """The open file; None if the source is a name."""
        return self._file

    @property
    def is_named_file(self):
        """Whether the source is a file that is opened for each pass, and no stream."""
        return self._file is None and self._start is not None

    def read_blocks(self, size):
        """Yield blocks of whole lines as uint8 arrays; a block is valid until the next one is requested.

        A block ends with a line end.  It has about `size` bytes, or more if a single line is longer.
        """
        with self._open_raw() as raw:
            stream, compression, errors = self._open_decompressed(raw)
            buffer, filled, first = bytearray(size + 1), 0, True
            line_end = b""  # not known yet
            while True:
                previous = filled
                filled = self._fill_buffer(stream, buffer, filled, compression, errors)
                last = filled < len(buffer) - 1
                if not line_end and (last or filled > NO_LINE_END or 10 in buffer):
                    line_end = b"\r" if 13 in buffer and 10 not in buffer else b"\n"
                    previous = 0
                if line_end == b"\r":  # of old Macintosh files
                    buffer[previous:filled] = buffer[previous:filled].replace(b"\r", b"\n")
                if first:
                    self._refuse_other_formats(bytes(buffer[: min(filled, 64)]))
                if last and filled and buffer[filled - 1] != 10:
                    buffer[filled] = 10  # in the byte that `_fill_buffer` left free
                    filled += 1
                end = buffer.rfind(b"\n", previous, filled) + 1
                if end:
                    start = len(BYTE_ORDER_MARK) if first and buffer.startswith(BYTE_ORDER_MARK) else 0
                    self._update_position(raw, end)
                    if end > start:
                        yield np.frombuffer(buffer, np.uint8, end - start, start)
                    first = False
                if last:
                    return
                rest = buffer[end:filled]
                if not end:  # a line longer than the block
                    if compression and filled > MAX_LINE:
                        raise ValueError(
                            f"{self.name}: the {compression} data has a line of more than {MAX_LINE >> 20} MiB; "
                            "decompress the file to read it"
                        )
                    buffer = bytearray(2 * len(buffer))
                elif len(rest) <= size < len(buffer) - 1:  # the long line has been read
                    buffer = bytearray(size + 1)
                buffer[: len(rest)] = rest
                filled = len(rest)

    @contextlib.contextmanager
    def _open_raw(self):
        """Open the stored bytes at the start position."""
        self.position = 0
        if self._start is None and self._is_consumed:
            raise ValueError(f"{self.name}: a stream can be read only once; save it to a file to read it again")
        self._is_consumed = True
        if self._file is None:
            with open(self.name, "rb", buffering=-1 if self._start is not None else 0) as raw:
                yield raw
            return
        if self._start is not None:
            self._file.seek(self._start)
        yield self._file

    def _open_decompressed(self, raw):
        """Return the text stream, the name of the compression or None, and the exceptions for damaged data."""
        prefix = read_prefix(raw, LONGEST_MAGIC)
        if self._start is None:
            raw = PrefixedStream(prefix, raw)  # a pipe may give a single byte, and cannot go back
        else:
            raw.seek(self._start)
        compression = next((compression for magic, compression in MAGIC.items() if prefix.startswith(magic)), None)
        if compression == "gzip":
            return gzip.GzipFile(fileobj=raw), compression, DECOMPRESSION_ERRORS
        if compression == "xz":
            return lzma.LZMAFile(raw), compression, DECOMPRESSION_ERRORS
        if compression == "bzip2":
            return bz2.BZ2File(raw), compression, DECOMPRESSION_ERRORS
        if compression == "zstd":
            return self._open_zstd(raw, prefix)
        return raw, None, ()

    def _warn_of_zstd(self):
        warnings.warn(
            f"{self.name}: the zstd data has no checksum, so damage may remain unnoticed; compress the file again, "
            "with `zstd` or with a checksum",
            UserWarning,
            stacklevel=2,
        )

    def _open_zstd(self, raw, prefix):
        with contextlib.suppress(ImportError):
            from compression import zstd  # Python 3.14

            if len(prefix) > 4 and not prefix[4] & ZSTD_CHECKSUM:
                self._warn_of_zstd()
            return zstd.ZstdFile(raw), "zstd", (*DECOMPRESSION_ERRORS, zstd.ZstdError)
        try:
            import zstandard
        except ImportError:
            raise ImportError(
                f"{self.name}: is compressed with zstd, which this Python cannot read; pip install zstandard"
            ) from None
        return (
            ZstdReader(raw, zstandard.ZstdDecompressor(), self._warn_of_zstd),
            "zstd",
            (*DECOMPRESSION_ERRORS, zstandard.ZstdError),
        )

    def _fill_buffer(self, stream, buffer, filled, compression, errors):
        """Fill the buffer except for its last byte, or to the end of the stream; return the number of bytes in it."""
        # A stream may return fewer bytes than requested.  The loop makes the blocks independent of that.
        with memoryview(buffer) as view:
            while filled < len(view) - 1:
                try:
                    count = stream.readinto(view[filled:-1])
                except errors as error:
                    if getattr(error, "errno", None):  # an error of the disk
                        raise
                    raise ValueError(
                        f"{self.name}: the {compression} data is damaged or truncated ({error}); "
                        "copy or compress the file again"
                    ) from None
                if count is None:
                    raise ValueError(f"{self.name}: the stream is non-blocking and has no data yet; make it blocking")
                if not count:
                    break
                filled += count
        return filled

    def _refuse_other_formats(self, head):
        name = recognize(head)
        if name is not None:
            raise ValueError(f"{self.name}: is {name}; {REMEDIES.get(name, 'pass a text file')}")

    def _update_position(self, raw, count):
        self.position = self.position + count if self._start is None else raw.tell() - self._start


class ZstdReader(io.RawIOBase):
    """Decompressed text of zstd frames; unlike the reader of zstandard, it raises if the last frame is truncated.

    Without a checksum in a frame, `warn` is called, once.
    """

    def __init__(self, raw, decompressor, warn):
        self._raw, self._decompressor, self._warn = raw, decompressor, warn
        self._frame, self._compressed, self._text = None, b"", memoryview(b"")

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self._text:
            data = self._compressed or self._raw.read(ZSTD_INPUT)
            if not data:
                if self._frame is not None:
                    raise EOFError("the last frame is incomplete")
                return 0
            if self._frame is None:
                data += read_prefix(self._raw, 5 - len(data))
                self._frame = self._decompressor.decompressobj()
                if self._warn and data[:4] in MAGIC and len(data) > 4 and not data[4] & ZSTD_CHECKSUM:
                    self._warn()
                    self._warn = None
            self._text = memoryview(self._frame.decompress(data))
            self._compressed = b""
            if self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._text))
        buffer[:count] = self._text[:count]
        self._text = self._text[count:]
        return count


class PrefixedStream(io.RawIOBase):
    """A stream of which the first bytes have been read."""

    def __init__(self, prefix, raw):
        self._prefix, self._raw = prefix, raw

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self._prefix:
            return self._raw.readinto(buffer)
        count = min(len(buffer), len(self._prefix))
        buffer[:count] = self._prefix[:count]
        self._prefix = self._prefix[count:]
        return count


def read_prefix(stream, size):
    """Return the next `size` bytes, or fewer at the end; a read of a pipe may return any number."""
    prefix, filled = bytearray(max(size, 0)), 0
    with memoryview(prefix) as view:
        while filled < size and (count := stream.readinto(view[filled:])):
            filled += count
    return bytes(prefix[:filled])


def _remaining_bytes(file):
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(start)
    return end - start
