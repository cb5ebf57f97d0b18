"""Model files: save, load, and files that are rejected."""

import json
import math
import os
import pathlib
import stat
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from linear_problems import COLUMNS, STRENGTHS, X, Y, assert_same_model, fit_plain, model_values
from numpy.testing import assert_array_equal

from adagrad_nb import (
    L1,
    L2,
    Adagrad,
    Bounded,
    Box,
    ElasticNet,
    Piecewise,
    Polyak,
    Rates,
    Squared,
    fit_linear,
    load_model,
    merge,
)
from adagrad_nb.io import archive
from adagrad_nb.linear import model as linear_options

# --- files ---------------------------------------------------------------------------------------------------------


class Capped(NamedTuple):
    """A loss of one's own."""

    delta: float

    target_type = "continuous"

    def value(self, y, p):
        r = abs(p - y)
        return r * r / 2 if r < self.delta else self.delta * (r - self.delta / 2)

    def slope(self, y, p):
        return min(max(p - y, -self.delta), self.delta)

    def inverse_link(self, p):
        return p


class RidgePerFeature(NamedTuple):
    """A penalty of one's own, with an array."""

    strengths: Any

    def value(self, x, i):
        return self.strengths[i] * x * x / 2

    def prox(self, x, w, i):
        return x / (1 + w * self.strengths[i])


@pytest.fixture
def saved(tmp_path, interpreted):
    """(model, path) of a model with something in every part."""
    model = fit_linear(X, Y, penalty=ElasticNet(STRENGTHS, 0.1), lr=Piecewise((3, 9), (0.5, 0.2, 0.1)), passes=2)
    model.save(tmp_path / "model.npz")
    return model, tmp_path / "model.npz"


@pytest.mark.usefixtures("interpreted")
def test_saved_and_loaded(tmp_path):
    path = tmp_path / "model"
    for options in (
        {},
        {"dtype": np.float32, "penalty": Box(-math.inf, STRENGTHS)},
        {"intercept": False, "rule": Adagrad(0.1, True, 0.3), "lr": 1},
        {"loss": Squared(), "penalty": Bounded(L2(0.1), lower=0.0)},
    ):
        model = fit_plain(X, Y, **options)
        model.save(path)
        loaded = load_model(path)
        assert_same_model(loaded, model)
        assert loaded.loss == model.loss
        assert loaded.has_intercept == model.has_intercept
        assert linear_options.options_equal(loaded.state.penalty, model.state.penalty)
        assert loaded.state.rule == model.state.rule
        assert loaded.state.lr == model.state.lr
        assert_array_equal(loaded.decision_function(X), model.decision_function(X))
        assert loaded.progressive_loss == model.progressive_loss


@pytest.mark.usefixtures("interpreted")
def test_user_records_in_a_file(tmp_path):
    path = tmp_path / "model"
    model = fit_linear(X[:20], Y[:20], loss=Capped(0.3), penalty=RidgePerFeature(np.linspace(0.1, 1, COLUMNS)), lr=0.5)
    model.save(path)
    with pytest.raises(
        ValueError, match=r"uses the record (Capped|RidgePerFeature), which is not of this package; pass rec"
    ):
        load_model(path)
    with pytest.raises(ValueError, match="uses the record Capped"):
        load_model(path, records=[RidgePerFeature])
    loaded = load_model(path, records=(RidgePerFeature, Capped))
    assert_same_model(fit_linear(X[20:], Y[20:], model=loaded), fit_linear(X[20:], Y[20:], model=model))


def test_a_damaged_file_is_rejected(saved, tmp_path):
    """Every other byte, any length: an error that says so, or the very same model."""
    model, path = saved
    data = path.read_bytes()
    damaged = tmp_path / "other"
    harmless = 0
    flips = np.random.default_rng(0).integers(1, 256, len(data)).tolist()
    for k, flip in list(enumerate(flips))[::2]:
        damaged.write_bytes(data[:k] + bytes([data[k] ^ flip]) + data[k + 1 :])
        try:
            loaded = load_model(damaged)
        except ValueError as error:
            assert str(error).startswith(str(damaged))  # noqa: PT017 - most come here, not all
        else:
            assert model_values(loaded) == model_values(model)  # a time stamp, say
            harmless += 1
    assert harmless < len(data) / 8
    for size in range(0, len(data), 37):
        damaged.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"not a file of this package, or damaged|checksum"):
            load_model(damaged)


def test_other_files_are_rejected(saved, tmp_path):
    damaged = tmp_path / "other"
    with pytest.raises(FileNotFoundError):
        load_model(damaged)
    with pytest.raises(IsADirectoryError):
        load_model(tmp_path)
    for text in (b"", b"1 1:0.5\n", b"\x80\x04."):
        damaged.write_bytes(text)
        with pytest.raises(ValueError, match="not a file of this package, or damaged"):
            load_model(damaged)
    np.savez(tmp_path / "other.npz", w=np.zeros(3))
    with pytest.raises(ValueError, match="not a file of this package, or damaged"):
        load_model(tmp_path / "other.npz")
    np.save(tmp_path / "other.npy", np.zeros(3))
    with pytest.raises(ValueError, match="not a file of this package, or damaged"):
        load_model(tmp_path / "other.npy")
    archive.write_archive(damaged, "picture", {}, {"w": np.zeros(3)})
    with pytest.raises(ValueError, match="holds a picture, not a linear model"):
        load_model(damaged)


