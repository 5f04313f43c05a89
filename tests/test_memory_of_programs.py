"""What a program needs, and what there is."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from mtnets import memory


def test_a_program_needs_what_it_reserves() -> None:
    numbers = 10_000

    def program(x):
        return jnp.sort(jnp.sin(x))[::-1]

    compiled = jax.jit(program).lower(jnp.zeros(numbers)).compile()
    least = 2 * 4 * numbers  # what it takes and what it gives
    assert least <= memory.needed(compiled) <= 4 * least
    assert memory.needed(compiled, devices=3) == 3 * memory.needed(compiled)  # those of a CPU share its memory


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (12_345_678, "12.3 MB"),
        (999_600_000, "1 GB"),
        (7.3e12, "7.3e+03 GB"),
    ],
)
def test_in_words(count: float, words: str) -> None:
    assert memory.in_words(count) == words


def test_the_least_of_machine_and_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, limit, used = (tmp_path / name for name in ("meminfo", "limit", "used"))
    monkeypatch.setattr(memory, "MEMINFO", machine)
    monkeypatch.setattr(memory, "CGROUPS", ((limit, used),))
    assert memory.available() is None
    machine.write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert memory.available() == 5000 * 1024
    limit.write_text("max\n")
    used.write_text("1000\n")
    assert memory.available() == 5000 * 1024
    limit.write_text("4000000\n")
    assert memory.available() == 3_999_000
    used.write_text("4000001\n")
    assert memory.available() == 0
