"""Coverage-guided fuzzing of the readers: text that is accepted must be parsed as by the slow references.

``python tests/fuzz_readers.py KIND SECONDS [libFuzzer options]`` needs atheris; KIND is a key of `TARGETS`.
``test_random_text.py`` runs the same checks on random mutations of `SEEDS`.
"""

import contextlib
import io
import os
import pathlib
import re
import sys
import tempfile
import warnings

import numpy as np

if __name__ == "__main__":
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # interpreted kernels raise IndexError outside their arrays
    import atheris

    with atheris.instrument_imports(include=["adagrad_nb"]):
        import adagrad_nb
else:
    import adagrad_nb
import reference_text
import reference_vowpal

MIXED = (b"\xef\xbb\xbf", b"\r\n", b"\r", b"\x00", b"\xff", b"\xc3\xa9", b"#", b"nan", b"-inf", b"1e400", b"1e-320",
         b"0x1", b"1_0", b"12345678901234567890.5", b"\x0b", b" \t", b"\n\n", b"'", b'"', b"2147483648",
         b"9223372036854775808", b"\xe2\x80\xa8", b"00000000000000000000001", b"e", b"+", b"-.", b"1.e5")  # fmt: skip
SEEDS = {
    "svmlight": [
        b"1 1:0.5 3:2 # x\n-1 qid:3 2:1e-3 7: 4\r\n0\n",
        b"+1.5 4:1 2:.5\n\n# no row\n-3e2 1:-7.",
        b"1 1:0.5 22:12.5 333:-0.00158044 12345678:0.123456789012\n" + b"0 7:1\n" * 8,
    ],
    "numbered": [
        b"1 |f 1:0.5 3\n-1 2.0 'tag|f 0:1e-3 7\r\n",
        b"1 | 2:3\n1 |:2 4 5:.5\n\n",
        b"1 |f 1:0.5 22 333:-0.00158044 12345678:0.123456789012\n" + b"0 |f 7\n" * 8,
    ],
    "hashed": [
        b"1 2 'a|x:0.5 a:1 b c:d 12|y :3 e\r\n-1 |x f:-2 |z\n|x a\n",
        b"1 |x a:0.5 word another_long_name:1.25 city:Paris|y 12:-3 z\n" + b"0 |x q\n" * 8,
    ],
    "text": [
        "ham\tone two, Three\nspam\ttwo \u0130stanbul \u6771\u4eac x_1\n".encode(),
        b'1,"a ""bc"", de"\r\n2,fg hi\n',
    ],
    "csv": [b"a,b,y\n1,x,no\n2.5,?,yes\n-3,z,no\n", b'1;"x; y";0\n 2; "z";1\n', b"u\tv\n1\t2\n3\tNA\n"],
    "cache": [b""],
    "model": [b""],
}


def load(read, raw, **options):
    """Return the chunks of a text, or None if it is refused; anything but ValueError is a fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(read(io.BytesIO(raw), **options))
        except ValueError as error:
            message = str(error)
    assert "<BytesIO>" in message, message
    return None


def rows_of(chunks):
    """Yield (label, weight, {column: value}) of each row."""
    for chunk in chunks:
        X = chunk.X
        X.check_format()
        assert X.has_canonical_format
        assert np.isfinite(X.data).all()
        for r in range(X.shape[0]):
            part = slice(X.indptr[r], X.indptr[r + 1])
            row = dict(zip(X.indices[part].tolist(), X.data[part].tolist(), strict=True))
            yield chunk.y[r], 1.0 if chunk.weight is None else chunk.weight[r], row


def lines_of(raw):
    """Return the lines of a text without a byte order mark; carriage returns end lines if there is no line feed."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    return raw.split(b"\n" if b"\n" in raw or b"\r" not in raw else b"\r")


def assert_equal_rows(found, expected, rtol=0.0):
    found = list(found)
    assert len(found) == len(expected), (len(found), len(expected))
    for (label, weight, row), (other_label, other_weight, other) in zip(found, expected, strict=True):
        assert label == other_label or (label != label and other_label != other_label), (label, other_label)
        assert weight == other_weight
        assert row.keys() == other.keys(), (row, other)
        assert all(abs(row[k] - other[k]) <= rtol * abs(other[k]) for k in row), (row, other)


