"""Training on many files, which the workers of a Dask cluster read themselves, with checkpoints.

Run: pip install ".[dask]" && python examples/dask_files.py
"""

import lzma
import pathlib
import tempfile

from distributed import Client, LocalCluster

from adagrad_nb import load_svmlight
from adagrad_nb.dask import fit_linear

DATA = pathlib.Path(__file__).parent / "data"


def split_rows(folder, n_files=4):
    """Write the rows of a9a into several files, as a cluster would have them on a shared disk."""
    with lzma.open(DATA / "a9a.xz", "rt") as file:
        lines = file.readlines()
    for k in range(n_files):
        (folder / f"part-{k}.svm").write_text("".join(lines[k::n_files]))


def show(progress):
    """Print a line after each round."""
    print(
        f"round {progress.n_rounds:2d}: {progress.n_seen:6d} rows, {progress.n_learners} learners, "
        f"loss {progress.recent_loss:.4f}, {progress.bytes_sent} bytes to the merge, {progress.bytes_merged} back"
    )


def main():
    """Train on the files, save checkpoints and resume from the last one."""
    X_test, y_test = load_svmlight(DATA / "a9a.t.xz", n_features=123)
    with (
        tempfile.TemporaryDirectory() as name,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        folder = pathlib.Path(name)
        split_rows(folder)
        options = {"lr": 0.5, "round_growth": 2}
        checkpoint = folder / "training.npz"
        model = fit_linear(
            client, str(folder / "part-*.svm"), **options, callback=show, checkpoint=checkpoint, checkpoint_rounds=2
        )
        print(model, "test log-loss", round(model.mean_loss(X_test, y_test), 4))
        resumed = fit_linear(client, str(folder / "part-*.svm"), **options, resume=checkpoint)
        print("resumed from the checkpoint, with the same bits:", resumed.coef.tobytes() == model.coef.tobytes())


if __name__ == "__main__":  # worker processes import this file
    main()
