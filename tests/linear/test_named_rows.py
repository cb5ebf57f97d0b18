"""Models of tables: data frames, names of features, files, resumed training, merging and estimators."""

import io
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    CachedReader,
    Chunk,
    Columns,
    Numeric,
    OneHot,
    Text,
    fit_linear,
    load_model,
    merge,
    read_arrow,
    read_cache,
    read_csv,
    write_cache,
)  # fmt: skip
from adagrad_nb.io import archive

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")


def people(n, seed=0):
    """Return a frame of n people with numbers and strings, and labels."""
    rng = np.random.default_rng(seed)
    age, job = rng.normal(40, 10, n).round(1), rng.choice(["cook", "judge", "pilot"], n)
    frame = pd.DataFrame({"age": age, "job": job, "member": rng.random(n) < 0.5})
    frame.loc[rng.random(n) < 0.1, "age"] = np.nan
    return frame, np.where(age + 10 * (job == "judge") > 42, "rich", "poor")


def assert_same_model(a, b):
    assert a.coef.tobytes() == b.coef.tobytes()
    assert a.intercept == b.intercept
    assert a.progressive_loss == b.progressive_loss
    assert a.columns == b.columns
    for mine, theirs in zip(a.state.slots[0], b.state.slots[0], strict=True):
        assert mine.tobytes() == theirs.tobytes()


# --- data frames ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"lr": "auto"}, {"dtype": np.float32}])
def test_a_frame_is_mapped_as_by_read_arrow(options):
    frame, y = people(200)
    model = fit_linear(frame, y, **options)
    reader = read_arrow(frame.assign(y=y), dtype=options.get("dtype", np.float64))
    assert_same_model(model, fit_linear(reader, **options))
    assert model.feature_names == reader.feature_names
    assert set(model.feature_names) == {"age", "member", "age=(missing)", "job=cook", "job=judge", "job=pilot"}
    assert model.coef.shape == (6,)
    X = model.columns.transform(frame)
    assert_array_equal(model.decision_function(frame), model.decision_function(X))
    assert_array_equal(model.predict(frame), model.predict(X))
    assert_array_equal(model.predict_proba(frame), model.predict_proba(X))
    assert model.mean_loss(frame, y) == model.mean_loss(X, y) < 0.69


def test_columns_are_matched_by_name():
    frame, y = people(100)
    model = fit_linear(frame, y)
    expected = model.decision_function(frame)
    assert_array_equal(model.decision_function(frame[["member", "job", "age"]]), expected)
    assert_array_equal(model.decision_function(frame.assign(more="x")), expected)
    assert_array_equal(model.decision_function(pa.Table.from_pandas(frame)), expected)
    pl = pytest.importorskip("polars")
    assert_array_equal(model.decision_function(pl.from_arrow(pa.Table.from_pandas(frame))), expected)
    row = {"age": 30.5, "job": "judge", "member": True}
    assert_array_equal(model.decision_function(row), model.decision_function(pd.DataFrame([row])))
    with pytest.raises(ValueError, match="has no column 'job', which the model needs; the columns are 'age', 'member'"):
        model.predict(frame[["age", "member"]])


def test_categories_that_are_first_seen_in_a_prediction_have_no_feature():
    frame, y = people(100)
    model = fit_linear(frame, y)
    unknown = model.decision_function({"age": 30.0, "job": "smith", "member": True})
    member, age = (model.coef[model.feature_names.index(name)] for name in ("member", "age"))
    _, offset, scale = model.columns.entries[0]
    assert_allclose(unknown, model.intercept + member + (30 - offset) / scale * age)


def test_numeric_frames_are_trained_as_arrays_and_keep_their_names(python):
    rng = np.random.default_rng(0)
    X = rng.normal(5, 1, (50, 3))
    frame, y = pd.DataFrame(X, columns=["a", "b", "c"]), X[:, 0] > 5
    model, plain = fit_linear(frame, y), fit_linear(X, y)
    assert model.coef.tobytes() == plain.coef.tobytes()
    assert (model.feature_names, plain.feature_names) == (("a", "b", "c"), None)
    assert_array_equal(model.decision_function(frame[["c", "b", "a"]]), plain.decision_function(X))
    assert_array_equal(model.decision_function(X), plain.decision_function(X))
    with pytest.raises(ValueError, match="X: has no column 'a', which the model needs"):
        model.predict(frame[["b", "c"]])
    twice = pd.DataFrame(X, columns=["a", "a", "c"])
    assert fit_linear(twice, y).feature_names is None
    with pytest.raises(ValueError, match=r"must be finite"):
        fit_linear(frame.where(frame > 4), y)
    pl = pytest.importorskip("polars")
    assert_same_model(fit_linear(pl.DataFrame(X, schema=["a", "b", "c"]), y), model)
    source = """
import sys
sys.modules["pyarrow"] = None
import numpy as np, pandas as pd
from adagrad_nb import fit_linear
frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
model = fit_linear(frame, [0, 1])
print(model.feature_names, model.predict(frame[["b", "a"]]).tolist() == model.predict(frame).tolist())
try:
    fit_linear(pd.DataFrame({"a": np.array(["u", "v"], object)}), [0, 1])
except ImportError as error:
    print(error)
"""
    assert python(source).splitlines() == [
        "('a', 'b') True", "read_arrow needs pyarrow: pip install 'adagrad_nb[arrow]'",
    ]  # fmt: skip


# --- resumed training ----------------------------------------------------------------------------------------------


