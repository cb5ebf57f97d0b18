"""read_csv: random tables against the reference, dialects, labels, chunks, and errors with line and remedy."""

import gzip
import io
import os
import threading
import tracemalloc

import numpy as np
import pytest
import reference_columns as reference
from numpy.testing import assert_allclose, assert_array_equal
from table_problems import random_table, to_csv

from adagrad_nb import Chunk, Columns, Hashed, Numeric, OneHot, Text, fit_linear, read_csv

pa = pytest.importorskip("pyarrow")


def read(text, **options):
    """Return (chunks, reader)."""
    raw = text.encode() if isinstance(text, str) else text
    reader = read_csv(io.BytesIO(raw), **options)
    return list(reader), reader


def as_dicts(chunks, columns):
    """Return the rows as dicts from feature names, or numbers of hashed features, to values."""
    rows = []
    for chunk in chunks:
        assert chunk.X.has_sorted_indices
        for begin, end in zip(chunk.X.indptr[:-1], chunk.X.indptr[1:], strict=True):
            indices = chunk.X.indices[begin:end].tolist()
            assert len(set(indices)) == len(indices)
            names = [k if k < columns.n_hashed else columns.feature_names[k] for k in indices]
            rows.append(dict(zip(names, chunk.X.data[begin:end].tolist(), strict=True)))
    return rows


def assert_same_rows(actual, expected):
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.keys() == {name for name, value in b.items()}
        assert_allclose([a[name] for name in b], list(b.values()), rtol=1e-15)


def declared(kinds):
    """Return the argument `columns` that makes the mapping of a random table exact, whatever its values."""
    return {
        name: {"numeric": "numeric", "one_hot": OneHot(name, 5), "hashed": "hashed", "text": Text(name, 2)}[kind]
        for name, kind in kinds.items()
    }


def reference_mapping(names, kinds, rows, **options):
    exact = {}
    for k, name in enumerate(names):
        kind = kinds[name]
        numbers = [float(row[k]) for row in rows if row[k] is not None] if kind == "numeric" else []
        exact[name] = kind, {"numeric": reference.found_scaling(numbers), "one_hot": 5, "hashed": None, "text": 2}[kind]
    return reference.Mapping(names, exact, **options)


# --- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(24))
def test_random_tables_are_mapped_as_by_the_reference(seed):
    rng = np.random.default_rng(seed)
    names, kinds, rows = random_table(rng, int(rng.integers(3, 40)))
    labels = [str(rng.choice(["no", "yes"])) for _ in rows]
    delimiter, line_end = str(rng.choice([",", ";", "\t", "|"])), str(rng.choice(["\n", "\r\n", "\r"]))
    text = to_csv(rng, [*names, "y"], [[*row, y] for row, y in zip(rows, labels, strict=True)], delimiter, line_end)
    usable = [name for name in names if kinds[name] != "text"]
    interactions = [tuple(usable[:2])] if len(usable) > 1 else []
    signed = bool(rng.integers(2))
    chunks, reader = read(
        text, columns=declared(kinds), header=True, delimiter=delimiter, interactions=interactions, bits=10,
        signed=signed, chunk_bytes=int(rng.choice([1, 50, 10**6])),
    )  # fmt: skip
    if line_end != "\n":  # inside quotes, too
        rows = [[None if cell is None else cell for cell in row] for row in rows]
    mapping = reference_mapping(names, kinds, rows, interactions=interactions, bits=10, signed=signed)
    expected = mapping.transform(rows)
    assert_same_rows(as_dicts(chunks, reader.columns), expected)
    assert np.concatenate([chunk.y for chunk in chunks]).tolist() == labels
    assert list(reader.feature_names[reader.columns.n_hashed :]) == mapping.features
    assert reader.n_features == len(reader.feature_names) >= chunks[-1].X.shape[1]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100, 5000])
