"""Checkpoints of `fit_linear`: files from which an interrupted training goes on, with the same bits.

A checkpoint is written between two chunks.  It holds the model, the best model of early stopping, the losses of the
present pass, the arguments of the call, and the position: the pass and the number of its chunks so far, with a checksum
of their targets.
"""

from __future__ import annotations

import os
import time
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _check
from ..io import archive, schema
from ..io.schema import ArrayField
from .model import options_equal
from .model_file import model_from_content

if TYPE_CHECKING:
    from ..io.readers import Chunk
    from .model import LinearModel
    from .trainer import Trainer

FILE_KIND = "training checkpoint"
SETTINGS = ("passes", "shuffle", "threads", "early_stopping", "classes", "class_weight")


class Checkpoint(NamedTuple):
    """File and frequency of the checkpoints of `fit_linear`.

    A checkpoint is written after the first chunk, and then between two chunks when it is due.  The file is replaced
    atomically, so a process that is killed leaves the last one.  Rows in memory are a single chunk: pass a reader or a
    list of chunks.

    Parameters
    ----------
    path : str or path-like
        File name.
    seconds : float, default 60.0
        Time between two checkpoints, in [0, inf].
    rows : int, optional
        Number of rows between two checkpoints, whatever the time.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from adagrad_nb import Checkpoint, Chunk, fit_linear
    >>> rng = np.random.default_rng(0)
    >>> chunks = [Chunk(X, X[:, 0] > 0) for X in rng.normal(size=(9, 100, 3))]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "training.npz")
    ...     model = fit_linear(chunks, checkpoint=Checkpoint(path, rows=300))
    ...     resumed = fit_linear(chunks, resume=path)
    >>> bool(np.all(resumed.coef == model.coef)), resumed.n_seen
    (True, 900)
    """

    path: Any
    seconds: float = 60.0
    rows: int | None = None

    domain = {"seconds": "[0, inf]"}

    def check(self) -> None:
        """Raise TypeError or ValueError for options outside their domain."""
        if not isinstance(self.path, (str, os.PathLike)):
            raise TypeError(f"Checkpoint.path: got {_check.shorten_repr(self.path)}; must be a file name")
        if self.rows is not None:
            _check.positive_count("Checkpoint.rows", self.rows)


