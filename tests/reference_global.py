"""Rules with sums over all coordinates, from their papers, in slow float64: each yields the iterates of one vector."""

import math

import numpy as np


def adagrad_norm(x, gradients, lr, b0):
    """Ward, Wu and Bottou 2020, algorithm 1."""
    b = b0
    for g in gradients:
        b = math.sqrt(b * b + float(np.dot(g, g)))
        x = x - lr / b * g
        yield x


def wngrad(x, gradients, lr, b0):
    """Wu, Ward and Bottou 2018, algorithm 1, with the step of the new b."""
    b = b0
    for g in gradients:
        b += float(np.dot(g, g)) / b
        x = x - lr / b * g
        yield x


def dog(x, gradients, lr, r_eps, eps):
    """Ivgi, Hinder and Carmon 2023, equation 1."""
    start, seen, norms = x, [r_eps * (1 + np.linalg.norm(x))], []
    for g in gradients:
        seen.append(np.linalg.norm(x - start))
        norms.append(np.sum(g**2))
        x = x - lr * max(seen) / math.sqrt(sum(norms) + eps) * g
        yield x


def dowg(x, gradients, lr, square, eps):
    """Khaled, Mishchenko and Jin 2023, algorithm 1."""
    start, v = x, 0.0
    for g in gradients:
        square = max(square, float(np.sum((x - start) ** 2)))
        v += square * float(np.sum(g**2))
        x = x - lr * square / (math.sqrt(v) + eps) * g
        yield x


def adagrad_plus_plus(x, gradients, lr, eps, r_eps):
    """Tao et al. 2024, algorithm 1."""
    start, seen, squares = x, [r_eps], np.zeros(x.size)
    for g in gradients:
        seen.append(np.linalg.norm(x - start) / math.sqrt(x.size))
        squares = squares + g**2
        x = x - lr * max(seen) * g / (np.sqrt(squares) + eps)
        yield x


def dadapt_adagrad(x, gradients, lr, d, G0, eps):
    """Defazio and Mishchenko 2023, algorithm 4, with the step from the start."""
    start, z, squares, q = x, np.zeros(x.size), np.full(x.size, G0), 0.0
    for g in gradients:
        weight = d * lr
        squares = squares + g**2
        h = np.sqrt(squares) + eps
        z = z + weight * g
        q += weight**2 * float(np.sum(g**2 / h))
        x = start - z / h
        if np.abs(z).sum() > 0:
            d = max(d, (float(np.sum(z**2 / h)) - q) / np.abs(z).sum())
        yield x
