"""Experiments in parts: one JSON each, written once, by whichever process comes first."""

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

import mtnets
from mtnets import METHODS, OptionError, RunError
from mtnets.files import finite, read_json, write_json

Part = Mapping[str, Any]
PATHS = ("out", "root", "runs", "cache")  # fields of experiments that no result depends on


def make_parts(
    experiment: str,
    folder: str | Path,
    names: Iterable[str],
    make: Callable[[str], Part],
    *,
    settings: Mapping[str, Any] | None = None,
    enough: Callable[[str, Part], bool] = lambda name, part: True,
) -> None:
    """Writes `FOLDER/NAME.json` for every name that has no such file yet.

    An experiment that was stopped goes on with the part that it was in. Several processes may share the work: each
    takes a part that no other holds.

    Args:
      experiment: its name on the command line.
      folder: where parts are kept.
      names: of the parts.
      make: returns the content of a part, given its name. Numbers that are not finite become None.
      settings: what every part depends on besides its name. They are written into each part.
      enough: whether an existing part, given its name and content, need not be made again.

    Raises:
      RunError: if an existing part was made with other settings. Nothing is made before.
    """
    folder, names = Path(folder), list(names)
    kept: dict[str, Any] = json.loads(json.dumps(settings or {}))  # with lists for tuples, as in a part that is read
    for name in names:
        _check_settings(folder / f"{name}.json", kept)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}.json"
        with _claim(folder / f".{name}.lock") as holder:
            if holder is not None:
                _say(f"{name}: process {holder} is working on it")
                continue
            if path.exists() and enough(name, read_part(path)):
                _say(f"{name}: exists already, {path}")
                continue
            _say(f"{name} …")
            begun = time.perf_counter()
            part = {"command": command(experiment), **make(name), "settings": kept}
            seconds = time.perf_counter() - begun
            write_json(path, finite({**part, "seconds": seconds, "machine": machine()}))
            _say(f"{name}: {seconds:.0f} s, written to {path}")


def parts_done(
    folder: Path, names: Iterable[str], enough: Callable[[str, Part], bool] = lambda name, part: True
) -> dict[str, bool]:
    """Whether each part, by name, need not be made any more; arguments as for `make_parts`."""
    paths = {name: folder / f"{name}.json" for name in names}
    return {name: path.exists() and enough(name, read_part(path)) for name, path in paths.items()}


def command(experiment: str) -> str:
    """What to type to run an experiment."""
    return f"python -m experiments {experiment}"


def read_part(path: Path) -> dict[str, Any]:
    """Reads a part. Raises RunError if the file is damaged or is not a part."""
    try:
        part = read_json(path)
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); remove it and run the experiment again.") from error
    if not isinstance(part, dict) or "command" not in part:
        raise RunError(f"{path} is not the result of an experiment; remove it.")
    return part


def read_parts(folder: Path) -> dict[str, dict[str, Any]]:
    """All parts in a folder by name; empty if there is no such folder."""
    return {path.stem: read_part(path) for path in sorted(folder.glob("*.json"))}


def settings_of(experiment: Any, *choices: str) -> dict[str, Any]:
    """The fields of an experiment that every part depends on.

    Args:
      experiment: a dataclass.
      choices: fields that say which parts are made. These and paths are left out.
    """
    return {name: value for name, value in dataclasses.asdict(experiment).items() if name not in (*PATHS, *choices)}


def check(experiment: Any, least: Mapping[str, int], among: Mapping[str, Collection[str]] | None = None) -> None:
    """Checks fields of an experiment before anything runs.

    Args:
      experiment: a dataclass.
      least: the least value of fields that are numbers.
      among: the possible values of fields that are tuples. `methods` defaults to the names of all methods.

    Raises:
      OptionError: naming the field, its value and what is possible.
    """
    for name, bound in least.items():
        if getattr(experiment, name) < bound:
            raise OptionError(f"{name} is {getattr(experiment, name)}; it must be at least {bound}.")
    if hasattr(experiment, "methods"):
        among = {"methods": METHODS, **(among or {})}
    for name, possible in (among or {}).items():
        if not getattr(experiment, name):
            raise OptionError(f"{name} is empty; name some of {', '.join(possible)}.")
        for value in getattr(experiment, name):
            if value not in possible:
                raise OptionError(f"{name} holds {value!r}; choose some of {', '.join(possible)}.")


def machine() -> dict[str, Any]:
    """What numbers and speed depend on. (Version 0.1 did not write its own.)"""
    return {
        "mtnets": mtnets.__version__,
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "python": sys.version.split()[0],
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    if not path.exists():
        return
    old = read_part(path).get("settings", {})
    differ = [name for name, value in settings.items() if old.get(name, value) != value]
    if differ:
        said = "; ".join(f"{name} = {old[name]}, not {settings[name]}" for name in differ)
        raise RunError(f"{path} was made with {said}. Name another folder with --out, or remove it to make it anew.")


@contextlib.contextmanager
def _claim(path: Path) -> Iterator[str | None]:
    """Yields None if the claim is ours, else the id of the process that holds it.

    The system frees the claims of a process that has ended. Where it has no such locks (Windows), every claim succeeds.
    """
    try:
        import fcntl
    except ImportError:
        yield None
        return
    while True:
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                yield file.read().strip() or "unknown"
                return
            if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                continue  # its holder removed the file after it was opened here
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield None
            finally:
                path.unlink(missing_ok=True)
            return
