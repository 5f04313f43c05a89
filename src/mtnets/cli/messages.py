"""Errors that name Python arguments, in the words of the command line."""

import re
from collections.abc import Collection, Mapping

RENAMED = {"num_tasks": "tasks"}  # arguments whose option has another name


def in_flags(message: str, names: Collection[str], calls: Mapping[str, str] | None = None) -> str:
    """A message with arguments as flags: `clip_norm=10` as `--clip-norm 10`, `resume=True` as `--resume`, `root=...` as
    `--root`, `splits=(0.6, 0.2, 0.2)` as `--splits 0.6 0.2 0.2`, the name that a message begins with (`shots is 0`),
    and names of several words, which are no words of the language, wherever they stand. Calls of Python stay as they
    are.

    Args:
      message: that was raised in Python.
      names: the options of the command.
      calls: flags for the calls of Python that a message may name, `{"Implicit": "--estimator implicit"}`: then
        `Implicit(proximal=1.0)` is `--estimator implicit --proximal 1.0`.
    """
    if not names:
        return message

    def flag(name: str) -> str:
        return f"--{RENAMED.get(name, name).replace('_', '-')}"

    def argument(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name is None:
            return match[0]
        if value == "...":
            return flag(name)
        if value in ("True", "False"):
            return flag(name if value == "True" else f"no_{name}")
        if value.startswith("("):
            value = value[1:-1].replace(",", "")
        return f"{flag(name)} {value.strip(QUOTE)}"

    if calls:
        call = rf"(?:estimator=)?(?:mtnets\.)?\b({_any_of(calls)})\(([^()]*)\)"
        message = re.sub(call, lambda match: f"{calls[match[1]]} {match[2].replace(',', '')}".strip(), message)
    values = r"True|False|\.\.\.|\([\d., ]+\)|[\w./-]*[\w/-]|'[^']*'"
    message = re.sub(rf"\w\((?:[^()]|\([^()]*\))*\)|(?<![\w./-])({_any_of(names)})=({values})", argument, message)
    message = re.sub(rf"^({_any_of([*names, *RENAMED])})(?= is )", lambda match: flag(match[1]), message)
    of_several_words = [name for name in (*names, *RENAMED) if "_" in name]
    alone = rf"(?<![\w.(/-])({_any_of(of_several_words)})(?![\w=(/-]|\.\w)"  # not as a part of a path
    return re.sub(alone, lambda match: flag(match[1]), message)


QUOTE = "'"


def _any_of(names: Collection[str]) -> str:
    """A pattern for any of these names, the longest first."""
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True))
