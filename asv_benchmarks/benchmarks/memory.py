"""Peak memory of a process that reads a file or trains on it."""

import numpy as np

from adagrad_nb import fit_linear, load_svmlight, read_svmlight

from .common import SIZES, svmlight_file


class OutOfCore:
    """Chunked reading must stay near the 200 MB that Python, NumPy and compiled code need."""

    params = [["read_svmlight", "fit_linear", "load_svmlight"]]
    param_names = ["function"]

    def setup_cache(self):
        return svmlight_file("a9a.svm", SIZES["copies"])

    def setup(self, file, function):
        self.path, _ = file

    def peakmem_file(self, file, function):
        if function == "read_svmlight":
            for _ in read_svmlight(self.path):
                pass
        elif function == "fit_linear":
            fit_linear(read_svmlight(self.path, n_features=123, dtype=np.float32), lr=0.5)
        else:
            load_svmlight(self.path)
