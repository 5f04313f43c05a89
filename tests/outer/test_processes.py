"""Several processes that train together, on the loopback: what one process does, and how they end together."""

import contextlib
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets import OptionError, RunError, processes
from mtnets.cli import main
from mtnets.files import read_json
from mtnets.trees import leaves_by_path

PATIENCE = 600  # seconds; a hang is a failure, and a busy machine none
SETTINGS: dict[str, Any] = {"meta_steps": 4, "meta_batch": 4, "inner_steps": 1, "validate_every": 2, "log_every": 2}
SETTINGS |= {"validation_tasks": 5, "test_tasks": 5, "progress": False}


def problem(seed: int = 0) -> tuple[mtnets.Model, mtnets.tasks.Family]:
    """Lines, for a network whose weights are drawn from a seed: programs that compile fast."""
    lines = np.random.default_rng(0).normal(size=(8, 2, 2, 4, 1))  # [tasks, support or query, x or y, ...]
    drawn = {"w": np.random.default_rng(seed).normal(size=(1, 1)), "b": np.zeros(1)}
    model = mtnets.wrap((lambda p, x: x @ p["w"] + p["b"], drawn), (1,))
    return model, mtnets.tasks.from_sequence(*3 * [list(lines)], loss="mse")


PROLOGUE = """
import json, os, signal, sys
import numpy as np
import mtnets
import mtnets.trees
from mtnets import processes
from mtnets.devices import use_cores

port, count, process, devices, folder = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
use_cores(devices)
mtnets.join_processes(f"127.0.0.1:{port}", count, process)

def train(seed_of_weights=0, **more):
    model, tasks = problem(seed_of_weights)
    return mtnets.meta_train(model, mtnets.maml(0.1), tasks, **{**SETTINGS, **more})

def tell(name, value):
    print(json.dumps([name, value]), flush=True)

def attempt(name, act):
    try:
        act()
    except BaseException as error:
        tell(name, [type(error).__name__, str(error)])

def numbers(learner):
    return [np.asarray(leaf).ravel().tolist() for leaf in mtnets.trees.leaves_by_path(learner.meta).values()]
"""
PROLOGUE += f"""
SETTINGS = {SETTINGS}
{inspect.getsource(problem)}"""
TOGETHER = """
learner = train(process, out=f"{folder}/{process}/whole")  # each draws weights of its own
tell("learner", numbers(learner))
if process == 1:  # alone, which must not wait for the others
    tell("losses", mtnets.evaluate(learner, problem()[1], 5).losses.tolist())
attempt("other options", lambda: train(meta_lr=0.01 + process))
attempt("uneven", lambda: train(meta_batch=3))
attempt("taken", lambda: train(out=f"{folder}/{process}/whole"))
attempt("apart", lambda: processes.check_equal({"a": np.full(2, float(process))}))
tell("first", np.copysign(1, processes.of_first({"a": np.full(2, -0.0 * (1 - process))})["a"]).tolist())
"""
STOPPED = """
def stop(step, learners):
    if step == 2 and process == 1:
        os.kill(os.getpid(), signal.SIGTERM)

attempt("stopped", lambda: train(out=f"{folder}/{process}/stopped", callback=stop))
tell("resumed", numbers(train(out=f"{folder}/{process}/stopped", resume=True)))
tell("whole", numbers(train()))
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def started(commands: list[list[Any]], logs: Path) -> Iterator[list[subprocess.Popen]]:
    """Processes whose output goes to files; none outlives the block."""
    logs.mkdir(exist_ok=True, parents=True)
    group = []
    try:
        for i, command in enumerate(commands):
            with (logs / f"{i}.out").open("wb") as out, (logs / f"{i}.err").open("wb") as err:
                group.append(subprocess.Popen([sys.executable, *map(str, command)], stdout=out, stderr=err))
        yield group
    finally:
        for each in group:
            each.kill()
            each.wait()


def of_code(code: str, folder: Path, count: int, devices: int = 1) -> list[dict[str, Any]]:
    """What each of several processes tells that run some code, which must end well."""
    port = free_port()
    commands = [["-c", PROLOGUE + code, port, count, i, devices, folder] for i in range(count)]
    with started(commands, folder / "logs") as group:
        statuses = [each.wait(PATIENCE) for each in group]
    errors = [(folder / "logs" / f"{i}.err").read_text() for i in range(count)]
    assert not any(statuses), "\n".join(errors)
    lines = [(folder / "logs" / f"{i}.out").read_text().splitlines() for i in range(count)]
    # Gloo speaks there too
    return [dict(json.loads(line) for line in each if line.startswith('["')) for each in lines]


def alone(**more: Any) -> mtnets.Learner:
    model, tasks = problem()
    return mtnets.meta_train(model, mtnets.maml(0.1), tasks, **{**SETTINGS, "devices": 1, **more})


def numbers(learner: mtnets.Learner) -> list[np.ndarray]:
    return [np.asarray(leaf).ravel() for leaf in leaves_by_path(learner.meta).values()]


def assert_close(found: list[Any], expected: list[Any]) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Two processes that run `TOGETHER`: their folder, and what they tell."""
    folder = tmp_path_factory.mktemp("two")
    return folder, of_code(TOGETHER, folder, 2)


