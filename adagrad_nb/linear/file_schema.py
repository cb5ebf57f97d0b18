"""Schema of model files: the numbers, labels and arrays that a file must have, given the options in it."""

import itertools

import numpy as np

from .._check import shorten_repr
from ..io import schema
from ..io.columns import Columns
from ..io.schema import FINITE, ArrayField
from ..records.multiclass_losses import is_multi_output_loss
from ..records.rules import slot_domains
from ..records.schedules import RateSearch, has_several_rates
from .selection import BestOutput
from .targets import BinaryLabels, MulticlassLabels

DTYPES = ("float32", "float64")
NUMBERS = ("batch_size", "normalized", "invariant", "intercept")
OPTIONS = ("rule", "lr", "penalty", "average")


def read_numbers(meta):
    """Return the options that are numbers or Booleans."""
    numbers = schema.entry(meta, "numbers", dict)
    if set(numbers) - {"standardize_targets", "ledger"} != set(NUMBERS):
        raise ValueError(f"numbers: got {sorted(numbers)}; must be {sorted(NUMBERS)}")
    flags = {name: schema.entry(numbers, name, bool) for name in numbers if name != "batch_size"}
    return {"batch_size": schema.count_entry(numbers, "batch_size", 1)} | flags


def read_dtype(meta):
    """Return the name of the dtype of the weights."""
    dtype = schema.entry(meta, "dtype", str)
    if dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype[:60]!r}; must be float32 or float64")
    return dtype


def read_weight_unit(meta):
    """Return the unit of the sample weights, and the sum of their binary exponents."""
    unit, exponents = schema.entry(meta, "weights", list) if "weights" in meta else (1.0, 0)
    if not schema.is_number(unit) or not 0 < unit < float("inf") or not isinstance(exponents, int):
        raise ValueError(f"weights: got {shorten_repr([unit, exponents])}; must be a unit in (0, inf) and an integer")
    return float(unit), exponents


def read_counts(meta, average):
    """Return the number of updates, the first update that is averaged, and the number of rows."""
    t, n_seen = (schema.count_entry(meta, name) for name in ("t", "n_seen"))
    start = int(average.start) if average else 0
    return t, schema.count_entry(meta, "since", start, max(start, t)), n_seen


def read_n_features(meta, arrays, loss, lr):
    """Return the number of features; raise unless the file has weights for all of them and for all outputs.

    A model of this size may be allocated: it takes no more than a few times the bytes of the file.
    """
    n_features = schema.count_entry(meta, "n_features")
    is_multi_output = is_multi_output_loss(loss) or has_several_rates(lr)
    if isinstance(lr, RateSearch) and not is_multi_output_loss(loss) and "w" in arrays:
        is_multi_output = False  # `LastCandidate`
    name = "table" if is_multi_output else "w"
    schema.check_names(arrays, (name,), arrays)
    shape = arrays[name].shape
    if not is_multi_output:
        if shape != (n_features,):
            raise ValueError(f"n_features: got {n_features}, but w has shape {shape}")
        return n_features
    n_outputs = len(schema.entry(meta, "labels", list)) - 1 if is_multi_output_loss(loss) else 1
    if isinstance(lr, RateSearch):
        n_outputs *= read_candidates(arrays)[0].size
    elif has_several_rates(lr):
        n_outputs *= len(lr.values)
    if len(shape) != 3 or (shape[0], shape[2]) != (n_features, n_outputs) or (n_outputs and not shape[1]):
        raise ValueError(f"n_features: got {n_features} with {n_outputs} outputs, but the table has shape {shape}")
    if not n_outputs and n_features > 2**31:
        raise ValueError(f"n_features: got {n_features} without any output")
    return n_features


def read_columns(meta, n_features):
    """Return the mapping from columns to features."""
    columns = Columns.from_json(meta["columns"])
    if columns.n_features != n_features:
        raise ValueError(f"columns: describe {columns.n_features} features; the model has {n_features}")
    return columns


def read_candidates(arrays):
    """Return the remaining learning rates of a search, and (rate, mean loss, update number) of the removed ones."""
    schema.check_names(arrays, ("rates", "removed"), arrays)
    rates, removed = arrays["rates"], arrays["removed"]
    for name, array, shape in (("rates", rates, rates.shape[:1]), ("removed", removed, (*removed.shape[:1], 3))):
        if array.dtype != np.float64 or array.shape != shape:
            raise ValueError(f"{name}: got {array.dtype} of shape {array.shape}; must be float64 of shape {shape}")
    schema.check_entries("rates", rates, "(0, inf)")
    schema.check_entries("removed", removed[:, 2], "[0, 9e15]")
    if np.any(removed[:, 2] != np.floor(removed[:, 2])):
        raise ValueError("removed: update numbers must be integers")
    return rates, removed