def as_checkpoint(value: Any) -> Checkpoint | None:
    """Return the argument `checkpoint` of `fit_linear` as a checked record, or None."""
    if value is None:
        return None
    if not isinstance(value, Checkpoint):
        if not isinstance(value, (str, os.PathLike)):
            raise TypeError(f"checkpoint: got {_check.shorten_repr(value)}; must be a file name or Checkpoint(…)")
        value = Checkpoint(value)  # type: ignore[call-arg]
    _check.field_domains(value)
    folder = os.path.dirname(os.path.abspath(value.path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"checkpoint: the directory {folder} does not exist; create it first")
    return value


class Checkpointer:
    """Writes the checkpoints of a call of `fit_linear`, and continues from one.

    Parameters
    ----------
    checkpoint : Checkpoint or None
    trainer : Trainer
    settings : dict
        Arguments of the call that must be the same when training goes on, by the names in `SETTINGS`.
    shuffle_seed : int or None
        Seed of the random orders of the rows.

    Attributes
    ----------
    pass_index : int
        Pass in which training begins.
    shuffle_seed : int or None
        Seed of the call or, after `resume`, that of the file.
    """

    def __init__(
        self, checkpoint: Checkpoint | None, trainer: Trainer, settings: dict[str, Any], shuffle_seed: int | None
    ) -> None:
        self.checkpoint, self.trainer, self.settings = checkpoint, trainer, settings
        self.shuffle_seed, self.pass_index = shuffle_seed, 0
        self._n_to_skip, self._wanted_checksum = 0, 0  # chunks of the first pass before the position of the file
        self._n_skipped = 0
        self._checksum = 0  # of the targets of the present pass so far
        self._saved_at: float | None = None
        self._saved_rows = 0
        trainer.finishes_chunks = checkpoint is not None

    # --- position ----------------------------------------------------------------------------------------------------

    def skips(self, chunk: Chunk, pass_index: int, chunk_index: int) -> bool:
        """Return whether a chunk was trained on before the checkpoint; raise ValueError if it is another one."""
        if pass_index > self.pass_index or chunk_index >= self._n_to_skip:
            return False
        self._add_checksum(chunk)
        self._n_skipped += 1
        if self._n_skipped == self._n_to_skip and self._checksum != self._wanted_checksum:
            raise ValueError(
                "X: the rows differ from those of the checkpoint; resume with the same data, in chunks of the same size"
            )
        return True

    def end_chunk(self, chunk: Chunk, pass_index: int, chunk_index: int, is_last: bool) -> None:
        """Save a checkpoint after a chunk, if it is due or the last one."""
        if self.checkpoint is None:
            return
        self._add_checksum(chunk)
        n_seen, now = self.trainer.model.n_seen, time.monotonic()
        _, seconds, rows = self.checkpoint
        is_due = self._saved_at is None or now - self._saved_at >= seconds
        if is_last or is_due or (rows is not None and n_seen - self._saved_rows >= rows):
            self._save(pass_index, chunk_index + 1)
            self._saved_at, self._saved_rows = time.monotonic(), n_seen

    def end_reading(self, pass_index: int, n_chunks: int) -> None:
        """Save a checkpoint when reading is interrupted after `n_chunks` chunks of a pass."""
        is_trained = pass_index > self.pass_index or n_chunks > self._n_to_skip
        if self.checkpoint is not None and is_trained and self.trainer.model.n_seen != self._saved_rows:
            self._save(pass_index, n_chunks)

    def end_pass(self, pass_index: int) -> None:
        """Begin the checksum of the next pass; raise ValueError if the pass ended before the position of the file."""
        if pass_index == self.pass_index and self._n_skipped < self._n_to_skip:
            raise ValueError(
                f"X: has {self._n_skipped} chunks, but there were {self._n_to_skip} before the checkpoint; resume with "
                "the same data, in chunks of the same size"
            )
        self._checksum = 0

    def _add_checksum(self, chunk):
        shape = repr(tuple(chunk.X.shape)).encode()
        y = np.asarray(chunk.y) if isinstance(chunk.y, (np.ndarray, list, tuple)) else np.empty(0)  # not of devices
        content = repr(y.tolist()).encode() if y.dtype.hasobject else np.ascontiguousarray(y).tobytes()
        self._checksum = zlib.crc32(content, zlib.crc32(shape, self._checksum))

    # --- files -------------------------------------------------------------------------------------------------------

    def _save(self, pass_index, n_chunks):
        trainer = self.trainer
        meta: dict[str, Any] = {
            "position": [pass_index, n_chunks, self._checksum],
            "settings": self.settings,
            "shuffle_seed": self.shuffle_seed,
            "passes": trainer.passes,
        }
        arrays = {"later_sums": trainer.later_sums, "sums_before_pass": trainer.sums_before_pass}
        models = {"model": trainer.model}
        monitor = trainer.early_stopping
        if monitor is not None:
            best = [monitor.best_loss] if monitor.best_model is not None else []
            meta["monitor"] = {
                "seed": monitor.seed, "best_loss": best, "pass_losses": monitor.pass_losses,
                "n_bad_passes": monitor.n_bad_passes,
            }  # fmt: skip
            arrays["validation_sums"] = monitor.validation_sums
            models |= {"best": monitor.best_model} if best else {}
        for name, model in models.items():
            meta[name], own = model._to_content()
            arrays |= {f"{name}.{key}": array for key, array in own.items()}
        archive.write_archive(self.checkpoint.path, FILE_KIND, meta, arrays)

    def resume(self, path: str | os.PathLike, options: dict[str, Any]) -> None:
        """Set the trainer and the position to those of a file.

        Raises
        ------
        ValueError
            If the file is damaged, or was written by a call with other arguments.
        """
        meta, arrays = archive.read_archive(path, FILE_KIND)
        with archive.naming_errors(path):
            self._check_settings(schema.entry(meta, "settings", dict))
            self._restore(meta, arrays, options)

    def _check_settings(self, saved):
        if set(saved) != set(SETTINGS):
            raise ValueError(f"settings: got {sorted(saved)}; must be {sorted(SETTINGS)}")
        for name, value in self.settings.items():
            if saved[name] != value:
                raise ValueError(f"{name}: got {value}, but the training began with {saved[name]}; pass this")

    def _restore(self, meta, arrays, options):
        trainer, records = self.trainer, [type(value) for value in options.values() if hasattr(value, "_fields")]
        if trainer.model is not None:
            raise ValueError("model: got a model with resume, which has its own; leave model out")

        def read_model(name):
            own = {key.removeprefix(f"{name}."): arrays.pop(key) for key in list(arrays) if key.startswith(f"{name}.")}
            return model_from_content(schema.entry(meta, name, dict), own, records)

        model = read_model("model")
        check_same_options(model, options)
        monitor, fields = trainer.early_stopping, ["later_sums", "sums_before_pass"]
        if monitor is not None:
            saved = schema.entry(meta, "monitor", dict)
            best = schema.entry(saved, "best_loss", list)
            losses = schema.entry(saved, "pass_losses", list)
            if len(best) > 1 or not all(schema.is_number(loss) for loss in (*best, *losses)):
                raise ValueError(f"monitor: got the losses {best} and {losses}; must be numbers")
            monitor.seed = schema.count_entry(saved, "seed", high=2**63)
            monitor.n_bad_passes = schema.count_entry(saved, "n_bad_passes")
            monitor.pass_losses = losses
            if best:
                monitor.best_model, monitor.best_loss = read_model("best"), best[0]
            fields.append("validation_sums")
        schema.check_names(arrays, fields)
        for name in fields:
            size = {"later_sums": model.loss_sums.size, "validation_sums": 2}.get(name, arrays[name].size)
            schema.check_array(name, arrays[name], ArrayField((size,), np.dtype(np.float64), None))
        trainer.restore_model(model)
        trainer.later_sums, trainer.sums_before_pass = arrays["later_sums"], arrays["sums_before_pass"]
        if monitor is not None:
            monitor.validation_sums = arrays["validation_sums"]
        trainer.passes = schema.count_entry(meta, "passes")
        trainer.baseline = None  # it has not seen the rows before
        position = schema.entry(meta, "position", list)
        if len(position) != 3 or not all(type(number) is int and 0 <= number < 2**53 for number in position):
            raise ValueError(f"position: got {_check.shorten_repr(position)}; must be three numbers")
        self.pass_index, self._n_to_skip, self._wanted_checksum = position
        seed = meta.get("shuffle_seed")
        if (seed is None) == self.settings["shuffle"] or not (seed is None or (type(seed) is int and seed >= 0)):
            raise ValueError(f"shuffle_seed: got {_check.shorten_repr(seed)}; must be a seed")
        self.shuffle_seed = seed


def check_same_options(model: LinearModel, options: dict[str, Any]) -> None:
    """Raise ValueError for options that differ from those of the model of a checkpoint."""
    own = {name: getattr(model.parameters.state, name) for name in ("rule", "lr", "penalty")}
    own |= {"intercept": model.has_intercept, "ledger": model.has_ledger}
    for name, value in options.items():
        saved = own[name] if name in own else getattr(model, name)
        if name == "loss" and type(saved) is not type(value):
            continue  # several classes: the loss follows from the given one
        if not options_equal(value, saved):
            raise ValueError(
                f"{name}: got {value!r}, but the training began with {saved!r}; pass this, or leave it out"
            )
