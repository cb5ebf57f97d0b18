"""PTX code of the CUDA kernels, compiled without a device: no calls, and no double precision in float32 kernels.

Needs numba-cuda and NVIDIA's compiler libraries (``pip install nvidia-nvvm nvidia-cuda-nvrtc``), but no driver.
"""

import functools
import re

import numba
import numpy as np
import pytest

from adagrad_nb import (
    L1,
    Adadelta,
    Adagrad,
    AdagradNorm,
    AdaptiveClip,
    Box,
    ClipNorm,
    ClipValue,
    Constant,
    DAdaptAdagrad,
    DecoupledDecay,
    DoG,
    ElasticNet,
    GroupL2,
    GroupLinf,
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
from adagrad_nb.compiler.jit import DeviceScalar, cast
from adagrad_nb.cuda.arrays import import_cuda
from adagrad_nb.linear.kernels import lazy
from adagrad_nb.linear.kernels import rows as linear
from adagrad_nb.records.coordinate import Update
from adagrad_nb.records.multiclass_losses import IndependentOutputs
from adagrad_nb.records.transforms import RescaleUnits, chain_transforms

if numba.config.ENABLE_CUDASIM or numba.config.DISABLE_JIT:
    pytest.skip("nothing is compiled with the JIT off", allow_module_level=True)
pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
from cuda import pathfinder

for library in ("nvvm", "nvrtc"):
    try:
        pathfinder.load_nvidia_dynamic_lib(library)
    except pathfinder.DynamicLibNotFoundError as missing:
        pytest.skip(f"a library of NVIDIA's compiler is not installed: {missing}", allow_module_level=True)
cuda = import_cuda()

from numba import types  # noqa: E402

from adagrad_nb.cuda import primitives  # noqa: E402
from adagrad_nb.linear.kernels import cuda_multi_rows, cuda_rows  # noqa: E402
from adagrad_nb.optim.kernels import (  # noqa: E402
    cuda_array_update,
    cuda_global_memory,
    cuda_group_penalties,
    cuda_lazy_decay,
    cuda_small_arrays,
    cuda_sort,
    cuda_sparse_gradients,
    cuda_unit_norms,
)

RULES = [Adagrad(), Adagrad(1e-6, inside=True), MomentumAdagrad(), Adadelta()]
TRANSFORMS = chain_transforms((Rescale(2.0), ClipValue(1.0), Maximize(), L2Decay(0.1), DecoupledDecay(0.1)))
PENALTIES = [NoPenalty(), L1(0.1), ElasticNet(0.1, 0.2), Box(-1.0, 1.0)]


@pytest.fixture(autouse=True)
def _device(monkeypatch):
    """Replace the current device, whose compute capability Numba asks for."""
    from numba.cuda import dispatcher

    class Device:
        compute_capability = (9, 0)

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: Device)


def vector(dtype):
    return types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")


def ptx(kernel, *arguments):
    """Return the code of a kernel for arguments given as types or as values."""
    kinds = [item if isinstance(item, types.Type) else numba.typeof(item) for item in arguments]
    code, _ = cuda.compile_ptx(kernel.py_func, tuple(kinds), cc=(9, 0))
    assert not re.search(r"\bcall", code), "a call is left"
    return code


def record(cls, *fields):
    """Return the type of a record with these fields."""
    return types.NamedTuple(fields, cls)


# Sums of losses and schedules are in double precision, as on the CPU; lazy updates of a penalty use the schedule.
# So is the decay of a row so far, whose differences are small.
SCORES = {
    "softmax": Softmax(),
    "one against the rest": OneVsRest(Logistic()),
    "independent outputs": IndependentOutputs(Logistic()),
}
# The memory of a rule is double; so are sums over blocks.
TOTALS = {"totals", "listed totals", "many totals"}
MEMORY = {"memory", "rates"}
DECAY = {"missed decay", "recorded decay"}
DOUBLE = {"loss sums", "loss sums of outputs", *SCORES, *TOTALS, *MEMORY, *DECAY}
DOUBLE |= {f"{name}, penalised" for name in ("slopes", "learn", "scores", "learn outputs")}
LISTED = record(cuda_array_update.ListedCoordinates, vector(np.int64), types.int64)


