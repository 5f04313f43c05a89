"""Several processes, on one host or on many, that train together: how they meet, what they agree on, how they part.

All run the same program, and JAX shares what it compiles over the devices of all of them (`devices.task_mesh`). What
else decides where a program goes, such as a clock, a signal or a file, is told to all by the functions below. Every
process calls these in the same order. Where there is one process alone, they give back what they are given.
"""

import atexit
import contextlib
import json
import os
import re
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec

from mtnets.arguments import checked_arguments
from mtnets.arrays import from_numpy, to_numpy
from mtnets.compat import jax_has_started, leave_signals_alone
from mtnets.errors import DataError, MtnetsError, OptionError, RunError, first_line, listed
from mtnets.trees import leaves_by_path

T = TypeVar("T")
AUTO = "auto"  # JAX finds the other processes by what the environment says
HEARTBEAT_SECONDS = 60  # without a word of a process, after which the others take it for lost
GRACE_SECONDS = 5.0  # that a process which failed waits for the others: they may be about to say the same
ADDRESS = re.compile(r"[^\s/]+:\d{1,5}")
LOST = re.compile(r"gloo|nccl|UNAVAILABLE|DEADLINE_EXCEEDED|coordination service", re.IGNORECASE)  # in JAX's errors
ERRORS = {kind.__name__: kind for kind in (DataError, OptionError, RunError)}


@checked_arguments
def join_processes(coordinator: str = AUTO, processes: int | None = None, process: int | None = None) -> None:
    """Makes this process one of several that train together; to be called before anything is computed.

    A thin layer over `jax.distributed.initialize`, which a program may call itself instead. Every process then makes
    the same calls, and `meta_train` shares the tasks of each meta-step among the devices of all.

    Args:
      coordinator: `"HOST:PORT"` of process 0, with a port that is free there; or `"auto"`, where JAX knows how the
        processes were started: by Slurm, Open MPI, Kubernetes (with the package `kubernetes`), or on a TPU pod.
      processes: how many there are.
      process: which of them this is, from 0 on.

    Raises:
      OptionError: for one of the three without the others, or values that are not possible.
      RunError: if JAX has started in this process, or the port is taken. A process that has not met the others after
        five minutes is ended by JAX itself, with status 134.
    """
    _check_choice(coordinator, processes, process)
    if jax.distributed.is_initialized() or jax_has_started():
        raise RunError(
            "JAX has started in this process, which cannot join others any more; call join_processes once, before "
            "anything is computed."
        )
    leave_signals_alone()
    where = (None, None, None) if coordinator == AUTO else (coordinator, processes, process)
    # no environment is asked for what was said, and none decides how many devices a process has
    environment = None if coordinator == AUTO else "deactivate"
    try:
        jax.distributed.initialize(
            *where, cluster_detection_method=environment, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
        )
    except ValueError as error:
        raise OptionError(
            f"coordinator is {coordinator!r}, and JAX finds no Slurm, Open MPI, Kubernetes or TPU pod here "
            f"({first_line(error)}); name coordinator, processes and process."
        ) from error
    except RuntimeError as error:
        raise RunError(
            f"The processes cannot meet at {coordinator} ({first_line(error)}); name an address of process 0 that the "
            "others can reach, with a port that is free."
        ) from error
    atexit.register(_leave_after_an_error)


def _check_choice(coordinator: str, processes: int | None, process: int | None) -> None:
    if coordinator == AUTO:
        if processes is not None or process is not None:
            raise OptionError(
                f"coordinator is {AUTO!r}, which finds the number of processes and that of this one; leave processes "
                "and process out, or name coordinator='HOST:PORT'."
            )
        return
    if ADDRESS.fullmatch(coordinator) is None or int(coordinator.rpartition(":")[2]) not in range(1, 2**16):
        raise OptionError(
            f"coordinator is {coordinator!r}; it must be 'HOST:PORT' of process 0, with a port from 1 to 65535, or "
            f"{AUTO!r}."
        )
    if processes is None or process is None:
        missing = " and ".join(name for name, n in (("processes", processes), ("process", process)) if n is None)
        raise OptionError(f"coordinator is {coordinator!r} without {missing}; name all three, or coordinator={AUTO!r}.")
    if processes < 1:
        raise OptionError(f"processes is {processes}; it must be at least 1.")
    if not 0 <= process < processes:
        raise OptionError(f"process is {process}; of {processes} processes it must be from 0 to {processes - 1}.")


def count() -> int:
    """How many processes train together."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this is process 0, which keeps the files and speaks."""
    return jax.process_index() == 0


def gathered(value: Any) -> np.ndarray:
    """The values that all processes give, `[processes, ...]`: a number or an array, of one shape and type in all.

    Raises:
      RunError: if a process is lost.
    """
    with naming_the_lost():
        return np.asarray(multihost_utils.process_allgather(np.asarray(value)))  # stacked, also with one process


def agreed(value: float) -> float:
    """The number of process 0, in all, to single precision."""
    return value if count() == 1 else float(gathered(np.float32(value))[0])


def largest(value: int) -> int:
    """The largest of the whole numbers that processes give, below 2³¹."""
    return value if count() == 1 else int(gathered(np.int32(value)).max())


