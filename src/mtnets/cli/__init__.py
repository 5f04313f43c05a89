"""The command line: `mtnets train | evaluate | adapt | doctor | …`. Options are fields of dataclasses."""

import sys

__all__ = ["main", "run"]


def run() -> int:
    """The command `mtnets`: the command line of this process, which signals end in a sentence. Returns its status."""
    from mtnets.cli.interrupts import watch

    watch()  # before the imports, which take a second
    status = main()
    if status and "mtnets.processes" in sys.modules:  # else there are no others, and nothing need be imported
        from mtnets.processes import leave

        leave(status)
    return status


def main(args: list[str] | None = None) -> int:
    """Runs the command line, see `mtnets.cli.entry`."""
    from mtnets.cli.entry import main

    return main(args)