@functools.cache
def cases(dtype):
    """Return each kernel with its arguments: name -> (kernel, arguments)."""
    f, a, s = numba.from_dtype(dtype), vector(dtype), types.UniTuple(vector(dtype), 1)
    full = cast(Update(Adagrad(), TRANSFORMS, ElasticNet(0.1, 0.2)), dtype)
    momentum = cast(Update(MomentumAdagrad(), TRANSFORMS, NoPenalty()), dtype)
    rowwise = cast(Update(RowAdagrad(), TRANSFORMS, L1(0.1)), dtype)
    heads, all_coordinates, i = full.transforms, cuda_array_update.AllCoordinates(), types.int64
    counts = vector(np.int32)
    found = {
        "fill": (primitives.fill, a, f),
        "half": (cuda_array_update.dense, full, a, vector(np.float16), s, f, i),
        "bfloat16": (cuda_array_update.dense, full, a, vector(np.int16), s, f, i),
        "device rate": (cuda_array_update.dense, full, a, a, s, record(DeviceScalar, a), i),
        "factor": (cuda_array_update.dense, full._replace(transforms=None), a, a, s, f, i),
        "four entries": (cuda_array_update.dense_vec4, full, a, a, s, f, i),
        "four entries of two accumulators": (cuda_array_update.dense_vec4, momentum, a, a, types.UniTuple(a, 2), f, i),
        "listed": (cuda_array_update.update_listed, full, LISTED, a, a, s, f, i),
        "simultaneous": (cuda_array_update.update_summed_squares, full, LISTED, a, a, s, f, i),
        "groups": (cuda_array_update.update_row_groups, rowwise, all_coordinates, a, a, s, f, i, i),
        "listed groups": (cuda_array_update.update_row_groups, rowwise, LISTED, a, a, s, f, i, i),
        "average": (cuda_array_update.update_average, cast(Polyak(), dtype), a, a, f),
        "accumulate": (cuda_array_update.accumulate_gradient, heads, all_coordinates, a, a, f, a, i),
        "pop accumulated": (cuda_array_update.pop_accumulated, a, a, f),
        "squares": (cuda_array_update.sum_squares, heads, all_coordinates, a, a, f, a),
        "listed squares": (cuda_array_update.sum_squares, heads, LISTED, a, a, f, a),
        "square root of sum": (cuda_array_update.sqrt_of_sum, a, a, i),
        "factors": (cuda_array_update.compute_factor, cast(ClipNorm(1.0), dtype), a, a),
        "non-finite": (cuda_array_update.count_nonfinite, heads, all_coordinates, a, a, f, counts),
        "unconverged": (cuda_array_update.count_unconverged, full.penalty, all_coordinates, a, a, f, counts, i),
        "project": (cuda_array_update.project_onto_domain, full.penalty, a),
    }
    n, d = vector(np.int64), vector(np.float64)
    table = record(cuda_small_arrays.PointerTable, n, n, n, n, n, a)
    penalise = cuda_group_penalties.apply_group_penalty
    row_groups = cuda_group_penalties.RowGroups(all_coordinates, 4, 3, 1)
    listed_row_groups = record(cuda_group_penalties.RowGroups, LISTED, i, i, i)
    entry_groups = record(cuda_group_penalties.EntryGroups, n, n, counts)
    l2, linf = (cast(Update(Adagrad(), TRANSFORMS, each(0.1)), dtype) for each in (GroupL2, GroupLinf))
    found |= {
        "group l2": (penalise, l2, row_groups, a, s, a, f, i, i),
        "group linf of listed rows": (penalise, linf, listed_row_groups, a, s, a, f, i, i),
        "group l2 of entries": (penalise, l2, entry_groups, a, s, a, f, i, i),
        "unit factors": (cuda_unit_norms.compute_unit_factors, cast(AdaptiveClip(), dtype), a, i, a),
        "touched groups": (cuda_group_penalties.mark_touched_groups, LISTED, i, n, counts),
    }
    found |= {
        "missed decay": (cuda_lazy_decay.apply_missed_decay, LISTED, i, i, a, d, types.float64, i),
        "recorded decay": (cuda_lazy_decay.record_decay, LISTED, i, d, types.float64),
    }
    found |= {
        "many": (cuda_small_arrays.multi_update, full, table, s, f, i),
        "many squares": (cuda_small_arrays.multi_sum_squares, heads, table, f, a),
        "many non-finite": (cuda_small_arrays.multi_count_nonfinite, heads, table, f, counts),
        "many averages": (cuda_small_arrays.multi_update_average, cast(Polyak(), dtype), table, a, f, i),
    }
    norm, distances = (cast(Update(rule, TRANSFORMS, NoPenalty()), dtype) for rule in (AdagradNorm(), DAdaptAdagrad()))
    three, two, rate = types.UniTuple(a, 3), types.UniTuple(d, 2), record(DeviceScalar, a)
    many = record(cuda_global_memory.TotalsBuffers, types.UniTuple(d, 3), types.UniTuple(f, 3), d, i, i)
    one = record(cuda_global_memory.TotalsBuffers, types.UniTuple(d, 1), types.UniTuple(f, 1), d, i, i)
    found |= {
        "totals": (cuda_global_memory.sum_totals, distances, all_coordinates, a, a, three, f, many),
        "listed totals": (cuda_global_memory.sum_totals, norm, LISTED, a, a, types.Tuple(()), f, one),
        "many totals": (cuda_global_memory.multi_sum_totals, distances, table, three, f, many),
        "memory": (cuda_global_memory.update_memory, cast(DoG(), np.float64), two, d, i, two, d, f, a),
        "rates": (cuda_global_memory.scale_rates, rate, d, a),
        "step from the start": (cuda_array_update.dense, distances, a, a, three, rate, i),
        "many without accumulators": (cuda_small_arrays.multi_update, norm, table, types.Tuple(()), rate, i),
    }
    found |= {
        "bad indices": (cuda_sparse_gradients.count_bad_indices, vector(np.int32), i, counts),
        "flatten": (cuda_sparse_gradients.flatten_indices, counts, counts, i, n),
        "sort tile": (cuda_sort.sort_tile, n, i, n, n),
        "count digits": (cuda_sort.count_digits, counts, i, i, i, n),
        "sum digit counts": (cuda_sort.sum_digit_counts, n, i),
        "move by digit": (cuda_sort.move_by_digit, counts, n, i, i, i, n, n, n),
        "permute": (cuda_sparse_gradients.permute_rows, n, a, i, a),
        "runs": (cuda_sparse_gradients.sum_runs, n, n, vector(np.float16), i, a),
        "merge": (cuda_sparse_gradients.merge_runs, n, a, i, i, n),
        "claim": (cuda_sparse_gradients.claim_slots, counts, n),
        "atomic sums": (cuda_sparse_gradients.add_atomically, counts, n, a, i, a),
        "slot owners": (cuda_sparse_gradients.mark_slot_owners, counts, n, n),
        "clear slots": (cuda_sparse_gradients.clear_slots, counts, n),
        "to dense": (cuda_sparse_gradients.scatter_to_dense, LISTED, a, a),
    }
    found["different"] = (cuda_array_update.count_different, a, a, counts)
    kinds = ("plain", NoPenalty(), lazy.NoCatchUp()), ("penalised", ElasticNet(0.1, 0.2), lazy.ClosedForm())
    for kind, penalty, lazy_updates in kinds:
        penalised = cast(Update(Adagrad(), chain_transforms(()), penalty), dtype)
        bias_update = penalised._replace(penalty=NoPenalty())
        spec = linear.LearnerSpec(cast(Logistic(), dtype), penalised, bias_update, Constant(0.5), lazy_updates, 1)
        last = types.Tuple(()) if kind == "plain" else n
        weights = record(linear.Weights, a, s, last, a, s)
        rows = record(linear.Rows, n, counts, a, a, a, n)
        batch = record(cuda_rows.DeviceBatch, a, a, n, a, n, n)
        found |= {
            f"slopes, {kind}": (cuda_rows.row_slopes, spec, rows, weights, batch, i, i, i),
            f"learn, {kind}": (cuda_rows.cuda_learn, spec, weights, n, a, f, f, i),
            f"learn bias, {kind}": (cuda_rows.learn_bias, spec, weights, a, f, f, i),
            f"learn biases, {kind}": (cuda_rows.learn_bias, spec, weights, a, f, a, i),
            f"scores, {kind}": (cuda_multi_rows.multi_scores, spec, rows, weights, d, a, i, i),
            f"learn outputs, {kind}": (cuda_multi_rows.cuda_learn_multi, spec, weights, d, n, a, f, a, i),
        }
    outer, no_array = record(cuda_sparse_gradients.OuterProductGradient, a, counts, a), types.Tuple(())
    labelled_rows, unlabelled_rows = (
        record(linear.Rows, n, counts, a, n, a, n),
        record(linear.Rows, n, counts, a, *[no_array] * 3),
    )
    caught_up_weights = record(linear.Weights, a, no_array, no_array, a, no_array)
    for name, loss in SCORES.items():
        targets = labelled_rows if getattr(loss, "target_type", "") == "multiclass" else rows
        loss_spec = spec._replace(loss=cast(loss, dtype))
        found[name] = cuda_multi_rows.multi_losses_and_slopes, loss_spec, targets, a, a, d, n, i, i
    found |= {
        "scores": (
            cuda_multi_rows.multi_scores,
            cuda_multi_rows.CAUGHT_UP,
            unlabelled_rows,
            caught_up_weights,
            types.float64,
            a,
            i,
            i,
        ),
        "expand rows": (cuda_multi_rows.expand_rows, rows, outer, n, n, i, i),
        "runs of outputs": (cuda_sparse_gradients.sum_runs, n, n, outer, i, a),
        "last updates": (cuda_multi_rows.set_last_updates, spec, n, n, i),
        "loss sums of outputs": (cuda_rows.add_losses, rows, d, i, d),
    }
    found["decision values"] = (cuda_rows.decision_values, n, counts, a, a, f, a)
    found["loss sums"] = (cuda_rows.add_losses, rows, a, i, vector(np.float64))
    entries = record(cuda_unit_norms.GradientEntries, numba.typeof(heads), a, vector(np.float16), f)
    found["sum units"] = (cuda_unit_norms.sum_units, entries, i, i, a)
    for name, factor in (("factor", cuda_array_update.DeviceRescale), ("factors of units", RescaleUnits)):
        chain = record(type(chain_transforms((factor(0),))), record(factor, a), numba.typeof(chain_transforms(())))
        update = record(Update, numba.typeof(full.rule), chain, numba.typeof(full.penalty))
        found[name] = (cuda_array_update.dense, update, a, a, s, f, i)
    for n, rule in enumerate(RULES):
        for penalty in PENALTIES if n == 0 else PENALTIES[n : n + 1]:
            state = types.UniTuple(a, rule.slots)
            found[f"dense {n} {type(penalty).__name__}"] = (
                cuda_array_update.dense, cast(Update(rule, TRANSFORMS, penalty), dtype), a, a, state, f, i,
            )  # fmt: skip
    return found


