"""Hostile files of models and states: refused by a ValueError that names the file, or loaded into something sound.

Each file has a valid checksum and a random change in its arrays or numbers.  The script form,
``python tests/io/test_hostile_files.py COUNT``, tries COUNT files of each kind.
"""

import contextlib
import copy
import json
import linecache
import os
import pathlib
import signal
import sys
import tempfile
import traceback
import warnings

import numba
import numpy as np
import pytest
from linear_problems import fit_plain

from adagrad_nb import (
    EMA,
    FTRL,
    L1,
    L2,
    RDA,
    Accumulate,
    Adadelta,
    ClipNorm,
    DecoupledDecay,
    ElasticNet,
    GroupL2,
    InverseSqrt,
    LossScale,
    MomentumAdagrad,
    OnlineToBatch,
    Only,
    Polyak,
    Rates,
    RateSearch,
    RowAdagrad,
    Softmax,
    fit_linear,
    init,
    load_model,
    load_state,
    update,
)
from adagrad_nb.io import archive

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from linear_problems import interpreting

RNG = np.random.default_rng(7)
X = RNG.normal(size=(24, 5))
Y = X @ [1.0, -2.0, 0.5, 0.0, 1.0] > 0
CLASSES = np.arange(24) % 3

MODELS = {
    "plain": dict(),
    "float32": dict(dtype=np.float32, penalty=L1(np.full(5, 0.01)), lr=InverseSqrt(0.5)),
    "average": dict(average=Polyak(3), penalty=L1(0.01)),
    "normalized": dict(normalized=True, invariant=True, penalty=L1(0.01)),
    "batches": dict(batch_size=3, rule=MomentumAdagrad()),
    "dual averaging": dict(rule=RDA(), penalty=L1(0.01)),
    "ftrl": dict(rule=FTRL(l1=0.1), loss="squared"),
    "softmax": dict(loss=Softmax(), penalty=GroupL2(0.01)),
    "one against the rest": dict(loss="hinge", average=Polyak()),
    "rates": dict(lr=Rates((0.1, 0.5, 1.0)), penalty=L1(0.01)),
    "search": dict(lr=RateSearch((0.1, 0.5, 1.0, 3.0), halve_at=(10, 20)), penalty=L1(0.01), average=Polyak(2)),
    "ended search": dict(lr=RateSearch((0.1, 0.5, 1.0), halve_at=(5, 9)), penalty=L1(0.01), average=Polyak(2)),
    "search, classes": dict(loss=Softmax(), lr=RateSearch((0.1, 0.5, 1.0), halve_at=(10,)), penalty=L1(0.01)),
    "search, dual averaging": dict(lr=RateSearch((0.1, 0.5, 1.0), halve_at=(10,)), rule=RDA(), penalty=L1(0.01)),
    "standardised": dict(loss="huber", standardize_targets=True, lr=InverseSqrt(0.5), penalty=L1(0.01)),
    "falling rate": dict(lr=InverseSqrt(0.5), penalty=ElasticNet(0.01, 0.01)),
    "online to batch": dict(average=OnlineToBatch(2), penalty=L2(0.01)),
}
STATES = {
    "vector": (lambda: np.ones(5), dict(penalty=L1(np.full(5, 0.1)))),
    "matrix": (lambda: np.ones((3, 2), np.float32), dict(rule=Adadelta(), average=EMA(), lr=InverseSqrt(0.3))),
    "rows": (
        lambda: np.ones((4, 3)),
        dict(rule=RowAdagrad(), transforms=(DecoupledDecay(0.1),), sparse_decay="lazy"),
    ),
    "tree": (
        lambda: {"a": np.ones(3), "b": [np.ones((2, 2)), np.ones(1)]},
        dict(transforms=(ClipNorm(1.0), Only(DecoupledDecay(0.1), "a")), lr_scale={"a": 1.0, "b": [0.5, 2.0]}),
    ),
    "complex": (lambda: np.ones((2, 2), np.complex64), dict(average=Polyak(1))),
    "half": (lambda: np.ones(4, np.float16), dict(rule=RDA(), lr=np.full(4, 0.5))),
    "gates": (lambda: np.ones(4), dict(transforms=(LossScale(4.0), Accumulate(3)))),
}
ODD_VALUES = [
    None, True, False, -1, 0, 1, 2, 3, 2**31, 2**53, 2**53 + 1, 2**62, 2**63, 10**30, 0.5, -0.5, 1e-320, 1e308,
    float("nan"), float("inf"), -float("inf"), "", "x", "float16", "softmax", [], [1], {}, [[]], [None, None],
    {"array": "option0"}, {"array": "w"}, {"array": 3}, {"tuple": []}, {"tuple": [1, "x"]}, {"tuple": 3},
    {"record": "Adagrad", "fields": {}}, {"record": "L1", "fields": {"strength": 1.0}},
    {"record": "Softmax", "fields": {}}, {"record": "Polyak", "fields": {"start": 2}},
    {"record": "Constant", "fields": {"lr": 0.1}}, {"record": "Chain", "fields": {"first": 1, "rest": 2}},
    {"record": "PrecomputedSchedule", "fields": {"values": {"array": "option0"}, "start": 0}},
    {"record": "Bounded", "fields": {"penalty": {"record": "Adagrad", "fields": {}}}}, {"record": "os.system"},
    {"record": "Piecewise", "fields": {"boundaries": {"tuple": [1, 2]}, "values": {"tuple": [0.1, 0.2, 0.3]}}},
]  # fmt: skip


