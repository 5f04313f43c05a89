"""The list of long experiments: what it says, where it runs, and that a piece ends."""

import dataclasses
import json
import time

import pytest

from experiments import methods_on_images
from experiments.gpu import Gpu, Job, run, state, stopped_after
from experiments.images import Fc100
from experiments.methods_on_images import DATA, VARIANTS, MethodsOnImages, method_of
from experiments.report.methods_on_images import page
from mtnets import METHODS, DataError, OptionError, RunError


@dataclasses.dataclass
class Fake:
    """An experiment of two parts, one of them done."""

    error: str = ""
    calls: int = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.error:
            raise DataError(self.error)

    def done(self) -> dict[str, bool]:
        if self.error:
            raise DataError(self.error)
        return {"a": True, "b": False}


def test_the_list_says_what_is_done(root, tmp_path, capsys) -> None:
    """By the files of the experiments themselves, with as many meta-steps as are asked for."""
    out = tmp_path / "reproduce" / "fc100"
    out.mkdir(parents=True)
    for name, steps in (("5way-1shot-best", 60_000), ("5way-5shot-best", 5)):
        (out / f"{name}.json").write_text(json.dumps({"command": "", "meta_steps": steps}))
    Gpu(dry_run=True, root=str(root), out=str(tmp_path), runs=str(tmp_path))()
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()}
    assert list(lines)[:4] == ["omniglot-20way-seed0", "omniglot-20way-seed1", "omniglot-20way-seed2", "omniglot-5way"]
    assert lines["fc100"] == "1 of    4  next 5way-1shot-maml"
    assert lines["sine-10-seeds"].startswith("0 of")
    assert "done" not in "".join(lines.values())
    assert not list(tmp_path.glob("*sine*")), "it runs nothing"


def test_data_that_are_absent_hold_up_nothing(capsys) -> None:
    absent, there = Fake("CIFAR-FS is not in data."), Fake()
    assert state(Job("cifar-fs", absent)).split(maxsplit=1)[1] == "cannot run: CIFAR-FS is not in data."
    assert state(Job("sine", there)).split(maxsplit=1)[1] == "1 of    2  next b"
    with pytest.raises(RunError, match=r"cifar-fs cannot run: CIFAR-FS is not in data\."):
        run([Job("cifar-fs", absent), Job("sine", there)])
    assert there.calls == 1


def test_a_piece_is_stopped_as_by_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt), stopped_after(0.01):
        time.sleep(20)
    with stopped_after(0.2):
        pass
    time.sleep(0.3)  # nothing comes after the block


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, RunError, r"No GPU is found \(JAX runs on cpu\).*say --anyway"),
        ({"minutes": 0.0}, OptionError, r"minutes is 0\.0; it must be a number above 0"),
        ({"only": ("mnist",)}, OptionError, "only holds 'mnist'; choose some of omniglot-20way-seed0"),
    ],
)
def test_refused(options, error, message, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("jax.default_backend", lambda: "cpu")
    with pytest.raises(error, match=message):
        Gpu(out=str(tmp_path), **options)()


def test_methods_on_images_are_possible() -> None:
    for name in VARIANTS:
        assert method_of(name).inner_clip == 10.0
    assert {variant.method for variant in VARIANTS.values()} == set(METHODS) - {"cavia", "fading_t_net"}
    with pytest.raises(OptionError, match="compared holds 'seconds', which are those of maml; add it to variants"):
        MethodsOnImages(("t_net",))()
    with pytest.raises(OptionError, match="data holds 'mnist'"):
        MethodsOnImages(data=("mnist",))()


def test_equal_seconds_are_those_of_maml(tmp_path) -> None:
    experiment = MethodsOnImages(("maml", "t_net"), meta_steps=100, out=str(tmp_path))
    folder = tmp_path / "cifar-fs-5way" / "search"
    folder.mkdir(parents=True)
    for name, seconds in (("maml", 0.2), ("t_net", 0.25)):
        best = {"inner_lr": 0.05, "seconds_per_meta_step": seconds}
        (folder / f"{name}.json").write_text(json.dumps({"command": "", "best": best}))
    lengths = [experiment.length("cifar-fs-5way", "seconds", name) for name in ("maml", "t_net")]
    assert lengths == [100, 80]
    assert experiment.length("cifar-fs-5way", "steps", "t_net") == 100
    done = experiment.done()
    assert done["cifar-fs-5way/search/maml"]
    assert not done["cifar-fs-5way/steps/maml-seed0"]
    assert len(done) == 2 * 2 * (1 + 2 * 3)


@pytest.mark.slow
def test_methods_on_images_in_small(root, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(methods_on_images, "SEARCH_TASKS", 4)
    monkeypatch.setattr(methods_on_images, "VALIDATION_TASKS", 2)
    monkeypatch.setitem(DATA, "cifar-fs-5way", DATA["cifar-fs-5way"]._replace(inner_steps=1, rates=(0.05, 0.2)))
    MethodsOnImages(
        ("maml", "maml-metal"), ("cifar-fs-5way",), seeds=1, search_steps=2, meta_steps=3, tasks=4, devices=1,
        root=str(root), cache=str(tmp_path / "cache"), runs=str(tmp_path / "runs"), out=str(tmp_path / "out"),
    )()  # fmt: skip
    folder = tmp_path / "out" / "cifar-fs-5way"
    search = json.loads((folder / "search" / "maml-metal.json").read_text())
    assert [row["inner_lr"] for row in search["tried"]] == [0.05, 0.2]
    for compared in ("steps", "seconds"):
        part = json.loads((folder / compared / "maml-metal-seed0.json").read_text())
        assert part["inner_lr"] == search["best"]["inner_lr"]
        assert part["test"]["num_tasks"] == 4
    assert json.loads((folder / "steps" / "maml-seed0.json").read_text())["meta_steps"] == 3


def test_fc100_needs_the_classes_of_cifar_100(root) -> None:
    case = Fc100(("best",), (1,), root=str(root)).cases()["5way-1shot-best"]
    with pytest.raises(DataError, match=r"cifar_fs\.zip has 15 classes, and no class baby; FC100 needs the 100"):
        case.tasks.build()


def test_the_page_on_methods_on_images(tmp_path) -> None:
    folder = tmp_path / "cifar-fs-5way" / "steps"
    folder.mkdir(parents=True)
    for name, means in (("maml", (0.4, 0.5)), ("t_net", (0.5, 0.6)), ("gap", (None,))):
        for seed, mean in enumerate(means):
            part = {
                "command": "", "inner_steps": 5, "inner_lr": 0.05 if name == "maml" else 0.5, "meta_steps": 10_000,
                "seconds_per_meta_step": 0.25, "test": {"inner_steps": [{"mean": 0.2}] * 5 + [{"mean": mean}]},
                "settings": {"meta_steps": 10_000, "search_steps": 1000},
            }  # fmt: skip
            (folder / f"{name}-seed{seed}.json").write_text(json.dumps(part))
    text = page(tmp_path) or ""
    assert "\nAfter 10,000 meta-steps, with the α of a search of 1,000 meta-steps; scores are of that length" in text
    half = 12.706205 * 10 / 2  # Student's t of two values that are 10 apart
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert rows[0] == f"| t_net | 55.0 ± {half:.1f} | 2 | 0.5* | 10,000 | 0.250 |"
    assert rows[1].startswith("| maml | 45.0 ± ")
    assert "| 0.05 |" in rows[1]
    assert rows[2].startswith("| gap | 0.0 | 1 |"), "one that is not finite is the last"
    assert "Not run yet: alfa, " in text
    assert page(tmp_path / "none") is None
