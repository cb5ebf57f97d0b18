#!/usr/bin/env bash
# Print the table of device arrays and peers as Markdown; takes at most ten minutes.
#
#   OUT=folder bash asv_benchmarks/peers/run_gpu.sh [--quick]      # the table is also written to folder/gpu.md
#
# Wheels in .wheels are installed first, into .site, for machines without a package index.
set -o pipefail
cd "$(dirname "$0")/../.." || exit
out=${OUT:-gpu_results}
mkdir -p "$out"
# shellcheck source=SCRIPTDIR/../../tests/cuda/gpu_environment.sh
. tests/cuda/gpu_environment.sh
timeout 580 "$python" -W ignore asv_benchmarks/peers/gpu.py "$@" 2> "$out/gpu.err" | tee "$out/gpu.md"
status=$?
tail -5 "$out/gpu.err" >&2
exit "$status"
