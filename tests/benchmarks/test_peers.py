"""The comparison with other programs, in small: do they do the same work, and is it told when they do not?"""

import dataclasses
import importlib.util
import json
import math

import numpy as np
import pytest

from benchmarks.peers import harness
from benchmarks.peers.__main__ import main
from benchmarks.peers.cells import CELLS
from benchmarks.peers.contender import BASELINE, CONTENDERS, CannotError
from benchmarks.peers.harness import AGREEMENT, NEARLY, Settings
from benchmarks.peers.networks import Convolutions, Mlp
from benchmarks.peers.problem import Problem, Work, difference, load, made, save
from benchmarks.peers.table import page
from benchmarks.peers.work import operations, share
from mtnets import OptionError, RunError
from mtnets.files import read_json, write_json

WORK = [("sine-4-5", "mt-net", "exact"), pytest.param(("sine-4-5", "mt-net", "first"), marks=pytest.mark.slow)]
IN_JAX = (BASELINE, "optax")
OTHERS_WARN = pytest.mark.filterwarnings("ignore")  # higher has a SyntaxWarning, for one
ROUND = {"meta_steps_per_second": 2.0, "compile_seconds": 0.5, "cold_seconds": 1.0, "peak_bytes": 1 << 20}


def installed(name: str) -> bool:
    """Whether a contender can run here."""
    try:
        return bool(CONTENDERS[name].versions())
    except CannotError:
        return False


@pytest.fixture(scope="module", params=WORK, ids=str)
def problem(request, tmp_path_factory) -> Problem:
    return with_reference(Work(*request.param, tiny=True), tmp_path_factory.mktemp("problem"))


def with_reference(work: Work, folder) -> Problem:
    path = folder / "problem.npz"
    ask = harness._Asking(str(folder), patience=600)
    assert ask(do="prepare", path=str(path), work=dataclasses.asdict(work), seed=0) == {}
    return load(path)


@pytest.mark.parametrize("name", IN_JAX)
def test_same_work(name: str, problem: Problem) -> None:
    assert difference(CONTENDERS[name].build(problem).meta_gradient(), problem.reference) < AGREEMENT


def test_a_mask_that_is_not_the_same_is_other_work(problem: Problem) -> None:
    other = dataclasses.replace(problem, noise={layer: -noise for layer, noise in problem.noise.items()})
    assert difference(CONTENDERS["optax"].build(other).meta_gradient(), problem.reference) > NEARLY


def alike(problem: Problem) -> Problem:
    """With the first task in the place of all, so that it does not matter which ones are drawn."""
    support, query = (type(e)(*(np.repeat(a[:1], len(a), 0) for a in e)) for e in (problem.support, problem.query))
    return dataclasses.replace(problem, support=support, query=query)


def after_meta_steps(name: str, problem: Problem):
    """The meta-gradient where three meta-steps lead."""
    contender = CONTENDERS[name].build(problem)
    contender.meta_steps(1)
    contender.meta_steps(2)
    return contender.meta_gradient()


def test_meta_steps_lead_to_the_same_place() -> None:
    problem = alike(made(Work("sine-4-1", tiny=True), 0))
    start = CONTENDERS["optax"].build(problem).meta_gradient()
    ours, other = (after_meta_steps(name, problem) for name in IN_JAX)
    assert difference(other, ours) < 1e-3 < difference(start, ours)


@pytest.mark.slow
@OTHERS_WARN
def test_meta_steps_of_all_that_are_installed_lead_to_the_same_place() -> None:
    problem = alike(made(Work("sine-4-1", tiny=True), 0))
    ours = after_meta_steps(BASELINE, problem)
    for name in filter(installed, CONTENDERS):
        assert difference(after_meta_steps(name, problem), ours) < 1e-3, name


@pytest.mark.slow
@OTHERS_WARN
@pytest.mark.parametrize("order", ["exact", "first"])
@pytest.mark.parametrize("method", ["maml", "mt-net"])
@pytest.mark.parametrize("cell", ["sine-4-5", "omniglot-5", "pooled", "resnet-12", "transformer"])
def test_all_that_are_installed_do_the_same(cell: str, method: str, order: str, tmp_path) -> None:
    problem = with_reference(Work(cell, method, order, tiny=True), tmp_path)
    for name in filter(installed, CONTENDERS):
        try:
            contender = CONTENDERS[name].build(problem)
        except CannotError:
            assert (name, method) == ("parallel-metalearn", "mt-net")
            continue
        assert difference(contender.meta_gradient(), problem.reference) < AGREEMENT, name


