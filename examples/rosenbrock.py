"""Minimise Rosenbrock's function with three learning rates and plot the paths.

Run: python examples/rosenbrock.py [PICTURE]
"""

import sys

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import rosen, rosen_der

from adagrad_nb import minimize_adagrad
from adagrad_nb.plots import draw_path, save

START = np.array([-1.2, 1.0])


def path(lr, maxiter):
    """Return the iterates of a run, including the start."""
    iterates = [START]
    res = minimize_adagrad(rosen, START, jac=rosen_der, lr=lr, maxiter=maxiter, gtol=0, callback=iterates.append)
    print(f"lr {lr:<5} value {rosen(START):.3f} -> {res.fun:.3e} after {res.nit} iterations, x = {res.x}")
    return np.array(iterates)


def main(picture="rosenbrock.png"):
    """Plot three runs side by side."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    for axes, lr in zip(figure.subplots(1, 3), (0.01, 0.1, 1.0), strict=True):
        iterates = path(lr, maxiter=3000)
        draw_path(axes, rosen, iterates, (-1.8, 1.6), (-0.6, 2.6), minimum=(1.0, 1.0))
        axes.set_title(f"lr = {lr}: value {rosen(iterates[-1]):.1e}", loc="left")
    save(figure, picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
