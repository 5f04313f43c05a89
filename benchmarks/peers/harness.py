"""Runs the processes of the comparison in turn, and keeps what they answer in one file."""

import dataclasses
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.contender import BASELINE, CONTENDERS, CannotError
from benchmarks.peers.problem import Work
from mtnets.devices import cores
from mtnets.errors import OptionError, RunError
from mtnets.files import finite, read_json, write_json

AGREEMENT = 1e-3  # largest difference of our meta-gradient in single precision from that in double precision
# And of those of others: a unit within single precision of the kink of its ReLU moves a meta-gradient by some 5e-3 (the
# same for several programs), which is of the seed; a gradient of another method is further off.
NEARLY = 1e-2
LIMIT_SIDE = 2048  # of the matrices whose product says what the cores can do
CACHES = ("JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")  # a cold start has none
ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How it is measured.

    Attributes:
      rounds: how often each contender is measured, in turn with the others.
      seconds: of each measurement.
      seed: of weights and tasks.
      contenders: which take part; the library itself always does.
      patience: seconds after which a process is given up.

    Raises:
      OptionError: for numbers that are not above 0, or a contender that there is not.
    """

    rounds: int = 5
    seconds: float = 10.0
    seed: int = 0
    contenders: tuple[str, ...] = tuple(CONTENDERS)
    patience: float = 1800.0

    def __post_init__(self) -> None:
        for name in ("rounds", "seconds", "patience"):
            if not 0 < getattr(self, name) < math.inf:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be a number above 0.")
        for name in self.contenders:
            if name not in CONTENDERS:
                raise OptionError(f"There is no contender {name!r}; choose from {', '.join(CONTENDERS)}.")
        others = tuple(name for name in CONTENDERS if name in self.contenders and name != BASELINE)
        object.__setattr__(self, "contenders", (BASELINE, *others))


def run(works: Sequence[Work], settings: Settings, out: Path, *, again: bool, say: Callable[[str], None]) -> None:
    """Measures cells, and writes the file after each.

    Args:
      works: what is to be done.
      settings: how it is measured.
      out: the file; cells that are in it with the same versions and settings are not measured again.
      again: measure them all the same.
      say: is told of each step.

    Raises:
      RunError: for a file that is no results of this comparison, or where the library itself fails.
    """
    results = read(out) if out.exists() else {"cells": []}
    for work in works:
        place = {"work": dataclasses.asdict(work), "settings": _plain(settings), "versions": _versions(settings)}
        place["machine"] = machine()
        cells = results["cells"]
        if not again and any(all(cell[name] == value for name, value in place.items()) for cell in cells):
            say(f"{work.cell}, {work.method}, {work.order}: measured already")
            continue
        cell = place | {"date": datetime.date.today().isoformat()} | _measured(work, settings, say)
        same = [place["work"], place["machine"]]
        results["cells"] = [old for old in cells if [old["work"], old["machine"]] != same] + [cell]
        write_json(out, finite(results))


def read(path: Path) -> dict[str, Any]:
    """Results as they were written.

    Raises:
      RunError: for a file that has none.
    """
    try:
        results = read_json(path)
        cells = results["cells"]
        if not all({"work", "settings", "versions", "machine", "contenders"} <= cell.keys() for cell in cells):
            raise ValueError("a cell is not whole")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} has no results of this comparison ({error}); name another file.") from error
    return results


def machine() -> dict[str, Any]:
    """What numbers are of."""
    info = Path("/proc/cpuinfo")  # of Linux; what Python says of a processor is nothing there
    lines = info.read_text().splitlines() if info.exists() else [f"model name: {platform.processor()}"]
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": (names or [platform.machine()])[0],
        "cores": cores(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _measured(work: Work, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """First whether contenders do the same, then rounds of those that do."""
    title = f"{work.cell}, {work.method}, {work.order}"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan  # of others, who would disturb
    with tempfile.TemporaryDirectory() as folder:
        problem = str(Path(folder) / "problem.npz")
        ask = _Asking(folder, settings.patience)
        made = ask(do="prepare", path=problem, work=dataclasses.asdict(work), seed=settings.seed)
        if made:
            raise RunError(f"The reference of {title} cannot be computed: {made}.")
        contenders: dict[str, dict[str, Any]] = {}
        for name in settings.contenders:
            contenders[name] = _checked(name, problem, ask)
            say(f"{title}: {name}: {contenders[name].get('why') or 'the same work'}")
            if "why" in contenders[BASELINE]:  # the first of all
                # a unit may lie within single precision of the kink of its ReLU, where the gradient jumps
                raise RunError(
                    f"{title}: {BASELINE} {contenders[BASELINE]['why']}; nothing can be compared with it: try another "
                    "seed."
                )
        rates = []
        for turn in range(settings.rounds):
            for name, entry in contenders.items():
                if "why" in entry:
                    continue
                answer = ask(do="measure", path=problem, contender=name, seconds=settings.seconds, begun=time.time())
                if "failed" in answer:
                    entry["why"] = answer["failed"]
                    del entry["rounds"]
                else:
                    entry["rounds"].append(answer)
                    say(f"{title}: round {turn + 1}: {name}: {answer['meta_steps_per_second']:.4g} meta-steps/s")
            rates.append(ask(do="limit", side=64 if work.tiny else LIMIT_SIDE).get("matrix_rate"))
    return {"load": load, "matrix_rates": rates, "contenders": contenders}


def _checked(name: str, problem: str, ask: "_Asking") -> dict[str, Any]:
    """A contender that does the same work, or why it does not."""
    try:
        CONTENDERS[name].versions()
    except CannotError as error:
        return {"why": str(error)}
    answer = ask(do="check", path=problem, contender=name)
    if "difference" not in answer:
        return {"why": answer.get("cannot") or answer["failed"]}
    if not answer["difference"] < (AGREEMENT if name == BASELINE else NEARLY):
        return {"why": f"does other work: its meta-gradient differs by {answer['difference']:.2g}", **answer}
    return {**answer, "rounds": []}


class _Asking:
    """Starts a process for each question, one after another.

    Args:
      folder: for answers.
      patience: seconds to wait.
    """

    def __init__(self, folder: str, patience: float) -> None:
        self._folder, self._patience = folder, patience

    def __call__(self, **request: Any) -> dict[str, Any]:
        answer = Path(self._folder) / "answer.json"
        answer.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if name not in CACHES}
        if request["do"] == "measure":
            fresh = tempfile.mkdtemp(dir=self._folder)
            environment |= {"TORCHINDUCTOR_CACHE_DIR": fresh, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
        else:
            environment = dict(os.environ)  # what is not measured may use what was compiled before
        environment |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "benchmarks.peers.worker", json.dumps(request), str(answer)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, timeout=self._patience, check=False
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"took more than {self._patience:g} seconds"}
        if not answer.exists():
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            return {"failed": f"ended with status {done.returncode}: {lines[-1] if lines else 'without a word'}"}
        return read_json(answer)


def _versions(settings: Settings) -> dict[str, str]:
    """Of all packages that take part."""
    versions: dict[str, str] = {}
    for name in settings.contenders:
        try:
            versions |= CONTENDERS[name].versions()
        except CannotError:
            continue
    return dict(sorted(versions.items()))


def _plain(settings: Settings) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(settings)))
