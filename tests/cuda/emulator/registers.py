"""Table of registers, spills and instructions of each CUDA kernel, from `ptxas` and `nvdisasm`; no device is needed.

Run ``python tests/cuda/emulator/registers.py [float32 float64] [--root DIRECTORY]`` with the kernels of a checkout.
The programs are those of the CUDA toolkit, or of the packages nvidia-cuda-nvcc and nvidia-cuda-nvdisasm.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

ARCHITECTURE = "sm_90"
DOUBLE = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)|MUFU\.\w*64|F2F\.\w*F64|[IF]2[IF]\S*F64")


class Usage(NamedTuple):
    """Resources of a kernel; `spills` are bytes of registers written to memory, `loop` the longest innermost loop."""

    registers: int
    spills: int
    instructions: int
    loop: int
    barriers: int
    shuffles: int
    wide_loads: int
    calls: int
    doubles: int


def measure(ptx, ptxas, nvdisasm):
    """Return the `Usage` of a kernel in PTX."""
    with tempfile.TemporaryDirectory() as directory:
        source, binary = pathlib.Path(directory, "kernel.ptx"), pathlib.Path(directory, "kernel.cubin")
        source.write_text(re.sub(r"\.version \S+", ".version 8.0", ptx))  # older programs know it, too
        command = [ptxas, f"-arch={ARCHITECTURE}", "-v", str(source), "-o", str(binary)]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        code = subprocess.run([nvdisasm, "-c", str(binary)], capture_output=True, text=True, check=True).stdout
    operations, labels, loops = [], {}, []
    for line in code.splitlines():
        if match := re.match(r"\s*\.?(\.L_x_\d+):", line):
            labels[match[1]] = len(operations)
        elif match := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]+)(.*);", line):
            operations.append(match[1])
            target = re.search(r"`\((\.L_x_\d+)\)", match[2])
            if (
                match[1].startswith("BRA")
                and target
                and target[1] in labels
                and labels[target[1]] < len(operations) - 1
            ):
                loops.append((labels[target[1]], len(operations)))
    innermost = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]

    def number(pattern):
        found = re.search(pattern, report)
        return int(found[1]) if found else 0

    def count(pattern):
        return sum(bool(re.match(pattern, operation)) for operation in operations)

    return Usage(
        number(r"Used (\d+) registers"), number(r"(\d+) bytes spill stores"), len(operations) - count("NOP"),
        max((end - begin for begin, end in innermost), default=0), count("BAR"), count("SHFL"),
        count(r"LDG\.E\.128"), count("CALL"), count(DOUBLE),
    )  # fmt: skip


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dtypes", nargs="*", default=["float32"])
    parser.add_argument("--root", default=pathlib.Path(__file__).parents[3], help="the checkout with the kernels")
    parser.add_argument("--ptxas", default=shutil.which("ptxas"))
    parser.add_argument("--nvdisasm", default=shutil.which("nvdisasm"))
    options = parser.parse_args()
    if not (options.ptxas and options.nvdisasm):
        parser.error("ptxas or nvdisasm is not on the path: give --ptxas and --nvdisasm")
    sys.path[:0] = [str(options.root), str(pathlib.Path(options.root, "tests"))]
    import numpy as np
    import test_cuda_ptx
    from numba.cuda import dispatcher

    class Device:
        compute_capability = (9, 0)

    dispatcher.get_current_device = lambda: Device
    for dtype in options.dtypes:
        print(f"| {dtype} |", " | ".join(name.replace("_", " ") for name in Usage._fields), "|")
        print("|---" * (len(Usage._fields) + 1) + "|")
        for name, case in test_cuda_ptx.cases(np.dtype(dtype)).items():
            usage = measure(test_cuda_ptx.ptx(*case), options.ptxas, options.nvdisasm)
            print(f"| {name} |", " | ".join(map(str, usage)), "|", flush=True)


if __name__ == "__main__":
    main()
