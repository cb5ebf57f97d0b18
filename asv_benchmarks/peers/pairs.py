"""Interleaved timing of two programs, so that other load on the machine affects both alike."""

import argparse
import importlib
import importlib.metadata
import os
import pathlib
import platform
import statistics
import sys
import time
from typing import NamedTuple

_BENCHMARKS = pathlib.Path(__file__).resolve().parents[1]
sys.path[1:1] = [str(_BENCHMARKS.parent), str(_BENCHMARKS)]  # this checkout, installed or not

import benchmarks  # noqa: E402, F401  (sets the cache directory from a hash of the sources)


class Timings(NamedTuple):
    """Seconds of each run of both sides, in pairs."""

    ours: list
    peer: list

    @property
    def ratios(self):
        return [peer / ours for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def ratio(self):
        """Our speed relative to the peer: the ratio of the median times."""
        return statistics.median(self.peer) / statistics.median(self.ours)


def parse_options(description, threads=False, data=None, folder=None, copies=None, picture=False):
    """Parse the command line shared by all comparisons.

    `threads` adds an option for the number of threads of each side.  `data`, a description such as "word counts", adds
    options for files to train and test on.  `folder`, a list of data sets, adds an option for a folder with them.
    `copies`, a default, adds an option for the number of copies of the data in a long file.  `picture` adds an option
    for the name of a picture.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="less data and fewer pairs, as a smoke test")
    if threads:
        parser.add_argument("--threads", type=int, help="threads of each side; default: the default of each side")
    if data:
        parser.add_argument("--train", metavar="FILE", help=f"train on {data} in svmlight text; default: synthetic")
        parser.add_argument("--test", metavar="FILE", help="test data in the same format")
    if folder:
        parser.add_argument(
            "--data", dest="folder", metavar="FOLDER", type=pathlib.Path, help=f"folder with {folder}; default: none"
        )
    if copies:
        parser.add_argument(
            "--copies", type=int, default=copies, help=f"copies of the data in the long files; default: {copies}"
        )
    if picture:
        parser.add_argument("--picture", metavar="FILE", help="draw the result")
    arguments = parser.parse_args()
    if threads and arguments.threads:
        os.environ["NUMBA_NUM_THREADS"] = str(arguments.threads)  # read once, at the import of Numba
    return arguments


def import_peer(module, package=None):
    """Return a peer's module, or exit with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = package or module
        sys.exit(f"This comparison needs {package}, which is not installed: pip install {package}")


def time_alternately(ours, peer, pairs=7, pause=0.0):
    """Time `ours` and `peer` alternately, and alternate which runs first.  Call both once before.

    A `pause` in seconds before each run lets idle threads of the other side go to sleep.
    """
    times = [[], []]
    for number in range(pairs):
        for side in (0, 1) if number % 2 else (1, 0):
            time.sleep(pause)
            begin = time.perf_counter()
            (peer if side else ours)()
            times[side].append(time.perf_counter() - begin)
    return Timings(*times)


def repeat(function, calls):
    """Return a function that calls `function` `calls` times."""

    def run():
        for _ in range(calls):
            function()

    return run


def version(package):
    """Return the version of a package, or "unknown": CuPy is installed under other names."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return getattr(sys.modules.get(package), "__version__", "unknown")


def print_versions(*packages, **threads):
    """Print package versions, the processor and the number of threads of each side."""
    names = ("numba", "numpy", "scipy", *packages)
    print(" ".join(["python", platform.python_version()] + [f"{n} {version(n)}" for n in names]))
    print(f"{_processor()}, {os.cpu_count()} cores; threads:", ", ".join(f"{k} {v}" for k, v in threads.items()))


def _processor():
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def print_timings(name, timings, amount=1.0, unit="s", rate=False):
    """Print both medians, in time per `amount` or in `amount` per time, and the ratios; return the ratio of medians."""
    ours, peer = (statistics.median(side) for side in timings)
    scaled = [amount / t if rate else t / amount for t in (ours, peer)]
    low, middle, high = min(timings.ratios), statistics.median(timings.ratios), max(timings.ratios)
    print(
        f"{name:34s} ours {scaled[0]:9.4g} {unit}, peer {scaled[1]:9.4g} {unit}, ours is {timings.ratio:8.3g} times "
        f"as fast (pairs: {low:.3g} / {middle:.3g} / {high:.3g})"
    )
    return timings.ratio


def print_targets(*targets):
    """Print whether all targets were reached.  A target is ``(name, reached, ">=" or "<=", target)``."""
    parts, all_reached = [], True
    for name, reached, sign, target in targets:
        ok = reached >= target if sign == ">=" else reached <= target
        all_reached = all_reached and ok
        parts.append(f"{name} {reached:.3g} (target {sign} {target:g}{'' if ok else ': missed'})")
    print(f"{'; '.join(parts)}: {'met' if all_reached else 'NOT met'} in this run")
