"""Bytes of a file, plain or compressed, in blocks of whole lines.  Standard library and NumPy only."""

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
    """A file name or an open binary file, read from the same place at each pass.

    Parameters
    ----------
    file : str, os.PathLike or binary file
        An open file is read from where it stands now, and is left open.

    Attributes
    ----------
    name : str
        What error messages call it.
    size : int or None
        Bytes as stored, compressed or not; None where the file cannot tell.
    position : int
        Bytes read of `size` so far in the present pass; where `size` is None, bytes of text.
    """

    def __init__(self, file):
        self.position, self._file, self._is_consumed = 0, None, False
        if isinstance(file, io.TextIOBase):
            raise TypeError('path: got a file open for text; open it with open(name, "rb")')
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
            raise TypeError(f"path: got {file!r}; pass a file name or a file open in binary mode")

    def read_blocks(self, size):
        """Yield uint8 arrays of whole lines, each ending with a line end and valid until the next is asked for.

        A block holds about `size` bytes; more where a single line is longer.
        """
        with self._open_raw() as raw:
            stream, compression, errors = self._open_decompressed(raw)
            buffer, filled, first = bytearray(size + 1), 0, True
            while True:
                previous = filled
                filled = self._fill_buffer(stream, buffer, filled, compression, errors)
                last = filled < len(buffer) - 1
                if last and filled and buffer[filled - 1] != 10:
                    buffer[filled] = 10  # the room kept for it
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
                elif len(rest) <= size < len(buffer) - 1:  # its room is no longer needed
                    buffer = bytearray(size + 1)
                buffer[: len(rest)] = rest
                filled = len(rest)

    @contextlib.contextmanager
    def _open_raw(self):
        """The raw file at its start."""
        self.position = 0
        if self._file is None:
            with open(self.name, "rb") as raw:
                yield raw
            return
        if self._start is not None:
            self._file.seek(self._start)
        elif self._is_consumed:
            raise ValueError(f"{self.name}: a stream can be read only once; save it to a file for several passes")
        self._is_consumed = True
        yield self._file

    def _open_decompressed(self, raw):
        """(stream of text, name of the compression or None, what the stream raises when it is damaged)."""
        if self._start is not None:
            prefix = raw.read(LONGEST_MAGIC)
            raw.seek(self._start)
        elif hasattr(raw, "peek"):
            prefix = raw.peek(LONGEST_MAGIC)
        else:
            raise TypeError(f"{self.name}: the stream can neither seek nor peek; wrap it in io.BufferedReader")
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
                f"{self.name}: compressed with zstd, which this Python cannot read; pip install zstandard"
            ) from None
        return ZstdReader(raw, zstandard.ZstdDecompressor()), "zstd", (*DECOMPRESSION_ERRORS, zstandard.ZstdError)

    def _fill_buffer(self, stream, buffer, filled, compression, errors):
        """Read until the buffer is full but for one byte, or the stream ends; return how much it then holds."""
        # A stream may give less than asked; stopping there would make the blocks depend on its moods.
        with memoryview(buffer) as view:
            while filled < len(view) - 1:
                try:
                    count = stream.readinto(view[filled:-1])
                except errors as error:
                    if getattr(error, "errno", None):  # the disk, not the content
                        raise
                    raise ValueError(
                        f"{self.name}: the {compression} data is damaged or cut off ({error}); copy or compress the file again"
                    ) from None
                if not count:
                    break
                filled += count
        return filled

    def _update_position(self, raw, count):
        self.position = self.position + count if self._start is None else raw.tell() - self._start


class ZstdReader(io.RawIOBase):
    """The text of a zstd stream of any number of frames; unlike zstandard's reader it tells when one is cut off."""

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
                    raise EOFError("the last frame has no end")
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
