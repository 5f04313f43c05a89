"""The learners that ship: they are what their cards say, load anywhere, and name nothing of where they were made."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import mtnets
from mtnets.cli import main
from mtnets.inner import method_from_json
from mtnets.shipped import learners, recipes
from mtnets.tasks import options_from_record, options_to_record

NAMES = learners.names()


@pytest.mark.parametrize("name", NAMES)
def test_a_learner_is_what_its_card_says(name) -> None:
    card, learner = learners.card(name), mtnets.load(name)
    assert card["name"] == name
    assert method_from_json(card["method"]) == learner.method
    assert learner.model.norm in ("none", "support")  # no prediction depends on its neighbours
    assert card["recipe"] in recipes.names()
    recipe = recipes.read(card["recipe"])
    assert recipe["method"].items() <= card["method"].items()
    recorded = options_from_record(learner.record["tasks"])
    if "network" not in recipe["tasks"]:
        assert options_from_record(options_to_record(recorded) | recipe["tasks"]) == recorded
    assert recipe["training"]["meta_steps"] == card["meta_steps"]
    assert {"about", "input", "output", "data", "score", "licence", "command", "machine"} <= card.keys()
    assert f"{card['test']['num_tasks']} test tasks" in card["score"]
    assert not {"root", "cache"} & learner.record["tasks"].keys()
    for file in learners.path(name).glob("*.json"):
        assert '"/' not in file.read_text()  # an absolute path


def test_they_are_small() -> None:
    size = sum(file.stat().st_size for name in NAMES for file in learners.path(name).iterdir())
    assert size < 8e6


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if "sine" in name else pytest.mark.slow) for name in NAMES if "omniglot" not in name],
)
def test_a_learner_scores_what_its_card_says(name) -> None:
    """On the first of the test tasks of the card; those of Omniglot need its images."""
    learner, card = mtnets.load(name), learners.card(name)
    estimate = mtnets.evaluate(learner, mtnets.tasks.family_from_record(learner.record["tasks"]), 100)
    expected = card["test"]["inner_steps"][-1]
    scale = expected["ci95"] * np.sqrt(card["test"]["num_tasks"] / 100)  # half-width for 100 tasks
    assert abs(estimate.mean[-1] - expected["mean"]) < 2.5 * scale  # 5 standard errors


@pytest.mark.slow
def test_a_character_learner_adapts_to_image_files(tmp_path, capsys) -> None:
    """To characters that it never saw, from one drawing of each, on the command line and without a warning."""
    task = mtnets.tasks.glyphs(ways=4, shots=1, queries=5, class_seed=99).test.sample(jax.random.key(3))
    for part, batch in (("support", task.support), ("query", task.query)):
        for i, (x, y) in enumerate(zip(np.asarray(batch.x), np.asarray(batch.y), strict=True)):
            path = tmp_path / part / "abcd"[y] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.uint8(255 * (1 - x[..., 0]))).save(path)
    support, query = str(tmp_path / "support"), str(tmp_path / "query")
    assert main(["adapt", "omniglot-any-way-1shot", "--support", support, "--query", query]) == 0
    captured = capsys.readouterr()
    accuracy = float(captured.err.split("accuracy ")[1].split()[0])
    assert accuracy > 0.5  # chance is a quarter
    assert "warn" not in captured.err.lower()


def test_names_that_are_not_there() -> None:
    for read in (learners.path, learners.card):
        with pytest.raises(
            mtnets.OptionError, match=r"No learner 'sine' ships; perhaps 'sine-10shot' is meant; there are"
        ):
            read("sine")
    with pytest.raises(mtnets.OptionError, match=r"There is no recipe 'sine'; perhaps 'sine-10shot-learner' is meant"):
        recipes.read("sine")


@pytest.mark.parametrize("damage", ["cut", "[1]", "{}", '{"about": 3}', "\xff", "gone"])
@pytest.mark.parametrize("kind", [learners, recipes])
def test_a_damaged_installation_is_one_sentence(kind, damage, tmp_path, monkeypatch, capsys) -> None:
    name, command = ("sine-10shot", "learners") if kind is learners else ("sine-10shot-learner", "recipes")
    read = learners.card if kind is learners else recipes.read
    whole = learners.path(name) / learners.CARD if kind is learners else recipes.FOLDER / f"{name}.json"
    path = tmp_path.joinpath(*([name, learners.CARD] if kind is learners else [f"{name}.json"]))
    path.parent.mkdir(exist_ok=True)
    shutil.copy(str(whole), path)
    monkeypatch.setattr(kind, "FOLDER", tmp_path)
    assert read(name)["about"]  # whole
    text = path.read_text("utf-8")
    if damage == "gone":
        monkeypatch.setattr(kind, "names", lambda: [name])
        path.unlink()
    else:
        path.write_bytes((text[: len(text) // 2] if damage == "cut" else damage).encode("latin-1", "replace"))
    message = "This installation of mtnets is damaged, at "
    with pytest.raises(mtnets.RunError, match=rf"{message}.*{path.name} \(.+\); install it anew: pip install") as error:
        read(name)
    assert "\n" not in str(error.value)
    for arguments in ([command], *([["train", "sinusoid", "--config", name]] if kind is recipes else [])):
        assert main(arguments) == 1
        assert message in capsys.readouterr().err


def test_a_changed_card_is_noticed(tmp_path, monkeypatch) -> None:
    shutil.copytree(learners.path("sine-10shot"), tmp_path / "sine-10shot")
    monkeypatch.setattr(learners, "FOLDER", tmp_path)
    path = tmp_path / "sine-10shot" / learners.CARD
    path.write_text(path.read_text("utf-8").replace('"meta_steps": 30000', '"meta_steps": 10000'), "utf-8")
    with pytest.raises(mtnets.RunError, match=r"damaged, at .* \(its checksum is not that of its contents"):
        learners.card("sine-10shot")


def test_lists(capsys) -> None:
    assert main(["learners"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in NAMES)
    assert main(["learners", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == NAMES
    assert main(["recipes"]) == 0
    assert "omniglot-5way-1shot-best" in capsys.readouterr().out
    assert main(["recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == set(recipes.names())


def test_what_a_command_writes_about_a_learner_goes_below_runs(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "sine-10shot", "--tasks", "4"]) == 0
    assert (tmp_path / "runs" / "sine-10shot" / "evaluation" / "scores.npz").is_file()


def test_a_folder_goes_before_a_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    mtnets.load("sine-10shot").save("omniglot-any-way-1shot")
    assert mtnets.load("omniglot-any-way-1shot").loss.name == "mse"
    with pytest.raises(mtnets.RunError, match=r"or a learner that ships: .*sine-10shot"):
        mtnets.load("sine")


@pytest.mark.slow
def test_training_from_a_recipe(tmp_path, capsys) -> None:
    arguments = ["train", "sinusoid", "--config", "sine-10shot-learner", "--meta-steps", "2", "--multi-step-loss", "0"]
    assert main([*arguments, "--test-tasks", "4", "--out", str(tmp_path / "run"), "--quiet"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["method"]["sides"] == 2
    assert config["training"]["inner_steps"] == 5
    capsys.readouterr()
    assert main(["train", "glyphs", "--config", "sine-10shot-learner"]) == 1
    assert "is for sinusoid tasks" in capsys.readouterr().err
