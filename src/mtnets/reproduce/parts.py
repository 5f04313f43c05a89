"""Experiments in parts: one JSON each, made once, by whichever process comes first."""

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

from mtnets.errors import OptionError, RunError
from mtnets.files import finite, write_json
from mtnets.inner.methods import METHODS

PLACES = ("out", "root")  # fields of experiments that no result depends on


def make_parts(
    folder: str | Path,
    names: Iterable[str],
    make: Callable[[str], Mapping[str, Any]],
    *,
    settings: Mapping[str, Any] | None = None,
    enough: Callable[[str, Mapping[str, Any]], bool] = lambda name, part: True,
) -> None:
    """Makes `FOLDER/NAME.json` for every name for which it is not there yet.

    A run that was stopped goes on with the part that it was in. Several processes may share the work: each takes a part
    that no other holds.

    Args:
      folder: where parts are kept.
      names: of the parts.
      make: what a part holds, from its name; numbers that are not finite become None.
      settings: what every part depends on besides its name; it is written into each.
      enough: whether a part that is there will do, from its name and content; it is made again otherwise.

    Raises:
      RunError: if a part is there that was made with other settings, before anything is made.
    """
    folder, names = Path(folder), list(names)
    kept: dict[str, Any] = json.loads(json.dumps(settings or {}))  # as it will be read again: lists for tuples
    for name in names:
        _check_settings(folder / f"{name}.json", kept)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}.json"
        with _claim(folder / f".{name}.lock") as holder:
            if holder is not None:
                print(f"{name}: in work by process {holder}", file=sys.stderr, flush=True)
                continue
            if path.exists() and enough(name, read_part(path)):
                print(f"{name}: there already, in {path}", file=sys.stderr, flush=True)
                continue
            print(f"{name} …", file=sys.stderr, flush=True)
            begun = time.perf_counter()
            part = dict(make(name))
            seconds = time.perf_counter() - begun
            write_json(path, finite({**part, "settings": kept, "seconds": seconds, "machine": machine()}))
            print(f"{name}: {seconds:.0f} s, written to {path}", file=sys.stderr, flush=True)


def read_part(path: Path) -> dict[str, Any]:
    """What a part holds. Raises RunError for a file that is none."""
    try:
        part = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); remove it and run the experiment again.") from error
    if not isinstance(part, dict) or "command" not in part:
        raise RunError(f"{path} is not a result of mtnets reproduce; remove it.")
    return part


def settings_of(experiment: Any, *choices: str) -> dict[str, Any]:
    """The fields of an experiment that each of its parts depends on: all but places, and those that choose parts."""
    return {name: value for name, value in dataclasses.asdict(experiment).items() if name not in (*PLACES, *choices)}


def check(experiment: Any, least: Mapping[str, int], among: Mapping[str, Collection[str]]) -> None:
    """Checks fields of an experiment before anything runs.

    Args:
      experiment: a dataclass.
      least: the smallest value of fields that are numbers.
      among: what fields that are lists may hold; `methods`, where there is one, holds names of methods unless given.

    Raises:
      OptionError: naming the field, its value and what is possible.
    """
    for name, bound in least.items():
        if getattr(experiment, name) < bound:
            raise OptionError(f"{name} is {getattr(experiment, name)}; it must be at least {bound}.")
    if hasattr(experiment, "methods"):
        among = {"methods": METHODS, **among}
    for name, possible in among.items():
        if not getattr(experiment, name):
            raise OptionError(f"{name} is empty; name some of {', '.join(possible)}.")
        for value in getattr(experiment, name):
            if value not in possible:
                raise OptionError(f"{name} holds {value!r}; choose some of {', '.join(possible)}.")


def machine() -> dict[str, Any]:
    """What speed depends on."""
    return {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "python": sys.version.split()[0],
    }


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    if not path.exists():
        return
    old = read_part(path).get("settings", {})
    other = [name for name, value in settings.items() if old.get(name, value) != value]
    if other:
        told = "; ".join(f"{name} = {old[name]}, not {settings[name]}" for name in other)
        raise RunError(f"{path} was made with {told}. Name another folder with --out, or remove it to make it anew.")


@contextlib.contextmanager
def _claim(path: Path) -> Iterator[str | None]:
    """Takes a claim and yields None, or yields the process that holds it. The system lets go of the claims of a process
    that has ended; where it knows no such locks (Windows), every claim succeeds."""
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
                continue  # its holder removed it between the two lines above
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield None
            finally:
                path.unlink(missing_ok=True)
            return
