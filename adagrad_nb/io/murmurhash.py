"""MurmurHash3 (x86, 32 bits) of byte strings, as scikit-learn and Vowpal Wabbit compute it.

Products overflow, of which NumPy warns in interpreted mode: callers suppress it by ``np.errstate(over="ignore")``.
"""

import numpy as np

from ..compiler.jit import borrow_arrays, force_inline, jit

SPACE, ZERO, NINE = b" 09"

_0, _1, _2, _3, _4, _10 = (np.uint64(k) for k in (0, 1, 2, 3, 4, 10))
_8bytes = np.uint64(8)
_LOW32 = np.uint64(2**32 - 1)
_C1, _C2, _C3, _MIX1, _MIX2 = (np.uint32(k) for k in (0xCC9E2D51, 0x1B873593, 0xE6546B64, 0x85EBCA6B, 0xC2B2AE35))
_5, _8, _13, _15, _16, _17, _19, _24 = (np.uint32(k) for k in (5, 8, 13, 15, 16, 17, 19, 24))


@force_inline()
def scramble(k):
    """Return the contribution of four bytes to the hash."""
    k = np.uint32(k * _C1)
    k = np.uint32((k << _15) | (k >> _17))
    return np.uint32(k * _C2)


@force_inline()
def load_block(text, i):
    """Return the bytes text[i:i + 4], the first one as the lowest.  LLVM makes one load of it."""
    k = np.uint32(text[i]) | np.uint32(text[i + _1]) << _8
    return np.uint32(k | np.uint32(text[i + _2]) << _16 | np.uint32(text[i + _3]) << _24)


@force_inline()
def mix_block(h, k):
    """Return the hash after four more bytes."""
    h = np.uint32(h ^ scramble(k))
    h = np.uint32((h << _13) | (h >> _19))
    return np.uint32(h * _5 + _C3)


@force_inline()
def hash_bytes(text, start, end, seed):
    """Return MurmurHash3 of text[start:end] with the lower 32 bits of a seed; positions and result are uint64.

    A. Appleby, MurmurHash3_x86_32 (2010).  Numba computes products of uint32 in 64 bits.  Each is converted back to
    uint32, so that LLVM uses 32 bits.  A caller with a loop should pass text without reference counting
    (`borrow_arrays`): counting takes longer than the hash of a short name, 14 ns in each call of a helper.
    """
    h = np.uint32(seed & _LOW32)
    i, size = start, np.uint64(text.size)
    if end - start < _8bytes and start + _8bytes <= size:  # without branches, which would be unpredictable
        mixed = mix_block(h, load_block(text, i))
        has_block = end - i >= _4
        h = mixed if has_block else h
        i += _4 if has_block else _0
    else:
        while i + _4 <= end:
            h = mix_block(h, load_block(text, i))
            i += _4
    rest, k = end - i, np.uint32(0)
    if i + _4 <= size:
        h = np.uint32(h ^ scramble(np.uint32(load_block(text, i) & ((_1 << (rest << _3)) - _1))))
    else:
        if rest >= _3:
            k = np.uint32(k | np.uint32(text[i + _2]) << _16)
        if rest >= _2:
            k = np.uint32(k | np.uint32(text[i + _1]) << _8)
        if rest >= _1:
            h = np.uint32(h ^ scramble(np.uint32(k | np.uint32(text[i]))))
    h = np.uint32(h ^ np.uint32((end - start) & _LOW32))
    h = np.uint32(np.uint32(h ^ (h >> _16)) * _MIX1)
    h = np.uint32(np.uint32(h ^ (h >> _13)) * _MIX2)
    return np.uint64(h ^ (h >> _16))


@jit
def hash_number(text, start, end, seed):
    """Return value + seed of a string of digits, without control characters at both ends, else MurmurHash3."""
    while start < end and text[start] <= SPACE:
        start += _1
    while start < end and text[end - _1] <= SPACE:
        end -= _1
    value, i = _0, start
    while i < end and ZERO <= text[i] <= NINE:
        value = value * _10 + np.uint64(text[i] - ZERO)
        i += _1
    return value + seed if i == end else hash_bytes(text, start, end, seed)


@force_inline()
def hash_name(text, start, end, seed, hash_all):
    """Return Vowpal Wabbit's ``--hash strings`` of text[start:end]: value + seed of a number, else MurmurHash3.

    A number has digits only; the empty string is 0.  The value is taken modulo 2^64, as there.  Control characters at
    both ends are omitted.  With `hash_all`, as ``--hash all``, numbers are hashed, too.
    """
    if hash_all or (start < end and text[start] > NINE and text[end - _1] > SPACE):  # by far the most frequent case
        return hash_bytes(text, start, end, seed)
    return hash_number(text, start, end, seed)


@jit
def hash_slices(data, offsets, seed, hashes):
    """Write the hash of each data[offsets[i]:offsets[i + 1]] to hashes[i]; offsets are those of an Arrow array."""
    data, offsets = borrow_arrays((data, offsets))
    for i in range(hashes.size):
        hashes[i] = hash_bytes(data, np.uint64(offsets[i]), np.uint64(offsets[i + 1]), seed)


def hash_namespace(name, hash_all=False):
    """Return the seed that Vowpal Wabbit takes for the features of a namespace, given as bytes."""
    if not name:
        return 0
    text, start, end, seed = np.frombuffer(name, np.uint8), np.uint64(0), np.uint64(len(name)), np.uint64(0)
    with np.errstate(over="ignore"):
        return int(hash_name(text, start, end, seed, hash_all))


def hash_strings(strings, seed=0):
    """Return the hash of each string, as scikit-learn's ``murmurhash3_32(string, seed, positive=True)``.

    Parameters
    ----------
    strings : sequence of str or bytes, or tuple (offsets, data)
        Strings, which are encoded as UTF-8, or the two buffers of an Arrow array of strings: string i is
        ``data[offsets[i]:offsets[i + 1]]``, with int32 or int64 offsets and uint8 data.
    seed : int, default 0
        Its lower 32 bits are used.

    Returns
    -------
    numpy.ndarray of uint32, shape (n_strings,)
        Hashes.

    Raises
    ------
    ValueError
        If the offsets decrease or exceed the data.
    """
    offsets, data = strings if _are_buffers(strings) else _join_strings(strings)
    if offsets.size and not (0 <= offsets[0] and offsets[-1] <= data.size and (offsets[1:] >= offsets[:-1]).all()):
        raise ValueError(f"strings: the offsets must increase from 0 or more to at most the {data.size} bytes of data")
    hashes = np.empty(max(offsets.size - 1, 0), np.uint32)
    with np.errstate(over="ignore"):
        hash_slices(data, offsets, np.uint64(seed & int(_LOW32)), hashes)
    return hashes


def _are_buffers(strings):
    return isinstance(strings, tuple) and len(strings) == 2 and all(isinstance(item, np.ndarray) for item in strings)


def _join_strings(strings):
    """Return (offsets, data) of a sequence of strings."""
    encoded = [string.encode() if isinstance(string, str) else bytes(string) for string in strings]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(string) for string in encoded], out=offsets[1:])
    return offsets, np.frombuffer(b"".join(encoded), np.uint8)