@pytest.mark.slow
def test_harness_in_small(tmp_path, capsys) -> None:
    out = tmp_path / "peers.json"
    options = ["--tiny", "--rounds", "2", "--seconds", "0.01", "--contenders", *IN_JAX, "higher", "--out", str(out)]
    assert main(["sine-4-1", "omniglot-5", *options]) == 0
    cells = read_json(out)["cells"]
    assert [cell["work"]["cell"] for cell in cells] == ["sine-4-1", "omniglot-5"]
    for cell in cells:
        for name in IN_JAX:
            rounds = cell["contenders"][name]["rounds"]
            assert len(rounds) == 2
            assert all(each["meta_steps_per_second"] > 0 and each["peak_bytes"] > 1 << 20 for each in rounds)
            assert all(each["cold_seconds"] > each["compile_seconds"] >= 0 for each in rounds)
        why = cell["contenders"]["higher"].get("why")
        assert (why == "higher is not installed") == (importlib.util.find_spec("higher") is None)
    assert capsys.readouterr().out.count("### ") == 2
    assert main(["sine-4-1", *options]) == 0  # is not measured again
    assert "measured already" in capsys.readouterr().out
    assert read_json(out)["cells"] == cells


# --- the harness with answers that are given


@pytest.fixture
def answers(monkeypatch) -> dict[str, dict]:
    """What a contender answers, by its name; all are installed, and agree."""
    given: dict[str, dict] = {name: {"difference": 1e-5} for name in CONTENDERS}

    def ask(self, **request) -> dict:
        if request["do"] == "check":
            return {name: value for name, value in given[request["contender"]].items() if name != "measured"}
        if request["do"] == "measure":
            return given[request["contender"]].get("measured", ROUND)
        return {"matrix_rate": 1e9} if request["do"] == "limit" else {}

    monkeypatch.setattr(harness._Asking, "__call__", ask)
    monkeypatch.setattr("benchmarks.peers.contender.version", lambda package: "1.0")
    return given


def measured(tmp_path, *options: str) -> dict:
    assert main(["omniglot-5", "--rounds", "2", "--out", str(tmp_path / "peers.json"), *options]) == 0
    (cell,) = read_json(tmp_path / "peers.json")["cells"]
    return cell


def test_other_work_gets_no_number(answers, tmp_path, capsys) -> None:
    answers["higher"] = {"difference": 0.5}
    answers["iteryne"] = {"difference": math.nan}
    answers["TorchOpt"] = {"cannot": "has no masks"}
    answers["optax"] = {"failed": "ValueError: no"}
    cell = measured(tmp_path)
    assert cell["contenders"]["higher"]["why"] == "does other work: its meta-gradient differs by 0.5"
    assert cell["contenders"]["iteryne"]["why"] == "does other work: its meta-gradient differs by nan"
    assert cell["contenders"]["TorchOpt"]["why"] == "has no masks"
    assert cell["contenders"]["optax"]["why"] == "ValueError: no"
    assert all("rounds" not in cell["contenders"][name] for name in ("higher", "iteryne", "TorchOpt", "optax"))
    assert cell["contenders"]["torch.func"]["rounds"] == [ROUND, ROUND]
    assert "| higher | does other work: its meta-gradient differs by 0.5 | – |" in capsys.readouterr().out


def test_what_fails_while_measured_gets_no_number(answers, tmp_path) -> None:
    answers["higher"]["measured"] = {"failed": "ended with status -9: killed"}
    assert measured(tmp_path)["contenders"]["higher"] == {"difference": 1e-5, "why": "ended with status -9: killed"}


def test_the_library_itself_has_to_work(answers, tmp_path, capsys) -> None:
    answers[BASELINE] = {"difference": 0.5}
    assert main(["omniglot-5", "--out", str(tmp_path / "peers.json")]) == 1
    assert "nothing can be compared" in capsys.readouterr().err
    assert not (tmp_path / "peers.json").exists()


def test_what_is_measured_again(answers, tmp_path, monkeypatch, capsys) -> None:
    first = measured(tmp_path)
    answers["higher"]["measured"] = ROUND | {"meta_steps_per_second": 3.0}
    assert measured(tmp_path) == first
    assert measured(tmp_path, "--again")["contenders"]["higher"]["rounds"][0]["meta_steps_per_second"] == 3.0
    capsys.readouterr()
    monkeypatch.setattr("benchmarks.peers.contender.version", lambda package: "2.0")
    assert measured(tmp_path)["versions"]["higher"] == "2.0"
    assert "measured already" not in capsys.readouterr().out


def test_table(answers, tmp_path, capsys) -> None:
    rate = iter((4.0, 1.0))
    cell = measured(tmp_path)
    for each in cell["contenders"]["higher"]["rounds"]:
        each["meta_steps_per_second"] = next(rate)
    text = page({"cells": [cell]})
    assert "| higher | 1.25 (0.500 – 2.00) | 2.50 (1.00 – 4.00) | 80.0 |" in text  # 32 tasks
    expected = operations(Work("omniglot-5")) * 2.5 / 1e9  # type: ignore[operator]
    assert f"| {100 * expected:.1f} % | 1 MiB | 0.500 (0.500 – 0.500) s |" in text
    write_json(tmp_path / "one.json", {"cells": [cell]})
    capsys.readouterr()
    assert main(["--table", str(tmp_path / "one.json")]) == 0
    assert capsys.readouterr().out == text + "\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["sin"], "There is no cell 'sin'; choose one of sine-4-1"),
        (["sine-4-1", "--method", "reptile"], "There is no method 'reptile'; choose one of maml, mt-net."),
        (["sine-4-1", "--order", "2"], "There is no order '2'; choose one of exact, first."),
        (["sine-4-1", "--contenders", "jax"], "There is no contender 'jax'; choose from mtnets"),
        (["sine-4-1", "--rounds", "0"], "rounds is 0; it must be a number above 0."),
        (["sine-4-1", "--seconds", "nan"], "seconds is nan; it must be a number above 0."),
        (["--table", "missing.json"], "missing.json has no results of this comparison"),
    ],
)
def test_bad_options(options: list[str], message: str, capsys) -> None:
    assert main(options) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{}", '{"cells": [{"work": {}}]}', '{"cells": 3}', "no"])
