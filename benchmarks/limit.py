"""What the cores can do at most: the rate of large matrix products, and what a meta-step of Omniglot needs of it.

    python -m benchmarks.limit [--products]

Prints GFLOP/s of the best of several products of large square matrices in single precision, by NumPy's BLAS and by XLA,
and the operations of a meta-step of the cell omniglot-5 of `benchmarks.peers`, counted from the algorithm. Their
quotient is the shortest time that a meta-step could take on these cores. With `--products` also the time that the
products of a meta-step of MAML take alone, each by XLA with its own sizes, on one device per core: small and narrow
matrices do not reach the rate of large ones.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from benchmarks.peers.problem import METHODS, ORDERS, Work
from benchmarks.peers.work import operations
from mtnets.devices import use_cores
from mtnets.errors import OptionError

CORES = "cores"
CONVOLUTIONS = ("omniglot-5", "omniglot-20")
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


def seconds_of_products(work: Work, rounds: int = 5, seconds: float = 0.02) -> float:
    """Seconds that the matrix products of a meta-step of MAML take, and nothing else, on one device per core.

    Args:
      work: the meta-step, of a network whose products are all in its layers.
      rounds: measurements of each product, of which the median counts.
      seconds: that each of them takes, about.
    """
    mesh = Mesh(jax.devices(), (CORES,))

    def product(how: Callable[[Array, Array], Array], *factors: tuple[int, int]) -> float:
        """Seconds of one product of matrices of these shapes, of which each device takes the same."""

        def many(count: Array, a: Array, b: Array) -> Array:
            def again(_: Array, total: Array) -> Array:
                # the factors seem to depend on the sum, so that the loop does compute each product anew
                left, right, total = jax.lax.optimization_barrier((a, b, total))
                return total + how(left, right)[0, 0]

            return jax.lax.fori_loop(0, count, again, jnp.zeros(()))[None]

        one = PartitionSpec()
        run = jax.jit(
            jax.shard_map(many, mesh=mesh, in_specs=(one,) * 3, out_specs=PartitionSpec(CORES), check_vma=False)
        )
        a, b = (jnp.ones(shape) for shape in factors)

        def timed(count: int) -> float:
            start = time.perf_counter()
            jax.block_until_ready(run(jnp.int32(count), a, b))
            return (time.perf_counter() - start) / count

        timed(1)  # compiles
        count = max(1, int(seconds / timed(10)))
        return statistics.median(timed(count) for _ in range(rounds))

    cell, total = work.sizes, 0.0
    support, query = cell.examples
    for layer in cell.network.layers().values():
        # y = x W, xᵀ dy, dy Wᵀ; the derivatives of these three are products of the same three kinds, two of each
        times = {support: (3 if work.order == "exact" else 1) * cell.inner_steps, query: 1}
        if layer.of_data:  # without dy Wᵀ, and of the derivatives one of each kind
            times[support] = (2 if work.order == "exact" else 1) * cell.inner_steps
        for examples, often in times.items():
            m, k, n = layer.places * examples, layer.rows, layer.units
            each = product(jnp.matmul, (m, k), (k, n)) + product(lambda x, dy: x.T @ dy, (m, k), (m, n))
            each += 0.0 if layer.of_data else product(lambda dy, w: dy @ w.T, (m, n), (k, n))
            total += often * each
    return total * cell.tasks / mesh.size


def main(args: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cells", nargs="+", choices=CONVOLUTIONS, default=CONVOLUTIONS, help="for --products")
    parser.add_argument("--products", action="store_true")
    options = parser.parse_args(args)
    if options.products:
        use_cores()
    rate = matrix_rate(options.side, options.repeats)
    print(f"matrix products: {rate / 1e9:.1f} GFLOP/s")
    for method in METHODS:
        for order in ORDERS:
            count = operations(Work("omniglot-5", method, order)) or 0
            print(f"omniglot-5, {method}, {order}: {count / 1e9:.2f} GFLOP, at least {1000 * count / rate:.1f} ms")
    for cell in options.cells if options.products else ():
        work = Work(cell, "maml", "exact")
        taken, least = seconds_of_products(work), (operations(work) or 0) / rate
        print(f"{cell}, maml, exact: its products alone {1000 * taken:.1f} ms, {least / taken:.0%} of the rate")


if __name__ == "__main__":
    main()
