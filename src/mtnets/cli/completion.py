"""What shells complete, `mtnets --tyro-print-completion bash`: each family of tasks is a command of its own here."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mtnets.cli.choices import known_method, options_kind
from mtnets.cli.new import NewOptions
from mtnets.cli.parsing import commands
from mtnets.cli.sweep import SweepOptions, options_of_sweep
from mtnets.tasks import FAMILIES


def with_families(parsers: Mapping[str, type]) -> Any:
    """The commands with all families and the options that these have with the usual method.

    Args:
      parsers: the commands, those of families without any.
    """
    usual = [known_method(name) for name in SweepOptions.methods]
    kinds = {
        "train": {family: options_kind(family, None, None, None)[0] for family in FAMILIES},
        "sweep": {family: options_of_sweep(family, None, usual, None)[0] for family in FAMILIES},
        "new": dict.fromkeys(FAMILIES, NewOptions),
    }
    return commands({**parsers, **{name: _choosing(each, parsers[name]) for name, each in kinds.items()}})


def _choosing(families: Mapping[str, type], described: type) -> type:
    chosen = dataclasses.make_dataclass(described.__name__, [("family", commands(families))], frozen=True)
    chosen.__doc__ = described.__doc__
    return chosen
