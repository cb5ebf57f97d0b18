"""Random tables for the tests of readers: names, kinds and rows of strings, and their text as CSV."""

WORDS = ["free", "Win", "call", "now", "é", "你好", "x_1", "42", "a-b", "it's"]


def random_table(rng, n_rows):
    """Return (names, kinds, rows): rows of stripped strings, None for missing values."""
    n_columns = int(rng.integers(1, 7))
    names, kinds, columns = [], {}, []
    for k in range(n_columns):
        name = f"c{k}" if rng.random() < 0.8 else f"col {k}é"
        kind = rng.choice(["int", "float", "category", "hashed", "text"])
        names.append(name)
        if kind == "int":
            values = rng.integers(-5, rng.choice([2, 1000]), size=n_rows).astype(str).tolist()
        elif kind == "float":
            values = [repr(float(x)) for x in rng.normal(3, 10.0 ** rng.integers(-3, 6), size=n_rows)]
        elif kind == "text":
            values = [" ".join(rng.choice(WORDS, size=rng.integers(1, 6))) for _ in range(n_rows)]
        else:
            pool = ["a", "B b", 'quo"te', "com,ma", "line\nend", "é", "10", "x" * 30][: rng.integers(1, 9)]
            values = rng.choice(pool, size=n_rows).tolist()
            values[0] = "a"  # not all numbers
        kinds[name] = {"int": "numeric", "float": "numeric", "category": "one_hot"}.get(kind, str(kind))
        missing = rng.random(n_rows) < rng.choice([0.0, 0.2])
        columns.append([None if m else str(v) for m, v in zip(missing, values, strict=True)])
    return names, kinds, [list(row) for row in zip(*columns, strict=True)]


def to_csv(rng, header, rows, delimiter=",", line_end="\n"):
    """Return rows as CSV text with random quotes, blanks, blank lines and words for missing values."""
    lines = [] if header is None else [delimiter.join(_field(rng, name, delimiter) for name in header)]
    for row in rows:
        lines.append(delimiter.join(_field(rng, cell, delimiter) for cell in row))
        if rng.random() < 0.05:
            lines.append(str(rng.choice(["", "  "])) if len(row) > 1 else "")
    text = line_end.join(lines)
    return text + (line_end if rng.random() < 0.5 else "")


def _field(rng, cell, delimiter):
    if cell is None:
        return str(rng.choice(["", "?", "NA", " ?", "nan "]))
    if any(c in cell for c in f'{delimiter}"\r\n') or rng.random() < 0.1:
        return '"' + cell.replace('"', '""') + '"'
    return str(rng.choice(["", "", " "])) + cell + str(rng.choice(["", "", " "]))
