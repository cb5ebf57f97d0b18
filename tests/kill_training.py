"""Kill training on the command line at random moments, resume it from its checkpoint, and compare the models.

``python tests/kill_training.py DATA [KILLS]`` is a script, because it takes minutes.  The last model must have the
bytes of one that was never interrupted.
"""

import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time


def main(data, n_kills=20, passes=60):
    """Kill `n_kills` processes; each resumes the one before it."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        full, model, checkpoint = folder / "full.npz", folder / "model.npz", folder / "checkpoint.npz"
        train = [sys.executable, "-m", "adagrad_nb", "train", data, "--passes", str(passes), "--quiet"]
        subprocess.run([*train, "--model", full], check=True, stdout=subprocess.DEVNULL)  # compiles
        start = time.monotonic()
        subprocess.run([*train, "--model", full], check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        random.seed(0)
        kills = resumed = finished = 0
        while kills < n_kills or not finished:
            flags = ["--resume", checkpoint] if checkpoint.exists() else []
            resumed += bool(flags)
            command = [*train, "--checkpoint", checkpoint, "--checkpoint-seconds", "0", *flags, "--model", model]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                limit = random.uniform(0.2, 1.2) * seconds if kills < n_kills else None
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                continue
            if status != 0 or model.read_bytes() != full.read_bytes():
                raise SystemExit(f"status {status} after {kills} kills; or the model differs")
            finished += 1
            os.unlink(model)
            os.unlink(checkpoint)
        print(f"{kills} kills, {resumed} resumed runs, {finished} equal models")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
