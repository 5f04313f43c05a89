"""What is measured: one cell is a network, a number of tasks and their sizes."""

import dataclasses

from benchmarks.peers.networks import Convolutions, Mlp, Network, ResNet12, Transformer


@dataclasses.dataclass(frozen=True)
class Cell:
    """A meta-step of this size.

    Attributes:
      about: the cell in words.
      network: what is trained.
      tasks: of a meta-step.
      support, query: examples of a task; per class in classification.
      inner_steps: gradient steps within a task.
      inner_lr: α.
    """

    about: str
    network: Network
    tasks: int
    support: int
    query: int
    inner_steps: int = 1
    inner_lr: float = 0.1

    @property
    def ways(self) -> int | None:
        """Classes of a task; None in regression."""
        return None if isinstance(self.network, Mlp) else self.network.outputs

    @property
    def examples(self) -> tuple[int, int]:
        """Of the support and of the query set of a task."""
        return self.support * (self.ways or 1), self.query * (self.ways or 1)

    @property
    def small(self) -> bool:
        """Whether a meta-step is so small that tasks shared over cores would take longer."""
        return isinstance(self.network, Mlp)

    def tiny(self) -> "Cell":
        """The same in small, for tests: it is no measure of anything."""
        return dataclasses.replace(
            self,
            network=self.network.tiny(),
            tasks=2,
            support=min(self.support, 3),
            query=min(self.query, 3),
            inner_steps=min(self.inner_steps, 2),
        )


SHORT = 0.01  # α where several steps cross kinks of ReLU and pooling: with longer ones, rounding decides which
SINE = Mlp((1, 40, 40, 1))
OMNIGLOT = Convolutions(outputs=5, side=28, channels=1, filters=64, blocks=4, pool=False)
POOLED = Convolutions(outputs=5, side=28, channels=1, filters=64, blocks=3, pool=True)
COLOUR = Convolutions(outputs=5, side=32, channels=3, filters=32, blocks=4, pool=True)
RESNET = ResNet12(outputs=5, side=32, channels=3, widths=(64, 160, 320, 640))
SEQUENCES = Transformer(outputs=5, length=16, features=16, width=64, heads=4, blocks=2)

CELLS = {
    f"sine-{tasks}-{steps}": Cell(
        f"sine 1-40-40-1, {tasks} tasks, {steps} inner step{'s' if steps > 1 else ''}",
        SINE,
        tasks,
        10,
        10,
        steps,
        0.01,
    )
    for tasks in (4, 25)
    for steps in (1, 5)
} | {
    "omniglot-5": Cell("28×28, 5-way 1-shot, conv-4 64 strided, 32 tasks, 1 inner step", OMNIGLOT, 32, 1, 1),
    "omniglot-20": Cell(
        "28×28, 20-way 1-shot, conv-4 64 strided, 16 tasks, 1 inner step",
        dataclasses.replace(OMNIGLOT, outputs=20),
        16,
        1,
        1,
    ),
    "pooled": Cell(
        "28×28, 5-way 5-shot, 15 queries, 3 blocks of 64 with pooling, 4 tasks, 5 inner steps",
        POOLED,
        4,
        5,
        15,
        5,
        SHORT,
    ),
    "colour": Cell(
        "32×32×3, 5-way 1-shot, 15 queries, conv-4 32 with pooling, 4 tasks, 5 inner steps",
        COLOUR,
        4,
        1,
        15,
        5,
        SHORT,
    ),
    "resnet-12": Cell("32×32×3, 5-way 1-shot, 3 queries, ResNet-12, 2 tasks, 1 inner step", RESNET, 2, 1, 3),
    "transformer": Cell(
        "16 places, 5-way 5-shot, 5 queries, 2 blocks of width 64, 8 tasks, 1 inner step", SEQUENCES, 8, 5, 5
    ),
}
