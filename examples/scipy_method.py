"""Adagrad as a method of scipy.optimize.minimize, compared with L-BFGS-B.

Run: python examples/scipy_method.py
"""

import numpy as np
from scipy.optimize import Bounds, minimize, rosen, rosen_der

from adagrad_nb import minimize_adagrad


def main():
    """Compare four calls of `minimize`."""
    x0 = np.array([-1.2, 1.0, 0.8])
    bounds = Bounds([-2, -2, -2], [2, 2, 0.5])
    options = {"lr": 1.0, "maxiter": 50_000}
    calls = {
        "Adagrad": minimize(rosen, x0, jac=rosen_der, method=minimize_adagrad, options=options),
        "Adagrad, finite differences": minimize(
            rosen, x0, method=minimize_adagrad, options={"lr": 1.0, "maxiter": 2000}
        ),
        "Adagrad, bounds": minimize(rosen, x0, jac=rosen_der, method=minimize_adagrad, bounds=bounds, options=options),
        "L-BFGS-B, bounds": minimize(rosen, x0, jac=rosen_der, method="L-BFGS-B", bounds=bounds),
    }
    print(f"{'start':28} value {rosen(x0):.6f}")
    for name, res in calls.items():
        print(f"{name:28} value {res.fun:.6f}  x {np.round(res.x, 4)}  {res.nit} iterations: {res.message}")


if __name__ == "__main__":
    main()
