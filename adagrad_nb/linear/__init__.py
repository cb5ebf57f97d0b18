"""Linear models trained online on sparse rows: `fit_linear` and what it returns.

Read `fit` first, then `trainer`, `dispatch` (choice of the kernel) and `model`.  `kernels/` holds the loops over rows.
"""

from .fit import fit_linear

__all__ = ["fit_linear"]
