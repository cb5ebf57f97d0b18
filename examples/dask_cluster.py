"""Online logistic regression on a Dask cluster: two worker processes of this machine.

Run: pip install ".[dask]" && python examples/dask_cluster.py
"""

import pathlib

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from adagrad_nb import load_svmlight
from adagrad_nb.dask import fit_linear, predict

DATA = pathlib.Path(__file__).parent / "data"


def main():
    """Train and predict on two processes."""
    X, y = load_svmlight(DATA / "a9a.xz", n_features=123)
    X_test, y_test = load_svmlight(DATA / "a9a.t.xz", n_features=123)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        rows, labels = (
            da.from_array(X[:16384].toarray().astype(np.float32), chunks=(4096, -1)),
            da.from_array(y[:16384], chunks=4096),
        )
        model = fit_linear(client, rows, labels, lr=0.5, round_growth=4)
        print(model, "test log-loss", round(model.mean_loss(X_test, y_test), 4))
        accuracy = (predict(client, model, rows) == labels).mean().compute()
        print("accuracy on the training rows", round(float(accuracy), 4))


if __name__ == "__main__":  # worker processes import this file
    main()
