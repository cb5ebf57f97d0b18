"""The commands predict, evaluate and convert."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.archive import atomic_write
from ..io.row_cache import write_cache
from ..linear.model_file import load_model
from ..metrics import auc, calibration_error, precision_recall
from ..records.losses import Logistic
from .data import open_reader, saved_options

if TYPE_CHECKING:
    import argparse

    from ..linear.model import LinearModel


def check_folder(path: str | None) -> None:
    """Raise ValueError if the directory of an output file does not exist."""
    folder = os.path.dirname(os.path.abspath(path)) if path else None
    if folder and not os.path.isdir(folder):
        raise ValueError(f"{path}: the directory {folder} does not exist; create it first")


def drop_unknown_features(X: Any, model: LinearModel) -> Any:
    """Return X without the columns that the model does not have; their weights are zero."""
    return X[:, : model.n_features] if X.shape[1] > model.n_features else X


def run_predict(options: argparse.Namespace) -> int:
    """Write a prediction for each row; return the exit status."""
    model = load_model(options.model)
    if options.proba and options.raw:
        raise ValueError("--raw: got --proba, too; omit one of them")
    if options.proba and not model.has_probabilities:
        raise ValueError(f"--proba: the loss {type(model.loss).__name__} has no probabilities; leave the option out")
    reader, _ = open_reader(options.data, options, model.dtype, model, has_labels=False)
    with _open_output(options.output) as file:
        for chunk in reader:
            X = drop_unknown_features(chunk.X, model)
            if options.raw:
                values = model.decision_function(X)
            else:
                values = model.predict_proba(X) if options.proba else model.predict(X)
            if options.proba and values.shape[1] == 2:
                values = values[:, 1]
            file.writelines(_format_line(value) for value in values.tolist())
    return 0


def _format_line(value):
    """Return the line of a prediction: a number or label, or one number per class."""
    return " ".join(f"{part}" for part in value) + "\n" if isinstance(value, list) else f"{value}\n"


def _open_output(path):
    """Return standard output, or a file that is written atomically."""
    if path is None:
        return contextlib.nullcontext(sys.stdout)
    check_folder(path)
    return atomic_write(path, "w")


def run_evaluate(options: argparse.Namespace) -> int:
    """Print the metrics of the predictions on data; return the exit status."""
    model = load_model(options.model)
    check_folder(options.plot)
    y, scores, metrics = evaluate_rows(model, options.data, options)
    if options.json:
        print(json.dumps(metrics))
    else:
        print_metrics(model, metrics)
        if "auc" in metrics:
            print(
                f"           {metrics['positive_rate']:.5f} of the labels are {model.classes[1]}, precision "
                f"{metrics['precision']:.5f}, recall {metrics['recall']:.5f}"
                + (f", calibration error {metrics['calibration_error']:.5f}" if "calibration_error" in metrics else "")
            )
    if options.plot:
        from .. import plots

        plots.save(plots.plot_evaluation(model, y, scores), options.plot)
        if not options.json:
            print(f"plot       {options.plot}")
    return 0


def evaluate_rows(
    model: LinearModel, paths: list[str], options: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return the targets, the decision values, and the metrics of the predictions as JSON data."""
    reader, _ = open_reader(paths, options, model.dtype, model)
    targets, values, weights = [], [], []
    for chunk in reader:
        if chunk.y is None:
            raise ValueError(f"{paths[0]}: has no labels; name their column with --label")
        targets.append(chunk.y)
        values.append(model.decision_function(drop_unknown_features(chunk.X, model)))
        weights.append(np.ones(chunk.y.size) if chunk.weight is None else chunk.weight)
    if not targets:
        raise ValueError(f"{paths[0]}: got no rows; test data needs at least one row")
    y, scores, weight = (np.concatenate(parts) for parts in (targets, values, weights))
    unknown = _unknown_labels(model, y)
    if unknown.any() and not unknown.all():
        labels = sorted(set(y[unknown].tolist()))
        metrics: dict[str, Any] = {"rows_with_unknown_labels": int(unknown.sum()), "unknown_labels": labels}
        y, scores, weight = y[~unknown], scores[~unknown], weight[~unknown]
    else:
        metrics = {}
    metrics |= {"rows": y.size, "loss": model.loss_of_scores(y, scores, weight)}
    if model.classes is None:
        metrics["rmse"] = float(np.sqrt(np.average((model.predict_from_scores(scores) - y) ** 2, weights=weight)))
        return y, scores, metrics
    if scores.ndim == 2:
        right = model.classes[np.argmax(scores, axis=1)] == y
        metrics |= {"classes": model.classes.size, "accuracy": float(np.average(right, weights=weight))}
        return y, scores, metrics
    positive, predicted = y == model.classes[1], scores > 0
    precision, recall = precision_recall(positive, predicted)
    metrics |= {
        "auc": auc(positive, scores), "accuracy": float(np.average(predicted == positive, weights=weight)),
        "precision": precision, "recall": recall, "positive_rate": float(np.average(positive, weights=weight)),
    }  # fmt: skip
    if model.has_probabilities:
        metrics["calibration_error"] = calibration_error(positive, model.predict_from_scores(scores))
    return y, scores, metrics


def _unknown_labels(model, y):
    """Return which rows have a label that a model of several classes has not seen."""
    if model.classes is None or model.coef.ndim == 1 or (y.dtype.kind in "US") != (model.classes.dtype.kind in "US"):
        return np.zeros(y.size, bool)
    return ~np.isin(y, model.classes)


def print_metrics(model: LinearModel, metrics: dict[str, Any]) -> None:
    """Print the main metrics in one line."""
    name = "log-loss" if isinstance(model.loss, Logistic) else "mean loss"
    parts = [f"{metrics['rows']:,} rows", f"{name} {metrics['loss']:.5f}"]
    if "classes" in metrics:
        parts.append(f"{metrics['classes']} classes")
    labels = {"auc": "AUC", "accuracy": "accuracy", "rmse": "RMSE"}
    parts += [f"{label} {metrics[key]:.5f}" for key, label in labels.items() if key in metrics]
    print(f"test       {', '.join(parts)}")
    if "unknown_labels" in metrics:
        names = ", ".join(map(str, metrics["unknown_labels"][:5]))
        print(f"           without {metrics['rows_with_unknown_labels']:,} rows of unknown labels: {names}")


def run_convert(options: argparse.Namespace) -> int:
    """Write the rows of files to a cache; return the exit status."""
    check_folder(options.output)
    model = load_model(options.model) if options.model else None
    reader, kept = open_reader(options.data, options, np.float32 if options.float32 else np.float64, model)

    def chunks():
        yield from reader
        kept.update(
            saved_options(kept, reader) if model is None else model.reader_options or {}
        )  # before the end of the file is written

    write_cache(chunks(), options.output, reader_options=kept)
    return 0
