"""Regret of five methods on a9a against the best fixed weights of the rows so far, with certificates.

Run: python examples/regret_curves.py
"""

import pathlib

from adagrad_nb import L1, RDA, ElasticNet, load_svmlight, plots, regret

DATA = pathlib.Path(__file__).parent / "data" / "a9a.xz"
METHODS = {
    "Adagrad": {"lr": 0.5},
    "Adagrad, L1": {"lr": 0.5, "penalty": L1(1e-4)},
    "Adagrad, elastic net": {"lr": 0.5, "penalty": ElasticNet(1e-5, 1e-3)},
    "dual averaging, L1": {"lr": 0.5, "rule": RDA(eps=1.0), "penalty": L1(1e-4)},
    "search (no certificate)": {"lr": "auto"},
}


def main():
    """Print the regret, and save the picture regret_curves.png."""
    X, y = load_svmlight(DATA)
    curves = regret(X, y, METHODS, at=[4096, 8192, 16384, X.shape[0]], tol=1e-2)
    print("method                        loss     best   regret  certificate")
    for m, name in enumerate(curves.names):
        numbers = curves.losses[m, -1], curves.best[m, -1], curves.regret[m, -1]
        print(f"{name:24}{numbers[0]:10.1f}{numbers[1]:9.1f}{numbers[2]:9.1f}{curves.certificates[m, -1]:13.1f}")
    plots.save(plots.plot_regret(curves), "regret_curves.png")


if __name__ == "__main__":
    main()
