"""CUDA kernels that sort a list of indices and their positions by radix: stable, in three launches for each 8 bits.

A block counts the digits of its part of the list, the counts are added up over the parts, and each block moves its keys
to their places.  It sorts a tile of KEYS_PER_THREAD keys for each thread at a time in shared memory, by two digits of
4 bits.  Every key has one place, so the order is the same every time.  A list of one tile takes one launch.
"""

from numba import cuda, types

from ...cuda.primitives import BLOCK_SIZE, block_prefix_sum

KEYS_PER_THREAD = 4
TILE = KEYS_PER_THREAD * BLOCK_SIZE
TWO_TILES = 2 * TILE
DIGITS = 256  # values of the digit of a launch
NIBBLES = 16  # values of the digit of a pass in shared memory
N_COUNTERS = NIBBLES * BLOCK_SIZE + BLOCK_SIZE  # one after each 16 is unused, so that threads read different banks


@cuda.jit(device=True)
def _counter(nibble, thread):
    """Return the place of the counter of a digit and a thread."""
    i = nibble * cuda.blockDim.x + thread
    return i + (i >> 4)


@cuda.jit(device=True)
def _sort_tile_by_nibble(digits, shift, places, source, counters, sums, m):
    """Sort the m entries places[source:] stably by 4 bits of their digits, to the other half of `places`

    Each thread counts and moves KEYS_PER_THREAD neighbours.
    """
    j = cuda.threadIdx.x
    target = TILE - source
    begin, end = j * KEYS_PER_THREAD, min((j + 1) * KEYS_PER_THREAD, m)
    for nibble in range(NIBBLES):
        counters[_counter(nibble, j)] = 0
    for p in range(begin, end):
        counters[_counter((digits[places[source + p]] >> shift) & (NIBBLES - 1), j)] += 1
    cuda.syncthreads()
    total, first = 0, j * NIBBLES
    for i in range(first, first + NIBBLES):
        total += counters[i + (i >> 4)]
    before = block_prefix_sum(sums, total)
    for i in range(first, first + NIBBLES):
        count = counters[i + (i >> 4)]
        counters[i + (i >> 4)] = before
        before += count
    cuda.syncthreads()
    for p in range(begin, end):
        place = places[source + p]
        at = _counter((digits[place] >> shift) & (NIBBLES - 1), j)
        places[target + counters[at]] = place
        counters[at] += 1
    cuda.syncthreads()


@cuda.jit
def sort_tile(keys, n_bits, sorted_keys, order):
    """sorted_keys, order = the sorted keys of at most one tile, which have n_bits bits, and their positions"""
    digits = cuda.shared.array(TILE, types.int32)
    places = cuda.shared.array(TWO_TILES, types.int32)
    counters = cuda.shared.array(N_COUNTERS, types.int32)
    sums = cuda.shared.array(BLOCK_SIZE, types.int64)
    m, source, shift = keys.shape[0], 0, 0
    for p in range(cuda.threadIdx.x, m, cuda.blockDim.x):
        places[p] = p
    while shift < n_bits:
        for p in range(cuda.threadIdx.x, m, cuda.blockDim.x):
            digits[p] = (keys[p] >> shift) & (NIBBLES - 1)
        cuda.syncthreads()
        _sort_tile_by_nibble(digits, 0, places, source, counters, sums, m)
        source, shift = TILE - source, shift + 4
    for p in range(cuda.threadIdx.x, m, cuda.blockDim.x):
        place = places[source + p]
        sorted_keys[p], order[p] = keys[place], place


