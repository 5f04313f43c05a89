"""The entry point: from arguments to a command, and from an error to one sentence."""

import dataclasses
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from mtnets.cli.commands import COMMANDS, FLAT
from mtnets.cli.early import Refusal, check_early, no_family
from mtnets.cli.messages import in_flags
from mtnets.cli.parsing import UsageError, commands, names, parsed
from mtnets.cli.pipes import quiet_pipes
from mtnets.errors import MtnetsError, first_line, one_of, printable
from mtnets.stopping import Terminated

ABOUT = "Few-shot learning by gradient descent"
MAIN = ("train", "evaluate", "adapt", "doctor", "sweep")  # what most people need


def main(args: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
      args: arguments. Defaults to those of the process.

    Returns:
      The exit status: 0; 1 after one sentence on standard error, and 2 where that is about a command line that cannot
      be read; 130 after Ctrl-C, and 143 after SIGTERM.
    """
    with quiet_pipes():
        return _run(sys.argv[1:] if args is None else args)
    return 0  # the reader has read enough


def _run(args: list[str]) -> int:
    def say(message: object, *_: object) -> None:
        print(f"mtnets: {printable(in_flags(str(message), *_words(args)))}", file=sys.stderr)

    def warned(message: object, *_: object) -> None:
        from mtnets.compilation import forget_damaged_programs

        if not forget_damaged_programs(str(message)):
            say(message)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = warned
            command = _parse(args)
            if command not in LIGHT:
                _keep_programs()
            command()
    except (UsageError, Refusal) as error:
        print(f"mtnets: {printable(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
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


def _keep_programs() -> None:
    """What this process compiles, the next one need not."""
    from mtnets.compilation import keep_programs
    from mtnets.tasks.archives.locations import cache_folder

    keep_programs(cache_folder() / "programs")


def _parse(args: list[str]) -> Callable[[], object]:
    """The command that the arguments ask for. JAX is imported for none of them before they are read, but for those of
    a family."""
    if not args:
        return _overview
    if args in (["--version"], ["-V"]):
        return _version
    name, *others = args
    if name in OF_FAMILY:
        check_early(name, others)
        return _of_family(name, *others)
    if not (name in PARSERS or name.startswith("-")):
        raise UsageError(f"There is no command {name!r}; {one_of(name, PARSERS)}")
    if (kind := _kind(name)) is not None:
        return parsed(kind, args=others, prog=f"mtnets {name}", example=kind.example, config=FLAT)
    return parsed(
        _commands(completed=name.startswith("--tyro-")),
        args=args,
        prog="mtnets",
        example=_Train.example,
        description=f"{ABOUT}: meta-train, evaluate, adapt.",
        config=FLAT,
    )


def _kind(command: str) -> Any:
    """The dataclass of the options of a command; None where a family has some of them too."""
    if command == "serve":  # whose options need JAX
        from mtnets.cli.serve import Serve

        return Serve
    return COMMANDS.get(command)


def _commands(completed: bool) -> Any:
    """All commands; for a shell that completes them with all that follows."""
    if not completed:
        return commands(PARSERS)
    from mtnets.cli.completion import with_families

    return with_families({**PARSERS, "serve": _kind("serve")})


def _overview() -> None:
    """Prints the commands that matter most, with an example each."""
    lines = [f"{ABOUT}.", ""]
    for name in MAIN:
        lines += [f"{_title(PARSERS[name]).partition(':')[0]}:", f"    {PARSERS[name].example}"]
    print("\n".join([*lines, "", "All commands: mtnets --help. What one takes: mtnets COMMAND --help."]))


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
    raise no_family(command, args, FAMILIES)


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
    kind = _kind(args[0]) if args else None
    if kind is not None:
        return set(names(kind)), {}
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
    return {name for each in kinds for name in names(each)}, calls


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


@dataclasses.dataclass(frozen=True)
class _Serve:
    """Serves a learner over HTTP, with a page for people."""

    example: ClassVar[str] = "mtnets serve omniglot-any-way-1shot --port 8000"


OF_FAMILY: Mapping[str, Any] = {"train": _Train, "sweep": _Sweep, "new": _New}
PARSERS: Mapping[str, Any] = {**OF_FAMILY, **COMMANDS, "serve": _Serve}
LIGHT = (_overview, _version)  # what needs no JAX
