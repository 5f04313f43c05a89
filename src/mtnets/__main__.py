"""`python -m mtnets` is the command `mtnets`."""

import sys

from mtnets.cli import main

if __name__ == "__main__":
    sys.exit(main())
