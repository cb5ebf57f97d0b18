"""Argument checks.  An error names the argument, the value, the position and a remedy."""

import itertools
import math
import numbers
import re
from typing import Any

import numpy as np

from ._legacy import has_member


def resolve_seed(rng):
    """Return a seed: an integer as it is, or one drawn from a Generator or from the entropy of the system."""
    if rng is None:
        return int(np.random.SeedSequence().entropy % 2**63)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63 - 1))
    return count("rng", rng, maximum=math.inf)


def shorten_repr(value):
    """Return the repr of a value, cut to 60 characters, for an error message."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = f"an integer of {value.bit_length()} bits"
    return text if len(text) <= 60 else text[:57] + "..."


# --- numbers -----------------------------------------------------------------------------------------------------


def count(name, value, minimum=0, maximum=2**63 - 1):
    """Return an integer; raise if it is less than `minimum`, or too large for the kernels."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"{name}: got {shorten_repr(value)}; must be an integer of at least {minimum}")
    if value > maximum:
        raise ValueError(f"{name}: got {shorten_repr(value)}; must be at most {maximum}")
    return int(value)


def iterations(name, value):
    """Return a number of iterations; a float without a fraction counts as an integer, as in SciPy."""
    return count(name, int(value) if isinstance(value, (float, np.floating)) and float(value).is_integer() else value)


def positive_count(name, value):
    """Return an integer; raise if it is less than 1."""
    return count(name, value, 1)


def in_interval(name, value, domain):
    """Return a number or array; raise if an entry is NaN or outside an interval such as ``"[0, inf)"``."""
    no_mask(name, value)
    low, high = (float(part) for part in domain[1:-1].split(","))
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: got {shorten_repr(value)}; must be a number in {domain}") from None
    if value is None or isinstance(value, (bool, str)) or np.iscomplexobj(value):
        raise TypeError(f"{name}: got {shorten_repr(value)}; must be a number in {domain}")
    above = array >= low if domain[0] == "[" else array > low
    below = array <= high if domain[-1] == "]" else array < high
    is_invalid = ~(above & below)
    if is_invalid.any():
        if array.ndim == 0:
            raise ValueError(f"{name}: got {shorten_repr(value)}; must be a number in {domain}")
        position = first_true(is_invalid)
        raise ValueError(f"{name}: got {array[is_invalid][0]} at index {position}; every entry must be in {domain}")
    return value


def first_true(mask):
    """Return the index of the first true entry: an integer, or a tuple for more than one dimension."""
    position = np.argwhere(mask)[0]
    return int(position[0]) if position.size == 1 else tuple(int(i) for i in position)