def test_two_processes_learn_what_one_does_and_the_first_keeps_it(two: tuple) -> None:
    """From the weights that the first one has drawn."""
    folder, told = two
    assert told[0]["learner"] == told[1]["learner"]  # to the bit
    one = alone(out=folder / "alone")
    assert_close(told[0]["learner"], numbers(one))
    whole, single = (read_json(folder / name / "result.json") for name in ("0/whole", "alone"))
    assert [whole["machine"]["devices"], single["machine"]["devices"]] == [2, 1]
    assert_close([whole["validation"], whole["test"]["inner_steps"][-1]["mean"]],
                 [single["validation"], single["test"]["inner_steps"][-1]["mean"]])  # fmt: skip
    kept = mtnets.load(folder / "0" / "whole", model=problem()[0])
    assert_close(numbers(kept), told[0]["learner"])
    assert not (folder / "1").exists()
    assert_close([told[1]["losses"]], [mtnets.evaluate(one, problem()[1], 5).losses])


def test_what_differs_is_named_in_each_process(two: tuple) -> None:
    first, second = (each["other options"] for each in two[1])
    assert first[0] == second[0] == "OptionError"
    assert "Process 1 has not the same options" in first[1]
    assert "Process 1 has training.meta_lr = 1.01 (process 0: 0.01); start all processes with the same" in second[1]


def test_errors_are_those_of_all_processes(two: tuple) -> None:
    for told in two[1]:
        sentence = "meta_batch is 3, which 2 processes cannot share equally; take 2 or 4."
        assert told["uneven"] == ["OptionError", sentence]
        assert told["taken"][0] == "RunError"
        assert "0/whole holds a run already" in told["taken"][1]
        assert told["apart"][0] == "RunError"
        assert "no longer train the same learner" in told["apart"][1]
        assert told["first"] == [-1, -1]  # the bits of process 0, also those of −0


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_and_they_go_on_to_the_same_bits(tmp_path: Path) -> None:
    for told in of_code(STOPPED, tmp_path, 2):
        assert told["stopped"][0] == "Terminated"
        assert "Stopped at meta-step 2; " in told["stopped"][1]
        assert told["resumed"] == told["whole"]
    assert not (tmp_path / "1").exists()


def test_one_process_is_left_alone() -> None:
    tree = {"a": jnp.ones(2)}
    assert processes.of_first(tree) is tree
    assert processes.of_all(tree, None) is tree
    assert processes.of_this(tree, None) is tree
    assert (processes.agreed(0.1), processes.largest(15), processes.in_first(lambda: 1, 2)) == (0.1, 15, 1)
    processes.check_equal(tree)
    processes.check_same({"a": 1})
    processes.leave(1)  # it has joined nobody
    with pytest.raises(ValueError, match="gloo"), processes.naming_the_lost():
        raise ValueError("gloo")  # of nobody either


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("host", 2, 0), r"coordinator is 'host'; it must be 'HOST:PORT' of process 0.*or 'auto'\."),
        (("host:99999", 2, 0), r"with a port from 1 to 65535"),
        (("host:1234",), r"coordinator is 'host:1234' without processes and process; name all three"),
        (("host:1234", 2), r"coordinator is 'host:1234' without process; name all three"),
        (("host:1234", 0, 0), r"processes is 0; it must be at least 1\."),
        (("host:1234", 2, 2), r"process is 2; of 2 processes it must be from 0 to 1\."),
        (("host:1234", 2, -1), r"process is -1;"),
        (("auto", 2), r"coordinator is 'auto', which finds the number of processes"),
        (("host:1234", "2", 0), r"processes is '2'; it must be a whole number"),
    ],
)
def test_who_meets_where_is_checked(arguments: tuple, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        mtnets.join_processes(*arguments)


def test_who_has_computed_cannot_join() -> None:
    jnp.ones(1).block_until_ready()
    with pytest.raises(RunError, match=r"JAX has started in this process.*before anything is computed"):
        mtnets.join_processes("127.0.0.1:1234", 2, 0)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--processes", "2"], "--processes is 2 without a coordinator; name all three, or --coordinator auto."),
        (["--process", "0"], "--process is 0 without a coordinator;"),
        (["--coordinator", "host:1234", "--processes", "2"], "--coordinator is 'host:1234' without process;"),
        (["--coordinator", "host:1234", "--processes", "2", "--process", "2"], "--process is 2; of 2 processes"),
    ],
)
def test_the_same_on_the_command_line(flags: list[str], sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "sinusoid", *flags]) == 1
    assert sentence in capsys.readouterr().err


