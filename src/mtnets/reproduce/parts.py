"""Experiments in parts: one JSON each, made once, by whichever process comes first."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from mtnets.files import finite, write_json


def make_parts(
    folder: str | Path,
    names: Iterable[str],
    make: Callable[[str], Mapping[str, Any]],
    enough: Callable[[str, Mapping[str, Any]], bool] = lambda name, part: True,
) -> None:
    """Makes `FOLDER/NAME.json` for every name for which it is not there yet.

    A run that was stopped goes on with the part that it was in. Several processes may share the work: each takes a part
    that no living process has begun.

    Args:
      folder: where parts are kept.
      names: of the parts.
      make: what a part holds, from its name; numbers that are not finite become None.
      enough: whether a part that is there will do, from its name and content; it is made again otherwise.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path, claim = folder / f"{name}.json", folder / f".{name}.pid"
        if _will_do(path, enough) or not _claimed(claim):
            continue
        try:
            if _will_do(path, enough):  # by another while this one looked
                continue
            print(f"{name} …", file=sys.stderr, flush=True)
            begun = time.perf_counter()
            part = dict(make(name))
            seconds = time.perf_counter() - begun
            write_json(path, finite({**part, "seconds": seconds, "machine": machine()}))
            print(f"{name}: {seconds:.0f} s, written to {path}", file=sys.stderr, flush=True)
        finally:
            claim.unlink(missing_ok=True)


def _will_do(path: Path, enough: Callable[[str, Mapping[str, Any]], bool]) -> bool:
    return path.exists() and enough(path.stem, json.loads(path.read_text()))


def machine() -> dict[str, Any]:
    """What speed depends on."""
    return {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "python": sys.version.split()[0],
    }


def _claimed(claim: Path) -> bool:
    """Takes a claim, or leaves it to the living process that holds it."""
    while True:
        try:
            with claim.open("x") as file:
                file.write(str(os.getpid()))
            return True
        except FileExistsError:
            if _alive(claim):
                return False
            claim.unlink(missing_ok=True)


def _alive(claim: Path) -> bool:
    try:
        os.kill(int(claim.read_text()), 0)
    except PermissionError:  # of another user
        return True
    except (OSError, ValueError):
        return False
    return True
