"""ColumnEncoder: converts batches of Arrow columns to CSR rows, and finds new categories.

Categories are numbered in the order in which they first occur, row by row, behind the numeric columns.  So the numbers
do not depend on the size of the batches.
"""

import numpy as np
import scipy

from .arrow import CellError, to_categories, to_numbers, to_words
from .column_entries import MISSING, OTHER, Hashed, Interaction, Numeric, OneHot, Text
from .murmurhash import hash_strings
from .row_assembly import assemble_rows

INT32_COLUMNS = np.iinfo(np.int32).max


class ColumnEncoder:
    """Numbers of all features, by column and category, and the conversion of batches.

    Parameters
    ----------
    entries : tuple
        Entries of the mapping.
    n_hashed : int
        Number of hashed features, which come first.
    signed : bool
        Whether the sign of a hashed value depends on the hash.
    features : sequence of (name, category or None)
        The other features, in order.
    """

    def __init__(self, entries, n_hashed, signed, features):
        self.entries, self.n_hashed, self.signed = entries, n_hashed, signed
        self.index_of = {feature: n_hashed + k for k, feature in enumerate(features)}
        self._max_categories = {entry.name: entry.max_categories for entry in entries if isinstance(entry, OneHot)}
        self._n_categories = dict.fromkeys(self._max_categories, 0)
        for name, _ in features:
            if name in self._n_categories:
                self._n_categories[name] += 1

    @property
    def n_features(self):
        """Number of features so far."""
        return self.n_hashed + len(self.index_of)

    def encode(self, columns, n_rows, dtype, add_categories):
        """Return the rows of a batch as CSR, with `n_features` columns.

        Parameters
        ----------
        columns : dict of pyarrow.Array
            Columns by name.
        n_rows : int
        dtype : numpy.dtype
            float32 or float64.
        add_categories : bool
            Whether categories that are not known become new features.  Otherwise they have no feature.
        """
        numbers, categories = {}, {}
        for entry in self.entries:
            if isinstance(entry, Numeric):
                numbers[entry.name] = _scaled(entry, columns[entry.name], dtype)
            elif isinstance(entry, (OneHot, Hashed)):
                categories[entry.name] = to_categories(entry.name, columns[entry.name])
        if add_categories:
            self._add_features(numbers, categories)
        slots = _Slots(n_rows, self.n_features, dtype)
        texts = []
        for entry in self.entries:
            if isinstance(entry, Numeric):
                x, mask = numbers[entry.name]
                slots.add(self.index_of[entry.name, None], x)
                if mask is not None and (entry.name, MISSING) in self.index_of:
                    slots.add(self.index_of[entry.name, MISSING], mask)
            elif isinstance(entry, OneHot):
                indices = self._category_indices(entry.name, *categories[entry.name])
                slots.add(np.maximum(indices, 0), indices >= 0)
            elif isinstance(entry, Hashed):
                codes, distinct = categories[entry.name]
                indices, signs = self._hash([f"{entry.name}={category}" for category in distinct])
                slots.add(indices[codes], signs[codes])
            elif isinstance(entry, Interaction):
                slots.add(*self._interaction(entry, numbers, categories, n_rows))
            else:
                texts.append(self._count_words(entry, columns[entry.name], n_rows, dtype))
        X = slots.to_csr()
        for words in texts:
            X = X + words
        return X

    def hashed_names(self, columns, n_rows):
        """Return the names that a batch hashes to each feature, as {index: set of names}."""
        numbers, categories, names = {}, {}, []
        for entry in self.entries:
            if isinstance(entry, Numeric):
                numbers[entry.name] = _scaled(entry, columns[entry.name], np.float64)
            elif isinstance(entry, (OneHot, Hashed)):
                categories[entry.name] = to_categories(entry.name, columns[entry.name])
            if isinstance(entry, Hashed):
                names += [f"{entry.name}={category}" for category in categories[entry.name][1]]
            elif isinstance(entry, Interaction):
                names += _combine(entry, numbers, categories, n_rows)[1]
            elif isinstance(entry, Text):
                names += _gram_codes(entry, columns[entry.name])[2]
        found = {}
        for index, name in zip(self._hash(names)[0].tolist(), names, strict=True):
            found.setdefault(index, set()).add(name)
        return found

    # --- categories ------------------------------------------------------------------------------------------------

    def _add_features(self, numbers, categories):
        """Number the new categories of a batch in the order of their first rows, then of the columns."""
        new = {}  # {(name, category): (first row, position of the entry)}
        for position, entry in enumerate(self.entries):
            if isinstance(entry, Numeric):
                mask = numbers[entry.name][1]
                if mask is not None and (entry.name, MISSING) not in self.index_of:
                    new[entry.name, MISSING] = int(mask.argmax()), position
            elif isinstance(entry, OneHot):
                codes, distinct = categories[entry.name]
                unknown = [k for k, category in enumerate(distinct) if (entry.name, category) not in self.index_of]
                if not unknown:
                    continue
                first_rows = np.full(len(distinct), codes.size, np.int64)
                first_rows[codes[::-1]] = np.arange(codes.size - 1, -1, -1)  # the last assignment is the first row
                for k in unknown:
                    if first_rows[k] < codes.size:
                        feature = entry.name, distinct[k]
                        new[feature] = min(new.get(feature, (codes.size, 0)), (int(first_rows[k]), position))
        for feature in sorted(new, key=new.__getitem__):
            name = feature[0]
            if name in self._n_categories:
                if self._n_categories[name] >= self._max_categories[name]:
                    feature = name, OTHER
                    if feature in self.index_of:
                        continue
                self._n_categories[name] += 1
            self.index_of[feature] = self.n_features

    def _category_indices(self, name, codes, distinct):
        """Return the feature of each row, or -1 for categories without one."""
        other = -1
        if self._n_categories[name] >= self._max_categories[name]:
            other = self.index_of.get((name, OTHER), -1)
        lookup = [self.index_of.get((name, category), other) for category in distinct]
        return np.array([*lookup, -1], np.int64)[codes]

    # --- hashed features -------------------------------------------------------------------------------------------

    def _hash(self, names):
        """Return (feature numbers, signs) of names, as scikit-learn's `FeatureHasher` computes them."""
        hashes = hash_strings(names).view(np.int32).astype(np.int64)
        indices = np.abs(hashes) % max(self.n_hashed, 1)
        return indices, np.where(hashes >= 0, 1.0, -1.0) if self.signed else np.ones(hashes.size)

    def _interaction(self, entry, numbers, categories, n_rows):
        """Return (feature number, value) of each row."""
        codes, names, values = _combine(entry, numbers, categories, n_rows)
        indices, signs = self._hash(names)
        return indices[codes], values * signs[codes]

    def _count_words(self, entry, array, n_rows, dtype):
        """Return the word counts of each row as CSR."""
        rows, codes, names = _gram_codes(entry, array)
        indices, signs = self._hash(names)
        shape = n_rows, self.n_features
        return scipy.sparse.csr_array(
            scipy.sparse.coo_array((signs[codes].astype(dtype), (rows, indices[codes])), shape=shape)
        )


