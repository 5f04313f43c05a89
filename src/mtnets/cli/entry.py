"""The entry point: from arguments to a command, and from an error to one sentence."""

import dataclasses
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Union, get_type_hints

import tyro

from mtnets.cli.commands import COMMANDS, FLAT
from mtnets.cli.messages import in_flags
from mtnets.cli.parsing import parsed
from mtnets.compilation import forget_damaged_programs, keep_programs
from mtnets.errors import MtnetsError, OptionError, first_line, printable
from mtnets.stopping import Terminated
from mtnets.tasks.archives.locations import cache_folder


def main(args: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
      args: arguments. Defaults to those of the process.

    Returns:
      The exit status: 0; 1 after one sentence on standard error; 130 after Ctrl-C, and 143 after SIGTERM.
    """
    args = sys.argv[1:] if args is None else args

    def say(message: object, *_: object) -> None:
        if not forget_damaged_programs(str(message)):
            print(f"mtnets: {printable(in_flags(str(message), *_words(args)))}", file=sys.stderr)

    try:
        keep_programs(cache_folder() / "programs")
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = say
            _parse(args)()
    except MtnetsError as error:
        say(error)
        return 1
    except BrokenPipeError:  # the reader, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
        return 0
    except OSError as error:
        print(f"mtnets: {printable(str(error.filename or 'a file'))}: {error.strerror or error}.", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        say(f"There is not enough memory ({first_line(error)}); use smaller networks, batches or data.")
        return 1
    except (KeyboardInterrupt, Terminated) as error:
        say(str(error) or "Stopped.")
        return 143 if isinstance(error, Terminated) else 130
    return 0


def _parse(args: list[str]) -> Callable[[], object]:
    """The command that the arguments ask for."""
    if args in (["--version"], ["-V"]):
        return _version
    if args[:1] in (["train"], ["sweep"]):
        return _of_family(*args)
    commands = {"train": _Train, "sweep": _Sweep, **COMMANDS}
    return parsed(
        Union[tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in commands.items())],  # type: ignore[arg-type]  # noqa: UP007
        args=args,
        prog="mtnets",
        description="Few-shot learning by gradient descent: meta-train, evaluate, adapt.",
        config=FLAT,
    )


def _version() -> None:
    from mtnets import __version__

    print(f"mtnets {__version__}")


def _of_family(command: str, *args: str) -> Callable[[], object]:
    """`train` or `sweep`, whose first argument decides which options there are."""
    from mtnets.tasks import FAMILIES

    if args and args[0] in FAMILIES:
        return lambda: _command(command)(args[0], list(args[1:]))
    if args and args[0] in ("-h", "--help"):
        about = inspect.getdoc(_Train if command == "train" else _Sweep) or ""
        what = about.partition("; mtnets")[0]
        print(f"usage: mtnets {command} {' | '.join(FAMILIES)}\n\n{what}. --help after a family lists its options.")
        raise SystemExit(0)
    given = f"There is no family of tasks {args[0]!r}; name one" if args else "Name a family of tasks"
    raise OptionError(f"{given}: mtnets {command} {' | '.join(FAMILIES)}.")


def _command(name: str) -> Callable[[str, list[str]], None]:
    if name == "train":
        from mtnets.cli.train import train

        return train
    from mtnets.cli.sweep import sweep

    return sweep


def _words(args: list[str]) -> tuple[set[str], dict[str, str]]:
    """The names of the options of a command, and the flags for calls that its errors may name."""
    kind = COMMANDS.get(args[0]) if args else None
    if kind is not None:
        return set(_names(kind)), {}
    if args[:1] not in (["train"], ["sweep"]) or len(args) == 1:
        return set(), {}
    from mtnets.cli.options import CriterionOptions, ProcessOptions, RunOptions
    from mtnets.inner import ESTIMATORS, METHODS
    from mtnets.outer import Training
    from mtnets.tasks import FAMILIES

    kinds = [RunOptions, ProcessOptions, CriterionOptions, Training, *METHODS.values(), *ESTIMATORS.values()]
    kinds += [FAMILIES[args[1]]] if args[1] in FAMILIES else []
    if args[0] == "sweep":
        from mtnets.cli.sweep import SweepOptions

        kinds = [SweepOptions, *kinds[1:]]
    calls = {kind.__name__: f"--estimator {name}" for name, kind in ESTIMATORS.items()}
    return {name for each in kinds for name in _names(each)}, calls


def _names(kind: Any) -> Iterator[str]:
    """The names of the fields of a dataclass, and of those within it."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _names(hints[field.name])
        yield field.name


@dataclasses.dataclass(frozen=True)
class _Train:
    """Meta-trains a learner on a family of tasks; mtnets train --help lists the families."""


@dataclasses.dataclass(frozen=True)
class _Sweep:
    """Compares methods, seeds and settings on a family of tasks; mtnets sweep --help lists the families."""