def check_svmlight(raw):
    """Check the rows of svmlight text, whole and in chunks of one line."""
    expected = []
    chunks = load(adagrad_nb.read_svmlight, raw)
    with_skips = load(adagrad_nb.read_svmlight, raw, on_error="skip", chunk_bytes=1)
    if with_skips is not None and chunks is not None:
        assert_equal_rows(rows_of(with_skips), list(rows_of(chunks)))
    if chunks is None:
        return False
    for line in lines_of(raw):
        tokens = re.sub(rb":[ \t]+", b":", line.partition(b"#")[0]).split()
        if tokens:
            pairs = [token.split(b":") for token in tokens[1:] if not token.startswith(b"qid:")]
            expected.append((float(tokens[0]), 1.0, {int(i) - 1: float(v) for i, v in pairs}))
    assert_equal_rows(rows_of(chunks), expected)
    return True


def check_numbered(raw):
    """Check the rows of Vowpal Wabbit text with numbered features."""
    chunks = load(adagrad_nb.read_vw, raw)
    with_skips = load(adagrad_nb.read_vw, raw, on_error="skip", chunk_bytes=1)
    if chunks is None:
        return False
    assert_equal_rows(rows_of(with_skips), list(rows_of(chunks)))
    expected = []
    for line in lines_of(raw):
        if line.strip(b" \t\r"):
            label, weight, row, _ = reference_vowpal.parse_line(line, 62)
            namespace = line.partition(b"|")[2]
            seed = 0
            if namespace[:1].strip(b" \t\r"):
                seed = reference_vowpal.hash_name(re.split(rb"[ \t\r:|]", namespace)[0], 0, False)
            expected.append((label, weight, {(h - seed) % 2**62: value for h, value in row.items() if value}))
    nonzero = ((y, weight, {k: v for k, v in row.items() if v}) for y, weight, row in rows_of(chunks))
    assert_equal_rows(nonzero, expected, 1e-12)
    return True


def check_hashed(raw):
    """Check the rows of Vowpal Wabbit text with names, strings and pairs of namespaces."""
    is_accepted = False
    for options in (
        {}, {"hash": "all"}, {"quadratic": ["xy", "xx"]}, {"quadratic": "::", "constant": True, "keep_names": True},
    ):  # fmt: skip
        chunks = load(adagrad_nb.read_vw, raw, bits=18, missing_labels="nan", **options)
        if chunks is None:
            continue
        is_accepted = True
        pairs = options.get("quadratic", ())
        expected = []
        for line in lines_of(raw):
            if line.strip(b" \t\r"):
                label, weight, row, _ = reference_vowpal.parse_line(
                    line, 18, options.get("hash") == "all", [pairs] if isinstance(pairs, str) else pairs,
                    "constant" in options,
                )  # fmt: skip
                row = {column: value for column, value in row.items() if value}
                expected.append((np.nan if label is None else label, weight, row))
        assert_equal_rows(rows_of(chunks), expected, 1e-9)
    return is_accepted


def check_text(raw):
    """Check the labels and words of lines of label and text."""
    is_accepted = False
    for options in ({"norm": None}, {"ngrams": (2, 3), "alternate_sign": False}, {"label": None, "lowercase": False}):
        chunks = load(adagrad_nb.read_text, raw, **options)
        if chunks is None:
            continue
        is_accepted = True
        lines = [line.rstrip(b"\r") for line in lines_of(raw) if line.strip(b" \t\r")]
        rows = list(rows_of(chunks))
        assert len(rows) == len(lines)
        if options.get("label", 1) is None:
            texts = lines
        else:
            first = raw.removeprefix(b"\xef\xbb\xbf").split(b"\n" if b"\n" in raw else b"\r")[0]
            delimiter = b"\t" if b"\t" in first else b","
            texts = [line[_label_end(line, delimiter) + 1 :] for line in lines]
        for text, (_, _, row) in zip(texts, rows, strict=True):
            if any(c.isalnum() != (0x20000 <= ord(c) < 0x40000) for c in text.decode() if ord(c) >= 0x20000):
                continue  # no character yet, but in the range of ideographs
            expected = reference_text.parse_text(text.decode(), **{k: v for k, v in options.items() if k != "label"})
            assert row.keys() == expected.keys(), (text, row, expected)
            assert all(abs(row[k] - expected[k]) < 1e-12 for k in row)
    return is_accepted


