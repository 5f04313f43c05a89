"""The long runs of `long_runs.py`, in small: what a process holds does not grow once it has seen every size."""

import pytest

import mtnets
from tests.faults.long_runs import sizes, small_learner


@pytest.mark.slow
def test_adapting_to_many_sizes() -> None:
    learner = small_learner(mtnets.models.mlp(1, 4, 1))
    rows = sizes(learner, 400, 4, 4)
    first, *_, last = rows[1:]
    for what in ("maps", "files", "threads", "programs"):
        assert last[what] <= first[what] + 2, what
    assert last["MB"] < first["MB"] + 10
