"""Names of hashed columns, and their collisions."""

import io
import itertools

import numpy as np
import pytest

from adagrad_nb import load_vw, read_text, read_vw


def names_of(raw, **options):
    file = read_vw(io.BytesIO(raw), keep_names=True, **{"bits": 18, **options})
    chunks = list(file)
    assert list(file)  # a second pass adds nothing
    columns = {int(column) for chunk in chunks for column in chunk.X.indices}
    assert columns <= set(file.hashed_names)
    return file.hashed_names


def column_of(feature, **options):
    X, _, _ = load_vw(io.BytesIO(b"1 " + feature), **{"bits": 18, **options})
    return X.indices.tolist()


@pytest.mark.parametrize("hashing", ["strings", "all"])
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_names_of_features(hashing, chunk_bytes):
    raw = b"1 |user age:3 city:Paris :2 :3|ad:2 x 17 :1\n2 |user age |ad y|user :9\n0 | a bc:z \xc3\xa9 \xff\n"
    names = names_of(raw, hash=hashing, chunk_bytes=chunk_bytes)
    expected = {
        "user^age": b"|user age", "user^city=Paris": b"|user city:Paris", "user^:0": b"|user :1", "ad^x": b"|ad x",
        "ad^17": b"|ad 17", "ad^:0": b"|ad :1", "ad^y": b"|ad y", "a": b"| a", "bc=z": b"| bc:z",
        "é": b"| \xc3\xa9", "\\xff": b"| \xff",
    }  # fmt: skip
    for name, feature in expected.items():
        assert names[column_of(feature, hash=hashing)[0]] == [name]
    assert names.n_names == len(expected) + 1
    assert names[max(column_of(b"|user :1 :1", hash=hashing))] == ["user^:1"]
    assert names.collisions == {}
    assert names.report(2**18) == "12 names in 12 of 262144 columns, no collisions"


def test_names_of_pairs_and_of_the_constant():
    raw = b"1 |a x y |b z\n"
    names = names_of(raw, quadratic=("ba", "aa"), constant=True)
    assert sorted(itertools.chain(*names.values())) == sorted(
        ["Constant", "a^x", "a^y", "b^z", "a^x*b^z", "a^y*b^z", "a^x*a^x", "a^x*a^y", "a^y*a^y"]
    )
    assert names[11650396 % 2**18] == ["Constant"]


def test_collisions():
    words = [f"w{k}" for k in range(100)]
    names = names_of(("1 |a " + " ".join(words)).encode(), bits=5)
    assert sorted(itertools.chain(*names.values())) == sorted(f"a^{word}" for word in words)
    for column, some in names.items():
        for name in some:
            assert column_of(f"|a {name[2:]}".encode(), bits=5) == [column]
    assert names.n_names == 100
    assert names.collisions == {column: some for column, some in names.items() if len(some) > 1} != {}
    first = min(names.collisions)
    report = names.report(32)
    assert f"{100 - len(names)} collisions ({1 - len(names) / 100:.2%} of the names)" in report
    assert f"such as {first}: {names[first][0]!r}, " in report


def test_names_of_words():
    raw = "1\tÉcole de Paris\n2\tde Paris, é.é.\n".encode()
    for chunk_bytes in (1, 1 << 20):
        file = read_text(io.BytesIO(raw), keep_names=True, chunk_bytes=chunk_bytes)
        columns = np.unique(np.concatenate([chunk.X.indices for chunk in file]))
        assert sorted(file.hashed_names) == columns.tolist()
        assert sorted(itertools.chain(*file.hashed_names.values())) == ["de", "de paris", "paris", "école", "école de"]
    assert read_text(io.BytesIO(raw)).hashed_names is None


def test_names_need_hashing():
    with pytest.raises(ValueError, match="keep_names: is only for hashed features; pass bits=18 too"):
        read_vw(io.BytesIO(b"1 |a 1"), keep_names=True)
    with pytest.raises((TypeError, ValueError), match="keep_names: got 1"):
        read_text(io.BytesIO(b"1 |a 1"), keep_names=1)
