"""MurmurHash3 and Vowpal Wabbit's hash of names: known values, and scikit-learn's function."""

import numpy as np
import pytest

from adagrad_nb.io.murmurhash import hash_bytes, hash_name, hash_namespace, hash_strings

# Values of MurmurHash3_x86_32 that its implementations publish as test vectors: (string, seed, hash).
VECTORS = [
    (b"", 0, 0),
    (b"", 1, 0x514E28B7),
    (b"", 0xFFFFFFFF, 0x81F16F39),
    (b"\xff\xff\xff\xff", 0, 0x76293B50),
    (b"\x21\x43\x65\x87", 0, 0xF55B516B),
    (b"\x21\x43\x65\x87", 0x5082EDEE, 0x2362F9DE),
    (b"\x21\x43\x65", 0, 0x7E4A8634),
    (b"\x21\x43", 0, 0xA0F7B07A),
    (b"\x21", 0, 0x72661CF4),
    (b"\x00\x00\x00\x00", 0, 0x2362F9DE),
    (b"\x00\x00\x00", 0, 0x85F0B427),
    (b"\x00\x00", 0, 0x30F4C306),
    (b"\x00", 0, 0x514E28B7),
    (b"aaaa", 0x9747B28C, 0x5A97808A),
    (b"Hello, world!", 0x9747B28C, 0x24884CBA),
    ("ππππππππ".encode(), 0x9747B28C, 0xD58063C1),
    (b"The quick brown fox jumps over the lazy dog", 0x9747B28C, 0x2FA826CD),
]


def number(function, raw, seed, *options):
    text = np.frombuffer(raw, np.uint8)
    with np.errstate(over="ignore"):
        return int(function(text, np.uint64(0), np.uint64(text.size), np.uint64(seed), *options))


@pytest.mark.parametrize(("raw", "seed", "expected"), VECTORS)
def test_published_vectors(raw, seed, expected):
    assert hash_strings([raw], seed).tolist() == [expected]
    assert number(hash_bytes, raw, seed) == expected


def test_buffers_of_an_arrow_array():
    words = ["", "a", "naïve", "", "mmh3", "four", "x" * 1000]
    encoded = [word.encode() for word in words]
    data = np.frombuffer(b"..." + b"".join(encoded) + b"...", np.uint8)
    for dtype in (np.int32, np.int64):
        offsets = np.cumsum([3] + [len(word) for word in encoded], dtype=dtype)
        hashes = hash_strings((offsets, data), 7)
        assert hashes.dtype == np.uint32
        assert hashes.tolist() == hash_strings(words, 7).tolist() == hash_strings(encoded, 7).tolist()
    assert hash_strings([]).size == hash_strings((np.zeros(1, np.int32), data)).size == 0
    for wrong in ([0, 5, 3], [0, data.size + 1], [-1, 2]):
        with pytest.raises(ValueError, match=f"strings: the offsets must increase .* at most the {data.size} bytes"):
            hash_strings((np.array(wrong), data))


def test_scikit_learn_has_the_same_hashes():
    murmurhash = pytest.importorskip("sklearn.utils").murmurhash3_32
    rng = np.random.default_rng(0)
    strings = [rng.bytes(n) for n in range(40)]
    for seed in (0, 1, 2**31, 2**32 - 1):
        assert hash_strings(strings, seed).tolist() == [murmurhash(s, seed=seed, positive=True) for s in strings]


def test_numbers_are_added_to_the_seed():
    """`hashstring` of Vowpal Wabbit: only strings of digits are numbers, and only the hash has 32 bits."""
    assert number(hash_name, b"", 5, False) == 5
    assert number(hash_name, b"0", 5, False) == number(hash_name, b"000", 5, False) == 5
    assert number(hash_name, b"1234567890123", 2**32 - 1, False) == 1234567890123 + 2**32 - 1
    assert number(hash_name, b"18446744073709551617", 5, False) == 6
    assert number(hash_name, b"\x0b7\x1f ", 5, False) == 12
    assert number(hash_name, b"\x0bx\x1f", 5, False) == number(hash_bytes, b"x", 5)
    for word in (b"-1", b"1.0", b"1e3", b"a1", b"1a", b"1:", b"/", b"\xff1"):
        assert number(hash_name, word, 5, False) == number(hash_bytes, word, 5)
        assert number(hash_name, word, 5, True) == number(hash_bytes, word, 5)
    for word in (b"", b"12", b" x "):
        assert number(hash_name, word, 5, True) == number(hash_bytes, word, 5)
    assert hash_namespace(b"user") == hash_namespace(b"user", True) == hash_strings(["user"])[0]
    assert hash_namespace(b"") == hash_namespace(b"", True) == 0  # of the default namespace
    assert hash_namespace(b"7") == 7
