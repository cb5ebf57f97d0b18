"""read_arrow and read_parquet: types of columns, data frames, streams, and the same results as read_csv."""

import datetime
import decimal
import io
from importlib.util import find_spec

import numpy as np
import pytest
import reference_columns as reference
from numpy.testing import assert_array_equal
from table_problems import random_table, to_csv

from adagrad_nb import Numeric, OneHot, fit_linear, read_arrow, read_csv, read_parquet

pa = pytest.importorskip("pyarrow")


def single(table, **options):
    """Return (chunk, reader) of a table with one chunk."""
    reader = read_arrow(table, **options)
    [chunk] = reader
    return chunk, reader


# --- the same results from every format ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_formats_give_the_same_chunks(seed):
    from pyarrow import parquet

    rng = np.random.default_rng(seed)
    names, _, rows = random_table(rng, 60)
    labels = [str(rng.choice(["no", "yes"])) for _ in rows]
    text = to_csv(rng, [*names, "y"], [[*row, y] for row, y in zip(rows, labels, strict=True)])
    csv = read_csv(io.BytesIO(text.encode()), header=True, delimiter=",", chunk_bytes=200)
    chunks = list(csv)
    columns = {name: [row[k] for row in rows] for k, name in enumerate(names)}
    for entry in csv.columns.entries:
        if type(entry).__name__ == "Numeric":
            columns[entry.name] = [None if cell is None else float(cell) for cell in columns[entry.name]]
    table = pa.table(columns | {"y": labels})
    file = io.BytesIO()
    parquet.write_table(table, file, row_group_size=17)
    for reader in (
        read_arrow(table, chunk_rows=7), read_parquet(file, chunk_rows=13),
        read_arrow(table.to_pandas() if find_spec("pandas") else table),
        read_arrow(pa.Table.from_batches(table.to_batches(9)), chunk_rows=11),
    ):  # fmt: skip
        parts = list(reader)
        assert reader.columns == csv.columns
        width = reader.n_features
        assert_array_equal(np.concatenate([chunk.y for chunk in parts]), labels)
        assert_array_equal(_stacked(parts, width), _stacked(chunks, width))
        assert reader.position == reader.size == 60


def _stacked(chunks, width):
    rows = []
    for chunk in chunks:
        for begin, end in zip(chunk.X.indptr[:-1], chunk.X.indptr[1:], strict=True):
            row = np.zeros(width)
            row[chunk.X.indices[begin:end]] = chunk.X.data[begin:end]
            rows.append(row)
    return np.array(rows)


def test_a_model_is_the_same_from_csv_and_parquet(tmp_path):
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    x, c = rng.normal(5, 2, 500), rng.choice(list("abcdef"), 500)
    y = x + (c == "a") > 5
    text = "x,c,y\n" + "".join(f"{a!r},{b},{int(t)}\n" for a, b, t in zip(x.tolist(), c.tolist(), y, strict=True))
    (tmp_path / "a.csv").write_text(text)
    parquet.write_table(pa.table({"x": x, "c": c, "y": y.astype(int)}), tmp_path / "a.parquet")
    a = fit_linear(read_csv(tmp_path / "a.csv", chunk_bytes=1000))
    b = fit_linear(read_parquet(tmp_path / "a.parquet", chunk_rows=99))
    assert a.coef.tobytes() == b.coef.tobytes()
    assert a.progressive_loss == b.progressive_loss < 0.6


