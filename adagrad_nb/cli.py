"""The command line ``adagrad-nb``: the commands train, predict and info."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import numpy as np

from . import __version__
from .callbacks import History, Table
from .io.archive import atomic_write
from .io.readers import DUPLICATES, read_svmlight
from .linear.fit import fit_linear
from .linear.model_file import load_model
from .metrics import auc
from .records.dual_averaging import FTRL, RDA
from .records.losses import LOSSES, Logistic
from .records.penalties import L1, L2, ElasticNet
from .records.rules import Adadelta, Adagrad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .io.readers import SvmlightFile
    from .linear.trainer import Progress

RULES = {"adadelta": Adadelta, "adagrad": Adagrad, "ftrl": FTRL, "rda": RDA}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 success, 2 error, 130 interrupted.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: the arguments of the process.

    Returns
    -------
    int
    """
    options = _build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except BrokenPipeError:  # the reader of the output closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"adagrad-nb: error: {name_flags(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("adagrad-nb: interrupted", file=sys.stderr)
        return 130


# Arguments of the functions in error messages, and the flags that set them, as regular expressions.
_FLAGS = (
    (r"^(lr|loss|rule|passes|shuffle|normalized|invariant): ", r"--\1: "),
    (r"^rng: ", "--seed: "),
    (r"^intercept: ", "--no-intercept: "),
    (r"^dtype: ", "--float32: "),
    (r"^(?:L1|L2)\.strength: |^ElasticNet\.l[12]: ", lambda match: f"--{'l1' if '1' in match[0] else 'l2'}: "),
    (r"^(?:Adagrad|Adadelta|RDA)\.eps: ", "--eps: "),
    (r"^\w+\.(?:tau|delta|gamma|epsilon): ", "--loss-parameter: "),
    (r"^[Xy]: ", "DATA: "),
    (r"\bwith zero_based=False\b", "without --zero-based"),
    (r"\bzero_based=True\b", "--zero-based"),
    (r"\bduplicates='sum'", "--duplicates sum"),
    (r"\bpass dtype=np\.float64\b|\bleave dtype out\b", "omit --float32"),
    (r"\bleave lr out\b", "omit --lr"),
    (r"\ba smaller lr\b", "a smaller --lr"),
    (r"(?<!has )\b(normalized|invariant)=False\b", r"omit --\1"),
    (r"\bAdagrad\(…\)", "--rule adagrad"),
    (r"; use False, or train\b", "; omit it, or train"),
    (r"\bL1, Box, NonNegative or Bounded\(L1\(…\)\)", "--l1"),
    (r"\bwith all classes=\[…\]", "on a file with all labels"),
    (r"\ba loss for numbers such as 'squared'", "a loss for numbers such as --loss squared"),
    (r"\bscale (?:the columns of )?X(?:, y or sample_weight)?\b", "scale the data"),
)


def name_flags(message: str) -> str:
    """Return an error message of the package with the flags of the command line in place of arguments.

    Parameters
    ----------
    message : str

    Returns
    -------
    str
    """
    for pattern, replacement in _FLAGS:
        message = re.sub(pattern, replacement, message)
    return message


