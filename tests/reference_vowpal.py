"""Vowpal Wabbit's text format, read slowly: `str.split`, MurmurHash3 as published, and dictionaries."""

import re


def murmurhash3(key, seed):
    """MurmurHash3_x86_32 by A. Appleby."""

    def rotate(x, r):
        return (x << r | x >> 32 - r) & 0xFFFFFFFF

    h = seed & 0xFFFFFFFF
    for i in range(0, len(key), 4):
        block = key[i : i + 4]
        k = rotate(int.from_bytes(block, "little") * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
        h ^= k
        if len(block) == 4:
            h = rotate(h, 13) * 5 + 0xE6546B64 & 0xFFFFFFFF
    h ^= len(key)
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def hash_name(name, seed, hash_all):
    """Vowpal Wabbit's ``--hash strings`` or ``--hash all``."""
    if hash_all:
        return murmurhash3(name, seed)
    name = name.strip(bytes(range(33)))
    return int(name or b"0") + seed if all(c in b"0123456789" for c in name) else murmurhash3(name, seed)


def as_float(text):
    return float(text) if re.fullmatch(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text) else None


def split_namespaces(text):
    """Yield the (name, scale, [(feature, value or None)]) of the text after the first bar.

    A string as a value ends at a blank only, so it may contain bars.
    """
    i, end = 0, len(text)

    def word(pattern):
        nonlocal i
        found = re.compile(pattern).match(text, i)
        i = found.end()
        return found.group()

    while True:
        name, scale, features = word(rb"[^ \t|:]*"), b"1", []
        if text[i : i + 1] == b":":
            i += 1
            scale = word(rb"[^ \t|]*")
        word(rb"[ \t]*")
        while i < end and text[i : i + 1] != b"|":
            feature, value = word(rb"[^ \t|:]*"), None
            if text[i : i + 1] == b":":
                i += 1
                value = re.compile(rb"[^ \t|]*").match(text, i).group()
                value = word(rb"[^ \t]*") if as_float(value) is None else word(rb"[^ \t|]*")
            features.append((feature, value))
            word(rb"[ \t]*")
        yield name, scale, features
        if i >= end:
            return
        i += 1


def parse_line(line, bits, hash_all=False, quadratic=(), constant=False):
    """Return (label or None, weight, {column: value}, number of values before equal columns are added)."""
    head, _, text = line.replace(b"\r", b" ").partition(b"|")
    words = re.findall(rb"[^ \t]+", head)
    if words and (words[-1][:1] == b"'" or head[-1:] not in (b" ", b"\t")):
        words.pop()
    label, weight = ([float(word) for word in words] + [None, 1.0][len(words) :])[:2]
    namespaces = {}
    for namespace, scale, tokens in split_namespaces(text):
        letter = namespace[0] if namespace else b" "[0]
        seed = hash_name(namespace, 0, hash_all) if namespace else 0
        anonymous = 0
        for name, text in tokens:
            value = 1.0 if text is None else as_float(text)
            if value is None:
                h, value = hash_name(text, hash_name(name, seed, hash_all), hash_all), 1.0
            else:
                value *= float(scale)
                h = hash_name(name, seed, hash_all) if name else seed + anonymous
                anonymous += not name
            if value:
                namespaces.setdefault(letter, []).append((h % 2**bits, value))
    features = [feature for space in namespaces.values() for feature in space]
    wanted = set()
    for pair in quadratic:
        printable = [letter for letter in namespaces if 32 <= letter < 127]
        left, right = (printable if c == b":"[0] else [c] for c in pair.encode())
        wanted |= {(a, b) for a in left for b in right}
    wanted = {(a, b) for a, b in wanted if a <= b or (b, a) not in wanted}
    for a, b in sorted(wanted):
        for i, (h, v) in enumerate(namespaces.get(a, ())):
            for k, w in namespaces.get(b, ())[i if a == b else 0 :]:
                features.append(((h * 16777619 ^ k) % 2**bits, v * w))
    if constant:
        features.append((11650396 % 2**bits, 1.0))
    row = {}
    for h, v in features:
        row[h] = row.get(h, 0.0) + v
    return label, weight, row, len(features)
