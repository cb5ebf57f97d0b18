"""Kernels for rows of hashed features: interactions of two features, and sorting with sums of equal columns."""

import numpy as np

from ..compiler.jit import borrow_arrays, jit

FNV_PRIME = np.uint64(16777619)
RANK_SORT = 128  # keys that are sorted by counting smaller ones, which is vectorised, before merging


@jit
def order_segments(row_segments, segments, order):
    """Write the segments of each row in the order of their first bytes; equal ones keep their order."""
    for row in range(row_segments.size - 1):
        start = row_segments[row]
        for s in range(start, row_segments[row + 1]):
            j = s
            while j > start and segments[order[j - 1], 1] > segments[s, 1]:
                order[j] = order[j - 1]
                j -= 1
            order[j] = s


@jit
def count_values(row_segments, segments, order, pairs, extra, indptr):
    """Write the row pointers of the features, their pairs and `extra` more values in each row.

    ``pairs[a, b]`` says whether a feature of a namespace with first byte a is paired with one of b, in this order.
    """
    indptr[0] = 0
    for row in range(row_segments.size - 1):
        first, last = row_segments[row], row_segments[row + 1]
        count = segments[last, 0] - segments[first, 0] + extra
        for p in range(first, last if pairs.size > 0 else first):
            a = order[p]
            n = segments[a + 1, 0] - segments[a, 0]
            for q in range(p, last):
                b = order[q]
                if pairs[segments[a, 1], segments[b, 1]] or pairs[segments[b, 1], segments[a, 1]]:
                    count += n * (n + 1) // 2 if a == b else n * (segments[b + 1, 0] - segments[b, 0])
        indptr[row + 1] = indptr[row] + count


@jit
def pair_features(row_segments, segments, order, pairs, columns, values, mask, out):
    """Write the features of each row and, after them, their pairs, to the arrays (columns, values, parents) of `out`.

    The column of a pair (a, b) is (16777619 a) xor b, as in Vowpal Wabbit.  ``parents`` has the two features of each
    pair; without rows, they are not written.
    """
    out_columns, out_values, parents, indptr = out
    keeps_parents = parents.shape[0] > 0
    for row in range(row_segments.size - 1):
        first, last = row_segments[row], row_segments[row + 1]
        k = indptr[row]
        for i in range(segments[first, 0], segments[last, 0]):
            out_columns[k], out_values[k] = columns[i], values[i]
            if keeps_parents:
                parents[k, 0], parents[k, 1] = i, -1
            k += 1
        for p in range(first, last if pairs.size > 0 else first):
            a = order[p]
            for q in range(p, last):
                b = order[q]
                is_forward = pairs[segments[a, 1], segments[b, 1]]
                if not is_forward and not pairs[segments[b, 1], segments[a, 1]]:
                    continue
                for i in range(segments[a, 0], segments[a + 1, 0]):
                    first_column = np.uint64(columns[i])
                    for j in range(i if a == b else segments[b, 0], segments[b + 1, 0]):
                        second_column = np.uint64(columns[j])
                        if is_forward:
                            out_columns[k] = ((FNV_PRIME * first_column) ^ second_column) & mask
                        else:
                            out_columns[k] = ((FNV_PRIME * second_column) ^ first_column) & mask
                        out_values[k] = values[i] * values[j]
                        if keeps_parents:
                            parents[k, 0], parents[k, 1] = i, j
                        k += 1


def make_keys(bits, longest):
    """Return the arguments (shift, keys, scratch) of `sort_and_sum` for 2^bits columns and rows of `longest` values."""
    shift = int(longest).bit_length()
    keys, scratch = np.empty((2, longest), np.int32 if bits + shift < 32 else np.int64)
    return shift, keys, scratch


@jit
def sort_keys(keys, n, scratch):
    """Sort distinct keys[:n]; the scratch array has at least n elements.  Return whether the result is in `scratch`."""
    width = max(n, 1)
    while width > RANK_SORT:
        width = (width + 1) // 2
    for start in range(0, n, width):
        part, ranked = keys[start : min(start + width, n)], scratch[start:]  # Numba wraps indices in keys around
        for i in range(part.size):
            key = part[i]
            rank = type(key)(0)  # in the type of the keys, so that both fill vector registers
            for j in range(part.size):
                rank = type(key)(rank + type(key)(part[j] < key))
            ranked[rank] = key
    in_scratch = True
    while width < n:
        source, target = (scratch, keys) if in_scratch else (keys, scratch)
        for start in range(0, n, 2 * width):
            middle, end = min(start + width, n), min(start + 2 * width, n)
            i, j, k = start, middle, start
            while i < middle and j < end:  # without branches, which would be unpredictable
                a, b = source[i], source[j]
                is_first = a < b
                target[k] = a if is_first else b
                i += is_first
                j += not is_first
                k += 1
            for left in range(i, middle):
                target[k] = source[left]
                k += 1
            for right in range(j, end):  # they are in place
                target[right] = source[right]
        in_scratch = not in_scratch
        width *= 2
    return in_scratch


@jit
def sort_and_sum(indptr, columns, values, shift, keys, scratch, data):
    """Sort each row by column, add up the values of equal columns and omit zeros, in `columns`, `data` and `indptr`.

    A key is a column followed by `shift` bits for the position in the row, in the type of `keys` and `scratch`.  Return
    (values left, first row with a sum that is not finite, or -1).
    """
    keys, scratch = borrow_arrays((keys, scratch))
    k, bad, start, positions = 0, -1, indptr[0], (1 << shift) - 1
    for row in range(indptr.size - 1):
        end = indptr[row + 1]
        n = end - start
        for j in range(n):
            keys[j] = np.int64(columns[start + j]) << shift | j
        in_scratch = sort_keys(keys, n, scratch)
        ordered = scratch if in_scratch else keys
        j = 0
        while j < n:
            column = ordered[j] >> shift
            total = values[start + (ordered[j] & positions)]
            j += 1
            while j < n and ordered[j] >> shift == column:
                total += values[start + (ordered[j] & positions)]
                j += 1
            if total != 0.0:
                columns[k], data[k] = column, total
                if not np.isfinite(data[k]) and bad < 0:
                    bad = row
                k += 1
        indptr[row + 1] = k
        start = end
    return k, bad