def _build_parser():
    parser = argparse.ArgumentParser(
        prog="adagrad-nb", description="Train linear models online on sparse data with Adagrad."
    )
    parser.add_argument("--version", action="version", version=f"adagrad-nb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data = "svmlight text, plain or compressed by gzip, xz, bzip2 or zstd"

    train = commands.add_parser("train", help="train a model on a file, which may be larger than memory")
    train.set_defaults(run=_run_train)
    train.add_argument("data", metavar="DATA", help=data)
    train.add_argument("--test", metavar="FILE", help="test data; the trained model is evaluated on it")
    train.add_argument(
        "--model", metavar="OUT", help="file to save the model to; it holds all that is needed to continue training"
    )
    train.add_argument("--initial-model", metavar="FILE", help="continue training this model")
    train.add_argument("--plot", metavar="PNG", help="file to save a plot of the training to")
    train.add_argument("--loss", choices=sorted(LOSSES), help="default: logistic")
    train.add_argument(
        "--loss-parameter", type=float, metavar="X",
        help="tau of quantile, delta of huber, gamma of smooth_hinge, epsilon of the epsilon-insensitive losses",
    )  # fmt: skip
    train.add_argument(
        "--lr", "--learning-rate", type=_parse_rate, default="auto", metavar="RATE",
        help="learning rate, or 'auto' to search in the same pass; default: auto, or that of --initial-model",
    )  # fmt: skip
    train.add_argument("--rule", choices=sorted(RULES), help="default: adagrad")
    train.add_argument(
        "--eps", type=float, help="eps of the rule; default: 1e-10 (adagrad; 0 in a search), 0 (rda), 1e-6 (adadelta)"
    )
    train.add_argument(
        "--normalized", action="store_true", help="divide each feature by its largest absolute value so far"
    )
    train.add_argument("--invariant", action="store_true", help="use importance-weight-aware updates")
    train.add_argument(
        "--standardize-targets", action=argparse.BooleanOptionalAction,
        help="regression: estimate the mean and the scale of the targets; default: only with --lr auto",
    )  # fmt: skip
    train.add_argument("--l1", type=float, default=0.0, help="strength of the lasso penalty; default: 0")
    train.add_argument("--l2", type=float, default=0.0, help="strength of the ridge penalty; default: 0")
    train.add_argument("--passes", type=int, default=1, help="number of passes through the data; default: 1")
    train.add_argument("--shuffle", action="store_true", help="shuffle the rows of each chunk")
    train.add_argument("--seed", type=int, help="seed of --shuffle; default: random")
    train.add_argument("--no-intercept", action="store_true", help="train without an intercept")
    train.add_argument("--float32", action="store_true", help="train in single precision")
    _add_format(train)
    train.add_argument("--quiet", action="store_true", help="print no table and no progress bar")

    predict = commands.add_parser("predict", help="predict the rows of a file, one line per row")
    predict.set_defaults(run=_run_predict)
    predict.add_argument("model", metavar="MODEL")
    predict.add_argument("data", metavar="DATA", help=data)
    predict.add_argument("--output", metavar="FILE", help="default: standard output")
    predict.add_argument(
        "--proba", action="store_true", help="predict the probability of the positive label, or of each class"
    )
    _add_format(predict)

    info = commands.add_parser("info", help="describe a model file")
    info.set_defaults(run=_run_info)
    info.add_argument("model", metavar="MODEL")
    return parser


def _add_format(command):
    """Add the options of the reader."""
    command.add_argument("--zero-based", action="store_true", help="column indices in the data start at 0, not 1")
    command.add_argument(
        "--duplicates", choices=DUPLICATES, default="error",
        help="treatment of an index that occurs twice in a row: stop, or add up the values; default: error",
    )  # fmt: skip


def _open_reader(path, options, dtype):
    """Return the reader of a data file."""
    return read_svmlight(path, zero_based=options.zero_based, dtype=dtype, duplicates=options.duplicates)


# --- train -------------------------------------------------------------------------------------------------------


def _run_train(options):
    dtype = np.float32 if options.float32 else None
    reader = _open_reader(options.data, options, dtype or np.float64)
    fit_options = {
        "penalty": _make_penalty(options.l1, options.l2),
        "rule": _make_rule(options.rule, options.eps),
        "intercept": False if options.no_intercept else None,
        "normalized": options.normalized or None,
        "invariant": options.invariant or None,
        "standardize_targets": options.standardize_targets,
        "model": load_model(options.initial_model) if options.initial_model else None,
    }
    fit_options |= {name: getattr(options, name) for name in ("lr", "passes", "shuffle")}
    fit_options["loss"] = _make_loss(options.loss, options.loss_parameter)
    # Check the output paths and the test file first, because the training may take hours.
    for path in (options.model, options.plot):
        _check_folder(path)
    if options.test and os.path.isfile(options.test):  # a pipe can be opened only once
        with open(options.test, "rb"):
            pass
    elif options.test:
        read_svmlight(options.test)
    with TrainingMonitor(reader, options.passes, options.quiet) as monitor:
        model = fit_linear(reader, dtype=dtype, rng=options.seed, callback=monitor, **fit_options)
    _print_summary(model, monitor)
    if model.is_searching and not options.quiet:
        _print_candidates(model)
    if options.model:
        model.save(options.model)
        print(f"model      {options.model}")
    test = _evaluate_test_data(model, options) if options.test else None
    if options.plot:
        from . import plots

        plots.save(plots.plot_training(model, monitor.history, test), options.plot)
        print(f"plot       {options.plot}")
    return 130 if monitor.interrupted else 0


def _make_loss(name, parameter):
    if parameter is None:
        return name
    if not getattr(LOSSES.get(name), "_fields", ()):
        raise ValueError(
            f"--loss-parameter: got {parameter}, but the loss {name or 'logistic'} has no parameter; leave it out"
        )
    return LOSSES[name](parameter)


def _parse_rate(text):
    """Return the argument of --lr, a number or "auto"."""
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; must be a number or 'auto'") from None


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


def _check_folder(path):
    """Raise ValueError if the directory of an output file does not exist."""
    folder = os.path.dirname(os.path.abspath(path)) if path else None
    if folder and not os.path.isdir(folder):
        raise ValueError(f"{path}: the directory {folder} does not exist; create it first")


class TrainingMonitor:
    """Callback that prints a table, records the history, shows a progress bar and stops the training on Ctrl-C."""

    def __init__(self, reader: SvmlightFile, passes: int, quiet: bool) -> None:
        self.reader, self.quiet = reader, quiet
        self.history = History()
        self.interrupted = False
        self.progress_bar = None if quiet or not sys.stderr.isatty() else self._make_bar(reader, passes)
        self.table = Table(self.progress_bar.write if self.progress_bar is not None else None)

    @staticmethod
    def _make_bar(reader, passes):
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError("the progress bar needs tqdm; run pip install 'adagrad_nb[progress]'") from error
        total = None if reader.size is None else reader.size * passes
        return tqdm(total=total, unit="B", unit_scale=True, desc="train", leave=False, file=sys.stderr)

    def __enter__(self):
        self.previous_handler = signal.getsignal(signal.SIGINT)
        with contextlib.suppress(ValueError):  # signal handlers can be set in the main thread only
            signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def __exit__(self, kind, error, trace):
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, self.previous_handler)
        if self.progress_bar is not None:
            self.progress_bar.close()
        if kind is None and not self.quiet:
            self.table.line()

    def _on_interrupt(self, number, frame):
        if self.interrupted:  # a second Ctrl-C stops at once
            raise KeyboardInterrupt
        self.interrupted = True

    def __call__(self, progress: Progress) -> None:
        self.history(progress)
        if not self.quiet:
            self.table(progress)
        if self.progress_bar is not None:
            done = progress.passes * (self.reader.size or 0) + self.reader.position
            self.progress_bar.update(max(done - self.progress_bar.n, 0))
        if self.interrupted:
            raise StopIteration


