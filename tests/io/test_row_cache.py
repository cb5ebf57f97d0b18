"""Binary cache of rows: the same chunks, checked bytes, and a file only after a complete pass."""

import gzip
import io
import os
import pathlib
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from adagrad_nb import CachedReader, Chunk, fit_linear, load_svmlight, read_cache, read_svmlight, write_cache
from adagrad_nb.io import row_cache

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"
TEXT = b"1 1:0.5 3:2\n-1 2:1\n\n1 1:1 7:3\n-1 5:-4\n1\n"


def make_chunks(rng, index_dtype=np.int32):
    """Return chunks of every kind."""
    chunks = []
    for k, dtype in enumerate((np.float64, np.float32, np.float64, np.float32)):
        X = sp.random_array((7, 5 + k), density=0.4, rng=rng, dtype=dtype, format="csr")
        X.indices, X.indptr = X.indices.astype(index_dtype), X.indptr.astype(index_dtype)
        X.data[:] = 1 if k < 2 else X.data
        chunks.append(Chunk(X, rng.choice([-1.0, 1.0], 7), rng.uniform(size=7) if k % 2 else None))
    chunks.append(Chunk(rng.normal(size=(3, 4)), np.array([True, False, True])))
    chunks.append(Chunk(sp.csr_array((2, 9)), np.array(["spam", "äh"])))
    chunks.append(Chunk(sp.csr_array((0, 9)), np.empty(0)))
    chunks.append(Chunk(sp.csr_array(np.eye(2)), np.array(["spam", "ham"], object), np.ones(2, np.float32)))
    return chunks


def assert_same(found, expected):
    assert type(found.X) is type(expected.X)
    for a, b in ((found.y, expected.y), (found.weight, expected.weight)):
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_array_equal(
                a, b.astype(str) if b.dtype.kind == "O" else b, strict=b.dtype.kind not in "OU"
            )
    if sp.issparse(expected.X):
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found.X, name), getattr(expected.X, name), strict=True)
        assert found.X.shape == expected.X.shape
    else:
        np.testing.assert_array_equal(found.X, expected.X, strict=True)


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
def test_the_chunks_are_the_same_in_every_pass(index_dtype, tmp_path):
    chunks = make_chunks(np.random.default_rng(0), index_dtype)
    write_cache(iter(chunks), tmp_path / "rows")
    cached = read_cache(tmp_path / "rows")
    assert (len(cached), cached.n_features, cached.n_rows) == (8, 9, 35)
    for _ in range(2):
        found = list(cached)
        assert len(found) == len(chunks)
        for a, b in zip(found, chunks, strict=True):
            assert_same(a, b)
        assert cached.position == cached.size == (tmp_path / "rows").stat().st_size


def test_no_chunks(tmp_path):
    write_cache([], tmp_path / "rows")
    assert list(read_cache(tmp_path / "rows")) == []


def test_unsorted_and_repeated_indices_are_summed(tmp_path):
    X = sp.csr_array((np.array([1.0, 2.0, 3.0]), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 3))
    write_cache([Chunk(X, np.ones(1))], tmp_path / "rows")
    (chunk,) = read_cache(tmp_path / "rows")
    assert chunk.X.toarray().tolist() == [[2.0, 0.0, 4.0]]
    assert X.indices.tolist() == [2, 0, 2]


@pytest.mark.parametrize("options", [{}, {"shuffle": True, "rng": 0}, {"batch_size": 3}], ids=str)
def test_the_model_is_the_same(options, tmp_path):
    reader = read_svmlight(DATA / "a9a.t.xz", chunk_bytes=1 << 12)
    rows = [chunk for chunk, _ in zip(reader, range(3), strict=False)]
    model = fit_linear(rows, passes=2, lr=0.5, **options)
    cached = CachedReader(rows, tmp_path / "rows")
    for source in (lambda: cached, lambda: cached, lambda: read_cache(tmp_path / "rows")):
        other = fit_linear(source(), passes=2, lr=0.5, **options)
        assert other.coef.tobytes() == model.coef.tobytes()
        assert other.progressive_loss == model.progressive_loss