def test_devices_of_several_processes_are_as_many_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    class Device:
        def __init__(self, process: int) -> None:
            self.process_index = process

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr("jax.devices", lambda: [Device(0), Device(1), Device(1)])
    with pytest.raises(OptionError, match=r"The processes have 1, 2 devices; give each the same number \(devices=1"):
        processes.check_same({})


@pytest.mark.slow
def test_who_cannot_meet_is_told_why(capfd: pytest.CaptureFixture) -> None:
    attempt = (
        "import sys, mtnets\ntry: mtnets.join_processes(*eval(sys.argv[1]))\nexcept mtnets.MtnetsError as e: print(e)"
    )
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        # whatever the status: after it has said so, JAX may crash at the end of the process
        subprocess.run([sys.executable, "-c", attempt, f"('{address}', 2, 0)"], check=False)
    subprocess.run([sys.executable, "-c", attempt, "()"], check=True)
    first, second = capfd.readouterr().out.splitlines()
    assert first.startswith(f"The processes cannot meet at {address} (")
    assert second.startswith("coordinator is 'auto', and JAX finds no Slurm, Open MPI, Kubernetes or TPU pod here")


@pytest.mark.slow
@pytest.mark.parametrize(("count", "devices"), [(4, 1), (2, 2)])
def test_any_number_of_processes_and_devices_learns_the_same(tmp_path: Path, count: int, devices: int) -> None:
    """Of tasks that a function makes, on the host of each process; with two seeds side by side, for several devices."""
    code = """
def make(rng):
    a, x = rng.uniform(0.1, 5), rng.uniform(-5, 5, (4, 1))
    return (x[:2], a * np.sin(x[:2])), (x[2:], a * np.sin(x[2:]))

def learned(seed):
    tasks = mtnets.tasks.from_function(make, loss="mse")
    return mtnets.meta_train(mtnets.models.mlp(1, 4, 1), mtnets.maml(0.01), tasks, seed=seed, **SETTINGS)

tell("learners", [numbers(each) for each in ([learned(0)] if devices == 1 else learned([0, 1]))])
"""
    together = of_code(code, tmp_path / "together", count, devices)
    (one,) = of_code(code, tmp_path / "alone", 1, devices)
    for told in together:
        for a, b in zip(told["learners"], one["learners"], strict=True):
            assert_close(a, b)


def commands(out: Path, count: int, *more: str, of_each: Callable[[int], list[str]] = lambda _: []) -> list[list[str]]:
    """`mtnets train` for each of several processes; for one, without the others."""
    port = free_port()
    command = ["-m", "mtnets", "train", "sinusoid", "--shots", "2", "--out", str(out), "--method", "maml"]
    command += ["--meta-batch", "4", "--inner-steps", "1", "--test-tasks", "4", "--validate-every", "0", *more]
    together = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(count), "--process"]
    return [[*command, *([*together, str(i)] if count > 1 else []), *of_each(i)] for i in range(count)]


def wait_for_checkpoint(out: Path, group: list[subprocess.Popen]) -> None:
    until = time.monotonic() + PATIENCE
    while not list((out / "checkpoints").glob("*.safetensors")):
        assert all(each.poll() is None for each in group), "it has ended"
        assert time.monotonic() < until
        time.sleep(0.1)


