"""What the cores can do at most: the rate of large matrix products, and what a meta-step of Omniglot needs of it.

    python -m benchmarks.limit

Prints GFLOP/s of the best of several products of large square matrices in single precision, by NumPy's BLAS and by XLA,
and the operations of a meta-step of the cell omniglot-5 of `benchmarks.peers`, counted from the algorithm. Their
quotient is the shortest time that a meta-step could take on these cores.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.peers.problem import METHODS, ORDERS, Work
from benchmarks.peers.work import operations
from mtnets.errors import OptionError

SIDE = 2048  # of the matrices: 17 GFLOP per product, far more than the time to start it


def matrix_rate(side: int = SIDE, repeats: int = 5) -> float:
    """Operations per second of the best matrix product.

    Args:
      side: of the square matrices.
      repeats: products by each library.

    Raises:
      OptionError: for a number below 1.
    """
    for name, value in (("side", side), ("repeats", repeats)):
        if value < 1:
            raise OptionError(f"{name} is {value}; it must be at least 1.")
    a = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    compiled, b = jax.jit(lambda x: x @ x), jax.device_put(a)
    libraries: tuple[Callable[[], Any], ...] = (lambda: a @ a, lambda: jax.block_until_ready(compiled(b)))
    best = 0.0
    for product in libraries:
        product()  # compiles, and starts threads
        for _ in range(repeats):
            start = time.perf_counter()
            product()
            best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def main(args: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(args)
    rate = matrix_rate(options.side, options.repeats)
    print(f"matrix products: {rate / 1e9:.1f} GFLOP/s")
    for method in METHODS:
        for order in ORDERS:
            count = operations(Work("omniglot-5", method, order)) or 0
            print(f"omniglot-5, {method}, {order}: {count / 1e9:.2f} GFLOP, at least {1000 * count / rate:.1f} ms")


if __name__ == "__main__":
    main()