# --- mutations -------------------------------------------------------------------------------------------------------


def mutate_array(arrays, rng):
    """Change one array in shape, dtype, order or values, or remove, exchange or add one."""
    name = str(rng.choice(sorted(arrays)))
    array = arrays[name]
    kind = rng.integers(14)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[f"{name}0"] = array
    elif kind == 2:
        arrays[name] = arrays[str(rng.choice(sorted(arrays)))]
    elif kind == 3:
        arrays[name] = np.zeros(rng.integers(0, 5, rng.integers(0, 4)), array.dtype)
    elif kind == 4:
        arrays[name] = np.resize(array, array.size + int(rng.integers(-3, 4))) if array.size > 3 else array[..., None]
    elif kind == 5:
        arrays[name] = array.reshape(-1) if array.ndim != 1 else array.reshape(1, -1)
    elif kind == 6:
        arrays[name] = np.asfortranarray(array)
    elif kind == 7:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # complex to real, and overflow
            arrays[name] = array.astype(str(rng.choice([">f8", "<f4", "<i8", "<u1", "<c16", "?", "<f2"])))
    elif kind == 8:
        arrays[name] = np.zeros((0, 10**15)) if rng.integers(2) else np.zeros((10**15, 0), array.dtype)
    elif kind == 9 and array.ndim > 1:
        arrays[name] = np.ascontiguousarray(array.T)
    else:
        value = rng.choice([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300, -1e300, 2.0**40, 2.0**62])
        with np.errstate(all="ignore"):
            array = np.array(array)
            place = rng.integers(array.size) if array.size and rng.integers(2) else slice(None)
            array.reshape(-1)[place] = np.float64(value).astype(array.dtype)
        arrays[name] = array


def places(value, found=()):
    """Return the containers and keys of all values in JSON data."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [pair for key, item in items for pair in ((value, key), *places(item))]


def mutate_json(meta, rng):
    """Change, remove or exchange one value."""
    everywhere = places(meta)
    container, key = everywhere[rng.integers(len(everywhere))]
    kind = rng.integers(8)
    if kind == 0:
        del container[key]
    elif kind == 1:
        other, other_key = everywhere[rng.integers(len(everywhere))]
        container[key] = copy.deepcopy(other[other_key])
    elif kind == 2 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif kind == 3 and isinstance(container[key], (int, float)):
        container[key] = container[key] * int(rng.choice([-1, 2, 1000])) + int(rng.choice([-1, 0, 1]))
    else:
        container[key] = copy.deepcopy(ODD_VALUES[rng.integers(len(ODD_VALUES))])


def mutated(meta, arrays, rng):
    """Return JSON data and arrays with one to three changes."""
    meta, arrays = copy.deepcopy(meta), dict(arrays)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if arrays and rng.integers(2):
            mutate_array(arrays, rng)
        elif places(meta):
            mutate_json(meta, rng)
    return meta, arrays


# --- use -------------------------------------------------------------------------------------------------------------


class Timeout(BaseException):
    """A load or a step took too long."""


@contextlib.contextmanager
def time_limit(seconds):
    def stop(*_):
        raise Timeout

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def is_raised_by_package(error):
    """Return whether an exception comes from a raise statement of the package."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(frame.filename, frame.lineno).strip()
    statement = "raise" in line or line.startswith(('f"', "f'", ")"))
    return f"{os.sep}adagrad_nb{os.sep}" in frame.filename and statement


