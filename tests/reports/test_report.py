"""Pages: whole, readable, safe, and with the numbers of the run."""

import dataclasses
import json
import shutil
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from page_checks import Page, check_page
from run_folders import run_folder, scores

import mtnets
from mtnets import endings
from mtnets.cli import main
from mtnets.files import write_json
from mtnets.inner import Batch, method_to_json
from mtnets.reports.charts import HEIGHT, RIGHT, WIDTH, Axis, Line, bar_chart, line_chart, number
from mtnets.reports.drawings import _spread, drawn
from mtnets.reports.elements import document, element
from mtnets.reports.examples import Example, _names, examples
from mtnets.reports.page import Section, page
from mtnets.reports.records import read_record
from mtnets.reports.sections import masks_in_words
from mtnets.reports.words import called, plus_minus
from mtnets.tasks.inputs.columns import CategoryColumn, NumberColumn
from mtnets.tasks.inputs.table_inputs import TableInputs

HOSTILE = "</style><script>alert('1')</script><img src=x onerror=alert(2)>\u202e\"'&"
SMALL: dict[str, Any] = {"meta_steps": 4, "validate_every": 2, "log_every": 1, "validation_tasks": 4, "test_tasks": 8}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has written its report."""
    folder = tmp_path_factory.mktemp("runs") / "sine"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(endings.SWITCH)
        mtnets.meta_train(
            mtnets.models.mlp(1, 4, 1),
            mtnets.mt_net(0.05),
            mtnets.tasks.sinusoid(shots=5, queries=5),
            out=folder,
            progress=False,
            devices=1,
            **SMALL,
        )
    return folder


def test_a_run_has_a_page_at_its_end(run):
    seen = check_page(run / "report.html")
    test = json.loads((run / "result.json").read_text())["test"]
    last = test["inner_steps"][-1]
    assert plus_minus(last["mean"], last["ci95"]) in seen.text
    assert f"over {test['num_tasks']} test tasks" in seen.text
    assert "A ← A − α (m ⊙ (G Tᵀ)) T" in seen.text
    assert "Curves of test task" in seen.text
    assert seen.text.count("after 10") == 6  # the last curve of three tasks, in the picture and in its table
    assert f"mtnets train sinusoid --config {run}/config.json" in seen.text
    for part in ("masks", "metrics", "examples", "training", "steps", "tasks"):
        assert part in [attributes.get("id") for attributes in seen.named("section")]


def test_examples_end_with_the_scores_of_the_test(run):
    learner = mtnets.load(run)
    record = read_record(run)
    shown = examples(learner, mtnets.tasks.sinusoid(shots=5, queries=5), record.test, False)
    for example in shown:
        errors = (example.predictions[:2] - np.asarray(example.query.y)) ** 2
        np.testing.assert_allclose(errors.mean((1, 2)), example.scores, rtol=1e-5)
    assert [example.what for example in shown] == ["the worst", "the median", "the best"]
    assert shown[0].scores[-1] == record.test.final_scores.max()


def test_what_cannot_be_shown_is_said(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    del config["checksum"]
    write_json(folder / "config.json", config | {"tasks": {"family": None}})
    assert (
        "There are no examples: This learner was trained on tasks of your own" in check_page(mtnets.report(folder)).text
    )
    (folder / "learner.safetensors").unlink()
    (folder / "result.json").unlink()
    text = check_page(mtnets.report(folder)).text
    assert "This run has not ended" in text
    assert "The learner cannot be shown: There is no learner" in text


def test_runs_of_version_0_1(tmp_path):
    folder = shutil.copytree("tests/golden/0.1/run", tmp_path / "run")
    assert "This run has not ended" in check_page(mtnets.report(folder)).text


def test_names_from_files_are_text(tmp_path):
    config = {"tasks": {"family": "sinusoid", "shots": HOSTILE}, "model": {"network": HOSTILE, HOSTILE: 1}}
    folder = run_folder(tmp_path / "a<b>&c", scores(), config)
    seen = check_page(mtnets.report(folder))
    assert "<script>alert('1')" in seen.text
    assert "\\u202e" in seen.text  # the mark that turns the direction of writing is shown, not obeyed
    assert "a<b>&c" in seen.text


def test_a_text_cannot_leave_its_element(tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(document(element("p", HOSTILE, title=HOSTILE)))
    seen = Page(path)
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert seen.elements == [("p", {"title": shown}, "")]
    assert seen.text.strip() == shown
    assert element("p", "a", element("b"), "c").find("b").tail == "c"


def test_several_runs_stand_side_by_side(tmp_path):
    for name, better in (("one", 0.0), ("two", 0.1)):
        config = {"method": {"name": "maml", "inner_lr": better}}
        run_folder(tmp_path / name, scores(better=better), config)
    with pytest.raises(mtnets.OptionError, match="name a file"):
        mtnets.report([tmp_path / "one", tmp_path / "two"])
    seen = check_page(mtnets.report([tmp_path / "one", tmp_path / "two"], tmp_path / "both.html"))
    assert "+0.1" in seen.text
    assert "method.inner_lr" in seen.text
    assert "training.meta_lr" not in seen.text
    other = run_folder(tmp_path / "three", scores(tasks=5))
    seen = check_page(mtnets.report([tmp_path / "one", other], tmp_path / "both.html"))
    assert "were tested on 40 and 5 tasks" in seen.text
    assert check_page(mtnets.report(tmp_path)).text.count("3 runs side by side") == 2  # the folder of all three


def test_scores_that_are_not_finite(tmp_path):
    losses = scores()
    losses[:3, 1] = np.nan
    losses[5, 1] = np.inf
    seen = check_page(mtnets.report(run_folder(tmp_path / "run", losses)))
    assert "after 1 inner step is not finite" in seen.text
    diverged = (~(losses[:, 1] <= 10 * losses[:, 0])).sum()
    assert f"{diverged} tasks diverged" in seen.text
    assert f"Its median is {plus_minus(float(np.median(np.nan_to_num(losses[:, 1], nan=np.inf))), np.nan)}" in seen.text


def test_what_is_no_run_is_refused(tmp_path, capsys):
    with pytest.raises(mtnets.RunError, match="There is no run in"):
        mtnets.report(tmp_path)
    with pytest.raises(mtnets.OptionError, match="runs is empty"):
        mtnets.report([])
    folder = run_folder(tmp_path / "run", scores())
    with pytest.raises(mtnets.RunError, match="is a folder"):
        mtnets.report(folder, tmp_path)
    (folder / "metrics.jsonl").write_text("[]\n[]\n")
    with pytest.raises(mtnets.RunError, match="is damaged or not that of a run"):
        mtnets.report(folder)
    assert main(["report", str(tmp_path / "nowhere")]) == 1
    assert "There is no run in" in capsys.readouterr().err


def test_the_runs_of_a_sweep_stand_side_by_side(tmp_path, monkeypatch):
    for name in ("mt-net-inner-lr-0.1", "maml-inner-lr-0.1"):
        for seed in (0, 1):
            run_folder(tmp_path / "sweep" / name / f"seed-{seed}", scores(tasks=5), {"seed": seed})
    seen = check_page(mtnets.report(tmp_path / "sweep"))
    assert "4 runs side by side" in seen.text
    assert seen.text.index("maml-inner-lr-0.1/seed-1") < seen.text.index("mt-net-inner-lr-0.1/seed-0")
    with pytest.raises(mtnets.RunError, match=r"name one of those in it: maml-inner-lr-0\.1, mt-net"):
        mtnets.compare(tmp_path / "sweep", tmp_path / "sweep")  # of which each side has one setting
    monkeypatch.setattr(sys.modules["mtnets.reports.report"], "MOST_RUNS", 3)
    with pytest.raises(mtnets.OptionError, match="runs are 4, and up to 3 can be read side by side; name some: mtnets"):
        mtnets.report(tmp_path / "sweep")


def test_on_the_command_line(tmp_path, capsys):
    folder = run_folder(tmp_path / "run", scores())
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    check_page(tmp_path / "page.html")


def test_a_report_that_fails_is_told_of(monkeypatch, tmp_path):
    def fail(*_: Any) -> Any:
        raise OSError("the disk is full")

    monkeypatch.setattr(endings, "_writers", [fail])
    assert endings.end(tmp_path, None, None) is None  # switched off for these tests
    monkeypatch.delenv(endings.SWITCH)
    with pytest.warns(UserWarning, match=r"was not written \(OSError: the disk is full\); the run is complete"):
        assert endings.end(tmp_path, None, None) is None


def test_no_report_where_none_is_wanted(monkeypatch, tmp_path):
    monkeypatch.delenv(endings.SWITCH)
    train = [mtnets.models.mlp(1, 4, 1), mtnets.mt_net(0.05), mtnets.tasks.sinusoid(shots=5, queries=5)]
    with pytest.warns(UserWarning, match="meta_steps is 0"):
        mtnets.meta_train(*train, out=tmp_path, progress=False, report=False, devices=1, **SMALL | {"meta_steps": 0})
    assert not (tmp_path / "report.html").exists()


def test_importing_the_package_imports_no_report():
    code = "import sys, mtnets; assert not {'jax', 'mtnets.reports'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def page_of(tmp_path, child):
    path = tmp_path / "page.html"
    path.write_bytes(page("Examples", [], [Section("examples", "Examples", [child])], ""))
    return check_page(path)


def batch(x, y, **more):
    return Batch(np.asarray(x, np.float32), np.asarray(y), **more)


def test_images_are_shown_as_the_data_have_them(tmp_path):
    learner = mtnets.load("omniglot-any-way-1shot")
    x, y = np.zeros((4, 28, 28, 1)), np.array([0, 1, 0, 1])
    predictions = np.array([[[0.5, 0.5]] * 4, [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [np.nan, np.nan]]])
    weights = np.array([1, 1, 1, 0])  # the last one is padding
    example = Example("the worst", 7, np.array([0.5, 0.75]), batch(x[:2], y[:2]), batch(x, y, weights=weights),
                      predictions, None, None)  # fmt: skip
    seen = page_of(tmp_path, drawn(learner, example))
    assert len(seen.named("img")) == 5
    assert seen.text.count("✓ right") == 2
    assert seen.text.count("✗ wrong") == 1
    assert "class 0 (50 %) → class 1 (70 %)" in seen.text
    assert "cat (50 %) → dog (70 %)" in page_of(tmp_path, drawn(learner, example._replace(classes=("cat", "dog")))).text
    assert {image["alt"] for image in seen.named("img")} >= {"An image to learn from, class 1", "An image of class 0"}
    first = mtnets.wrap((lambda p, x: x.reshape(len(x), -1) @ p["w"], {"w": np.zeros((784, 2))}), (1, 28, 28))
    example = example._replace(support=batch(x[:2].swapaxes(1, 3), y[:2]), query=batch(x.swapaxes(1, 3), y))
    seen = page_of(tmp_path, drawn(dataclasses.replace(learner, model=first), example))
    assert {(image["width"], image["height"]) for image in seen.named("img")} == {("28", "28")}


def test_queries_begin_with_one_image_of_each_class(tmp_path):
    labels = np.repeat(np.arange(12), 2)
    places = _spread(labels, np.arange(24))
    assert labels[places].tolist() == list(range(12))  # more classes than would be shown otherwise
    labels = np.repeat(np.arange(3), 5)
    assert labels[_spread(labels, np.arange(15))].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    learner = mtnets.load("omniglot-any-way-1shot")
    names = ("a", "Malay_(Jawi_-_Arabic)/character01", "c")
    chances = np.broadcast_to([0.2, 0.5, 0.3], (2, 15, 3))
    shown = batch(np.zeros((15, 28, 28, 1)), labels)
    example = Example("the best", 0, np.array([0.5, 0.75]), shown, shown, chances, None, None, names)
    seen = page_of(tmp_path, drawn(learner, example))
    assert "with the probability; 10 of 15 are shown" in seen.text
    assert seen.text.count(" are shown") == 1  # all of the support set are
    assert f'<span title="{names[1]}">Malay_(Jawi…character01</span> (50\u00a0%)' in seen.source


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_rows_are_in_units_of_the_table(tmp_path, kind):
    numbers = NumberColumn("price", 20.0, 4.0), NumberColumn("<sales>", 100.0, 10.0)
    target = CategoryColumn("<kind>", ("<a>", "b")) if kind == "classification" else numbers[1]
    inputs = TableInputs((numbers[0],), target, "shop")
    learner = dataclasses.replace(
        mtnets.load("omniglot-any-way-1shot"),
        inputs=inputs,
        criterion="mse" if kind == "regression" else "cross-entropy",
    )
    x = np.zeros((2, 1))
    y = np.array([0, 1]) if kind == "classification" else np.array([[1.0], [2.0]])
    predictions = np.array([[[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.9, 0.1]]])
    if kind == "regression":
        predictions = predictions[..., :1]
    example = Example("the best", 0, np.array([1.0, 0.5]), batch(x, y), batch(x, y), predictions, None, None)
    seen = page_of(tmp_path, drawn(learner, example))
    assert "price" in seen.text
    for text in ("<a> (50 %)", "<a> (90 %)", "b") if kind == "classification" else ("110", "120", "105", "109"):
        assert text in seen.text


def test_no_line_ends_within_a_number(tmp_path):
    child = [element("p", "0.54 ± 0.01 and 96.4 ± 0.4 % of 12 000 tasks (35 %)"), element("code", "12 000")]
    seen = page_of(tmp_path, child)
    assert "0.54\u00a0±\u00a00.01 and 96.4\u00a0±\u00a00.4\u00a0% of 12\u00a0000 tasks (35\u00a0%)" in seen.source
    assert "<code>12 000</code>" in seen.source  # which may be copied


def test_classes_have_the_names_that_their_family_knows(tmp_path):
    """Of tasks that say which classes they drew, in order of their labels: 5 images of each class hold its number."""
    y = np.repeat(np.arange(10), 5)
    x = np.broadcast_to(y[:, None, None, None], (50, 8, 8, 1)).astype(np.uint8)
    tasks = mtnets.tasks.arrays(x, np.array(list("abcdefghij"))[y], ways=2, inputs=mtnets.tasks.Images(8, 1), queries=2)
    key = jax.random.key(0)
    drawn_task = tasks.test.sample(jax.random.fold_in(key, 0))
    names = _names(tasks, tasks.test, key)
    numbers = [round(255 * float(image.max())) for image in np.asarray(drawn_task.support.x)]
    assert names == tuple("abcdefghij"[number] for number in numbers)
    assert _names(dataclasses.replace(tasks, classes={}), tasks.test, key) == ()
    assert _names(tasks.test, tasks.test, key) == ()
    assert _names(mtnets.tasks.sinusoid(), mtnets.tasks.sinusoid().test, key) == ()


def test_a_chart_of_one_point_begins_at_zero():
    axis = Axis.over([[40_000]], "meta-step", whole=True)
    assert (axis.low, axis.high) == (0, 40_000)
    assert [axis.ticks()[0], axis.ticks()[-1]] == [0, 40_000]
    assert Axis.over([[0]], "", whole=True).ticks() == [0, 1]
    chart = line_chart("title", "about", [Line("a", [4], [2.5])], "meta-step", "loss")
    assert len(chart.findall(".//circle")) == 1
    assert float(chart.find(".//circle").get("cx")) == pytest.approx(WIDTH - RIGHT)


@pytest.mark.parametrize(
    ("method", "equation", "learns"),
    [
        (mtnets.mt_net(), "A ← A − α (m ⊙ (G Tᵀ)) T", "T per layer, ζ per unit"),
        (mtnets.mt_net(sides=2, rates="weight"), "A ← A − α S (m ⊙ (Sᵀ G Tᵀ)) T",
         "S and T per layer, ζ per unit, a rate α per weight"),
        (mtnets.t_net(sides=2), "A ← A − α S (Sᵀ G Tᵀ) T", "S and T per layer"),
        (mtnets.maml(), "A ← A − α G", "nothing"),
        (mtnets.maml(rates="layer-step"), "A ← A − α G", "a rate α per layer and step"),
        (mtnets.m_net(), "A ← A − α m ⊙ G", "ζ per unit"),
        (mtnets.meta_sgd(), "A ← A − α ⊙ G", "a rate per weight"),
    ],
)  # fmt: skip
def test_the_method_is_told_as_it_is(tmp_path, method, equation, learns):
    folder = run_folder(tmp_path / "run", scores(), {"method": {"inner_lr": 0.01, **method_to_json(method)}})
    text = " ".join(check_page(mtnets.report(folder)).text.split())
    assert f"One inner step: {equation}. Learned besides the start: {learns}." in text


def test_masks_that_have_hardly_moved_are_not_read_into():
    noise = np.linspace(0.493, 0.505, 16)
    assert masks_in_words(noise) == "None of 16 units is told apart yet (0.49 to 0.51)."
    assert masks_in_words(np.array([*noise, 0.9])) == (
        "17 units: 1 more likely to move than not, 0 less, 16 not told apart yet."
    )
    assert masks_in_words(np.array([0.1, 0.9, 0.8])) == "3 units: 2 more likely to move than not, 1 less."
    line = Line("layers.0", [0, 1], [0.493, 0.505])
    chart = line_chart("title", "about", [line], "meta-step", "share", ends=(0.0, 1.0))
    low, high = (float(place.split(",")[1]) for place in chart.find(".//polyline").get("points").split())
    assert abs(low - high) < 0.02 * HEIGHT  # of the picture: the noise is not drawn large


def test_axes_have_round_ticks():
    assert Axis(0, 1, "").ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert Axis(0, 3, "", whole=True).ticks() == pytest.approx([0, 1, 2, 3])
    assert Axis(0.02, 30, "", log=True).ticks() == pytest.approx([0.1, 1, 10])
    assert Axis.over([[np.nan, np.inf]], "").ticks()
    assert Axis.over([[2.0, 2.0]], "").ticks()
    assert np.isnan(Axis(1, 10, "", log=True).at([-1.0, 0.0])).all()
    assert np.isnan(Axis(0, 1, "").at(np.inf))


def test_numbers_as_people_write_them():
    assert [number(value) for value in (0.0, -0.25, 12345.6, 1e-9, np.inf, np.nan)] == [
        "0", "−0.25", "12 346", "1e−9", "∞", "–",
    ]  # fmt: skip
    assert plus_minus(0.54432, 0.01312) == "0.544 ± 0.013"
    assert plus_minus(0.964, 0.0041, "accuracy") == "96.40 ± 0.41 %"
    assert plus_minus(-0.5, np.nan) == "−0.5000"
    assert plus_minus(np.inf, 1.0) == "not finite"


def test_two_values_are_a_range_only_where_they_are_its_ends():
    tasks = {"splits": [0.6, 0.2, 0.2], "split": "folders", "augment": ["crop(padding=2)", "rotate"]}
    assert called(tasks) == "splits 0.6, 0.2, 0.2, augment crop(padding=2), rotate"
    assert called({"split": "fc100", "splits": None}) == "split fc100"
    assert called({"amplitude": [0.1, 5.0], "hidden": [40, 80], "size": [8, 8], "flags": [False, True]}) == (
        "amplitude 0.1 … 5, hidden 40, 80, size 8, 8, flags no, yes"
    )


@pytest.mark.parametrize(("value", "ends"), [(300, (0, 300)), (0, (0, 1)), (-2, (-2, 1))])
def test_an_axis_of_one_whole_number_begins_at_0(value, ends):
    axis = Axis.over([[value]], "meta-step", whole=True)
    assert (axis.low, axis.high) == ends
    assert axis.at(value) == (value - ends[0]) / (ends[1] - ends[0])


def test_charts_leave_out_what_is_not_finite(tmp_path):
    lines = [Line("a", [0, 1, 2, 3], [1.0, np.nan, 100.0, np.inf]), Line("b", [0, 3], [2.0, 3.0], dots=True)]
    chart = line_chart("title", "about", lines, "x", "y")
    assert len(chart.findall(".//polyline")) == 2  # the line is broken where nothing is known
    seen = page_of(
        tmp_path, [chart, bar_chart("bars", "about", [0, 1, 2], [1, 2], "x", Axis(0, 2, "y"), [("mean", 1)])]
    )
    assert "nan" not in seen.source
    assert "mean 1" in seen.text


def test_masks_are_said_to_be_shares_or_units(run):
    learner = mtnets.load(run)
    chances = learner.method.rule.probabilities(learner.inner.layers, learner.meta.rule)
    assert {name: each.shape for name, each in chances.items()} == {"layers.0": (4,), "layers.1": (1,)}
    assert learner.moving() == {name: float(np.mean(each)) for name, each in jax.device_get(chances).items()}
