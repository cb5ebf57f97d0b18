"""svmlight files against scikit-learn's loader: the same rows, labels, query identifiers and parts."""

import bz2
import gzip
import io

import numpy as np
import pytest

from adagrad_nb import load_svmlight

datasets = pytest.importorskip("sklearn.datasets")

# The cases of scikit-learn's own tests.  Not compared: dump_svmlight_file and load_svmlight_files, which this package
# does not have; file descriptors, whose place open files take; and unsorted or repeated indices, which scikit-learn
# rejects.

QUERIES = b"""
    3 qid:1 1:0.53 2:0.12
    2 qid:1 1:0.13 2:0.1
    7 qid:2 1:0.87 2:0.12"""
LONG = b"""
    1 qid:0 0:1 1:2 2:3
    0 qid:72048431380967004 0:1440446648 1:72048431380967004 2:236784985
    0 qid:-9223372036854775807 0:1440446648 1:72048431380967004 2:236784985
    3 qid:9223372036854775807  0:1440446648 1:72048431380967004 2:236784985"""
COMMENTED = b"# comment\n# note: one\n1.0 3:2.5 11:-5.2 16:1.5 # and an inline comment\n2.0 6:1.0 13:-3\n# another\n"
SVMLIGHT_CASES = {
    "comments": (COMMENTED + b"3.0 21:27\n4.0 2:1.234567890123456   # double precision value\n1.0     # empty\n", {}),
    "more features": (COMMENTED, {"n_features": 22}),
    "index 0": (b"-1 0:0 1:1\n", {"zero_based": True}),
    "auto, from 1": (b"-1 1:1 2:2 3:3\n", {"zero_based": "auto"}),
    "auto, from 0": (b"-1 0:0 1:1\n", {"zero_based": "auto"}),
    "float32": (COMMENTED, {"dtype": np.float32}),
    "queries": (QUERIES, {"query_id": True}),
    "queries left out": (QUERIES, {"query_id": False}),
    "long queries": (LONG, {"query_id": True, "zero_based": True}),
    "several labels": (b"1,0 2:2.5 10:-5.2 15:1.5\n2 5:1.0 12:-3\n 2:3.5 11:26\n1,2 20:27\n", {"multilabel": True}),
    "labels alone": (b"1 0:1 2:3 4:5\n0,2 \n0,1 1:5 3:1\n", {"multilabel": True, "zero_based": True}),
    "zeros": (b"0 \n1 \n0 \n", {"n_features": 4}),
    "unicode comment": ("# It is true that\n# \u00bd\u00b2 = \u00bc\n1 1:2\n".encode(), {}),
}


def assert_same_rows(ours, theirs):
    assert len(ours) == len(theirs)
    assert ours[0].dtype == theirs[0].dtype
    np.testing.assert_array_equal(ours[0].toarray(), theirs[0].toarray())
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_array_equal(np.array(a, object), np.array(b, object))


@pytest.mark.parametrize("case", SVMLIGHT_CASES)
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
def test_svmlight_files_are_read_alike(case, compress, tmp_path):
    raw, options = SVMLIGHT_CASES[case]
    options = {"zero_based": False} | options
    name = tmp_path / ("rows" + {bytes: ".svm", gzip.compress: ".gz", bz2.compress: ".bz2"}[compress])
    name.write_bytes(compress(raw))
    assert_same_rows(load_svmlight(name, **options), datasets.load_svmlight_file(str(name), **options))


@pytest.mark.parametrize("raw", [b"+ 1:1\n", b"1 1\n", b"1 1:x\n", b"-1 0:1\n1 4:1.\n"])
def test_malformed_svmlight_files_are_refused_by_both(raw):
    for load in (load_svmlight, datasets.load_svmlight_file):
        with pytest.raises(ValueError):
            load(io.BytesIO(raw), zero_based=False)


@pytest.mark.parametrize(("n_samples", "n_features", "sparsity"), [(13, 2, 0.0), (101, 7, 0.5), (101, 41, 0.99)])
def test_parts_of_svmlight_files_are_read_alike(n_samples, n_features, sparsity):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(n_samples, n_features))
    X[sparsity > X] = 0.0
    file = io.BytesIO()
    datasets.dump_svmlight_file(X, rng.integers(0, 2, n_samples), file, query_id=np.arange(n_samples) // 2)
    raw = file.getvalue()
    first, second = len(raw) // 3, 4 * len(raw) // 5
    for offset, length in ((0, first), (first, second - first), (second, -1), (0, -1)):
        options = {"n_features": n_features, "offset": offset, "length": length, "query_id": True, "zero_based": True}
        ours = load_svmlight(io.BytesIO(raw), **options)
        assert_same_rows(ours, datasets.load_svmlight_file(io.BytesIO(raw), **options))
