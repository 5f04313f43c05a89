"""Every example runs, in small."""

import re
import runpy
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mtnets import Batch

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {
    "wrap_torch": ("torch",),
    "wrap_equinox": ("equinox",),
    "wrap_haiku": ("haiku",),
    "data_arrays": ("sklearn",),
    "data_grain": ("grain",),
    "data_hugging_face": ("datasets", "sklearn"),
    "data_table": ("pandas", "narwhals"),
    "multi_label_tags": ("sklearn",),
    "neural_field": ("sklearn",),
    "pendulum": ("sklearn",),
    "segmentation_shapes": ("sklearn",),
    "several_inputs": ("sklearn",),
}
ROWS = {  # of the table that is printed
    "bytes_stream": 4,
    "multi_label_tags": 10,
    "neural_field": 4,
    "pendulum": 10,
    "pinn_poisson": 4,
    "segmentation_shapes": 8,
    "several_inputs": 5,
}
QUICK = ("wrap_nnx", "data_table")  # the others take a minute or so together with what they compile
NAMES = [
    path.stem if path.stem in QUICK else pytest.param(path.stem, marks=pytest.mark.slow)
    for path in sorted(EXAMPLES.glob("*_*.py"))
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_example(name, monkeypatch, capsys) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package, reason=f"{name}.py needs {package}")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "1"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    if name.startswith("wrap"):
        assert "Learned by mt_net besides:" in printed
    assert re.search("on 4 (tasks|passages)", printed) or "squared error" in printed
    if name in ROWS:
        rows = [line for line in printed.splitlines() if " ± " in line and "95 %" not in line]
        assert len(rows) == ROWS[name]
        assert "nan" not in printed


def test_the_residual_of_the_equation_is_zero_at_its_solution(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pinn_poisson.py", "1"])
    definitions = (EXAMPLES / "pinn_poisson.py").read_text("utf-8").partition("\ntasks = ")[0]
    example: dict = {"__name__": "pinn_poisson"}
    exec(definitions, example)
    x = np.linspace(0, 1, 20, dtype=np.float32)[:, None]
    batch = Batch(x, np.hstack([np.pi**2 * np.sin(np.pi * x), np.sin(np.pi * x)]))

    def solution(x):
        return jnp.sin(jnp.pi * x)

    assert float(example["equation"](solution, batch, None)) < 1e-10
    assert float(example["error"](solution(x), batch)) < 1e-6
    # x more has the same residual, and is 1 at one of two ends
    assert float(example["equation"](lambda x: solution(x) + x, batch, None)) == pytest.approx(0.5)
    assert float(example["error"](2 * solution(x), batch)) == pytest.approx(1.0)
