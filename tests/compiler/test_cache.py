"""Disk cache of compiled kernels: it never runs the code of other sources or of another kernel."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from typing import NamedTuple

import numba
import numpy as np
import pytest
from conftest import PACKAGE

from adagrad_nb import L1, L2
from adagrad_nb.compiler import cache

needs_compiler = pytest.mark.compiled_only("the JIT is off")
PENALTIES = {"L1(0.3)": 1, "L2(0.3)": 2, "NonNegative()": 3, "Box(-0.1, 0.1)": 4}
STEP = """
    import sys
    import numpy as np
    from adagrad_nb import *
    x = np.array([1.0, -1.0, 0.05])
    for penalty in sys.argv[1:]:
        stepped, _ = update(x, np.array([0.3, -0.7, 2.0]), init(x, Adagrad(0.0), lr=0.5, penalty=eval(penalty)))
        print(*stepped)
"""


@pytest.fixture
def step(python, tmp_path):
    """Run one update under each penalty in another process, with an own cache; return the iterates."""

    def run(*penalties, path=(), **environment):
        environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"} | environment
        printed = python(textwrap.dedent(STEP), *penalties, cwd=tmp_path, path=path, **environment)
        return [[float(number) for number in line.split()] for line in printed.splitlines()]

    return run


def cached_files(folder):
    return sorted(folder.rglob("*.nbc"))


@needs_compiler
def test_an_edit_in_another_module_is_noticed(step, tmp_path):
    """The kernels have the rules compiled in, but stand in other modules."""
    shutil.copytree(PACKAGE, tmp_path / "adagrad_nb", ignore=shutil.ignore_patterns("__pycache__"))
    rules = tmp_path / "adagrad_nb" / "records" / "rules.py"
    assert step("NoPenalty()", path=[tmp_path])[0][0] == pytest.approx(0.5)
    source = rules.read_text()
    edited = source.replace("return x - safe_divide(lr * g, _d", "return x - 2 * safe_divide(lr * g, _d")
    assert edited != source
    rules.write_text(edited)
    assert step("NoPenalty()", path=[tmp_path])[0][0] == pytest.approx(0.0)
    rules.write_text(source)
    assert step("NoPenalty()", path=[tmp_path])[0][0] == pytest.approx(0.5)


@needs_compiler
def test_files_of_other_kernels_are_not_run(step, tmp_path):
    """A file under the name of another kernel has a right checksum and a wrong key."""
    expected = step("L1(0.3)", "L2(0.3)")
    first, second = (path for path in cached_files(tmp_path) if "update_coordinates" in path.name)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert step("L1(0.3)", "L2(0.3)") == expected


@needs_compiler
@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "directory"])
def test_damaged_files_are_compiled_again(step, tmp_path, damage):
    expected = step("L1(0.3)")
    for path in cached_files(tmp_path):
        content = bytearray(path.read_bytes())
        path.unlink()
        if damage == "directory":
            path.mkdir()
            continue
        content[len(content) // 2] ^= damage == "flipped"
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "flipped": content}[damage])
    assert step("L1(0.3)") == expected
    if damage != "directory":
        assert step("L1(0.3)") == expected


@needs_compiler
def test_processes_that_compile_at_once(step, tmp_path):
    """Each starts at the same time with an empty cache; later processes get the code of each."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(PACKAGE.parent)}
    program = "import time, adagrad_nb\nwhile time.time() < {start}: pass\n" + textwrap.dedent(STEP)
    start = time.time() + 3
    processes = [
        subprocess.Popen([sys.executable, "-c", program.format(start=start), name], env=environment, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for name in PENALTIES
    ]  # fmt: skip
    alone = [process.communicate()[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    together = step(*PENALTIES)
    assert [[float(number) for number in line.split()] for line in alone] == together
    assert len({tuple(x) for x in together}) == len(PENALTIES)
    assert len([path for path in cached_files(tmp_path) if "update_coordinates" in path.name]) == len(PENALTIES)
    assert not list(tmp_path.rglob("*.tmp"))


@needs_compiler
def test_a_directory_that_cannot_be_made(step, tmp_path):
    """The kernel is compiled in memory."""
    (tmp_path / "file").write_text("")
    expected = step("L1(0.3)")
    assert step("L1(0.3)", NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache")) == expected


@needs_compiler
def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(os, "replace", no_space)
    kernel = _compile(cache.PACKAGE / "compiler" / "made.py")
    assert kernel(2.0) == 4.0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@needs_compiler
def test_sources_that_changed_after_the_import_are_not_cached(tmp_path, monkeypatch):
    """The code belongs to the old sources, and other processes read the new ones."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    for changed in (True, False):
        with monkeypatch.context() as patch:
            if changed:
                patch.setattr(cache, "hash_sources", lambda: "other")
            assert _compile(cache.PACKAGE / "compiler" / "made.py")(3.0) == 6.0
        assert len(cached_files(tmp_path)) == (0 if changed else 1)


@needs_compiler
def test_functions_outside_the_package_are_not_cached(tmp_path):
    """Their sources are not part of the hash."""
    assert isinstance(_compile(tmp_path / "made.py")._cache, numba.core.caching.NullCache)


def _compile(path):
    """Compile a function whose source is at `path`."""
    namespace = {}
    exec(compile("def double(x):\n    return 2 * x\n", str(path), "exec"), {"__name__": "made"}, namespace)
    return cache.enable_cache(numba.njit(namespace["double"]))


@needs_compiler
def test_options_of_numba_are_part_of_the_key(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    for value in (0, 1):
        monkeypatch.setattr(numba.config, "BOUNDSCHECK", value)
        _compile(cache.PACKAGE / "compiler" / "made.py")(1.0)
    assert len(cached_files(tmp_path)) == 2


@needs_compiler
def test_versions_are_part_of_the_key(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert sys.implementation.cache_tag in cache.KernelCache.versions
    _compile(cache.PACKAGE / "compiler" / "made.py")(1.0)
    monkeypatch.setattr(cache.KernelCache, "versions", ("other",))
    _compile(cache.PACKAGE / "compiler" / "made.py")(1.0)
    assert len(cached_files(tmp_path)) == 2


def test_types_of_equal_names_are_told_apart_by_their_module():
    def define(module):
        class Mine(NamedTuple):
            """Record with the same name and fields in two modules."""

            eps: float

        Mine.__module__ = module
        return Mine(0.1)

    def describe(record):
        return cache.describe_type(numba.typeof((record, np.ones(2))))

    assert describe(define("one")) != describe(define("two"))
    assert describe(L1(0.1)) == describe(L1(0.2))
    assert describe(L1(0.1)) != describe(L2(0.1))
    assert describe(L1(np.float32(0.1))) != describe(L1(0.1))


def test_the_hash_depends_on_paths_and_contents(tmp_path):
    assert cache.hash_sources(tmp_path) is None
    (tmp_path / "a.py").write_text("1")
    first = cache.hash_sources(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    second = cache.hash_sources(tmp_path)
    (tmp_path / "b.py").write_text("2")
    assert len({first, second, cache.hash_sources(tmp_path)}) == 3


def test_directories_that_nothing_used_are_removed(tmp_path, monkeypatch):
    old, recent, other = (tmp_path / name for name in ("adagrad_nb-old", "adagrad_nb-recent", "other"))
    for folder in (old, recent, other):
        folder.mkdir()
        (folder / "kernel.nbc").write_bytes(b"")
    long_ago = time.time() - 2 * cache.MAX_AGE
    os.utime(old, (long_ago, long_ago))
    os.utime(other, (long_ago, long_ago))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert cache.cache_directory().is_dir()
    assert not old.exists()
    assert recent.exists()
    assert other.exists()
