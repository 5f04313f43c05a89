"""What requests and answers look like. These types check the requests, and the OpenAPI document is made of them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

Label = StrictStr | StrictInt
Inputs = Annotated[
    list[Any],
    Field(
        min_length=1,
        description="An item for each example: an image as base64 (PNG, JPEG, …; a data URL does too) or nested "
        "numbers; the row of a table as an object; nested numbers of the shape that the learner says.",
    ),
]


class Form(BaseModel):
    """A request or an answer, without entries that nobody reads."""

    model_config = ConfigDict(extra="forbid")


class Examples(Form):
    """Examples of a task: what the learner's `adapt(x, y)` takes."""

    x: Inputs
    y: Annotated[
        list[Any] | None,
        Field(description="A label, number or list of numbers for each; none where rows have the target column."),
    ] = None


class NewTask(Examples):
    """A task to learn."""

    learner: Annotated[str | None, Field(description="Its name; the first of the server by default.")] = None
    inner_steps: Annotated[int | None, Field(ge=0, description="Gradient steps; those of training by default.")] = None


class MoreExamples(Examples):
    """More examples of a task."""

    anew: Annotated[
        bool,
        Field(
            description="Learn all examples from where the learner starts; by default the task goes on from where it "
            "is. New classes need it."
        ),
    ] = False


class Queries(Form):
    """Inputs to predict."""

    x: Inputs


class TaskAnswer(Form):
    """A task that was learned.

    Attributes:
      id: names it in further requests; whoever knows it can use the task.
      learner: its name.
      classes: in order of the probabilities of a prediction; none for numbers.
      examples: how many it was learned from.
      inner_steps: of the last adaptation.
      expires_in: seconds without use after which it is forgotten, rounded up to whole ones.
      notes: sentences on categories of its examples that the learner does not know.
    """

    id: str
    learner: str
    classes: list[Label] | None
    examples: int
    inner_steps: int
    expires_in: float
    notes: list[str]


class Tasks(Form):
    """The tasks that are kept, that which was used last at the end."""

    tasks: list[TaskAnswer]


class Predictions(Form):
    """Of a learner of labels `labels` and `probabilities` `[examples, classes]`, of others `numbers`, `[examples,
    outputs]`; `notes` are sentences on categories that the learner does not know."""

    classes: list[Label] | None = None
    labels: list[Label] | None = None
    probabilities: list[list[float]] | None = None
    numbers: list[Any] | None = None
    notes: list[str] = []


class LayerMoved(Form):
    """How far the units of a layer moved: the change of each unit's weights, as a share of the mean length of a unit's.

    Attributes:
      layer: its name.
      units: a number for each.
    """

    layer: str
    units: list[float]


class Steps(Form):
    """The network before the first inner step and after each.

    Attributes:
      predictions: `[steps + 1]`.
      moved: from the first to the last, by layer.
    """

    predictions: list[Predictions]
    moved: list[LayerMoved]


class LearnerAnswer(Form):
    """What a learner is and takes.

    Attributes:
      name: in requests.
      about: what it does.
      predicts: labels, or numbers.
      takes: the form of an input: `image`, `row` (an object of named cells), `several` (an object or list of arrays),
        or `numbers`.
      input: in words.
      input_shape: of one input of the network.
      classes: how many a task may have, for labels; or those of training, where they are the same for all tasks.
      inner_steps: of training.
      method: its name.
      record: score, data and licence, as far as they are known.
    """

    name: str
    about: str
    predicts: Literal["labels", "numbers"]
    takes: Literal["image", "row", "several", "numbers"]
    input: str
    input_shape: Any
    classes: int | list[Label] | None
    inner_steps: int
    method: str
    record: dict[str, str]


class Learners(Form):
    """The learners that are served."""

    learners: list[LearnerAnswer]


class Table(Form):
    """A table as text.

    Attributes:
      text: CSV with a line of names, separated by commas, semicolons, tabs or bars.
      target: the column to predict where it is empty.
    """

    text: str
    target: str


class TablePredictions(Form):
    """Predictions for the rows whose target is empty.

    Attributes:
      predicts: what the target was taken for.
      features: the numbers that rows were made into.
      learned_from: how many rows.
      rows: places of the predicted rows, counted from 0.
      predictions: for each of them a number or a class.
      probabilities: of the class that is predicted; none for numbers.
      notes: sentences on categories that no row to learn from has.
    """

    predicts: Literal["labels", "numbers"]
    features: list[str]
    learned_from: int
    rows: list[int]
    predictions: list[str | float]
    probabilities: list[float] | None
    notes: list[str]


class Playground(Form):
    """The learners of the page's tabs; none where the server has no such learner."""

    drawings: str | None
    points: str | None
    tables: bool


class Problem(BaseModel):
    """What is wrong with a request, in one sentence."""

    detail: str


class Status(Form):
    """How the server is."""

    status: str
