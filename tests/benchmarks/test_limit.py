"""The matrix rate of the cores."""

import re

import pytest

from benchmarks.limit import main, matrix_rate, seconds_of_products
from benchmarks.peers.problem import ORDERS, Work
from mtnets import OptionError


def test_in_small(capsys) -> None:
    main(["--side", "64", "--repeats", "1"])
    first, *cells = capsys.readouterr().out.splitlines()
    assert float(re.fullmatch(r"matrix products: ([\d.]+) GFLOP/s", first)[1]) > 0
    assert [line.partition(":")[0] for line in cells] == [
        f"omniglot-5, {method}, {order}" for method in ("maml", "mt-net") for order in ("exact", "first")
    ]


@pytest.mark.slow
def test_products_in_small() -> None:
    exact, first = (seconds_of_products(Work("omniglot-5", "maml", order, tiny=True), 1, 1e-3) for order in ORDERS)
    assert exact > 0
    assert first > 0


@pytest.mark.parametrize(("side", "repeats", "name"), [(0, 1, "side"), (8, 0, "repeats")])
def test_bad_options(side: int, repeats: int, name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} is 0; it must be at least 1"):
        matrix_rate(side, repeats)