# --- types of columns ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "names", "expected"),
    [
        (pa.array([1, 2], pa.int8()), ["c"], [[1], [2]]),
        (pa.array([1, 2**63], pa.uint64()), ["c"], [[1], [2.0**63]]),
        (pa.array([1.5, float("nan")], pa.float32()), ["c", "c=(missing)"], [[1.5, 0], [0, 1]]),
        (pa.array(np.array([1.5, 2], np.float16)), ["c"], [[1.5], [2]]),
        (pa.array([True, None]), ["c", "c=(missing)"], [[1, 0], [0, 1]]),
        (pa.array([decimal.Decimal("1.25"), None]), ["c", "c=(missing)"], [[1.25, 0], [0, 1]]),
        (pa.array([None, None]), ["c=(missing)"], [[1], [1]]),
        (pa.array(["u", None]), ["c=u", "c=(missing)"], [[1, 0], [0, 1]]),
        (pa.array(["u ", ""]), ["c=u", "c=(missing)"], [[1, 0], [0, 1]]),
        (pa.array(["u", "v"], pa.large_string()), ["c=u", "c=v"], [[1, 0], [0, 1]]),
        (pa.array(["u", "v"], pa.string_view()), ["c=u", "c=v"], [[1, 0], [0, 1]]),
        (pa.array(["u", None]).dictionary_encode(), ["c=u", "c=(missing)"], [[1, 0], [0, 1]]),
        (pa.array([3, 4]).dictionary_encode(), ["c=3", "c=4"], [[1, 0], [0, 1]]),
        (pa.array([3.0, 4.5]).dictionary_encode(), ["c=3", "c=4.5"], [[1, 0], [0, 1]]),
    ],
)
def test_types_of_columns(values, names, expected):
    chunk, reader = single(pa.table({"c": values, "y": [0, 1]}))
    assert list(reader.feature_names) == names
    assert_array_equal(chunk.X.toarray(), expected)
    same, _ = single(pa.table({"c": values, "y": [0, 1]}), columns=reader.columns)
    assert_array_equal(same.X.toarray(), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1], [2]], r"column 'c': has the type list<.*>; convert it, or leave it out: columns=\{'c': 'ignore'\}"),
        ([{"a": 1}, {"a": 2}], "column 'c': has the type struct<a: int64>; convert it"),
        ([b"a", b"b"], "column 'c': has the type binary; convert it"),
        ([datetime.date(2020, 1, 1)] * 2, r"column 'c': has dates or times \(date32.*\); declare it"),
        ([datetime.datetime(2020, 1, 1)] * 2, r"column 'c': has dates or times \(timestamp.*\); declare it"),
        ([datetime.timedelta(1)] * 2, r"column 'c': has dates or times \(duration.*\); declare it"),
        ([1.0, float("inf")], "row 1: column 'c': got inf; numbers must be finite"),
    ],
)
def test_types_without_a_mapping_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        single(pa.table({"c": values, "y": [0, 1]}))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([datetime.date(1970, 1, 3), None], [[2, 0], [0, 1]]),
        ([datetime.datetime(1970, 1, 2, 12), None], [[1.5, 0], [0, 1]]),
        ([datetime.time(6), None], [[0.25, 0], [0, 1]]),
        ([datetime.timedelta(hours=36), None], [[1.5, 0], [0, 1]]),
    ],
)
def test_declared_dates_and_times_are_days(values, expected):
    chunk, _ = single(pa.table({"c": values, "y": [0, 1]}), columns={"c": "numeric"})
    assert_array_equal(chunk.X.toarray(), expected)
    chunk, _ = single(pa.table({"c": values, "y": [0, 1]}), columns={"c": "one_hot"})
    assert_array_equal(chunk.X.toarray(), np.eye(2))


def test_a_declared_category_of_numbers():
    chunk, reader = single({"c": [1.0, None, 2.5, 1.0], "y": [0, 1, 0, 1]}, columns={"c": "one_hot"})
    assert reader.feature_names == ("c=1", "c=(missing)", "c=2.5")
    assert chunk.X.toarray().argmax(axis=1).tolist() == [0, 1, 2, 0]


def test_labels_of_any_type():
    assert single({"x": [1, 2], "y": [True, False]})[0].y.tolist() == [True, False]
    assert single({"x": [1, 2], "y": pa.array(["a", "b"]).dictionary_encode()})[0].y.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="row 1: column 'y': the label is missing"):
        single({"x": [1, 2], "y": ["a", None]})
    with pytest.raises(ValueError, match="row 1: column 'y': the label is missing"):
        single({"x": [1, 2], "y": [1.0, None]})
    with pytest.raises(ValueError, match=r"column 'y': has the type list<.*>; labels must be"):
        single({"x": [1, 2], "y": [[1], [2]]})


# --- data frames and streams ---------------------------------------------------------------------------------------


def test_pandas_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"x": [1.5, np.nan], "n": pd.array([1, None], "Int64"), "s": ["u", None], "c": pd.Categorical(["v", "w"]),
         "o": [True, False], 7: [3, 4], "y": [0, 1]},
        index=["first", "second"],
    )  # fmt: skip
    chunk, reader = single(frame)
    assert reader.feature_names == (
        "x",
        "n",
        "o",
        "7",
        "s=u",
        "c=v",
        "x=(missing)",
        "n=(missing)",
        "s=(missing)",
        "c=w",
    )
    assert_array_equal(chunk.X.toarray(), [[1.5, 1, 1, 3, 1, 1, 0, 0, 0, 0], [0, 0, 0, 4, 0, 0, 1, 1, 1, 1]])
    frame = pd.DataFrame({"m": [1, "a"], "y": [0, 1]})
    with pytest.raises(ValueError, match="column 'm': has values of the types int, str; convert the column"):
        single(frame)


@pytest.mark.parametrize("options", [{}, {"dtype": float}, {"dtype": int}, {"sparse": True}, {"dtype": "uint8"}])
def test_frames_of_dummies(options):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": [1.0, 2.0, 1.0], "c": ["u", "v", "u"]})
    dummies = pd.get_dummies(frame, **options)
    if options == {"dtype": int}:  # as after a concatenation with other frames
        dummies = dummies.astype(object)
    y = [0, 1, 1]
    expected = [[1, 1, 0], [2, 0, 1], [1, 1, 0]]
    chunk, _ = single(dummies.assign(y=y))
    assert_array_equal(chunk.X.toarray(), expected)
    model = fit_linear(dummies, y)
    assert_array_equal(model.coef, fit_linear(np.array(expected, float), y).coef)
    assert_array_equal(model.predict(dummies), model.predict(np.array(expected, float)))


