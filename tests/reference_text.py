"""Words, n-grams and their hashes, read slowly by `re` and dictionaries."""

import re

import numpy as np
from reference_vowpal import murmurhash3


def parse_text(text, bits=20, ngrams=(1, 2), lowercase=True, alternate_sign=True, norm="l2"):
    """Return {column: value} by `re`; lower case is that of each character alone."""
    if lowercase:
        text = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    words = re.findall(r"\b\w\w+\b", text)
    row = {}
    for n in range(ngrams[0], ngrams[1] + 1):
        for k in range(len(words) - n + 1):
            h = murmurhash3(" ".join(words[k : k + n]).encode(), 0)
            h -= 2**32 if h >= 2**31 else 0
            sign = -1.0 if h < 0 and alternate_sign else 1.0
            row[abs(h) % 2**bits] = row.get(abs(h) % 2**bits, 0.0) + sign
    size = np.sqrt(sum(value**2 for value in row.values())) if norm else 1.0
    return {column: value / size for column, value in sorted(row.items()) if value}
