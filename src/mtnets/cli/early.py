"""What is refused before JAX is imported, which takes seconds: names that do not exist, and places that cannot serve.

All of it is checked again later; here it is read from the arguments as they stand.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mtnets.cli.parsing import UsageError, taken, values_of
from mtnets.errors import MtnetsError, one_of, perhaps

# The names of mtnets.tasks.FAMILIES, mtnets.METHODS and mtnets.inner.ESTIMATORS, as the command line writes them
FAMILIES = ("glyphs", "folder", "miniimagenet", "omniglot", "polynomial", "random-tables", "sinusoid", "table")
METHODS = ("maml", "fomaml", "reptile", "imaml", "anil", "boil", "meta-sgd", "maml-plus-plus", "sparse-maml", "alfa")
METHODS += ("l2f", "cavia", "meta-curvature", "approximate-gap", "gap", "t-net", "warp-grad", "m-net", "mt-net")
METHODS += ("mt-net-full",)
ESTIMATORS = ("exact", "first-order", "truncated", "trajectory", "implicit", "displacement")
KINDS: Mapping[str, Collection[str]] = {"method": METHODS, "estimator": ESTIMATORS}
ROOTED = {  # families whose data are below --root, and what to do where it is not there
    "folder": "name the folder or zip archive of the data.",
    "miniimagenet": "name the folder or zip archive of the data.",
    "omniglot": "fetch the data with `mtnets data omniglot --root {}`, or say where it is: --root, or the variable "
    "MTNETS_DATA.",
}


class Refusal(MtnetsError):
    """What is refused in the words of the command line: it names flags already."""


def check_early(command: str, args: Sequence[str]) -> None:
    """Compares what decides over a command of a family with what there is.

    Args:
      command: `train`, `sweep` or `new`.
      args: that follow.

    Raises:
      UsageError: for a family, a method or an estimator that does not exist.
      Refusal: for a folder that holds a run, a file that is there already, and data that are not there.
    """
    if {"-h", "--help", "--help-all"} & set(args):
        return
    if "jax" not in sys.modules:  # else nothing is saved, and there may be families and methods of the user's own
        _check_names(command, args)
    family, others = next(iter(args), ""), args[1:]
    _check_data(family, others)
    out, _ = taken(others, "out")
    if command == "new" and out and _is_there(out, otherwise=False):
        raise Refusal(f"{out} is there already; remove it, or name another file.")
    if command == "train":
        _check_free(family, out, others)


def _check_names(command: str, args: Sequence[str]) -> None:
    """Raises UsageError for a name that does not exist."""
    if not args or args[0] not in FAMILIES:
        raise no_family(command, args, FAMILIES)
    for kind, known in KINDS.items():
        value, _ = taken(args, kind)
        for name in [value] if value else values_of(args, f"{kind}s"):
            if name.replace("_", "-") not in known:
                raise no_name(kind, name, known)


def no_family(command: str, args: Sequence[str], families: Collection[str]) -> UsageError:
    """The error where a family is missing or does not exist."""
    given = f"There is no family of tasks {args[0]!r}; {perhaps(args[0], families)}name one" if args else ""
    return UsageError(f"{given or 'Name a family of tasks'}: mtnets {command} {' | '.join(families)}.")


def no_name(kind: str, name: str, known: Collection[str]) -> UsageError:
    """The error for a method or an estimator that does not exist."""
    return UsageError(f"There is no {kind} {name!r}; {one_of(name, known)}")


def _check_data(family: str, args: Sequence[str]) -> None:
    """Raises Refusal where a folder or a file of data is named and not there."""
    root, _ = taken(args, "root")
    if family in ROOTED and root is not None and not _is_there(root):
        raise Refusal(f"{root} does not exist; {ROOTED[family].format(root)}")
    if family == "table" and args and not args[0].startswith("-") and not _is_there(args[0]):
        raise Refusal(f"There is no file {args[0]}; name the table: a .csv or .parquet file.")


def _check_free(family: str, out: str | None, args: Sequence[str]) -> None:
    """Raises Refusal where the folder of a run is taken, and the run is neither to go on nor to be replaced."""
    method, _ = taken(args, "method")
    flags = {arg.partition("=")[0] for arg in args}
    if flags & {"--resume", "--overwrite", "--memory", "--coordinator"}:  # of several processes another may have begun
        return
    if "--config" in flags and not (out or method):  # it names the method, and so the folder
        return
    folder = Path(out or f"runs/{family}-{(method or 'mt-net').replace('_', '-')}")
    if _is_there(str(folder / "config.json"), otherwise=False):
        raise Refusal(
            f"{folder} holds a run already; go on with --resume, replace it with --overwrite, or name another folder."
        )


def _is_there(path: str, otherwise: bool = True) -> bool:
    """Whether there is something at a path; otherwise where the system cannot tell, which is an error later."""
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return otherwise
