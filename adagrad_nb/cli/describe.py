"""The commands info and explain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ..linear.explanation import feature_name, largest_weights
from ..linear.model_file import load_model
from .data import open_reader
from .evaluate import drop_unknown_features

if TYPE_CHECKING:
    import argparse

    from ..linear.model import LinearModel


def run_info(options: argparse.Namespace) -> int:
    """Describe a model file; return the exit status."""
    if options.top < 0:
        raise ValueError(f"--top: got {options.top}; must be at least 0")
    model = load_model(options.model)
    description = _describe(model)
    if options.json:
        found = {"file": options.model} | description | {"largest_weights": _largest(model, options.top)}
        print(json.dumps(found | ({"candidates": candidates_of(model)} if model.is_searching else {})))
        return 0
    print(options.model)
    for name, value in description.items():
        print(f"{name:16}  {value}")
    if model.is_searching:
        print_candidates(model)
    if options.top:
        _print_largest(model, options.top)
    if options.columns:
        if model.columns is None:
            raise ValueError(f"--columns: {options.model} was not trained on a table; omit it")
        print(f"\n{model.columns}")
    return 0


def _describe(model):
    """Return the names and values of the lines of a description."""
    used = np.count_nonzero(np.any(np.atleast_2d(model.coef) != 0, axis=0))
    state = model.parameters.state
    training = {
        "rule": str(state.rule),
        "learning rate": str(state.lr),
        "steps": _describe_steps(model),
        "penalty": str(state.penalty),
    }
    if model.is_weights_only:
        training = {"training state": "none, saved with weights_only=True; for predictions only"}
    lines: dict[str, str] = {"loss": str(model.loss)} | training
    lines |= {
        "precision": str(model.dtype),
        "rows trained on": f"{model.n_seen:,}",
        "progressive loss": f"{model.progressive_loss:.5f}",
        "features": f"{model.n_features:,}, {used:,} with non-zero weights",
        "intercept": " ".join(f"{value:.6g}" for value in np.atleast_1d(model.intercept)),
    }
    if model.has_ledger:
        lines["certificate"] = describe_certificate(model)
    if model.coef.ndim == 2:
        lines["classes"] = ", ".join(str(label) for label in model.classes)
    elif model.classes is not None:
        lines["classes"] = f"{model.classes[0]}, {model.classes[1]} (positive)"
    if model.columns is not None:
        lines["columns"] = f"{len(model.columns.names)}; --columns lists them"
    if model.reader_options is not None:
        lines["data"] = ", ".join(f"{name} {value}" for name, value in model.reader_options.items() if name != "header")
    return lines


def mean_certificate(model: LinearModel) -> float | None:
    """Return the bound of the mean regret against the present weights, or None if there is none."""
    ledger: Any = model.ledger
    try:
        return ledger.certificate(model) / max(ledger.total_weight, 1e-300)
    except ValueError:
        return None


def describe_certificate(model: LinearModel) -> str:
    """Return a sentence of the certificate of a model with a ledger."""
    bound = mean_certificate(model)
    if bound is None:
        return "none; use --rule adagrad, or --rule rda with --eps"
    return f"{bound:.5f}: bound of the mean regret against the present weights"


def _largest(model, most):
    """Return the largest weights as JSON data: the label, if there are several, the feature and the weight."""
    order, coef = largest_weights(model.coef, most)
    found = [{"feature": feature_name(model, index), "weight": float(coef[index])} for index in order.tolist()]
    if model.coef.ndim == 2:
        positions = np.argmax(np.abs(model.coef[:, order]), axis=0)
        for item, position in zip(found, positions.tolist(), strict=True):
            item["class"] = model.classes[position].item()
    return found


def _print_largest(model, most):
    print("largest weights")
    for item in _largest(model, most):
        label = f"  {item['class']}" if "class" in item else ""
        print(f"{item['weight']:+22.5f}   {item['feature']}{label}")


def _describe_steps(model):
    flags = [name for name in ("normalized", "invariant") if getattr(model, name)]
    flags += ["invariant", "scaled by the root mean squares of the features"] if model.is_searching else []
    flags += ["standardised targets"] if model.standardize_targets else []
    return ", ".join(dict.fromkeys(flags)) or "plain"


def candidates_of(model: LinearModel) -> list[dict[str, Any]]:
    """Return the learning rates of a search as JSON data."""
    return [
        {"rate": rate, "progressive_loss": loss if np.isfinite(loss) else None, "removed_at": removed_at}
        for rate, loss, removed_at in model.candidates
    ]


def print_candidates(model: LinearModel) -> None:
    """Print the learning rates of a search, with their losses and the updates at which they were removed."""
    print("candidates        rate      progressive loss   removed after")
    for rate, loss, removed_at in model.candidates:
        end = f"{removed_at:,} updates" if removed_at else "chosen" if rate == model.rate else "remains"
        print(f"{rate:22g}   {loss:19.5f}   {end}")


def _names_of(reader):
    """Return the lists of names of hashed features that a reader has collected."""
    if getattr(reader, "hashed_names", None) is not None:
        return {index: sorted(names) for index, names in reader.hashed_names.items()}
    names = getattr(reader, "feature_names", None)
    return names if isinstance(names, dict) else None


def run_explain(options: argparse.Namespace) -> int:
    """Print the largest contributions to the prediction of a row; return the exit status."""
    if options.row < 1:
        raise ValueError(f"--row: got {options.row}; must be at least 1")
    if options.top < 1:
        raise ValueError(f"--top: got {options.top}; must be at least 1")
    model = load_model(options.model)
    reader, _ = open_reader(options.data, options, model.dtype, model, has_labels=False, keep_names=True)
    first = 1
    for chunk in reader:
        if options.row < first + chunk.X.shape[0]:
            row = drop_unknown_features(chunk.X, model)[[options.row - first]]
            print(model.explain(row, options.top, names=_names_of(reader)))
            return 0
        first += chunk.X.shape[0]
    raise ValueError(f"--row: got {options.row}, but the data has {first - 1} rows")