def boolean(name, value):
    """Return a Boolean as `bool`; raise for other types."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: got {shorten_repr(value)}; must be True or False")
    return bool(value)


def one_of(name, value, allowed):
    """Return a string; raise if it is not in `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(
            f"{name}: got {shorten_repr(value)}; must be one of {', '.join(repr(word) for word in allowed)}"
        )
    return value


def check_bounds_order(name, lower, upper):
    """Raise unless lower <= upper, elementwise."""
    lower, upper = np.broadcast_arrays(np.asarray(lower, np.float64), np.asarray(upper, np.float64))
    is_invalid = ~(lower <= upper)
    if is_invalid.any():
        position = "" if lower.ndim == 0 else f" at index {first_true(is_invalid)}"
        raise ValueError(
            f"{name}: lower bound {lower[is_invalid].flat[0]} exceeds upper bound {upper[is_invalid].flat[0]}{position}"
        )


def schedule_steps(name, boundaries, values):
    """Raise unless the boundaries increase and there is one value more than boundaries."""
    for part, value in (("boundaries", boundaries), ("values", values)):
        if not isinstance(value, tuple):
            raise TypeError(f"{name}.{part}: got {shorten_repr(value)}; must be a tuple, such as tuple({part})")
    for boundary in boundaries:
        count(f"{name}.boundaries", boundary)
    increasing(f"{name}.boundaries", boundaries)
    if len(values) != len(boundaries) + 1:
        raise ValueError(
            f"{name}.values: got {len(values)} values for {len(boundaries)} boundaries; there must be one value more"
        )


def name_patterns(name, value):
    """Raise unless `value` is a regular expression, a tuple of regular expressions or a function of a name."""
    if callable(value) and not isinstance(value, type):
        return
    for pattern in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else (None,):
        if not isinstance(pattern, str):
            raise TypeError(
                f"{name}: got {shorten_repr(value)}; must be a regular expression, a tuple of them or a function"
            )
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{name}: got {pattern!r}, which is not a regular expression: {error}") from None


def matches_any(patterns, name):
    """Return whether one of the regular expressions matches a part of a name, or whether the function accepts it."""
    if callable(patterns):
        return bool(patterns(name))
    return any(re.search(pattern, name) for pattern in ((patterns,) if isinstance(patterns, str) else patterns))


def distinct_rates(name, values):
    """Raise unless `values` is a tuple of distinct numbers."""
    if not isinstance(values, tuple) or not values:
        raise TypeError(f"{name}: got {shorten_repr(values)}; must be a tuple of numbers, such as (0.1, 1.0)")
    if len(set(values)) < len(values):
        raise ValueError(f"{name}: got {shorten_repr(values)}; must be different from each other")


def increasing(name, values):
    """Raise unless the numbers of a tuple increase strictly."""
    if any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"{name}: got {shorten_repr(values)}; must increase")


def fits_in_memory(name, n_bytes, remedy):
    """Raise MemoryError if this many bytes are more than the memory of the machine that is available."""
    available = available_memory()
    if n_bytes > available:
        raise MemoryError(
            f"{name} needs {n_bytes / 1e9:.1f} GB of memory, of which {available / 1e9:.1f} GB are available; {remedy}"
        )


def available_memory():
    """Return the number of bytes of memory that are available, as far as the system tells; else infinity."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = re.search(r"^MemAvailable: +(\d+) kB$", file.read(), re.MULTILINE)
        return int(found[1]) * 1024 if found else math.inf
    except OSError:  # not on Linux
        return math.inf


# --- records -----------------------------------------------------------------------------------------------------


def record_methods(name, value, required, examples):
    """Return a record; raise if a method of `required` is missing or a field is outside its declared domain."""
    no_class(name, value)
    if not hasattr(value, "_fields"):
        raise TypeError(f"{name}: got {shorten_repr(value)}; must be a record such as {examples}")
    missing = [member for member in required if not has_member(value, member)]
    if missing:
        raise TypeError(
            f"{name}: {type(value).__name__} has no {' and no '.join(missing)}; must be a record such as {examples}"
        )
    field_domains(value)
    return value


def no_class(name, value):
    """Raise for a class where a record is expected."""
    if isinstance(value, type):
        raise TypeError(f"{name}: got the class {value.__name__}; pass an instance, such as {value.__name__}(…)")


def field_domains(value):
    """Raise unless all fields of a record, nested records included, are in their declared domains.

    An array is refused where the annotation of the field is `float`.
    """
    class_name = type(value).__name__
    for field, item in zip(value._fields, value, strict=True):
        domain = getattr(value, "domain", {}).get(field)
        if hasattr(item, "_fields"):
            no_class(f"{class_name}.{field}", item)
            field_domains(item)
        elif domain == "bool":
            boolean(f"{class_name}.{field}", item)
        elif domain:
            annotation = getattr(value, "__annotations__", {}).get(field)
            if isinstance(item, tuple) and annotation == (float | Any):
                raise TypeError(f"{class_name}.{field}: got the tuple {shorten_repr(item)}; must be a number or a list")
            if np.ndim(item) and annotation in (float, "float"):
                raise TypeError(f"{class_name}.{field}: got {shorten_repr(item)}; must be one number in {domain}")
            in_interval(f"{class_name}.{field}", item, domain)
    if hasattr(value, "check"):
        value.check()


def fields_finite_in(dtype, record):
    """Raise unless the finite fields of a record with a bounded domain, such as "[0, inf)", are finite in `dtype`."""
    if dtype == np.float64:
        return
    domains = getattr(record, "domain", {})
    for field, item in zip(getattr(record, "_fields", ()), record or (), strict=True):
        if hasattr(item, "_fields"):
            fields_finite_in(dtype, item)
        elif str(domains.get(field)).endswith("inf)") and np.any(np.abs(item) > np.finfo(dtype).max):
            raise ValueError(f"{type(record).__name__}.{field}: got {shorten_repr(item)}; must be finite in {dtype}")


def penalty_shape(penalty, n):
    """Raise unless the arrays and lists of a penalty have one entry per coordinate, or per group of a `Grouped`.

    A tuple, in a record of the user, has any length.
    """
    for field, item in zip(penalty._fields, penalty, strict=True):
        if hasattr(item, "_fields"):
            penalty_shape(item, getattr(penalty, "n_groups", n))
        elif not isinstance(item, tuple) and np.shape(item) not in ((), (n,)):
            raise ValueError(
                f"{type(penalty).__name__}.{field}: got shape {np.shape(item)}; "
                f"must be a number or have shape ({n},), one entry per coordinate"
            )


def group_numbers(name, value):
    """Raise unless a value has the number of a group for each of n features, each in [0, n)."""
    groups = np.asarray(value)
    if isinstance(value, tuple):
        raise TypeError(f"{name}: got a tuple; must be a list or an array")
    if groups.ndim != 1 or groups.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: got dtype {groups.dtype} and shape {groups.shape}; must be a list of integers, one for each "
            "feature"
        )
    is_outside = (groups < 0) | (groups >= groups.size)
    if is_outside.any():
        position = first_true(is_outside)
        raise ValueError(
            f"{name}: got {groups[position]} at index {position}; must be in [0, {groups.size}), as {groups.size} is "
            "the number of features"
        )


def count_groups(groups):
    """Return the number of groups: the largest number of a group and one more."""
    return int(np.max(groups, initial=-1)) + 1


def check_known_options(name, given, known):
    """Raise if an option in `given` is not in `known`."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise TypeError(f"{name}: unknown option {unknown[0]!r}; the options are {', '.join(sorted(known))}")


# --- arrays ------------------------------------------------------------------------------------------------------


def no_mask(name, array):
    """Raise for a masked array with masked entries, which NumPy converts to the numbers behind the mask."""
    if type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        at = first_true(np.atleast_1d(np.ma.getmaskarray(array)))
        raise ValueError(
            f"{name}: entry {at} is masked; replace masked entries, as with {name}.filled(0), or leave their rows out"
        )


def real_array(name, array):
    """Return a real array as float32 or float64; integers become float64."""
    no_mask(name, array)
    array = np.asarray(array)
    if array.dtype.kind in "iub":
        return array.astype(np.float64)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: got dtype {array.dtype}; must be float32, float64 or integer")
    return array


def numbers_of_objects(name, array):
    """Return an array of objects, such as the columns of a data frame, as float64; return other arrays unchanged."""
    if array.dtype.kind != "O":
        return array
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        position = first_true(np.vectorize(_is_no_float, otypes=[bool])(array)) if array.ndim else 0
        raise ValueError(
            f"{name}: got {shorten_repr(array[position] if array.ndim else array[()])} at index {position}; must be a "
            "number"
        ) from None


def _is_no_float(value):
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return True
    return False


def parameter_array(name, array):
    """Return an array of parameters with its float or complex dtype; integers become float64."""
    no_mask(name, array)
    array = np.asarray(array)
    if array.dtype in (np.complex64, np.complex128) or is_half(array.dtype):
        return array
    return real_array(name, array)


def is_half(dtype):
    """Return whether a dtype is float16, or the bfloat16 that ml_dtypes adds to NumPy."""
    return dtype == np.float16 or dtype.name == "bfloat16"


def is_real(dtype):
    """Return whether a dtype is real; the kind of bfloat16 does not show it."""
    return dtype.kind in "fiu" or dtype.name == "bfloat16"


def is_finite(array, part=...):
    """Return whether a part of a contiguous array has neither NaN nor infinity.

    The sum of squares is usually finite, and BLAS computes it three times as fast as NumPy checks all entries.
    """
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.dot(flat, flat)):
            return True
    return bool(np.isfinite(array[part]).all())


def finite_array(name, array):
    """Return an array; raise if an entry is NaN or infinite."""
    array = np.asarray(array)
    is_invalid = ~np.isfinite(array)
    if is_invalid.any():
        position = f" at index {first_true(is_invalid)}" if array.ndim else ""
        raise ValueError(f"{name}: got {array[is_invalid][0] if array.ndim else array}{position}; must be finite")
    return array


def start_point(x0):
    """Return a start point as a new contiguous array of one dimension."""
    x = np.atleast_1d(real_array("x0", x0))
    if x.ndim != 1:
        raise ValueError(f"x0: got shape {x.shape}; must have one dimension, such as x0.ravel()")
    if x.size == 0:
        raise ValueError("x0: got an empty array; must have at least one entry")
    return np.array(finite_array("x0", x), order="C")


def scipy_bounds(value, n, dtype):
    """Convert bounds in any form that SciPy accepts to two arrays of shape (n,), or None if all are infinite."""
    if value is None:
        return None
    if hasattr(value, "lb") and hasattr(value, "ub"):
        lower, upper = value.lb, value.ub
    else:
        try:
            pairs = [tuple(pair) for pair in value]
            lower, upper = zip(*pairs, strict=True) if pairs else ((), ())
        except (TypeError, ValueError):
            raise ValueError(
                f"bounds: got {shorten_repr(value)}; "
                "must be a sequence of (lower, upper) pairs or scipy.optimize.Bounds"
            ) from None
        if len(pairs) not in (1, n):
            raise ValueError(f"bounds: got {len(pairs)} pairs for {n} variables; give one pair per variable, or one")
        lower = [-math.inf if b is None else _take_scalar(b) for b in lower]
        upper = [math.inf if b is None else _take_scalar(b) for b in upper]
    sides = []
    for side, values in (("lower", lower), ("upper", upper)):
        values = np.asarray(in_interval(f"bounds: {side}", values, "[-inf, inf]"), dtype)
        if values.shape not in ((), (1,), (n,)):
            raise ValueError(f"bounds: {side} has shape {values.shape}; must be a number or have shape ({n},)")
        sides.append(np.array(np.broadcast_to(values, n)))
    check_bounds_order("bounds", *sides)
    return None if np.isinf(sides[0]).all() and np.isinf(sides[1]).all() else tuple(sides)


def _take_scalar(value):
    """Return the element of an array with one element, and other values unchanged."""
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value


def no_constraints(constraints):
    """Raise if constraints are given."""
    if constraints is not None and np.size(constraints) > 0:
        raise ValueError(
            "constraints: only bounds are supported; use bounds=…, a penalty such as NonNegative(), "
            "or a method of scipy.optimize that supports constraints, such as 'SLSQP'"
        )


def same_length(name, values, n, unit):
    """Raise unless `values` has shape (n,)."""
    if values.shape != (n,):
        raise ValueError(f"{name}: got shape {values.shape}; must have shape ({n},), one entry per {unit}")
