"""The image experiments in small: stopped, gone on with, scored as they are, trained on."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.images import CifarFs, ImageExperiment, MiniImageNet, Omniglot
from experiments.metrics import course, skipped
from experiments.report.images import OMNIGLOT, images
from mtnets import DataError, OptionError, RunError
from mtnets.files import CHECKSUM, checksum
from mtnets.inner import method_from_json
from mtnets.outer.settings import settle
from mtnets.shipped import recipes
from mtnets.tasks import Recipe, options_from_record


@pytest.fixture(scope="module")
def work(root, tmp_path_factory):
    """An experiment, and where it works."""
    folder = tmp_path_factory.mktemp("work")
    return CifarFs(
        ("maml",), (1,), meta_steps=2, tasks=4, root=str(root), cache=str(folder / "cache"), devices=1,
        runs=str(folder / "runs"), out=str(folder / "results" / "reproduce" / "cifar-fs"),
    ), folder  # fmt: skip


@pytest.mark.slow
def test_a_training_its_report_and_training_on(work, capsys) -> None:
    small, folder = work
    small()
    path = Path(small.out) / "5way-1shot-maml.json"
    part = json.loads(path.read_text())
    assert part["meta_steps"] == 2
    assert part["tests"]["test"]["num_tasks"] == 4
    assert len(part["tests"]["test"]["inner_steps"]) == 6
    assert part["classes"] == {"train": 5, "validation": 5, "test": 5}
    assert part["config"]["training"]["validate_every"] == 0
    assert "root" not in part["config"]["tasks"]
    assert str(folder) not in path.read_text()
    kept = path.stat().st_mtime_ns
    small()
    assert path.stat().st_mtime_ns == kept  # enough is there
    dataclasses.replace(small, meta_steps=3)()
    on = json.loads(path.read_text())
    assert on["meta_steps"] == 3
    # the last learner counts, and two and one meta-steps are three
    assert on["best_meta_step"] == 3
    assert on["skipped"] == 0
    assert [span["step"] for span in on["course"]] == [2, 3]
    dataclasses.replace(small, meta_steps=2)()
    assert json.loads(path.read_text())["meta_steps"] == 3

    assert main(["report", "--results", str(folder / "results"), "--out", str(folder / "docs")]) == 0
    text = (folder / "docs" / "results.md").read_text()
    assert "## CIFAR-FS" in text
    assert "| 5-way 1-shot | MAML | 3 |" in text
    assert "| 58.9 ± 1.9 | unfinished |" in text
    assert "![cifar-fs](figures/cifar-fs.png)" in text
    assert (folder / "docs" / "figures" / "cifar-fs.png").stat().st_size > 10_000


def test_the_course_of_a_training_is_that_of_its_lines(tmp_path) -> None:
    lines = [{"step": 100 * i, "accuracy": i / 10, "moving": {"a": i / 20}} for i in range(1, 8)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, [*lines, {"step": 800, "accuracy": None}])))
    found = course(tmp_path / "metrics.jsonl", spans=4)
    assert [span["step"] for span in found] == [200, 400, 600, 700]
    assert [span["accuracy"] for span in found] == pytest.approx([0.15, 0.35, 0.55, 0.7])
    assert found[0]["moving"] == {"a": pytest.approx(0.075)}
    (tmp_path / "metrics.jsonl").write_text("")
    assert course(tmp_path / "metrics.jsonl") == []
    assert skipped(tmp_path / "metrics.jsonl") == 0
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "skipped": 2}\n{"step": 1, "validation": [0.1]}\n')
    assert skipped(tmp_path / "metrics.jsonl") == 2
    line = {"step": 1, "skipped": 2}
    sealed = json.dumps({**line, CHECKSUM: checksum(line, "crc32")})
    (tmp_path / "metrics.jsonl").write_text(sealed)
    assert skipped(tmp_path / "metrics.jsonl") == 2
    (tmp_path / "metrics.jsonl").write_text(sealed.replace('"skipped": 2', '"skipped": 3'))
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged \(its checksum"):
        skipped(tmp_path / "metrics.jsonl")


@pytest.mark.slow
def test_scored_as_it_is(work, tmp_path) -> None:
    small, _ = work
    small()
    out = tmp_path / "out"
    dataclasses.replace(small, meta_steps=100, as_is=True, methods=("maml", "mt_net"), out=str(out))()
    assert [path.name for path in out.iterdir()] == ["5way-1shot-maml.json"]  # nothing of mt_net was begun
    assert json.loads((out / "5way-1shot-maml.json").read_text())["meta_steps"] in (2, 3)
    for name in ("maml", "best"):  # a cosine rate that was cut short tells nothing
        begun = tmp_path / "begun" / f"5way-1shot-{name}{'-100' * (name == 'best')}"
        shutil.copytree(Path(small.runs) / "5way-1shot-maml", begun)
    again = dataclasses.replace(
        small, meta_steps=100, as_is=True, methods=("maml", "best"), runs=str(tmp_path / "begun")
    )
    assert [name for name, case in again.cases().items() if again.length(name, case)] == ["5way-1shot-maml"]
    with pytest.raises(RunError, match=r"No run in .* was begun"):
        dataclasses.replace(small, as_is=True, runs=str(tmp_path / "none"))()


def test_seeds_are_one_row(tmp_path) -> None:
    def part(seed: int, mean: float, **more) -> dict:
        steps = [{"mean": mean + step / 100, "ci95": 0.01} for step in range(3)]
        tasks = {"ways": 5, "shots": 1, "split": "random", **more}
        tests = {split: {"num_tasks": 600, "inner_steps": steps} for split in ("test", "validation")}
        return {
            "method": "mt_net", "config": {"tasks": tasks}, "tests": tests,
            "seed": seed, "inner_steps": 1, "meta_steps": 40_000, "moving": {"a": 0.2 * (seed + 1)},
            "course": [{"step": 40_000, "accuracy": mean, "moving": {"a": 0.2}}], "seconds_per_meta_step": 0.09,
        }  # fmt: skip

    section = images("omniglot", OMNIGLOT, 40_000)
    parts = {"a": part(0, 0.97), "b": part(1, 0.98), "c": part(0, 0.5, split="vinyals")}
    text = "\n".join(section(parts, tmp_path))
    half = 12.706205 * np.std([98.0, 99.0], ddof=1) / np.sqrt(2)
    assert f"| 5-way 1-shot | MT-net | 40 000 | 98.5 ± 1.0 | ± {half:.1f} (2) | 98.5 ± 1.0 | 99.5 ± 1.0 at 2" in text
    assert "| 0.30 | 99.5 | holds | 1.0 |" in text
    assert "| 5-way 1-shot, split of Vinyals | MT-net | 40 000 | 51.0 ± 1.0 | – |" in text
    assert "| 51.0 ± 1.0 | 52.0 ± 1.0 at 2 | 0.20 | – | – | 1.0 |" in text  # published is the other split
    parts["d"] = part(0, 0.6, resize="nearest")
    assert "| 5-way 1-shot, nearest pixels | MT-net | 40 000 | 61.0 ± 1.0 | – |" in "\n".join(section(parts, tmp_path))
    parts["a"] |= {"meta_steps": 100, "course": []}
    assert "| 100 | 98.5" in "\n".join(section(parts, tmp_path))  # no more than all of them got


def test_our_recipe_keeps_its_proportions(root, tmp_path) -> None:
    small = CifarFs(("best",), (1,), meta_steps=6000, root=str(root), runs=str(tmp_path))
    cases = small.cases()
    method, training = small.settings("5way-1shot-best", cases["5way-1shot-best"])
    recipe = recipes.read("cifar-fs-5way-1shot-best")
    assert method.name == recipe["method"]["name"]
    assert training["meta_steps"] == 6000
    whole = recipe["training"]
    assert training["multi_step_loss"] / 6000 == pytest.approx(whole["multi_step_loss"] / whole["meta_steps"], abs=1e-3)
    assert small.folder("5way-1shot-best", cases["5way-1shot-best"]).name == "5way-1shot-best-6000"  # its cosine ends
    plain = dataclasses.replace(small, methods=("maml",))
    assert plain.folder("5way-1shot-maml", plain.cases()["5way-1shot-maml"]).name == "5way-1shot-maml"
    seeded = dataclasses.replace(small, seed=3).settings("5way-1shot-best-seed3", cases["5way-1shot-best"])
    assert seeded[1] == training


def options(experiment: ImageExperiment) -> dict[str, Any]:
    """The options of the tasks of each case."""
    return {name: case.tasks for name, case in experiment.cases().items()}


def test_cases_are_those_of_the_paper(root) -> None:
    tasks = options(Omniglot())
    assert len(tasks) == 14
    assert (tasks["nearest-20way-1shot-mt_net"].ways, tasks["nearest-20way-1shot-mt_net"].resize) == (20, "nearest")
    assert options(Omniglot(resize="lanczos"))["20way-1shot-mt_net"].resize == "lanczos"
    assert {each.split for each in options(Omniglot(splits=("vinyals",))).values()} == {"vinyals"}
    assert "nearest-vinyals-5way-1shot-maml" in Omniglot(splits=("random", "vinyals")).cases()
    assert options(MiniImageNet())["5way-5shot-mt_net"].shots == 5
    for experiment in (Omniglot(), CifarFs(root=str(root)), MiniImageNet()):
        for name, case in experiment.cases().items():
            method, training = experiment.settings(name, case)
            assert settle(training, Recipe(inner_lr=1.0)).meta_steps == experiment.meta_steps
            assert case.method in ("best", method.name)


def test_the_meta_gradient_is_clipped_as_in_the_paper(root) -> None:
    """At ±10 for a sum over 75 queries divided by the shots, in units of our mean over queries."""
    for experiment in (CifarFs(("maml",), root=str(root)), MiniImageNet(("mt_net",))):
        values = [experiment.settings(name, case)[1]["clip_value"] for name, case in experiment.cases().items()]
        assert values == pytest.approx([10 / 75, 10 * 5 / 75])  # 1 and 5 shots
        assert [round(value, 3) for value in values] == [0.133, 0.667]
    cases = Omniglot(("maml",)).cases()
    assert all("clip_value" not in Omniglot(("maml",)).settings(name, case)[1] for name, case in cases.items())


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_are_whole(name) -> None:
    recipe = recipes.read(name)
    assert recipe["about"]
    assert options_from_record(recipe["tasks"])
    assert method_from_json(recipe["method"]).name == recipe["method"]["name"]
    assert settle(recipe["training"], Recipe(inner_lr=1.0)).meta_steps == recipe["training"]["meta_steps"]


def test_bad_input(tmp_path) -> None:
    with pytest.raises(DataError, match=r"CIFAR-FS is not in .*cifar_fs.zip"):
        CifarFs(root=str(tmp_path))()
    with pytest.raises(OptionError, match="methods holds 'mtnet'; choose some of best, maml"):
        Omniglot(methods=("mtnet",))()
    with pytest.raises(OptionError, match="tasks is 0"):
        Omniglot(tasks=0)()
    with pytest.raises(OptionError, match="no recipe 'omniglot-5way-5shot-best'"):  # said before hours of work
        Omniglot(shots=(5,), ways=(5,))()
    with pytest.raises(OptionError, match="no recipe 'x'; there are"):
        recipes.read("x")
