"""A server under load on this machine: latencies, throughput, and whether every answer is its own task's.

    python -m benchmarks.serving --clients 32 --requests 2000

Each client makes a task of its own, asks it three times, forgets it, and makes the next. After the load, every answer
is compared with `learner.adapt(x, y)(q)` alone. The same is done with a server that makes no call of several tasks
(`--together 1`). Clients and server share the machine. Needs httpx.
"""

import argparse
import asyncio
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jax
import numpy as np
from numpy.typing import NDArray

import mtnets
from mtnets.files import write_json

ASKED = 3  # predictions of each task
RTOL = 1e-4  # of the largest number of an answer: float32, summed in another order
READY_SECONDS = 600


@dataclasses.dataclass
class Answered:
    """A task and what the server said.

    Attributes:
      x, y: its examples.
      q: the inputs that were predicted, `[predictions]`.
      answers: to these.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    q: list[NDArray[Any]]
    answers: list[NDArray[Any]]


def drawn(learner: str, seed: int) -> tuple[NDArray[Any], NDArray[Any], list[NDArray[Any]]]:
    """A task with known answers: 3 to 12 points of a sine; or 2 to 5 classes of one drawing each, uint8."""
    rng = np.random.default_rng(seed)
    if learner.startswith("sine"):
        x, height, phase = rng.uniform(-5, 5, (rng.integers(3, 13), 1)), rng.uniform(0.1, 5), rng.uniform(0, np.pi)
        return x, height * np.sin(x - phase)[:, 0], [rng.uniform(-5, 5, (5, 1)) for _ in range(ASKED)]
    ways = int(rng.integers(2, 6))
    pixels = rng.integers(0, 256, (ways + ASKED, 28, 28, 1), np.uint8)
    return pixels[:ways], np.arange(ways), [pixels[ways + i : ways + i + 1] for i in range(ASKED)]


@contextmanager
def served(learner: str, together: int) -> Iterator[str]:
    """The address of a server that is ready."""
    command = [sys.executable, "-m", "mtnets", "serve", learner, "--port", "0", "--together", str(together)]
    command += ["--warm-up", *(["4", "8", "16"] if learner.startswith("sine") else ["2", "4", "8"])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(line for line in process.stderr if line.startswith("http")).strip()
            until = time.monotonic() + READY_SECONDS
            while httpx.get(f"{address}readyz").status_code != 200:
                if time.monotonic() > until:
                    raise TimeoutError("The server is not ready.")
                time.sleep(0.5)
            yield address
        finally:
            process.terminate()
            process.wait(60)
            if process.returncode:
                raise RuntimeError(f"The server ended with status {process.returncode}.")


async def client(
    address: str, learner: str, seeds: list[int], seconds: dict[str, list[float]], done: list[Answered], lost: list[str]
) -> None:
    """Makes tasks, one after another."""
    async with httpx.AsyncClient(base_url=address, timeout=120) as http:

        async def post(kind: str, path: str, body: Any) -> Any:
            start = time.perf_counter()
            while True:
                answer = await http.post(path, json=body)
                if answer.status_code != 503:
                    break
                await asyncio.sleep(float(answer.headers["retry-after"]))
            seconds[kind].append(time.perf_counter() - start)
            answer.raise_for_status()
            return answer.json()

        for seed in seeds:
            x, y, queries = drawn(learner, seed)
            try:
                id = (await post("learn", "v1/tasks", {"x": x.tolist(), "y": y.tolist()}))["id"]
                answers = []
                for q in queries:
                    told = await post("predict", f"v1/tasks/{id}/predict", {"x": q.tolist()})
                    answers.append(np.array(told["numbers"] or told["probabilities"]))
                done.append(Answered(x, y, queries, answers))
                await http.delete(f"v1/tasks/{id}")
            except httpx.HTTPError as error:
                lost.append(f"{type(error).__name__}: {error}")


async def load(address: str, learner: str, clients: int, tasks: int, first: int) -> dict[str, Any]:
    """The report on so many tasks."""
    seconds: dict[str, list[float]] = {"learn": [], "predict": []}
    done: list[Answered] = []
    lost: list[str] = []
    start, busy = time.perf_counter(), os.getloadavg()[0]
    seeds = [list(range(first + i, first + tasks, clients)) for i in range(clients)]
    await asyncio.gather(*(client(address, learner, each, seconds, done, lost) for each in seeds))
    took = time.perf_counter() - start
    metrics = httpx.get(f"{address}metrics").text
    count = sum(map(len, seconds.values()))
    return {
        "requests": count,
        "lost": len(lost),
        "seconds": took,
        "requests_per_second": count / took,
        "milliseconds": {
            kind: {f"p{p}": 1000 * float(np.percentile(values, p)) for p in (50, 90, 99)}
            for kind, values in seconds.items()
        },
        "tasks_per_call": {kind: size_of_calls(metrics, kind) for kind in ("adapt", "predict")},
        "load_average_before": busy,
        "load_average_after": os.getloadavg()[0],
        **compared(learner, done),
    }


def size_of_calls(metrics: str, kind: str) -> float:
    """Mean number of requests of one compiled call."""
    value = {
        part: float(
            next(
                line for line in metrics.splitlines() if line.startswith(f'mtnets_call_size_{part}{{kind="{kind}"')
            ).split()[-1]
        )
        for part in ("sum", "count")
    }
    return value["sum"] / value["count"]


def compared(name: str, done: list[Answered]) -> dict[str, Any]:
    """How far answers are from those of each task alone."""
    learner = mtnets.load(name)
    wrong, largest = 0, 0.0
    for task in done:
        model = learner.adapt(task.x, task.y)
        for q, answer in zip(task.q, task.answers, strict=True):
            alone = np.asarray(model.probabilities(q)[:, : answer.shape[1]] if learner.loss.labels else model(q))
            apart = float(np.abs(answer - alone).max() / np.abs(alone).max())
            largest, wrong = max(largest, apart), wrong + (not apart < RTOL)
    return {"compared": sum(len(task.answers) for task in done), "wrong": wrong, "largest_difference": largest}


def main() -> None:
    """Writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", nargs="+", default=["sine-10shot", "omniglot-any-way-1shot"])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--together", type=int, nargs="+", default=[16, 1])
    parser.add_argument("--out", type=Path, default=Path("results/serving.json"))
    options = parser.parse_args()
    tasks = options.requests // (1 + ASKED)
    rows = []
    for learner in options.learners:
        for together in options.together:
            with served(learner, together) as address:
                report = asyncio.run(load(address, learner, options.clients, tasks, 0))
            rows.append({"learner": learner, "together": together, "clients": options.clients, **report})
            print(rows[-1], flush=True)
    machine = {"cores": os.cpu_count(), "jax": jax.__version__, "python": sys.version.split()[0]}
    command = f"python -m benchmarks.serving --learners {' '.join(options.learners)} --clients {options.clients}"
    command += f" --requests {options.requests} --together {' '.join(map(str, options.together))}"
    write_json(
        options.out,
        {"command": command, "machine": machine, "rows": rows},
    )


if __name__ == "__main__":
    main()
