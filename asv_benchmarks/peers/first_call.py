"""Latency before the first result: the import, and first calls with a cold and a warm disk cache."""

import statistics
import tempfile

import pairs


def main():
    quick = pairs.parse_options(__doc__).quick
    from benchmarks.common import FIRST_CALLS, first_call, import_seconds

    pairs.print_versions(ours="default")
    count = 3 if quick else 7
    firsts = {}
    for name in ("fit_linear",) if quick else FIRST_CALLS:
        with tempfile.TemporaryDirectory() as cache:
            cold = first_call(name, cache)
            first = firsts[name] = statistics.median(first_call(name, cache) for _ in range(count))
            print(f"{name:18s} first call: cold {cold:.2f} s, from the disk cache {first:.3f} s (median of {count})")
    with tempfile.TemporaryDirectory() as cache:
        imported = statistics.median(import_seconds(cache) for _ in range(count))
    print(f"import adagrad_nb, NumPy included: {imported:.3f} s (median of {count})")
    pairs.print_targets(("import in s", imported, "<=", 0.6), ("warm fit_linear in s", firsts["fit_linear"], "<=", 0.4))


if __name__ == "__main__":
    main()
