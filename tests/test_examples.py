"""Every example runs, in small."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {
    "wrap_torch": ("torch",),
    "wrap_equinox": ("equinox",),
    "wrap_haiku": ("haiku",),
    "data_arrays": ("sklearn",),
    "data_grain": ("grain",),
    "data_hugging_face": ("datasets", "sklearn"),
    "data_table": ("pandas", "narwhals"),
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
    assert "accuracy on 4 tasks" in printed or "loss on 4 tasks" in printed or "squared error" in printed
