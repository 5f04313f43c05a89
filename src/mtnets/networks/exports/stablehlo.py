"""StableHLO, which JAX, IREE and others run: a program, and beside it a card in JSON of how to call it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from mtnets.errors import OptionError
from mtnets.files import CHECKSUM, checksum, replacing
from mtnets.networks.exports.compared import equal_to
from mtnets.networks.exports.program import Function, Program

PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(program: Program, path: str | Path, platforms: tuple[str, ...] = PLATFORMS) -> None:
    """Writes a program as StableHLO, for any number of examples.

    `jax.export.deserialize` reads it wherever JAX runs. Where it can run here, its outputs are compared with those of
    the reference. The card, if there is one, goes to `path` + `.json`, with the digest of the program that it is of.

    Args:
      program: what to write.
      path: of the file.
      platforms: where the program will run, of `cpu`, `cuda`, `rocm` and `tpu`.

    Raises:
      OptionError: without the extra `mtnets[export]`, for a function that cannot be traced for any number of examples,
        and for a program whose outputs differ from the reference; no file is left then.
    """
    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        raise OptionError("Writing StableHLO needs one more package: pip install 'mtnets[export]'.") from error
    args, named = program.any_number

    def written(form: Function) -> bytes:
        return bytes(jax.export.export(jax.jit(form), platforms=platforms)(*args, **named).serialize())

    def runnable(data: bytes) -> Function | None:
        here = {"gpu": ("cuda", "rocm")}.get(jax.default_backend(), (jax.default_backend(),))
        return jax.export.deserialize(bytearray(data)).call if set(here) & set(platforms) else None

    forms = [lambda: program.function, *([program.one_by_one] if program.alone else [])]
    data = equal_to(program, forms, written, runnable, "StableHLO")
    _write(path, data, program.card)


def _write(path: str | Path, data: bytes, card: Mapping[str, Any]) -> None:
    """Writes a program, and to `path` + `.json` its card with the digest of the program that it is of.

    Args:
      path: of the file.
      data: the program.
      card: its entries; without any there is no card.
    """
    if not card:
        with replacing(path) as file:
            file.write(data)
        return
    entries = {**card, "program": f"sha256:{hashlib.sha256(data).hexdigest()}"}
    text = json.dumps({**entries, CHECKSUM: checksum(entries)}, indent=2, ensure_ascii=False)
    with replacing(f"{path}.json") as beside, replacing(path) as file:  # the card takes its place after the program
        beside.write(f"{text}\n".encode())
        file.write(data)
