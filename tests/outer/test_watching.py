"""A training while it runs: times, listeners, patience, and what a person sees."""

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import pytest
from rich.cells import cell_len

import mtnets
from mtnets.files import checked, parse_json, read_json
from mtnets.outer.checkpoints import latest
from mtnets.outer.log import lines_of
from mtnets.outer.loop import Advanced, Compiled, Ended, Mark, Position, Validated, Validating, _is_over, _marked, begin
from mtnets.outer.opening import augmentation_in_words, images_in_words
from mtnets.outer.plan import make_plan
from mtnets.outer.progress import Display, announced, describe, duration
from samples import log_without_times

TASKS, NETWORK = mtnets.tasks.sinusoid(shots=2), mtnets.models.mlp(1, 2, 1)
SETTINGS: dict[str, Any] = {"meta_steps": 20, "meta_batch": 1, "validation_tasks": 2, "test_tasks": 2, "log_every": 2}
SETTINGS |= {"validate_every": 2, "patience": 2, "min_delta": 1e9, "progress": False}
WITHOUT_COLOURS = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def train(out: Path, **more: Any) -> mtnets.Learner:
    return mtnets.meta_train(NETWORK, mtnets.maml(), TASKS, out=out, **SETTINGS | more)


def seconds(run: Path) -> list[float]:
    return [checked(parse_json(line))["seconds"] for line in (run / "metrics.jsonl").read_bytes().splitlines()]


def test_patience_ends_a_training_and_a_listener_may(tmp_path: Path) -> None:
    """After the first validation none is better by so much: at meta-step 2 + 2 · 2 it is over, resumed or not."""
    lines: list[Any] = []
    learner = train(tmp_path / "whole", on_log=lines.append)
    result = read_json(tmp_path / "whole" / "result.json")
    assert (result["meta_steps"], result["stopped_early"]) == (6, True)
    scores = {line["step"]: line["validation"][0] for line in lines if "validation" in line}
    assert scores.keys() == {2, 4, 6}
    assert learner.record["validation"] == pytest.approx(min(scores.values()))  # the best, however little better
    written = [checked(parse_json(line)) for line in (tmp_path / "whole" / "metrics.jsonl").read_bytes().splitlines()]
    assert lines == written
    assert lines[0].keys() >= {"step", "seconds", "pre_loss", "post_loss"}

    def fail(line: Any) -> None:
        told.append(line["step"])
        if line["step"] == 4:
            raise ZeroDivisionError("of the user")

    told: list[int] = []
    with pytest.raises(ZeroDivisionError, match="of the user"):
        train(tmp_path / "again", on_log=fail)
    assert told == [2, 2, 4]  # not again, for the validation
    assert latest(tmp_path / "again" / "checkpoints") == 4
    before = seconds(tmp_path / "again")
    train(tmp_path / "again", resume=True)
    assert read_json(tmp_path / "again" / "result.json")["meta_steps"] == 6
    assert log_without_times(tmp_path / "again") == log_without_times(tmp_path / "whole")
    after = seconds(tmp_path / "again")
    assert after[: len(before)] == before
    assert after == sorted(after)
    assert after[0] > 0
    train(tmp_path / "again", resume=True, on_log=lambda line: pytest.fail("it is over"))


def plan_of(**training: Any) -> Any:
    settings = {"meta_steps": 100, "validate_every": 10, "patience": 3, "min_delta": 0.0} | training
    return SimpleNamespace(criterion=SimpleNamespace(higher_is_better=True), training=SimpleNamespace(**settings))


@pytest.mark.parametrize(
    ("scores", "min_delta", "end"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], 0.0, 100),
        ([0.1, 0.2, 0.2, 0.1, 0.2, 0.9], 0.0, 50),
        ([0.1, 0.2, 0.28, 0.29, 0.9], 0.2, 40),  # little by little is not enough
        ([0.1, 0.2, 0.28, 0.35, 0.4], 0.2, 70),
        ([float("nan")] * 10, 0.0, 30),
        ([0.5, float("inf"), float("nan"), 0.5], 0.0, 40),
    ],
)
def test_when_patience_is_over(scores: list[float], min_delta: float, end: int) -> None:
    plan = plan_of(min_delta=min_delta)
    position: Any = Position(0, None, None, {}, Mark(jnp.array([-jnp.inf]), jnp.array([0])))  # type: ignore[arg-type]
    for score in [*scores, *[0.0] * 10]:
        if _is_over(plan, position):
            break
        position = position._replace(step=position.step + 10)
        position = position._replace(mark=_marked(plan, position, (score,)))
    assert position.step == end


