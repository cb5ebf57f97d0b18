"""The command line ``adagrad-nb``: the commands train, predict, evaluate, info, explain and convert.

`commands` has the function `main`, `parser` the commands and flags, `data` the readers, `train`, `evaluate` and
`describe` the commands, `monitor` the table and the progress bar of a training, and `flag_names` the errors.
"""

from .commands import main

__all__ = ["main"]