def _print_summary(model, monitor):
    seconds = monitor.history.seconds[-1] if monitor.history.seconds else 0.0
    coef = model.coef
    if monitor.interrupted:
        print("interrupted; the model is trained on the rows so far")
    print(
        f"trained on {model.n_seen:,} rows in {seconds:.2f} s, {np.count_nonzero(coef):,} of {coef.size:,} weights "
        f"are non-zero\nprogressive loss {model.progressive_loss:.5f}"
        + (
            f" at the learning rate {model.rate:g}, the best of {_count_rates(model)}"
            if hasattr(model, "rates")
            else ""
        )
    )


def _count_rates(model):
    """Return the number of learning rates that a model has tried."""
    return len(model.candidates) if model.is_searching else model.rates.size


def _evaluate_test_data(model, options):
    """Print the metrics on the test data and return (y, decision values)."""
    reader = _open_reader(options.test, options, model.dtype)
    y, scores = [], []
    for chunk in reader:
        y.append(chunk.y)
        scores.append(model.decision_function(_drop_unknown_features(chunk.X, model)))
    if not y:
        raise ValueError(f"{options.test}: got no rows; test data needs at least one row")
    y, scores = np.concatenate(y), np.concatenate(scores)
    if scores.ndim == 2:
        loss = model.loss_of_scores(y, scores)
        accuracy = np.mean(model.classes[np.argmax(scores, axis=1)] == y)
        print(
            f"test       {y.size:,} rows, mean loss {loss:.5f}, {model.classes.size} classes, accuracy {accuracy:.5f}"
        )
        return y, scores
    loss = model.loss_of_scores(y, scores)
    if model.classes is None:
        error = np.sqrt(np.mean((model.predict_from_scores(scores) - y) ** 2))
        print(f"test       {y.size:,} rows, mean loss {loss:.5f}, RMSE {error:.5f}")
        return y, scores
    positive = y == model.classes[1]
    accuracy = np.mean((scores > 0) == positive)
    name = "log-loss" if isinstance(model.loss, Logistic) else "mean loss"
    print(f"test       {y.size:,} rows, {name} {loss:.5f}, AUC {auc(positive, scores):.5f}, accuracy {accuracy:.5f}")
    return y, scores


