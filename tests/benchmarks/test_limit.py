"""The matrix rate of the cores."""

import re

import pytest

from benchmarks.limit import main, matrix_rate, products, seconds_of
from benchmarks.peers.problem import ORDERS, Work
from benchmarks.peers.work import operations
from mtnets import OptionError


def test_in_small(capsys) -> None:
    main(["--side", "64", "--repeats", "1"])
    first, *cells = capsys.readouterr().out.splitlines()
    assert float(re.fullmatch(r"matrix products: ([\d.]+) GFLOP/s", first)[1]) > 0
    assert [line.partition(":")[0] for line in cells] == [
        f"omniglot-5, {method}, {order}" for method in ("maml", "mt-net") for order in ("exact", "first")
    ]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cell", ["omniglot-5", "omniglot-20", "pooled"])
def test_products_are_all_of_a_meta_step(cell: str, order: str) -> None:
    work = Work(cell, "maml", order)
    assert sum(each.often * each.operations for each in products(work)) == operations(work)


def test_the_time_of_a_product() -> None:
    first = next(products(Work("omniglot-5", "maml", "exact", tiny=True)))
    assert seconds_of(first, rounds=1, seconds=1e-3) > 0


@pytest.mark.parametrize(("side", "repeats", "name"), [(0, 1, "side"), (8, 0, "repeats")])
def test_bad_options(side: int, repeats: int, name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} is 0; it must be at least 1"):
        matrix_rate(side, repeats)
