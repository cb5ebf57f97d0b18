"""Groups of features: the features of each group, for the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


class GroupLayout(NamedTuple):
    """Groups of features: group j has the features ``members[starts[j]:starts[j + 1]]``."""

    group_of: np.ndarray
    starts: np.ndarray
    members: np.ndarray

    @property
    def largest(self) -> int:
        """Number of features of the largest group."""
        return int(np.diff(self.starts).max(initial=0))


def group_layout(groups: npt.ArrayLike) -> GroupLayout:
    """Return the layout of groups, given the number of the group of each feature."""
    group_of = np.array(groups, np.int64)
    starts = np.append(0, np.cumsum(np.bincount(group_of)))
    return GroupLayout(group_of, starts.astype(np.int64), np.argsort(group_of, kind="stable"))
