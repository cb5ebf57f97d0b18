"""The function `main`, which runs a command."""

from __future__ import annotations

import os
import sys
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
