r"""Rules whose preconditioner is a matrix: full, in blocks, or of low rank.

Such a rule is a record with these members, where n is the number of coordinates of an array and s the tuple of its
accumulators, which are arrays:

``slots``, ``initial_slots()``
    Number of accumulators, and their initial values, which are zeros.
``slot_shapes(n) -> tuple of tuples``
    Shape of each accumulator.
``slot_domains``
    Interval of the entries of each accumulator.  Default: finite.
``peak_size(n) -> int``
    Numbers in memory during a step, those of the accumulators included.
``matrix_step(x, g, s, lr, domain) -> x``
    The new vector x for the gradient g.  It updates the accumulators in place.  `domain` is None, or a domain of
    `supported_domains`, onto which x is projected in the metric of the preconditioner.
``supported_domains``
    Tuple of classes of domains.  Default: none.

Unlike the records of scalar functions, these take whole arrays and call LAPACK.  Each array of x has its own
accumulators.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .._check import positive_count
from .._legacy import has_member
from .domains import L2Ball, project

QR_BLOCK = 32  # columns that LAPACK updates together


def has_matrices(rule: Any) -> bool:
    """Return whether the preconditioner of a rule is a matrix."""
    return has_member(rule, "matrix_step")


def _decompose(A, eps):
    """Return (V, h, inverse): the eigenvectors of symmetric matrices A, the eigenvalues of √A + eps, and 1 / h.

    The inverse is 0 where an eigenvalue of A is 0 up to rounding errors.  The gradients have no component there.
    """
    eigenvalues, V = np.linalg.eigh(A)
    smallest = A.shape[-1] * np.finfo(A.dtype).eps * np.maximum(eigenvalues[..., -1:], 0)
    is_live = eigenvalues > smallest
    h = np.sqrt(np.where(is_live, eigenvalues, 0)) + eps
    return V, h, np.where(is_live, 1 / np.where(is_live, h, 1), 0)


class FullMatrixAdagrad(NamedTuple):
    r"""Adagrad with a full matrix, as in figure 2 of the paper.

    .. math:: A \leftarrow A + g g^T, \qquad H = A^{1/2} + \epsilon I, \qquad x \leftarrow x - \eta H^{-1} g

    With ``dual_averaging=True``, :math:`z \leftarrow z + g` and :math:`x = -\eta H^{-1} z`.

    Parameters
    ----------
    eps : float, default 0.0
        :math:`\epsilon` in [0, inf); the paper calls it :math:`\delta`.
    dual_averaging : bool, default False
        Whether the step is the primal-dual one.  It starts from zero: another start has no effect.

    Notes
    -----
    The iterates rotate with the problem, and a coordinate is scaled together with those that it is correlated with.
    A step takes :math:`O(n^3)` time and the memory of five matrices of :math:`n^2` numbers, also for a sparse gradient.

    :math:`H^{-1}` is a pseudo-inverse.  Directions whose eigenvalue of A is below n times the rounding error of the
    largest one do not move.  For n = 100 their gradients are smaller than the largest ones by a factor of 400 in
    float32, and of 7 million in float64.

    The domain may be `L2Ball`.  x is then projected in the metric H; directions where it is zero move freely.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, figure 2 and theorem 7.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import FullMatrixAdagrad, minimize_adagrad
    >>> A = np.array([[1.0, 0.99], [0.99, 1.0]])
    >>> res = minimize_adagrad(
    ...     lambda x: x @ A @ x / 2, [3.0, -2.0], jac=lambda x: A @ x, rule=FullMatrixAdagrad(), lr=1.0, gtol=1e-6
    ... )
    >>> res.success, res.nit < 100
    (True, True)
    """

    eps: float = 0.0
    dual_averaging: bool = False

    domain = {"eps": "[0, inf)", "dual_averaging": "bool"}
    supported_domains = (L2Ball,)

    @property
    def slots(self):
        """A and, for dual averaging, z."""
        return 2 if self.dual_averaging else 1

    def initial_slots(self):
        return (0.0,) * self.slots

    def slot_shapes(self, n):
        return ((n, n), (n,))[: self.slots]

    def peak_size(self, n):
        return 5 * n * n

    def matrix_step(self, x, g, s, lr, domain):
        A = np.outer(g, g)
        A += s[0]
        V, h, inverse = _decompose(A, self.eps)
        s[0][:] = A
        if self.dual_averaging:
            s[1][:] += g
            x = -lr * (V @ (inverse * (s[1] @ V)))
        else:
            x = x - lr * (V @ (inverse * (g @ V)))
        if domain is not None:
            x = V @ project(domain, (x @ V).astype(np.float64), h.astype(np.float64))
        return x


class BlockAdagrad(NamedTuple):
    r"""Adagrad with a block-diagonal matrix: `FullMatrixAdagrad` for each block of consecutive coordinates.

    Parameters
    ----------
    block_size : int, default 64
        Coordinates of a block, at least 1; the last block may be smaller.  An array in C order whose rows have this
        size has one block for each row.
    eps : float, default 0.0
        In [0, inf), as for `FullMatrixAdagrad`.

    Notes
    -----
    A step takes :math:`O(n b^2)` time for blocks of b coordinates, and the memory of :math:`5 n b` numbers.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import BlockAdagrad, init, update
    >>> x = np.zeros(5)
    >>> state = init(x, BlockAdagrad(2), lr=1.0)
    >>> update(x, np.array([3.0, 4.0, 0.0, 2.0, 7.0]), state)[0]
    array([-0.6, -0.8,  0. , -1. , -1. ])
    """

    block_size: int = 64
    eps: float = 0.0

    domain = {"eps": "[0, inf)"}
    slots = 1

    def check(self):
        positive_count("BlockAdagrad.block_size", self.block_size)

    def initial_slots(self):
        return (0.0,)

    def slot_shapes(self, n):
        size = min(self.block_size, max(n, 1))
        return ((-(-n // size), size, size),)

    def peak_size(self, n):
        n_blocks, size, _ = self.slot_shapes(n)[0]
        return 5 * n_blocks * size * size

    def matrix_step(self, x, g, s, lr, domain):
        padded = np.zeros(s[0].shape[:2], g.dtype)
        padded.reshape(-1)[: g.size] = g
        A = padded[:, :, None] * padded[:, None, :]
        A += s[0]
        V, _, inverse = _decompose(A, self.eps)
        s[0][:] = A
        steps = V @ (inverse[:, :, None] * (V.transpose(0, 2, 1) @ padded[:, :, None]))
        return x - lr * steps.reshape(-1)[: g.size]


class SketchedAdagrad(NamedTuple):
    r"""S-Adagrad: full-matrix Adagrad in the memory of k vectors, by frequent directions.

    .. math:: A \approx U \operatorname{diag}(\lambda) U^T + \rho I, \qquad x \leftarrow x - \eta H^{-1} g, \qquad
              H = A^{1/2} + \epsilon I

    Each gradient is added to the k directions U.  Then the smallest of the k + 1 eigenvalues is subtracted from all and
    added to :math:`\rho`.

    Parameters
    ----------
    rank : int, default 10
        The number k of directions, at least 1.  From the number of coordinates on, the steps are those of
        `FullMatrixAdagrad`.
    eps : float, default 0.0
        :math:`\epsilon` in [0, inf).

    Notes
    -----
    A step takes :math:`O(n k^2)` time and the memory of :math:`6 n k` numbers, also for a sparse gradient.

    References
    ----------
    .. [1] V. Feinberg, X. Chen, Y. J. Sun, R. Anil, E. Hazan, "Sketchy: Memory-efficient Adaptive Regularization with
       Frequent Directions", NeurIPS 2023, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import SketchedAdagrad, init, update
    >>> x = np.zeros(1000)
    >>> state = init(x, SketchedAdagrad(2), lr=1.0)
    >>> for g in np.eye(1000)[:3]:
    ...     x, state = update(x, g, state)
    >>> [slot.shape for slot in state.slots[0]], state.slots[0][2].round(3)
    ([(1000, 2), (2,), (1,)], array([1.]))
    """

    rank: int = 10
    eps: float = 0.0

    domain = {"eps": "[0, inf)"}
    slots = 3  # U, λ and ρ
    slot_domains = ("(-inf, inf)", "[0, inf)", "[0, inf)")

    def check(self):
        positive_count("SketchedAdagrad.rank", self.rank)

    def initial_slots(self):
        return (0.0, 0.0, 0.0)

    def slot_shapes(self, n):
        rank = min(self.rank, n)
        return ((n, rank), (rank,), (1,))

    def peak_size(self, n):
        return 6 * n * (min(self.rank, n) + 1)

    def matrix_step(self, x, g, s, lr, domain):
        U, eigenvalues, rho = s
        rank = eigenvalues.size
        V, sizes, _ = np.linalg.svd(np.column_stack([U * np.sqrt(eigenvalues), g]), full_matrices=False)
        sizes[sizes <= g.size * np.finfo(g.dtype).eps * sizes[0]] = 0
        squares = sizes * sizes
        if squares.size > rank:
            rho += squares[rank]
            squares = squares[:rank] - squares[rank]
        U[:] = np.where(squares > 0, V[:, :rank], 0)
        eigenvalues[:] = squares
        h = np.sqrt(eigenvalues + rho) + self.eps
        inside = g @ U
        step = U @ np.where(eigenvalues > 0, inside / np.where(h > 0, h, 1), 0)
        if rho[0] > 0:  # otherwise the gradient is in the span of U
            step += (g - U @ inside) / (np.sqrt(rho) + self.eps)
        return x - lr * step


class OnlineNewtonStep(NamedTuple):
    r"""Online Newton step: a matrix of outer products without the root, for exp-concave losses.

    .. math:: A \leftarrow A + g g^T, \qquad x \leftarrow x - \frac{\eta}{\gamma} A^{-1} g, \qquad
              A_0 = \epsilon I

    Parameters
    ----------
    gamma : float, default 1.0
        :math:`\gamma` in (0, inf).
    eps : float, default 1.0
        :math:`\epsilon` in (0, inf).

    Notes
    -----
    The method of the paper has ``lr=1.0``, and projects onto the domain in the metric A, which is not done here.  The
    accumulator is the Cholesky factor of A, which a gradient updates in :math:`O(n^2)` time.

    References
    ----------
    .. [1] E. Hazan, A. Agarwal, S. Kale, "Logarithmic Regret Algorithms for Online Convex Optimization", Machine
       Learning 69 (2007) 169-192, figure 2.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import OnlineNewtonStep, init, update
    >>> x = np.zeros(2)
    >>> update(x, np.array([1.0, 2.0]), init(x, OnlineNewtonStep(), lr=1.0))[0].round(4)  # -g / (1 + g @ g)
    array([-0.1667, -0.3333])
    """

    gamma: float = 1.0
    eps: float = 1.0

    domain = {"gamma": "(0, inf)", "eps": "(0, inf)"}
    slots = 1

    def initial_slots(self):
        return (0.0,)

    def slot_shapes(self, n):
        return ((n, n),)

    def peak_size(self, n):
        return 2 * n * n + (QR_BLOCK + 4) * n

    def matrix_step(self, x, g, s, lr, domain):
        from scipy.linalg import get_lapack_funcs

        if g.size == 0:
            return x
        L, dtype = s[0], g.dtype
        if L[0, 0] == 0:  # before the first update
            L[np.diag_indices_from(L)] = max(math.sqrt(self.eps), np.finfo(dtype).tiny)
        # The QR decomposition of [L, g]' keeps the digits of small directions; the last row of Q is the inverse of L
        # times g.  Updates of the inverse of A (Sherman and Morrison) lose them: it becomes indefinite when A exceeds
        # eps by the inverse of the machine precision.
        tpqrt, tpmqrt, trtrs = get_lapack_funcs(("tpqrt", "tpmqrt", "trtrs"), dtype=dtype)
        L.T[:], V, T, _ = tpqrt(0, min(g.size, QR_BLOCK), L.T, g[None], overwrite_a=True)
        zeros, one = np.zeros((g.size, 1), dtype, order="F"), np.ones((1, 1), dtype)
        whitened = tpmqrt(0, V, T, zeros, one, trans="T", overwrite_a=True)[0]
        direction, _ = trtrs(L.T, whitened)
        return x - lr / self.gamma * direction[:, 0]