def of_first(tree: T) -> T:
    """The arrays of process 0, in all: to the bit, and on devices of each.

    Raises:
      RunError: if the trees are not of one size, or a process is lost.
    """
    if count() == 1:
        return tree
    arrays = [to_numpy(leaf) for leaf in jax.tree.leaves(tree)]
    data = _bytes_of_first(b"".join(array.tobytes() for array in arrays))
    if largest(len(data) != sum(array.nbytes for array in arrays)):
        raise RunError("The processes train different networks, or with different optimisers; start all with the same.")
    starts = np.cumsum([0, *(array.nbytes for array in arrays)])
    parts = [
        np.frombuffer(data, array.dtype, array.size, start).reshape(array.shape)
        for array, start in zip(arrays, starts[:-1], strict=True)
    ]
    leaves = [from_numpy(part, leaf) for part, leaf in zip(parts, jax.tree.leaves(tree), strict=True)]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def _bytes_of_first(data: bytes) -> bytes:
    """The bytes of process 0, in all."""
    large, small = gathered(np.array(divmod(len(data), 2**30), np.int32))[0].tolist()  # JAX counts in 32 bits
    size = large * 2**30 + small
    own = np.frombuffer(data, np.uint8) if is_first() else np.zeros(size, np.uint8)
    with naming_the_lost():
        return np.asarray(multihost_utils.broadcast_one_to_all(own)).tobytes() if size else b""


def in_first(act: Callable[[], T], elsewhere: T) -> T:
    """What an action gives that process 0 carries out alone, such as writing a file; the others wait for it.

    Args:
      act: the action.
      elsewhere: what the others have in the place of its result.

    Raises:
      MtnetsError: in all processes, if the action raises it.
      RunError: in the others, if the action raises any other error.
    """
    if count() == 1:
        return act()
    result, failure = elsewhere, None
    if is_first():
        try:
            result = act()
        except Exception as error:
            failure = error
    said = _bytes_of_first(b"" if failure is None else json.dumps([type(failure).__name__, str(failure)]).encode())
    if failure is not None:
        raise failure
    if not said:
        return result
    kind, message = json.loads(said)
    if kind in ERRORS:
        raise ERRORS[kind](message)
    raise RunError(f"Process 0 failed ({kind}: {message}); see what it says.")


def check_same(said: Mapping[str, Any]) -> None:
    """Compares what decides a training in all processes.

    Args:
      said: values of JSON by name.

    Raises:
      OptionError: in all processes, if there are any differences; those that differ from process 0 name them.
    """
    _check_even()
    text = json.dumps(said, default=str)
    own, first = (leaves_by_path(json.loads(each)) for each in (text, _bytes_of_first(text.encode())))
    differences = [
        f"{name} = {own.get(name)} (process 0: {first.get(name)})"
        for name in sorted(own.keys() | first.keys())
        if own.get(name) != first.get(name)
    ]
    others = np.flatnonzero(gathered(np.int32(len(differences))))
    if differences:
        raise OptionError(
            f"Process {jax.process_index()} has {listed(differences, most=4)}; start all processes with the same "
            "options, data and versions."
        )
    if len(others):
        raise OptionError(
            f"Process {', '.join(map(str, others))} has not the same options, data or versions as process "
            f"{jax.process_index()}, and says what differs; start all with the same."
        )


def _check_even() -> None:
    """Raises OptionError where processes differ in their numbers of devices."""
    indices = [device.process_index for device in jax.devices()]
    numbers = [indices.count(process) for process in range(count())]
    if len(set(numbers)) > 1:
        raise OptionError(
            f"The processes have {listed([str(number) for number in numbers])} devices; give each the same number "
            f"(devices={min(numbers)} on CPUs)."
        )


def check_equal(tree: Any) -> None:
    """Compares arrays that every process has computed from the same ones.

    Raises:
      RunError: in all processes, if they are not the same to the bit.
    """
    if count() == 1:
        return
    digest = 0
    for leaf in jax.tree.leaves(tree):
        digest = zlib.crc32(to_numpy(leaf).tobytes(), digest)
    if len(set(gathered(np.uint32(digest)).tolist())) > 1:
        raise RunError(
            "The processes no longer train the same learner, since their processors round differently; go on with "
            "resume=True on hosts that are alike, on GPUs with deterministic=True."
        )


def of_all(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays that every process has the same of, for a program on a mesh of the devices of all."""
    if mesh is None or not mesh.is_multi_process:
        return tree
    return multihost_utils.host_local_array_to_global_array(tree, mesh, PartitionSpec())


def of_this(tree: Any, mesh: Mesh | None) -> Any:
    """What such a program gives, on the devices of this process."""
    if mesh is None or not mesh.is_multi_process:
        return tree
    return multihost_utils.global_array_to_host_local_array(tree, mesh, PartitionSpec())


@contextlib.contextmanager
def naming_the_lost() -> Iterator[None]:
    """Errors of JAX within the block, where they say that another process is not there, become a RunError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # JAX raises either
        if isinstance(error, MtnetsError) or count() == 1 or LOST.search(str(error)) is None:
            raise
        raise RunError(
            f"Another process has ended or cannot be reached ({first_line(error)}); see what it says, and start all "
            "again with resume=True."
        ) from error


def leave(status: int) -> None:
    """Ends a process that failed, if it has joined others. JAX would wait until they end too, which they would not."""
    if not jax.distributed.is_initialized():
        return
    waiting = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    waiting.start()
    waiting.join(GRACE_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _leave_after_an_error() -> None:
    if getattr(sys, "last_type", None) is not None:  # the interpreter has printed a traceback
        leave(1)
