"""State of an optimiser: its options, accumulators, counters and averages; made by `init`, saved and loaded.

Read `options` for the checks of the options and `leaf` for the accumulators of one array.
"""

from __future__ import annotations

import importlib
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from ..compiler.jit import cast
from ..cuda import arrays
from ..io import archive, schema
from ..io.schema import ArrayField
from ..records.gates import accumulates_gradients, gradients_per_step, is_gate
from ..records.matrix_rules import has_matrices
from ..records.rules import has_row_accumulators, has_row_step, initial_slots, slot_domains
from ..records.schedules import Constant, at, has_several_rates
from ..records.transforms import needs_python
from . import lazy_decay
from .device_global_memory import DeviceGlobalMemory
from .device_leaf import DeviceLeaf
from .global_memory import init_memory
from .leaf import Leaf, own_array
from .ledger import Ledger, new_ledger
from .options import Options, check_group_penalty, check_rule_methods, freeze_arrays, is_same_option
from .small_arrays import group_small_arrays
from .trees import align, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from .array_group import ArrayGroup

_COUNTERS = ("t", "n_micro_steps", "n_pending", "n_skipped", "n_good_steps", "scale")
# Names of counters and optional arrays in a file; those of version 0.1.0, whose files must load.
_COUNTER_KEYS = dict(zip(_COUNTERS, ("t", "arrived", "pending", "skipped", "good", "scale"), strict=True))
_ARRAY_KEYS = {"mean": "mean", "accumulated": "gathered", "applied_log_decay": "decayed", "master": "master"}
_KIND = "state"
_DERIVED = ("array_groups", "changes_with_t", "fast_leaf")  # attributes that `State._refresh` sets
_DTYPES = ("float32", "float64", "complex64", "complex128", "float16", "bfloat16")
_LARGEST_SIZE = 2**56  # entries of an array; more cannot be addressed
_LARGEST_EMPTY = 2**31  # rows of an array without entries


