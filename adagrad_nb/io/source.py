"""Blocks of whole lines of a plain or compressed file.  It needs only the standard library and NumPy."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import zlib

import numpy as np

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
LONGEST_MAGIC = max(map(len, MAGIC))
DECOMPRESSION_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError)


class Source:
    """File name or open binary file that is read from the same position in each pass.

    Parameters
    ----------
    file : str, os.PathLike or binary file
        An open file is read from its current position, and stays open.

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
            raise TypeError('path: got a file opened in text mode; open it with open(name, "rb")')
        if hasattr(file, "readinto"):
            name = getattr(file, "name", None)
            self.name = name if isinstance(name, str) else f"<{type(file).__name__}>"
            self._file = file
            self._start = file.tell() if file.seekable() else None
            self.size = None if self._start is None else _remaining_bytes(file)
        elif isinstance(file, (str, bytes, os.PathLike)):
            self.name = os.fsdecode(file)
            self._start = 0
            self.size = os.stat(file).st_size
        else:
            raise TypeError(f"path: got {file!r}; pass a file name or a file opened in binary mode")

    def read_blocks(self, size):
        """Yield blocks of whole lines as uint8 arrays; a block is valid until the next one is requested.

        A block ends with a line end.  It has about `size` bytes, or more if a single line is longer.
        """
        with self._open_raw() as raw:
            stream, compression, errors = self._open_decompressed(raw)
            buffer, filled, first = bytearray(size + 1), 0, True
            while True:
                previous = filled
                filled = self._fill_buffer(stream, buffer, filled, compression, errors)
                last = filled < len(buffer) - 1
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
                    buffer = bytearray(2 * len(buffer))
                elif len(rest) <= size < len(buffer) - 1:  # the long line has been read
                    buffer = bytearray(size + 1)
                buffer[: len(rest)] = rest
                filled = len(rest)

    @contextlib.contextmanager
    def _open_raw(self):
        """Open the stored bytes at the start position."""
        self.position = 0
        if self._file is None:
            with open(self.name, "rb") as raw:
                yield raw
            return
        if self._start is not None:
            self._file.seek(self._start)
        elif self._is_consumed:
            raise ValueError(f"{self.name}: a stream can be read only once; save it to a file to read it again")
        self._is_consumed = True
        yield self._file

    def _open_decompressed(self, raw):
        """Return the text stream, the name of the compression or None, and the exceptions for damaged data."""
        if self._start is not None:
            prefix = raw.read(LONGEST_MAGIC)
            raw.seek(self._start)
        elif hasattr(raw, "peek"):
            prefix = raw.peek(LONGEST_MAGIC)
        else:
            raise TypeError(f"{self.name}: the stream supports neither seek nor peek; wrap it in io.BufferedReader")
        compression = next((compression for magic, compression in MAGIC.items() if prefix.startswith(magic)), None)
        if compression == "gzip":
            return gzip.GzipFile(fileobj=raw), compression, DECOMPRESSION_ERRORS
        if compression == "xz":
            return lzma.LZMAFile(raw), compression, DECOMPRESSION_ERRORS
        if compression == "bzip2":
            return bz2.BZ2File(raw), compression, DECOMPRESSION_ERRORS
        if compression == "zstd":
            return self._open_zstd(raw)
        return raw, None, ()

    def _open_zstd(self, raw):
        with contextlib.suppress(ImportError):
            from compression import zstd  # Python 3.14

            return zstd.ZstdFile(raw), "zstd", (*DECOMPRESSION_ERRORS, zstd.ZstdError)
        try:
            import zstandard
        except ImportError:
            raise ImportError(
                f"{self.name}: is compressed with zstd, which this Python cannot read; pip install zstandard"
            ) from None
        return ZstdReader(raw, zstandard.ZstdDecompressor()), "zstd", (*DECOMPRESSION_ERRORS, zstandard.ZstdError)

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
                if not count:
                    break
                filled += count
        return filled

    def _update_position(self, raw, count):
        self.position = self.position + count if self._start is None else raw.tell() - self._start


class ZstdReader(io.RawIOBase):
    """Decompressed text of zstd frames; unlike the reader of zstandard, it raises if the last frame is truncated."""

    def __init__(self, raw, decompressor):
        self._raw, self._decompressor = raw, decompressor
        self._frame, self._compressed, self._text = None, b"", memoryview(b"")

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self._text:
            data = self._compressed or self._raw.read(1 << 16)
            if not data:
                if self._frame is not None:
                    raise EOFError("the last frame is incomplete")
                return 0
            self._frame = self._frame or self._decompressor.decompressobj()
            self._text = memoryview(self._frame.decompress(data))
            self._compressed = b""
            if self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._text))
        buffer[:count] = self._text[:count]
        self._text = self._text[count:]
        return count


def _remaining_bytes(file):
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(start)
    return end - start
