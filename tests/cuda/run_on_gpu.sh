#!/usr/bin/env bash
# Run the tests of device arrays on a GPU, then some of them under memcheck and racecheck; takes at most ten minutes.
#
#   OUT=folder bash tests/cuda/run_on_gpu.sh        # the output is also written to files in the folder; default: gpu_results
#
# Wheels in .wheels are installed first, into .site, for machines without a package index.
set -o pipefail
cd "$(dirname "$0")/../.." || exit
out=${OUT:-gpu_results}
mkdir -p "$out"
# shellcheck source=SCRIPTDIR/gpu_environment.sh
. tests/cuda/gpu_environment.sh

"$python" -W ignore - <<'END' 2>&1 | tee "$out/environment.txt" || exit
import importlib.metadata as metadata
import numpy as np
for name in "numpy numba numba-cuda cuda-core cuda-bindings torch cupy-cuda13x jax optax pytest pytest-xdist".split():
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name, "is not installed")
import adagrad_nb
assert adagrad_nb.has_cuda(), "no CUDA device"
from numba import cuda
x = cuda.to_device(np.ones(1003, np.float32))
state = adagrad_nb.init(x, lr=0.5)
adagrad_nb.update(x, x, state, out=(x, state))
assert abs(x.copy_to_host() - 0.5).max() < 1e-6
print("the first kernel is right")
END

# Warnings of other versions of packages are no errors here.
pytest=("$python" -m pytest -q -o filterwarnings= -p no:cacheprovider)
parallel=()
"$python" -c "import xdist" 2> /dev/null && parallel=(-n "${WORKERS:-12}")
timeout 380 "${pytest[@]}" "${parallel[@]}" tests/cuda --durations=5 2>&1 | tee "$out/tests.txt"
status=$?
sanitizer=$(command -v compute-sanitizer) || echo "compute-sanitizer is not on the path" | tee "$out/sanitizer.txt"
for tool in ${sanitizer:+memcheck racecheck}; do
    timeout 90 "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 9 "${pytest[@]}" tests/cuda/test_sparse.py \
        -k "(row_accumulators or sums_over) and float32" 2>&1 | tail -15 | tee "$out/$tool.txt" || status=$?
done
exit "$status"
