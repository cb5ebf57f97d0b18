"""Archives of arrays and records: validated when read, written atomically, with a checksum and without pickle.

An archive is a NumPy ``.npz`` file without compression, whose member ``meta`` holds JSON.  `repeated_rows` stores
arrays most of whose rows are equal.  For other arrays `read_archive` allocates no more than the file holds.  It checks
the container format; `schema` checks the arrays and the numbers.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import stat
import zipfile
import zlib

import numpy as np

from ..records import (
    adagrad_variants,
    anytime,
    averaging,
    coin_betting,
    domains,
    dual_averaging,
    gates,
    global_rules,
    group_penalties,
    losses,
    matrix_rules,
    multiclass_losses,
    nonconvex_penalties,
    penalties,
    row_rules,
    rules,
    schedules,
    transforms,
)
from .content import name_content
from .repeated_rows import pack, unpack
from .schema import check_field_type, check_number, entry

try:
    import fcntl
except ImportError:  # not on Windows, which does not delete open files
    fcntl = None  # type: ignore[assignment]

FORMAT_VERSION = 2  # 2 has arrays with repeated rows; files without them are written as version 1
MAX_NESTING = 32  # records in records; the compiler nests as deeply
_HEADER = re.compile(
    rb"\{'descr': '([<>|=][biufc]\d{1,2})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), \} *\n"
)
_READ_BYTES = 1 << 20
_END_OF_DIRECTORY, _END_SIZE = b"PK\x05\x06", 22  # the last record of a zip archive, before the comment
_COMMENT_SIZE = len("crc32:") + 8
_INTERNAL_RECORDS = (transforms.Chain, schedules.PrecomputedSchedule, multiclass_losses.IndependentOutputs)


def write_archive(path, kind, meta, arrays):
    """Write an archive of JSON data and arrays; after a failure `path` still has its old content."""
    arrays, n_rows = pack(arrays)
    content, version, parts = meta, 1, {}
    if n_rows:
        content, version, parts = [meta, n_rows], FORMAT_VERSION, {"n_rows": n_rows}
    meta = {"format": version, "kind": kind, "sha256": _sha256_digest(content, arrays), "content": meta} | parts
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with atomic_write(path) as file:
        _write_members(file, {"meta": text} | arrays)


def _write_members(file, arrays):
    """Write arrays as ``np.savez`` does, and a checksum of the file as the comment of the archive."""
    stream = _ChecksumWriter(file)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
        archive.comment = bytes(_COMMENT_SIZE)
    stream.finish()


class _ChecksumWriter:
    """Stream without positions that replaces the last bytes, those of the comment, by a checksum of all others."""

    def __init__(self, file):
        self.file, self.tail, self.checksum = file, b"", 0

    def write(self, data):
        data = memoryview(data).cast("B")
        n_kept = min(len(data), _COMMENT_SIZE)
        self._pass_on(self.tail[: max(len(self.tail) + n_kept - _COMMENT_SIZE, 0)])
        self.tail = self.tail[max(len(self.tail) + n_kept - _COMMENT_SIZE, 0) :]
        if len(data) > n_kept:
            self._pass_on(data[:-n_kept])
        self.tail += bytes(data[len(data) - n_kept :])
        return len(data)

    def flush(self):
        """Do nothing: `atomic_write` flushes the file."""

    def finish(self):
        """Write the checksum."""
        self.file.write(_comment_of(self.checksum))

    def _pass_on(self, data):
        self.checksum = zlib.crc32(data, self.checksum)
        self.file.write(data)


def _comment_of(checksum):
    """Return the comment of an archive with a checksum of the bytes before the comment."""
    return b"crc32:%08x" % checksum


def _check_comment(stream):
    """Raise ValueError unless the file ends with the checksum of all bytes before it; older files have no comment."""
    size = stream.seek(0, os.SEEK_END)
    tail_size = _END_SIZE + _COMMENT_SIZE
    stream.seek(max(size - tail_size, 0))
    tail = stream.read(tail_size)
    if tail[-_END_SIZE:].startswith(_END_OF_DIRECTORY) and tail.endswith(b"\0\0"):
        stream.seek(0)
        return
    checksum, rest = 0, size - _COMMENT_SIZE
    stream.seek(0)
    while rest > 0 and (part := stream.read(min(_READ_BYTES, rest))):
        checksum, rest = zlib.crc32(part, checksum), rest - len(part)
    stream.seek(0)
    if not tail.startswith(_END_OF_DIRECTORY) or tail[_END_SIZE:] != _comment_of(checksum):
        raise ValueError("the checksum of the file does not match; the file is damaged or not complete")


def read_archive(path, kind):
    """Return the JSON data and the arrays of an archive that `write_archive` wrote.

    The arrays are contiguous, in C order and in the byte order of this machine.
    """
    with open(os.fspath(path), "rb") as stream:  # an integer would be a descriptor, which the block would close
        if not stream.seekable():
            raise ValueError(f"{path}: is a stream; save it to a file to load it")
        head = stream.read(512)
        stream.seek(0)
        try:
            if not head.startswith(b"PK\x03\x04"):
                raise ValueError(f"it holds {name_content(head)}")
            _check_comment(stream)
            arrays = _read_members(stream)
            meta = json.loads(entry(arrays, "meta", np.ndarray).tobytes())
            del arrays["meta"]
            found_kind, version, digest = (entry(meta, key, type_) for key, type_ in _META_TYPES.items())
            data = entry(meta, "content", dict)
            n_rows = entry(meta, "n_rows", dict) if "n_rows" in meta else {}
            own_digest = _sha256_digest([data, n_rows] if n_rows else data, arrays)
        except Exception as error:  # one wrong bit can make zipfile require a password or JSON nest too deeply
            raise ValueError(f"{path}: not a file of this package, or damaged ({error})") from None
    if found_kind != kind:
        raise ValueError(f"{path}: holds a {found_kind}, not a {kind}")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path}: has format {version}; this version reads up to {FORMAT_VERSION}, so upgrade adagrad_nb"
        )
    if digest != own_digest:
        raise ValueError(f"{path}: the checksum does not match; the file is damaged")
    with naming_errors(path):
        arrays = unpack(arrays, n_rows)
    return data, {name: _in_native_order(array) for name, array in arrays.items()}


_META_TYPES = {"kind": str, "format": int, "sha256": str}


@contextlib.contextmanager
def naming_errors(path):
    """Turn errors about the content of a file into ValueError with its name; a missing package stays ImportError."""
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{path}: {error}") from None


def _read_members(stream):
    """Return the arrays of an uncompressed ``.npz`` file by name."""
    size = os.fstat(stream.fileno()).st_size
    arrays = {}
    with zipfile.ZipFile(stream) as file:
        members = file.infolist()
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise ValueError(f"the member {member.filename!r} is compressed")
        if sum(member.file_size for member in members) > size:
            raise ValueError("its members declare more bytes than the file has")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name == member.filename or name in arrays:
                raise ValueError(f"the member {member.filename!r} is not an array, or occurs twice")
            with file.open(member) as data:
                arrays[name] = _read_array(data, name, member.file_size)
    return arrays


def _read_array(data, name, size):
    """Return an array in ``.npy`` format with `size` bytes, header included."""
    prefix = data.read(10)
    if prefix[:8] != b"\x93NUMPY\x01\x00" or len(prefix) < 10:
        raise ValueError(f"{name}: is not an array")
    length = int.from_bytes(prefix[8:], "little")
    match = _HEADER.fullmatch(data.read(length))
    if match is None:
        raise ValueError(f"{name}: the header is not that of an array of numbers")
    dtype, order = np.dtype(match[1].decode()), "F" if match[2] == b"True" else "C"
    shape = tuple(int(n) for n in match[3].split(b",") if n.strip())
    if math.prod(shape) * dtype.itemsize != size - 10 - length:
        raise ValueError(f"{name}: shape {shape} of {dtype} does not fit {size - 10 - length} bytes")
    array = np.empty(math.prod(shape), dtype)
    view = memoryview(array.view(np.uint8))
    filled = 0
    while part := data.read(_READ_BYTES):  # to the end, where zipfile compares its checksum
        view[filled : filled + len(part)] = part
        filled += len(part)
    return array.reshape(shape, order=order)


def _in_native_order(array):
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


def to_json(value, arrays):
    """Convert a record, tuple, array or number to JSON data; arrays are stored in the dict `arrays`."""
    if hasattr(value, "_fields"):
        fields = {name: to_json(item, arrays) for name, item in zip(value._fields, value, strict=True)}
        return {"record": type(value).__qualname__, "fields": fields}
    if isinstance(value, (tuple, list)):
        return {"tuple": [to_json(item, arrays) for item in value]}
    if isinstance(value, np.ndarray):
        name = f"option{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if callable(value):
        raise ValueError(f"state: {value!r} is a Python function, which cannot be saved; use a record")
    return value.item() if isinstance(value, np.generic) else value


def options_from_json(values, names, arrays, records=()):
    """Return the options of these names from the JSON data of `to_json`, and remove their arrays from `arrays`."""
    if set(values) != set(names):
        raise ValueError(f"options: got {sorted(values)}; must be {sorted(names)}")
    used = set()
    options = {name: _from_json(name, values[name], arrays, used, records) for name in names}
    for name in used:
        del arrays[name]
    return options


def _from_json(name, value, arrays, used, records, depth=0):
    """Convert the JSON data of `to_json` back; `used` collects the names of arrays."""
    if depth > MAX_NESTING:
        raise ValueError(f"{name}: records are nested more than {MAX_NESTING} times")
    if not isinstance(value, (dict, list)):
        return check_number(name, value)
    if isinstance(value, dict) and value.keys() == {"array"}:
        key = value["array"]
        if not isinstance(key, str) or not key.startswith("option") or key not in arrays:
            raise ValueError(f"{name}: the array {key!r} is missing")
        used.add(key)
        return arrays[key]
    if isinstance(value, dict) and value.keys() == {"tuple"} and isinstance(value["tuple"], list):
        items = enumerate(value["tuple"])
        return tuple(_from_json(f"{name}[{k}]", item, arrays, used, records, depth + 1) for k, item in items)
    if not isinstance(value, dict) or value.keys() != {"record", "fields"}:
        raise ValueError(f"{name}: got {str(value)[:60]}; must be a number, tuple, array or record")
    class_name, fields = entry(value, "record", str), entry(value, "fields", dict)
    own, users = _record_classes(), {cls.__qualname__: cls for cls in records}
    cls = users.get(class_name) or own.get(class_name)
    if cls is None:
        raise ValueError(
            f"{name}: the file uses the record {class_name}, which is not of this package; pass records=({class_name},)"
        )
    if set(fields) - set(cls._fields) or set(cls._fields) - set(fields) - set(cls._field_defaults):
        raise ValueError(f"{name}: {class_name} has the fields {list(cls._fields)}; got {list(fields)}")
    converted = {}
    for field, item in fields.items():
        place = f"{name}: {class_name}.{field}"
        converted[field] = _from_json(place, item, arrays, used, records, depth + 1)
        if class_name not in users:
            check_field_type(place, cls, field, converted[field])
    return cls(**converted)


def _record_classes():
    modules = (
        adagrad_variants,
        anytime,
        averaging,
        coin_betting,
        domains,
        dual_averaging,
        gates,
        global_rules,
        group_penalties,
        losses,
        matrix_rules,
        multiclass_losses,
        nonconvex_penalties,
        penalties,
        row_rules,
        rules,
        schedules,
        transforms,
    )
    found = (item for module in modules for item in vars(module).values())
    return {
        item.__qualname__: item
        for item in found
        if isinstance(item, type) and hasattr(item, "_fields") and item not in _INTERNAL_RECORDS
    }


def _sha256_digest(meta, arrays):
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


# --- atomic writing --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_write(path, mode="wb"):
    """Open a temporary file for writing; replace `path` by it on success and delete it on failure.

    The new file has the permissions of the one that it replaces.  If `path` is a symbolic link, its target is replaced.
    Pipes and devices are written directly.  The temporary file has a fixed name, so that what a killed process left
    behind is removed by the next writer.
    """
    path = os.path.realpath(os.fsdecode(path))
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):
        with open(path, mode) as file:
            yield file
        return
    temporary, descriptor = _open_temporary(path, 0o666 if old is None else stat.S_IMODE(old.st_mode) | stat.S_IWUSR)
    lock = os.dup(descriptor)  # keeps the lock until the file has its final name
    try:
        with os.fdopen(descriptor, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if old is not None:
            os.chmod(temporary, stat.S_IMODE(old.st_mode))
        if fcntl is None:
            os.close(lock)  # Windows does not rename open files
            lock = None
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _open_temporary(path, permissions):
    """Create a temporary file next to `path` and lock it; return its name and descriptor.

    Its name is fixed, unless another process writes it now: an abandoned file is not locked.
    """
    folder, base = os.path.split(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    temporary = os.path.join(folder, f".{base[:200]}.partial")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        try:
            descriptor = os.open(temporary, flags, permissions)
        except FileExistsError:
            if not _remove_abandoned(temporary):
                temporary = os.path.join(folder, f".{base[:200]}.{secrets.token_hex(4)}.partial")
            continue
        if _lock(descriptor) and _is_same_file(descriptor, temporary):
            return temporary, descriptor
        os.close(descriptor)  # another writer took it for abandoned before it was locked


def _remove_abandoned(temporary):
    """Delete a temporary file that no process has locked; return whether it is gone."""
    try:
        descriptor = os.open(temporary, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if not _lock(descriptor):
            return False
        if fcntl is not None and _is_same_file(descriptor, temporary):
            os.unlink(temporary)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    if fcntl is None:
        try:
            os.unlink(temporary)
        except OSError:
            return False
    return True


def _lock(descriptor):
    """Return whether the file could be locked; True where the system or the disk has no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_same_file(descriptor, path):
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    own = os.fstat(descriptor)
    return (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino)