class State:
    """Options, accumulators and counters of an optimiser: all that a run needs besides the iterate.

    `init` makes a state, `update` advances it, and the minimisers return one as ``res.state``.

    Attributes
    ----------
    rule : rule record
        The update rule.
    lr : float, ndarray, schedule record or callable
        The learning rate; an array has the shape of x.
    transforms : tuple of transform records
        Applied to each gradient in this order.
    penalty : penalty record
        `NoPenalty` if none was given.
    average : averaging record or None
    lr_scale : tuple or None
        For each array of x the factor of its learning rate: a float64 array of shape () or of the shape of the array.
    duplicates, sparse_decay : str
        As given to `init`.
    memory : tuple of float
        The numbers of a rule such as `DoG` that depend on all arrays together; () for other rules.  Those of device
        arrays are copied to the host when the attribute is read.
    domain : domain record or None
        As given to `init`; the domain `Box` becomes the penalty.
    t : int
        Number of updates so far; schedules give the learning rate of the next update at t.  It can be set.
    micro : int
        Number of gradients so far; larger than `t` if `Accumulate` is among the transforms.
    scale : float
        Factor for the next loss if `LossScale` is among the transforms, else 1.
    slots : tuple
        For each array of x, in the order of its containers, the tuple of the accumulators of the rule.  Each has the
        shape of the array, or shape (n_rows,) for `RowAdagrad`.  Matrices have shapes of their own.
    means : tuple
        For each array of x the average of the iterates, of its shape, or None without averaging.
    is_compilable : bool
        Whether a compiled loop can run the updates, which it cannot with a domain, a ledger, a `memory` or a rule of
        matrices, or if a transform is a gate, adds noise or needs the norms of units.
    schedule_step : int
        Argument of the schedule at the next update: `micro` or `t`.
    leaves : list of Leaf
        One for each array of x: its accumulators, its average and its compiled kernels.
    array_groups : list
        Groups of small arrays that one pass of the kernels updates.
    fast_leaf : Leaf or None
        The leaf if x is one vector, or one device array, whose updates need nothing but the kernel.
    has_device_arrays : bool
        Whether an array of x is on a CUDA device.
    changes_with_t : bool
        Whether updates on a device depend on t, so that a CUDA graph cannot repeat them.
    n_micro_steps, n_pending, n_skipped, n_good_steps : int
        Counters of the gates: all gradients; gradients since the last update of `Accumulate`; consecutive skips of
        `SkipNonFinite`; consecutive finite gradients of `LossScale`.
    counts_micro_steps : bool
        Whether schedules count gradients instead of updates.
    rule_memory : tuple of float or DeviceGlobalMemory
        The numbers of `memory`, where the kernels need them.
    log_decay : list of float
        For each array the logarithm of the product of its decay factors so far, with ``sparse_decay="lazy"``.
    iterate : ndarray or None
        The last iterate of a minimiser if x is the average, so that the run can resume.
    seed : int or None
        Seed of the samples of `minimize_stochastic`.
    ledger : Ledger or None
        Sums for the regret, with ``ledger=True``.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import init
    >>> state = init(np.ones(2), lr=0.1)
    >>> state.t, state.slots, state.lr
    (0, ((array([0., 0.]),),), 0.1)
    """

    __slots__ = (
        "array_groups",
        "changes_with_t",
        "counts_micro_steps",
        "log_decay",
        "has_device_arrays",
        "iterate",
        "leaves",
        "ledger",
        "fast_leaf",
        "options",
        "seed",
        "rule_memory",
        "n_updates",
        *_COUNTERS[1:],
    )

    rule: Any
    lr: Any
    transforms: tuple[Any, ...]
    penalty: Any
    average: Any
    lr_scale: tuple[np.ndarray, ...] | None
    duplicates: str
    sparse_decay: str
    domain: Any
    rule_memory: Any
    n_updates: int  # the value of `t`, without the check of its setter
    scale: float
    n_micro_steps: int
    n_pending: int
    n_skipped: int
    n_good_steps: int
    counts_micro_steps: bool
    has_device_arrays: bool
    changes_with_t: bool
    leaves: list[Leaf]
    array_groups: list[ArrayGroup]
    fast_leaf: Any
    log_decay: list[float]
    iterate: Any
    seed: int | None
    ledger: Ledger | None

    def __init__(self, leaves: Sequence[tuple[str, Any]], options: Options) -> None:
        self.options = options.validate(leaves)
        self.t = self.n_micro_steps = self.n_pending = self.n_skipped = self.n_good_steps = 0
        self.scale, self.counts_micro_steps = 1.0, False
        for item in self.options.transforms:
            if hasattr(item, "grow"):
                self.scale = item.initial
            if getattr(item, "counts", "updates") == "micro-steps":
                self.counts_micro_steps = True
        self.iterate = self.seed = self.ledger = None
        self.leaves = []
        with arrays.on_stream(arrays.device_arrays_in([array for _, array in leaves])):
            for (path, array), scale in zip(leaves, self.options.lr_scale or [None] * len(leaves), strict=True):
                leaf_type = Leaf if isinstance(array, np.ndarray) else DeviceLeaf
                self.leaves.append(leaf_type(path, array, self, scale))
            self.log_decay = [0.0] * len(self.leaves)
            self.rule_memory = init_memory(self.rule, self.leaves, [array for _, array in leaves])
            if self.options.sparse_decay == "lazy":
                lazy_decay.init_lazy_decay(self)
            if self.options.average is not None:
                for leaf, (_, array) in zip(self.leaves, leaves, strict=True):
                    leaf.mean = leaf.init_mean(array)
            self._refresh()

    def _refresh(self):
        """Derive the groups of small arrays and the fast path of `update` from the leaves."""
        leaf = self.leaves[0] if len(self.leaves) == 1 else None
        is_plain = (
            leaf is not None
            and (leaf.is_repeatable if leaf.on_device else len(leaf.shape) == 1 and not leaf.needs_reduction)
            and (leaf.group_size == 1 or leaf.on_device)
            and not leaf.has_matrices
            and leaf.applied_log_decay is None
            and self.options.domain is None
            and leaf.feature_groups is None
            and (leaf.on_device or not self.rule_memory)
            and leaf.dtype == leaf.precision
            and self.ledger is None
        )
        self.fast_leaf = leaf if is_plain and leaf.constant_lr is not None and self.options.average is None else None
        self.has_device_arrays = any(leaf.on_device for leaf in self.leaves)
        decays_lazily = any(leaf.on_device and leaf.applied_log_decay is not None for leaf in self.leaves)
        self.changes_with_t = self.has_device_arrays and (self.options.depends_on_t or decays_lazily)
        if self.changes_with_t:
            self.fast_leaf = None  # which does not check for a capture
        self.array_groups = group_small_arrays(self.leaves, self)

    @property
    def t(self) -> int:
        """Number of updates so far."""
        return self.n_updates

    @t.setter
    def t(self, value: int) -> None:
        self.n_updates = _check.count("t", value)

    @property
    def micro(self) -> int:
        """Number of gradients so far."""
        return self.n_micro_steps if self._needs_python else self.t

    @property
    def schedule_step(self) -> int:
        """Argument of the schedule at the next update."""
        return self.micro if self.counts_micro_steps else self.t

    @property
    def is_compilable(self) -> bool:
        """Whether a compiled loop can run the updates: no domain, memory, matrix or ledger, no transform in Python."""
        is_elementwise = self.options.domain is None and not self.rule_memory and not has_matrices(self.options.rule)
        return is_elementwise and self.ledger is None and not self._needs_python

    @property
    def _needs_python(self):
        """Whether a transform is a gate or needs Python."""
        return any(is_gate(item) or needs_python(item) for item in self.options.transforms)

    @property
    def memory(self) -> tuple[float, ...]:
        """The numbers of a rule that all arrays share."""
        memory = self.rule_memory
        return memory.to_host() if isinstance(memory, DeviceGlobalMemory) else memory

    @memory.setter
    def memory(self, value: Any) -> None:
        if isinstance(self.rule_memory, DeviceGlobalMemory):
            self.rule_memory.write(value)
        else:
            self.rule_memory = value.to_host() if isinstance(value, DeviceGlobalMemory) else tuple(value)

    def _copy_memory(self):
        """Return a copy of `rule_memory`."""
        memory = self.rule_memory
        return memory.copy() if isinstance(memory, DeviceGlobalMemory) else memory

    @property
    def counts(self) -> tuple[tuple[float, ...], tuple[float, ...], Any]:
        """All counters, `log_decay` and a copy of `rule_memory`, to be stored and restored together."""
        return tuple(getattr(self, name) for name in _COUNTERS), tuple(self.log_decay), self._copy_memory()

    @counts.setter
    def counts(self, value: tuple[Sequence[float], Sequence[float], Any]) -> None:
        for name, number in zip(_COUNTERS, value[0], strict=True):
            setattr(self, name, number)
        self.log_decay = list(value[1])
        self.memory = value[2]

    @property
    def slots(self) -> tuple[tuple[Any, ...], ...]:
        """Accumulators of each array."""
        return tuple(leaf.slots for leaf in self.leaves)

    @property
    def means(self) -> tuple[Any, ...]:
        """Average of the iterates of each array, or None."""
        return tuple(leaf.mean for leaf in self.leaves)

    def lr_at(self, t: int) -> Any:
        """Return the learning rate of update t: a number or an array."""
        if has_several_rates(self.options.lr):
            raise TypeError("state: its model has several learning rates; choose one with lr=…")
        if hasattr(self.options.lr, "_fields"):
            return at(self.options.lr, t)
        if callable(self.options.lr):
            return _check.in_interval(f"lr({t})", self.options.lr(t), "[0, inf)")
        return self.options.lr

    def schedule(self):
        """Return the learning rate as a schedule record for compiled loops.

        Return None if it is a Python function or a schedule whose values are arrays.
        """
        if isinstance(self.options.lr, Constant):
            return Constant(self.leaves[0].cast_lr(self.options.lr.lr))
        if hasattr(self.options.lr, "_fields"):
            if self.options.lr_scale is not None:
                return None
            return cast(self.options.lr, np.float64) if np.ndim(self.lr_at(self.t)) == 0 else None
        return None if callable(self.options.lr) else Constant(self.leaves[0].constant_lr)

    def with_options(self, x: Any, **options: Any) -> State:
        """Return a copy of the state that continues with other options.

        Parameters
        ----------
        x : array, device array, or nested dict, list or tuple of them
            Arrays of the shapes and dtypes for which the state was made.
        **options
            Arguments of `init`, such as ``lr=0.1``.  The others keep their values.

        Returns
        -------
        State
            With copies of the accumulators, and the same counters.

        Raises
        ------
        TypeError, ValueError
            If an option is unknown or invalid, or if x or the rule needs other accumulators.

        Examples
        --------
        >>> import numpy as np
        >>> from adagrad_nb import init, update
        >>> x, state = update(np.ones(1), np.ones(1), init(np.ones(1), lr=0.5))
        >>> state = state.with_options(x, lr=0.0)
        >>> state.t, state.lr, update(x, np.ones(1), state)[0]
        (1, 0.0, array([0.5]))
        """
        _check.check_known_options("with_options", options, Options._fields)
        if options.get("lr_scale") is not None:
            options["lr_scale"] = align(x, options["lr_scale"], "lr_scale")
        new = State(_list_arrays(x), self.options._replace(**options))
        accumulations = [[item for item in state.transforms if accumulates_gradients(item)] for state in (self, new)]
        if self.n_pending and accumulations[0] != accumulations[1]:
            raise ValueError(
                f"transforms: Accumulate has {self.n_pending} gradients without an update; change it after the next "
                "update"
            )
        if len(new.leaves) != len(self.leaves):
            raise ValueError(f"state: it was made for {len(self.leaves)} arrays; got {len(new.leaves)}")
        for leaf, old, log_decay in zip(new.leaves, self.leaves, self.log_decay, strict=True):
            if (leaf.shape, leaf.dtype) != (old.shape, old.dtype):
                raise ValueError(
                    f"state: it was made for {old.dtype} of shape {old.shape}; {leaf.path} is {leaf.dtype} of shape "
                    f"{leaf.shape}"
                )
            old_shapes, shapes = ([tuple(slot.shape) for slot in each.slots] for each in (old, leaf))
            if shapes != old_shapes:
                raise ValueError(
                    f"rule: {type(new.rule).__name__} has accumulators of shapes {shapes} for {leaf.path}, but the "
                    f"state has {old_shapes}; call init for a new state"
                )
            old = old.copy()
            leaf.set_slots(old.slots)
            if leaf.mean is not None and old.mean is not None:
                leaf.mean = old.mean
            if accumulations[1]:
                leaf.accumulated = old.accumulated
            if leaf.keeps_master:
                leaf.master = old.master
            if leaf.applied_log_decay is not None and old.applied_log_decay is not None:
                leaf.applied_log_decay = old.applied_log_decay
            elif lazy_decay.has_missed_decay(old, log_decay):
                raise ValueError("sparse_decay: rows of x have missed decay; call x, state = catch_up(x, state) first")
        is_of_arrays = new.rule_memory or self.rule_memory or has_matrices(new.rule) or has_matrices(self.rule)
        if is_of_arrays and type(new.rule) is not type(self.rule):
            raise ValueError(
                f"rule: {type(new.rule).__name__} cannot continue with the sums of {type(self.rule).__name__}; call "
                "init for a new state"
            )
        loss_scale = new.scale, new.n_good_steps
        new.counts, new.seed = self.counts, self.seed
        if any(hasattr(item, "grow") for item in new.transforms) != any(
            hasattr(item, "grow") for item in self.transforms
        ):
            new.scale, new.n_good_steps = loss_scale
        new.iterate = None if self.iterate is None else self.leaves[0].copy_array(self.iterate)
        if self.ledger is not None:
            new.ledger = self._continue_ledger(new.options)
        new._refresh()
        return new

    def _continue_ledger(self, options):
        """Return a copy of the ledger for a state with other options."""
        for name in ("penalty", "transforms", "duplicates", "domain"):
            if not is_same_option(getattr(options, name), getattr(self.options, name)):
                raise ValueError(f"{name}: the state has a ledger for {getattr(self.options, name)}; call init anew")
        ledger = self.ledger.copy()
        for name in ("rule", "lr", "lr_scale", "average"):
            if not ledger.obstacle and not is_same_option(getattr(options, name), getattr(self.options, name)):
                ledger.obstacle = f"{name}: was changed to {getattr(options, name)} during the run"
        return ledger

    def copy(self, without_slots: bool = False) -> State:
        """Return a copy with its own arrays; with `without_slots`, its leaves share the accumulators of this state."""
        new = object.__new__(State)
        for name in State.__slots__:
            setattr(new, name, getattr(self, name))
        grouped = {i for group in self.array_groups for i in group.members}
        new.leaves = [leaf.copy(without_slots=without_slots or i in grouped) for i, leaf in enumerate(self.leaves)]
        new.array_groups = [group.copy(new.leaves) for group in self.array_groups]
        new.fast_leaf = None if self.fast_leaf is None else new.leaves[0]
        new.rule_memory = self._copy_memory()
        new.log_decay = list(self.log_decay)
        new.iterate = None if self.iterate is None else self.leaves[0].copy_array(self.iterate)
        new.ledger = None if self.ledger is None else self.ledger.copy()
        return new

    def __copy__(self) -> State:
        return self.copy()

    def __deepcopy__(self, memo: dict) -> State:
        return self.copy()

    def __getstate__(self):
        """Return all attributes but those that `_refresh` derives."""
        if self.has_device_arrays:
            raise TypeError("state: arrays on a device cannot be pickled; copy x to the host and call init there")
        return {name: getattr(self, name) for name in State.__slots__ if name not in _DERIVED}

    def __setstate__(self, attributes):
        self.ledger = None  # a pickle of 0.1.0 has none
        self.rule_memory = ()  # version 0.1.0 had none
        for name, value in attributes.items():
            setattr(self, name, value)
        self.options = freeze_arrays(self.options)
        if self.iterate is not None:
            self.iterate = own_array(self.iterate)
        self._refresh()

    def copy_from(self, other: State) -> None:
        """Overwrite this state by a copy of another state of the same shapes."""
        for name in ("options", "counts_micro_steps", "iterate", "seed"):
            setattr(self, name, getattr(other, name))
        self.ledger = None if other.ledger is None else other.ledger.copy()
        self.rule_memory = other._copy_memory()
        self.counts = other.counts
        for target, source in zip(self.leaves, other.leaves, strict=True):
            fresh = source.copy()
            for name in set(Leaf.__slots__) - {"path", "shape", "size", "slots", "flat_slots"}:
                setattr(target, name, getattr(fresh, name))
            target.set_slots(fresh.slots)
        self._refresh()

    def save(self, path: str | os.PathLike) -> None:
        """Write the state to a file, from which `load_state` continues the run bit for bit.

        Parameters
        ----------
        path : str or path-like
            The file is replaced atomically.  It keeps its permissions, and a symbolic link stays one.

        Raises
        ------
        ValueError
            If the learning rate is a Python function, if an array is on a device, or if a number of the state is not
            finite.
        """
        if callable(self.options.lr):
            raise ValueError("lr: a Python function cannot be saved; use a schedule record such as InverseSqrt(1.0)")
        if any(leaf.on_device for leaf in self.leaves):
            raise ValueError("state: arrays on a device cannot be saved; copy x to the host and call init there")
        file_arrays: dict[str, Any] = {} if self.iterate is None else {"iterate": self.iterate}
        for i, leaf in enumerate(self.leaves):
            file_arrays |= {f"slot{k}_of_{i}": slot for k, slot in enumerate(leaf.slots)}
            optional_arrays = {key: getattr(leaf, name) for name, key in _ARRAY_KEYS.items()}
            file_arrays |= {f"{key}_of_{i}": array for key, array in optional_arrays.items() if array is not None}
        counts = {key: getattr(self, name) for name, key in _COUNTER_KEYS.items()}
        self._check_arrays(file_arrays)
        self._check_counts(counts, self.log_decay)
        self._check_memory(self.memory)
        options = self.options._asdict()
        if self.domain is None:  # earlier versions read such files
            del options["domain"]
        meta = {
            "options": {name: archive.to_json(value, file_arrays) for name, value in options.items()},
            "leaves": [[leaf.path, list(leaf.shape), leaf.dtype.name] for leaf in self.leaves],
            "counts": counts,
            "decay": self.log_decay,
            "seed": self.seed,
        }
        if self.ledger is not None:
            meta["ledger"], ledger_arrays = self.ledger.to_file()
            file_arrays |= ledger_arrays
        if self.memory:
            meta["memory"] = list(self.memory)
        archive.write_archive(path, _KIND, meta, file_arrays)

    def _check_arrays(self, file_arrays):
        """Raise ValueError unless arrays of a file fit the leaves of this state, which may be a new one."""
        fields, optional = {}, {}
        for i, leaf in enumerate(self.leaves):
            for k, (slot, domain) in enumerate(zip(leaf.slots, slot_domains(self.rule), strict=True)):
                fields[f"slot{k}_of_{i}"] = ArrayField.like(slot, domain)
            if leaf.mean is not None:
                fields[f"mean_of_{i}"] = ArrayField.like(leaf.mean)
            if leaf.applied_log_decay is not None:
                # A row has had at most the decay of all updates so far.
                domain = f"[{float(self.log_decay[i])!r}, 0]"
                fields[f"decayed_of_{i}"] = ArrayField.like(leaf.applied_log_decay, domain)
            if any(accumulates_gradients(item) for item in self.transforms):
                optional[f"gathered_of_{i}"] = ArrayField((leaf.size * leaf.reals_per_entry,), leaf.precision)
            if leaf.keeps_master:
                optional[f"master_of_{i}"] = ArrayField((leaf.size,), leaf.precision)
        if self.average is not None and len(self.leaves) == 1:
            optional["iterate"] = ArrayField(self.leaves[0].shape, self.leaves[0].dtype)
        schema.check_names(file_arrays, fields, optional)
        for name, array in file_arrays.items():
            schema.check_array(name, array, (fields | optional)[name])

    def _check_counts(self, counts, log_decay):
        """Raise ValueError unless the counters of a file and the decay of each array are possible."""
        for name, key in _COUNTER_KEYS.items():
            if name != "scale":
                schema.count_entry(counts, key)
        gates = (item for item in self.transforms if accumulates_gradients(item))
        every = next((gradients_per_step(gate, counts["t"]) for gate in gates), 1)
        schema.count_entry(counts, "pending", 0, every - 1)
        _check.in_interval("scale", schema.entry(counts, "scale", (int, float)), "(0, inf)")
        if len(log_decay) != len(self.leaves):
            raise ValueError(f"decay: got {len(log_decay)} numbers for {len(self.leaves)} arrays")
        for item in log_decay:
            if not schema.is_number(item):
                raise ValueError(f"decay: got {item!r}; must be a number")
            _check.in_interval("decay", item, "(-inf, 0]")

    def _check_memory(self, memory):
        """Raise ValueError unless the memory of a file is one of the rule."""
        if len(memory) != len(self.memory):
            raise ValueError(f"memory: got {len(memory)} numbers; {type(self.rule).__name__} has {len(self.memory)}")
        for k, (number, domain) in enumerate(zip(memory, getattr(self.rule, "memory_domains", ()), strict=True)):
            if not schema.is_number(number):
                raise ValueError(f"memory[{k}]: got {number!r}; must be a number")
            _check.in_interval(f"memory[{k}]", number, domain)

    def __repr__(self) -> str:
        leaves = ", ".join(f"{leaf.path}: {leaf.dtype}{list(leaf.shape)}" for leaf in self.leaves[:4])
        more = ", …" if len(self.leaves) > 4 else ""
        return f"State({self.rule}, lr={self.options.lr}, t={self.t}, {leaves}{more})"


