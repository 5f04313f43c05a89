"""Norms of meta-gradients on sine: what is remembered, what the page shows, and the experiment in small."""

import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import sine_stability
from experiments.methods_on_sine import MethodsOnSine
from experiments.report.sine_stability import section
from experiments.sine_stability import CLIPS, VARIANT, SineStability, remembering
from mtnets import OptionError


def test_the_last_norms_are_remembered_and_gradients_pass() -> None:
    watch = remembering(3)
    state: Any = watch.init({"a": jnp.zeros(2)})
    for scale in (1.0, 2.0, 3.0, 4.0):
        gradient = {"a": scale * jnp.array([3.0, 4.0])}
        passed, state = watch.update(gradient, state)
        assert passed is gradient
    np.testing.assert_array_equal(state.norms, [20.0, 10.0, 15.0])  # the fourth takes the place of the first


def test_the_page_has_a_row_for_each_norm_and_seed(tmp_path) -> None:
    course = [
        {
            "meta_step": 500 * (i + 1),
            "median_norm": [1.0, 2.0],
            "largest_norm": [4.0, 5.0 * i],
            "above_clip": [0.0, i / 100],
            "validation": [1.0 / (i + 1), None],
        }
        for i in range(3)
    ]
    part = {"command": "", "course": course, "validation": {"10": [0.04, 0.19]}}
    for clip in ("off", "10"):
        (tmp_path / f"{clip}.json").write_text(json.dumps(part))
    rows = [line for line in section(tmp_path) if line.startswith("|")][2:]
    assert rows[0] == "| off | 0 | 1 | 4, 500 | 0.00% | 1.000 | 0.500 | 0.333 | 0.040 |"
    assert rows[1] == "| off | 1 | 2 | 10, 1,500 | 1.00% | ∞ | ∞ | ∞ | 0.190 |"
    assert [row.split()[1] for row in rows] == ["off", "off", "10", "10"]
    assert section(tmp_path / "none") == []


@pytest.mark.slow
def test_in_small(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sine_stability, "SPAN", 2)
    MethodsOnSine((VARIANT,), ("recipe",), 2, 3, 4, 6, runs=str(tmp_path / "runs"), out=str(tmp_path / "methods"))()
    SineStability(("off", "1"), 2, 4, searched=str(tmp_path / "methods" / "search"), out=str(tmp_path / "out"))()
    parts = {clip: json.loads((tmp_path / "out" / f"{clip}.json").read_text()) for clip in ("off", "1")}
    for clip, part in parts.items():
        assert [span["meta_step"] for span in part["course"]] == [2, 4]
        assert np.shape(part["validation"]["10"]) == (2,)
        assert part["setting"].get("clip_norm") == CLIPS[clip].get("clip_norm")
    # norms are those before clipping: the first one, of the same tasks, is the same, and is above 1
    assert min(parts["1"]["course"][0]["largest_norm"]) > 1
    assert parts["off"]["course"][1] != parts["1"]["course"][1]


def test_bad_input(tmp_path) -> None:
    with pytest.raises(OptionError, match="clips holds '3'; choose some of off, 10, 1"):
        SineStability(("3",), out=str(tmp_path))()
    with pytest.raises(OptionError, match="meta_steps is 499; it must be at least 500"):
        SineStability(meta_steps=499, out=str(tmp_path))()
