"""The list of methods."""

import pytest

from mtnets import METHODS, catalogue
from mtnets.networks import models


@pytest.fixture(scope="module")
def entries():
    return {entry.name: entry for entry in catalogue(models.mlp(1, 40, 40, 1))}


def test_every_method_says_what_it_does_and_learns(entries) -> None:
    assert list(entries) == list(METHODS)
    for entry in entries.values():
        assert "←" in entry.step, entry
        assert "`" not in entry.step + entry.learned
        assert entry.learned not in ("", "?"), entry
        assert "arXiv" in entry.paper, entry
        assert len(entry.paper) < 50


def test_numbers_are_counted(entries) -> None:
    """1-40-40-1 has 1761 weights and 81 units; T adds 40² + 40² + 1, a two-sided one 2² + 41² + 41² more."""
    weights, squares = 1761, 40**2 + 40**2 + 1
    expected = {
        "maml": weights,
        "meta_sgd": 2 * weights,
        "sparse_maml": 2 * weights,
        "approximate_gap": weights + 81,
        "gap": weights + 2 + 40 + 1,
        "t_net": weights + squares,
        "mt_net": weights + squares + 81,
        "mt_net_full": 2 * weights + squares,
        "maml_plus_plus": None,  # without normalisation there is nothing to learn apart for each step
    }
    assert {name: entries[name].parameters for name in expected} == expected
    normed = {e.name: e for e in catalogue(models.mlp(1, 40, 40, 1, norm="transductive"), inner_steps=5)}
    assert normed["maml_plus_plus"].parameters == weights + 80 + 3 * 5 + 6 * 80


def test_options_are_those_of_the_method_alone(entries) -> None:
    assert entries["fomaml"].options == {}
    assert entries["cavia"].options == {"context": 5}
    assert entries["mt_net"].options == {
        "mask": "sample", "temperature": 1.0, "sides": 1, "rates": "fixed", "metric": "full", "rank": 8,
    }  # fmt: skip


def test_papers_are_short() -> None:
    papers = {entry.name: entry.paper for entry in catalogue(models.mlp(1, 1))}
    assert papers["mt_net"] == "Lee & Choi 2018, arXiv 1801.05558"
    assert papers["maml"] == "Finn et al. 2017, arXiv 1703.03400"
    assert papers["sparse_maml"] == "von Oswald et al. 2021, arXiv 2110.14402"