def _option_property(name):
    """Return the property for an option of a state."""

    def get_option(state):
        return getattr(state.options, name)

    def refuse(state, value):
        raise AttributeError(
            f"{name}: the options of a state cannot be changed; "
            + ("use update(x, g, state, lr=…) for one step, or " if name == "lr" else "")
            + f"continue with state.with_options(x, {name}=…)"
        )

    return property(get_option, refuse, doc=f"`{name}`, as given to `init`.")


for _name in Options._fields:
    setattr(State, _name, _option_property(_name))


def init(
    x: Any,
    rule: Any = None,
    *,
    lr: npt.ArrayLike | Callable[[int], Any] = 0.5,
    transforms: Sequence[Any] = (),
    penalty: Any = None,
    average: Any = None,
    lr_scale: Any = None,
    duplicates: str = "merge",
    sparse_decay: str = "touched",
    domain: Any = None,
    ledger: bool = False,
) -> State:
    """Check the options and return the initial state of an optimiser of x.

    Parameters
    ----------
    x : array, device array, or nested dict, list or tuple of them
        float32, float64, complex64, complex128, float16 or bfloat16; integers become float64.  The accumulators and
        the average of 16-bit arrays are float32.
    rule : rule record, default Adagrad()
    lr : float, ndarray, schedule record or callable, default 0.5
        The learning rate: a number in [0, inf), an array of the shape of x, a record such as ``InverseSqrt(1.0)``,
        a function of t = 0, 1, 2, …, or a scheduler of PyTorch or braintools, of which a copy takes one step after each
        update.
    transforms : tuple of transform records
        Applied to the gradient in this order.
    penalty : penalty record, optional
        Applied by its proximal step after each update.  The entries of an array-valued strength belong to the
        coordinates of x in C order; the real and the imaginary part of a complex number are two coordinates.
        `GroupL2` and `GroupLinf` take matrices, whose rows are the groups; their strengths belong to the rows.
        `Grouped` takes vectors.
    average : averaging record, optional
        Keep an average of the iterates in ``state.means``.
    lr_scale : number, array or containers of them like x, optional
        Factor in [0, inf) of the learning rate of each array: a number, or an array of its shape.
    duplicates : {"merge", "mean", "sequential", "simultaneous", "atomic"}, default "merge"
        Treatment of coordinates, or rows, that a sparse gradient lists more than once.

        - "merge" sums their gradients first (PyTorch, TensorFlow);
        - "mean" averages them (DGL);
        - "sequential" takes a step for each (FBGEMM's CPU kernel);
        - "simultaneous" adds the square of each, then takes one step along their sum (Keras with TensorFlow);
        - "atomic" is "merge", but on a device without a sort.  It is faster, takes 8 bytes of memory per coordinate
          or row, and its sums are not bit-reproducible.
    sparse_decay : {"touched", "whole", "lazy", "refuse"}, default "touched"
        Effect of `L2Decay` and `DecoupledDecay` if the gradient is sparse.

        - "touched" decays the listed coordinates (FBGEMM);
        - "whole" decays all of x (Keras);
        - "lazy" decays all of x too, but each row only when a gradient lists it; see `catch_up`;
        - "refuse" raises an error (PyTorch).
    domain : domain record, optional
        `L1Ball`, `L2Ball`, `Simplex` or `Box`.  After each step, x is projected onto the domain in the metric of the
        preconditioner; coordinates where it is zero, before their first gradient, move freely.  `RDA` projects the
        point of its sums, which is zero for coordinates without a gradient.  x is one array on the host, of float32 or
        float64, whose entries are one point.  A start outside the domain is projected at the first update.  There must
        be no penalty; `Box` is the penalty of that name.
    ledger : bool, default False
        Keep sums over the rounds in ``state.ledger``, from which the regret, its bounds and certificates follow; see
        `Ledger`.  For one array on the host, without transforms.  The gradients must be those at x.

    Returns
    -------
    State

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or a value outside its domain; the message names the argument.

    Notes
    -----
    A projection needs all coordinates, so with a domain a sparse gradient costs as much as a dense one: O(n), or
    O(n log n) if the step leaves an `L1Ball` or ends in a `Simplex`.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import ClipNorm, L1, init, update
    >>> x = {"w": np.ones(3), "b": np.zeros(1)}
    >>> state = init(x, lr=0.5, transforms=(ClipNorm(1.0),), penalty=L1(1e-3))
    >>> for _ in range(50):
    ...     x, state = update(x, {"w": 2 * x["w"], "b": x["b"]}, state)
    >>> bool(np.abs(x["w"]).max() < 0.1)
    True
    """
    leaves = _list_arrays(x)
    if has_row_step(rule):
        raise ValueError(
            f"rule: {type(rule).__name__} needs the loss of a row, so only fit_linear supports it; use Adagrad(…) here"
        )
    check_group_penalty(penalty, duplicates, leaves)
    scales = None if lr_scale is None else align(x, lr_scale, "lr_scale")
    _check.boolean("ledger", ledger)
    state = State(leaves, Options(rule, lr, transforms, penalty, average, scales, duplicates, sparse_decay, domain))
    if ledger:
        state.ledger = new_ledger(state, leaves)
        state._refresh()
    return state


