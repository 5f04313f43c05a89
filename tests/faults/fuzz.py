"""Changes valid files at random and reads them, guided by the code that is reached where Atheris is installed.

    python -m tests.faults.fuzz READER … --runs 100000 --report results/faults/fuzz.json

READER is a name in `tests.faults.readers.READERS`, or nothing for all. Each has a process of its own. The report tells
for each how many inputs were read in how many seconds, how many kinds of faults were found, and the most memory that
reading took beyond what the process had before. Inputs that found something are kept in --faults.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from mtnets.files import write_json

SECONDS_EACH = 20  # of computing; an input that takes longer is a fault
EVERY = 500  # inputs between two reports


def memory() -> int:
    """Most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Campaign:
    """Reads inputs and counts what comes of them.

    Args:
      name: of the reader.
      options: of the command.
      report: file of JSON for the counts.
      guided: whether inputs are chosen by the code that they reach.
    """

    def __init__(self, name: str, options: argparse.Namespace, report: Path, guided: bool) -> None:
        from tests.faults.readers import READERS, folder

        self.name, self.report, self.guided = name, report, guided
        self.runs, self.seconds, self.faults = options.runs, options.seconds, options.faults
        self.reader, self.folder = READERS[self.name], folder()
        self.random = random.Random(options.seed)
        for valid in self.reader.seeds():
            self.reader.read(valid)
        self.inputs, self.slowest = 0, 0.0
        self.found: dict[str, str] = {}
        self.before, self.start = memory(), time.monotonic()

    def __call__(self, data: bytes) -> None:
        """Reads one input."""
        start = time.process_time()  # a busy machine is not the reader's fault
        try:
            self.reader.read(data)
        except Exception as error:
            self._keep(data, error)
        taken = time.process_time() - start
        if taken > SECONDS_EACH:
            self._keep(data, TimeoutError(f"{taken:.0f} seconds"))
        self.slowest = max(self.slowest, taken)
        self.inputs += 1
        if self.inputs % EVERY == 0 or self.done:
            write_json(self.report, self.to_json())
        if self.done:
            shutil.rmtree(self.folder, ignore_errors=True)
            os._exit(0)  # a fuzzer in C does not return

    @property
    def done(self) -> bool:
        """Whether these were all inputs, or the time is over."""
        return self.inputs >= self.runs or time.monotonic() - self.start > self.seconds

    def change(self, data: bytes, most: int = 1 << 22, seed: int | None = None) -> bytes:
        """Another input."""
        if seed is not None:
            self.random.seed(seed)
        if self.random.random() < 0.2:
            data = self.random.choice(list(self.reader.seeds()))
        return self.reader.change(data, self.random)[:most]

    def to_json(self) -> dict[str, Any]:
        """The counts."""
        return {
            "reader": self.name,
            "inputs": self.inputs,
            "seconds": round(time.monotonic() - self.start, 1),
            "errors": len(self.found),
            "kinds": sorted(self.found),
            "most_memory_mib": round((memory() - self.before) / 2**20, 1),
            "slowest_seconds": round(self.slowest, 3),
            "guided": self.guided,
            "machine": f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores",
        }

    def _keep(self, data: bytes, error: Exception) -> None:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "mtnets" in f.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "elsewhere"
        kind = f"{type(error).__name__} at {place}"
        if kind not in self.found:
            self.found[kind] = str(error)
            self.faults.mkdir(parents=True, exist_ok=True)
            name = f"{self.name.replace(' ', '-')}-{hashlib.sha256(data).hexdigest()[:12]}"
            (self.faults / name).write_bytes(data)
            print(f"{self.name}: {kind}: {error!s:.200} ({name})", flush=True)


def run(campaign: Campaign, atheris: Any, seed: int) -> None:
    """Reads the inputs of one reader in this process, which ends then."""
    seeds = list(campaign.reader.seeds())
    if atheris is None:
        while True:
            campaign(campaign.change(campaign.random.choice(seeds)))
    corpus = Path(tempfile.mkdtemp())
    for number, valid in enumerate(seeds):
        (corpus / str(number)).write_bytes(valid)
    flags = [f"-seed={seed + 1}", "-rss_limit_mb=6000", "-timeout=120", "-max_len=1000000", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], campaign, custom_mutator=campaign.change)
    atheris.Fuzz()


def main() -> None:
    """Reads the arguments, and starts a process for each reader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--runs", type=int, default=1000, help="inputs for each reader")
    parser.add_argument("--seconds", type=float, default=86_400.0, help="most for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, default=Path("fuzz.json"))
    parser.add_argument(
        "--faults", type=Path, default=Path("fuzz-faults"), help="folder for inputs that find something"
    )
    parser.add_argument("--blind", action="store_true", help="not guided, even where Atheris is installed")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")  # JAX has not started yet
    atheris: Any = None
    with contextlib.suppress(ImportError):
        if not options.blind:
            import atheris
    with contextlib.nullcontext() if atheris is None else atheris.instrument_imports(include=["mtnets"]):
        from tests.faults.readers import READERS

    results: dict[str, Any] = {}
    if options.report.exists():
        results = json.loads(options.report.read_text())["readers"]
    for name in options.readers or READERS:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            child = os.fork()
            if child == 0:
                run(Campaign(name, options, report, guided=atheris is not None), atheris, options.seed)
            _, status = os.waitpid(child, 0)
            result = json.loads(report.read_text()) if report.exists() else {"reader": name, "inputs": 0, "errors": 0}
            result.pop("checksum", None)
            if status:
                result |= {"errors": result["errors"] + 1, "crash": os.waitstatus_to_exitcode(status)}
            results[name] = result
        print(json.dumps(result), flush=True)
        write_json(options.report, {"command": "python -m tests.faults.fuzz", "readers": results})
    sys.exit(any(result["errors"] for result in results.values()))


if __name__ == "__main__":
    main()