def test_the_first_pass_writes_and_the_next_ones_read(tmp_path):
    reader = read_svmlight(io.BytesIO(TEXT), chunk_bytes=12)
    cached = CachedReader(reader, tmp_path / "rows")
    assert not (tmp_path / "rows").exists()
    first = list(cached)
    assert cached.n_features == 7
    reader._source = None  # it is not read again
    for a, b in zip(list(cached), first, strict=True):
        assert_same(a, b)
    assert cached.position == cached.size == os.path.getsize(tmp_path / "rows")
    assert repr(cached) == f"CachedReader(read_cache({str(tmp_path / 'rows')!r}))"


def test_an_incomplete_pass_leaves_the_old_file(tmp_path):
    (tmp_path / "rows").write_bytes(b"old")
    cached = CachedReader(read_svmlight(io.BytesIO(TEXT), chunk_bytes=12), tmp_path / "rows")
    for chunk in cached:
        assert chunk.y.size
        break
    del chunk
    assert sorted(os.listdir(tmp_path)) == ["rows"]
    assert (tmp_path / "rows").read_bytes() == b"old"
    bad = CachedReader(read_svmlight(io.BytesIO(TEXT + b"1 x\n"), chunk_bytes=12), tmp_path / "rows")
    with pytest.raises(ValueError, match="line 7"):
        list(bad)
    assert sorted(os.listdir(tmp_path)) == ["rows"]
    assert (tmp_path / "rows").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("chunk", "error"),
    [
        ((np.eye(2), [0, 1]), "chunks: got a tuple; must yield Chunk"),
        (Chunk(np.eye(2), np.array([1, "a"], object)), "y: got 1; must be numbers, Booleans or strings"),
        (Chunk(np.eye(2), np.array([1j, 2])), "y: got dtype complex128; must be numbers of at most 64 bits"),
        (Chunk(np.eye(2), np.ones(3)), r"y: got shape \(3,\) for 2 rows"),
        (Chunk(np.eye(2), np.ones(2), np.ones(1)), r"weight: got shape \(1,\) for 2 rows"),
        (Chunk(np.ones(2), np.ones(2)), r"X: got shape \(2,\); must have two dimensions"),
        (Chunk(np.array([["a"]]), np.ones(1)), "X: got dtype <U1; must be numbers"),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_refused(chunk, error, tmp_path):
    with pytest.raises((TypeError, ValueError), match=f"^{error}"):
        write_cache([chunk], tmp_path / "rows")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "not a row cache, but nothing"),
        (b"1 1:1\n", "not a row cache, but text, '1 1:1'"),
        (gzip.compress(b"1", mtime=0), "not a row cache, but gzip data"),
        (row_cache.ROW_CACHE_MAGIC, "is truncated"),
        (row_cache.HEADER.pack(row_cache.ROW_CACHE_MAGIC, 1), "is truncated"),
        (row_cache.HEADER.pack(row_cache.ROW_CACHE_MAGIC, 9) + bytes(99), "has format 9; this version reads up to 1"),
        (row_cache.HEADER.pack(row_cache.ROW_CACHE_MAGIC, 1) + bytes(99), "its end is missing"),
    ],
    ids=str,
)
def test_other_files_are_refused(content, error, tmp_path):
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(ValueError, match=error):
        read_cache(tmp_path / "rows")


def test_options_of_the_reader_are_json(tmp_path):
    for options in ("text", {"a": {1}}):
        with pytest.raises(TypeError, match="^reader_options: "):
            write_cache([], tmp_path / "rows", reader_options=options)
    write_cache([Chunk(np.eye(2, dtype=np.float16), [0, 1])], tmp_path / "rows", reader_options={"format": "csv"})
    again = pickle.loads(pickle.dumps(read_cache(tmp_path / "rows")))
    assert (again.reader_options, next(iter(again)).X.dtype) == ({"format": "csv"}, np.float16)


