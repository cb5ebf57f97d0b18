"""What an optimiser remembers: the options, checked once, the accumulators, the step count and the average."""

import numpy as np

from . import _check, archive, device
from ._jit import cast
from .averaging import weight
from .leaf import Leaf
from .penalties import NoPenalty
from .rules import Adagrad
from .schedules import Constant, at
from .trees import rebuild, walk

_OPTIONS = ("rule", "lr", "transforms", "penalty", "average")
_KIND = "state"


class State:
    """The whole truth about a run, but for the iterate itself.

    Made by `init`, moved by `update`; drivers return one as ``res.state``.

    Attributes
    ----------
    rule, lr, transforms, penalty, average
        The options, as given to `init`.
    t : int
        Updates made so far; the schedule's next argument.
    slots : tuple
        For each array of x, in the order of its containers, the tuple of the rule's accumulators, each of the
        shape of that array.
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

    __slots__ = ("average", "iterate", "leaves", "lr", "penalty", "quick", "rule", "seed", "t", "transforms")

    def __init__(self, x, rule, lr, transforms, penalty, average):
        self.rule, self.lr, self.transforms, self.average = rule, lr, transforms, average
        self.penalty = NoPenalty() if penalty is None else penalty
        self.t = 0
        self.iterate = self.seed = None
        self.leaves = [Leaf(path, leaf, self) for path, leaf in walk(x)]
        self.prepare()

    def prepare(self):
        """Note the common case that `update` takes a short way through: one vector, nothing but a rule and a rate."""
        leaf = self.leaves[0] if len(self.leaves) == 1 else None
        plain = leaf is not None and len(leaf.shape) == 1 and not leaf.on_device and not leaf.whole
        self.quick = leaf if plain and leaf.fixed is not None and self.average is None else None

    @property
    def slots(self):
        return tuple(leaf.slots for leaf in self.leaves)

    @property
    def means(self):
        return tuple(leaf.mean for leaf in self.leaves)

    def rate(self, t):
        """The learning rate of update t: a float or an array."""
        if hasattr(self.lr, "_fields"):
            return at(self.lr, t)
        if callable(self.lr):
            return _check.interval(f"lr({t})", self.lr(t), "[0, inf)")
        return self.lr

    def schedule(self):
        """The learning rate as a record, for compiled loops; None where it is a Python function or gives arrays."""
        if isinstance(self.lr, Constant):
            return Constant(self.leaves[0].rate(self.lr.lr))
        if hasattr(self.lr, "_fields"):
            return cast(self.lr, np.float64) if np.ndim(self.rate(self.t)) == 0 else None
        return None if callable(self.lr) else Constant(self.leaves[0].fixed)

    def replaced(self, x, **options):
        """A copy that goes on from here with other options."""
        current = {name: getattr(self, name) for name in _OPTIONS}
        new = init(x, **(current | options))
        if len(new.leaves) != len(self.leaves):
            raise ValueError(f"state: it was made for {len(self.leaves)} arrays; got {len(new.leaves)}")
        for leaf, old in zip(new.leaves, self.leaves, strict=True):
            if (leaf.shape, leaf.dtype, len(leaf.slots)) != (old.shape, old.dtype, len(old.slots)):
                raise ValueError(
                    f"state: it was made for {old.dtype} of shape {old.shape} and {len(old.slots)} accumulators; "
                    f"{leaf.path} is {leaf.dtype} of shape {leaf.shape} and the rule has {len(leaf.slots)}"
                )
            old = old.copy()
            leaf.hold(old.slots)
            if leaf.mean is not None and old.mean is not None:
                leaf.mean = old.mean
        new.t, new.seed = self.t, self.seed
        return new

    def share(self):
        """The weight of the iterate after this update in the average."""
        return weight(self.average, self.t)

    def copy(self):
        """A state with the same content and arrays of its own."""
        new = object.__new__(State)
        for name in State.__slots__:
            setattr(new, name, getattr(self, name))
        new.leaves = [leaf.copy() for leaf in self.leaves]
        new.prepare()
        new.iterate = None if self.iterate is None else self.iterate.copy()
        return new

    def assign(self, other):
        """Take over the content of another state of the same shapes, in place."""
        for name in ("rule", "lr", "transforms", "penalty", "average", "t", "iterate", "seed"):
            setattr(self, name, getattr(other, name))
        for mine, theirs in zip(self.leaves, other.leaves, strict=True):
            fresh = theirs.copy()
            for name in ("update", "fixed", "whole", "serial", "threaded", "rows", "mean", "entries"):
                setattr(mine, name, getattr(fresh, name))
            mine.hold(fresh.slots)
        self.prepare()

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
            if leaf.mean is not None:
                arrays[f"mean_of_{i}"] = leaf.mean
        meta = {
            "options": {name: archive.encode(getattr(self, name), arrays) for name in _OPTIONS},
            "leaves": [[leaf.path, list(leaf.shape), leaf.dtype.str] for leaf in self.leaves],
            "t": self.t,
            "seed": self.seed,
        }
        archive.write(path, _KIND, meta, arrays)

    def __repr__(self):
        arrays = ", ".join(f"{leaf.path}: {leaf.dtype}{list(leaf.shape)}" for leaf in self.leaves[:4])
        more = ", …" if len(self.leaves) > 4 else ""
        return f"State({self.rule}, lr={self.lr}, t={self.t}, {arrays}{more})"


def init(x, rule=None, *, lr=0.5, transforms=(), penalty=None, average=None):
    """Check the options and allocate the state of an optimiser of x.

    Parameters
    ----------
    x : array, device array, or nested dict, list or tuple of them
        float32 or float64; integers count as float64.
    rule : rule record, default Adagrad()
    lr : float, ndarray, schedule record or callable, default 0.5
        The learning rate: a number in [0, inf), an array of the shape of x, a record such as ``InverseSqrt(1.0)``
        or any function of t = 0, 1, 2, …
    transforms : tuple of transform records
        Applied to the gradient in this order.
    penalty : penalty record, optional
        Handled by its proximal step after each step of the loss.  Entries of array-valued strengths follow the
        coordinates of x in C order.
    average : averaging record, optional
        Keep a running average of the iterates in ``state.means``.

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
    rule = Adagrad() if rule is None else rule
    _check.record("rule", rule, ("slots", "fill", "step", "width"), "Adagrad()")
    learning_rate(lr)
    if hasattr(transforms, "_fields") or not isinstance(transforms, (tuple, list)):
        raise TypeError(f"transforms: got {transforms!r}; must be a tuple of records, such as (ClipNorm(1.0),)")
    for item in transforms:
        needs = () if hasattr(item, "factor") else ("transform",)
        _check.record("transforms", item, needs, "ClipNorm(1.0)")
    if penalty is not None:
        _check.record("penalty", penalty, ("value", "prox"), "L1(1e-4)")
    if average is not None:
        _check.record("average", average, ("weight",), "Polyak()")
    for path, leaf in walk(x):
        array = leaf if device.is_device(leaf) else _check.floating(path, leaf)
        if array.dtype not in (np.float32, np.float64):
            raise TypeError(f"{path}: got dtype {array.dtype}; must be float32 or float64 on a device")
        if penalty is not None:
            _check.penalty_shape(penalty, array.size)
    rule, lr, transforms, penalty = _owned((rule, lr, tuple(transforms), penalty))
    state = State(_as_arrays(x), rule, lr, transforms, penalty, average)
    if average is not None:
        for leaf, (_, array) in zip(state.leaves, walk(x), strict=True):
            leaf.mean = device.copy(array) if leaf.on_device else np.array(_check.floating(leaf.path, array))
    return state


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
    meta, arrays = archive.read(path, _KIND)
    options = {name: archive.decode(value, arrays, records) for name, value in meta["options"].items()}
    blanks = [np.zeros(shape, np.dtype(dtype)) for _, shape, dtype in meta["leaves"]]
    state = init(blanks, **options)
    for i, (leaf, (path_, _, _)) in enumerate(zip(state.leaves, meta["leaves"], strict=True)):
        leaf.path = path_
        leaf.hold(tuple(arrays[f"slot{k}_of_{i}"] for k in range(len(leaf.slots))))
        leaf.mean = arrays.get(f"mean_of_{i}")
    state.t, state.seed, state.iterate = meta["t"], meta["seed"], arrays.get("iterate")
    state.prepare()
    return state


def _owned(option):
    """The same option with arrays of its own: what is changed outside later has not been checked."""
    if hasattr(option, "_fields"):
        return type(option)(*(_owned(field) for field in option))
    if isinstance(option, tuple):
        return tuple(_owned(item) for item in option)
    return np.array(option) if isinstance(option, (np.ndarray, list)) else option


def _as_arrays(x):
    arrays = (leaf if device.is_device(leaf) else _check.floating(path, leaf) for path, leaf in walk(x))
    return rebuild(x, iter(list(arrays)))


def learning_rate(lr):
    """A number or array in [0, inf), a schedule record, or a function of t."""
    if hasattr(lr, "_fields"):
        _check.record("lr", lr, ("at",), "InverseSqrt(1.0)")
    elif not callable(lr):
        _check.interval("lr", lr, "[0, inf)")
    elif isinstance(lr, type):
        raise TypeError(f"lr: got the class {lr.__name__}; pass an instance, such as {lr.__name__}(…)")
