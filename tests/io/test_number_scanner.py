"""The fast path of the scanners for tokens of usual length gives the results of the general one."""

import io
import random

import pytest

from adagrad_nb import load_svmlight, load_vw
from adagrad_nb.io.number_scanner import LOOKAHEAD

NUMBERS = [
    "0",
    "7",
    "-7",
    "+7",
    "-0",
    "-0.0",
    "0.5",
    ".5",
    "5.",
    ".",
    "-",
    "-.",
    "-.5",
    "",
    "1.2.3",
    "1:2",
    "--1",
    "1e3",
    "1.5e-3",
    "1e",
    "12345678",
    "123456789",
    "0.12345678",
    "0.123456789",
    "0.1234567890123456",
    "0.12345678901234567",
    "12345678.12345678901",
    "12345678.123456789012",
    "9007199254740993",
    "0.9007199254740993",
    "00.50",
    "1|2",
    "1x",
    "x",
    "nan",
    "inf",
    "1\x00",
    "1\x0b",
    "1\r",
    "1\t",
    "1#",
    "\xe9",
    "1" * 30,
    "0." + "0" * 30 + "1",
    "9" * 8 + "." + "9" * 16,
]
NAMES = [
    "1",
    "12345678",
    "123456789",
    "007",
    "0",
    "w",
    "a.b",
    "a|b",
    "a:b",
    ":",
    "",
    "-1",
    "1.5",
    "x\x01",
    "w" * 31,
    "w" * 40,
]
SPACE = "\n" * (int(LOOKAHEAD) + 1)  # blank lines, after which the end of the text is out of reach of a token


def outcome(load, text, **options):
    """Return the rows of a text, or the message of the error."""
    try:
        X, y, *weight = load(io.BytesIO(text.encode("latin-1")), **options)
    except ValueError as error:
        return str(error)
    return (
        X.shape,
        X.indices.tolist(),
        [value.hex() for value in X.data.tolist()],
        y.tolist(),
        weight and weight[0].tolist(),
    )


@pytest.mark.parametrize(
    ("load", "start", "options"),
    [
        (load_svmlight, "1", {"n_features": 10**9}),
        (load_svmlight, "1", {"zero_based": True}),
        (load_vw, "1 |f", {}),
        (load_vw, "1 |f", {"bits": 18}),
        (load_vw, "1 2 |f:0.5", {"bits": 10, "hash": "all"}),
    ],
)
def test_tokens_far_from_the_end_are_read_as_at_the_end(load, start, options):
    tokens = [f"3:{number}" for number in NUMBERS] + [f"{name}:0.5" for name in NAMES] + NAMES
    for token in tokens:
        for end in ("", " 8", " 8:2", " # x", "\t8:2", "\r"):
            line = f"{start} {token}{end}\n"
            assert outcome(load, line + SPACE, **options) == outcome(load, line, **options), line


@pytest.mark.parametrize(("load", "start"), [(load_svmlight, ""), (load_vw, "|f ")])
def test_decimals_are_rounded_as_by_python(load, start):
    rng = random.Random(0)
    digits = ["".join(rng.choices("0123456789", k=rng.randrange(1, 10))) for _ in range(3000)]
    decimals = ["".join(rng.choices("0123456789", k=rng.randrange(18))) for _ in range(3000)]
    numbers = [rng.choice(["", "-"]) + a + "." + b for a, b in zip(digits, decimals, strict=True)]
    X = load(io.BytesIO("".join(f"1 {start}5:{number}\n" for number in numbers).encode()))[0]
    assert [value.hex() for value in X.data.tolist()] == [float(number).hex() for number in numbers]