def use_model(model, path):
    width = min(model.n_features, X.shape[1])
    model.predict(X[:, :width])
    y = Y if len(model.classes if model.classes is not None else ()) == 2 else CLASSES
    if model.classes is None:
        y = X[:, 0] ** 2
    else:
        y = model.classes[np.arange(24) % len(model.classes)] if len(model.classes) else CLASSES
    more = fit_linear(X, y, model=model)
    more.predict(X)
    more.save(path)
    load_model(path)


def use_state(state, path, x):
    ones = [np.ones_like(leaf) for leaf in leaves_of(x)]
    for _ in range(2):
        x, state = update(x, rebuild(x, iter(ones)), state)
    if isinstance(x, np.ndarray):
        update(x, (np.array([0]), np.ones((1, *x.shape[1:]), x.dtype)), state)
    state.save(path)
    load_state(path)


def leaves_of(x):
    if isinstance(x, np.ndarray):
        return [x]
    return [leaf for child in (x.values() if isinstance(x, dict) else x) for leaf in leaves_of(child)]


def rebuild(x, leaves):
    if isinstance(x, np.ndarray):
        return next(leaves)
    if isinstance(x, dict):
        return {key: rebuild(child, leaves) for key, child in x.items()}
    return [rebuild(child, leaves) for child in x]


def try_file(path, load, use):
    """Return "refused" or "loaded", or a description of a fault."""
    try:
        with time_limit(20):
            loaded = load(path)
    except ValueError as error:
        return "refused" if str(error).startswith(str(path)) else f"error without the file: {error!r}"
    except BaseException as error:
        return f"load: {error!r}\n{traceback.format_exc()}"
    if use is None:
        return "loaded"
    try:
        with time_limit(20):
            use(loaded)
    except (ValueError, TypeError, FloatingPointError) as error:
        return "loaded" if is_raised_by_package(error) else f"use: {error!r}\n{traceback.format_exc()}"
    except BaseException as error:
        return f"use: {error!r}\n{traceback.format_exc()}"
    return "loaded"


def make_file(kind, path):
    """Save a model or state; return (kind of file, loader, function that uses it)."""
    if kind in MODELS:
        options = MODELS[kind]
        is_multiclass = "loss" in options and options["loss"] != "squared"
        y = X[:, 0] if options.get("loss") == "squared" else CLASSES if is_multiclass else Y
        with interpreting():
            fit_plain(X, y, **options).save(path)
        return "linear model", load_model, lambda model: use_model(model, f"{path}.again")
    make, options = STATES[kind]
    x = make()
    state = init(x, **options)
    if numba.config.DISABLE_JIT:
        x, state = update(x, rebuild(x, iter([np.ones_like(leaf) for leaf in leaves_of(x)])), state)
    state.save(path)
    return "state", load_state, lambda state: use_state(state, f"{path}.again", make())


def count_outcomes(kind, n_files, folder, seed=0, is_used=True):
    """Return the numbers of files that were refused and loaded, and a list of faults."""
    path = pathlib.Path(folder) / "file.npz"
    file_kind, load, use = make_file(kind, path)
    meta, arrays = archive.read_archive(path, file_kind)
    rng = np.random.default_rng(seed)
    counts, faults = {"refused": 0, "loaded": 0}, []
    for k in range(n_files):
        changed = mutated(meta, arrays, rng)
        with contextlib.suppress(OSError):
            path.unlink()
        archive.write_archive(path, file_kind, *changed)
        with warnings.catch_warnings(), interpreting():
            warnings.simplefilter("ignore")
            outcome = try_file(path, load, use if is_used else None)
        if outcome in counts:
            counts[outcome] += 1
        else:
            faults.append((k, outcome))
    return counts, faults


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers are those of POSIX")
@pytest.mark.parametrize("kind", [*MODELS, *STATES])
def test_hostile_files_are_refused_or_sound(kind, tmp_path):
    is_used = bool(numba.config.DISABLE_JIT)  # compiling for each combination of records would take minutes
    counts, faults = count_outcomes(kind, 200, tmp_path, is_used=is_used)
    assert not faults, f"{len(faults)} faults, the first for file {faults[0][0]}:\n{faults[0][1]}"
    assert counts["refused"] > 100


if __name__ == "__main__":
    for name in sys.argv[2:] or [*MODELS, *STATES]:
        with tempfile.TemporaryDirectory() as directory:
            result, wrong = count_outcomes(name, int(sys.argv[1]), directory, seed=1)
        print(json.dumps({name: result}), len(wrong), "faults", flush=True)
        for number, text in wrong[:5]:
            print(number, text)
