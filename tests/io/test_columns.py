"""Columns: the record, its text and JSON, transform of tables, and hashing against scikit-learn."""

import io
import json

import numpy as np
import pytest
import reference_columns as reference
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import Columns, Hashed, Interaction, Numeric, OneHot, Text

ENTRIES = (Numeric("age", 40.0, 5.0), OneHot("job"), Hashed("ip"), Text("says", 2), Interaction(("age", "job")))
FEATURES = (("age", None), ("job", "cook"), ("job", "judge"), ("age", "(missing)"))
COLUMNS = Columns(ENTRIES, bits=4, signed=True, features=FEATURES)


def test_names_and_numbers_of_features():
    assert COLUMNS.names == ("age", "job", "ip", "says")
    assert COLUMNS.n_hashed == 16
    assert COLUMNS.n_features == 20
    assert COLUMNS.feature_names[:2] == ("hash[0]", "hash[1]")
    assert COLUMNS.feature_names[16:] == ("age", "job=cook", "job=judge", "age=(missing)")
    assert Columns((Numeric("b"), OneHot("c"), Numeric("a"))).feature_names == ("b", "a")


def test_a_mapping_is_printed():
    assert str(COLUMNS).splitlines() == [
        "4 columns, 20 features, of which 16 hashed",
        "age      numeric      minus 40, divided by 5, with missing values",
        "job      one-hot      2 categories: cook, judge",
        "ip       hashed",
        "says     text",
        "age*job  interaction",
    ]
    assert repr(COLUMNS) == "Columns(4 columns, 20 features)"
    many = Columns((OneHot("c"),), features=tuple(("c", str(k)) for k in range(9)))
    assert str(many).splitlines()[1] == "c  one-hot  9 categories: 0, 1, 2, 3, …"
    assert str(Columns()) == "0 columns, 0 features"


def test_a_mapping_does_not_change_and_is_compared_by_value():
    with pytest.raises(AttributeError):
        COLUMNS.bits = 5
    assert Columns(ENTRIES, 4, True, FEATURES) == COLUMNS
    assert hash(Columns(ENTRIES, 4, True, FEATURES)) == hash(COLUMNS)
    assert COLUMNS.with_features(FEATURES[:3]) != COLUMNS
    assert COLUMNS.is_extension_of(COLUMNS.with_features(FEATURES[:3]))
    assert not COLUMNS.is_extension_of(Columns(ENTRIES, 5, True, FEATURES))


def test_json_holds_the_whole_mapping():
    data = json.loads(json.dumps(COLUMNS.to_json()))
    assert Columns.from_json(data) == COLUMNS


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("bits"),
        lambda d: d.update(more=1),
        lambda d: d.update(bits=99),
        lambda d: d.update(signed=1),
        lambda d: d["entries"].append(3),
        lambda d: d["entries"][0].update(kind="quadratic"),
        lambda d: d["entries"][0].update(offset=float("nan")),
        lambda d: d["entries"][0].update(offset="1"),
        lambda d: d["entries"][0].update(scale=-1.0),
        lambda d: d["entries"][1].update(name=7),
        lambda d: d["entries"][1].update(max_categories=0),
        lambda d: d["entries"][4].update(names=["age"]),
        lambda d: d["entries"][4].update(names=["age", 3]),
        lambda d: d["entries"][4].update(names=["age", "x"]),
        lambda d: d["features"].append([9, "a"]),
        lambda d: d["features"].append([-1, "a"]),
        lambda d: d["features"].append([True, "a"]),
        lambda d: d["features"].append([1, "cook"]),
        lambda d: d["features"].append([1, None]),
        lambda d: d["features"].append([1, 7]),
        lambda d: d["features"].append([2, "a"]),
        lambda d: d["features"].pop(0),
        lambda d: d.update(features=3),
    ],
)
def test_damaged_json_is_refused(change):
    data = json.loads(json.dumps(COLUMNS.to_json()))
    change(data)
    with pytest.raises(ValueError, match="the description of the columns is damaged"):
        Columns.from_json(data)


