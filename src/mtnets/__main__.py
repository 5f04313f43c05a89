"""`python -m mtnets` is the command `mtnets`."""

import sys

from mtnets.cli import run

if __name__ == "__main__":
    sys.exit(run())