def test_a_cache_given_as_text_is_named(tmp_path):
    write_cache([Chunk(np.eye(2), np.ones(2))], tmp_path / "rows")
    with pytest.raises(ValueError, match="is a row cache; read it with read_cache"):
        load_svmlight(tmp_path / "rows")


def test_every_damaged_byte_is_noticed(tmp_path):
    """Except in the gaps between arrays and in the reserved bytes of the header, which have no meaning."""
    path = tmp_path / "rows"
    write_cache(make_chunks(np.random.default_rng(0)), path)
    expected, content = list(read_cache(path)), path.read_bytes()
    cached = read_cache(path)
    used = set(range(20))
    for item in cached._chunks:
        for dtype, shape, position, _ in item["arrays"].values():
            used |= set(range(position, position + int(np.prod(shape)) * np.dtype(dtype).itemsize))
    used |= set(range(max(used) + 1, len(content)))
    rng = np.random.default_rng(1)
    for position in sorted(rng.choice(len(content), 400, replace=False)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        if position in used and not 16 <= position < 20:
            with pytest.raises(ValueError, match=r"damaged|not a row cache|is truncated"):
                list(read_cache(path))
        elif position not in used:
            for a, b in zip(read_cache(path), expected, strict=True):
                assert_same(a, b)
    for length in rng.choice(len(content), 100, replace=False):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"damaged|not a row cache|is truncated"):
            list(read_cache(path))


def forge(path, change):
    """Change the index of a cache and give it the right checksum."""
    content = path.read_bytes()
    position, length, _, mark = row_cache.TRAILER.unpack(content[-row_cache.TRAILER.size :])
    index = row_cache.json.loads(content[position : position + length])
    change(index)
    text = row_cache.json.dumps(index).encode()
    trailer = row_cache.TRAILER.pack(position, len(text), row_cache.zlib.crc32(text), mark)
    path.write_bytes(content[:position] + text + trailer)


FORGERIES = {
    "shape": lambda i: i["chunks"][0]["arrays"]["indptr"].__setitem__(1, [-8]),
    "large shape": lambda i: i["chunks"][0]["arrays"]["indptr"].__setitem__(1, [2**60]),
    "position": lambda i: i["chunks"][0]["arrays"]["indptr"].__setitem__(2, 2**40),
    "negative position": lambda i: i["chunks"][0]["arrays"]["indptr"].__setitem__(2, -64),
    "type": lambda i: i["chunks"][0]["arrays"]["indptr"].__setitem__(0, "|O"),
    "other array": lambda i: i["chunks"][0]["arrays"].update(indices=i["chunks"][0]["arrays"]["data"]),
    "fewer columns": lambda i: i["chunks"][0].update(n_features=1),
    "fewer rows": lambda i: i["chunks"][0].update(n_rows=1),
    "no targets": lambda i: i["chunks"][0]["arrays"].pop("y"),
    "labels": lambda i: i["chunks"][0].update(labels=[]),
    "not a list": lambda i: i.update(chunks={"a": 1}),
    "no chunk": lambda i: i.update(chunks=[1]),
    "rows": lambda i: i.update(n_rows=-1),
    "nested": lambda i: i["chunks"][0].update(arrays=[[[]]]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_index_is_refused(name, tmp_path):
    path = tmp_path / "rows"
    X = sp.csr_array(np.array([[0.0, 2.0, 3.0], [4.0, 0.0, 0.0]]))
    write_cache([Chunk(X, np.array([0.0, 1.0]))], path)
    forge(path, FORGERIES[name])
    with pytest.raises(ValueError, match=r"rows: (chunk 0 is damaged|not a row cache, or damaged)"):
        list(read_cache(path))


def test_truncation_while_the_file_is_read_is_an_error(tmp_path):
    path = tmp_path / "rows.cache"
    write_cache(read_svmlight(io.BytesIO(b"1 1:1 3:2\n-1 2:1\n" * 50), chunk_bytes=200), path)
    chunks = iter(read_cache(path))
    next(chunks)
    os.truncate(path, 300)
    with pytest.raises(ValueError, match="chunk 1 is damaged .the file is truncated."):
        list(chunks)
