"""Readers of svmlight text: `read_svmlight` and `load_svmlight` against scikit-learn's load_svmlight_file."""

import os
import tempfile

import numpy as np
import pairs


def main():
    quick = pairs.parse_options(__doc__).quick
    pairs.import_peer("sklearn", "scikit-learn")
    from benchmarks.common import svmlight_file
    from sklearn.datasets import load_svmlight_file

    from adagrad_nb import load_svmlight, read_svmlight

    pairs.print_versions("scikit-learn", ours=1, sklearn=1)
    with tempfile.TemporaryDirectory() as folder:
        path, size = svmlight_file(os.path.join(folder, "a9a.svm"), 1 if quick else 4)
        print(f"a9a, {size / 1e6:.1f} MB")

        def load():
            return load_svmlight(path)

        def read():
            for _ in read_svmlight(path):
                pass

        def peer():
            return load_svmlight_file(path)

        (X, y), (A, b) = load(), peer()
        for actual, expected in ((X.data, A.data), (X.indices, A.indices), (X.indptr, A.indptr), (y, b)):
            assert np.array_equal(actual, expected), "the two readers give different numbers"
        read()
        ratios = {}
        for name, ours in (("load_svmlight", load), ("read_svmlight", read)):
            timings = pairs.time_alternately(ours, peer, 3 if quick else 5)
            ratios[name] = pairs.print_timings(name, timings, size / 1e6, "MB/s", rate=True)
    pairs.print_targets(("load_svmlight's MB/s / scikit-learn's", ratios["load_svmlight"], ">=", 10))


if __name__ == "__main__":
    main()
