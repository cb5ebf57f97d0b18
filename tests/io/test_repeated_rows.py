"""Arrays most of whose rows are equal: small files with the same bits, and damaged parts are refused by name."""

import json

import numpy as np
import pytest
import scipy.sparse as sp

from adagrad_nb import L1, fit_linear, load_model
from adagrad_nb.io import archive
from adagrad_nb.io.repeated_rows import pack, unpack

RNG = np.random.default_rng(0)


def mostly(value, shape, dtype, n_other=100):
    array = np.full(shape, value, dtype)
    rows = RNG.choice(shape[0], n_other, replace=False)
    array[rows] = RNG.normal(size=(n_other, *shape[1:])).astype(dtype)
    return array


ARRAYS = {
    "zeros": np.zeros(5000),
    "vector": mostly(0, (5000,), np.float64),
    "negative zero": np.where(mostly(0, (5000,), np.float64) == 0, -0.0, 1.0),
    "signed zeros": np.where(np.arange(5000) % 50 == 0, -0.0, 0.0),
    "nan": mostly(np.nan, (5000,), np.float32),
    "complex": mostly(0.5j, (5000, 2), np.complex128),
    "table": mostly(0.1, (70_000, 2, 3), np.float32, 2000),
    "integers": mostly(3, (5000,), np.int64),
    "bytes": mostly(3, (5000, 1), np.uint8),
    "columns of a table": mostly(0.1, (5000, 2, 3), np.float64)[:, 1],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_the_bits_are_the_same(name):
    array = ARRAYS[name]
    packed, n_rows = pack({"w": array})
    assert n_rows == {"w": array.shape[0]}
    assert sum(part.nbytes for part in packed.values()) < array.nbytes / 3
    found = unpack(packed, n_rows)["w"]
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize(
    "array",
    [np.zeros(4095), np.arange(5000.0), np.zeros((5000, 0)), np.float64(3.0), np.where(np.arange(5000) % 2, 1.0, 0.0)],
    ids=["few rows", "all different", "empty rows", "number", "two values"],
)
def test_other_arrays_are_stored_as_they_are(array):
    packed, n_rows = pack({"w": np.asarray(array)})
    assert not n_rows
    assert packed["w"] is array or np.array_equal(packed["w"], array)


def test_rows_that_the_sample_does_not_show():
    """All different rows are in one place, between the rows of the sample."""
    array = np.zeros(100_000)
    array[1:40_000:2] = 1.0
    packed, n_rows = pack({"w": array})
    assert np.array_equal(unpack(packed, n_rows)["w"], array)


DAMAGE = {
    "the number of rows is not one": lambda parts, n: n.update(w=-1),
    "the number of rows is not one ": lambda parts, n: n.update(w=True),
    "must be stored once": lambda parts, n: parts.pop("w.repeated"),
    "must be stored once ": lambda parts, n: parts.update(w=np.zeros(3)),
    "do not fit together": lambda parts, n: parts.update({"w.values": np.zeros(3)}),
    "do not fit together ": lambda parts, n: parts.update({"w.repeated": np.zeros(())}),
    "do not fit together  ": lambda parts, n: parts.update({"w.rows": parts["w.rows"].astype(np.float64)}),
    "do not fit together   ": lambda parts, n: parts.update({"w.repeated": np.float32(parts["w.repeated"])}),
    "must increase and be smaller than": lambda parts, n: parts["w.rows"].__setitem__(0, parts["w.rows"][1]),
    "must increase and be smaller than ": lambda parts, n: n.update(w=int(parts["w.rows"][-1])),
    "more than 68719476736 bytes": lambda parts, n: n.update(w=2**50),
}


@pytest.mark.parametrize("sentence", DAMAGE)
def test_parts_that_do_not_fit_are_refused(sentence):
    packed, n_rows = pack({"w": mostly(0, (5000, 2), np.float64)})
    DAMAGE[sentence](packed, n_rows)
    with pytest.raises(ValueError, match=f"^w: .*{sentence.strip()}"):
        unpack(packed, n_rows)


def wide_rows(n_features=2**20):
    columns = RNG.choice(n_features, (50, 20)).astype(np.int32)
    X = sp.csr_array((RNG.normal(size=1000), columns.ravel(), np.arange(0, 1001, 20)), shape=(50, n_features))
    X.sum_duplicates()
    return X, np.arange(50) % 2


@pytest.mark.parametrize("options", [{"lr": 0.5}, {"lr": 0.5, "penalty": L1(1e-3)}], ids=["plain", "L1"])
def test_a_wide_model_is_a_small_file(options, tmp_path):
    X, y = wide_rows()
    model = fit_linear(X, y, **options)
    model.save(tmp_path / "model.npz")
    assert (tmp_path / "model.npz").stat().st_size < 60_000
    loaded = load_model(tmp_path / "model.npz")
    for name, array in model._arrays().items():
        assert loaded._arrays()[name].tobytes() == array.tobytes(), name


def test_the_checksum_covers_the_number_of_rows(tmp_path):
    path = tmp_path / "model.npz"
    fit_linear(*wide_rows(), lr=0.5).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(arrays["meta"].tobytes())
    assert meta["format"] == 2
    meta["n_rows"] = dict.fromkeys(meta["n_rows"], 2**20 + 1)
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="the checksum does not match"):
        load_model(path)


def test_a_file_without_repeated_rows_has_the_first_version(tmp_path):
    archive.write_archive(tmp_path / "a.npz", "test", {}, {"w": np.arange(5000.0)})
    with np.load(tmp_path / "a.npz") as file:
        assert json.loads(file["meta"].tobytes())["format"] == 1
