"""Every reader, on some hundred changed files; `python -m tests.faults.fuzz` goes on where this ends."""

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.readers import READERS

LONG = ("run configuration", "model card")  # a command line and a template are made for each input
some = settings(
    max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("name", READERS)
def test_valid_files(name: str) -> None:
    for seed in READERS[name].seeds():
        READERS[name].read(seed)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in READERS]
)
def test_changed_files(name: str) -> None:
    reader = READERS[name]

    @some
    @given(st.sampled_from(reader.seeds()), st.integers(0, 2**32))
    def check(seed: Any, number: int) -> None:
        reader.read(reader.change(seed, Random(number)))

    check()