def last_checkpoint(out: Path) -> int:
    return max(int(path.stem) for path in (out / "checkpoints").glob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize(
    ("number", "most"),
    [(signal.SIGKILL, 30.0), (signal.SIGSTOP, 2.0 * processes.HEARTBEAT_SECONDS)],  # the second falls silent
    ids=["killed", "silent"],
)
def test_a_kill_of_one_ends_the_other_and_another_number_goes_on(
    tmp_path: Path, victim: int, number: signal.Signals, most: float
) -> None:
    out, logs = tmp_path / "run", tmp_path / "logs"
    endless = ["--meta-steps", "10000000", "--checkpoint-seconds", "0"]
    with started(commands(out, 2, *endless), logs) as group:
        wait_for_checkpoint(out, group)
        os.kill(group[victim].pid, number)
        killed = time.monotonic()
        status = group[1 - victim].wait(PATIENCE)
        seconds = time.monotonic() - killed
    said = (logs / f"{1 - victim}.err").read_text()
    assert status != 0
    assert "Another process has ended or cannot be reached" in said or "another task died" in said
    assert seconds < most
    reached = last_checkpoint(out)
    (resumed,) = commands(out, 1, "--meta-steps", str(reached + 2), "--resume")
    subprocess.run([sys.executable, *resumed], check=True, capture_output=True)
    assert mtnets.load(out).record["meta_step"] == reached + 2


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes(tmp_path: Path) -> None:
    """From one to two, and from two to one: where a run of one process ends."""

    def run(name: str, count: int, *more: str) -> None:
        with started(commands(tmp_path / name, count, *more), tmp_path / f"{name}-logs") as group:
            assert [each.wait(PATIENCE) for each in group] == [0] * count

    for name, counts in (("more", (1, 2)), ("fewer", (2, 1)), ("same", (1, 1))):
        run(name, counts[0], "--meta-steps", "20")
        run(name, counts[1], "--meta-steps", "40", "--resume")
    for name in ("more", "fewer"):
        assert_close(numbers(mtnets.load(tmp_path / name)), numbers(mtnets.load(tmp_path / "same")))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_process_on_the_command_line(tmp_path: Path, number: signal.Signals) -> None:
    out, logs = tmp_path / "run", tmp_path / "logs"
    with started(commands(out, 2, "--meta-steps", "10000000", "--checkpoint-seconds", "0"), logs) as group:
        wait_for_checkpoint(out, group)
        os.kill(group[1].pid, number)
        assert [each.wait(PATIENCE) for each in group] == [128 + number] * 2
    said = [(logs / f"{i}.err").read_text().splitlines()[-1] for i in range(2)]
    assert said[0] == said[1]
    assert f"Stopped at meta-step {last_checkpoint(out)}; " in said[0]


@pytest.mark.slow
def test_other_options_on_the_command_line_are_a_sentence_in_each(tmp_path: Path) -> None:
    out, logs = tmp_path / "run", tmp_path / "logs"
    differ = commands(out, 2, "--meta-steps", "10", of_each=lambda i: ["--meta-lr", f"0.0{i + 1}"])
    with started(differ, logs) as group:
        assert [each.wait(PATIENCE) for each in group] == [1, 1]
    first, second = ((logs / f"{i}.err").read_text().strip().splitlines() for i in range(2))
    assert first[-1].startswith("mtnets: Process 1 has not the same options")
    assert second[-1].startswith("mtnets: Process 1 has training.meta_lr = 0.02 (process 0: 0.01)")
    assert not out.exists()


@pytest.mark.slow
def test_an_error_of_one_process_ends_the_others(tmp_path: Path) -> None:
    code = """
def fail(step, learners):
    if process == 1:
        raise ZeroDivisionError("one alone")

train(callback=fail, meta_steps=8)
"""
    port = free_port()
    failing = [["-c", PROLOGUE + code, port, 2, i, 1, tmp_path] for i in range(2)]
    with started(failing, tmp_path / "logs") as group:
        assert [each.wait(PATIENCE) for each in group] == [1, 1]
    first, second = ((tmp_path / "logs" / f"{i}.err").read_text() for i in range(2))
    assert "ZeroDivisionError: one alone" in second
    assert "RunError: Another process has ended or cannot be reached" in first
