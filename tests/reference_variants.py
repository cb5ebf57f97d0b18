"""Variants of Adagrad in slow NumPy float64, from their papers; independent of the package.

Each function makes one step of all coordinates: it takes x, the gradient, the learning rate, the number t of earlier
updates, and a dict of arrays that it keeps between the steps.  It returns the new x and the step sizes of the proximal
step, or None if its paper has no such step.
"""

import numpy as np


def divide(a, b):
    """a / b, or 0 where b is 0."""
    return np.where(b > 0, a / np.where(b > 0, b, 1.0), 0.0)


def sgd(x, g, lr, t, memory):
    """Zinkevich 2003; with a proximal step Duchi and Singer 2009."""
    return x - lr * g, np.full_like(x, lr)


def power_adagrad(x, g, lr, t, memory, power=0.5, eps=0.0, inside=False, discount=1.0):
    """Duchi 2011 with another exponent, as Vowpal Wabbit's --power_t."""
    G = memory["G"] = discount * memory.get("G", np.zeros_like(x)) + g * g
    H = (G + eps) ** power if inside else np.where(G > 0, G**power, 0.0) + eps
    return x - lr * divide(g, H), divide(lr, H)


def delayed_adagrad(x, g, lr, t, memory, power=0.5, beta=1.0, discount=1.0):
    """Li and Orabona 2019, equation 3."""
    G = memory.get("G", np.zeros_like(x))
    last = memory.get("last", np.zeros_like(x))
    G = memory["G"] = discount * G + last
    memory["last"] = g * g
    return x - lr * g / (beta + G) ** power, lr / (beta + G) ** power


def sc_adagrad(x, g, lr, t, memory, xi1=0.1, xi2=0.1):
    """Mukkamala and Hein 2017, algorithm 3."""
    v = memory["v"] = memory.get("v", np.zeros_like(x)) + g * g
    return x - lr * g / (v + xi2 * np.exp(-xi1 * v)), lr / (v + xi2 * np.exp(-xi1 * v))


def kate(x, g, lr, t, memory, kappa=0.9, eps=0.0):
    """Choudhury et al. 2024, algorithm 1."""
    b = memory["b"] = memory.get("b", np.zeros_like(x)) + g * g
    m = memory["m"] = memory.get("m", np.zeros_like(x)) + kappa * g * g + divide(g * g, b + eps)
    return x - lr * divide(np.sqrt(m) * g, b + eps), divide(lr * np.sqrt(m), b + eps)


def optimistic_adagrad(x, g, lr, t, memory, eps=0.0):
    """Rakhlin and Sridharan 2013 with the last gradient as hint."""
    last = memory.get("last", np.zeros_like(x))
    G = memory["G"] = memory.get("G", np.zeros_like(x)) + (g - last) ** 2
    memory["last"] = g.copy()
    H = np.sqrt(G) + eps
    return x - lr * divide(2 * g - last, H), divide(lr, H)


def madgrad(x, g, lr, t, memory, momentum=0.9, eps=1e-6):
    """Defazio and Jelassi 2022, algorithm 1."""
    if not memory:
        memory.update(x0=x.copy(), s=np.zeros_like(x), v=np.zeros_like(x))
    weight = (lr + eps) * np.sqrt(t + 1)
    memory["s"] = memory["s"] + weight * g
    memory["v"] = memory["v"] + weight * g * g
    z = memory["x0"] - divide(memory["s"], np.cbrt(memory["v"]) + eps)
    return momentum * x + (1 - momentum) * z, None


def kt(x, g, lr, t, memory):
    """Orabona and Pál 2016, the bettor of Krichevsky and Trofimov, which skips rounds whose gradient is zero."""
    if not memory:
        memory.update(x0=x.copy(), n=np.zeros_like(x), z=np.zeros_like(x), wealth=np.full_like(x, lr))
    memory["wealth"] = memory["wealth"] - g * (x - memory["x0"])
    memory["z"] = memory["z"] - g
    memory["n"] = memory["n"] + (g != 0)
    fraction = memory["z"] / (memory["n"] + 1)
    return memory["x0"] + np.where(g == 0, x - memory["x0"], fraction * memory["wealth"]), None


def cocob(x, g, lr, t, memory, alpha=100.0, eps=1e-8):
    """Orabona and Tommasi 2017, algorithm 2."""
    if not memory:
        zero = np.zeros_like(x)
        memory.update(x0=x.copy(), L=np.full_like(x, eps), A=zero, R=zero, theta=zero)
    L = memory["L"] = np.maximum(memory["L"], abs(g))
    A = memory["A"] = memory["A"] + abs(g)
    R = memory["R"] = np.maximum(memory["R"] - g * (x - memory["x0"]), 0.0)
    theta = memory["theta"] = memory["theta"] - g
    target = memory["x0"] + theta / (L * np.maximum(A + L, alpha * L)) * (L + R)
    return x + lr * (target - x), None