def _list_arrays(x):
    """Return [(path, array)] of all arrays in x; those that are not on a device as ndarrays of a supported dtype."""
    leaves = []
    for path, leaf in walk(x):
        leaves.append((path, leaf if arrays.is_device_array(leaf) else _check.parameter_array(path, leaf)))
    return leaves


def load_state(path: str | os.PathLike, records: Sequence[type] = ()) -> State:
    """Read a state that `State.save` wrote.

    Parameters
    ----------
    path : str or path-like
    records : sequence of classes, optional
        User-defined record classes that the state uses.

    Returns
    -------
    State

    Raises
    ------
    ValueError
        If the file is damaged or of another kind, or if it uses an unknown record class; if an array or a number in it
        does not fit the others.  The message names it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from adagrad_nb import init, load_state, update
    >>> x, state = update(np.ones(2), np.ones(2), init(np.ones(2)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     state.save(os.path.join(folder, "state.npz"))
    ...     again = load_state(os.path.join(folder, "state.npz"))
    >>> again.t, again.slots
    (1, ((array([1., 1.]),),))
    """
    meta, file_arrays = archive.read_archive(path, _KIND)
    with archive.naming_errors(path):
        return _restore_state(meta, file_arrays, records)


def _restore_state(meta, file_arrays, records):
    """Return the state of the content of a file; raise an error that names what does not fit."""
    options = {"domain": None} | schema.entry(meta, "options", dict)  # earlier versions had no domains
    values = archive.options_from_json(options, Options._fields, file_arrays, records)
    leaves = [_leaf_from_json(entry) for entry in schema.entry(meta, "leaves", list)]
    options = Options(**values)
    check_rule_methods(options.rule)
    if options.lr_scale is not None and (
        not isinstance(options.lr_scale, tuple) or len(options.lr_scale) != len(leaves)
    ):
        raise ValueError(f"lr_scale: must have one entry for each of {len(leaves)} arrays")
    for i, (_, x) in enumerate(leaves):
        _check_size(options, i, x, file_arrays)
    check_group_penalty(options.penalty, options.duplicates, leaves)
    state = State(leaves, options)
    counts, log_decay, seed = schema.entry(meta, "counts", dict), schema.entry(meta, "decay", list), meta.get("seed")
    memory = schema.entry(meta, "memory", list) if "memory" in meta else []
    state._check_counts(counts, log_decay)
    state._check_memory(memory)
    state.counts = tuple(counts[key] for key in _COUNTER_KEYS.values()), log_decay, memory
    if "ledger" in meta:
        state.ledger = new_ledger(state, leaves)
        state.ledger.restore(schema.entry(meta, "ledger", dict), file_arrays)
        file_arrays = {name: array for name, array in file_arrays.items() if not name.startswith("ledger_")}
    state._check_arrays(file_arrays)
    for i, leaf in enumerate(state.leaves):
        leaf.set_slots(tuple(file_arrays[f"slot{k}_of_{i}"] for k in range(len(leaf.slots))))
        for name, key in _ARRAY_KEYS.items():
            setattr(leaf, name, file_arrays.get(f"{key}_of_{i}"))
    state.seed = None if seed is None else _check.count("seed", seed)
    state.iterate = file_arrays.get("iterate")
    state._refresh()
    return state


