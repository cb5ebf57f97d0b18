"""Training from files, whole processes: ``adagrad-nb train`` against Vowpal Wabbit.

Both read the same synthetic text-like rows: Vowpal Wabbit text with numbered features and with names, and a binary
cache.  We also read svmlight text, compared with Vowpal Wabbit's own text of the same rows.  Both make one pass of
logistic loss with adaptive steps at a fixed rate.  The peer runs as ``python -c "import vowpalwabbit; …"``.
The disk cache is warm, and Python keeps its bytecode.  Files have two lengths: the rows once, where the start
of the process takes a large part of the time, and several copies of them, which the targets are for.  Peak memory and
CPU time, the measure of a busy machine, are those of the process in the first, untimed run.
"""

import os
import shutil
import subprocess
import sys
import tempfile

import pairs

BITS = 18
VW = "import sys, vowpalwabbit; vowpalwabbit.Workspace(sys.argv[1]).finish()"


def run(command):
    """Run a process to its end."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure_usage(command):
    """Run a process; return its largest resident memory in MB and its CPU time in seconds."""
    code = f"import subprocess, resource; subprocess.run({command!r}, check=True, stdout=subprocess.DEVNULL); "
    code += "usage = resource.getrusage(resource.RUSAGE_CHILDREN); "
    code += "print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime)"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    peak, seconds = map(float, output.split())
    return peak / (1e6 if sys.platform == "darwin" else 1e3), seconds


def repeat_file(path, copies):
    """Write a file with several copies of another one; return its path."""
    root, suffix = os.path.splitext(path)
    repeated = f"{root}x{copies}{suffix}"
    with open(repeated, "wb") as target:
        for _ in range(copies):
            with open(path, "rb") as source:
                shutil.copyfileobj(source, target)
    return repeated


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
    options = pairs.parse_options(__doc__, copies=5)
    quick = options.quick
    pairs.import_peer("vowpalwabbit")
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[1], os.environ.get("PYTHONPATH", "")])
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each process would compile all sources of the package, in 0.3 s
    pairs.print_versions("vowpalwabbit", ours="2: reading and learning", vw="2: reading and learning")
    n_rows = 20_000 if quick else 200_000  # 215 MB

    def ours(path, *options):
        model = os.path.join(folder, "model.npz")
        return [sys.executable, "-m", "adagrad_nb", "train", path, "--model", model, "--lr", "0.5", "--quiet", *options]

    def peer(path, *options):
        flags = f"-d {path} --adaptive -l 0.5 --loss_function logistic -b {BITS} --quiet -f {folder}/model.vw"
        return [sys.executable, "-c", VW, " ".join([flags, *options])]

    def compare(paths, n_rows):
        """Print the comparison of one length; return the ratio and the target of each form."""
        cache, peer_cache = (f"{paths['vw']}.{side}.cache" for side in ("ours", "peer"))
        run(peer(paths["vw"], "-k", "--cache_file", peer_cache))
        run([sys.executable, "-m", "adagrad_nb", "convert", paths["svmlight"], cache])
        print(*(f"{form}: {os.path.getsize(path) / 1e6:.0f} MB" for form, path in paths.items()), f"{n_rows} rows")
        ratios = {}
        for form, path, flags, theirs, other, target in (
            ("svmlight", paths["svmlight"], [], "vw", [], 1.3),
            ("numbers", paths["vw"], [], "vw", [], 1.3),
            ("names", paths["names"], ["-b", str(BITS)], "names", [], 1.3),
            ("cache", cache, [], "vw", ["--cache_file", peer_cache], 2),
        ):
            mine, command = ours(path, *flags), peer(paths[theirs], *other)
            run(mine)  # compiles
            usage = [f"{peak:.0f} MB, {seconds:.2f} s" for peak, seconds in map(measure_usage, (mine, command))]
            print(f"{form}: peak memory and CPU time: ours {usage[0]}; peer {usage[1]}")
            timings = pairs.time_alternately(lambda c=mine: run(c), lambda c=command: run(c), 3 if quick else 5)
            ratios[form] = pairs.print_timings(form, timings, n_rows * 1e-6, "M rows/s", rate=True), target
        return ratios

    with tempfile.TemporaryDirectory() as folder:
        paths = write_rows(folder, n_rows)
        compare(paths, n_rows)
        repeated = {form: repeat_file(path, options.copies) for form, path in paths.items()}
        ratios = compare(repeated, n_rows * options.copies)
    pairs.print_targets(*((f"{form}: rows/s / peer's", ratio, ">=", goal) for form, (ratio, goal) in ratios.items()))


if __name__ == "__main__":
    main()
