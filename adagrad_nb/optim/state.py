"""What an optimiser remembers: the options, checked once, the accumulators, the step count and the average."""

import importlib

import numpy as np

from .. import _check
from ..compiler.jit import cast
from ..cuda import arrays as device
from ..io import archive
from ..records.gates import is_gate
from ..records.schedules import Constant, Rates, at
from . import lazy_decay
from .device_leaf import DeviceLeaf
from .leaf import Leaf
from .options import Options
from .small_arrays import group_small_arrays
from .trees import align, walk

_COUNTERS = ("t", "n_micro_steps", "n_pending", "n_skipped", "n_good_steps", "scale")
# Names of counters and optional arrays in a file; those of version 0.1.0, whose files must load.
_COUNTER_KEYS = dict(zip(_COUNTERS, ("t", "arrived", "pending", "skipped", "good", "scale"), strict=True))
_ARRAY_KEYS = {"mean": "mean", "accumulated": "gathered", "applied_log_decay": "decayed"}
_KIND = "state"


class State:
    """The whole truth about a run, but for the iterate itself.

    Made by `init`, moved by `update`; drivers return one as ``res.state``.

    Attributes
    ----------
    rule, lr, transforms, penalty, average, lr_scale, duplicates, sparse_decay
        The options, as given to `init`.
    t : int
        Updates made so far; the schedule's next argument.
    micro : int
        Gradients that arrived so far; more than `t` where `Accumulate` gathers them.
    scale : float
        What to multiply the next loss with, where one of the transforms is `LossScale`; else 1.
    slots : tuple
        For each array of x, in the order of its containers, the tuple of the rule's accumulators, each of the
        shape of that array; of `RowAdagrad` with one entry per row.
    means : tuple
        For each array of x the average of the iterates, or None without averaging.

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
        "counts_micro_steps",
        "log_decay",
        "has_device_arrays",
        "iterate",
        "leaves",
        "fast_leaf",
        "seed",
        *Options._fields,
        *_COUNTERS,
    )

    def __init__(self, leaves, options):
        for name, value in zip(Options._fields, options.validate(leaves), strict=True):
            setattr(self, name, value)
        self.t = self.n_micro_steps = self.n_pending = self.n_skipped = self.n_good_steps = 0
        self.scale = next((item.initial for item in self.transforms if hasattr(item, "grow")), 1.0)
        self.counts_micro_steps = any(getattr(item, "counts", "updates") == "micro-steps" for item in self.transforms)
        self.iterate = self.seed = None
        scales = self.lr_scale or [None] * len(leaves)
        self.leaves = [
            (DeviceLeaf if device.is_device_array(array) else Leaf)(path, array, self, scale)
            for (path, array), scale in zip(leaves, scales, strict=True)
        ]
        self.log_decay = [0.0] * len(self.leaves)
        if self.sparse_decay == "lazy":
            lazy_decay.init_lazy_decay(self)
        if self.average is not None:
            for leaf, (_, array) in zip(self.leaves, leaves, strict=True):
                leaf.mean = leaf.init_mean(array)
        self._refresh()

    def _refresh(self):
        """Note which arrays step together, and whether `update` may take its short way: one vector, nothing special."""
        self.array_groups = group_small_arrays(self.leaves, self)
        self.has_device_arrays = any(leaf.on_device for leaf in self.leaves)
        leaf = self.leaves[0] if len(self.leaves) == 1 else None
        is_plain_vector = (
            leaf is not None
            and len(leaf.shape) == 1
            and not leaf.on_device
            and not leaf.needs_reduction
            and leaf.group_size == 1
        )
        self.fast_leaf = leaf if is_plain_vector and leaf.constant_lr is not None and self.average is None else None
        if leaf is not None and leaf.applied_log_decay is not None:
            self.fast_leaf = None

    @property
    def micro(self):
        """Gradients that were let in so far: updates, or more where they are gathered."""
        return self.t if self.is_compilable else self.n_micro_steps

    @property
    def schedule_step(self):
        """What schedules count."""
        return self.micro if self.counts_micro_steps else self.t

    @property
    def is_compilable(self):
        """Whether a compiled loop can make the steps: no gate decides about them."""
        return not any(is_gate(item) for item in self.transforms)

    @property
    def counts(self):
        return tuple(getattr(self, name) for name in _COUNTERS), tuple(self.log_decay)

    @counts.setter
    def counts(self, value):
        for name, number in zip(_COUNTERS, value[0], strict=True):
            setattr(self, name, number)
        self.log_decay = list(value[1])

    @property
    def slots(self):
        return tuple(leaf.slots for leaf in self.leaves)

    @property
    def means(self):
        return tuple(leaf.mean for leaf in self.leaves)

    def lr_at(self, t):
        """The learning rate of update t: a float or an array."""
        if isinstance(self.lr, Rates):
            raise TypeError("state: its model learnt at several rates side by side; say which one with lr=…")
        if hasattr(self.lr, "_fields"):
            return at(self.lr, t)
        if callable(self.lr):
            return _check.in_interval(f"lr({t})", self.lr(t), "[0, inf)")
        return self.lr

    def schedule(self):
        """The learning rate as a record, for compiled loops; None where it is a Python function or gives arrays."""
        if isinstance(self.lr, Constant):
            return Constant(self.leaves[0].cast_lr(self.lr.lr))
        if hasattr(self.lr, "_fields"):
            if self.lr_scale is not None:
                return None
            return cast(self.lr, np.float64) if np.ndim(self.lr_at(self.t)) == 0 else None
        return None if callable(self.lr) else Constant(self.leaves[0].constant_lr)

    def _with_options(self, x, **options):
        """A copy that goes on from here with other options."""
        current = {name: getattr(self, name) for name in Options._fields}
        new = State(_list_arrays(x), Options(**(current | options)))
        if len(new.leaves) != len(self.leaves):
            raise ValueError(f"state: it was made for {len(self.leaves)} arrays; got {len(new.leaves)}")
        for leaf, old in zip(new.leaves, self.leaves, strict=True):
            if (leaf.shape, leaf.dtype, len(leaf.slots)) != (old.shape, old.dtype, len(old.slots)):
                raise ValueError(
                    f"state: it was made for {old.dtype} of shape {old.shape} and {len(old.slots)} accumulators; "
                    f"{leaf.path} is {leaf.dtype} of shape {leaf.shape} and the rule has {len(leaf.slots)}"
                )
            old = old.copy()
            leaf.set_slots(old.slots)
            if leaf.mean is not None and old.mean is not None:
                leaf.mean = old.mean
            if leaf.accumulated is not None or old.accumulated is not None:
                leaf.accumulated = old.accumulated
        new.counts, new.seed = self.counts, self.seed
        new._refresh()
        return new

    def copy(self, without_slots=False):
        """A state with the same content and arrays of its own, without accumulators yet if `without_slots`."""
        new = object.__new__(State)
        for name in State.__slots__:
            setattr(new, name, getattr(self, name))
        grouped = {i for group in self.array_groups for i in group.members}
        new.leaves = [leaf.copy(without_slots=without_slots or i in grouped) for i, leaf in enumerate(self.leaves)]
        new.array_groups = [group.copy(new.leaves) for group in self.array_groups]
        new.fast_leaf = None if self.fast_leaf is None else new.leaves[0]
        new.log_decay = list(self.log_decay)
        new.iterate = None if self.iterate is None else self.leaves[0].copy_array(self.iterate)
        return new

    def copy_from(self, other):
        """Take over the content of another state of the same shapes, in place."""
        for name in (*Options._fields, "counts_micro_steps", "iterate", "seed"):
            setattr(self, name, getattr(other, name))
        self.counts = other.counts
        for mine, theirs in zip(self.leaves, other.leaves, strict=True):
            fresh = theirs.copy()
            for name in set(Leaf.__slots__) - {"path", "shape", "size", "slots", "flat_slots"}:
                setattr(mine, name, getattr(fresh, name))
            mine.set_slots(fresh.slots)
        self._refresh()

    def save(self, path):
        """Write options, accumulators, counts and averages, so that a run can go on in another process.

        Parameters
        ----------
        path : str or path-like
            Replaced in one move: it holds the old file or all of the new one.

        Raises
        ------
        ValueError
            If the learning rate is a Python function or an array is on a device.
        """
        if callable(self.lr):
            raise ValueError("lr: a Python function cannot be saved; use a schedule record such as InverseSqrt(1.0)")
        if any(leaf.on_device for leaf in self.leaves):
            raise ValueError("state: arrays on a device cannot be saved; copy x to the host and begin a state there")
        arrays = {} if self.iterate is None else {"iterate": self.iterate}
        for i, leaf in enumerate(self.leaves):
            arrays |= {f"slot{k}_of_{i}": slot for k, slot in enumerate(leaf.slots)}
            optional_arrays = {key: getattr(leaf, name) for name, key in _ARRAY_KEYS.items()}
            arrays |= {f"{key}_of_{i}": array for key, array in optional_arrays.items() if array is not None}
        meta = {
            "options": {name: archive.to_json(getattr(self, name), arrays) for name in Options._fields},
            "leaves": [[leaf.path, list(leaf.shape), leaf.dtype.name] for leaf in self.leaves],
            "counts": {key: getattr(self, name) for name, key in _COUNTER_KEYS.items()},
            "decay": self.log_decay,
            "seed": self.seed,
        }
        archive.write_archive(path, _KIND, meta, arrays)

    def __repr__(self):
        arrays = ", ".join(f"{leaf.path}: {leaf.dtype}{list(leaf.shape)}" for leaf in self.leaves[:4])
        more = ", …" if len(self.leaves) > 4 else ""
        return f"State({self.rule}, lr={self.lr}, t={self.t}, {arrays}{more})"


def init(
    x, rule=None, *, lr=0.5, transforms=(), penalty=None, average=None, lr_scale=None, duplicates="merge",
    sparse_decay="touched",
):  # fmt: skip
    """Check the options and allocate the state of an optimiser of x.

    Parameters
    ----------
    x : array, device array, or nested dict, list or tuple of them
        float32, float64, complex64, complex128, float16 or bfloat16; integers count as float64.  Of 16-bit arrays
        the accumulators and the average are float32.
    rule : rule record, default Adagrad()
    lr : float, ndarray, schedule record or callable, default 0.5
        The learning rate: a number in [0, inf), an array of the shape of x, a record such as ``InverseSqrt(1.0)``
        or any function of t = 0, 1, 2, …
    transforms : tuple of transform records
        Applied to the gradient in this order.
    penalty : penalty record, optional
        Handled by its proximal step after each step of the loss.  Entries of array-valued strengths follow the
        coordinates of x in C order, real and imaginary parts as two.
    average : averaging record, optional
        Keep a running average of the iterates in ``state.means``.
    lr_scale : number, array or containers of them like x, optional
        What the learning rate of each array is multiplied with: a number, or one for each coordinate; in [0, inf).
    duplicates : {"merge", "mean", "sequential", "simultaneous", "atomic"}, default "merge"
        What is done with coordinates, or rows, that a sparse gradient lists more than once.  "merge" sums them
        first (PyTorch, TensorFlow), "mean" averages them (DGL), "sequential" makes a step for each (FBGEMM's CPU
        kernel), "simultaneous" adds their squares apart and then makes one step by their sum (Keras with TensorFlow).
        "atomic" is "merge", but on a device the sums are taken in whatever order they happen, without a sort: faster,
        for 8 bytes of memory a coordinate or row, and rounded differently each time.
    sparse_decay : {"touched", "whole", "lazy", "refuse"}, default "touched"
        What `L2Decay` and `DecoupledDecay` do where the gradient is sparse: decay what it lists (FBGEMM), all of x
        (Keras), all of x but each row only when it is next met (then see `catch_up`), or raise an error (PyTorch).

    Returns
    -------
    State

    Raises
    ------
    TypeError, ValueError
        For an option of the wrong kind or out of its domain; the message names the field.

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
    scales = None if lr_scale is None else align(x, lr_scale, "lr_scale")
    return State(leaves, Options(rule, lr, transforms, penalty, average, scales, duplicates, sparse_decay))


