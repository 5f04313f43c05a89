"""Errors that name Python arguments, in the words of the command line."""

import re
from collections.abc import Collection


def in_flags(message: str, names: Collection[str]) -> str:
    """A message with arguments as flags: `clip_norm=10` as `--clip-norm 10`, `resume=True` as `--resume`, and names of
    several words, which are no words of the language, wherever they stand.

    Args:
      message: that was raised in Python.
      names: the options of the command.
    """
    if not names:
        return message
    alternatives = "|".join(sorted(map(re.escape, names), key=len, reverse=True))

    def flag(name: str) -> str:
        return f"--{name.replace('_', '-')}"

    def argument(match: re.Match[str]) -> str:
        name, value = match.groups()
        return flag(name) if value == "True" else f"{flag(name)} {value}"

    message = re.sub(rf"(?<![\w.(-])({alternatives})=(True|[\w./-]*[\w/-]|'[^']*')", argument, message)
    of_several_words = [name for name in names if "_" in name]
    if of_several_words:
        longest_first = "|".join(sorted(map(re.escape, of_several_words), key=len, reverse=True))
        message = re.sub(rf"(?<![\w.(-])({longest_first})(?![\w=.(])", lambda match: flag(match[1]), message)
    return message