def _drop_unknown_features(X, model):
    """Return X without the columns that the model does not have; their weights are zero."""
    return X[:, : model.n_features] if X.shape[1] > model.n_features else X


# --- predict and info --------------------------------------------------------------------------------------------


def _run_predict(options):
    model = load_model(options.model)
    if options.proba and not model.has_probabilities:
        raise ValueError(f"--proba: the loss {type(model.loss).__name__} has no probabilities; leave the option out")
    reader = _open_reader(options.data, options, model.dtype)
    with _open_output(options.output) as file:
        for chunk in reader:
            X = _drop_unknown_features(chunk.X, model)
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
    _check_folder(path)
    return atomic_write(path, "w")


def _describe_steps(model):
    flags = [name for name in ("normalized", "invariant") if getattr(model, name)]
    if model.is_searching and model.parameters.is_scaled:
        flags += ["invariant", "scaled by the root mean squares of the features"]
    flags += ["standardised targets"] if model.standardize_targets else []
    return ", ".join(flags) or "plain"


def _run_info(options):
    model = load_model(options.model)
    used = np.count_nonzero(np.any(np.atleast_2d(model.coef) != 0, axis=0))
    print(
        f"{options.model}\n"
        f"loss              {model.loss}\n"
        f"rule              {model.parameters.state.rule}\n"
        f"learning rate     {model.parameters.state.lr}\n"
        f"steps             {_describe_steps(model)}\n"
        f"penalty           {model.parameters.state.penalty}\n"
        f"precision         {model.dtype}\n"
        f"rows trained on   {model.n_seen:,}\n"
        f"progressive loss  {model.progressive_loss:.5f}\n"
        f"features          {model.n_features:,}, {used:,} with non-zero weights\n"
        f"intercept         {' '.join(f'{value:.6g}' for value in np.atleast_1d(model.intercept))}"
    )
    if model.coef.ndim == 2:
        print(f"classes           {', '.join(str(label) for label in model.classes)}")
    elif model.classes is not None:
        print(f"classes           {model.classes[0]}, {model.classes[1]} (positive)")
    if model.is_searching:
        _print_candidates(model)
    return 0


def _print_candidates(model):
    """Print the learning rates of a search, with their losses and the updates at which they were removed."""
    print("candidates        rate      progressive loss   removed after")
    for rate, loss, removed_at in model.candidates:
        end = "chosen" if rate == model.rate else "remains"
        if removed_at is not None:
            end = f"{removed_at:,} updates" if removed_at else "not trained"
        print(f"{rate:22g}   {loss:19.5f}   {end}")