def _list_arrays(x):
    """The (path, array) of everything in x."""
    return [
        (path, leaf if device.is_device_array(leaf) else _check.parameter_array(path, leaf)) for path, leaf in walk(x)
    ]


def load_state(path, records=()):
    """Read a state that `State.save` wrote.

    Parameters
    ----------
    path : str or path-like
    records : sequence of classes, optional
        Records of your own that the state uses.

    Returns
    -------
    State

    Raises
    ------
    ValueError
        If the file is damaged, of another kind, or uses a record that is not known.

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
    meta, arrays = archive.read_archive(path, _KIND)
    options = {name: archive.from_json(value, arrays, records) for name, value in meta["options"].items()}
    blanks = [(path_, np.zeros(shape, _dtype_from_name(dtype))) for path_, shape, dtype in meta["leaves"]]
    state = State(blanks, Options(**options))
    for i, leaf in enumerate(state.leaves):
        leaf.set_slots(tuple(arrays[f"slot{k}_of_{i}"] for k in range(len(leaf.slots))))
        for name, key in _ARRAY_KEYS.items():
            setattr(leaf, name, arrays.get(f"{key}_of_{i}"))
    state.counts = tuple(meta["counts"][key] for key in _COUNTER_KEYS.values()), meta["decay"]
    state.seed, state.iterate = meta["seed"], arrays.get("iterate")
    state._refresh()
    return state


def _dtype_from_name(name):
    """The dtype of that name; bfloat16 is known once ml_dtypes has been imported."""
    if name == "bfloat16":
        importlib.import_module("ml_dtypes")
    return np.dtype(name)
