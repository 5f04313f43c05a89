"""The command that serves learners over HTTP, with a page for people."""

import dataclasses
import sys
from pathlib import Path
from typing import ClassVar

import tyro

from mtnets.serving.access import Access
from mtnets.serving.limits import Limits

# Learners of the page where none is named, with the sizes of support sets for which programs are compiled at the start.
PLAYGROUND = {"omniglot-any-way-1shot": (2, 4, 8), "sine-10shot": (4, 8, 16)}


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

        token = self.access.token
        learners = {Path(name).name: load(name) for name in ([self.run] if self.run else PLAYGROUND)}
        sizes = PLAYGROUND if not self.run else {}
        app = create_app(
            learners,
            self.limits,
            tables=not self.run or self.run.startswith("tabular-"),
            token=token,
            hosts=self.access.hosts(token),
            frames=self.access.allow_frame,
            lists=not self.access.public,
            warm={name: self.warm_up or sizes.get(name, ()) for name in learners},
            warm_together=None if self.run else 1,  # a person asks one thing at a time
        )
        serve(app, self.access, self.limits, say=lambda address: print(address, file=sys.stderr, flush=True))
