import csv
import dataclasses
import json
import os
import re

import jax
import numpy as np
import pytest
from PIL import Image

import mtnets
from mtnets.cli import main
from mtnets.cli.messages import in_flags
from mtnets.cli.parsing import taken
from mtnets.files import read_json
from mtnets.inner import ESTIMATORS, method_to_json

SMALL = ["--filters", "4", "--norm", "support", "--meta-steps", "4", "--meta-batch", "2", "--validation-tasks", "4"]
SMALL += ["--test-tasks", "8", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "glyphs", "--ways", "3", "--method", "mt-net", "--out", str(out), *SMALL]) == 0
    return out


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Dark ink on light paper, in class folders, as a user would bring it."""
    folder = tmp_path_factory.mktemp("drawings")
    task = mtnets.tasks.glyphs(ways=3, shots=2, queries=3).test.sample(jax.random.key(1))
    for part, batch in (("support", task.support), ("query", task.query)):
        for i, (x, y) in enumerate(zip(np.asarray(batch.x), np.asarray(batch.y), strict=True)):
            path = folder / part / "abc"[y] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.uint8(255 * (1 - x[..., 0]))).save(path)
    return folder


def fails(capsys, *args):
    """The one sentence on standard error of a command that fails."""
    assert main([str(arg) for arg in args]) in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.startswith("mtnets: ")
    assert len(captured.err.strip().splitlines()) == 1
    return captured.err


def test_train_writes_a_run(run):
    result = json.loads((run / "result.json").read_text())
    assert result["test"]["metric"] == "accuracy"
    assert result["norm"] == "support"
    config = json.loads((run / "config.json").read_text())
    assert config["tasks"]["ways"] == 3
    assert config["method"]["name"] == "mt_net"


def test_a_run_is_repeated_from_its_config(run, tmp_path):
    arguments = ["train", "glyphs", f"--config={run / 'config.json'}", "--out", str(tmp_path / "again"), "--quiet"]
    assert main(arguments) == 0
    first, again = (read_json(folder / "config.json") for folder in (run, tmp_path / "again"))
    assert again.pop("run") != first.pop("run")
    assert again == first
    a, b = mtnets.load(run), mtnets.load(tmp_path / "again")
    for x, y in zip(jax.tree.leaves(a.meta), jax.tree.leaves(b.meta), strict=True):
        np.testing.assert_array_equal(x, y)


def test_evaluate_prints_one_json_object(run, capsys, tmp_path):
    scores = tmp_path / "scores.npz"
    arguments = ["evaluate", str(run), "--tasks", "8", "--inner-steps", "2", "--shots", "2", "--json"]
    assert main([*arguments, "--scores", str(scores)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["num_tasks"] == 8
    assert [step["step"] for step in result["inner_steps"]] == [0, 1, 2]
    assert result["inner_steps"][0].keys() == {"step", "mean", "ci95", "median", "diverged", "loss"}
    with np.load(scores) as saved:
        np.testing.assert_allclose(saved["scores"].mean(0)[2], result["inner_steps"][2]["mean"])


def test_evaluate_again_gives_the_result_of_the_run(run, capsys, tmp_path):
    arguments = ["evaluate", str(run), "--tasks", "8", "--json", "--scores", str(tmp_path / "s.npz")]
    assert main(arguments) == 0
    expected = json.loads((run / "result.json").read_text())["test"]
    assert json.loads(capsys.readouterr().out) == expected
    assert main([*arguments, "--inner-lr", "0.0"]) == 0
    losses = [step["loss"] for step in json.loads(capsys.readouterr().out)["inner_steps"]]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-6)  # nothing moves; each step is its own program
    assert losses != [step["loss"] for step in expected["inner_steps"]]


def test_adapt_writes_predictions(run, drawings, capsys, tmp_path):
    out = tmp_path / "predictions.csv"
    main(["adapt", str(run), "--support", f"{drawings}/support", "--query", f"{drawings}/query", "--out", str(out)])
    captured = capsys.readouterr()
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert rows[0].keys() == {"path", "prediction", "probability_a", "probability_b", "probability_c"}
    for row in rows:
        probabilities = {name: float(row[f"probability_{name}"]) for name in "abc"}
        assert row["prediction"] == max(probabilities, key=probabilities.get)
        assert abs(sum(probabilities.values()) - 1) < 1e-5
    right = np.mean([row["prediction"] == row["path"].split("/")[-2] for row in rows])
    assert f"accuracy {right:.4f} on 9 images" in captured.err


def test_adapt_to_fewer_classes_and_loose_images(run, drawings, capsys, tmp_path):
    (tmp_path / "two").mkdir()
    for name in "ab":
        (tmp_path / "two" / name).symlink_to(drawings / "support" / name)
    query = drawings / "query" / "a"
    assert main(["adapt", str(run), "--support", str(tmp_path / "two"), "--query", str(query)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "path,prediction,probability_a,probability_b"
    assert "accuracy" not in captured.err


def test_bad_input_is_one_sentence(run, drawings, capsys, tmp_path):
    assert "holds a run already" in fails(capsys, "train", "glyphs", "--out", run, *SMALL)
    assert "training.meta_batch" in fails(
        capsys, "train", "glyphs", "--ways", "3", "--out", run, "--resume", *SMALL, "--meta-batch", "4"
    )
    assert "ways" in fails(capsys, "train", "glyphs", "--ways", "0", "--out", tmp_path / "new", *SMALL)
    assert "mtnets data omniglot" in fails(capsys, "train", "omniglot", "--root", tmp_path, "--out", tmp_path / "new")
    assert "holds a run already; go on with --resume, replace it with --overwrite" in fails(
        capsys, "train", "glyphs", "--out", run, *SMALL
    )
    assert "There is no method 'mamml'" in fails(capsys, "train", "sinusoid", "--method", "mamml")
    assert "There is no estimator 'exakt'" in fails(capsys, "train", "sinusoid", "--estimator", "exakt")
    assert "--config needs a value" in fails(capsys, "train", "sinusoid", "--config=")
    assert "--last-steps is -1" in fails(
        capsys, "train", "sinusoid", "--estimator", "truncated", "--last-steps", "-1", "--out", tmp_path / "new"
    )
    assert "There is no learner in" in fails(capsys, "evaluate", tmp_path)
    assert "--data x is given, but glyphs tasks are made without data" in fails(capsys, "evaluate", run, "--data", "x")
    assert "tasks is 0" in fails(capsys, "evaluate", run, "--tasks", "0")
    assert "Name a family" in fails(capsys, "train")
    assert "There is no family of tasks 'sine'; perhaps 'sinusoid' is meant; name one: mtnets train glyphs |" in fails(
        capsys, "train", "sine"
    )
    assert "--resume and --overwrite exclude each other" in fails(
        capsys, "train", "glyphs", "--out", run, "--resume", "--overwrite", *SMALL
    )
    query = ["--query", drawings / "query"]
    assert "nowhere" in fails(capsys, "adapt", run, "--support", tmp_path / "nowhere", *query)
    (tmp_path / "four").mkdir()
    for i in range(4):
        (tmp_path / "four" / str(i)).symlink_to(drawings / "support" / "a")
    message = fails(capsys, "adapt", run, "--support", tmp_path / "four", *query)
    assert "has 4 classes and this learner tells 3 apart" in message
    assert "--ways 4" in message
    (tmp_path / "bad.json").write_text("{")
    assert "bad.json is not a configuration" in fails(capsys, "train", "glyphs", "--config", tmp_path / "bad.json")
    assert "is for glyphs tasks" in fails(capsys, "train", "sinusoid", "--config", run / "config.json")
    for part, value, words in (
        ("training", {"meta_stepz": 3}, "has meta_stepz, which no training has"),
        ("training", 3, "is not a configuration (training is 3, not a JSON object)"),
        ("method", {"name": "maml", "estimator": {"name": "truncated", "last_step": 2}}, "no option 'last_step'"),
        ("method", 3, "is not a configuration"),
    ):
        changed = read_json(run / "config.json") | {part: value}
        (tmp_path / "bad.json").write_text(json.dumps(changed))
        assert words in fails(capsys, "train", "glyphs", "--config", tmp_path / "bad.json"), value
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sinusoid", "--shots", "-1"], "--shots is -1; it must be at least 1"),
        (["sinusoid", "--inner-lr", "nan"], "--inner-lr is nan; it must be a number"),
        (["sinusoid", "--hidden", "0"], "--hidden is (0,); each layer needs at least 1 unit"),
        (["sinusoid", "--init-std", "inf"], "--init-std is inf; it must be a number above 0"),
        (["sinusoid", "--devices", "0"], "--devices is 0; it must be at least 1, or 'all'"),
        (["sinusoid", "--adapts"], "--adapts is (), which chooses no layer; name some of layers.0"),
        (["sinusoid", "--temperature", "0"], "--temperature is 0.0"),
        (["sinusoid", "--method", "cavia", "--context", "0"], "--context is 0"),
        (["glyphs", "--class-seed", "-1"], "--class-seed is -1; it must be a whole number from 0"),
        (["glyphs", "--class-seed", str(2**32)], "it must be a whole number from 0 to 4294967295"),
        (["table", "TABLE", "--task-column", "who", "--target", "y", "--split-seed", "-1"], "--split-seed is -1"),
        (["table", "TABLE", "--task-column", "x", "--target", "y"], "There is no column 'x' (--task-column)"),
        (["table", "TABLE", "--task-column", "who", "--target", "y", "--splits", "nan", "1", "1"], "--splits is (nan"),
        (["folder", "--root", "nowhere"], "nowhere does not exist"),
        (["omniglot", "--root", "nowhere"], "or say where it is: --root, or the variable"),
    ],
)
def test_errors_of_a_training_name_the_flag(arguments, words, capsys, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("who,a,y\n" + "".join(f"{who},{i},{i * who}\n" for who in range(12) for i in range(25)))
    arguments = [str(table) if argument == "TABLE" else argument for argument in arguments]
    assert words in fails(capsys, "train", *arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--amplitude", "--phase", "--frequency", "--inputs"])
@pytest.mark.parametrize("bounds", [("nan", "1"), ("inf", "inf")])
def test_options_that_are_not_finite_are_refused(option, bounds, capsys):
    assert f"{option} is ({bounds[0]}," in fails(capsys, "train", "sinusoid", option, *bounds)


def test_places_of_reports_are_looked_at_before_the_work(capsys, tmp_path):
    """A learner that is not there is noticed later."""
    (tmp_path / "file").touch()
    for arguments in (
        ["evaluate", "none", "--scores", tmp_path],
        ["doctor", "none", "--out", tmp_path],
        ["adapt", "none", "--support", "a", "--query", "b", "--out", tmp_path],
    ):
        assert "is a folder; name a file in it" in fails(capsys, *arguments)
        below = [*arguments[:-1], tmp_path / "file" / "report"]
        assert "since a folder on the way to it is a file" in fails(capsys, *below)


def test_memory_is_told_before_a_training(capsys, tmp_path):
    arguments = ["train", "sinusoid", "--method", "fomaml", "--hidden", "4", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--memory", "--devices", "1", "--meta-batch", "9", "--meta-steps", "1"]) == 0
    most, least = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"[\d.]+ kB with --tasks-at-once 9", most)
    assert re.fullmatch(r"[\d.]+ kB with --tasks-at-once 1", least)
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_in_memory_ends_in_a_sentence(capsys):
    assert "There is not enough memory" in fails(capsys, "methods", "--mlp", str(10**12), "2")


SINUSOID = {"family": "sinusoid", "network": {"hidden": [4]}}
MAML = {"name": "maml", "estimator": {"name": "exact"}}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("", "it holds no JSON"),
        ("\xff", "it holds no JSON"),
        ("[1]", "it holds [1], not a JSON object"),
        ("null", "it holds None, not a JSON object"),
        ("{}", "tasks is None, not a JSON object"),
        ({"config": 3}, "it holds 3, not a JSON object"),
        ({"tasks": [1]}, "tasks is [1], not a JSON object"),
        ({"tasks": {}}, "on tasks of its own"),
        ({"tasks": {"family": ["x"]}}, "There is no family"),
        ({"tasks": SINUSOID | {"shots": "5"}}, "shots is '5'; it must be a whole number"),
        ({"tasks": SINUSOID | {"shots": {}}}, "shots is {}; it must be a whole number"),
        ({"tasks": SINUSOID | {"amplitude": [1]}}, "amplitude is (1,)"),
        ({"tasks": SINUSOID | {"network": 3}}, "network is 3"),
        ({"tasks": SINUSOID | {"network": {"hidden": None}}}, "hidden is None"),
        ({"tasks": SINUSOID | {"network": {"hidden": [[4]]}}}, "hidden is ([4],)"),
        ({"tasks": SINUSOID | {"network": {"norm": "x"}}}, "norm is 'x'"),
        ({"method": "maml"}, "method is 'maml', not a JSON object"),
        ({"method": {"name": ["maml"]}}, "with a method of its own, ['maml']"),
        ({"method": {"name": "maml", "estimator": {"name": []}}}, "There is no estimator []"),
        ({"method": {"name": "maml", "inner_lr": "x"}}, "--inner-lr is 'x'; it must be a number"),
        ({"training": [3]}, "training is [3], not a JSON object"),
        ({"training": {"meta_steps": "3"}}, "--meta-steps is '3'; it must be a whole number"),
        ({"training": {"devices": "x"}}, "devices is 'x'; it must be a whole number or 'all'"),
        ({"training": {"devices": 1.5}}, "devices is 1.5"),
        ({"training": {"devices": [1]}}, "devices is [1]"),
        ({"training": {"schedule": 3}}, "schedule is 3"),
        ({"seed": "x"}, "seed is 'x'; it must be a whole number"),
        ({"model": None}, "with a network of its own"),
        ({"model": 3}, "is not a configuration"),
        ({"model": {"network": "mlp", "sizes": [1, 7, 1]}}, "with a network of its own"),
        ({"loss": "none"}, "There is no loss 'none'"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(config, words, capsys, tmp_path):
    path = tmp_path / "config.json"
    if isinstance(config, str):
        path.write_bytes(config.encode("latin-1"))
    else:
        path.write_text(json.dumps({"tasks": SINUSOID, "method": MAML, "training": {"meta_steps": 1}} | config))
    message = fails(capsys, "train", "sinusoid", "--config", path, "--out", tmp_path / "run")
    assert f"{path} " in message
    assert words in message
    assert not (tmp_path / "run").exists()


def test_a_configuration_that_is_no_file_is_refused(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "(it is a folder, a pipe or a device, not a file)" in fails(
        capsys, "train", "sinusoid", "--config", tmp_path / "pipe"
    )
    (tmp_path / "deep").write_text("[" * 10**5)
    assert "(it is nested too deeply)" in fails(capsys, "train", "sinusoid", "--config", tmp_path / "deep")
    assert "is not a configuration (it is a folder" in fails(capsys, "train", "sinusoid", "--config", tmp_path)
    missing = fails(capsys, "train", "sinusoid", "--config", tmp_path / "nowhere.json")
    assert "is not a configuration (No such file or directory)" in missing


def test_damaged_image_is_named(run, drawings, capsys, tmp_path):
    (tmp_path / "support" / "a").mkdir(parents=True)
    (tmp_path / "support" / "a" / "broken.png").write_bytes(b"\x89PNG not really")
    message = fails(capsys, "adapt", run, "--support", tmp_path / "support", "--query", drawings / "query")
    assert "broken.png" in message


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mtnets {mtnets.__version__}\n"


@pytest.mark.slow
def test_a_transductive_learner_warns_in_a_sentence(run, drawings, capsys, tmp_path):
    learner = mtnets.load(run)
    network = mtnets.models.conv4(3, filters=4, norm="transductive")
    _, state = network.init(jax.random.key(0))
    dataclasses.replace(learner, model=network, learned=learner.learned._replace(state=state)).save(tmp_path)
    assert main(["adapt", str(tmp_path), "--support", f"{drawings}/support", "--query", f"{drawings}/query"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("mtnets: This learner was trained with transductive batch norm")
    assert len(lines) == 2  # and the accuracy


def test_methods_are_listed(capsys):
    assert main(["methods"]) == 0
    table = capsys.readouterr().out
    for name in mtnets.METHODS:
        assert name.replace("_", "-") in table
    assert "5,043" in table
    assert main(["methods", "--conv4", "5", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries.keys() == mtnets.METHODS.keys()
    params, _ = jax.eval_shape(mtnets.models.conv4(5).init, jax.random.key(0))
    assert entries["maml"]["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.slow
def test_the_doctor_examines_a_run(capsys, tmp_path):
    out, picture = tmp_path / "run", tmp_path / "doctor.png"
    small = ["--hidden", "4", "--meta-steps", "2", "--validation-tasks", "4", "--test-tasks", "4", "--quiet"]
    assert main(["train", "sinusoid", "--out", str(out), *small]) == 0
    assert main(["doctor", str(out), "--tasks", "8", "--skip-differences", "--out", str(picture)]) == 0
    captured = capsys.readouterr()
    assert "Units that a task moves" in captured.out
    assert str(picture) in captured.err
    assert picture.read_bytes().startswith(b"\x89PNG")
    report = json.loads((out / "doctor.json").read_text())
    assert report["units"] == {"layers.0": 4, "layers.1": 1}
    assert "no learner" in fails(capsys, "doctor", tmp_path)


@pytest.mark.slow
def test_options_of_methods_reach_them(capsys, tmp_path):
    arguments = ["--method=t-net", "--sides", "2", "--rates", "layer-step", "--adapts", "head", "--inner-clip", "5"]
    arguments += ["--estimator", "truncated", "--last-steps", "0", "--meta-steps", "2", "--validation-tasks", "4"]
    arguments += ["--metric", "low-rank", "--rank", "3", "--clip-norm", "off"]
    out = tmp_path / "run"
    assert main(["train", "sinusoid", *arguments, "--hidden", "4", "--out", str(out), "--quiet"]) == 0
    capsys.readouterr()
    recorded = json.loads((out / "config.json").read_text())
    expected = {"name": "t_net", "sides": 2, "rates": "layer-step", "adapts": "head", "inner_clip": 5.0}
    expected |= {"metric": "low-rank", "rank": 3, "estimator": {"name": "truncated", "last_steps": 0}}
    assert recorded["method"].items() >= expected.items()
    assert recorded["training"]["clip_norm"] == "off"
    assert method_to_json(mtnets.load(out).method) == recorded["method"]
    error = fails(capsys, "train", "sinusoid", "--metric", "low-rank", "--rank", "0")
    assert "rank is 0" in error
    assert main(["summary", str(out)]) == 0
    assert "Learned by t_net besides: S 30, T 2, rule 1." in capsys.readouterr().out
    assert main(["summary", str(out), "--json"]) == 0
    assert [row["moves"] for row in json.loads(capsys.readouterr().out)["layers"]] == [False, True]
    assert "no learner" in fails(capsys, "summary", tmp_path)


@pytest.mark.parametrize("name", mtnets.METHODS)
def test_each_method_shows_its_own_options_and_no_other(name, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["train", "sinusoid", "--method", name.replace("_", "-"), "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    options = {field.name for kind in (mtnets.METHODS[name],) for field in dataclasses.fields(kind)}
    for option in ("sides", "rates", "metric", "rank", "mask", "temperature", "factors", "context", "start"):
        assert (f"--{option} " in text) == (option in options), option


@pytest.mark.parametrize(
    ("arguments", "option"),
    [(["--method", "maml", "--sides", "2"], "--sides"), (["--method", "m-net", "--metric", "full"], "--metric")],
)
def test_options_of_other_methods_are_refused(arguments, option, capsys):
    assert option in fails(capsys, "train", "sinusoid", *arguments)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train", "sinusoid", "--meta-stepz", "3"], ["--meta-stepz", "perhaps --meta-steps is meant"]),
        (
            ["train", "sinusoid", "--meta-steps", "abc"],
            ["--meta-steps", "INT", "abc", "see mtnets train sinusoid --help"],
        ),
        (
            ["evaluat", "run"],
            ["no command 'evaluat'; perhaps 'evaluate' is meant; choose one of train, sweep, new, evaluate"],
        ),
        (["evaluate"], ["Missing from mtnets evaluate", "folder of a run"]),
        (["train", "sinusoid", "--method", "mt-net", "--mask", "foo"], ["'foo'", "--mask", "threshold"]),
        (["evaluate", "run", "more"], ["mtnets evaluate has no place for more; see mtnets evaluate --help"]),
    ],
)
def test_arguments_that_do_not_parse_are_one_sentence(arguments, parts, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    for part in parts:
        assert part in error


@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_estimator_shows_its_own_options_and_no_other(name, capsys):
    with pytest.raises(SystemExit):
        main(["train", "sinusoid", "--method", "maml", "--estimator", name, "--help"])
    text = capsys.readouterr().out
    options = {field.name for field in dataclasses.fields(ESTIMATORS[name])}
    for option in ("last_steps", "cg_steps", "damping"):
        assert (f"--{option.replace('_', '-')} " in text) == (option in options), option


def test_the_last_of_several_methods_counts():
    arguments = ["--method", "maml", "--hidden", "4", "--method=t-net", "--config", "a"]
    assert taken(arguments, "method") == ("t-net", ["--hidden", "4", "--config", "a"])
    assert taken(arguments, "config")[0] == "a"
    assert taken(arguments, "estimator") == (None, arguments)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "go on with resume=True, replace it with overwrite=True.",
            "go on with --resume, replace it with --overwrite.",
        ),
        ("meta_steps is -1; it must be at least 0.", "--meta-steps is -1; it must be at least 0."),
        ("or clip_norm=10 in a new run", "or --clip-norm 10 in a new run"),
        ("with resume=True and skip_nonfinite=100.", "with --resume and --skip-nonfinite 100."),
        ("the seed is 3; the rank", "the seed is 3; the rank"),
        ("learner.adapt(x, y), or load(path, model=...)", "learner.adapt(x, y), or load(path, model=...)"),
        ("estimator=Implicit(proximal=1.0)", "estimator=Implicit(proximal=1.0)"),
        (
            "use norm='support', or rank=3; it has seed, clip_norm.",
            "use norm='support', or --rank 3; it has seed, --clip-norm.",
        ),
        ("model='mlp', or resume=False", "--model mlp, or --no-resume"),
        ("num_tasks is 0", "--tasks is 0"),
        ("shares of them: rank=(0.6, 0.2, 1); f(rank=(1, 2))", "shares of them: --rank 0.6 0.2 1; f(rank=(1, 2))"),
        ("rank is 0; the rank", "--rank is 0; the rank"),
        (
            "no column 'x' (model=...); or rank=... and load(path, model=...)",
            "no column 'x' (--model); or --rank and load(path, model=...)",
        ),
        (
            "runs/meta_steps, meta_steps/a and clip_norm-3.csv are there",
            "runs/meta_steps, meta_steps/a and clip_norm-3.csv are there",
        ),
    ],
)
def test_errors_name_flags(message, expected):
    names = {"resume", "overwrite", "meta_steps", "clip_norm", "skip_nonfinite", "seed", "rank", "proximal", "model"}
    assert in_flags(message, names) == expected


def test_errors_name_estimators_as_options():
    calls = {kind.__name__: f"--estimator {name}" for name, kind in ESTIMATORS.items()}
    message = "set estimator=Implicit(proximal=0.5, cg_steps=3); or use mtnets.Exact() or FirstOrder()."
    expected = (
        "set --estimator implicit --proximal 0.5 --cg-steps 3; or use --estimator exact or --estimator first-order."
    )
    assert in_flags(message, {"proximal", "cg_steps"}, calls) == expected


@pytest.mark.slow
def test_another_estimator_than_that_of_a_config_keeps_its_own_options(tmp_path):
    small = ["--hidden", "4", "--meta-steps", "1", "--validation-tasks", "4", "--test-tasks", "4", "--quiet"]
    first = tmp_path / "first"
    assert main(["train", "sinusoid", "--method", "maml", "--out", str(first), *small]) == 0
    for estimator, expected in (
        (["implicit"], mtnets.Implicit()),
        (["implicit", "--proximal", "3"], mtnets.Implicit(proximal=3.0)),
        (["truncated"], mtnets.Truncated()),
    ):
        config = ["--config", str(first / "config.json"), "--estimator", *estimator]
        out = tmp_path / f"{len(estimator)}{estimator[0]}"
        assert main(["train", "sinusoid", *config, "--out", str(out), "--quiet"]) == 0
        assert mtnets.load(out).method.estimator == expected


@pytest.mark.slow
def test_another_method_than_that_of_a_config_keeps_its_own_options(capsys, tmp_path):
    """Only the inner rate is taken over; a layer named in the config is read back; other JSON is refused."""
    small = ["--hidden", "4", "--meta-steps", "1", "--validation-tasks", "4", "--test-tasks", "4", "--quiet"]
    first, second = tmp_path / "first", tmp_path / "second"
    method = ["--method", "anil", "--inner-lr", "0.03", "--rates", "weight"]
    assert main(["train", "sinusoid", *method, "--out", str(first), *small]) == 0
    config = ["train", "sinusoid", "--config", str(first / "config.json")]
    assert main([*config, "--method", "fomaml", "--out", str(second), "--quiet"]) == 0
    recorded = json.loads((second / "config.json").read_text())["method"]
    assert recorded == method_to_json(mtnets.fomaml(0.03, inner_clip="off"))
    assert "tuple" not in capsys.readouterr().err
    (tmp_path / "other.json").write_text('{"search": {}}')
    assert "not a configuration" in fails(capsys, "train", "sinusoid", "--config", tmp_path / "other.json")
    custom = json.loads((first / "config.json").read_text())
    custom["method"]["name"] = "mine"
    del custom["checksum"]
    (tmp_path / "custom.json").write_text(json.dumps(custom))
    assert "a method of its own, 'mine'" in fails(capsys, "train", "sinusoid", "--config", tmp_path / "custom.json")
