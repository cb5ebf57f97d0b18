"""Names of hashed features: which names have which column, and collisions."""

import numpy as np

from ..compiler.jit import borrow_arrays, jit
from .murmurhash import hash_bytes
from .vowpal_scanner import ends_name

SECOND_SEED = np.uint64(0x9747B28C)  # of a hash that tells names of the same column from each other
MIX = np.int64(0x01000193)
LOW32 = 2**32 - 1
_1 = np.uint64(1)


class HashedNames(dict):
    """Dictionary ``{column: list of the names that have this hash}``, in the order in which they were read.

    The name of a feature of Vowpal Wabbit text is ``namespace^feature``, of the string x as its value
    ``namespace^feature=x``, of the k-th feature without a name ``namespace^:k``, and of a pair ``name*name``.

    Attributes
    ----------
    collisions : dict
        The columns with several names.
    n_names : int
        Number of different names.

    Examples
    --------
    >>> import io
    >>> from adagrad_nb import read_vw
    >>> file = read_vw(io.BytesIO(b"1 |a x:2 city:Paris |b y"), bits=9, quadratic="ab", keep_names=True)
    >>> chunks = list(file)
    >>> sorted(file.hashed_names.items())
    [(82, ['a^city=Paris*b^y']), (136, ['a^x']), (202, ['a^x*b^y']), (210, ['b^y']), (384, ['a^city=Paris'])]
    >>> print(file.hashed_names.report(2**9))
    5 names in 5 of 512 columns, no collisions
    """

    def __init__(self):
        super().__init__()
        self._keys = set()

    @property
    def collisions(self) -> dict:
        return {column: names for column, names in self.items() if len(names) > 1}

    @property
    def n_names(self) -> int:
        return len(self._keys)

    def report(self, n_features: int) -> str:
        """Return a sentence with the numbers of names, columns and collisions."""
        collisions = self.collisions
        summary = f"{self.n_names} names in {len(self)} of {n_features} columns, "
        if not collisions:
            return summary + "no collisions"
        lost = self.n_names - len(self)
        column = min(collisions)
        examples = ", ".join(map(repr, collisions[column][:3]))
        summary += f"{lost} collisions ({lost / self.n_names:.2%} of the names); {len(collisions)} columns have "
        return summary + f"several names, such as {column}: {examples}"

    def add(self, keys, name_of):
        """Add the features with new keys: the column, and 32 bits of a second hash; name k is ``name_of(k)``."""
        distinct, first = np.unique(keys, return_index=True)
        order = np.argsort(first, kind="stable")
        for key, k in zip(distinct[order].tolist(), first[order].tolist(), strict=True):
            if key not in self._keys:
                self._keys.add(key)
                self.setdefault(key >> 32, []).append(name_of(k))


@jit
def key_features(text, positions, columns, keys):
    """Write the key of each feature of Vowpal Wabbit text; see `vowpal_scanner.VwRows` for its positions."""
    (text,) = borrow_arrays((text,))
    for k in range(keys.size):
        start = np.uint64(positions[k, 2])
        end = start
        while not ends_name(text[end]):
            end += _1
        seed = hash_bytes(text, start, end, SECOND_SEED)
        second = hash_bytes(text, np.uint64(positions[k, 0]), np.uint64(positions[k, 1]), seed)
        keys[k] = np.int64(columns[k]) << 32 | np.int64(second)


@jit
def key_pairs(parents, columns, feature_keys, keys):
    """Write the key of each feature or pair of features; `parents` has their numbers, or -1."""
    for k in range(keys.size):
        second = np.int64(0)
        if parents[k, 0] >= 0:
            second = feature_keys[parents[k, 0]] & LOW32
        if parents[k, 1] >= 0:
            second = (second * MIX ^ (feature_keys[parents[k, 1]] & LOW32)) & LOW32
        keys[k] = np.int64(columns[k]) << 32 | second


@jit
def key_words(buffer, spans, columns, keys):
    """Write the key of each buffer[start:end]."""
    (buffer,) = borrow_arrays((buffer,))
    for k in range(keys.size):
        second = hash_bytes(buffer, np.uint64(spans[k, 0]), np.uint64(spans[k, 1]), SECOND_SEED)
        keys[k] = np.int64(columns[k]) << 32 | np.int64(second)
