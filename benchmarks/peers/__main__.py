"""The same meta-training by other programs, side by side (docs/speed.md).

    python -m benchmarks.peers sine-4-1 omniglot-5 --rounds 5 --seconds 10 --out results/peers.json
    python -m benchmarks.peers --table results/peers.json

Without names, all cells. A cell that the file has with the same versions, settings and machine is not measured again.
The other programs: pip install torch higher torchopt parallel-metalearn iteryne; those that are missing are told so.
"""

import argparse
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.peers.cells import CELLS
from benchmarks.peers.contender import CONTENDERS
from benchmarks.peers.harness import Settings, read, run
from benchmarks.peers.problem import METHODS, ORDERS, Work
from benchmarks.peers.table import page
from mtnets.errors import MtnetsError


def main(args: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
      args: arguments. Defaults to those of the process.

    Returns:
      The exit status: 0, or 1 after one sentence on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", metavar="CELL", help=", ".join(CELLS))
    parser.add_argument("--method", nargs="+", default=["maml"], help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--order", nargs="+", default=["exact"], help=f"some of {', '.join(ORDERS)}")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), help=", ".join(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=Settings.rounds)
    parser.add_argument("--seconds", type=float, default=Settings.seconds, help="length of one measurement")
    parser.add_argument("--patience", type=float, default=Settings.patience, help="longest time of one process")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--out", type=Path, default=Path("results/peers.json"))
    parser.add_argument("--again", action="store_true", help="measure also what is measured already")
    parser.add_argument("--tiny", action="store_true", help="in small, to see whether it works")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of a file, and measure nothing")
    options = parser.parse_args(args)
    try:
        if options.table is not None:
            print(page(read(options.table)))
            return 0
        settings = Settings(options.rounds, options.seconds, options.seed, tuple(options.contenders), options.patience)
        every: Iterable[Any] = itertools.product(options.cells or CELLS, options.method, options.order)
        works = [Work(*each, options.tiny) for each in every]
        run(works, settings, options.out, again=options.again, say=lambda line: print(line, flush=True))
        print(page(read(options.out)))
    except MtnetsError as error:
        print(f"benchmarks.peers: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks.peers: stopped; the same command goes on with the next cell.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