def test_the_result_does_not_depend_on_the_size_of_the_chunks(chunk_bytes):
    rng = np.random.default_rng(3)
    rows = [[str(rng.normal()), str(rng.choice(list("abcdefgh"))), str(rng.integers(2))] for _ in range(200)]
    text = to_csv(rng, ["x", "c", "y"], rows)
    whole, reader = read(text)
    parts, other = read(text, chunk_bytes=chunk_bytes)
    assert len(whole) == 1 < len(parts)
    assert other.columns == reader.columns
    assert_same_rows(as_dicts(parts, other.columns), as_dicts(whole, reader.columns))
    widths = [chunk.X.shape[1] for chunk in parts]
    assert widths == sorted(widths)
    a, b = fit_linear(whole), fit_linear(read_csv(io.BytesIO(text.encode()), chunk_bytes=chunk_bytes))
    assert a.coef.tobytes() == b.coef.tobytes()
    assert a.progressive_loss == b.progressive_loss


@pytest.mark.parametrize(
    "text",
    [
        "a,b,y\n1,u,0\n2.5,v,1\n",
        "a,b,y\r\n1,u,0\r\n2.5,v,1",
        "a,b,y\r1,u,0\r2.5,v,1\r",
        " a , b , y \n 1 , u , 0 \n 2.5 , v , 1 \n",
        '"a","b","y"\n"1","u","0"\n"2.5","v","1"\n',
        'a, "b", y\n1, "u", 0\n2.5, "v", 1\n',
        "a\tb\ty\n1\tu\t0\n2.5\tv\t1\n",
        "a;b;y\n1;u;0\n2.5;v;1\n",
        "a|b|y\n1|u|0\n2.5|v|1\n",
        "\ufeffa,b,y\n1,u,0\n2.5,v,1\n",
        "# a comment\n\na,b,y\n\n1,u,0\n   \n2.5,v,1\n\n",
        "|1x3 Cross validator\na,b,y\n1,u,0\n2.5,v,1\n",
    ],
)
def test_spellings_of_the_same_table(text):
    chunks, reader = read(text)
    assert reader.feature_names == ("a", "b=u", "b=v")
    assert_array_equal(chunks[0].X.toarray(), [[1, 1, 0], [2.5, 0, 1]])
    assert_array_equal(chunks[0].y, [0, 1])
    assert isinstance(chunks[0], Chunk)
    assert chunks[0].weight is None
    X, y, weight = chunks[0]
    assert (X.shape, y.dtype, weight) == ((2, 3), np.float64, None)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1,2,3\n4,5,6\n", ("f0", "f1")),  # numbers
        ("p,x,s\ne,x,y\np,b,w\n", ("f0=p", "f1=x", "f0=e", "f1=b")),  # words that occur again
        ("cap,odor,y\nx,p,1\n", ("cap=x", "odor=p")),  # numbers below
        ("cap,odor,y\nx,p,no\n", ("cap=x", "odor=p")),  # words that do not occur again
        (",a,y\n0,1,2\n", ("f0", "a")),  # the index of a data frame
        ("?,a,y\nx,b,y\n", ("f0=(missing)", "f1=a", "f0=x", "f1=b")),  # a missing value
    ],
)
def test_the_header_is_found(text, names):
    assert read(text)[1].feature_names == names


def test_a_row_with_a_name_in_use_is_the_header():
    text = "a,a2\nu,a2\na,v\n"  # words that occur again
    assert read(text)[1].feature_names == ("f0=a", "f0=u")
    for options in ({"label": "a2"}, {"columns": {"a": "one_hot"}}):
        assert read(text, **options)[1].feature_names == ("a=u", "a=a")


def test_the_header_can_be_given():
    assert read("a,b\nc,d\n", header=False)[1].feature_names == ("f0=a", "f0=c")
    assert read("1,2\n3,4\n", header=True)[1].feature_names == ("1",)
    assert read("1,2\n3,4\n", header=["u", "v"])[1].feature_names == ("u",)
    with pytest.raises(ValueError, match="header: got 3 names, but .* has 2 columns"):
        read("1,2\n3,4\n", header=["u", "v", "w"])


