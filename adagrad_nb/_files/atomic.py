"""Files that are never half-written: made beside the target, then renamed."""

import contextlib
import os
import tempfile


@contextlib.contextmanager
def replacing(path, mode="wb"):
    """Open a file for writing that takes the place of `path` when all has gone well, and leaves no trace if not."""
    path = os.path.abspath(os.fspath(path))
    stem, suffix = os.path.splitext(os.path.basename(path))
    handle, beside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=stem + ".", suffix=suffix)
    try:
        with os.fdopen(handle, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~_umask())  # mkstemp's files are their owner's alone
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
