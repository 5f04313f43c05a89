"""The command line: `mtnets train | evaluate | adapt | doctor | …`. Options are fields of dataclasses."""

from mtnets.cli.main import main

__all__ = ["main"]