def test_missing_values():
    text = "x,c,y\n1,a,0\n?,NA,1\nnan, ? ,0\n,,1\n2,null,1\n"
    [chunk], reader = read(text)
    assert reader.feature_names == ("x", "c=a", "x=(missing)", "c=(missing)")
    assert_array_equal(chunk.X.toarray(), [[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [2, 0, 0, 1]])
    [chunk], reader = read("x,c,y\n1,a,0\n-9,?,1\n", missing=["-9"])
    assert reader.feature_names == ("x", "c=a", "x=(missing)", "c=?")


def test_a_numeric_column_is_scaled_and_centred_unless_most_values_are_zero():
    rng = np.random.default_rng(0)
    x = rng.normal(40, 10, 500)
    rows = "".join(f"{a:.3f},{b},{c},7,0\n" for a, b, c in zip(x, (x > 50) * x, x > 40, strict=True))
    _, reader = read("age,gain,flag,constant,y\n" + rows)
    entries = {entry.name: entry for entry in reader.columns.entries}
    assert abs(entries["age"].offset - x.mean()) <= 0.5
    assert entries["age"].offset == round(entries["age"].offset)
    assert entries["age"].scale == 10
    assert entries["gain"][1:] == (0, 50)
    assert entries["flag"][1:] == entries["constant"][1:] == (0, 1)
    lines = str(reader.columns).splitlines()
    assert lines[1].startswith("age       numeric  minus 4")
    assert lines[1].endswith(", divided by 10")
    assert lines[2:4] == ["gain      numeric  divided by 50", "flag      numeric"]


def test_scaling_does_not_overflow():
    [chunk], reader = read("x,y\n1e308,0\n-1e308,1\n1.5e308,0\n1e-308,1\n")
    assert np.isfinite(chunk.X.data).all()
    assert reader.columns.entries[0].scale == 1e308
    with pytest.raises(ValueError, match="line 2: column 'x': got a number that overflows at scale=1e-300"):
        read("x,y\n1e300,0\n", columns=Columns((Numeric("x", 0.0, 1e-300),)))


def test_columns_with_many_values_are_hashed_and_sentences_are_text():
    rng = np.random.default_rng(0)
    rows = [f"id{k},{' '.join(rng.choice(list('abcdefgh'), 6))},{k % 2}\n" for k in range(3000)]
    chunks, reader = read("".join(["who,says,y\n", *rows]))
    assert [type(entry) for entry in reader.columns.entries] == [Hashed, Text]
    assert chunks[0].X.shape[1] == 2**18
    assert chunks[0].X[0].sum() == 7


def test_declared_columns():
    text = "zip,id,x,y\n01,7,1,0\n02,8,2,1\n"
    [chunk], reader = read(text, columns={"zip": "one_hot", "id": "ignore"})
    assert reader.feature_names == ("x", "zip=01", "zip=02")
    assert_array_equal(chunk.X.toarray(), [[1, 1, 0], [2, 0, 1]])
    with pytest.raises(ValueError, match="columns: got 'zap', but .* has the columns 'zip', 'id', 'x'"):
        read(text, columns={"zap": "one_hot"})
    with pytest.raises(ValueError, match=r"columns\['zip'\]: got 'onehot'; must be one of 'numeric', 'one_hot'"):
        read(text, columns={"zip": "onehot"})
    with pytest.raises(ValueError, match=r"must be an entry of the column 'zip'"):
        read(text, columns={"zip": OneHot("x")})


def test_a_limit_of_categories():
    [chunk], reader = read("c,y\na,0\nb,0\nc,1\nd,1\na,1\n", columns={"c": OneHot("c", 2)})
    assert reader.feature_names == ("c=a", "c=b", "c=(other)")
    assert chunk.X.toarray().argmax(axis=1).tolist() == [0, 1, 2, 2, 0]
    [chunk], _ = read("c,y\nnew,0\na,0\n", columns=reader.columns)
    assert chunk.X.toarray().argmax(axis=1).tolist() == [2, 0]


# --- labels, weights and positions ---------------------------------------------------------------------------------


def test_labels():
    text = "y,x,w\nno.,1,1\nyes,2,3\n"
    [chunk], reader = read(text, label="y", weight="w")
    assert chunk.y.tolist() == ["no", "yes"]  # without the final dot
    assert_array_equal(chunk.weight, [1, 3])
    assert reader.feature_names == ("x",)
    assert read(text, label=0, weight=-1)[0][0].y.tolist() == ["no", "yes"]
    assert read(text, label="y", positive="no")[0][0].y.tolist() == [True, False]
    assert read(text, label="y", positive=["yes."])[0][0].y.tolist() == [False, True]
    assert read("x,y\n1,3\n2,4\n", positive=4)[0][0].y.tolist() == [False, True]
    assert read("x,y\n1,true\n2,false\n")[0][0].y.tolist() == [True, False]
    assert read("x,y\n1,2020-01-01\n2,2020-01-02\n")[0][0].y.tolist() == ["2020-01-01", "2020-01-02"]
    [chunk], reader = read(text, label=None)
    assert chunk.y is None
    assert reader.feature_names == ("x", "w", "y=no.", "y=yes")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "z"}, "label: got 'z', but .* has the columns 'x', 'y'"),
        ({"label": 2}, "label: got the position 2, but .* has 2 columns"),
        ({"weight": "w"}, "weight: got 'w', but"),
        ({"label": 1.5}, "label: got 1.5; must be a name or a position"),
        ({"new_categories": "sum"}, "new_categories: got 'sum'; must be one of 'add', 'ignore'"),
        ({"delimiter": "ab"}, "delimiter: got 'ab'; must be one ASCII character"),
        ({"header": "x"}, "header: got 'x'; must be True, False or a list of names"),
        ({"missing": "?"}, "missing: got .*; must be a sequence of words"),
        ({"interactions": "xy"}, "interactions: got 'xy'; must be pairs"),
        ({"interactions": [("x", "z")]}, "interactions: got 'z'; must be a numeric, one-hot or hashed column"),
        ({"bits": 40}, "bits: got 40; must be at most 30"),
        ({"positive": "a"}, "positive: got .*, but the labels are numbers"),
        ({"chunk_bytes": 0}, "chunk_bytes: got 0"),
        ({"columns": [1]}, r"columns: got \[1\]; must be a Columns record, or a dict"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        read("x,y\n1,0\n2,1\n", **options)


# --- new categories ------------------------------------------------------------------------------------------------


def test_new_categories():
    _, first = read("c,x,y\na,1,0\nb,2,1\n")
    test = "c,x,y\nz,1,0\nb,?,1\n"
    [chunk], reader = read(test, columns=first.columns)
    assert_array_equal(chunk.X.toarray(), [[1, 0, 0], [0, 0, 1]])
    assert reader.columns == first.columns
    [chunk], reader = read(test, columns=first.columns, new_categories="add")
    assert reader.feature_names == ("x", "c=a", "c=b", "c=z", "x=(missing)")
    assert reader.columns.is_extension_of(first.columns)
    assert not first.columns.is_extension_of(reader.columns)
    assert read("c,x,y\nz,1,0\n", new_categories="ignore")[0][0].X.nnz == 1


def test_a_second_pass_keeps_the_columns():
    reader = read_csv(io.BytesIO(b"c,y\na,0\nb,1\nc,0\n"), chunk_bytes=4)
    assert [chunk.X.shape[1] for chunk in reader] == [1, 2, 3]
    assert [chunk.X.shape[1] for chunk in reader] == [3, 3, 3]


def test_reordered_columns_are_matched_by_name():
    train, test = "a,b,y\n1,u,0\n2,v,1\n", "b,more,y,a\nv,9,1,5\n"
    _, first = read(train)
    [chunk], _ = read(test, columns=first.columns, label="y")
    assert_array_equal(chunk.X.toarray(), [[5, 0, 1]])
    with pytest.raises(ValueError, match="has no column 'a', which the model needs; the columns are 'b', 'more'"):
        read("b,more,y\nv,9,1\n", columns=first.columns)


# --- errors --------------------------------------------------------------------------------------------------------

ERRORS = {
    "ragged": ("a,b,y\n1,2,0\n\n3,4\n", {}, "line 4: got 2 fields in place of 3: '3,4'; correct the row"),
    "long row": ("a,b,y\n1,2,0\n1,2,3,4\n", {}, "line 3: got 4 fields in place of 3: '1,2,3,4'"),
    "after an embedded line end": ('a,b,y\n1,"p\nq",0\n3,4\n', {}, "line 4: got 2 fields"),
    "bad number": ("a,y\n" + "1,0\n" * 900 + "\nabc,1\n", {"chunk_bytes": 200}, "line 903: column 'a': got 'abc' in "
                   "place of a number; correct it, or declare the column: columns=.'a': 'one_hot'."),
    "infinite": ("a,y\n1,0\n   \n1e400,1\n", {}, "line 4: column 'a': got inf; numbers must be finite"),
    "negative infinity": ("a,y\n1,0\n-inf,1\n", {}, "line 3: column 'a': got -inf; numbers must be finite"),
    "float32": ("a,y\n1,0\n1e39,1\n", {"dtype": np.float32}, "line 3: column 'a': .*largest float32; pass dtype"),
    "missing label": ("a,y\n1,0\n2,?\n", {}, "line 3: column 'y': the label is missing; write it, or remove the row"),
    "missing string label": ("a,y\n1,n\n2,\n", {}, "line 3: column 'y': the label is missing"),
    "missing weight": ("a,w,y\n1,1,0\n2,,1\n", {"weight": "w"}, "line 3: column 'w': the weight is missing"),
    "label of another type": ("a,y\n" + "1,0\n" * 900 + "2,no\n", {}, "line 902: column 'y': got 'no' in place of "
                              "a number; correct it; the labels in the first rows are numbers"),
    "dates": ("a,d,y\n1,2020-01-01,0\n", {}, "column 'd': has dates or times .*; declare it: columns=.'d': 'numeric'."),
    "duplicate names": ("a,a,y\n1,2,0\n", {}, "the column name 'a' occurs 2 times; rename the columns"),
    "only a label": ("y,\n1,\n", {"columns": {"f1": "ignore"}, "label": "y"}, "has no columns of features"),
    "empty": ("", {}, "is empty; the file must have rows such as"),
    "blank": ("  \n\n", {}, "is empty; the file must have rows such as"),
    "no delimiter": ("abc\ndef\n", {}, "found no delimiter .* in 'abc'; pass delimiter"),
    "svmlight": ("1 3:1 11:1\n-1 2:1\n", {}, "this is svmlight text, read it with read_svmlight"),
    "vw": ("1 |f a:1 b\n-1 |f c\n", {}, "this is Vowpal Wabbit text, read it with read_vw"),
    "utf-8": (b"a,y\nx,0\n\xff\xfe,1\n", {}, "line 3: column 'a': the text is not UTF-8; convert the file"),
    "utf-16": ("a,y\n1,0\n".encode("utf-16"), {}, "is UTF-16 text; save it as UTF-8"),
    "open quote": ('a,y\nx,0\n"z,1\nv,0\n', {}, 'line 3: a quote " .* is not closed before the end of the file'),
    "parquet": (b"PAR1abc\n", {}, "is a Parquet file; read it with read_parquet"),
    "truncated gzip": (gzip.compress(b"a,y\n1,0\n" * 9)[:-5], {}, "gzip data is damaged or truncated"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_line_column_and_remedy(case, monkeypatch):
    monkeypatch.setattr("adagrad_nb.io.csv_reader.HEAD_BYTES", 1000)
    text, options, message = ERRORS[case]
    with pytest.raises(ValueError, match=message) as error:
        read(text, **options)
    assert "<BytesIO>" in str(error.value)


def test_a_row_that_looks_like_a_preamble_is_an_error_between_rows():
    with pytest.raises(ValueError, match="line 3: got 1 fields in place of 2: 'total'"):
        read("1,2\n3,4\ntotal\n")


def test_only_a_header_has_no_rows():
    chunks, reader = read("a,b,y\n", header=True)
    assert chunks == []
    with pytest.raises(ValueError, match="got no chunks"):
        fit_linear(reader)


def test_huge_integers_and_nul_bytes():
    [chunk], reader = read("n,c,y\n99999999999999999999999,a\x00b,0\n9007199254740993,c,1\n")
    assert chunk.X.toarray()[:, 0].tolist() == [1e23, 9007199254740992.0]
    assert reader.feature_names == ("n", "c=a\x00b", "c=c")


def test_quotes_may_be_text():
    text = 'text\ty\n"free\tspam\nok "x"\tham\n'
    [chunk], reader = read(text, quote=None, header=True)
    assert reader.feature_names == ('text="free', 'text=ok "x"')
    assert chunk.y.tolist() == ["spam", "ham"]
    [chunk], _ = read('size,y\n5" x,0\n6",1\n')  # a quote within a field is part of it
    assert chunk.X.shape == (2, 2)


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("adagrad_nb.io.csv_reader.MAX_QUOTED", 1 << 12)
    text = 'a,y\n"x,0\n' + "z,1\n" * 50_000
    with pytest.raises(
        ValueError, match="line 2: a quote .* is not closed within 4096 bytes; close it, or pass quote=None"
    ):
        read(text, chunk_bytes=1000)


# --- files ---------------------------------------------------------------------------------------------------------


def test_compressed_files_pipes_and_positions(tmp_path):
    text = "x,y\n" + "".join(f"{k},{k % 2}\n" for k in range(3000))
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    reader = read_csv(path, chunk_bytes=1000)
    assert sum(chunk.y.size for chunk in reader) == 3000
    assert reader.position == reader.size == path.stat().st_size
    assert str(path) in repr(reader)
    receiver, sender = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(sender, text.encode()), os.close(sender)))
    writer.start()
    with open(receiver, "rb") as pipe:
        piped = read_csv(pipe, chunk_bytes=1000)
        assert sum(chunk.y.size for chunk in piped) == 3000
        assert piped.columns == reader.columns
        with pytest.raises(ValueError, match="can be read only once"):
            list(piped)
    writer.join()


def test_chunks_parsed_in_a_second_thread_are_the_same(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    rows = [[str(rng.normal()), str(rng.choice(list("abcdefgh"))), str(rng.integers(2))] for _ in range(300)]
    path = tmp_path / "a.csv"
    path.write_text(to_csv(rng, ["x", "c", "y"], rows) + "\n1,2,3,4\n")
    monkeypatch.setattr("adagrad_nb.io.csv_reader.HEAD_BYTES", 100)
    monkeypatch.setattr("adagrad_nb.io.table_reader.FIRST_ROWS", 10)
    results = []
    for size in (10**9, 0):
        monkeypatch.setattr("adagrad_nb.io.csv_reader.PREFETCH_SIZE", size)
        reader, seen = read_csv(path, chunk_bytes=100), []

        def read_all(reader=reader, seen=seen):
            for chunk in reader:
                assert reader.columns == chunk.columns
                assert chunk.X.shape[1] == reader.n_features
                seen.append((chunk.X.toarray().tolist(), chunk.y.tolist(), reader.position, reader.columns))

        with pytest.raises(ValueError, match=r"line \d+: got 4 fields in place of 3"):
            read_all()
        assert threading.active_count() == 1 or all("reader" not in t.name for t in threading.enumerate())
        results.append(seen)
    assert results[0] == results[1]
    assert len(results[0]) > 10


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("adagrad_nb.io.csv_reader.HEAD_BYTES", 1 << 16)
    peaks = []
    for n in (10_000, 40_000):
        path = tmp_path / f"{n}.csv"
        path.write_text("x,c,y\n" + "1.5,abc,0\n2.5,de,1\n" * n)
        reader = read_csv(path, chunk_bytes=1 << 14, label="y")
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        peak = max(pa.total_allocated_bytes() - before for _ in reader)
        peaks.append((tracemalloc.get_traced_memory()[1], peak))
        tracemalloc.stop()
    assert peaks[1][0] < 1.2 * peaks[0][0] + 1e5
    assert peaks[1][1] < 1.2 * peaks[0][1] + 1e5


# --- several files, and malformed rows -----------------------------------------------------------------------------

TYPES = {"columns": {"x": Numeric("x"), "c": "one_hot"}, "label": "y", "delimiter": ",", "header": True}
BAD_ROWS = {
    "1,2": "got 2 fields in place of 4", '1,"a\nb",c,d,e': "got 5 fields in place of 4",
    "word,a,1,0": "column 'x': got 'word' in", "1e400,new,1,0": "column 'x': got inf",
    "1,new,1,": "column 'y': the label is missing", "1,new,,0": "column 'w': the weight is missing",
    "1,a,b,0": "column 'w': got 'b' in", b"1,\xff,1,0": "the text is not UTF-8",
}  # fmt: skip


@pytest.mark.parametrize("chunk_bytes", [100, 1 << 20])
@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_malformed_rows_are_skipped_and_listed(share, chunk_bytes, monkeypatch):
    rng = np.random.default_rng(int(100 * share))
    monkeypatch.setattr("adagrad_nb.io.csv_reader.HEAD_BYTES", 300)
    monkeypatch.setattr("adagrad_nb.io.csv_reader.PARALLEL_BYTES", 500)
    monkeypatch.setattr("adagrad_nb.io.table_reader.FIRST_ROWS", 20)
    good, rows, bad, line = [b"1,a,1,0", b"2,b,1,1"], [], [], 4
    rows += good
    for k in range(200):
        if rng.random() < share:
            text = list(BAD_ROWS)[rng.integers(len(BAD_ROWS))]
            bad.append((line, BAD_ROWS[text]))
            rows.append(text if isinstance(text, bytes) else text.encode())
        else:
            rows.append(b'%d,"%s",%d,%d' % (k, [b"a", b"b\nb", b'""'][k % 3], k, k % 2))
            good.append(rows[-1])
        if rng.random() < 0.1:
            rows.append([b"", b"   "][k % 2])
            line += 1
        line += 1 + (rows[-1] if rows[-1].strip() else rows[-2]).count(b"\n")
    head = b"x,c,w,y\n"
    chunks, reader = read(head + b"\n".join(rows), weight="w", chunk_bytes=chunk_bytes, on_error="skip", **TYPES)
    expected, other = read(head + b"\n".join(good), weight="w", **TYPES)
    assert reader.columns.feature_names[:2] == other.columns.feature_names[:2]
    names = reader.columns.feature_names
    assert as_dicts(chunks, reader.columns) == as_dicts(expected, other.columns)
    for a, b in zip(("y", "weight"), ("y", "weight"), strict=True):
        parts = [
            np.concatenate([getattr(chunk, name) for chunk in part]) for name, part in ((a, chunks), (b, expected))
        ]
        assert_array_equal(*parts)
    assert len(names) >= len(other.columns.feature_names)
    assert reader.errors.count == len(reader.errors) == len(bad)
    for error, (place, reason) in zip(sorted(reader.errors, key=lambda error: error.line), bad, strict=True):
        assert error.line == place
        assert error.reason.removeprefix("column 'c': ").startswith(reason)
        assert str(error).startswith(f"<BytesIO>:line {place}: ")
    again = list(reader)
    assert reader.errors.count == len(bad)
    assert_array_equal(*(np.concatenate([chunk.y for chunk in part]) for part in (chunks, again)))


def test_skipped_rows_are_reported():
    raw = b"x,y\n1,0\n2\n3,1\n"
    with pytest.warns(UserWarning, match="skipped 1 malformed lines; the first is <BytesIO>:line 3: got 1 fi"):
        chunks, _ = read(raw, on_error="report", delimiter=",")
    assert np.concatenate([chunk.y for chunk in chunks]).tolist() == [0, 1]
    with pytest.raises(ValueError, match="on_error: got 'drop'"):
        read(raw, on_error="drop")
    with pytest.raises(ValueError, match="line 2: a quote"):
        read(b'x,y\n"1,0\n', on_error="skip")


def test_several_files(tmp_path):
    parts = ["x,c,y\n1,a,0\n2,b,1\n", "y,more,c,x\n1,9,a,3\n0,9,z,4\n", "", "5,b,1\n"]
    for k, text in enumerate(parts):
        with (gzip.open if k == 1 else open)(tmp_path / f"part-{k}.csv", "wb") as file:
            file.write(text.encode())
    expected, whole = read("x,c,y\n1,a,0\n2,b,1\n3,a,1\n4,z,0\n5,b,1\n", label="y")
    for path in (str(tmp_path / "part-*.csv"), [tmp_path / f"part-{k}.csv" for k in range(4)]):
        for label in (-1, "y", 2):
            for chunk_bytes in (1, 1 << 20):
                reader = read_csv(path, label=label, chunk_bytes=chunk_bytes, columns={"x": "numeric"})
                for _ in range(2):
                    chunks = list(reader)
                    assert np.concatenate([chunk.y for chunk in chunks]).tolist() == [0, 1, 1, 0, 1]
                    assert as_dicts(chunks, reader.columns) == as_dicts(expected, whole.columns)
                assert reader.position == reader.size == sum(p.stat().st_size for p in tmp_path.iterdir())
                assert reader.name.endswith("part-0.csv and 3 more")
    for text, message in (
        ("x,y\n1,0\n", "part-3.csv: has no column 'c', which the first file has; the columns are 'x', 'y'"),
        ("7,8\n", "part-3.csv: has 2 columns, but the first file has 3"),
        ("x,c,y\n1,a,0\n2,b\n", "part-3.csv:line 3: got 2 fields in place of 3"),
        ("x,c,y\n1,a,0\n2,b,\n", "part-3.csv:line 3: column 'y': the label is missing"),
    ):
        (tmp_path / "part-3.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            list(read_csv(str(tmp_path / "part-*.csv"), label="y"))
    with pytest.raises(ValueError, match="and 1 more: is empty"):
        list(read_csv([io.BytesIO(), io.BytesIO()]))


def test_the_position_of_the_label_counts_all_columns():
    """Columns that the mapping omits are not read in the second pass."""
    reader = read_csv(io.BytesIO(b"a,b,y,c\n1,5,0,7\n2,6,1,9\n"), label=2, columns={"b": "ignore"})
    for _ in range(2):
        [chunk] = reader
        assert chunk.y.tolist() == [0, 1]
    assert reader.feature_names == ("a", "c")


def test_rows_of_another_width_may_be_no_utf8(capfd):
    with pytest.raises(ValueError, match="<BytesIO>:line 3: the text is not UTF-8; convert the file"):
        read(b"a,y\nx,0\n\xa7\nz,1\n")
    assert capfd.readouterr().err == ""
