"""Minimise a function of a PyTorch tensor in GPU memory, with the gradient from PyTorch's autograd.

Run: python examples/torch_gpu.py
"""

import importlib.util
import sys

from adagrad_nb import has_cuda, minimize_adagrad

if importlib.util.find_spec("torch") is None or not has_cuda():
    print("This example needs PyTorch, numba-cuda and a GPU; nothing was executed.")
    sys.exit()

import torch

if not torch.cuda.is_available():
    print("PyTorch finds no GPU; nothing was executed.")
    sys.exit()


def rosenbrock(x):
    """Return the value and the gradient at x; both stay on the device."""
    x = x.detach().requires_grad_()
    f = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
    f.backward()
    return f.detach(), x.grad


result = minimize_adagrad(rosenbrock, torch.zeros(1000, device="cuda"), jac=True, lr=0.5, maxiter=5000)
print(f"value {result.fun:.3g} after {result.nit} iterations; x is a {type(result.x).__name__} on {result.x.device}")
