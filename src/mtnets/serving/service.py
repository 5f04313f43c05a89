"""The learners that are served and the tasks that they learned: what each request does."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError, OptionError, one_of
from mtnets.learner import Learner
from mtnets.serving import forms
from mtnets.serving.batching import Batcher
from mtnets.serving.limits import Limits
from mtnets.serving.metrics import Metrics
from mtnets.serving.notes import notes_on
from mtnets.serving.raw import (
    Label,
    check_served,
    classes_of,
    joined,
    named_classes,
    to_raw,
    to_targets,
)
from mtnets.serving.steps import Path, Stepping
from mtnets.serving.store import Store, StoredTask
from mtnets.serving.tables import Tabling
from mtnets.serving.work import Adapting, Predicting, Updating
from mtnets.shipped import learners as shipped
from mtnets.tasks import Images


class Service:
    """Learners by name, with the tasks that they learned.

    Args:
      learners: the first is the one that requests without a name mean.
      limits: what may be asked.
      tables: whether pasted tables are completed.

    Raises:
      OptionError: for a learner whose targets no request can have.
    """

    def __init__(self, learners: Mapping[str, Learner], limits: Limits, *, tables: bool) -> None:
        for learner in learners.values():
            check_served(learner)
        self.learners, self.limits, self.tables = dict(learners), limits, tables
        self.metrics = Metrics()
        self.store = Store(limits.tasks, 60 * limits.task_minutes)
        self.batcher = Batcher(limits, self.metrics)
        self.ready = False

    # --- tasks

    async def learn(self, request: forms.NewTask) -> StoredTask:
        """A new task. Raises MtnetsError for examples that do not fit the learner."""
        name, learner = self._learner(request.learner)
        if request.inner_steps is not None and request.inner_steps > self.limits.inner_steps:
            raise OptionError(f"inner_steps is {request.inner_steps}; ask for at most {self.limits.inner_steps}.")
        raw: dict[str, Any] = {}

        def prepare() -> Adapting:
            x = to_raw(learner, request.x, self.limits)
            with self._naming(name):
                classes = classes_of(learner)
                if learner.loss.labels and classes is None:
                    classes = named_classes(request.y or (), self.limits.classes)
                    if not learner.any_ways and len(classes) > learner.outputs:
                        raise DataError(f"y has {len(classes)} classes; send at most {learner.outputs}.")
                y = to_targets(learner, request.y, classes, len(request.x))
            raw.update(x=x, y=y, classes=classes, notes=notes_on(learner.inputs, x))
            work = Adapting.of(learner, x, y, request.inner_steps)
            raw["support"] = work.support
            return work

        model = await self.batcher.answer(prepare)
        task = StoredTask(learner=name, model=model, count=len(request.x), **raw)
        self._keep(task)
        return task

    async def learn_more(self, task: StoredTask, request: forms.MoreExamples) -> StoredTask:
        """The task with more examples: it goes on from where it is, or learns all anew."""
        learner = self.learners[task.learner]
        if task.count + len(request.x) > self.limits.examples:
            raise DataError(
                f"The task would have {task.count + len(request.x)} examples; at most {self.limits.examples} are "
                "taken: send fewer, or make another task."
            )
        async with task.busy:
            raw: dict[str, Any] = {}

            def prepare() -> Adapting | Updating:
                classes, y_old = task.classes, task.y
                if request.anew and classes is not None and classes_of(learner) is None:
                    classes = named_classes([*classes, *(request.y or ())], self.limits.classes)
                    y_old = np.array([classes.index(task.classes[i]) for i in task.y])  # type: ignore[index]
                    if not learner.any_ways and len(classes) > learner.outputs:
                        raise DataError(
                            f"y has {len(classes)} classes; send at most {learner.outputs} to this learner."
                        )
                x = joined(task.x, to_raw(learner, request.x, self.limits))
                y = _both(y_old, to_targets(learner, request.y, classes, len(request.x)))
                steps = None if learner.view.stream else task.model.inner_steps
                work = Adapting.of(learner, x, y, steps, None if request.anew else task.model.inputs)
                raw.update(x=x, y=y, classes=classes, notes=notes_on(learner.inputs, x), support=work.support)
                return work if request.anew else Updating(task.model, x, y)

            task.model = await self.batcher.answer(prepare)
            task.count += len(request.x)
            for name, value in raw.items():
                setattr(task, name, value)
        return task

    async def predict(self, task: StoredTask, request: forms.Queries) -> forms.Predictions:
        """Predictions of a task."""
        notes: list[str] = []

        def prepare() -> Predicting:
            learner = self.learners[task.learner]
            x = to_raw(learner, request.x, self.limits)
            notes.extend(notes_on(learner.inputs, x))
            return Predicting.of(task.model, x)

        return answer_of(task, await self.batcher.answer(prepare), notes)

    async def steps(self, task: StoredTask, request: forms.Queries) -> forms.Steps:
        """Predictions before the first inner step and after each, and which units moved."""
        learner = self.learners[task.learner]
        if learner.view.stream:
            raise OptionError(
                "A learner of streams predicts another thing after each slice, not after each step; ask for predict."
            )

        def prepare() -> Stepping:
            return Stepping(learner, task.support, Predicting.of(task.model, to_raw(learner, request.x, self.limits)))

        path: Path = await self.batcher.answer(prepare)
        return forms.Steps(
            predictions=[answer_of(task, outputs) for outputs in path.outputs],
            moved=[forms.LayerMoved(layer=name, units=units.tolist()) for name, units in path.moved.items()],
        )

    async def complete(self, request: forms.Table) -> forms.TablePredictions:
        """Predictions for the rows of a table whose target is empty."""
        return await self.batcher.answer(lambda: Tabling.of(request.text, request.target, self.limits))

    def forget(self, name: str) -> None:
        """Forgets a task. Raises KeyError where there is none."""
        self.store.remove(name)
        self.metrics.tasks.set(len(self.store))

    # --- answers

    def describe_task(self, task: StoredTask) -> forms.TaskAnswer:
        """A task for its client."""
        return forms.TaskAnswer(
            id=task.id,
            learner=task.learner,
            classes=None if task.classes is None else list(task.classes),
            examples=task.count,
            inner_steps=task.model.inner_steps or 0,
            expires_in=self.store.left(task),
            notes=task.notes,
        )

    def describe_learner(self, name: str) -> forms.LearnerAnswer:
        """A learner for clients. Raises OptionError where there is none of this name."""
        _, learner = self._learner(name)
        card = shipped.card(name) if name in shipped.names() else {}
        classes = classes_of(learner)
        some = self.limits.classes if learner.any_ways else min(self.limits.classes, learner.outputs)
        fixed = None if classes is None else list(classes)
        return forms.LearnerAnswer(
            name=name,
            about=card.get("about", f"Adapts to new tasks by {learner.method.name}."),
            predicts="labels" if learner.loss.labels else "numbers",
            takes=_form_of(learner),
            input=card.get("input", learner.inputs.describe()),
            input_shape=jax.tree.map(lambda like: list(like.shape), learner.model.inputs),
            classes=(fixed or some) if learner.loss.labels else None,
            inner_steps=learner.inner_steps,
            method=learner.method.name,
            record={key: str(card[key]) for key in ("score", "data", "licence") if key in card},
        )

    def playground(self) -> forms.Playground:
        """The learners that fit the page's tabs."""
        return playground(self.learners, tables=self.tables)

    # ---

    def _learner(self, name: str | None) -> tuple[str, Learner]:
        name = next(iter(self.learners)) if name is None else name
        if name not in self.learners:
            raise OptionError(f"learner is {name!r:.80}, which is not served; {one_of(name, self.learners)}")
        return name, self.learners[name]

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Errors of targets name the learner where there are several: a request that names none goes to the first."""
        try:
            yield
        except DataError as error:
            if len(self.learners) == 1:
                raise
            raise DataError(f"For the learner {name!r}: {error}") from error

    def _keep(self, task: StoredTask) -> None:
        self.store.add(task)
        self.metrics.tasks.set(len(self.store))


def playground(learners: Mapping[str, Learner], *, tables: bool) -> forms.Playground:
    """The first learner, by name, that fits each tab of the page, and whether pasted tables are completed."""
    fitting = {"drawings": draws, "points": bends}
    first = {
        tab: next((name for name, learner in learners.items() if fits(learner)), None) for tab, fits in fitting.items()
    }
    return forms.Playground(**first, tables=tables)


def draws(learner: Learner) -> bool:
    """Whether drawings on the page are what a learner takes: dark ink on light paper, for classes of each task."""
    inputs = learner.inputs
    return isinstance(inputs, Images) and inputs.invert and inputs.channels == 1 and learner.loss.labels


def bends(learner: Learner) -> bool:
    """Whether a learner learns a curve: one number from one number."""
    one = learner.model.input_shape == (1,) and learner.output_shape == (1,)
    return one and not learner.loss.labels and not learner.inputs.named


def answer_of(task: StoredTask, outputs: NDArray[Any], notes: Sequence[str] = ()) -> forms.Predictions:
    """Outputs `[examples, outputs]` as an answer, with what is told beside it."""
    if task.classes is None:
        return forms.Predictions(numbers=np.asarray(outputs, np.float64).tolist(), notes=list(notes))
    logits = np.asarray(outputs, np.float64)[:, : len(task.classes)]
    likely = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = likely / likely.sum(axis=1, keepdims=True)
    labels: list[Label] = [task.classes[best] for best in shares.argmax(axis=1)]
    return forms.Predictions(
        classes=list(task.classes), labels=labels, probabilities=shares.tolist(), notes=list(notes)
    )


def _form_of(learner: Learner) -> Any:
    if isinstance(learner.inputs, Images):
        return "image"
    if learner.inputs.named:
        return "row"
    return "several" if learner.model.takes_several else "numbers"


def _both(first: Any, second: Sequence[Any] | None) -> Any:
    if first is None or second is None:
        if first is not None or second is not None:
            raise DataError("y is given for some examples and in the rows of others; send them in one way.")
        return None
    return [*first, *second] if isinstance(first, list) else np.concatenate([first, second])


__all__ = ["Service", "answer_of", "playground"]
