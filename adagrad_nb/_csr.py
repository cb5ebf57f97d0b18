"""CSR matrices: conversion, validation, and errors that name the malformed row."""

import numpy as np
import scipy

from ._check import first_true, no_mask, numbers_of_objects

UNSIGNED_DTYPES = {np.dtype(np.int32): np.dtype(np.uint32), np.dtype(np.int64): np.dtype(np.uint64)}
CSR_CLASSES = (scipy.sparse.csr_array, scipy.sparse.csr_matrix)


def as_csr(X, dtype=None):
    """Convert a matrix to validated CSR of type `dtype`, by default its own, without copies where possible."""
    if hasattr(X, "require_dtype"):  # rows on a device, which were validated before the copy to it
        return X.require_dtype(common_dtype(X, dtype))
    if not scipy.sparse.issparse(X):
        X = as_dense(X)
    dtype = common_dtype(X, dtype)
    if scipy.sparse.issparse(X):
        if X.ndim != 2:
            raise ValueError(f"X: got shape {X.shape}; must have two dimensions, rows and columns")
        if X.format != "csr":
            check_sparse_indices("X", X)
            X = X.tocsr()
    else:
        if X.ndim != 2:
            raise ValueError(f"X: got shape {X.shape}; must have two dimensions, such as X.reshape(1, -1)")
        if X.dtype.kind not in "fiub":
            raise TypeError(f"X: got dtype {X.dtype}; must be real numbers")
        if not X.dtype.isnative or (X.dtype.kind == "f" and X.dtype.itemsize not in (4, 8)):
            with np.errstate(over="ignore"):
                X = X.astype(dtype)  # scipy.sparse takes neither 16 bits nor another byte order
        X = scipy.sparse.csr_array(X)
    check_csr(X)
    if X.data.dtype != dtype:
        with np.errstate(over="ignore"):  # the kernels report rows with infinite values
            X = scipy.sparse.csr_array((X.data.astype(dtype), X.indices, X.indptr), shape=X.shape)
    return X


def only_row(X, dtype):
    """Return the column indices, unsigned, and the values of a well-formed CSR matrix of one row, else None.

    None says that X needs the checks, the conversion or the error message of `as_csr`, which take much longer.  The
    column indices may be out of range.
    """
    if type(X) not in CSR_CLASSES:
        return None
    indptr, indices, values, shape = X.indptr, X.indices, X.data, X.shape
    if len(shape) != 2 or shape[0] != 1 or not type(indptr) is type(indices) is type(values) is np.ndarray:
        return None
    if indptr.shape != (2,) or indptr.dtype not in UNSIGNED_DTYPES or values.dtype != dtype:
        return None
    if indices.dtype not in UNSIGNED_DTYPES or not indices.ndim == values.ndim == 1:
        return None
    first, end = indptr.tolist()
    if first != 0 or not 0 <= end <= min(indices.size, values.size):
        return None
    if not (indices.flags.c_contiguous and values.flags.c_contiguous):
        return None
    indices = indices.view(UNSIGNED_DTYPES[indices.dtype])
    return (indices, values) if end == indices.size == values.size else (indices[:end], values[:end])


def with_own_indptr(X):
    """Return a CSR matrix with a copy of `indptr`, which shares the other arrays."""
    return X if hasattr(X, "require_dtype") else type(X)((X.data, X.indices, X.indptr.copy()), shape=X.shape)


def as_dense(values):
    """Convert any matrix but a sparse one to a NumPy array."""
    no_mask("X", values)
    try:
        return numbers_of_objects("X", np.asarray(values))
    except ValueError as error:  # lists of different lengths
        if str(error).startswith("X: "):
            raise
        raise ValueError(f"X: cannot be converted to an array; {error}") from None


def common_dtype(X, dtype):
    """Return the precision of the computation: `dtype` or, if None, float32 for float32 data and else float64."""
    if dtype is not None:
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"dtype: got {dtype}; must be float32 or float64")
        return dtype
    return np.dtype(np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64)


def as_unsigned(indices):
    """Return column indices as unsigned integers, so that negative indices are out of range."""
    return np.ascontiguousarray(indices).view(UNSIGNED_DTYPES[indices.dtype])


def sum_duplicates(X):
    """Return a copy with sorted indices and duplicate entries summed."""
    X = scipy.sparse.csr_array((X.data.copy(), X.indices.copy(), X.indptr.copy()), shape=X.shape)
    X.sum_duplicates()
    return X


def check_index_pointer(indptr, indices, n_values, n_rows):
    """Raise unless `indptr` and `indices` are well-formed arrays of a compressed matrix of n rows."""
    for name, part in (("indptr", indptr), ("indices", indices)):
        if not isinstance(part, np.ndarray):
            raise ValueError(f"{name}: got {type(part).__name__}; must be a NumPy array")
        if part.ndim != 1 or part.dtype not in (np.int32, np.int64):
            raise ValueError(
                f"{name}: got dtype {part.dtype} and shape {part.shape}; "
                "must have one dimension and dtype int32 or int64"
            )
    if indptr.shape != (n_rows + 1,):
        raise ValueError(f"indptr: got {indptr.size} entries for {n_rows} rows; must have one entry more than rows")
    if indptr[0] != 0:
        raise ValueError(f"indptr: starts with {indptr[0]}; must start with 0")
    is_decreasing = indptr[1:] < indptr[:-1]
    if is_decreasing.any():
        row = first_true(is_decreasing)
        raise ValueError(f"indptr: falls from {indptr[row]} to {indptr[row + 1]} at row {row}; must not decrease")
    if indptr[-1] > min(indices.size, n_values):
        raise ValueError(f"indptr: ends with {indptr[-1]}, but there are {indices.size} indices and {n_values} values")


