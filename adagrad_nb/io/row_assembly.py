"""Kernel that assembles CSR rows from one value for each row and slot."""

from ..compiler.jit import jit


@jit
def assemble_rows(slot_indices, slot_values, indptr, indices, values):
    """Write the non-zero values of each row in the order of their indices; add up those with the same index.

    ``slot_values[s, r]`` is a value of row r, for the feature ``slot_indices[s, r]``.  Return the number of values.
    """
    nnz = 0
    indptr[0] = 0
    for r in range(slot_values.shape[1]):
        start = nnz
        for s in range(slot_values.shape[0]):
            value = slot_values[s, r]
            if value != 0:
                index = slot_indices[s, r]
                k = nnz
                while k > start and indices[k - 1] > index:
                    k -= 1
                if k > start and indices[k - 1] == index:
                    values[k - 1] += value
                else:
                    for m in range(nnz, k, -1):
                        indices[m] = indices[m - 1]
                        values[m] = values[m - 1]
                    indices[k] = index
                    values[k] = value
                    nnz += 1
        indptr[r + 1] = nnz
    return nnz
