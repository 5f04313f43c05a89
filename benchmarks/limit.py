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
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

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


class Product(NamedTuple):
    """A product of matrices in a meta-step.

    Attributes:
      how: of its two factors.
      shapes: of these.
      operations: multiplications and additions.
      often: in a meta-step.
    """

    how: Callable[[Array, Array], Array]
    shapes: tuple[tuple[int, int], tuple[int, int]]
    operations: int
    often: int


def products(work: Work) -> Iterator[Product]:
    """The products of a meta-step of MAML whose network has all of them in its layers: `y = x W`, `xᵀ dy` and
    `dy Wᵀ`. The derivatives of these three are of the same three kinds, two of each."""
    cell = work.sizes
    support, query = cell.examples
    for layer in cell.network.layers().values():
        of_support = (2 if layer.of_data else 3) if work.order == "exact" else 1  # of data: no dy Wᵀ, one of each
        for examples, often in ((support, of_support * cell.inner_steps), (query, 1)):
            m, k, n = layer.places * examples, layer.rows, layer.units
            kinds = [(jnp.matmul, ((m, k), (k, n))), (lambda x, dy: x.T @ dy, ((m, k), (m, n)))]
            kinds += [] if layer.of_data else [(lambda dy, w: dy @ w.T, ((m, n), (k, n)))]
            yield from (Product(how, shapes, 2 * m * k * n, often * cell.tasks) for how, shapes in kinds)


def seconds_of(product: Product, rounds: int = 5, seconds: float = 0.02) -> float:
    """Seconds of one product, while all devices take the same.

    Args:
      product: the product.
      rounds: measurements, of which the median counts.
      seconds: that each of them takes, about.
    """

    def many(count: Array, a: Array, b: Array) -> Array:
        def again(_: Array, before: Array) -> Array:
            # the smaller factor depends on the last result, and all of each result is kept: nothing can be left out
            once = 1 + 0 * before[0, 0]
            return product.how(a * once, b) if a.size < b.size else product.how(a, b * once)

        return jax.lax.fori_loop(0, count, again, product.how(a, b))[None]

    mesh, same = Mesh(jax.devices(), (CORES,)), PartitionSpec()
    run = jax.jit(jax.shard_map(many, mesh=mesh, in_specs=(same,) * 3, out_specs=PartitionSpec(CORES), check_vma=False))
    factors = [jnp.ones(shape) for shape in product.shapes]

    def timed(count: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(run(jnp.int32(count), *factors))
        return (time.perf_counter() - start) / count

    timed(1)  # compiles
    count = max(1, int(seconds / timed(10)))
    return statistics.median(timed(count) for _ in range(rounds))


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
        all_of_it = list(products(work))
        taken = sum(each.often * seconds_of(each) for each in all_of_it) / len(jax.devices())
        share = sum(each.often * each.operations for each in all_of_it) / taken / rate
        print(f"{cell}, maml, exact: its products alone {1000 * taken:.1f} ms, {share:.0%} of the rate")


if __name__ == "__main__":
    main()