def check_csr(X):
    """Raise unless the arrays of a CSR matrix are well-formed; the kernels check the column indices."""
    if X.data.ndim != 1 or X.data.dtype.kind not in "fiub":
        raise ValueError(
            f"X.data: got dtype {X.data.dtype} and shape {X.data.shape}; must have one dimension and a real dtype"
        )
    try:
        check_index_pointer(X.indptr, X.indices, X.data.size, X.shape[0])
    except ValueError as error:
        raise ValueError(f"X.{error}") from None


def check_sparse_indices(name, matrix):
    """Raise if an index is out of range, because SciPy's conversions do not check indices before they write."""
    try:
        if matrix.format in ("csr", "csc", "bsr"):
            _check_compressed(matrix)
        elif matrix.format == "coo":
            for axis, (indices, size) in enumerate(zip(_coo_indices(matrix), matrix.shape, strict=True)):
                if indices.shape != matrix.data.shape:
                    raise ValueError(f"axis {axis} has {indices.size} indices for {matrix.data.size} values")
                is_invalid = (indices < 0) | (indices >= size)
                if is_invalid.any():
                    raise ValueError(f"index {indices[is_invalid][0]} on axis {axis}; must be in [0, {size})")
        elif matrix.format == "lil":
            _check_lil(matrix)
    except (ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"{name}: malformed {matrix.format.upper()} matrix: {error}") from None


def _coo_indices(matrix):
    return matrix.coords if hasattr(matrix, "coords") else (matrix.row, matrix.col)


def _check_compressed(matrix):
    n_major = matrix.shape[-1] if matrix.format == "csc" else matrix.shape[0]
    n_minor = matrix.shape[0] if matrix.format == "csc" else matrix.shape[-1]
    if matrix.format == "bsr":
        height, width = matrix.data.shape[1:]
        n_major, n_minor = n_major // height, n_minor // width
    elif matrix.ndim == 1:
        n_major = 1
    check_index_pointer(matrix.indptr, matrix.indices, len(matrix.data), n_major)
    is_invalid = (matrix.indices < 0) | (matrix.indices >= n_minor)
    if is_invalid.any():
        raise ValueError(
            f"index {matrix.indices[is_invalid][0]} at position {first_true(is_invalid)}; must be in [0, {n_minor})"
        )


def _check_lil(matrix):
    height, width = matrix.shape
    if len(matrix.rows) != height or len(matrix.data) != height:
        raise ValueError(f"{len(matrix.rows)} lists of indices and {len(matrix.data)} of values for {height} rows")
    for row, (indices, values) in enumerate(zip(matrix.rows, matrix.data, strict=True)):
        if len(indices) != len(values):
            raise ValueError(f"row {row} has {len(indices)} indices for {len(values)} values")
        for index in indices:
            if not 0 <= index < width:
                raise ValueError(f"index {index} in row {row}; must be in [0, {width})")


class DivergenceError(ValueError):
    """Error of training whose predictions, gradients or weights are not finite, although the data are."""


class RowError(ValueError):
    """Error of a row of X.  ``renumbered(row)`` is the same error for another row number."""

    row: int
    template: str

    @classmethod
    def at_row(cls, template, row):
        """Return the error with the message `template`, which has the field ``{row}``."""
        error = cls(template.replace("{row}", str(row)))
        error.template, error.row = template, int(row)
        return error

    def renumbered(self, row):
        """Return the error for a row that is number `row` in the data of the caller."""
        return type(self).at_row(self.template, row)


class DivergedRowError(RowError, DivergenceError):
    """Error of a row of finite values."""


def raise_for_row(X, row, is_too_large=False):
    """Raise the error for a row that a kernel rejected, because of its gradient if `is_too_large`."""
    indices, values = (array[X.indptr[row] : X.indptr[row + 1]] for array in (X.indices, X.data))
    is_valid = np.isfinite(values).all() and ((indices >= 0) & (indices < X.shape[1])).all()
    raise (DivergedRowError if is_valid else RowError).at_row(_row_message(X, row, is_too_large), row)


def _row_message(X, row, is_too_large):
    """Return the message for a rejected row, with ``{row}`` for its number."""
    begin, end = X.indptr[row], X.indptr[row + 1]
    indices, values = X.indices[begin:end], X.data[begin:end]
    is_outside = (indices < 0) | (indices >= X.shape[1])
    if is_outside.any():
        index = indices[is_outside][0]
        return f"X: column index {index} in row {{row}}; must be in [0, {X.shape[1]}), the number of columns"
    is_nonfinite = ~np.isfinite(values)
    if is_nonfinite.any():
        return f"X: got {values[is_nonfinite][0]} in row {{row}}, column {indices[is_nonfinite][0]}; must be finite"
    if is_too_large:
        return (
            f"X: row {{row}} gives a gradient whose square overflows {X.dtype}; its values, target, weight or the "
            "learning rate are too large, scale X, y or sample_weight, use a smaller lr"
            + (", or use dtype=float64" if X.dtype == np.float32 else "")
        )
    is_tiny = (values != 0) & (np.abs(values) < np.sqrt(np.finfo(X.dtype).tiny))
    if is_tiny.any():
        return (
            f"X: row {{row}} gives a prediction that is not finite; its value {values[is_tiny][0]} in column "
            f"{indices[is_tiny][0]} is so small that its square underflows in {X.dtype}, multiply the column by a "
            "constant, or replace such values with 0"
        )
    return (
        "X: row {row} gives a prediction that is not finite; its values or the learning rate are too large, "
        "scale the columns of X or take a smaller lr"
    )