def test_polars_frames():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {"x": [1.5, None], "s": ["u", None], "c": pl.Series(["v", "w"], dtype=pl.Categorical), "y": [0, 1]}
    )
    chunk, reader = single(frame)
    assert reader.feature_names == ("x", "s=u", "c=v", "x=(missing)", "s=(missing)", "c=w")
    assert_array_equal(chunk.X.toarray(), [[1.5, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    assert [chunk.y.tolist() for _ in range(2) for chunk in read_arrow(frame)] == [[0, 1]] * 2


def test_a_record_batch_reader_is_read_once():
    table = pa.table({"x": [1.0, 2.0, 3.0], "y": [0, 1, 0]})
    reader = read_arrow(table.to_reader(1))
    assert [chunk.y.tolist() for chunk in reader] == [[0], [1], [0]]
    with pytest.raises(ValueError, match="can be read only once; pass a Table"):
        list(reader)


def test_an_object_with_an_arrow_stream():
    class Source:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table({"s": ["u", "v"], "y": [0, 1]}).__arrow_c_stream__(requested_schema)

    reader = read_arrow(Source())
    assert [chunk.y.tolist() for _ in range(2) for chunk in reader] == [[0, 1]] * 2
    assert reader.name == "<Source>"


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match="read_arrow: got list; must be a data frame, an Arrow table"):
        read_arrow([[1, 2]])


def test_offset_and_scale_are_those_of_the_first_8192_rows():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(7, 1, 8192), rng.normal(100, 1, 2000)])
    for chunk_rows in (1000, 10**6):
        reader = read_arrow(pa.table({"x": x, "y": np.zeros(x.size)}), chunk_rows=chunk_rows)
        next(iter(reader))
        [entry] = reader.columns.entries
        assert entry[1:] == reference.found_scaling(x[:8192].tolist())


# --- Parquet -------------------------------------------------------------------------------------------------------


def test_parquet_files(tmp_path):
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"s": ["u", "v", "u"], "w": [1.0, 2.0, 3.0], "y": [0, 1, 1]}), path)
    reader = read_parquet(path, weight="w", columns={"s": OneHot("s", 1)}, chunk_rows=2)
    chunks = list(reader)
    assert reader.feature_names == ("s=u", "s=(other)")
    assert [chunk.weight.tolist() for chunk in chunks] == [[1, 2], [3]]
    assert (reader.size, reader.position) == (3, 3)
    assert str(path) in repr(reader)
    with open(path, "rb") as file:
        assert [chunk.y.tolist() for _ in range(2) for chunk in read_parquet(file, weight="w")] == [[0, 1, 1]] * 2
    data = path.read_bytes()
    for damaged in (b"PAR1", data[:-9], b"x,y\n1,2\n", data[:4] + bytes(len(data) - 12) + data[-8:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a.parquet: is not a Parquet file, or damaged"):
            list(read_parquet(path))
    with pytest.raises(FileNotFoundError):
        list(read_parquet(tmp_path / "none"))


def test_several_parquet_files(tmp_path):
    from pyarrow import parquet

    tables = [
        pa.table({"x": [1, 2], "b": [5, 6], "y": [0, 1], "c": ["u", "v"]}),
        pa.table({"y": [1.0], "c": ["v"], "more": [9], "x": [2.5], "b": [5]}),
        pa.table({"x": [4, None], "b": [5, 6], "y": [0, 1], "c": pa.array(["w", "u"]).dictionary_encode()}),
    ]
    for k, table in enumerate(tables):
        parquet.write_table(table, tmp_path / f"part-{k}.parquet")
    expected = [[1, 1, 0, 0, 0], [2, 0, 1, 0, 0], [2.5, 0, 1, 0, 0], [4, 0, 0, 1, 0], [0, 1, 0, 0, 1]]
    for label in (2, "y"):
        reader = read_parquet(str(tmp_path / "*.parquet"), label=label, columns={"b": "ignore", "x": Numeric("x")})
        for _ in range(2):
            chunks = list(reader)
            rows = np.vstack([np.pad(X, ((0, 0), (0, 5 - X.shape[1]))) for X in (c.X.toarray() for c in chunks)])
            names = list(reader.feature_names)
            order = [names.index(name) for name in ("x", "c=u", "c=v", "c=w", "x=(missing)")]
            assert rows[:, order].tolist() == expected
            assert np.concatenate([chunk.y for chunk in chunks]).tolist() == [0, 1, 1, 0, 1]
        assert reader.size == reader.position == 5
        assert reader.name.endswith("part-0.parquet and 2 more")
    parquet.write_table(pa.table({"x": [1], "y": [None], "b": [1], "c": ["u"]}), tmp_path / "part-3.parquet")
    with pytest.raises(ValueError, match=r"part-3.parquet:row 0: column 'y': the label is missing"):
        list(read_parquet(str(tmp_path / "*.parquet"), label="y"))