def test_lines_of_several_runs_tell_which(tmp_path: Path) -> None:
    plan: Any = SimpleNamespace(runs=2, seeds=(3, 4), inner_lrs=(0.1, 0.1))
    event = Validated(Position(5, (), (), {}), (0.25, 0.5))  # type: ignore[arg-type]
    one, other = lines_of(plan, event, 1.23456)
    assert one == {"seed": 3, "inner_lr": 0.1, "step": 5, "seconds": 1.235, "validation": [0.25]}
    assert (other["seed"], other["validation"]) == (4, [0.5])
    assert not list(lines_of(plan, Ended(event.position), 1.0))


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("terminal", [True, False])
def test_what_a_person_sees(terminal: bool, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen := Screen())
    monkeypatch.setattr("mtnets.outer.progress.PLAIN_SECONDS", 0.0)
    monkeypatch.setattr("mtnets.outer.progress.ESTIMATE_SECONDS", 0.0)
    plan = make_plan(NETWORK, mtnets.mt_net(), TASKS, options={"meta_steps": 60_000, "meta_batch": 4, "patience": 3})
    position = START if START else START.append(begin(plan)) or START
    at = position[0]._replace(step=1500)
    best = at.best._replace(score=jnp.array([-0.43]), step=jnp.array([1000]))
    with Display(plan, position[0], tested=width > 60) as display:
        display.show(Compiled(position[0], 2.5, 12_345_678))
        early = {"pre_loss": 9.0, "post_loss": 8.0}
        display.show(Advanced(at._replace(step=1), early, {}))
        display.show(Validating(at))
        display.show(Validated(at._replace(best=best), (0.44,)))
        display.show(Advanced(at, {"pre_loss": 4.125, "post_loss": 0.5, "accuracy": 0.932}, {"a": 0.4, "b": 0.5}))
        display.show(Ended(at._replace(mark=Mark(best.score, best.step)), early=True))
    text = WITHOUT_COLOURS.sub("", screen.getvalue())
    words = " ".join(text.split())
    for said in (
        "mt-net: A ← A − α (m ⊙ (G Tᵀ)) T",
        "mlp: 2 layers; 7 numbers, and 15 meta-learned in all",
        "sinusoid: 4 per meta-step, 1 inner step each, α 0.01",
        "a meta-step needs 12.3 MB of memory",
        "1,500/60,000",
        "loss 4.125 → 0.5 · accuracy 93.2% · moving .40/.50 · validation 0.44, best 0.43 at 1,000",
        "Stopped at meta-step 1,500: 3 validations were not better than that of meta-step 1,000.",
    ):
        assert said in words, said
    on_top = "not counting a validation of 200 tasks every 500 meta-steps"
    on_top += " and a test of 600 tasks at the end" * (width > 60)
    assert re.search(rf"at [\d.,e+]+ meta-steps/s: [\d:]+ left, {on_top}(?! and)", words)
    if terminal:
        assert max(cell_len(line) for line in re.split(r"[\r\n]+", text)) <= width
    else:
        assert "\x1b" not in screen.getvalue()


START: list[Position] = []


@pytest.mark.parametrize(("many", "text"), [(4, ".10/.20/.30/.40"), (6, ".10–.60"), (0, "")])
def test_shares_of_many_layers_are_a_range(many: int, text: str) -> None:
    told = describe({"pre_loss": 2.0, "post_loss": 1.0}, {str(i): (i + 1) / 10 for i in range(many)})
    assert told == "loss 2 → 1" + (f" · moving {text}" if text else "")


def test_the_size_of_images_is_said_and_what_changes_it() -> None:
    folder = mtnets.tasks.Folder("images")
    text = "; RGB images of 84 × 84 pixels (image_size=..., --image-size, changes it)"
    assert images_in_words(mtnets.tasks.Images(84, 3), folder) == text
    assert images_in_words(mtnets.tasks.Images(28, 1), mtnets.tasks.Glyphs()) == "; grey images of 28 × 28 pixels"
    assert images_in_words(mtnets.tasks.AS_THEY_ARE, None) == ""


def test_an_augmentation_is_said() -> None:
    assert augmentation_in_words(mtnets.tasks.Glyphs(augment=("flip", "crop(padding=2)"))) == (
        "; in training augmented by flip, crop(padding=2)"
    )
    support = mtnets.tasks.Glyphs(augment=("flip",), augment_where="support")
    assert augmentation_in_words(support) == "; in training those of the support set augmented by flip"
    assert augmentation_in_words(mtnets.tasks.Glyphs()) == ""
    assert augmentation_in_words(None) == ""


def test_the_end_of_a_training_is_told(capsys: pytest.CaptureFixture) -> None:
    """The last validation, which no meta-step follows, whose learner it is, and what is done after it."""
    options = {"meta_steps": 150, "meta_batch": 4, "validation_tasks": 7}
    plan = make_plan(NETWORK, mtnets.maml(), TASKS, options=options)
    start = begin(plan)
    end = start._replace(step=150)
    best = end._replace(best=end.best._replace(score=jnp.array([-0.25]), step=jnp.array([150])))
    with Display(plan, start) as display:
        display.show(Validating(end._replace(step=75)))  # each of these would be a line
        display.show(Validating(end))
        display.show(Validated(best, (0.25,)))
        display.show(Ended(best))
    with announced("testing on 7 tasks", "tested", show=True):
        pass
    *_, validating, validated, learner, testing, tested = capsys.readouterr().err.splitlines()
    assert validating == "validating on 7 tasks"
    assert validated == "150/150 · validation 0.25, best 0.25 at 150"
    assert learner == "best learner: of meta-step 150 of 150"
    assert testing == "testing on 7 tasks …"
    assert re.fullmatch(r"tested in \d+\.\d s", tested)
    with announced("testing on 7 tasks", "tested", show=False):
        pass
    assert not capsys.readouterr().err


def test_durations() -> None:
    assert [duration(each) for each in (0.4, 65, 3725)] == ["0:00", "1:05", "1:02:05"]