def test_old_spellings_of_linear_models():
    model = fit_linear(np.eye(6), np.arange(6) % 3, lr=0.5)
    scores = model.decision_function(np.eye(6))
    assert np.array_equal(model.linked(scores), model.predict_from_scores(scores))
    assert model.loss_of_margins(np.arange(6) % 3, scores) == model.loss_of_scores(np.arange(6) % 3, scores)


def test_a_file_of_a_later_version(saved):
    _, path = saved
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(arrays["meta"].tobytes()) | {"format": 99}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"has format 99; this version reads up to \d+, so upgrade"):
        load_model(path)


@pytest.mark.parametrize("step", ["write_array", "fsync", "replace"])
def test_save_is_all_or_nothing(saved, step, monkeypatch):
    """A disk that is full, at whatever moment: the old file is there, whole, and nothing beside it."""
    model, path = saved
    before = path.read_bytes()

    def write_to_full_disk(file, *args, **options):
        if step == "write_array":
            file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format if step == "write_array" else os, step, write_to_full_disk)
    with pytest.raises(OSError, match="No space left"):
        fit_linear(X, Y, lr=0.5).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert_same_model(load_model(path), model)
    fit_linear(X, Y, lr=0.5).save(path)
    assert_same_model(load_model(path), fit_linear(X, Y, lr=0.5))


def test_save_to_where_nothing_can_be(saved, tmp_path):
    model, path = saved
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "nowhere" / "model")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        model.save(tmp_path / "folder")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder", path.name]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are those of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(mask, tmp_path):
    old = os.umask(mask)
    try:
        fit_linear(X, Y, lr=0.5).save(tmp_path / "model")
        assert os.umask(mask) == mask
    finally:
        os.umask(old)
    assert stat.S_IMODE(pathlib.Path(tmp_path / "model").stat().st_mode) == 0o666 & ~mask


def test_a_name_without_suffix_or_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit_linear(X, Y, lr=0.5).save("model")
    assert [item.name for item in tmp_path.iterdir()] == ["model"]
    assert_same_model(load_model("model"), fit_linear(X, Y, lr=0.5))
    assert_same_model(load_model(pathlib.Path("model")), fit_linear(X, Y, lr=0.5))


# --- files for predictions -------------------------------------------------------------------------------------------

PREDICTION_OPTIONS = {
    "l1": {"penalty": L1(1e-2), "lr": 0.5},
    "average": {"average": Polyak(), "penalty": L2(0.1), "lr": 0.5},
    "search": {},
    "rates": {"lr": Rates((0.1, 0.5))},
    "normalized": {"normalized": True, "lr": 0.5, "intercept": False, "dtype": np.float32},
    "numbers": {"loss": "squared", "standardize_targets": True},
    "classes": {"lr": 0.5},
    "search of classes": {},
}


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", PREDICTION_OPTIONS)
def test_a_file_of_weights_predicts_with_the_same_bits(name, tmp_path):
    path, again, n_features = tmp_path / "weights", tmp_path / "again", 5000
    wide = sp.csr_array((X.data, X.indices, X.indptr), shape=(X.shape[0], n_features)) if sp.issparse(X) else X
    y = np.arange(wide.shape[0]) % 3 if "classes" in name else Y
    model = fit_linear(wide, y, **PREDICTION_OPTIONS[name])
    model.save(path, weights_only=True)
    loaded = load_model(path)
    loaded.save(again)
    for other in (loaded, load_model(again)):
        assert_array_equal(other.coef, model.coef)
        assert_array_equal(other.intercept, model.intercept)
        assert other.coef.dtype == model.coef.dtype == model.dtype
        for rows in (wide, wide[:1]):
            assert_array_equal(other.decision_function(rows), model.decision_function(rows))
            assert_array_equal(other.predict(rows), model.predict(rows))
        assert (other.n_seen, other.progressive_loss) == (model.n_seen, model.progressive_loss)
        assert other.is_weights_only
    for train in (lambda: fit_linear(wide, y, model=loaded), lambda: merge([loaded]), lambda: loaded.state):
        with pytest.raises(ValueError, match=r"has no training state, .*weights_only=True; save it with model.save"):
            train()


@pytest.mark.usefixtures("interpreted")
def test_a_file_of_weights_is_small(tmp_path):
    """Only the non-zero weights take space, 16 bytes each."""
    rng, n_features = np.random.default_rng(0), 2**16
    rows = sp.csr_array((np.ones(200), rng.integers(0, n_features, 200), np.arange(0, 201, 10)), shape=(20, n_features))
    model = fit_linear(rows, np.arange(20) % 2, lr=0.5)
    model.save(tmp_path / "weights", weights_only=True)
    assert os.path.getsize(tmp_path / "weights") < 16 * np.count_nonzero(model.coef) + 4096


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": np.zeros(3)}, "n_features: got"),
        ({"w": np.full(COLUMNS, np.nan)}, "w: "),
        ({"bias": np.zeros(2)}, "bias: got shape"),
        ({"tally": np.array([0.0, -1.0])}, "tally: "),
        ({"slot0": np.zeros(COLUMNS)}, "slot0: there is no such array"),
    ],
)
def test_a_malformed_file_of_weights_is_rejected(change, message, tmp_path):
    path = tmp_path / "weights"
    fit_linear(X, Y, lr=0.5).save(path, weights_only=True)
    meta, arrays = archive.read_archive(path, linear_options.FILE_KIND)
    archive.write_archive(path, linear_options.FILE_KIND, meta, arrays | change)
    with pytest.raises(ValueError, match=message):
        load_model(path)
