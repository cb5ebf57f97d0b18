"""Recognition of file formats by their first bytes, for error messages."""

import re

ROW_CACHE_MAGIC = b"\x89ADAGRAD-ROWS\r\n\x1a"
_MAGIC = (
    (ROW_CACHE_MAGIC, "a row cache"),
    (b"\x1f\x8b", "gzip data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"BZh", "bzip2 data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x04\x22\x4d\x18", "lz4 data"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file"),
    (b"%PDF-", "a PDF file"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_UTF16 = re.compile(rb"(?:[\t\n\r -~]\x00){2}|(?:\x00[\t\n\r -~]){2}")  # without a byte order mark
REMEDIES = {
    "a row cache": "read it with read_cache",
    "UTF-16 text": "save it as UTF-8",
    "a Parquet file": "read it with read_parquet",
    "an Arrow file": "read it with pyarrow.ipc and read_arrow",
    "a ZIP archive": "extract the text and pass that file",
    "a 7z archive": "extract the text and pass that file",
    "a RAR archive": "extract the text and pass that file",
    "lz4 data": "decompress it, or compress it with gzip, xz, bzip2 or zstd",
}


def recognize(head):
    """Return the name of a format that is neither text in UTF-8 nor unknown, or None."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if _UTF16.match(head):
        return "UTF-16 text"
    return "a pickle" if _PICKLE.match(head) else None


def name_content(head):
    """Return a name of what a file begins with, for an error message."""
    if not head:
        return "nothing"
    name = recognize(head)
    if name is not None:
        return name
    line = head.split(b"\n")[0].rstrip(b"\r")
    try:
        text = line[:60].decode("ascii")
    except UnicodeDecodeError:
        return "unknown bytes"
    return f"text, {text!r}" if text.isprintable() or text.expandtabs().isprintable() else "unknown bytes"