def test_numpy_is_left_as_it_was():
    """The import of numba-cuda needs a function that NumPy 2.5 has removed."""
    assert hasattr(np, "row_stack") == (np.lib.NumpyVersion(np.__version__) < "2.5.0")


@pytest.mark.parametrize("name", cases(np.dtype("f4")))
def test_float32_kernels_have_no_doubles_and_no_calls(name):
    code = ptx(*cases(np.dtype("f4"))[name])
    computed = [
        line for line in code.splitlines() if ".f64" in line and ".param" not in line
    ]  # .param: an argument that no loop reads
    assert bool(computed) == (name in DOUBLE), computed[:3]
    assert "ld." in code or name == "fill"
    if name.startswith("learn bias"):  # all threads of a warp must meet at one shuffle: one in each of two loops
        assert code.count("shfl.sync") == 2
    if name in TOTALS:  # only the memory that is read and the sums that are written are doubles
        moves = {"ld.global.f64", "st.global.f64", "cvt.rn.f32.f64", "cvt.f64.f32", "mov.f64"}
        assert set(re.findall(r"\b[a-z][a-z0-9.]*\.f64[a-z0-9.]*", code)) <= moves
    if name in SCORES:  # the losses of outputs are only summed in doubles
        conversions = {"cvt.f64.f32", "ld.global.f64", "st.global.f64"}
        assert set(re.findall(r"[a-z.]+\.f64(?:\.f32)?", code)) <= conversions | {"add.f64"}


@pytest.mark.parametrize("name", ["listed", "groups", "group l2", "squares", "factors", "many"])
def test_doubles_compile(name):
    assert ".f64" in ptx(*cases(np.dtype("f8"))[name])


@pytest.mark.parametrize("dtype", [np.dtype("f4"), np.dtype("f8")], ids=str)
def test_loads_of_128_bits(dtype):
    code = ptx(*cases(dtype)["four entries"])
    n_words = 1 if dtype == np.float32 else 2
    kind = f"v{4 // n_words}.f{8 * dtype.itemsize}"
    # x, g and the accumulator are read, x and the accumulator written; the rest is the tail of single entries.
    assert len(re.findall(rf"ld\.global\.{kind}", code)) == 3 * n_words
    assert len(re.findall(rf"st\.global\.{kind}", code)) == 2 * n_words
    assert len(re.findall(r"ld\.global\.f", code)) == 3


def test_the_values_of_penalties_alone_are_double():
    """As on the CPU: the sum is reported only, no update depends on it."""
    assert ".f64" in ptx(
        cuda_array_update.sum_penalty_values, cast(L1(0.1), np.float32), vector(np.float32), vector(np.float64)
    )