def check_labels(target, labels):
    """Raise ValueError unless the labels of a file are in order and of one kind, as in a model with this target."""
    known = labels
    if isinstance(target, MulticlassLabels):
        if not labels or not isinstance(labels[0], bool):
            raise ValueError(f"labels: got {shorten_repr(labels[:8])}; the first entry must be True or False")
        known = labels[1:]
    elif len(labels) != 2:
        raise ValueError(f"labels: got {shorten_repr(labels[:8])}; must have two entries")
    elif not isinstance(target, BinaryLabels):
        if labels != [None, None]:
            raise ValueError(f"labels: got {shorten_repr(labels[:8])}; the loss takes numbers")
        return
    else:
        known = [label for label in labels if label is not None]
        if len(known) == 1 and known[0] not in ((-1, 0) if labels[1] is None else (1,)):
            raise ValueError(
                f"labels: got {shorten_repr(labels[:8])}; the only label must be 1, or 0 or -1 as the first one"
            )
    if any(not isinstance(label, (bool, int, float, str)) or label != label for label in known):
        raise ValueError(f"labels: got {shorten_repr(labels[:8])}; must be numbers, Booleans or strings")
    if len({isinstance(label, str) for label in known}) > 1:
        raise ValueError(f"labels: got {shorten_repr(labels[:8])}; must be of one kind, all numbers or all strings")
    if not all(a < b for a, b in itertools.pairwise(known)):
        raise ValueError(f"labels: got {shorten_repr(labels[:8])}; must be different and in increasing order")


def check_weights(model, arrays):
    """Raise ValueError unless the arrays of a file without training state fit a model."""
    outputs = (model.classes.size,) if is_multi_output_loss(model.loss) else ()
    w = np.broadcast_to(model.dtype.type(0), (model.n_features, *outputs))
    like = {"tally": np.zeros(2), "w": w, "bias": np.zeros(outputs or (1,), model.dtype)}
    if model.standardize_targets:
        like["targets"] = model.target_scaling.values
    schema.check_names(arrays, like)
    for name, array in like.items():
        schema.check_array(name, arrays[name], ArrayField.like(array, None))
        schema.check_entries(name, arrays[name], FINITE)
    schema.check_entries("tally", arrays["tally"][1:], "[0, inf)")
    _check_targets(model, arrays)


def _check_targets(model, arrays):
    """Raise ValueError unless the numbers of standardised targets are in their ranges."""
    if model.standardize_targets:
        schema.check_entries("targets", arrays["targets"], FINITE)
        schema.check_entries("targets", arrays["targets"][2:], "[0, inf)")
        schema.check_entries("targets", arrays["targets"][2:3], "[1, 2]")


def check_arrays(model, like, arrays, t):
    """Raise ValueError unless arrays fit a model after t updates.

    Parameters
    ----------
    model : LinearModel
        The model, or a new one with the options of the file.
    like : dict
        The arrays of such a model by name, of which only shapes and dtypes matter.
    """
    if "summed_rates" in like and "summed_rates" not in arrays:
        # A file of 0.1.0: lazy updates measured time in updates.
        like = {name: array for name, array in like.items() if name != "summed_rates"}
        like["last"] = like["last"].astype(np.int64)
    schema.check_names(arrays, like)
    for name, array in like.items():
        schema.check_array(name, arrays[name], ArrayField.like(array, None))
    tally = arrays["tally"]
    has_rates = isinstance(model.selection, BestOutput)
    # The loss of a learning rate that diverged is infinite, and so may be its weights; those of the best are finite.
    schema.check_entries("tally", tally[:-1], "[-inf, inf]" if has_rates else None)
    schema.check_entries("tally", tally[-1:], "[0, inf]")
    domains = slot_domains(model.parameters.state.rule)
    of_slots = {f"{name}{k}": domain for name in ("slot", "bias_slot") for k, domain in enumerate(domains)}
    of_slots |= {"tally": None, "targets": None, "totals": "[0, inf)", "largest": "[0, inf)", "removed": None}
    of_slots["scales"] = "[0, inf)"
    of_slots["summed_rates"] = "[0, inf)"
    reported = model.selection.outputs(model.parameters, tally) if has_rates and "table" in like else slice(None)
    for name, array in arrays.items():
        if name in ("table", "bias") and array.ndim == 3:
            for k, domain in enumerate((FINITE, *domains)):
                schema.check_entries(name, array[:, k, reported], domain)
                if has_rates:
                    schema.check_entries(name, array[:, k][np.isfinite(array[:, k])], domain)
        elif name in ("total", "bias_total"):
            schema.check_entries(name, array[..., reported], FINITE)
        elif name != "last":
            schema.check_entries(name, array, of_slots.get(name, FINITE))
    _check_targets(model, arrays)
    if "last" in arrays:
        current = t
        if "totals" in arrays:
            current = float(arrays["totals"][2])
        elif "summed_rates" in arrays:
            current = float(arrays["summed_rates"][0])
        schema.check_entries("last", arrays["last"], f"[0, {current!r}]")
