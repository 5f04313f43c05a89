"""The files of `examples/hosts`: as far as can be told without the clusters that they are for."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import mtnets

HOSTS = Path(__file__).parents[1] / "examples" / "hosts"
CLI, CHOICES = (importlib.import_module(f"mtnets.cli.{name}") for name in ("entry", "choices"))


def command(name: str) -> list[str]:
    """The arguments of `mtnets` in a file, with a value in the place of each variable."""
    text = (HOSTS / name).read_text("utf-8")
    if name.endswith(".yaml"):
        content = yaml.safe_load(text)
        text = content["run"] if "run" in content else of_pod(content)["containers"][0]["command"][2]
    words = shlex.split(text.replace("\\\n", " ").rpartition("mtnets train")[2])
    return ["train", *(re.sub(r"\$\w+", "3", word.replace("$first", "host")) for word in words)]


def of_pod(jobset: dict[str, Any]) -> dict[str, Any]:
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", ["slurm.sh", "kubernetes.yaml", "skypilot.yaml"])
def test_the_command_has_these_options(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Parsed(Exception):
        pass

    def parsed(*_: Any) -> None:
        raise Parsed

    monkeypatch.setattr(CHOICES, "use_cores", parsed)  # the first call after options are read
    monkeypatch.setattr(CLI, "check_early", lambda *_: None)  # the data are on the cluster
    args = command(name)
    assert {"--coordinator", "--resume", "--out"} <= set(args)
    with pytest.raises(Parsed):
        CLI._parse(args)()


def test_the_shell_can_read_the_script() -> None:
    subprocess.run(["bash", "-n", HOSTS / "slurm.sh"], check=True)


def test_the_pods_are_as_many_as_the_processes_and_find_the_first() -> None:
    jobset = yaml.safe_load((HOSTS / "kubernetes.yaml").read_text("utf-8"))
    job, args = jobset["spec"]["replicatedJobs"][0], command("kubernetes.yaml")
    count = int(args[args.index("--processes") + 1])
    assert [job["template"]["spec"][name] for name in ("completions", "parallelism")] == [count, count]
    host, port = args[args.index("--coordinator") + 1].split(":")
    name = jobset["metadata"]["name"]
    assert host == f"{name}-{job['name']}-0-0.{name}"
    assert of_pod(jobset)["containers"][0]["ports"][0]["containerPort"] == int(port)


@pytest.mark.slow
def test_submitit_starts_processes_that_train_together(tmp_path: Path) -> None:
    """On this machine, as it does where there is no Slurm; and again, which finds the training done."""
    pytest.importorskip("submitit")
    out = tmp_path / "run"
    arguments = ["--tasks", "2", "--meta-steps", "20", "--out", out, "--logs", tmp_path / "logs" / "%j"]
    for _ in range(2):
        line = [sys.executable, HOSTS / "slurm_submitit.py", *arguments]
        printed = subprocess.run(line, check=True, capture_output=True, text=True, timeout=600).stdout.splitlines()
        assert re.fullmatch(r"process 0: validation [\d.]+", printed[1])
        assert printed[2] == printed[1].replace("process 0", "process 1")
    assert mtnets.load(out).record["meta_step"] == 20