@pytest.mark.parametrize("data", [None, 3, [], {}, "x"])
def test_other_json_is_refused(data):
    with pytest.raises(ValueError, match="the description of the columns is damaged"):
        Columns.from_json(data)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (Numeric("a"), "columns: got 'a'; entries are records"),
        ("a", "columns: got 'a'; must be a tuple of entries"),
        (("a",), "columns: got 'a'; entries are records of the types Numeric, OneHot"),
        ((Numeric(3),), "columns: got the name 3; must be a string"),
        ((Numeric("a"), OneHot("a")), "columns: 'a' occurs twice"),
        ((OneHot("a", 0),), "max_categories: got 0"),
        ((Text("a", 9),), "ngrams: got 9; must be at most 8"),
        ((Text("a", 0),), "ngrams: got 0"),
        (
            (Text("a"), Text("b"), Interaction(("a", "b"))),
            "interactions: got 'a'; must be a numeric, one-hot or hashed",
        ),
        ((Numeric("a", np.inf),), "offset of a: got inf"),
        ((Numeric("a", 0.0, 0.0),), "scale of a: got 0.0"),
    ],
)
def test_entries_are_checked(entries, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Columns(entries)


# --- tables --------------------------------------------------------------------------------------------------------

TABLE = {
    "says": ["free Call", None, "call free call"],
    "job": ["judge", " cook ", "pilot"],
    "age": [30.5, None, 40.0],
    "more": [1, 2, 3],
    "ip": ["a", None, ""],
}


def test_transform_equals_the_reference():
    pytest.importorskip("pyarrow")
    kinds = {"age": ("numeric", (40.0, 5.0)), "job": ("one_hot", 99), "ip": ("hashed", None), "says": ("text", 2)}
    mapping = reference.Mapping(COLUMNS.names, kinds, [("age", "job")], bits=4, signed=True)
    mapping.features = list(COLUMNS.feature_names[16:])
    rows = [[TABLE[name][k] or None for name in COLUMNS.names] for k in range(3)]
    rows[1][1] = "cook"
    expected = np.zeros((3, 20))
    for r, row in enumerate(mapping.transform(rows, add=False)):
        for name, value in row.items():
            expected[r, name if isinstance(name, int) else 16 + mapping.features.index(name)] = value
    X = COLUMNS.transform(TABLE)
    assert_allclose(X.toarray(), expected, rtol=1e-15)
    assert X.has_sorted_indices
    assert COLUMNS.transform(TABLE, dtype=np.float32).dtype == np.float32


def test_one_row_may_be_a_dict_of_values():
    pytest.importorskip("pyarrow")
    columns = Columns((Numeric("age"), OneHot("job")), features=(("age", None), ("job", "cook")))
    assert_array_equal(columns.transform({"age": 30, "job": "cook"}).toarray(), [[30, 1]])


def test_errors_of_transform():
    pytest.importorskip("pyarrow")
    columns = Columns((Numeric("age"), OneHot("job")))
    with pytest.raises(ValueError, match="table: has no column 'job', which the model needs; the columns are 'age'"):
        columns.transform({"age": [1]})
    with pytest.raises(ValueError, match="column 'age': got 'old' in a numeric column; correct it, or declare"):
        columns.transform({"age": ["1", "old"], "job": ["a", "b"]})
    with pytest.raises(TypeError, match="Columns.transform: got int; must be a data frame"):
        columns.transform(3)
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="table: the column 'age' occurs 2 times"):
        columns.transform(pa.table([[1], [2], ["a"]], names=["age", "age", "job"]))
    with pytest.raises(ValueError, match=r"column 'job': has the type list<.*>; give it strings"):
        columns.transform({"age": [1], "job": [["a"]]})


def test_without_pyarrow_the_remedy_is_named(python):
    source = """
import sys
sys.modules["pyarrow"] = None
from adagrad_nb import Columns, Numeric, read_arrow, read_csv, read_parquet
print(Columns((Numeric("a"),)).n_features)
for call in (lambda: Columns((Numeric("a"),)).transform({"a": [1]}), lambda: read_csv("x"), lambda: read_arrow({}),
             lambda: read_parquet("x")):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    lines = python(source).splitlines()
    assert lines[0] == "1"
    assert [line.split(" needs ")[0] for line in lines[1:]] == [
        "Columns.transform", "read_csv", "read_arrow", "read_parquet",
    ]  # fmt: skip
    assert all("pip install 'adagrad_nb[arrow]'" in line for line in lines[1:])


# --- hashing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
def test_hashed_columns_equal_scikit_learns_feature_hasher(signed):
    pytest.importorskip("pyarrow")
    FeatureHasher = pytest.importorskip("sklearn.feature_extraction").FeatureHasher
    rng = np.random.default_rng(0)
    table = {name: [f"é{k}" for k in rng.integers(50, size=30)] for name in ("a", "b")}
    X = Columns((Hashed("a"), Hashed("b")), bits=6, signed=signed).transform(table)
    hasher = FeatureHasher(64, alternate_sign=signed)
    expected = hasher.transform([dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)])
    assert_array_equal(X.toarray(), expected.toarray())


@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_words_equal_those_of_scikit_learns_hashing_vectorizer(ngrams):
    pytest.importorskip("pyarrow")
    HashingVectorizer = pytest.importorskip("sklearn.feature_extraction.text").HashingVectorizer
    rng = np.random.default_rng(ngrams)
    words = ["Free", "now", "é", "you're", "7", "b_c", "…", "win!!"]
    texts = [" ".join(rng.choice(words, size=rng.integers(0, 9))) for _ in range(40)]
    X = Columns((Text("t", ngrams),), bits=20).transform({"t": texts})
    peer = HashingVectorizer(
        n_features=2**20, norm=None, alternate_sign=False, ngram_range=(1, ngrams), token_pattern=r"(?u)\b\w+\b"
    )
    analyze = peer.build_analyzer()
    peer.set_params(analyzer=lambda text: [f"t={gram}" for gram in analyze(text)])
    difference = X - peer.transform(texts)
    assert abs(difference).max() == 0


def test_collisions_are_reported():
    pytest.importorskip("pyarrow")
    table = {"ip": [f"v{k}" for k in range(40)], "age": [1.0] * 40, "job": ["a"] * 40, "says": ["hi you"] * 40}
    names = COLUMNS.hashed_names(table)
    assert set(names) <= set(range(16))
    flat = [name for found in names.values() for name in found]
    assert len(flat) == len(set(flat)) == 40 + 3 + 1
    assert {"says=hi", "says=hi you", "age*job=a", "ip=v7"} <= set(flat)
    assert all(abs(reference.murmur3(name)) % 16 == index for index, found in names.items() for name in found)
    assert any(len(found) > 1 for found in names.values())


def test_readers_share_the_mapping():
    pytest.importorskip("pyarrow")
    from adagrad_nb import read_csv

    [chunk] = read_csv(io.BytesIO(b"age,job,ip,says,y\n30.5,judge,a,free call,1\n"), columns=COLUMNS, header=True)
    assert_array_equal(chunk.X.toarray(), COLUMNS.transform(TABLE)[[0]].toarray())
