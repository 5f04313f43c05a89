"""The entry point: from arguments to a command, and from an error to one sentence."""

import dataclasses
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, get_type_hints

from mtnets.cli.commands import COMMANDS, FLAT
from mtnets.cli.messages import in_flags
from mtnets.cli.parsing import commands, parsed
from mtnets.cli.pipes import quiet_pipes
from mtnets.compilation import forget_damaged_programs, keep_programs
from mtnets.errors import MtnetsError, OptionError, first_line, one_of, perhaps, printable
from mtnets.stopping import Terminated
from mtnets.tasks.archives.locations import cache_folder

ABOUT = "Few-shot learning by gradient descent"
MAIN = ("train", "evaluate", "adapt", "doctor", "sweep")  # what most people need


def main(args: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
      args: arguments. Defaults to those of the process.

    Returns:
      The exit status: 0; 1 after one sentence on standard error; 130 after Ctrl-C, and 143 after SIGTERM.
    """
    with quiet_pipes():
        return _run(sys.argv[1:] if args is None else args)
    return 0  # the reader has read enough


def _run(args: list[str]) -> int:
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
    except BrokenPipeError:
        raise
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
    if not args:
        return lambda: print(_overview())
    if args in (["--version"], ["-V"]):
        return _version
    if args[0] in OF_FAMILY:
        return _of_family(*args)
    if not (args[0] in PARSERS or args[0].startswith("-")):
        raise OptionError(f"There is no command {args[0]!r}; {one_of(args[0], PARSERS)}")
    return parsed(
        _commands(completed=args[0].startswith("--tyro-")),
        args=args,
        prog="mtnets",
        example=PARSERS.get(args[0], _Train).example,
        description=f"{ABOUT}: meta-train, evaluate, adapt.",
        config=FLAT,
    )


def _commands(completed: bool) -> Any:
    """All commands; for a shell that completes them with all that follows."""
    if not completed:
        return commands(PARSERS)
    from mtnets.cli.completion import with_families

    return with_families(PARSERS)


def _overview() -> str:
    """The commands that matter most, with an example each."""
    lines = [f"{ABOUT}.", ""]
    for name in MAIN:
        lines += [f"{_title(PARSERS[name]).partition(':')[0]}:", f"    {PARSERS[name].example}"]
    return "\n".join([*lines, "", "All commands: mtnets --help. What one takes: mtnets COMMAND --help."])


def _title(kind: type) -> str:
    """What a command does, from its docstring."""
    return (inspect.getdoc(kind) or "").splitlines()[0].partition("; mtnets")[0].rstrip(".")


def _version() -> None:
    from mtnets import __version__

    print(f"mtnets {__version__}")


def _of_family(command: str, *args: str) -> Callable[[], object]:
    """`train`, `sweep` or `new`, whose first argument decides which options there are."""
    from mtnets.tasks import FAMILIES

    if args and args[0] in FAMILIES:
        return lambda: _command(command)(args[0], list(args[1:]))
    if args and args[0] in ("-h", "--help"):
        kind, width = PARSERS[command], max(map(len, FAMILIES))
        families = [f"  {name:{width}}  {_title(family)}" for name, family in FAMILIES.items()]
        print(f"usage: mtnets {command} FAMILY\n\n{_title(kind)}. --help after a family lists its options.\n")
        print("\n".join([*families, "", f"Example: {kind.example}"]))
        raise SystemExit(0)
    given = f"There is no family of tasks {args[0]!r}; {perhaps(args[0], FAMILIES)}name one" if args else ""
    raise OptionError(f"{given or 'Name a family of tasks'}: mtnets {command} {' | '.join(FAMILIES)}.")


def _command(name: str) -> Callable[[str, list[str]], None]:
    if name == "train":
        from mtnets.cli.train import train

        return train
    if name == "new":
        from mtnets.cli.new import new

        return new
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

    example: ClassVar[str] = "mtnets train sinusoid --method mt-net --meta-steps 3000 --out runs/sine"


@dataclasses.dataclass(frozen=True)
class _Sweep:
    """Compares methods, seeds and settings on a family of tasks; mtnets sweep --help lists the families."""

    example: ClassVar[str] = "mtnets sweep sinusoid --methods maml mt-net --seeds 0 1 2 --out runs/sweep"


@dataclasses.dataclass(frozen=True)
class _New:
    """Writes a configuration to edit, for mtnets train; mtnets new --help lists the families."""

    example: ClassVar[str] = "mtnets new sinusoid --method mt-net --out my.json"


OF_FAMILY: Mapping[str, Any] = {"train": _Train, "sweep": _Sweep, "new": _New}
PARSERS: Mapping[str, Any] = {**OF_FAMILY, **COMMANDS}
