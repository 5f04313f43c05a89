"""One process of the comparison: it makes a problem, checks a contender, or measures it.

python -m benchmarks.peers.worker '{"do": ..., ...}' ANSWER.json
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.contender import CONTENDERS, CannotError
from benchmarks.peers.problem import Work, difference, load, made, save
from mtnets.errors import first_line
from mtnets.files import write_json

CALIBRATION_STEPS = 3  # whose median says how long a meta-step takes
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of what getrusage calls the largest resident set


def prepare(path: str, work: dict[str, Any], seed: int) -> dict[str, Any]:
    """Writes the problem of a seed with the noise of the masks that the library draws, and with the meta-gradient that
    it computes in double precision."""
    import dataclasses

    import jax

    from benchmarks.peers.contenders.ours import Ours

    jax.config.update("jax_enable_x64", True)
    problem = made(Work(**work), seed)
    ours = Ours(problem, "float64")
    noise = ours.noise() if problem.work.method == "mt-net" else {}
    save(dataclasses.replace(problem, noise=noise, reference=ours.meta_gradient()), Path(path))
    return {}


def check(path: str, contender: str) -> dict[str, Any]:
    """How far the meta-gradient of a contender is from the reference."""
    problem = load(Path(path))
    return {"difference": difference(CONTENDERS[contender].build(problem).meta_gradient(), problem.reference)}


def measure(path: str, contender: str, seconds: float, begun: float) -> dict[str, Any]:
    """Speed, memory and the time to the first meta-step.

    Args:
      path: of the problem.
      contender: its name.
      seconds: how long to measure.
      begun: when the process was started, by `time.time()`.
    """
    program = CONTENDERS[contender].build(load(Path(path)))
    first = _seconds(program, 1)
    cold = time.time() - begun
    step = sorted(_seconds(program, 1) for _ in range(CALIBRATION_STEPS))[CALIBRATION_STEPS // 2]
    count = max(1, round(seconds / step))
    return {
        "meta_steps_per_second": count / _seconds(program, count),
        "compile_seconds": max(0.0, first - step),
        "cold_seconds": cold,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT,
    }


def limit(side: int) -> dict[str, Any]:
    """The matrix rate of the cores, operations per second."""
    from benchmarks.limit import matrix_rate

    return {"matrix_rate": matrix_rate(side)}


def _seconds(program: Any, count: int) -> float:
    start = time.perf_counter()
    program.meta_steps(count)
    return time.perf_counter() - start


def main(request: str, answer: str) -> None:
    """Does what is asked, and writes the answer, or why there is none."""
    arguments = json.loads(request)
    function = {"prepare": prepare, "check": check, "measure": measure, "limit": limit}[arguments.pop("do")]
    try:
        result = function(**arguments)
    except CannotError as error:
        result = {"cannot": str(error)}
    except Exception as error:  # a contender may raise anything, and the others go on
        result = {"failed": f"{type(error).__name__}: {first_line(error)}"}
    write_json(answer, result)


if __name__ == "__main__":
    main(*sys.argv[1:])
