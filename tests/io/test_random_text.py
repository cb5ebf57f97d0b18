"""Random mutations of text and files: refused by ValueError, or parsed as by the slow references.

`fuzz_readers` has the checks.  ``python tests/io/test_random_text.py N`` runs N mutations of each kind.
"""

import sys

import fuzz_readers
import numba
import numpy as np
import pytest

# Parsers of mutations of a few bytes accept at least this share of them.
SHARES = {"svmlight": 0.05, "numbered": 0.05, "hashed": 0.1, "text": 0.3, "csv": 0.2, "cache": 0, "model": 0}


def count_accepted(kind, n, seed=0):
    """Check n random mutations; return the number of those that are accepted."""
    rng = np.random.default_rng(seed)
    seeds, accepted = fuzz_readers.seeds_of(kind), 0
    for _ in range(n):
        raw = fuzz_readers.mutate(rng, seeds)
        try:
            accepted += fuzz_readers.TARGETS[kind](raw)
        except BaseException:
            print(kind, raw)
            raise
    return accepted


@pytest.mark.parametrize("kind", SHARES)
def test_mutations_are_refused_or_parsed_as_by_the_reference(kind):
    if kind == "csv":
        pytest.importorskip("pyarrow")
    n = 60 if numba.config.DISABLE_JIT else 400
    assert SHARES[kind] * n <= count_accepted(kind, n) < n


if __name__ == "__main__":
    for name in SHARES:
        print(name, count_accepted(name, int(sys.argv[1]), seed=1), flush=True)