def _leaf_from_json(entry):
    """Return the path of an array and an array without memory of its shape and dtype."""
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[0], str):
        raise ValueError("leaves: an entry must be a list of path, shape and dtype")
    path, shape, name = entry
    if name not in _DTYPES:
        raise ValueError(f"{path}: got dtype {name!r}; must be one of {', '.join(_DTYPES)}")
    if not isinstance(shape, list) or len(shape) > 64:
        raise ValueError(f"{path}: the shape must be a list of at most 64 integers")
    shape = [schema.count_entry({path: n}, path, 0, _LARGEST_SIZE) for n in shape]
    if math.prod(shape) > _LARGEST_SIZE:
        raise ValueError(f"{path}: an array of shape {shape} does not fit in memory")
    if name == "bfloat16":
        importlib.import_module("ml_dtypes")  # adds it to NumPy
    return path, np.broadcast_to(np.zeros((), name), shape)


def _check_size(options, i, x, file_arrays):
    """Raise ValueError unless a file has the accumulators and the average of array i, which `State` will allocate."""
    shape = x.shape[:1] if has_row_accumulators(options.rule) else x.shape
    shapes = [shape] * len(initial_slots(options.rule))
    if has_matrices(options.rule):
        shapes = options.rule.slot_shapes(x.size)
    names = {f"slot{k}_of_{i}": shape for k, shape in enumerate(shapes)}
    if options.average is not None:
        names[f"mean_of_{i}"] = x.shape
    if options.sparse_decay == "lazy" and f"decayed_of_{i}" in file_arrays:
        names[f"decayed_of_{i}"] = x.shape[:1] if x.shape else (1,)
    elif x.shape and not x.size and max(x.shape) > _LARGEST_EMPTY:
        raise ValueError(f"leaves: array {i} has shape {x.shape}, which has no entry")
    schema.check_names(file_arrays, names, file_arrays)
    for name, shape in names.items():
        if file_arrays[name].shape != shape:
            raise ValueError(f"{name}: got shape {file_arrays[name].shape}; must have shape {shape}")