def _label_end(line, delimiter):
    quotes = 0
    for k in range(len(line)):
        quotes += delimiter == b"," and line[k] == 34
        if line[k : k + 1] == delimiter and quotes % 2 == 0:
            return k
    raise AssertionError("a line without a delimiter was accepted")


def check_csv(raw):
    """Check that a table has as many rows as by the `csv` module, in chunks of any size the same, and labels."""
    first = load(adagrad_nb.read_csv, raw)
    small = load(adagrad_nb.read_csv, raw, chunk_bytes=64)
    assert (first is None) == (small is None)
    if first is None:
        return False
    assert_equal_labels(first, small)
    for part in (first, small):
        for chunk in part:
            chunk.X.check_format()
            assert np.isfinite(chunk.X.data).all()
    return True


def assert_equal_labels(first, second):
    a, b = ([label for chunk in chunks for label in chunk.y.tolist()] for chunks in (first, second))
    assert a == b, (a, b)


def _cache_bytes():
    chunks = list(adagrad_nb.read_svmlight(io.BytesIO(SEEDS["svmlight"][1]), chunk_bytes=8))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.cache")
        adagrad_nb.write_cache(chunks, path)
        return pathlib.Path(path).read_bytes()


def _model_bytes():
    model = adagrad_nb.fit_linear(np.eye(3), np.array([1.0, -1.0, 1.0]), lr=0.5)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.npz")
        model.save(path)
        return pathlib.Path(path).read_bytes()


def check_file(raw, load_file):
    """Check that a binary file is refused by ValueError with its name, or read."""
    descriptor, path = tempfile.mkstemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
        load_file(path)
    except ValueError as error:
        message = str(error)
    else:
        return True
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
    assert path in message, message
    return False


def check_cache(raw):
    return check_file(raw, lambda path: list(adagrad_nb.read_cache(path)))


def check_model(raw):
    return check_file(raw, lambda path: adagrad_nb.load_model(path).predict(np.eye(3)))


TARGETS = {
    "svmlight": check_svmlight, "numbered": check_numbered, "hashed": check_hashed, "text": check_text,
    "csv": check_csv, "cache": check_cache, "model": check_model,
}  # fmt: skip


def seeds_of(kind):
    """Return the texts or files from which mutations start."""
    return {"cache": lambda: [_cache_bytes()], "model": lambda: [_model_bytes()]}.get(kind, lambda: SEEDS[kind])()


def mutate(rng, seeds):
    """Return a seed after a few random changes of its bytes."""
    raw = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 6)):
        k, end = sorted(rng.integers(0, len(raw) + 1, 2).tolist())
        kind = rng.integers(5)
        if kind == 0:
            raw[k:k] = MIXED[rng.integers(len(MIXED))]
        elif kind == 1:
            raw[k : min(end, k + 8)] = b""
        elif kind == 2:
            raw[k:k] = raw[k : min(end, k + 24)]
        elif kind == 3 and k < len(raw):
            raw[k] = rng.choice(list(b" \t\n\r|:,;\"'0123456789.eE+-abxyz#\x00\xff"))
        elif k < len(raw):
            raw[k] = rng.integers(256)
    return bytes(raw)


def main():
    kind, seconds, *options = sys.argv[1:]
    corpus = tempfile.mkdtemp(prefix=f"fuzz-{kind}-")
    dictionary = os.path.join(corpus, "..", f"fuzz-{kind}.dict")
    for k, raw in enumerate(seeds_of(kind)):
        with open(os.path.join(corpus, str(k)), "wb") as file:
            file.write(raw)
    with open(dictionary, "w") as file:
        file.writelines('"' + "".join(f"\\x{c:02x}" for c in word) + '"\n' for word in MIXED)
    flags = [f"-max_total_time={seconds}", f"-dict={dictionary}", "-max_len=400", "-timeout=20", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *flags, *options, corpus], TARGETS[kind])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
