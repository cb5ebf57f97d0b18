"""Vowpal Wabbit's text format, read slowly: `str.split`, MurmurHash3 as published, and dictionaries."""


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
    try:
        return float(text)
    except ValueError:
        return None


def parse_line(line, bits, hash_all=False, quadratic=(), constant=False):
    """Return (label or None, weight, {column: value}, number of values before equal columns are added)."""
    head, *spaces = line.replace(b"\r", b" ").split(b"|")
    words = head.split()
    if words and (words[-1][:1] == b"'" or head[-1:] not in (b" ", b"\t")):
        words.pop()
    label, weight = ([float(word) for word in words] + [None, 1.0][len(words) :])[:2]
    namespaces = {}
    for space in spaces:
        tokens = space.split()
        letter, seed, scale = b" "[0], 0, 1.0
        if space[:1].strip():
            name, _, text = tokens.pop(0).partition(b":")
            letter, seed, scale = name[0], hash_name(name, 0, hash_all), float(text or 1)
        anonymous = 0
        for token in tokens:
            name, colon, text = token.partition(b":")
            value = 1.0 if not colon else as_float(text)
            if value is None:
                h, value = hash_name(text, hash_name(name, seed, hash_all), hash_all), 1.0
            else:
                value *= scale
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
