"""The command train: caches, passes, early stopping, signals, unknown labels, names in plots and reports."""

import json
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time
import warnings

import numpy as np
import pytest

from adagrad_nb import load_model, read_cache
from adagrad_nb.cli import main, monitor
from adagrad_nb.io import formats
from adagrad_nb.io.readers import ChunkedFile


def write_rows(path, n=200, classes=2, seed=0):
    """Write rows of svmlight text with the labels 1, 2, …, and return the path."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    y = np.argmax(X[:, :classes], axis=1) + 1
    rows = zip(y, X, strict=True)
    path.write_text("".join(f"{k} " + " ".join(f"{j}:{v:.4f}" for j, v in enumerate(x, 1)) + "\n" for k, x in rows))
    return str(path)


@pytest.fixture
def data(tmp_path):
    return write_rows(tmp_path / "data")


def train(capsys, *arguments):
    """Train, and return the result as JSON data."""
    capsys.readouterr()
    assert main(["train", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_several_passes_read_a_temporary_cache(data, tmp_path, capsys, monkeypatch):
    folders = []

    class Folder(tempfile.TemporaryDirectory):
        def __init__(self, **options):
            super().__init__(dir=tmp_path, **options)
            folders.append(self.name)

        def cleanup(self):
            assert os.listdir(self.name) == ["rows.cache"]
            super().cleanup()

    monkeypatch.setattr(tempfile, "TemporaryDirectory", Folder)
    plain = train(capsys, data, "--passes", 3, "--no-cache")
    assert folders == []
    cached = train(capsys, data, "--passes", 3)
    assert [os.path.exists(folder) for folder in folders] == [False]
    assert cached | {"seconds": 0} == plain | {"seconds": 0}
    train(capsys, data)
    assert len(folders) == 1


def test_a_cache_is_kept_and_read_again(data, tmp_path, capsys):
    cache, models = tmp_path / "rows.cache", [tmp_path / "a.npz", tmp_path / "b.npz"]
    train(capsys, data, "--passes", 3, "--cache", cache, "--model", models[0])
    assert read_cache(cache).n_rows == 200
    train(capsys, cache, "--passes", 3, "--model", models[1])
    a, b = map(load_model, models)
    np.testing.assert_array_equal(a.coef, b.coef)


def test_early_stopping_stops(tmp_path, capsys):
    data = write_rows(tmp_path / "few", n=50)
    result = train(capsys, data, "--passes", 500, "--early-stopping", "--seed", 1)
    assert result["rows"] < 500 * 50
    assert result == train(capsys, data, "--passes", 500, "--early-stopping", "--seed", 1) | {
        "seconds": result["seconds"]
    }


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_model(data, tmp_path, capsys, monkeypatch, number, status):
    path, table = tmp_path / "m.npz", monitor.Table
    before = signal.getsignal(number)

    class Interrupted(table):
        def __call__(self, progress):
            os.kill(os.getpid(), number)
            super().__call__(progress)

    monkeypatch.setattr(monitor, "Table", Interrupted)
    assert main(["train", data, "--passes", "1000", "--model", str(path)]) == status
    assert "interrupted; the model is trained on the rows so far" in capsys.readouterr().out
    assert 0 < load_model(path).n_seen < 1000 * 200
    assert signal.getsignal(number) == before
    assert main(["train", data, "--initial-model", str(path), "--quiet"]) == 0


def test_json_is_the_only_output(data, tmp_path, capsys):
    path, picture = tmp_path / "m.npz", tmp_path / "p.png"
    result = train(capsys, data, "--test", data, "--model", path, "--plot", picture)
    assert (result["model"], result["plot"]) == (str(path), str(picture))
    assert result["progressive_loss"] == load_model(path).progressive_loss
    assert len(result["candidates"]) == 8
    assert result["test"]["rows"] == 200
    assert capsys.readouterr().err == ""


def test_test_rows_with_labels_that_the_model_lacks_are_counted(tmp_path, capsys):
    data, test, path = write_rows(tmp_path / "data", classes=3), tmp_path / "test", tmp_path / "m.npz"
    known = train(capsys, data, "--test", data, "--model", path)["test"]
    test.write_text((tmp_path / "data").read_text() + "7 1:1\n8 1:1\n")
    metrics = train(capsys, data, "--test", test)["test"]
    assert metrics == known | {"rows_with_unknown_labels": 2, "unknown_labels": [7.0, 8.0]}
    assert main(["evaluate", str(path), str(test)]) == 0
    assert "without 2 rows of unknown labels: 7.0, 8.0" in capsys.readouterr().out
    test.write_text("7 1:1\n")
    assert main(["evaluate", str(path), str(test)]) == 2
    assert "error: DATA: got the label" in capsys.readouterr().err


def test_features_of_svmlight_files_are_counted_as_in_the_file(tmp_path, capsys):
    path = tmp_path / "m.npz"
    for flags, names in (([], {"1", "2", "3", "4"}), (["--zero-based"], {"0", "1", "2", "3", "4"})):
        data = write_rows(tmp_path / "data")
        train(capsys, data, "--model", path, *flags)
        assert main(["info", str(path), "--json"]) == 0
        largest = json.loads(capsys.readouterr().out)["largest_weights"]
        assert {item["feature"] for item in largest} <= names
        weights = {item["feature"]: item["weight"] for item in largest}
        index = 1 if flags else 0
        assert weights["1"] == load_model(path).coef[index]
        assert main(["explain", str(path), data, "--top", "20"]) == 0
        out = capsys.readouterr().out
        assert {line.split()[1] for line in out.splitlines()[1:]} == {"1", "2", "3", "4", "(intercept)"}


def test_largest_weights_of_several_classes(tmp_path, capsys):
    path = tmp_path / "m.npz"
    train(capsys, write_rows(tmp_path / "data", classes=3), "--model", path)
    model = load_model(path)
    assert main(["info", str(path), "--top", "2"]) == 0
    lines = capsys.readouterr().out.split("largest weights\n")[1].splitlines()
    assert len(lines) == 2
    weight, feature, label = lines[0].split()
    k, j = np.unravel_index(np.argmax(np.abs(model.coef)), model.coef.shape)
    assert (weight, feature, float(label)) == (f"{model.coef[k, j]:+.5f}", str(j + 1), model.classes[k])


def test_plots_have_the_names_of_features(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    from adagrad_nb import fit_linear, read_csv
    from adagrad_nb.callbacks import History
    from adagrad_nb.plots import plot_training

    data = tmp_path / "data.csv"
    long_name = "x" * 60
    data.write_text(f"{long_name},$job$,rich\n" + "1,cook,no\n2,judge,yes\n3,judge,yes\n" * 30)
    history = History()
    model = fit_linear(read_csv(data), callback=history)
    with warnings.catch_warnings(action="ignore"):
        figure = plot_training(model, history)
        labels = {label.get_text() for label in figure.axes[-1].get_yticklabels()}
        figure.canvas.draw()
    assert labels == {"x" * 39 + "…", "$job$=cook", "$job$=judge"}


def test_warnings_take_one_line_and_name_flags(tmp_path, capsys, monkeypatch):
    data = write_rows(tmp_path / "data")

    def run(options):
        warnings.warn("fit_linear: bad; use lr='auto', or\nstandardize_targets=True", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr("adagrad_nb.cli.train.run_train", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["train", data]) == 0
    assert capsys.readouterr().err == (
        "adagrad-nb: warning: fit_linear: bad; use --lr auto, or --standardize-targets\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_a_pipe(tmp_path, capsys, monkeypatch, number):
    """No data arrives after the first chunks; the model, and a checkpoint of the same rows, are saved at once."""
    rows = pathlib.Path(write_rows(tmp_path / "data", n=60)).read_bytes()
    model, checkpoint = tmp_path / "m.npz", tmp_path / "c.npz"
    read_end, write_end = os.pipe()
    os.write(write_end, rows)
    sent = []

    def wait_and_send():
        while not checkpoint.exists():  # the training has begun, and the handler of the signal is set
            if sent:
                return
            time.sleep(0.01)
        time.sleep(0.3)
        sent.append(time.monotonic())
        os.kill(os.getpid(), number)

    with open(read_end, "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": pipe})())
        monkeypatch.setattr(formats, "HEAD_BYTES", 1000)
        sender = threading.Thread(target=wait_and_send)
        sender.start()
        flags = ["--chunk-bytes", "400", "--checkpoint", str(checkpoint), "--model", str(model), "--lr", "0.5"]
        try:
            status = main(["train", "-", *flags])
        finally:
            sent.append(0.0)
            sender.join()
        assert time.monotonic() - sent[0] < 1
    os.close(write_end)
    assert status == 128 + number
    assert "interrupted; the model is trained on the rows so far" in capsys.readouterr().out
    n_rows = load_model(model).n_seen
    assert 40 < n_rows < 60
    resumed = train(capsys, tmp_path / "data", "--chunk-bytes", 400, "--resume", checkpoint, "--lr", 0.5)
    assert resumed["rows"] == 60
    assert resumed["progressive_loss"] == train(capsys, tmp_path / "data", "--lr", 0.5)["progressive_loss"]


def test_a_signal_before_the_first_chunk(tmp_path, capsys, monkeypatch):
    def interrupt(reader):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
        yield b""

    data = write_rows(tmp_path / "data")
    monkeypatch.setattr(ChunkedFile, "__iter__", interrupt)
    assert main(["train", data, "--quiet", "--model", str(tmp_path / "m.npz")]) == 143
    assert capsys.readouterr().err == "adagrad-nb: interrupted before the first chunk of rows was read\n"
    assert not (tmp_path / "m.npz").exists()


def test_certificate(data, tmp_path, capsys):
    path = tmp_path / "model.npz"
    summary = train(capsys, data, "--lr", "0.5", "--certificate", "-f", path)
    model = load_model(path)
    assert summary["certificate"] == model.ledger.certificate(model) / 200
    assert main(["info", str(path)]) == 0
    assert f"certificate       {summary['certificate']:.5f}: bound of the mean regret" in capsys.readouterr().out
    assert main(["train", data, "--certificate"]) == 2
    assert "--certificate: needs a fixed learning rate; add --lr 0.5" in capsys.readouterr().err
