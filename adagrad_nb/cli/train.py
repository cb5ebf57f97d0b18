"""The command train."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.readers import ReadingInterrupted
from ..io.row_cache import CachedReader, CachedRows
from ..linear.checkpoint import Checkpoint
from ..linear.fit import fit_linear
from ..linear.model_file import load_model
from ..records.averaging import Polyak
from ..records.dual_averaging import FTRL, RDA
from ..records.losses import LOSSES
from ..records.penalties import L1, L2, ElasticNet
from ..records.rules import Adadelta, Adagrad
from .data import open_reader, saved_options
from .describe import candidates_of, describe_certificate, mean_certificate, print_candidates
from .evaluate import check_folder, evaluate_rows, print_metrics
from .monitor import TrainingMonitor

if TYPE_CHECKING:
    from ..linear.model import LinearModel

RULES = {"adadelta": Adadelta, "adagrad": Adagrad, "ftrl": FTRL, "rda": RDA}
SIGNAL_STATUS = 128  # the exit status after a signal is this plus its number, as in shells


def run_train(options: argparse.Namespace) -> int:
    """Train a model; return the exit status."""
    dtype = np.float32 if options.float32 else None
    fit_options = _fit_options(options)
    model = fit_options["model"]
    if options.certificate and model is None and not isinstance(options.lr, float):
        raise ValueError("--certificate: needs a fixed learning rate; add --lr 0.5 or another number")
    reader, kept = open_reader(options.data, options, dtype or np.float64, model, is_training=True)
    # Check the output paths and the test file first, because the training may take hours.
    for path in (options.model, options.plot, options.cache):
        check_folder(path)
    test_options = argparse.Namespace(**vars(options) | {"columns": None, "interactions": None})
    if options.test:
        open_reader([options.test], test_options, dtype or np.float64, model, expected=kept["format"])
    is_quiet = options.quiet or options.json
    with contextlib.ExitStack() as stack:
        rows = _with_cache(reader, options, stack)
        monitor = stack.enter_context(TrainingMonitor(rows, options.passes, is_quiet))
        try:
            new = fit_linear(monitor.watched(), dtype=dtype, rng=options.seed, callback=monitor, **fit_options)
        except ReadingInterrupted:
            print("adagrad-nb: interrupted before the first chunk of rows was read", file=sys.stderr)
            return SIGNAL_STATUS + (monitor.interrupted or 0)
    if options.positive and not getattr(reader, "has_positive", True):
        raise ValueError(f"--positive: got {', '.join(options.positive)}, but no row has such a label; correct it")
    is_known = model is not None and model.reader_options is not None
    new.reader_options = model.reader_options if is_known else saved_options(kept, reader)
    model = new
    result = _summarize(model, monitor)
    if not options.json:
        _print_summary(model, monitor, fit_options["checkpoint"])
        if model.is_searching and not options.quiet:
            print_candidates(model)
    if options.model:
        model.save(options.model, weights_only=options.weights_only)
        result["model"] = options.model
        if not options.json:
            print(f"model      {options.model}")
    test = None
    if options.test:
        y, scores, result["test"] = evaluate_rows(model, [options.test], test_options)
        test = y, scores
        if not options.json:
            print_metrics(model, result["test"])
    if options.plot:
        from .. import plots

        plots.save(plots.plot_training(model, monitor.history, test), options.plot)
        result["plot"] = options.plot
        if not options.json:
            print(f"plot       {options.plot}")
    if options.json:
        print(json.dumps(result))
    return 0 if monitor.interrupted is None else SIGNAL_STATUS + monitor.interrupted


def _fit_options(options):
    """Return the options of `fit_linear`."""
    return {
        "loss": _make_loss(options.loss, options.loss_parameter),
        "penalty": _make_penalty(options.l1, options.l2),
        "rule": _make_rule(options.rule, options.eps),
        "intercept": False if options.no_intercept else None,
        "normalized": options.normalized or None,
        "invariant": options.invariant or None,
        "standardize_targets": options.standardize_targets,
        "average": None if options.average is None else Polyak(options.average),
        "batch_size": options.batch_size,
        "early_stopping": options.early_stopping or None,
        "class_weight": dict(options.class_weight) if options.class_weight else None,
        "classes": None if options.classes is None else [_parse_label(label) for label in options.classes.split(",")],
        "model": load_model(options.initial_model) if options.initial_model else None,
        "checkpoint": _make_checkpoint(options),
        "resume": options.resume,
        "ledger": options.certificate or None,
    } | {name: getattr(options, name) for name in ("lr", "passes", "shuffle", "threads")}


def _make_checkpoint(options):
    """Return the record of the checkpoints, or None; a resumed training goes on to write its file."""
    path = options.checkpoint or options.resume
    if path is None:
        if options.checkpoint_seconds is not None:
            raise ValueError("--checkpoint-seconds: needs --checkpoint FILE; omit it, or name the file")
        return None
    seconds = 60.0 if options.checkpoint_seconds is None else options.checkpoint_seconds
    return Checkpoint(path, seconds)  # type: ignore[call-arg]


def _with_cache(reader, options, stack):
    """Return a reader whose rows are parsed once, if the flags or several passes ask for it."""
    if options.cache and options.no_cache:
        raise ValueError("--no-cache: got --cache, too; omit one of them")
    if isinstance(reader, CachedRows) or not (options.cache or (options.passes > 1 and not options.no_cache)):
        return reader
    if options.cache:
        return CachedReader(reader, options.cache)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="adagrad_nb-"))
    return CachedReader(reader, os.path.join(folder, "rows.cache"))


def _make_loss(name, parameter):
    if parameter is None:
        return name
    if not getattr(LOSSES.get(name), "_fields", ()):
        raise ValueError(
            f"--loss-parameter: got {parameter}, but the loss {name or 'logistic'} has no parameter; leave it out"
        )
    return LOSSES[name](parameter)


def parse_rate(text: str) -> str | float:
    """Return the argument of --lr, a number or "auto"."""
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; must be a number or 'auto'") from None


def parse_class_weight(text: str) -> tuple[Any, float]:
    """Return the label and the weight of an argument of --class-weight."""
    label, mark, weight = text.rpartition("=")
    try:
        if mark and label:
            return _parse_label(label), float(weight)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"got {text!r}; must be a label and a number, such as spam=2")


def _parse_label(text):
    words = {"true": True, "false": False}  # labels of --positive, and of columns of Booleans
    try:
        return float(text)
    except ValueError:
        return words.get(text.strip().lower(), text.strip())


def _make_penalty(l1, l2):
    if l1 and l2:
        return ElasticNet(l1, l2)
    return L1(l1) if l1 else L2(l2) if l2 else None


def _make_rule(name, eps):
    """Return the rule, or None if neither --rule nor --eps is given."""
    if name is None and eps is None:
        return None
    rule = RULES[name or "adagrad"]()
    if eps is None:
        return rule
    if not hasattr(rule, "eps"):
        raise ValueError(f"--eps: got {eps}, but the rule {name} has no eps; leave the option out")
    return rule._replace(eps=eps)


def _summarize(model: LinearModel, monitor: TrainingMonitor) -> dict[str, Any]:
    """Return the result of the training as JSON data."""
    coef = model.coef
    summary: dict[str, Any] = {
        "rows": model.n_seen,
        "seconds": monitor.history.seconds[-1] if monitor.history.seconds else 0.0,
        "features": model.n_features,
        "nonzero_weights": int(np.count_nonzero(coef)),
        "progressive_loss": model.progressive_loss,
        "interrupted": monitor.interrupted is not None,
    }
    if model.has_several_rates:
        summary["learning_rate"] = model.rate
    if model.has_ledger:
        summary["certificate"] = mean_certificate(model)
    return summary | ({"candidates": candidates_of(model)} if model.is_searching else {})


def _print_summary(model, monitor, checkpoint):
    seconds = monitor.history.seconds[-1] if monitor.history.seconds else 0.0
    coef = model.coef
    if monitor.interrupted is not None:
        print("interrupted; the model is trained on the rows so far")
        if checkpoint is not None:
            print(f"checkpoint {checkpoint.path}; to go on, add --resume {checkpoint.path} to the command")
    print(
        f"trained on {model.n_seen:,} rows in {seconds:.2f} s, {np.count_nonzero(coef):,} of {coef.size:,} weights "
        f"are non-zero\nprogressive loss {model.progressive_loss:.5f}"
        + (
            f" at the learning rate {model.rate:g}, the best of {_count_rates(model)}"
            if model.has_several_rates
            else ""
        )
    )
    if model.has_ledger:
        print(f"certificate {describe_certificate(model)}")


def _count_rates(model):
    """Return the number of learning rates that a model has tried."""
    return len(model.candidates) if model.is_searching else model.rates.size
