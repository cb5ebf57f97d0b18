"""Training from files, whole processes: ``adagrad-nb train`` against Vowpal Wabbit.

Both read the same synthetic text-like rows: Vowpal Wabbit text with numbered features and with names, and a binary
cache.  We also read svmlight text, compared with Vowpal Wabbit's own text of the same rows.  Both make one pass of
logistic loss with adaptive steps at a fixed rate.  The peer runs as ``python -c "import vowpalwabbit; …"``.
The disk cache is warm.  Peak memory is that of the process and measured in the first, untimed run.
"""

import os
import subprocess
import sys
import tempfile

import pairs

BITS = 18
VW = "import sys, vowpalwabbit; vowpalwabbit.Workspace(sys.argv[1]).finish()"


def run(command):
    """Run a process to its end."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure_peak(command):
    """Run a process; return its largest resident memory in MB."""
    code = f"import subprocess, resource; subprocess.run({command!r}, check=True, stdout=subprocess.DEVNULL); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    peak = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def write_rows(folder, n_rows):
    """Write the rows in each form; return the paths by form."""
    from benchmarks.common import text_like

    X, y = text_like(n_rows)
    indptr, indices = X.indptr.tolist(), X.indices.tolist()
    values = [f"{v:.6g}" for v in X.data.tolist()]
    paths = {form: os.path.join(folder, f"{n_rows}.{form}") for form in ("svmlight", "vw", "names")}
    with open(paths["svmlight"], "w") as svmlight, open(paths["vw"], "w") as vw, open(paths["names"], "w") as names:
        for row, label in enumerate(y.tolist()):
            part = range(indptr[row], indptr[row + 1])
            label = f"{label:g}"
            svmlight.write(" ".join([label, *(f"{indices[k] + 1}:{values[k]}" for k in part)]) + "\n")
            vw.write(" ".join([label, "|f", *(f"{indices[k]}:{values[k]}" for k in part)]) + "\n")
            names.write(" ".join([label, "|f", *(f"w{indices[k]}:{values[k]}" for k in part)]) + "\n")
    return paths


def main():
    quick = pairs.parse_options(__doc__).quick
    pairs.import_peer("vowpalwabbit")
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[1], os.environ.get("PYTHONPATH", "")])
    pairs.print_versions("vowpalwabbit", ours="2: reading and learning", vw="2: reading and learning")
    n_rows = 20_000 if quick else 200_000  # 215 MB

    def ours(path, *options):
        model = os.path.join(folder, "model.npz")
        return [sys.executable, "-m", "adagrad_nb", "train", path, "--model", model, "--lr", "0.5", "--quiet", *options]

    def peer(path, *options):
        flags = f"-d {path} --adaptive -l 0.5 --loss_function logistic -b {BITS} --quiet -f {folder}/model.vw"
        return [sys.executable, "-c", VW, " ".join([flags, *options])]

    ratios = {}
    with tempfile.TemporaryDirectory() as folder:
        short, paths = write_rows(folder, n_rows // 2), write_rows(folder, n_rows)
        cache = os.path.join(folder, "rows.cache")
        peer_cache = os.path.join(folder, "vw.cache")
        run(peer(paths["vw"], "-k", "--cache_file", peer_cache))
        print(*(f"{form}: {os.path.getsize(path) / 1e6:.0f} MB" for form, path in paths.items()), f"{n_rows} rows")
        run([sys.executable, "-m", "adagrad_nb", "convert", paths["svmlight"], cache])
        for form, path, flags, theirs, other, target in (
            ("svmlight", "svmlight", [], "vw", [], 1.3),
            ("numbers", "vw", [], "vw", [], 1.3),
            ("names", "names", ["-b", str(BITS)], "names", [], 1.3),
            ("cache", None, [], "vw", ["--cache_file", peer_cache], 2),
        ):
            mine, command = ours(paths[path] if path else cache, *flags), peer(paths[theirs], *other)
            peaks = [measure_peak(ours(short[path], *flags))] if path else []
            peaks += [measure_peak(mine), measure_peak(command)]
            print(f"{form}: peak memory in MB (ours for half of the rows, all rows; peer)", *map(round, peaks))
            timings = pairs.time_alternately(lambda c=mine: run(c), lambda c=command: run(c), 3 if quick else 5)
            ratios[form] = pairs.print_timings(form, timings, n_rows * 1e-6, "M rows/s", rate=True), target
    pairs.print_targets(*((f"{form}: rows/s / peer's", ratio, ">=", goal) for form, (ratio, goal) in ratios.items()))


if __name__ == "__main__":
    main()
