"""Stopping a training well."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import mtnets
from mtnets.cli import interrupts, main
from mtnets.outer.loop import Logged
from mtnets.outer.run import RunFolder
from mtnets.stopping import Terminated, stopping, stopping_at_once
from mtnets.trees import leaves_by_path
from samples import log_without_times

SETTINGS = {"meta_steps": 8, "meta_batch": 2, "validation_tasks": 2, "test_tasks": 2, "log_every": 3, "progress": False}


def test_a_signal_is_noted_and_the_second_one_acts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopping() as asked:
        assert not asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked
        with pytest.raises(Terminated, match="here") as ended:
            asked.stop("here")
        assert ended.value.code == 143
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_what_there_is_by_now_is_said_where_a_signal_acts_at_once(
    number: signal.Signals, error: type[BaseException]
) -> None:
    default = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}[number]
    before = signal.signal(number, default)
    try:
        with stopping_at_once("It is trained."), pytest.raises(error, match="It is trained"):
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is default
        signal.signal(number, signal.SIG_IGN)
        with stopping_at_once("It is trained."):
            os.kill(os.getpid(), number)
        signal.signal(number, lambda *_: asked.append(number))
        asked: list[int] = []
        with stopping_at_once("It is trained."):
            os.kill(os.getpid(), number)
        assert asked == [number]
    finally:
        signal.signal(number, before)


def test_the_command_line_says_what_there_is_by_now(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", leave)
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.send(bytes([signal.SIGINT]))
        with stopping_at_once("It is trained; resume=True only tests it."), pytest.raises(SystemExit) as ended:
            interrupts._answer(reading, writing)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\nmtnets: It is trained; --resume only tests it.\n"


@pytest.mark.slow
def test_a_run_that_is_stopped_in_its_test_says_that_it_is_trained(tmp_path: Path) -> None:
    """On the command line the process ends at once, from a thread that no compiled program can hold up."""
    program = (
        "import os, signal, sys, time\n"
        "import mtnets.outer.train as train\n"
        "from mtnets.cli import main\n"
        "from mtnets.cli.interrupts import watch\n"
        "def test(*_, **__):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "train.evaluate_together = test\n"
        "watch()\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["train", "sinusoid", "--out", str(tmp_path / "run"), "--meta-steps", "1", "--meta-batch", "1"]
    arguments += ["--validate-every", "0", "--quiet"]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert f"The training in {tmp_path / 'run'} is done and its learner is kept; --resume only tests" in ended.stderr
    assert mtnets.load(tmp_path / "run")


def test_a_training_without_a_folder_stops_where_it_is() -> None:
    reached = []

    def callback(step: int, _: list[mtnets.Learner]) -> None:
        reached.append(step)
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("after the signal")

    tasks, model = mtnets.tasks.sinusoid(shots=2), mtnets.models.mlp(1, 4, 1)
    # a shell lets what runs in its background ignore Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            mtnets.meta_train(model, mtnets.maml(), tasks, **{**SETTINGS, "validate_every": 4, "callback": callback})
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached == [4]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_status_on_the_command_line(
    tmp_path: Path, number: signal.Signals, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def logged(self: RunFolder, event: object, seconds: float) -> None:
        record(self, event, seconds)
        if isinstance(event, Logged):
            os.kill(os.getpid(), number)

    record = RunFolder.record
    monkeypatch.setattr(RunFolder, "record", logged)
    arguments = [
        "train",
        "sinusoid",
        "--out",
        str(tmp_path / "run"),
        "--meta-steps",
        "4",
        "--log-every",
        "2",
        "--quiet",
    ]
    assert main([*arguments, "--meta-batch", "2", "--validation-tasks", "2", "--test-tasks", "2"]) == status
    assert "mtnets: Stopped at meta-step " in capsys.readouterr().err
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_training_stops_with_a_checkpoint_and_goes_on_to_the_same_bits(
    tmp_path: Path, number: signal.Signals, error: type[BaseException]
) -> None:
    """Also to the same log, whose sums the checkpoint keeps: it lies between two lines."""

    def run(name: str, stop_at: int | None = None, **more: bool) -> mtnets.Learner:
        def callback(step: int, _: list[mtnets.Learner]) -> None:
            if step == stop_at:
                os.kill(os.getpid(), number)

        tasks, model = mtnets.tasks.sinusoid(shots=2), mtnets.models.mlp(1, 4, 1)
        settings = {**SETTINGS, "validate_every": 4, "callback": callback, **more}
        return mtnets.meta_train(model, mtnets.maml(), tasks, out=tmp_path / name, **settings)

    with pytest.raises(error, match=r"Stopped at meta-step 4; .*stopped has a checkpoint of it; go on with resume"):
        run("stopped", stop_at=4)
    stopped, whole = run("stopped", resume=True), run("whole")
    for a, b in zip(leaves_by_path(stopped.meta).values(), leaves_by_path(whole.meta).values(), strict=True):
        assert a.tobytes() == b.tobytes()
    assert log_without_times(tmp_path / "stopped") == log_without_times(tmp_path / "whole")
