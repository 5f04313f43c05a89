"""A learner that ships, made in small from its recipe."""

import json

import pytest

import mtnets
from experiments.learners import ABOUT, Learners
from mtnets.inner import method_to_json
from mtnets.shipped import learners, recipes


@pytest.mark.slow
def test_a_learner_is_written_with_its_card(tmp_path, monkeypatch, capsys) -> None:
    recipe = recipes.read("sine-10shot-learner")
    recipe["training"] |= {"meta_steps": 2, "multi_step_loss": 0, "test_tasks": 8, "validation_tasks": 4}
    monkeypatch.setattr(recipes, "read", lambda name: recipe)
    small = Learners(("sine-10shot",), runs=str(tmp_path / "runs"), out=str(tmp_path / "out"))
    small()
    folder = tmp_path / "out" / "sine-10shot"
    card = json.loads((folder / learners.CARD).read_text())
    assert card["command"] == "python -m experiments learners --names sine-10shot"
    assert card["meta_steps"] == 2
    assert card["score"].endswith("on 8 test tasks, 5 inner steps")
    assert card["score"] in capsys.readouterr().out
    assert method_to_json(mtnets.load(folder).method) == card["method"]
    assert card.keys() == learners.card("sine-10shot").keys()


def test_every_learner_that_ships_can_be_made() -> None:
    assert sorted(ABOUT) == learners.names()
    assert {f"{name}-learner" for name in ABOUT} <= set(recipes.names())


def test_bad_input() -> None:
    with pytest.raises(mtnets.OptionError, match="names holds 'cosine'; choose some of sine-10shot"):
        Learners(("cosine",))()