def test_training_on_a_and_then_b_equals_training_on_both(tmp_path):
    frame, y = people(300)
    frame.loc[:99, "job"] = frame.loc[:99, "job"].replace("pilot", "cook")  # first seen in the second part
    columns = Columns((Numeric("age", 40.0), OneHot("job"), Numeric("member")))
    both = fit_linear(read_arrow(frame.assign(y=y), columns=columns, new_categories="add"))
    first = fit_linear(read_arrow(frame[:100].assign(y=y[:100]), columns=columns, new_categories="add"))
    before = first.columns, first.coef
    first.save(tmp_path / "first.npz")
    loaded = load_model(tmp_path / "first.npz")
    for start in (first, loaded):
        rest = read_arrow(frame[100:].assign(y=y[100:]), columns=start.columns, new_categories="add")
        assert_same_model(fit_linear(rest, model=start), both)
        assert_same_model(fit_linear(frame[100:], y[100:], model=start), both)
    assert first.columns == before[0] != both.columns
    assert_array_equal(first.coef, before[1])


def test_other_columns_are_refused():
    frame, y = people(50)
    model = fit_linear(frame, y)
    with pytest.raises(ValueError, match="X: the mapping of its columns differs from that of the model; pass columns="):
        fit_linear(read_arrow(frame[::-1].assign(y=y)), model=model)
    with pytest.raises(ValueError, match="X: has names, but the model was trained on columns without names"):
        fit_linear(frame, y, model=fit_linear(np.eye(50), y))
    with pytest.raises(ValueError, match="X: got 9 columns without names; the model has 6 features with names"):
        fit_linear(np.ones((50, 9)), y, model=model)
    assert fit_linear(model.columns.transform(frame), y, model=model).columns == model.columns


def test_cached_rows_keep_the_columns(tmp_path):
    frame, y = people(100)
    text = frame.assign(y=y).to_csv(index=False).encode()
    expected = fit_linear(read_csv(io.BytesIO(text), chunk_bytes=200), passes=3)
    path = tmp_path / "rows.cache"
    assert_same_model(fit_linear(CachedReader(read_csv(io.BytesIO(text), chunk_bytes=200), path), passes=3), expected)
    assert_same_model(fit_linear(read_cache(path), passes=3), expected)
    write_cache([Chunk(np.eye(2), np.array([0.0, 1.0]))], path)
    assert read_cache(path).columns is None


def test_merged_models_have_the_columns():
    frame, y = people(300)
    columns = fit_linear(frame, y).columns
    parts = [fit_linear(read_arrow(frame[k::3].assign(y=y[k::3]), columns=columns), lr=0.5) for k in range(3)]
    merged = merge(parts)
    assert merged.columns == columns
    assert merged.mean_loss(frame, y) < 0.6
    with pytest.raises(ValueError, match="models: the mapping of columns number . differs from another one"):
        merge([fit_linear(frame[k::3], y[k::3], lr=0.5) for k in range(3)])


# --- files ---------------------------------------------------------------------------------------------------------


def test_files_hold_the_columns(tmp_path):
    frame, y = people(100)
    model = fit_linear(read_arrow(frame.assign(y=y), columns={"job": Text("job")}, bits=6, signed=True))
    model.save(tmp_path / "m.npz")
    loaded = load_model(tmp_path / "m.npz")
    assert loaded.columns == model.columns
    assert_array_equal(loaded.predict(frame), model.predict(frame))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda columns: columns.update(bits=0), "the description of the columns is damaged"),
        (lambda columns: columns["features"].pop(), "columns: describe 5 features; the model has 6"),
        (lambda columns: columns["entries"].pop(), "the description of the columns is damaged"),
    ],
)
def test_damaged_columns_of_a_file_are_refused(tmp_path, change, message):
    frame, y = people(100)
    path = tmp_path / "m.npz"
    fit_linear(frame, y).save(path)
    meta, arrays = archive.read_archive(path, "linear model")
    meta = json.loads(json.dumps(meta))
    change(meta["columns"])
    archive.write_archive(path, "linear model", meta, arrays)
    with pytest.raises(ValueError, match=message):
        load_model(path)


# --- estimators ----------------------------------------------------------------------------------------------------


def test_estimators_take_frames_with_strings():
    pytest.importorskip("sklearn")
    from adagrad_nb import AdagradClassifier, AdagradRegressor

    frame, y = people(300)
    classifier = AdagradClassifier(random_state=0).fit(frame, y)
    assert classifier.score(frame[["job", "member", "age"]], y) > 0.8
    assert classifier.coef_.shape == (1, 6)
    assert classifier.model_.feature_names == classifier.columns_.feature_names
    assert classifier.model_.explain(frame.iloc[[0]]).contributions
    with pytest.raises(ValueError, match="has no column 'age'"):
        classifier.predict(frame[["job", "member"]])
    again = AdagradClassifier(random_state=0)
    again.partial_fit(frame[:100], y[:100], classes=["poor", "rich"]).partial_fit(frame[100:], y[100:])
    assert again.score(frame, y) > 0.8
    regressor = AdagradRegressor(random_state=0).fit(frame, frame["job"] == "judge")
    assert regressor.score(frame, frame["job"] == "judge") > 0.5
    numeric = classifier.fit(frame[["member"]].assign(one=1.0), y)
    assert not hasattr(numeric, "columns_")
    assert numeric.feature_names_in_.tolist() == ["member", "one"]
    assert numeric.model_.columns is None


def test_further_passes_read_chunks_before_a_new_category_from_the_cache(tmp_path):
    text = b"x,job,rich\n" + b"1,cook,no\n2,judge,yes\n" * 50 + b"1,pilot,no\n3,judge,yes\n" * 50
    cached = CachedReader(read_csv(io.BytesIO(text), chunk_bytes=200), tmp_path / "rows")
    model = fit_linear(cached, passes=3)
    assert_same_model(model, fit_linear(read_csv(io.BytesIO(text), chunk_bytes=200), passes=3))
    assert model.feature_names == ("x", "job=cook", "job=judge", "job=pilot")
