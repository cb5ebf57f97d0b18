"""What the CUDA loops become: PTX, compiled without a device, and looked at.

Needs numba-cuda and NVIDIA's compiler libraries (``pip install nvidia-nvvm nvidia-cuda-nvrtc``), but no driver.
"""

import re

import numba
import numpy as np
import pytest

from adagrad_nb import (
    L1,
    Adadelta,
    Adagrad,
    Box,
    ClipNorm,
    ClipValue,
    Constant,
    DecoupledDecay,
    ElasticNet,
    L2Decay,
    Logistic,
    Maximize,
    MomentumAdagrad,
    NoPenalty,
    OneVsRest,
    Polyak,
    Rescale,
    RowAdagrad,
    Softmax,
)
from adagrad_nb._jit import Held, cast
from adagrad_nb._kernels import lapses, linear
from adagrad_nb._kernels.coordinate import Update
from adagrad_nb.multiclass import Rivals
from adagrad_nb.transforms import chain

if numba.config.ENABLE_CUDASIM or numba.config.DISABLE_JIT:
    pytest.skip("nothing is compiled in this lane", allow_module_level=True)
pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
from numba import cuda, types


def _compiler():
    """Whether PTX can be made here."""
    try:
        cuda.compile_ptx(lambda x: None, (types.float32[::1],), cc=(9, 0))
    except Exception as error:
        return f"no PTX can be compiled here: {type(error).__name__}: {error}".split("\n")[0]
    return ""


if reason := _compiler():
    pytest.skip(reason, allow_module_level=True)

from adagrad_nb._kernels import gpu, gpu_classes, gpu_linear, gpu_sparse, gpu_tables  # noqa: E402

RULES = [Adagrad(), Adagrad(1e-6, inside=True), MomentumAdagrad(), Adadelta()]
TRANSFORMS = chain((Rescale(2.0), ClipValue(1.0), Maximize(), L2Decay(0.1), DecoupledDecay(0.1)))
PENALTIES = [NoPenalty(), L1(0.1), ElasticNet(0.1, 0.2), Box(-1.0, 1.0)]


@pytest.fixture(autouse=True)
def _device(monkeypatch):
    """Numba asks the present device what it can do, even if there is none."""
    from numba.cuda import dispatcher

    class Device:
        compute_capability = (9, 0)

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: Device)


def vector(dtype):
    return types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")


def ptx(kernel, *arguments):
    """The code of a kernel for arguments given as types or as values."""
    kinds = [item if isinstance(item, types.Type) else numba.typeof(item) for item in arguments]
    code, _ = cuda.compile_ptx(kernel.py_func, tuple(kinds), cc=(9, 0))
    assert not re.search(r"\bcall", code), "a call is left"
    return code


def record(cls, *fields):
    """The type of a record with these fields."""
    return types.NamedTuple(fields, cls)


# Sums of losses are double, as on the CPU, and so are schedules, which a penalty that catches up asks for its rates.
SCORES = {"softmax": Softmax(), "one against the rest": OneVsRest(Logistic()), "rivals": Rivals(Logistic())}
DOUBLE = {"tally", "tally of lanes", *SCORES}
DOUBLE |= {f"{name}, penalised" for name in ("slopes", "learn", "decisions", "learn lanes")}
LISTED = record(gpu.Listed, vector(np.int64), types.int64)