class _Slots:
    """One value of each row for each slot."""

    def __init__(self, n_rows, n_features, dtype):
        self.shape, self.dtype = (n_rows, n_features), dtype
        self.indices, self.values = [], []

    def add(self, indices, values):
        """Add a slot: an index or one for each row, and the values."""
        self.indices.append(indices)
        self.values.append(values)

    def to_csr(self):
        """Return the rows as CSR with sorted indices, without zeros."""
        n_rows, n_features = self.shape
        n_slots = len(self.indices)
        index_dtype = np.int32 if max(n_features, n_slots * n_rows) <= INT32_COLUMNS else np.int64
        slot_indices, slot_values = np.empty((n_slots, n_rows), index_dtype), np.empty((n_slots, n_rows), self.dtype)
        for s in range(n_slots):
            slot_indices[s], slot_values[s] = self.indices[s], self.values[s]
        indptr = np.empty(n_rows + 1, index_dtype)
        indices, values = np.empty(n_slots * n_rows, index_dtype), np.empty(n_slots * n_rows, self.dtype)
        nnz = int(assemble_rows(slot_indices, slot_values, indptr, indices, values))
        X = scipy.sparse.csr_array((values[:nnz].copy(), indices[:nnz].copy(), indptr), shape=self.shape)
        X.has_canonical_format = True
        return X


def _scaled(entry, array, dtype):
    """Return (scaled numbers, mask of missing ones or None), finite in a precision."""
    x, mask = to_numbers(entry.name, array)
    if entry.offset:
        x = x - entry.offset if mask is None else np.where(mask, 0.0, x - entry.offset)
    if entry.scale != 1:
        with np.errstate(over="ignore"):
            x = x / entry.scale
        is_infinite = np.isinf(x)
        if is_infinite.any():
            row = int(is_infinite.argmax())
            raise CellError(row, entry.name, f"got a number that overflows at scale={entry.scale}", "correct it")
    if dtype == np.float32:
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
        is_infinite = np.isinf(x)
        if is_infinite.any():
            row = int(is_infinite.argmax())
            raise CellError(row, entry.name, "got a number that exceeds the largest float32", "pass dtype=np.float64")
    return x, mask


def _combine(entry, numbers, categories, n_rows):
    """Return (code of each row, name of each code, value of each row) of an interaction."""
    codes, names, values = np.zeros(n_rows, np.int64), [""], np.ones(n_rows)
    for name in entry.names:
        prefix = "*" if name is not entry.names[0] else ""
        if name in numbers:
            values = values * numbers[name][0]
            names = [f"{combined}{prefix}{name}" for combined in names]
            continue
        own_codes, distinct = categories[name]
        pairs, codes = np.unique(codes * len(distinct) + own_codes, return_inverse=True)
        names = [f"{names[p // len(distinct)]}{prefix}{name}={distinct[p % len(distinct)]}" for p in pairs.tolist()]
    return codes, names, values


def _gram_codes(entry, array):
    """Return (row, code) of each word or sequence of words, and the name of each code."""
    offsets, codes, words = to_words(entry.name, array, entry.lowercase)
    rows = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
    is_word = np.array([bool(word) for word in words], bool)[codes] if codes.size else np.empty(0, bool)
    rows, first_codes = rows[is_word], codes[is_word].astype(np.int64)
    all_rows, all_codes, names = [rows], [first_codes], [f"{entry.name}={word}" for word in words]
    codes, grams = first_codes, words
    for n in range(2, entry.ngrams + 1):
        starts = np.flatnonzero(rows[: max(rows.size - n + 1, 0)] == rows[n - 1 :])  # all n words are of one row
        pairs, inverse = np.unique(codes[starts] * len(words) + first_codes[starts + n - 1], return_inverse=True)
        grams = [f"{grams[p // len(words)]} {words[p % len(words)]}" for p in pairs.tolist()]
        codes = np.zeros(rows.size, np.int64)
        codes[starts] = inverse
        all_rows.append(rows[starts])
        all_codes.append(inverse + len(names))
        names += [f"{entry.name}={gram}" for gram in grams]
    return np.concatenate(all_rows), np.concatenate(all_codes), names
