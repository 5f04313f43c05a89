"""Every method on sine, in small: settings come from the search, and the page shows them."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from experiments import methods_on_sine
from experiments.methods_on_sine import VARIANTS, MethodsOnSine, method_of
from experiments.report import Report
from experiments.report.methods_on_sine import _table, best, cell
from mtnets import METHODS, OptionError

pytestmark = pytest.mark.slow  # compiles many networks

SMALL: dict[str, Any] = {"seeds": 2, "search_steps": 3, "meta_steps": 4, "tasks": 6}


def test_search_training_and_page(tmp_path) -> None:
    results = tmp_path / "results" / "methods-on-sine"
    name = "t_net-two-sided-weight-rates"
    MethodsOnSine((name,), ("recipe", "longer", "clipped"), runs=str(tmp_path / "runs"), out=str(results), **SMALL)()
    search, part, longer = (
        json.loads((results / kind / f"{name}.json").read_text()) for kind in ("search", "recipe", "longer")
    )
    assert [(row["inner_steps"], row["inner_lr"]) for row in search["tried"]][:2] == [(1, 0.003), (1, 0.01)]
    assert len(search["tried"]) == 8
    least = min(min(row["validation"].values()) for row in search["tried"])
    assert min(search["best"]["validation"].values()) == least
    chosen = MethodsOnSine(out=str(results)).best(name)  # of a wider search too, if the best was at the edge
    assert (part["setting"]["inner_steps"], part["setting"]["inner_lr"]) == (chosen["inner_steps"], chosen["inner_lr"])
    assert (part["setting"]["meta_steps"], part["setting"]["shots"]) == (4, 10)
    assert (longer["setting"]["meta_steps"], longer["setting"]["shots"]) == (8, 10)
    clipped = json.loads((results / "clipped" / f"{name}.json").read_text())
    assert (clipped["setting"]["meta_steps"], clipped["setting"]["clip_norm"]) == (8, 10.0)
    assert "clip_norm" not in longer["setting"]
    assert (part["method"]["sides"], part["method"]["rates"]) == (2, "weight")
    assert part["settings"] == {"seeds": 2, "meta_steps": 4, "tasks": 6}
    score = part["scores"]["5 shots, 10 steps"]
    assert len(score["seeds"]) == 2
    np.testing.assert_allclose(score["mean"], np.mean(score["seeds"]))

    Report(results=str(tmp_path / "results"), out=str(tmp_path / "docs"))()
    text = (tmp_path / "docs" / "methods-on-sine.md").read_text("utf-8")
    assert "## By the recipe, for longer" in text
    assert "trained at 20 shots" not in text
    assert "| *GAP, published* | | | 0.16 | 0.04 | 0.01 | | | | |" in text
    seeds = part["scores"][f"10 shots, {best(part, 10)[1]} steps"]["seeds"]
    half = 12.706205 * np.std(seeds, ddof=1) / np.sqrt(2)  # Student's t of two values
    assert f"| ± {half:.3f} |" in text
    assert text.count("| t_net, two-sided + weight rates |") == 13  # of three protocols four each, and of the search
    assert text.count("Mean of 2 seeds.") == 3
    assert (tmp_path / "docs" / "figures" / "methods-on-sine.png").read_bytes().startswith(b"\x89PNG")


def test_every_method_takes_part() -> None:
    assert {variant.method for variant in VARIANTS.values()} >= set(METHODS) - {"fading_t_net"}
    for name in VARIANTS:
        assert method_of(name).inner_clip == 10.0


def test_rates_at_the_edge_of_the_search_are_named() -> None:
    """And seeds that have no finite mean have no interval."""
    score = {"mean": 0.5, "ci95": 0.1, "seeds": [0.4, None], "median": 0.4, "diverged": 0.0}
    parts = [
        {
            "title": title, "seconds": 1.0, "meta_parameters": 3, "setting": {"inner_steps": 5, "inner_lr": inner_lr},
            "scores": {f"{shots} shots, {step} steps": score for shots in (5, 10, 20) for step in (1, 5, 10)},
        }
        for title, inner_lr in (("a", 0.003), ("b", 0.01), ("c", 0.1))
    ]  # fmt: skip
    *rows, last = _table(parts, {}, published=False)
    assert last.endswith("a better one may lie beyond: a (0.003), c (0.1).")
    assert "| 0.500 ± 0.100 | – | 1 |" in rows[2]
    assert _table(parts[1:2], {}, published=False)[-1].startswith("| b |")

    def tried(losses: dict[float, float]) -> list[dict[str, Any]]:
        return [{"inner_lr": rate, "validation": {"5": loss}} for rate, loss in losses.items()]

    wider = {"a": tried({0.003: 0.5, 0.001: 0.6}), "c": tried({0.1: 0.5, 0.3: 0.2})}
    assert _table(parts, wider, published=False)[-1].endswith("they are not trained yet: c (0.1).")
    assert "edge" not in "\n".join(_table(parts, wider, published=False))


def test_a_search_is_wider_where_the_best_rate_is_at_the_edge(tmp_path, monkeypatch) -> None:
    """What it finds is what is trained, and a training with another setting is made anew."""

    def losses(name: str, inner_steps: int, inner_lrs: Sequence[float], meta_steps: int) -> list[dict[str, Any]]:
        assert meta_steps == 7
        return [
            {"inner_steps": inner_steps, "inner_lr": rate, "validation": {"1": rate + 1 / inner_steps, "5": None}}
            for rate in inner_lrs
        ]

    trained: list[tuple[int, float]] = []

    def train(self: MethodsOnSine, name: str, protocol: str) -> dict[str, Any]:
        best = self.best(name)
        trained.append((best["inner_steps"], best["inner_lr"]))
        return {"setting": {"inner_steps": best["inner_steps"], "inner_lr": best["inner_lr"]}}

    monkeypatch.setattr(methods_on_sine, "tried", losses)
    monkeypatch.setattr(MethodsOnSine, "train", train)
    experiment = MethodsOnSine(("gap",), search_steps=7, out=str(tmp_path))
    experiment()
    assert [row["inner_lr"] for row in json.loads((tmp_path / "wider" / "gap.json").read_text())["tried"]] == [
        0.0003,
        0.001,
    ]
    assert trained == [(5, 0.0003)]
    experiment()
    assert trained == [(5, 0.0003)]
    assert list(experiment.done().items()) == [("search/gap", True), ("wider/gap", True), ("recipe/gap", True)]
    path = tmp_path / "recipe" / "gap.json"
    path.write_text(json.dumps({"command": "", "setting": {"inner_steps": 5, "inner_lr": 0.003}}))
    assert not experiment.done()["recipe/gap"]
    experiment()
    assert trained == [(5, 0.0003)] * 2


def test_cells() -> None:
    scores = {f"10 shots, {step} steps": {"mean": mean} for step, mean in ((1, 2.0), (5, None), (10, 0.5))}
    assert best({"scores": scores}, 10) == (0.5, 10)
    assert cell({"mean": 0.0431, "ci95": 0.004}) == "0.043 ± 0.004"
    assert cell({"mean": 1e10, "ci95": 1e10}) == "1e+10"
    assert cell({"mean": None, "ci95": None}) == "not finite"


def test_bad_input(tmp_path) -> None:
    with pytest.raises(OptionError, match="variants holds 'mame'; choose some of mt_net-two-sided"):
        MethodsOnSine(("mame",), out=str(tmp_path))()
    with pytest.raises(OptionError, match="protocols holds 'short'; choose some of recipe"):
        MethodsOnSine(protocols=("short",), out=str(tmp_path))()
