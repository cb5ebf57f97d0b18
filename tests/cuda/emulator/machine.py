"""Threads and memory of the emulator: runs translated kernels a block of threads at a time, and checks each access.

Threads at the same place run together; those furthest behind run first, so branches join again.  Addresses of
accesses are compared after each launch: two threads that meet at one without a barrier between them are a race.
"""

import bisect
import ctypes
import traceback

import numpy as np

from .ptx import Kernel

WARP = 32
ALL = slice(None)
READ, WRITE, ATOMIC = 0, 1, 2
ARENA_SIZE = 1 << 36
MAX_STEPS = 2_000_000  # basic blocks that a block of threads may run


class FaultError(Exception):
    """A kernel did what stops it on a device, or makes its result undefined."""


class Range(ctypes.Structure):
    """Begin and end of an allocation."""

    _fields_ = [("begin", ctypes.c_uint64), ("end", ctypes.c_uint64)]


class Machine:
    """Memory of the driver, and the state of the threads of one block.

    Attributes
    ----------
    findings : list of str
        Faults and races since the list was last cleared.
    launches : dict
        Number of launches by the name of the kernel.
    """

    def __init__(self, driver):
        self.driver = driver
        driver.emulator_arena.restype = ctypes.c_uint64
        driver.emulator_live.restype = driver.emulator_changes.restype = ctypes.c_long
        self.base = driver.emulator_arena()
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * ARENA_SIZE).from_address(self.base))
        kinds = [np.bool_, *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8"]
        self.memory = {np.dtype(kind): memory.view(kind) for kind in kinds}
        self.findings, self.launches, self.kernels = [], {}, {}
        self.known_changes, self.begins, self.ends = -1, [], []
        self.zero, self.one = np.uint32(0), np.uint32(1)

    # --- launches ------------------------------------------------------------------------------------------------

    def launch(self, key, image, name, pointers, size):
        """Run a kernel; return whether it ended without a fault."""
        try:
            if key not in self.kernels:
                self.kernels[key] = Kernel(image(), name)
            kernel = self.kernel = self.kernels[key]
            self.launches[kernel.name] = self.launches.get(kernel.name, 0) + 1
            if any(number != 1 for number in (*size[1:3], *size[4:6])):
                self.fault("grid or block with more than one dimension", str(size))
            with np.errstate(all="ignore"):
                self._run_grid(kernel, pointers, size[0], size[3])
        except FaultError:
            return False
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.findings.append(f"{name[:200]}: the emulator failed: {error!r}, line {place.lineno} of {place.name}")
            return False
        return True

    def _run_grid(self, kernel, pointers, n_blocks, n_threads):
        self.arguments = []
        for (kind, _), pointer in zip(kernel.parameters, pointers, strict=False):
            dtype = np.dtype(f"u{int(kind[1:]) // 8}")
            self.arguments.append(np.frombuffer(ctypes.string_at(pointer, dtype.itemsize), dtype)[0])
        if self.driver.emulator_changes() != self.known_changes:
            self.known_changes = self.driver.emulator_changes()
            ranges = ctypes.POINTER(Range)()
            n = self.driver.emulator_live(ctypes.byref(ranges))
            words = ctypes.cast(ranges, ctypes.POINTER(ctypes.c_uint64))
            self.begins, self.ends = np.ctypeslib.as_array(words, (n, 2)).T.tolist() if n else ([], [])
        self.n_threads, self.ntid, self.nctaid = n_threads, np.uint32(n_threads), np.uint32(n_blocks)
        self.tid = np.arange(n_threads, dtype=np.uint32)
        self.laneid = self.tid % np.uint32(WARP)
        self.log = []
        for block in range(n_blocks):
            self.block, self.ctaid, self.epoch = block, np.uint32(block), 0
            self.warp_epochs = np.zeros(-(-n_threads // WARP), np.int64)
            self.shared = np.full(-(-max(kernel.shared_size, 8) // 8) * 8, 0xFF, np.uint8)
            self._run_block(kernel)
        self._find_races()

    # --- threads -------------------------------------------------------------------------------------------------

    def _run_block(self, kernel):
        """Run the threads of one block to their ends."""
        registers = [np.uint32(0)] * len(kernel.register_numbers)
        for register, number in kernel.register_numbers.items():
            registers[number] = kernel.type_of(register).type(0)
        ready, parked, at_barrier = {0: ALL}, {}, {}
        self.is_live = np.ones(self.n_threads, bool)
        for _ in range(MAX_STEPS):
            if not ready:
                if at_barrier:
                    self._open_barrier(kernel, at_barrier, ready, parked)
                    continue
                if parked:
                    self.fault("threads of a warp wait for others that do not come", str(sorted(parked)))
                return
            number = min(ready)
            act = ready.pop(number)
            if number >= len(kernel.blocks):
                self._end(act)
                continue
            block = kernel.blocks[number]
            if block.kind in ("shuffle", "warp") and number in parked:
                act = self._merge(parked.pop(number), act)
            result = block.run(self, registers, act)
            if block.kind == "jump":
                self._join(ready, block.target, act)
            elif block.kind == "branch":
                self._branch(ready, block, result, act)
            elif block.kind == "return":
                self._end(act)
            elif block.kind == "barrier":
                at_barrier[number] = self._merge(at_barrier[number], act) if number in at_barrier else act
            else:
                self._synchronise_warps(block, number, result, registers, act, ready, parked, at_barrier)
        self.fault("the kernel does not end", f"after {MAX_STEPS} steps")

    def _end(self, act):
        self.is_live[act] = False

    def _threads(self, act):
        return np.arange(self.n_threads) if isinstance(act, slice) else act

    def _merge(self, a, b):
        merged = np.sort(np.concatenate([self._threads(a), self._threads(b)]))
        return ALL if merged.size == self.n_threads else merged

    def _join(self, ready, number, act):
        ready[number] = self._merge(ready[number], act) if number in ready else act

    def _branch(self, ready, block, condition, act):
        if condition.ndim == 0 or condition.all() or not condition.any():
            taken = bool(condition) if condition.ndim == 0 else bool(condition[0])
            self._go(ready, block.target if taken else block.following, act)
            return
        threads = self._threads(act)
        self._go(ready, block.target, threads[condition])
        self._go(ready, block.following, threads[~condition])

    def _go(self, ready, target, act):
        if target < 0:
            self._end(act)
        else:
            self._join(ready, target, act)

    def _open_barrier(self, kernel, at_barrier, ready, parked):
        """Let the threads pass that wait at a barrier."""
        n_waiting = sum(self._threads(act).size for act in at_barrier.values())
        if n_waiting != self.n_threads or parked:
            self.fault("barrier that not all threads of the block reach", f"{n_waiting} of {self.n_threads}")
        if len(at_barrier) > 1:
            self.fault("threads wait at different barriers", str(sorted(at_barrier)))
        for number, act in at_barrier.items():
            self._join(ready, kernel.blocks[number].following, act)
        at_barrier.clear()
        self.epoch += 1

    # --- warps ---------------------------------------------------------------------------------------------------

    def _synchronise_warps(self, block, number, result, registers, act, ready, parked, at_barrier):
        """Execute a shuffle, vote or barrier of the warps of which all threads of the mask have arrived."""
        kind, mode, targets = block.details
        threads = self._threads(act)
        values = result if isinstance(result, tuple) else (result,)
        if kind == "activemask":
            mask = np.zeros(threads.size, np.uint32)
            for warp in np.unique(threads // WARP):
                here = threads // WARP == warp
                mask[here] = np.bitwise_or.reduce(np.uint32(1) << (threads[here] % WARP).astype(np.uint32))
            self._set(registers, targets, (mask,), threads)
            self._join(ready, block.following, act)
            return
        masks = np.broadcast_to(values[-1], threads.shape)
        arrived = np.zeros(self.n_threads, bool)
        arrived[threads] = True
        complete = np.zeros(self.n_threads, bool)
        for warp, mask in np.unique(np.stack([threads // WARP, masks.astype(np.int64)]), axis=1).T:
            lanes = np.arange(warp * WARP, min((warp + 1) * WARP, self.n_threads))
            wanted = lanes[((mask >> (lanes % WARP)) & 1).astype(bool) & self.is_live[lanes]]
            here = threads[(threads // WARP == warp) & (masks == mask)]
            if not np.isin(here, wanted).all():
                self.fault("thread outside of the mask of its own shuffle", f"warp {warp}, mask {mask:#x}")
            if arrived[wanted].all():
                complete[wanted] = True
                self.warp_epochs = self.warp_epochs.copy()
                self.warp_epochs[warp] += 1
        done = threads[complete[threads]]
        if done.size < threads.size:
            parked[number] = threads[~complete[threads]]
        if not done.size:
            return
        if kind == "shfl":
            self._shuffle(mode, values, threads, complete, registers, targets)
        elif kind == "vote":
            self._vote(mode, values, threads, complete, registers, targets)
        self._join(ready, block.following, ALL if done.size == self.n_threads else done)

    def _shuffle(self, mode, values, threads, complete, registers, targets):
        """Set d (and a predicate) to a of another lane of the warp."""
        full = np.zeros(self.n_threads, np.uint32)
        full[threads] = values[0]
        b, c = (np.broadcast_to(np.asarray(v, np.int64), threads.shape)[complete[threads]] for v in values[1:3])
        done = threads[complete[threads]]
        lane, clamp, segment = done % WARP, c & 31, (c >> 8) & 31
        highest = (lane & segment) | (clamp & ~segment)
        lowest = lane & segment
        b = b & 31
        if mode == "bfly":
            source, limit = lane ^ b, highest
            is_inside = source <= limit
        elif mode == "down":
            source = lane + b
            is_inside = source <= highest
        elif mode == "up":
            source = lane - b
            is_inside = source >= highest
        else:
            source = lowest | (b & ~segment)
            is_inside = source <= highest
        source = np.where(is_inside, source, lane)
        other = done - lane + source
        if (other >= self.n_threads).any() or not complete[np.minimum(other, self.n_threads - 1)].all():
            self.fault("shuffle from a lane that does not take part", f"block {self.block}")
        self._set(registers, targets, (full[other], is_inside), done)

    def _vote(self, mode, values, threads, complete, registers, targets):
        flags = np.zeros(self.n_threads, bool)
        flags[threads] = values[0]
        done = threads[complete[threads]]
        result = np.zeros(done.size, np.uint32)
        for warp in np.unique(done // WARP):
            lanes = done[done // WARP == warp]
            chosen = flags[lanes]
            if mode == "ballot":
                bits = np.uint32(1) << (lanes[chosen] % WARP).astype(np.uint32)
                value = np.bitwise_or.reduce(bits) if bits.size else 0
            else:
                value = {"any": chosen.any(), "all": chosen.all(), "uni": chosen.all() or not chosen.any()}[mode]
            result[done // WARP == warp] = value
        self._set(registers, targets, (result,), done)

    def _set(self, registers, targets, values, threads):
        for (number, dtype), value in zip(targets, values, strict=False):
            after = np.array(np.broadcast_to(registers[number], self.n_threads), dtype=dtype)
            after[threads] = value.astype(dtype) if dtype == np.bool_ else value.astype(np.uint32).view(dtype)
            registers[number] = after

    # --- memory --------------------------------------------------------------------------------------------------

    def fault(self, what, details):
        """Note a fault and stop the kernel."""
        self.findings.append(f"{self.kernel.name}: {what} {details}".rstrip())
        raise FaultError(what)

    def aligned(self, address, size, access):
        """Return an address that must be a multiple of a size."""
        if np.any(address & np.uint64(size - 1)):
            self.fault(f"{access} of {size} bytes at an address that is not a multiple of it", f"block {self.block}")
        return address

    def _locate(self, address, dtype, access):
        """Return the positions of addresses in the memory, which must be in live allocations."""
        low, high = (int(address), int(address)) if address.ndim == 0 else (int(address.min()), int(address.max()))
        k = bisect.bisect_right(self.begins, low) - 1
        if k < 0 or high + dtype.itemsize > self.ends[k]:
            begins, ends = np.array(self.begins, np.uint64), np.array(self.ends, np.uint64)
            found = np.searchsorted(begins, address, "right").astype(np.int64) - 1
            is_outside = (found < 0) | (address + np.uint64(dtype.itemsize) > ends[found])
            if np.any(is_outside):
                at = int(np.atleast_1d(address)[np.atleast_1d(is_outside)][0])
                k = bisect.bisect_right(self.begins, at) - 1
                where = (
                    f"byte {at - self.begins[k]} of an array of {self.ends[k] - self.begins[k]}"
                    if k >= 0
                    else "no array"
                )
                self.fault(f"{access} out of bounds:", f"{where}, block {self.block}, {np.sum(is_outside)} threads")
        return (address - np.uint64(self.base)) // np.uint64(dtype.itemsize)

    def _locate_shared(self, address, dtype, access):
        if np.any(address + np.uint64(dtype.itemsize) > self.shared.size):
            self.fault(f"{access} out of bounds of shared memory", f"block {self.block}")
        return address // np.uint64(dtype.itemsize)

    def load_global(self, address, dtype, act):
        """Return numbers of global memory."""
        value = self.memory[dtype][self._locate(address, dtype, "load")]
        self._log(READ, False, address, act, dtype, None)
        return value

    def load_shared(self, address, dtype, act):
        """Return numbers of shared memory."""
        value = self.shared.view(dtype)[self._locate_shared(address, dtype, "load")]
        self._log(READ, True, address, act, dtype, None)
        return value

    def store_global(self, address, value, dtype, act):
        """Write numbers to global memory."""
        at = self._locate(address, dtype, "store")
        self.memory[dtype][at] = value if at.ndim or not value.ndim else value[-1]
        self._log(WRITE, False, address, act, dtype, value)

    def store_shared(self, address, value, dtype, act):
        """Write numbers to shared memory."""
        at = self._locate_shared(address, dtype, "store")
        self.shared.view(dtype)[at] = value if at.ndim or not value.ndim else value[-1]
        self._log(WRITE, True, address, act, dtype, value)

    def _log(self, kind, is_shared, address, act, dtype, value):
        epochs = self.epoch, self.warp_epochs
        self.log.append((kind, is_shared, address, act, dtype.itemsize, self.block, epochs, value))

    def atomic(self, space, operation, address, dtype, act, *values):
        """Change numbers one thread after the other; return those before."""
        threads = self._threads(act)
        is_shared = space == "shared"
        at = (self._locate_shared if is_shared else self._locate)(address, dtype, "atomic")
        memory = self.shared.view(dtype) if is_shared else self.memory[dtype]
        at = np.broadcast_to(at, threads.shape)
        values = [np.broadcast_to(value, threads.shape) for value in values]
        before = np.empty(threads.size, dtype)
        for k in range(threads.size):
            old = before[k] = memory[at[k]]
            new = values[-1][k]
            if operation == "add":
                new = old + new
            elif operation in ("min", "max"):
                new = min(old, new) if operation == "min" else max(old, new)
            elif operation in ("or", "and"):
                new = old | new if operation == "or" else old & new
            elif operation == "cas" and old != values[0][k]:
                new = old
            memory[at[k]] = new
        self._log(ATOMIC, is_shared, address, act, dtype, None)
        return before

    # --- races ---------------------------------------------------------------------------------------------------

    def _find_races(self):
        """Find addresses that two threads access without a barrier between them, one of them with a write.

        Writes of equal numbers that nobody reads are no race.  A barrier of a warp orders the threads of that warp.
        """
        if all(entry[0] == READ for entry in self.log):
            return
        unit = min(entry[4] for entry in self.log)
        columns = [self._expand(entry, unit) for entry in self.log]
        table = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
        is_written = np.isin(table[0], np.unique(table[0][table[4] != READ]))
        address, thread, block, (epoch, warp_epoch), kind, value = (
            column[..., is_written] if column.ndim == 1 else column[is_written].T for column in table
        )
        warp = thread // WARP
        self._compare((address,), block, kind, value, "blocks")
        self._compare((address, block, epoch), warp, kind, value, "warps")
        self._compare((address, block, epoch, warp, warp_epoch), thread, kind, value, "threads")

    def _expand(self, entry, unit):
        """Return address, thread, block, epochs, kind and value of an entry of the log, in units of bytes."""
        kind, is_shared, address, act, size, block, (epoch, warp_epochs), value = entry
        threads = self._threads(act)
        n = size // unit
        address = np.broadcast_to(address, threads.shape).astype(np.int64)
        if is_shared:  # below all global addresses, and different in each block
            address = address - ((block + 1) << 20)
        address = (address[:, None] + unit * np.arange(n)).ravel()
        bits = np.zeros(threads.size * n, np.uint64)
        if value is not None:
            value = np.ascontiguousarray(np.broadcast_to(value, threads.shape))
            bits = value.view(f"u{unit}").astype(np.uint64).ravel()
        threads = np.repeat(threads, n)
        epochs = np.stack([np.full(threads.size, epoch), warp_epochs[threads // WARP]], axis=1)
        return address, threads, np.full(threads.size, block), epochs, np.full(threads.size, kind, np.int8), bits

    def _compare(self, keys, owner, kind, value, what):
        """Note groups of accesses with equal keys by several owners, if one is a write."""
        order = np.lexsort(keys)
        changes = np.zeros(order.size, bool)
        for key in keys:
            ordered = key[order]
            changes[1:] |= ordered[1:] != ordered[:-1]
        if not order.size:
            return
        changes[0] = True
        starts = np.flatnonzero(changes)
        owner, kind, value = owner[order], kind[order], value[order]

        def spread(array):
            return np.maximum.reduceat(array, starts) != np.minimum.reduceat(array, starts)

        has = [np.logical_or.reduceat(kind == k, starts) for k in (READ, WRITE, ATOMIC)]
        is_race = spread(owner) & ((has[WRITE] & (has[READ] | has[ATOMIC] | spread(value))) | (has[ATOMIC] & has[READ]))
        if is_race.any():
            at = order[starts[is_race][0]]
            address = int(keys[0][at])
            k = bisect.bisect_right(self.begins, address) - 1
            where = f"byte {address - self.begins[k]} of an array" if address > 0 else "shared memory"
            self.findings.append(f"{self.kernel.name}: race between {what} at {is_race.sum()} addresses, first {where}")
