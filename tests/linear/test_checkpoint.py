"""Checkpoints: interrupted training goes on with the same bits, and files that do not fit are refused."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.sparse as sp

from adagrad_nb import (
    L1,
    RDA,
    Checkpoint,
    Chunk,
    EarlyStopping,
    OnlineToBatch,
    Polyak,
    RateSearch,
    fit_linear,
    load_model,
)
from adagrad_nb.io import archive

pytestmark = pytest.mark.usefixtures("interpreted")  # a checkpoint does not depend on how kernels run
ROWS, N_CHUNKS = 12, 5


def make_chunks(kind="signs", n_chunks=N_CHUNKS, seed=0):
    """Return chunks of sparse rows; the later ones have more features."""
    rng = np.random.default_rng(seed)
    chunks = []
    for k in range(n_chunks):
        X = sp.random_array((ROWS, 6 + k), density=0.5, rng=rng, format="csr")
        score = np.asarray(X.sum(axis=1)).ravel() - 1 + 0.1 * rng.normal(size=ROWS)
        y = {"signs": score > 0, "numbers": 100 + score, "classes": np.array(["a", "b", "c"])[np.arange(ROWS) % 3]}
        chunks.append(Chunk(X, y[kind], rng.choice([0.0, 1.0, 3.0], ROWS)))
    return chunks


def content(model):
    """Return all that determines a model, as bytes."""
    arrays = {name: (array.shape, array.tobytes()) for name, array in model._arrays().items()}
    return arrays | {"n": model.n_seen, "t": model.parameters.t, "losses": model.pass_losses}


class Stop(Exception):
    pass


class Interrupted:
    """Chunks, of which an iteration raises after so many chunks of all passes."""

    def __init__(self, chunks, n_chunks):
        self.chunks, self.left = chunks, n_chunks

    def __iter__(self):
        for chunk in self.chunks:
            if not self.left:
                raise Stop
            self.left -= 1
            yield chunk


CASES = {
    "default": {},
    "search": {"lr": RateSearch((0.1, 0.3, 1.0, 3.0), halve_at=(20, 70))},
    "L1": {"lr": 0.5, "penalty": L1(0.01)},
    "average": {"lr": 0.5, "average": Polyak(7)},
    "average before": {"lr": 0.5, "average": OnlineToBatch(), "penalty": L1(0.01)},
    "normalized": {"lr": 0.5, "normalized": True, "invariant": True},
    "batch": {"lr": 0.5, "batch_size": 5},
    "RDA": {"lr": 0.5, "rule": RDA(), "penalty": L1(0.01)},
    "shuffle": {"shuffle": True, "rng": 3},
    "numbers": {"loss": "squared"},
    "classes": {"classes": ["a", "b", "c"]},
    "class weight": {"class_weight": {True: 2.0}},
    "early stopping": {"early_stopping": EarlyStopping(n_iter_no_change=1, tol=0.0), "rng": 1},
    "recent": {"lr": 3.0, "early_stopping": EarlyStopping("recent", n_iter_no_change=1)},
    "threads": {"lr": 0.5, "threads": 2},
    "float32": {"dtype": np.float32, "lr": 0.5, "ledger": True},
}


@pytest.mark.parametrize("n_chunks", [1, 4, 5, 8, 14])
@pytest.mark.parametrize("name", CASES)
def test_an_interrupted_training_goes_on_with_the_same_bits(name, n_chunks, tmp_path):
    options = CASES[name] | {"passes": 3}
    chunks = make_chunks({"numbers": "numbers", "classes": "classes"}.get(name, "signs"))
    whole = fit_linear(chunks, **options)
    path = tmp_path / "training.npz"
    with contextlib.suppress(Stop):
        fit_linear(Interrupted(chunks, n_chunks), checkpoint=Checkpoint(path, seconds=0), **options)
    options.pop("rng", None)
    assert content(fit_linear(chunks, resume=path, **options)) == content(whole)


def test_a_training_may_be_interrupted_twice(tmp_path):
    chunks, options = make_chunks(), {"passes": 2, "shuffle": True}
    path = tmp_path / "training.npz"
    with pytest.raises(Stop):
        fit_linear(Interrupted(chunks, 3), checkpoint=Checkpoint(path, seconds=0), rng=5, **options)
    with pytest.raises(Stop):
        fit_linear(Interrupted(chunks, 7), checkpoint=Checkpoint(path, seconds=0), resume=path, **options)
    resumed = fit_linear(chunks, resume=path, checkpoint=path, **options)
    assert content(resumed) == content(fit_linear(chunks, rng=5, **options))


def test_checkpoints_are_written_when_due(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(archive, "write_archive", lambda path, kind, meta, arrays: saved.append(meta["position"][:2]))
    fit_linear(make_chunks(), checkpoint=Checkpoint(tmp_path / "a", rows=2 * ROWS), passes=2)
    assert saved == [[0, 1], [0, 3], [0, 5], [1, 2], [1, 4]]
    saved.clear()
    fit_linear(make_chunks(), checkpoint=tmp_path / "a", passes=2)
    assert saved == [[0, 1]]


def test_a_callback_ends_training_after_the_chunk(tmp_path):
    chunks, path = make_chunks(), tmp_path / "training.npz"

    def stop(progress):
        if progress.n_seen >= ROWS + 4:
            raise StopIteration

    model = fit_linear(chunks, callback=stop, checkpoint=path)
    assert model.n_seen == 2 * ROWS
    assert content(fit_linear(chunks, resume=path)) == content(fit_linear(chunks))


ERRORS = {
    "passes: got 3, but the training began with 2; pass this": {"passes": 3},
    "shuffle: got True, but the training began with False": {"shuffle": True},
    r"lr: got 0.25, but the training began with 0.5; pass this, or leave it out": {"lr": 0.25},
    "penalty: got L1": {"penalty": L1(0.1)},
    "ledger: got True, but the training began with False": {"ledger": True},
    "dtype: got dtype": {"dtype": np.float32},
    "average: got Polyak": {"average": Polyak()},
    "threads: got 2, but": {"threads": 2},
    "class_weight: got": {"class_weight": {True: 2.0}},
    "early_stopping: got": {"early_stopping": True},
}


@pytest.mark.parametrize("message", ERRORS)
def test_other_arguments_are_refused(message, tmp_path):
    path = tmp_path / "training.npz"
    fit_linear(make_chunks(), checkpoint=path, lr=0.5, passes=2)
    with pytest.raises(ValueError, match=f"training.npz: {message}"):
        fit_linear(make_chunks(), resume=path, **{"lr": 0.5, "passes": 2} | ERRORS[message])


def test_other_data_is_refused(tmp_path):
    path = tmp_path / "training.npz"
    chunks = make_chunks()
    fit_linear(chunks, checkpoint=Checkpoint(path, seconds=0))
    with pytest.raises(ValueError, match="^X: the rows differ from those of the checkpoint"):
        fit_linear(make_chunks(seed=1), resume=path)
    with pytest.raises(ValueError, match="^X: has 2 chunks, but there were 5 before the checkpoint"):
        fit_linear(chunks[:2], resume=path)
    model = fit_linear(chunks[0])
    with pytest.raises(ValueError, match="model: got a model with resume"):
        fit_linear(chunks, resume=path, model=model)


def test_other_files_are_refused(tmp_path):
    model = fit_linear(make_chunks())
    model.save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="holds a linear model, not a training checkpoint"):
        fit_linear(make_chunks(), resume=tmp_path / "model.npz")
    fit_linear(make_chunks(), checkpoint=tmp_path / "training.npz")
    with pytest.raises(ValueError, match="holds a training checkpoint, not a linear model"):
        load_model(tmp_path / "training.npz")
    with pytest.raises(FileNotFoundError, match="checkpoint: the directory .* does not exist; create it first"):
        fit_linear(make_chunks(), checkpoint=tmp_path / "no" / "training.npz")
    with pytest.raises(TypeError, match=r"^checkpoint: got 3; must be a file name or Checkpoint\(…\)"):
        fit_linear(make_chunks(), checkpoint=3)
    with pytest.raises(ValueError, match=r"^Checkpoint.seconds: got -1"):
        fit_linear(make_chunks(), checkpoint=Checkpoint("x", seconds=-1))


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, monkeypatch):
    path, chunks = tmp_path / "training.npz", make_chunks()
    fit_linear(chunks[:2], checkpoint=Checkpoint(path, seconds=0))
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match="No space left"):
        fit_linear(chunks, checkpoint=Checkpoint(path, seconds=0))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["training.npz"]


def error_of(chunks, path, options):
    """Return the message of the error of a resumed training, or None."""
    try:
        fit_linear(chunks, resume=path, **options)
    except ValueError as error:
        return str(error)
    return None


def test_damaged_checkpoints_are_refused(tmp_path):
    """At every offset of the header, and at random ones of the rest."""
    path, chunks = tmp_path / "training.npz", make_chunks()
    options = {"early_stopping": EarlyStopping(n_iter_no_change=5), "passes": 2, "rng": 0}
    fit_linear(chunks, checkpoint=Checkpoint(path, seconds=0), **options)
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in [*range(128), *rng.choice(len(sound), 200, replace=False)]:
        damaged = bytearray(sound)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        assert "training.npz: " in (error_of(chunks, path, options) or "accepted"), position
    for length in rng.choice(len(sound), 50, replace=False):
        path.write_bytes(sound[:length])
        with pytest.raises(ValueError, match=r"training\.npz: "):
            fit_linear(chunks, resume=path, **options)


POSITIONS = [[-1, 0, 0], [0, 1], [0, 1.5, 0], ["a", 0, 0], 3]


@pytest.mark.parametrize("position", POSITIONS, ids=str)
def test_a_position_that_is_none_is_refused(position, tmp_path):
    path = tmp_path / "training.npz"
    fit_linear(make_chunks(), checkpoint=path)
    meta, arrays = archive.read_archive(path, "training checkpoint")
    archive.write_archive(path, "training checkpoint", meta | {"position": position}, arrays)
    with pytest.raises(ValueError, match="position: "):
        fit_linear(make_chunks(), resume=path)


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_checkpoint import make_chunks
from adagrad_nb import Checkpoint, fit_linear
class Slow(list):
    def __iter__(self):
        for chunk in list.__iter__(self):
            print("chunk", flush=True)
            time.sleep(0.005)
            yield chunk
fit_linear(Slow(make_chunks(n_chunks=20)), lr=0.5, checkpoint=Checkpoint({path!r}, seconds=0), passes=3)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_killed_process_leaves_a_checkpoint(tmp_path):
    """SIGKILL at random moments, resumed each time."""
    path = str(tmp_path / "training.npz")
    script = SCRIPT.format(tests=str(pathlib.Path(__file__).parent), path=path)
    whole = content(fit_linear(make_chunks(n_chunks=20), lr=0.5, passes=3))
    rng = np.random.default_rng(0)
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
        for _ in range(3):
            assert process.stdout.readline()
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert content(fit_linear(make_chunks(n_chunks=20), lr=0.5, resume=path, passes=3)) == whole
