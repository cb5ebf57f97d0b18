"""Installation of the emulator: builds the driver, loads it, and gives it the kernels' PTX instead of machine code."""

import atexit
import ctypes
import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

from adagrad_nb.cuda.arrays import import_cuda

from .machine import Machine

SOURCE = pathlib.Path(__file__).with_name("driver.c")
LAUNCHER = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_uint * 6),
)  # fmt: skip


def build_driver():
    """Compile the driver and return the path of the library, named as the real one."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError("the emulator needs a C compiler: install gcc, or set CC")
    directory = tempfile.mkdtemp(prefix="adagrad_nb-emulator-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    library = os.path.join(directory, "libcuda.so.1")
    command = [compiler, "-O1", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, str(SOURCE)]
    done = subprocess.run([*command, "-ldl", "-lpthread"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the emulator's driver does not compile:\n{done.stderr}")
    return library


@functools.cache
def install():
    """Make numba-cuda use the emulator in this process, which must not have loaded a driver yet; return the machine."""
    driver = ctypes.CDLL(build_driver(), ctypes.RTLD_GLOBAL)  # cuda-bindings finds the loaded library by its name
    machine = Machine(driver)

    @LAUNCHER
    def launch(kernel, image, name, arguments, size):
        text = functools.partial(lambda: ctypes.string_at(image).decode())
        return not machine.launch(kernel, text, name.decode(), arguments, tuple(size.contents))

    machine.launcher = launch  # keeps it alive
    driver.emulator_set_launcher(launch)

    import_cuda()
    from cuda.core import ObjectCode
    from numba.cuda.codegen import CUDACodeLibrary

    def get_ptx(self, cc=None):
        if self._linking_files:
            raise RuntimeError(f"the emulator cannot link {sorted(map(str, self._linking_files))}")
        return ObjectCode.from_ptx("\n".join(self.get_asm_strs(cc=cc)).encode())

    CUDACodeLibrary.get_cubin = get_ptx
    return machine


def driver_calls(machine):
    """Return the number of calls of each function of the driver since `emulator_reset_calls`."""
    text = ctypes.create_string_buffer(1 << 16)
    machine.driver.emulator_calls(text, len(text))
    return {name: int(n) for name, n in (line.split() for line in text.value.decode().splitlines())}
