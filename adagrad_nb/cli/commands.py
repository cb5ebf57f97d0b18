"""The function `main`, which runs a command."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING

from .flag_names import name_flags
from .parser import build_parser

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    It is 0 after success, 2 after an error, and 128 plus its number after a signal: 130 after Ctrl-C.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: the arguments of the process.

    Returns
    -------
    int
    """
    options = build_parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return options.run(options)
    except BrokenPipeError:  # the reader of the output closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"adagrad-nb: error: {name_flags(_message(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("adagrad-nb: interrupted", file=sys.stderr)
        return 130


def _message(error):
    """Return the message of an error in one line; of an error of the system, the file and the reason."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return " ".join(str(error).splitlines())


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """Print a warning in one line."""
    print(f"adagrad-nb: warning: {name_flags(_message(message))}", file=sys.stderr)
