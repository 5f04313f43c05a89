"""The command that serves learners over HTTP, with a page for people."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import tyro

from mtnets.errors import listed
from mtnets.serving.access import Access
from mtnets.serving.limits import Limits

if TYPE_CHECKING:
    from mtnets.serving.forms import Playground

# Learners of the page where none is named, with the sizes of support sets for which programs are compiled at the start.
PLAYGROUND = {"omniglot-any-way-1shot": (2, 4, 8), "sine-10shot": (4, 8, 16)}
# What the page has for which learner; others, such as one of a table of one's own, are asked by requests
TABS = (
    "drawings need a learner of classes of grey images with inverted ink, a curve one of a number from a number, a "
    "table those that ship (tabular-...)"
)


@dataclasses.dataclass(frozen=True)
class Serve:
    """Serves a learner over HTTP, with a page for people.

    Attributes:
      run: folder of a run, or the name of a learner that ships (`mtnets learners`). By default those of the playground:
        drawings, curves and tables.
      warm_up: sizes of support sets for which programs are compiled at the start; others when they first come.
      access: where it listens, and who may use it.
      limits: what may be asked of it.
    """

    example: ClassVar[str] = "mtnets serve omniglot-any-way-1shot --port 8000"

    run: tyro.conf.Positional[str] = ""
    warm_up: tuple[int, ...] = ()
    access: Access = Access()
    limits: Limits = Limits()

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.learner import load
        from mtnets.serving.app import create_app
        from mtnets.serving.server import serve
        from mtnets.serving.service import playground

        token = self.access.token
        learners = {Path(name).name: load(name) for name in ([self.run] if self.run else PLAYGROUND)}
        sizes = PLAYGROUND if not self.run else {}
        tables = not self.run or self.run.startswith("tabular-")
        tabs = playground(learners, tables=tables)
        app = create_app(
            learners,
            self.limits,
            tables=tables,
            token=token,
            hosts=self.access.hosts(token),
            frames=self.access.allow_frame,
            lists=not self.access.public,
            warm={name: self.warm_up or sizes.get(name, ()) for name in learners},
            warm_together=None if self.run else 1,  # a person asks one thing at a time
        )
        serve(app, self.access, self.limits, say=lambda address: _tell(greeting(address, list(learners), tabs)))
        _tell("stopped")


def greeting(address: str, learners: Sequence[str], tabs: "Playground") -> str:
    """What is said when the server listens: its address in the first line, then what is there."""
    shown = [
        *([f"drawings ({tabs.drawings})"] if tabs.drawings else []),
        *([f"a curve ({tabs.points})"] if tabs.points else []),
        *(["a table (tabular-classification, tabular-regression)"] if tabs.tables else []),
    ]
    page = f"the page there has {listed(shown)}" if shown else f"no tab of the page there fits; {TABS}"
    return f"{address}\nserving {listed(learners)}; {page}; {address}docs lists the requests; Ctrl-C stops it"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