@cuda.jit
def count_digits(keys, shift, n_digits, part_size, counts):
    """counts[d * n_parts + b] = number of keys in part b of the list with digit d; the digit begins at bit `shift`"""
    shared = cuda.shared.array(DIGITS, types.int32)
    for d in range(cuda.threadIdx.x, n_digits, cuda.blockDim.x):
        shared[d] = 0
    cuda.syncthreads()
    begin = cuda.blockIdx.x * part_size
    for k in range(begin + cuda.threadIdx.x, min(begin + part_size, keys.shape[0]), cuda.blockDim.x):
        cuda.atomic.add(shared, (keys[k] >> shift) & (n_digits - 1), 1)
    cuda.syncthreads()
    for d in range(cuda.threadIdx.x, n_digits, cuda.blockDim.x):
        counts[d * cuda.gridDim.x + cuda.blockIdx.x] = shared[d]


@cuda.jit
def sum_digit_counts(counts, n_parts):
    """Replace the counts of digit d, that of the block, by their sums over the parts before

    counts[n_digits * n_parts + d] = their sum over all parts.
    """
    sums = cuda.shared.array(BLOCK_SIZE, types.int64)
    total, first = 0, cuda.blockIdx.x * n_parts
    for begin in range(0, n_parts, cuda.blockDim.x):
        b = begin + cuda.threadIdx.x
        before = block_prefix_sum(sums, counts[first + b] if b < n_parts else 0)
        if b < n_parts:
            counts[first + b] = total + before
        total += sums[cuda.blockDim.x - 1]
    if cuda.threadIdx.x == 0:
        counts[cuda.gridDim.x * n_parts + cuda.blockIdx.x] = total


@cuda.jit
def move_by_digit(keys, order, shift, n_digits, part_size, counts, keys_out, order_out):
    """Write the keys and their positions `order` to their places by one digit; an empty `order` means 0, 1, ...

    `sum_digit_counts` has written `counts`.
    """
    first_place = cuda.shared.array(DIGITS, types.int64)  # place of the next key of each digit
    first_in_tile = cuda.shared.array(DIGITS, types.int32)
    digits = cuda.shared.array(TILE, types.int32)
    places = cuda.shared.array(TWO_TILES, types.int32)
    counters = cuda.shared.array(N_COUNTERS, types.int32)
    sums = cuda.shared.array(BLOCK_SIZE, types.int64)
    j, total, totals = cuda.threadIdx.x, 0, n_digits * cuda.gridDim.x
    for begin in range(0, n_digits, cuda.blockDim.x):
        d = begin + j
        before = block_prefix_sum(sums, counts[totals + d] if d < n_digits else 0)
        if d < n_digits:
            first_place[d] = total + before + counts[d * cuda.gridDim.x + cuda.blockIdx.x]
        total += sums[cuda.blockDim.x - 1]
    end = min((cuda.blockIdx.x + 1) * part_size, keys.shape[0])
    tile = KEYS_PER_THREAD * cuda.blockDim.x
    for begin in range(cuda.blockIdx.x * part_size, end, tile):
        m = min(tile, end - begin)
        cuda.syncthreads()
        for p in range(j, m, cuda.blockDim.x):
            digits[p] = (keys[begin + p] >> shift) & (n_digits - 1)
            places[p] = p
        cuda.syncthreads()
        source, low = 0, 0
        while (n_digits - 1) >> low > 0:
            _sort_tile_by_nibble(digits, low, places, source, counters, sums, m)
            source, low = TILE - source, low + 4
        for p in range(j, m, cuda.blockDim.x):
            d = digits[places[source + p]]
            if p == 0 or digits[places[source + p - 1]] != d:
                first_in_tile[d] = p
        cuda.syncthreads()
        for p in range(j, m, cuda.blockDim.x):
            place = places[source + p]
            d = digits[place]
            k = first_place[d] + p - first_in_tile[d]
            keys_out[k] = keys[begin + place]
            order_out[k] = order[begin + place] if order.shape[0] > 0 else begin + place
        cuda.syncthreads()
        for p in range(j, m, cuda.blockDim.x):
            d = digits[places[source + p]]
            if p == m - 1 or digits[places[source + p + 1]] != d:
                first_place[d] += p + 1 - first_in_tile[d]
