"""Commands and flags of the command line."""

from __future__ import annotations

import argparse
from typing import NoReturn

from .. import __version__
from ..records.losses import LOSSES
from . import describe, evaluate, train
from .data import HELP, add_data_flags


class Parser(argparse.ArgumentParser):
    """Parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        """Print an error and exit with the status 2."""
        self.exit(2, f"{self.prog}: error: {message}; {self.prog} --help lists the options\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(prog="adagrad-nb", description="Train linear models online on sparse data with Adagrad.")
    parser.add_argument("--version", action="version", version=f"adagrad-nb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_info(commands)
    _add_explain(commands)
    _add_convert(commands)
    return parser


def _add_train(commands):
    command = commands.add_parser("train", help="train a model on files, which may be larger than memory")
    command.set_defaults(run=train.run_train)
    command.add_argument("data", metavar="DATA", nargs="+", help=HELP)
    command.add_argument("--test", metavar="FILE", help="test data; the trained model is evaluated on it")
    command.add_argument(
        "-f", "--model", metavar="OUT",
        help="file to save the model to; it holds all that is needed to continue training",
    )  # fmt: skip
    command.add_argument(
        "--weights-only", action="store_true",
        help="save only what predictions need: a smaller file, from which training cannot continue",
    )  # fmt: skip
    command.add_argument("-i", "--initial-model", metavar="FILE", help="continue training this model on new rows")
    command.add_argument("--plot", metavar="PNG", help="file to save a plot of the training to")
    command.add_argument("--quiet", action="store_true", help="print no table and no progress bar")
    command.add_argument("--json", action="store_true", help="print the result as JSON, and no table")
    _add_method(command.add_argument_group("method"))
    _add_passes(command.add_argument_group("passes"))
    add_data_flags(command)


def _add_method(group):
    group.add_argument("--loss", choices=sorted(LOSSES), help="default: logistic, and softmax for more than two labels")
    group.add_argument(
        "--loss-parameter", type=float, metavar="X",
        help="tau of quantile, delta of huber, gamma of smooth_hinge, epsilon of the epsilon-insensitive losses",
    )  # fmt: skip
    group.add_argument(
        "-l", "--lr", "--learning-rate", type=train.parse_rate, default="auto", metavar="RATE",
        help="learning rate, or 'auto' to search in the same pass; default: auto, or that of --initial-model",
    )  # fmt: skip
    group.add_argument("--rule", choices=sorted(train.RULES), help="default: adagrad")
    group.add_argument("--eps", type=float, help="eps of the rule; default: 1e-10 (adagrad), 0 (rda), 1e-6 (adadelta)")
    group.add_argument(
        "--normalized", action="store_true", help="divide each feature by its largest absolute value so far"
    )
    group.add_argument("--invariant", action="store_true", help="use importance-weight-aware updates")
    group.add_argument(
        "--standardize-targets", action=argparse.BooleanOptionalAction,
        help="regression: estimate the mean and the scale of the targets; default: only with --lr auto",
    )  # fmt: skip
    group.add_argument("--l1", type=float, default=0.0, help="strength of the lasso penalty; default: 0")
    group.add_argument("--l2", type=float, default=0.0, help="strength of the ridge penalty; default: 0")
    group.add_argument("--no-intercept", action="store_true", help="train without an intercept")
    group.add_argument(
        "--certificate", action="store_true",
        help="keep a ledger of regret, and print a bound of the mean regret; needs a fixed --lr",
    )  # fmt: skip
    group.add_argument("--batch-size", type=int, metavar="N", help="number of rows for each update; default: 1")
    group.add_argument(
        "--average", type=int, nargs="?", const=0, metavar="START",
        help="report the mean of the weights after update START, by default all",
    )  # fmt: skip
    group.add_argument(
        "--class-weight", action="append", type=train.parse_class_weight, metavar="LABEL=W",
        help="factor of the weights of the rows with a label; may be repeated",
    )  # fmt: skip
    group.add_argument("--classes", metavar="LABELS", help="all labels, with commas, if the first rows lack some")
    group.add_argument("--float32", action="store_true", help="train in single precision")


def _add_passes(group):
    group.add_argument("--passes", type=int, default=1, help="number of passes through the data; default: 1")
    group.add_argument(
        "--early-stopping", action="store_true", help="stop when the loss of held-out rows stops decreasing"
    )
    group.add_argument("--shuffle", action="store_true", help="shuffle the rows of each chunk")
    group.add_argument("--seed", type=int, help="seed of --shuffle and --early-stopping; default: random")
    group.add_argument("--threads", type=int, default=1, metavar="N", help="number of workers; default: 1")
    group.add_argument(
        "--cache", metavar="FILE",
        help="write the parsed rows to this file in the first pass, and read them in the next ones; with several "
        "passes the default is a temporary file",
    )  # fmt: skip
    group.add_argument("--no-cache", action="store_true", help="parse the data in each pass")
    group.add_argument(
        "--checkpoint", metavar="FILE", help="save the state of the training to this file at intervals and on signals"
    )
    group.add_argument(
        "--checkpoint-seconds", type=float, metavar="S", help="time between two checkpoints; default: 60"
    )
    group.add_argument("--resume", metavar="FILE", help="go on from this checkpoint, with the same data and flags")


def _add_predict(commands):
    command = commands.add_parser("predict", help="predict the rows of files, one line per row")
    command.set_defaults(run=evaluate.run_predict)
    _add_model_and_data(command)
    command.add_argument("--output", metavar="FILE", help="default: standard output")
    command.add_argument(
        "--proba", action="store_true", help="predict the probability of the positive label, or of each class"
    )
    command.add_argument("--raw", action="store_true", help="predict the decision values")
    add_data_flags(command)


def _add_evaluate(commands):
    command = commands.add_parser("evaluate", help="compare the predictions of a model with the labels of files")
    command.set_defaults(run=evaluate.run_evaluate)
    _add_model_and_data(command)
    command.add_argument("--plot", metavar="PNG", help="file to save a plot of the quality of the predictions to")
    command.add_argument("--json", action="store_true", help="print the metrics as JSON")
    add_data_flags(command)


def _add_info(commands):
    command = commands.add_parser("info", help="describe a model file")
    command.set_defaults(run=describe.run_info)
    command.add_argument("model", metavar="MODEL")
    command.add_argument("--top", type=int, default=10, metavar="N", help="number of largest weights; default: 10")
    command.add_argument("--columns", action="store_true", help="list the columns of the table it was trained on")
    command.add_argument("--json", action="store_true", help="print the description as JSON")


def _add_explain(commands):
    command = commands.add_parser("explain", help="list the largest contributions to the prediction of a row")
    command.set_defaults(run=describe.run_explain)
    _add_model_and_data(command)
    command.add_argument("--row", type=int, default=1, metavar="N", help="number of the row, from 1; default: 1")
    command.add_argument("--top", type=int, default=10, metavar="N", help="number of contributions; default: 10")
    add_data_flags(command)


def _add_convert(commands):
    command = commands.add_parser("convert", help="parse files once, into a cache that is read without parsing")
    command.set_defaults(run=evaluate.run_convert)
    command.add_argument("data", metavar="DATA", nargs="+", help=HELP)
    command.add_argument("output", metavar="CACHE")
    command.add_argument("-f", "--model", metavar="MODEL", help="make the features of this model, to test it")
    command.add_argument("--float32", action="store_true", help="keep single precision")
    add_data_flags(command)


def _add_model_and_data(command):
    command.add_argument("model", metavar="MODEL")
    command.add_argument("data", metavar="DATA", nargs="+", help=HELP)