def cases(dtype):
    """Every loop, with the arguments that it meets: name -> (kernel, arguments)."""
    f, a, s = numba.from_dtype(dtype), vector(dtype), types.UniTuple(vector(dtype), 1)
    full = cast(Update(Adagrad(), TRANSFORMS, ElasticNet(0.1, 0.2)), dtype)
    rowwise = cast(Update(RowAdagrad(), TRANSFORMS, L1(0.1)), dtype)
    heads, whole, i = full.transforms, gpu.Whole(), types.int64
    counts = vector(np.int32)
    found = {
        "fill": (gpu.fill, a, f),
        "half": (gpu.dense, full, a, vector(np.float16), s, f, i),
        "bfloat16": (gpu.dense, full, a, vector(np.int16), s, f, i),
        "held rate": (gpu.dense, full, a, a, s, record(Held, a), i),
        "factor": (gpu.dense, full._replace(transforms=None), a, a, s, f, i),
        "quads": (gpu.dense_quads, full, a, a, s, f, i),
        "listed": (gpu.listed, full, LISTED, a, a, s, f, i),
        "simultaneous": (gpu.simultaneous, full, LISTED, a, a, s, f, i),
        "groups": (gpu.groups, rowwise, whole, a, a, s, f, i),
        "listed groups": (gpu.groups, rowwise, LISTED, a, a, s, f, i),
        "blend": (gpu.blend, cast(Polyak(), dtype), a, a, f),
        "gather": (gpu.gather, heads, whole, a, a, f, a, i),
        "release": (gpu.release, a, a, f),
        "squares": (gpu.squares, heads, whole, a, a, f, a),
        "listed squares": (gpu.squares, heads, LISTED, a, a, f, a),
        "root": (gpu.root_of_sum, a, a, i),
        "factors": (gpu.factors, cast(ClipNorm(1.0), dtype), a, a),
        "wrong": (gpu.wrong, heads, whole, a, a, f, counts),
        "unfinished": (gpu.unfinished, full.penalty, whole, a, a, f, counts, i),
        "project": (gpu.project, full.penalty, a),
    }
    n, d = vector(np.int64), vector(np.float64)
    table = record(gpu_tables.Addresses, n, n, n, n, n)
    found |= {
        "many": (gpu_tables.many, full, table, s, f, i),
        "many squares": (gpu_tables.many_squares, heads, table, f, a),
        "many wrong": (gpu_tables.many_wrong, heads, table, s, f, counts),
        "many blend": (gpu_tables.many_blend, cast(Polyak(), dtype), table, a, f, i),
    }
    found |= {
        "survey": (gpu_sparse.survey, vector(np.int32), i, counts),
        "flatten": (gpu_sparse.flatten, counts, counts, i, n),
        "keys": (gpu_sparse.keys, counts, n),
        "exchange": (gpu_sparse.exchange, n, i, i),
        "exchange near": (gpu_sparse.exchange_near, n, i, i),
        "split": (gpu_sparse.split, n, n, n),
        "permute": (gpu_sparse.permute, n, a, i, a),
        "runs": (gpu_sparse.runs, n, n, vector(np.float16), i, a),
        "merge": (gpu_sparse.merge, n, a, i, i, n),
        "claim": (gpu_sparse.claim, counts, n),
        "collect": (gpu_sparse.collect, counts, n, a, i, a),
        "own": (gpu_sparse.own, counts, n, n),
        "leave": (gpu_sparse.leave, counts, n),
        "spread": (gpu_sparse.spread, LISTED, a, a),
    }
    found["differing"] = (gpu.differing, a, a, counts)
    kinds = ("plain", NoPenalty(), lapses.Prompt()), ("penalised", ElasticNet(0.1, 0.2), lapses.Closed())
    for kind, penalty, lapse in kinds:
        moves = cast(Update(Adagrad(), chain(()), penalty), dtype)
        free = moves._replace(penalty=NoPenalty())
        recipe = linear.Recipe(cast(Logistic(), dtype), moves, free, Constant(0.5), lapse, 1)
        last = types.Tuple(()) if kind == "plain" else n
        weights = record(linear.Weights, a, s, last, a, s)
        rows = record(linear.Rows, n, counts, a, a, a, n)
        entries = record(gpu_linear.Entries, a, a, n, a, n, n)
        found |= {
            f"slopes, {kind}": (gpu_linear.slopes, recipe, rows, weights, entries, i, i, i),
            f"learn, {kind}": (gpu_linear.learn, recipe, weights, n, a, f, f, i),
            f"learn bias, {kind}": (gpu_linear.learn_bias, recipe, weights, a, f, f, i),
            f"learn biases, {kind}": (gpu_linear.learn_bias, recipe, weights, a, f, a, i),
            f"decisions, {kind}": (gpu_classes.decide, recipe, rows, weights, d, a, i, i),
            f"learn lanes, {kind}": (gpu_classes.learn, recipe, weights, d, n, a, f, a, i),
        }
    outer, nothing = record(gpu_sparse.Outer, a, counts, a), types.Tuple(())
    numbered, bare = record(linear.Rows, n, counts, a, n, a, n), record(linear.Rows, n, counts, a, *[nothing] * 3)
    settled = record(linear.Weights, a, nothing, nothing, a, nothing)
    for name, loss in SCORES.items():
        targets = numbered if getattr(loss, "labels", "") == "classes" else rows
        mine = recipe._replace(loss=cast(loss, dtype))
        found[name] = gpu_classes.score, mine, targets, a, a, d, n, i, i
    found |= {
        "decisions": (gpu_classes.decide, gpu_classes.SETTLED, bare, settled, types.float64, a, i, i),
        "gather lanes": (gpu_classes.gather, rows, outer, n, n, i, i),
        "runs of lanes": (gpu_sparse.runs, n, n, outer, i, a),
        "note": (gpu_classes.note, recipe, n, n, i),
        "tally of lanes": (gpu_linear.tally, rows, d, i, d),
    }
    found["margins"] = (gpu_linear.margins, n, counts, a, a, f, a)
    found["tally"] = (gpu_linear.tally, rows, a, i, vector(np.float64))
    scaled = record(type(chain((gpu.Scaled(0),))), record(gpu.Scaled, a), numba.typeof(chain(())))
    update = record(Update, numba.typeof(full.rule), scaled, numba.typeof(full.penalty))
    found["factor"] = (gpu.dense, update, a, a, s, f, i)
    for n, rule in enumerate(RULES):
        for penalty in PENALTIES:
            state = types.UniTuple(a, rule.slots)
            found[f"dense {n} {type(penalty).__name__}"] = (
                gpu.dense, cast(Update(rule, TRANSFORMS, penalty), dtype), a, a, state, f, i,
            )  # fmt: skip
    return found


