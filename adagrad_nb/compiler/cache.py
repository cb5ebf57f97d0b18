"""Disk cache of compiled kernels, keyed by the sources of the whole package.

Numba's own cache identifies a kernel by the source of its module.  A kernel also contains code of other modules, such
as the methods of records, so an edit or an upgrade of these would go unnoticed.  Numba's index files also mix up
kernels if processes compile at once.  Here each kernel is one file:

- its directory is named by a hash of all sources of the package;
- its name ends with a hash of the kernel and the types of its arguments, of the target CPU and of Numba's options;
- it holds that hash and a checksum, and is discarded if either differs;
- it is written to a temporary file and renamed.

If reading or writing a file fails, the kernel is compiled in memory.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import pickle
import re
import shutil
import sys
import tempfile
import time

import llvmlite
import numba
from numba.core import config, types
from numba.core.caching import NullCache, _Cache
from numba.core.compiler import CompileResult
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

PACKAGE = pathlib.Path(__file__).parents[1]
PREFIX = "adagrad_nb-"  # of the directory for one state of the sources
MAX_AGE = 30 * 24 * 3600  # seconds; directories that no process used for so long are removed
HASH_BYTES = 32
# Options of Numba that change the code of a kernel but are not part of its signature.
CODE_OPTIONS = ("OPT", "BOUNDSCHECK", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DEBUGINFO_DEFAULT")


def hash_sources(folder=PACKAGE):
    """Return a hash of the paths and contents of all Python files below `folder`, or None if there are none."""
    digest, n_files = hashlib.sha256(), 0
    for path in sorted(folder.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(data)}\0".encode() + data)
        n_files += 1
    return digest.hexdigest() if n_files else None


def _hash_sources_or_none():
    try:
        return hash_sources()
    except OSError:
        return None


SOURCES = _hash_sources_or_none()  # when the package is imported: an upgrade may follow while the process runs


def cache_directory():
    """Return the directory of the cache for these sources, or None if none can be written."""
    return None if SOURCES is None else _open_directory(config.CACHE_DIR)


@functools.cache
def _open_directory(cache_dir):
    """Return a writable directory in `cache_dir`; if that is empty, in the package or in the user's cache."""
    user_wide = pathlib.Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)
    for parent in [pathlib.Path(cache_dir)] if cache_dir else [PACKAGE / "__pycache__", user_wide]:
        directory = parent / (PREFIX + SOURCES[:16])
        try:
            if not directory.is_dir():
                directory.mkdir(parents=True, exist_ok=True)
                _remove_unused(parent)
            tempfile.TemporaryFile(dir=directory).close()
            os.utime(directory)
        except OSError:
            continue
        return directory
    return None


def _remove_unused(parent):
    """Remove the directories of other sources that no process used for `MAX_AGE` seconds."""
    for directory in parent.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            if time.time() - directory.stat().st_mtime > MAX_AGE:
                shutil.rmtree(directory, ignore_errors=True)


def describe_type(kind):
    """Return a string that identifies a Numba type in all processes, with the module of each record class."""
    if isinstance(kind, types.BaseNamedTuple):
        cls = kind.instance_class
        return f"{cls.__module__}.{cls.__qualname__}({', '.join(map(describe_type, kind.types))})"
    if isinstance(kind, types.BaseTuple):
        return f"({', '.join(map(describe_type, kind))})"
    inner = getattr(kind, "inner", None)
    if isinstance(inner, types.Type):
        return f"{type(kind).__name__}({describe_type(inner)})"
    return str(kind)


class KernelCache(_Cache):
    """Disk cache of one kernel, for Numba's dispatcher."""

    # Part of the key.  Machine code calls the C interface of one version of Python.
    versions: tuple[str, ...] = (numba.__version__, llvmlite.__version__, sys.implementation.cache_tag)

    def __init__(self, py_func):
        self.py_func = py_func
        self.enabled = True

    @property
    def cache_path(self):
        """Directory of the cache, or None."""
        directory = cache_directory()
        return None if directory is None else str(directory)

    def enable(self):
        """Use the cache."""
        self.enabled = True

    def disable(self):
        """Leave the disk alone."""
        self.enabled = False

    def flush(self):
        """Remove the files of this kernel."""
        directory = cache_directory()
        if directory is not None:
            for path in directory.glob(f"{self._file_stem()}.*.nbc"):
                path.unlink(missing_ok=True)

    def load_overload(self, sig, target_context):
        """Return the compiled kernel for a signature, or None."""
        path, key = self._locate(sig, target_context.codegen())
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except OSError:
            return None
        checksum, data = data[:HASH_BYTES], data[HASH_BYTES:]
        if checksum != hashlib.sha256(data).digest() or data[:HASH_BYTES] != key:
            return None
        try:
            return self._unpack(pickle.loads(data[HASH_BYTES:]), target_context)
        except Exception:  # of a checked file: it needs something that this process lacks; compiling does not
            return None

    def save_overload(self, sig, result):
        """Write the compiled kernel for a signature."""
        path, key = self._locate(sig, result.codegen) if self._can_pack(result) else (None, None)
        if path is None or _hash_sources_or_none() != SOURCES:
            return  # the sources changed after the import: this code belongs to neither version
        data = key + dumps(self._pack(result))
        with contextlib.suppress(OSError):
            write_file(path, hashlib.sha256(data).digest() + data)

    @staticmethod
    def _can_pack(result):
        """Return whether another process can use a compiled kernel."""
        return all(lifted.can_cache for lifted in result.lifted) and not result.library.has_dynamic_globals

    @staticmethod
    def _pack(result):
        """Return a compiled kernel in a form that can be pickled."""
        return result._reduce()

    @staticmethod
    def _unpack(packed, target_context):
        """Return the compiled kernel of `_pack`."""
        # Numba would call target_context.refresh(), which prepares the compiler and takes 0.35 s of each process.
        # Machine code only needs the runtime for arrays.
        rtsys.initialize(target_context)
        return CompileResult._rebuild(target_context, *packed)

    def _locate(self, sig, codegen):
        """Return the path and the key of a kernel, or (None, None) if it is not cached."""
        directory = cache_directory() if self.enabled else None
        described = ", ".join(map(describe_type, sig))
        if directory is None or re.search(r"\bat 0x[0-9a-f]+", described):  # the type of an object of this process
            return None, None
        closure = tuple(cell.cell_contents for cell in self.py_func.__closure__ or ())
        parts = (
            *self.versions, codegen.magic_tuple(),
            [getattr(config, name, None) for name in CODE_OPTIONS],
            self.py_func.__module__, self.py_func.__qualname__, self.py_func.__code__.co_firstlineno, described,
            hashlib.sha256(dumps(closure)).hexdigest() if closure else "",
        )  # fmt: skip
        key = hashlib.sha256(repr(parts).encode()).digest()
        return directory / f"{self._file_stem()}.{key.hex()[:24]}.nbc", key

    def _file_stem(self):
        name = f"{self.py_func.__module__.rpartition('.')[2]}.{self.py_func.__qualname__}"
        return re.sub(r"[^\w.]", "", name) + f"-{self.py_func.__code__.co_firstlineno}"


def write_file(path, data):
    """Write a file so that other processes see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def enable_cache(dispatcher):
    """Give a dispatcher the disk cache, unless its function is defined outside the package."""
    inside = dispatcher.py_func.__code__.co_filename.startswith(str(PACKAGE) + os.sep)
    dispatcher._cache = KernelCache(dispatcher.py_func) if inside else NullCache()
    return dispatcher
