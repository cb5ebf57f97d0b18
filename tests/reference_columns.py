"""Slow reference of the mapping from tables to features: lists of strings and dicts, without Arrow and NumPy."""

import csv
import io
import math
import re
import statistics

MISSING_WORDS = {
    "", "?", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null",
}  # fmt: skip


def murmur3(text, seed=0):
    """Return MurmurHash3 x86 32 of a string as a signed integer (A. Appleby, 2010)."""
    data, h = text.encode(), seed
    rotate = lambda x, r: (x << r | x >> (32 - r)) & 0xFFFFFFFF  # noqa: E731
    for i in range(0, len(data), 4):
        part = data[i : i + 4]
        k = rotate(int.from_bytes(part, "little") * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
        h ^= k
        if len(part) == 4:
            h = (rotate(h, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    h ^= h >> 16
    return h - 2**32 if h >= 2**31 else h


def read_rows(text, delimiter=","):
    """Return the rows of CSV text as lists of stripped strings, None for missing values; blank lines are skipped."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = [[field.strip() for field in row] for row in rows if any(field.strip() for field in row) or len(row) > 1]
    return [[None if field in MISSING_WORDS else field for field in row] for row in rows]


def found_scaling(numbers):
    """Return the offset and the scale of a numeric column whose first rows have these numbers."""
    if len(set(numbers)) <= 2:
        return 0.0, 1.0
    others = [x for x in numbers if x != 0]
    if len(others) < len(numbers) / 2:
        return 0.0, float(f"{math.sqrt(statistics.fmean(x * x for x in others)):.0e}")
    deviation = statistics.pstdev(numbers)
    unit = 10.0 ** (math.floor(math.log10(deviation)) - 1)
    return float(f"{round(statistics.fmean(numbers) / unit) * unit:.12g}"), float(f"{deviation:.0e}")


class Mapping:
    """Mapping of rows of strings or numbers to {feature name or hashed number: value}.

    `kinds` are (kind, option) by column: ("numeric", (offset, scale)), ("one_hot", maximum), ("hashed", None),
    ("text", n-grams).  Features are listed in `features` as they occur, row by row.
    """

    def __init__(self, names, kinds, interactions=(), bits=18, signed=False):
        self.names, self.kinds, self.interactions, self.bits, self.signed = names, kinds, interactions, bits, signed
        self.features = [name for name in names if kinds[name][0] == "numeric"]

    def transform(self, rows, add=True):
        return [self._row(dict(zip(self.names, row, strict=True)), add) for row in rows]

    def _row(self, row, add):
        values, new = {}, []
        for name in self.names:
            kind, option = self.kinds[name]
            cell = row[name]
            if kind == "numeric":
                if cell is None:
                    self._count(values, new, f"{name}=(missing)", 1.0, add)
                else:
                    values[name] = (float(cell) - option[0]) / option[1]
            elif kind == "one_hot":
                feature = f"{name}={'(missing)' if cell is None else cell}"
                own = [f for f in self.features if f.startswith(f"{name}=")]
                if feature not in own and len(own) >= option:
                    feature = f"{name}=(other)"
                self._count(values, new, feature, 1.0, add)
            elif kind == "hashed":
                self._hash(values, f"{name}={'(missing)' if cell is None else cell}", 1.0)
            elif cell is not None:
                words = re.findall(r"\w+", cell.lower())
                for n in range(1, option + 1):
                    for i in range(len(words) - n + 1):
                        self._hash(values, f"{name}={' '.join(words[i : i + n])}", 1.0)
        for pair in self.interactions:
            parts, value = [], 1.0
            for name in pair:
                kind, option = self.kinds[name]
                cell = row[name]
                if kind == "numeric":
                    parts.append(name)
                    value *= 0.0 if cell is None else (float(cell) - option[0]) / option[1]
                else:
                    parts.append(f"{name}={'(missing)' if cell is None else cell}")
            self._hash(values, "*".join(parts), value)
        return {name: value for name, value in values.items() if value}

    def _count(self, values, new, feature, value, add):
        if feature not in self.features:
            if not add:
                return
            self.features.append(feature)
        values[feature] = values.get(feature, 0.0) + value

    def _hash(self, values, name, value):
        h = murmur3(name)
        index = abs(h) % 2**self.bits
        values[index] = values.get(index, 0.0) + (value if h >= 0 or not self.signed else -value)