@pytest.mark.parametrize("name", cases(np.dtype("f4")))
def test_no_doubles_among_singles_and_no_calls(name):
    code = ptx(*cases(np.dtype("f4"))[name])
    computed = [line for line in code.splitlines() if ".f64" in line and ".param" not in line]  # what no loop reads
    assert bool(computed) == (name in DOUBLE), computed[:3]
    assert "ld." in code or name == "fill"


@pytest.mark.parametrize("name", SCORES)
def test_losses_of_lanes_are_only_summed_in_doubles(name):
    code = ptx(*cases(np.dtype("f4"))[name])
    moves = {"cvt.f64.f32", "ld.global.f64", "st.global.f64"}
    assert set(re.findall(r"[a-z.]+\.f64(?:\.f32)?", code)) <= moves | {"add.f64"}


@pytest.mark.parametrize("name", ["quads", "listed", "groups", "squares", "factors", "dense 0 L1", "many"])
def test_doubles_compile(name):
    assert ".f64" in ptx(*cases(np.dtype("f8"))[name])


@pytest.mark.parametrize("dtype", [np.dtype("f4"), np.dtype("f8")], ids=str)
def test_words_of_128_bits(dtype):
    code = ptx(*cases(dtype)["quads"])
    words = 1 if dtype == np.float32 else 2
    kind = f"v{4 // words}.f{8 * dtype.itemsize}"
    # x, g and the accumulator are read, x and the accumulator written; the rest is the tail of single entries.
    assert len(re.findall(rf"ld\.global\.{kind}", code)) == 3 * words
    assert len(re.findall(rf"st\.global\.{kind}", code)) == 2 * words
    assert len(re.findall(r"ld\.global\.f", code)) == 3


def test_the_values_of_penalties_alone_are_double():
    """As on the CPU: a sum that is looked at, not learnt from."""
    assert ".f64" in ptx(gpu.values, cast(L1(0.1), np.float32), vector(np.float32), vector(np.float64))
