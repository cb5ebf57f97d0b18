"""Archives of arrays and records: atomic writing, a checksum, and no pickle.

An archive is a NumPy ``.npz`` file whose member ``meta`` holds JSON.
"""

import contextlib
import hashlib
import json
import os
import tempfile

import numpy as np

from ..records import (
    averaging,
    dual_averaging,
    gates,
    group_penalties,
    losses,
    multiclass_losses,
    penalties,
    rules,
    schedules,
    transforms,
)

FORMAT_VERSION = 1


def write_archive(path, kind, meta, arrays):
    """Write an archive of JSON data and arrays; after a failure `path` still has its old content."""
    meta = {"format": FORMAT_VERSION, "kind": kind, "sha256": _sha256_digest(meta, arrays), "content": meta}
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with atomic_write(path) as file:
        np.savez(file, meta=text, **arrays)


def read_archive(path, kind):
    """Return the JSON data and the arrays of an archive that `write_archive` wrote."""
    with open(path, "rb") as stream:
        try:
            with np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            meta = json.loads(arrays.pop("meta").tobytes())
            found_kind, version, digest, data = (meta[key] for key in ("kind", "format", "sha256", "content"))
        except Exception as error:  # one wrong bit can make zipfile require a password or allocate a terabyte
            raise ValueError(f"{path}: not a file of this package, or damaged ({error})") from None
    if found_kind != kind:
        raise ValueError(f"{path}: holds a {found_kind}, not a {kind}")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path}: has format {version}; this version reads up to {FORMAT_VERSION}, so upgrade adagrad_nb"
        )
    if digest != _sha256_digest(data, arrays):
        raise ValueError(f"{path}: the checksum does not match; the file is damaged")
    return data, arrays


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
    return value.item() if isinstance(value, np.generic) else value


def from_json(value, arrays, records=()):
    """Convert the JSON data of `to_json` back; `records` are the record classes of the user that may occur."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "tuple" in value:
        return tuple(from_json(item, arrays, records) for item in value["tuple"])
    name = value["record"]
    known = _record_classes() | {cls.__qualname__: cls for cls in records}
    if name not in known:
        raise ValueError(f"the file uses the record {name}, which is not of this package; pass records=({name},)")
    return known[name](**{field: from_json(item, arrays, records) for field, item in value["fields"].items()})


def _record_classes():
    modules = (
        averaging,
        dual_averaging,
        gates,
        group_penalties,
        losses,
        multiclass_losses,
        penalties,
        rules,
        schedules,
        transforms,
    )
    found = (item for module in modules for item in vars(module).values())
    return {item.__qualname__: item for item in found if isinstance(item, type) and hasattr(item, "_fields")}


def _sha256_digest(meta, arrays):
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


# --- atomic writing --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_write(path, mode="wb"):
    """Open a temporary file for writing; replace `path` by it on success and delete it on failure."""
    path = os.path.abspath(os.fspath(path))
    stem, suffix = os.path.splitext(os.path.basename(path))
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=stem + ".", suffix=suffix)
    try:
        with os.fdopen(descriptor, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_current_umask())  # mkstemp allows access to the owner only
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