def test_foreign_files(text: str, tmp_path) -> None:
    path = tmp_path / "peers.json"
    path.write_text(text)
    with pytest.raises(RunError, match="has no results of this comparison"):
        harness.read(path)


def test_a_process_that_ends_without_an_answer(tmp_path) -> None:
    answer = harness._Asking(str(tmp_path), patience=600)(do="nothing")
    assert answer["failed"].startswith("ended with status 1: KeyError")


def test_a_process_that_takes_too_long(tmp_path) -> None:
    assert harness._Asking(str(tmp_path), patience=0.01)(do="limit", side=8) == {
        "failed": "took more than 0.01 seconds"
    }


# --- problems and what they cost


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("method", ["maml", "mt-net"])
def test_problems(cell: str, method: str, tmp_path) -> None:
    problem = made(Work(cell, method, tiny=True), 0)  # type: ignore[arg-type]
    again, other = made(problem.work, 0), made(problem.work, 1)
    assert all(np.array_equal(problem.learned[name], again.learned[name]) for name in problem.learned)
    assert not np.array_equal(problem.support.x, other.support.x)
    sizes = problem.cell
    assert problem.query.x.shape == (sizes.tasks, sizes.examples[1], *sizes.network.input_shape)
    if sizes.ways:
        assert {int(label) for label in problem.support.y[0]} == set(range(sizes.ways))
    save(problem, tmp_path / "problem.npz")
    read = load(tmp_path / "problem.npz")
    assert read.work == problem.work
    assert read.learned.keys() == problem.learned.keys()
    assert np.array_equal(read.support.y, problem.support.y)


def test_difference() -> None:
    reference = {"a": np.array([3.0, 4.0]), "b": np.array([1e-9])}
    assert difference(reference, reference) == 0
    assert difference(reference | {"a": np.array([3.0, 4.5])}, reference) == pytest.approx(0.1)
    assert difference(reference | {"b": np.array([6e-9])}, reference) == pytest.approx(1e-6)  # is next to nothing
    assert difference(reference | {"b": np.array([np.nan])}, reference) == math.inf


def test_operations(monkeypatch) -> None:
    """One dense layer, and two of them, written out."""
    cell = dataclasses.replace(CELLS["sine-4-1"], network=Mlp((3, 2)), tasks=7, support=5, query=4, inner_steps=1)
    monkeypatch.setitem(CELLS, "one", cell)
    product = 2 * 3 * 2
    # support: y and dW = xᵀ dy; their reverse: dW of y, and dy of dW. Query: y and dW.
    assert operations(Work("one")) == 7 * product * (5 * 4 + 4 * 2)
    assert operations(Work("one", order="first")) == 7 * product * (5 * 2 + 4 * 2)
    assert operations(Work("one", "mt-net")) == 7 * (product * (5 * 4 + 4 * 2) + 6 * 2 * 4 * 2 * 2)
    monkeypatch.setitem(CELLS, "two", dataclasses.replace(cell, network=Mlp((3, 2, 2)), inner_steps=2))
    later = 2 * 2 * 2
    assert operations(Work("two")) == 7 * (product * (5 * 2 * 4 + 4 * 2) + later * (5 * 2 * 9 + 4 * 3))
    assert operations(Work("transformer")) is None
    assert math.isnan(share(Work("transformer"), 1.0, 1.0))
    assert share(Work("one"), 2.0, 1000.0) == pytest.approx(7 * product * 28 * 2 / 1000)


def test_operations_of_convolutions() -> None:
    layers = Convolutions(outputs=5, side=28, channels=1, filters=64, blocks=4, pool=False).layers()
    assert [layer.places for layer in layers.values()] == [14**2, 7**2, 4**2, 2**2, 1]
    pooled = Convolutions(outputs=5, side=28, channels=1, filters=64, blocks=3, pool=True).layers()
    assert [layer.places for layer in pooled.values()] == [28**2, 14**2, 7**2, 1]
    assert pooled["head"].shape == (3 * 3 * 64, 5)


def test_settings_always_hold_the_library() -> None:
    assert Settings(contenders=("higher",)).contenders == (BASELINE, "higher")
    assert json.loads(json.dumps(dataclasses.asdict(Settings())))["contenders"] == list(CONTENDERS)
    with pytest.raises(OptionError, match="patience"):
        Settings(patience=math.inf)
