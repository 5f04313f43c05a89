"""Examples as people can look at them: curves, images, or rows of a table, before and after a task was learned."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtnets.inner import Batch
from mtnets.learner.learner import Learner
from mtnets.reports.charts import Line, line_chart, number
from mtnets.reports.elements import Child, Element, element, folded, table
from mtnets.reports.examples import Example
from mtnets.reports.page import figure
from mtnets.reports.words import name_of, percent, plural, plus_minus
from mtnets.tasks import Inputs
from mtnets.tasks.inputs import Images

MOST_IMAGES = 20  # of a support or a query set that are shown
MOST_LETTERS = 24  # of the name of a class; of longer ones the middle is left out
MOST_ROWS = 8  # of a table
MOST_COLUMNS = 4  # of its features
SUPPORT, QUERY = 4, 5  # styles of dots, beside lines of styles 0 … 3
LATER = 5  # inner steps of the third curve


def drawn(learner: Learner, example: Example) -> Child:
    """What a task was, and what the network says of it before the first inner step and after the last.

    Nothing where its inputs or targets have a shape that is neither.
    """
    y = np.asarray(example.query.y)
    if example.grid is not None and example.curves is not None and y.ndim == 2 and y.shape[1] == 1:
        return _curves(learner, example)
    if learner.loss.labels and y.ndim == 1 and np.ndim(example.query.x) == 4:
        return _images(learner, example)
    if np.ndim(example.query.x) == 2 and (y.ndim == 1 if learner.loss.labels else y.ndim == 2):
        return _rows(learner, example)
    return element("p", "Examples of this shape are not shown.", class_="faint")


def shown_steps(steps: int) -> Sequence[int]:
    """Up to four inner steps after which a curve is drawn: the first, a later one and the last."""
    return sorted({0, *(step for step in (1, LATER) if step < steps), steps})


def _curves(learner: Learner, example: Example) -> Child:
    grid, curves = np.asarray(example.grid)[:, 0], np.asarray(example.curves)
    steps = shown_steps(len(curves) - 1)
    lines = [
        Line(f"after {step} inner step{'s' * (step != 1)}", grid, curves[step, :, 0], style=style)
        for style, step in enumerate(steps)
    ]
    parts = (("to learn from (support)", example.support, SUPPORT), ("to be judged by (query)", example.query, QUERY))
    for name, batch, style in parts:
        x, y = (np.asarray(part)[_kept(batch), 0] for part in (batch.x, batch.y))
        lines.append(Line(name, x, y, dots=True, style=style))
    beyond = "" if len(curves) - 1 <= learner.inner_steps else f"; training took {plural(learner.inner_steps, 'step')}"
    about = f"Test task {example.place}, {example.what} of all by its score{beyond}."
    picture = line_chart(
        "Curves of a task", f"{about} Predictions after {_listed(steps)} inner steps.", lines, "x", "y", log=False
    )
    rows = [
        [number(float(x)), *(number(float(curve[i, 0])) for curve in curves[list(steps)])] for i, x in _tenths(grid)
    ]
    numbers = table(f"Curves of test task {example.place}", ["x", *(f"after {step}" for step in steps)], rows)
    return figure(picture, f"{example.what.capitalize()} task", about, folded("Its numbers", numbers))


def _listed(steps: Sequence[int]) -> str:
    return f"{', '.join(map(str, steps[:-1]))} and {steps[-1]}"


def _tenths(grid: np.ndarray) -> list[tuple[int, float]]:
    return [(int(i), float(grid[i])) for i in np.linspace(0, len(grid) - 1, 11).astype(int)]


def _kept(batch: Batch) -> np.ndarray:
    """The places of examples that are no padding."""
    return np.arange(batch.size) if batch.weights is None else np.flatnonzero(np.asarray(batch.weights) > 0)


def _images(learner: Learner, example: Example) -> Child:
    support, query = example.support, example.query
    labels = np.asarray(query.y)
    first = [_name(learner, example, label) for label in np.asarray(support.y)[_kept(support)][:MOST_IMAGES]]
    learned = [
        element("li", _image(learner, np.asarray(support.x)[i], f"An image to learn from, {name}"), _shortened(name))
        for i, name in zip(_kept(support), first, strict=False)
    ]
    asked = []
    for i in _spread(labels, _kept(query)):
        before, after = (example.predictions[step, i] for step in (0, -1))
        name = _name(learner, example, labels[i])
        right = int(np.argmax(after)) == labels[i]
        words = [_guessed(learner, example, before), " → ", _guessed(learner, example, after)]
        item = [_image(learner, np.asarray(query.x)[i], f"An image of {name}"), element("strong", _shortened(name))]
        asked.append(element("li", item, element("br"), words, element("br"), "✓ right" if right else "✗ wrong"))
    return element(
        "section",
        element("h3", f"{example.what.capitalize()} task"),
        element("p", _scored(learner, example), class_="faint"),
        element("h4", f"To learn from (support){_of_all(len(learned), len(_kept(support)))}"),
        element("ul", learned, class_="pictures few"),
        element(
            "h4",
            f"To be judged by (query): before → after, with the probability{_of_all(len(asked), len(_kept(query)))}",
        ),
        element("ul", asked, class_="pictures"),
        aria_label=f"{example.what.capitalize()} task",
    )


def _spread(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Places of a few examples: first one of each class, then another of each, and so on."""
    turn = np.array([np.sum(labels[places[:i]] == labels[place]) for i, place in enumerate(places)], int)
    classes = len(np.unique(labels[places]))
    return places[np.lexsort((labels[places], turn))][: min(max(MOST_IMAGES // 2, classes), MOST_IMAGES)]


def _of_all(shown: int, count: int) -> str:
    """How many are shown, where some are not."""
    return f"; {shown} of {count} are shown" if shown < count else ""


def _name(learner: Learner, example: Example, label: Any) -> str:
    """A class: by its name, where the task or the learner knows it, or else by its number in the task."""
    names: Sequence[str] = example.classes or getattr(learner.inputs, "classes", ())
    return names[int(label)] if int(label) < len(names) else f"class {int(label)}"


def _guess(learner: Learner, example: Example, probabilities: np.ndarray) -> str:
    if not np.isfinite(probabilities).all():
        return "not finite"
    return f"{_name(learner, example, np.argmax(probabilities))} ({percent(float(probabilities.max()))})"


def _guessed(learner: Learner, example: Example, probabilities: np.ndarray) -> Child:
    """The same within a picture's few letters."""
    if not np.isfinite(probabilities).all():
        return "not finite"
    name = _shortened(_name(learner, example, np.argmax(probabilities)))
    return [name, f" ({percent(float(probabilities.max()))})"]


def _shortened(name: str) -> Child:
    """The name of a class, without its middle where it is long; pointing at it shows the whole."""
    if len(name) <= MOST_LETTERS:
        return name
    part = (MOST_LETTERS - 1) // 2
    return element("span", f"{name[:part]}…{name[-part:]}", title=name)


def _scored(learner: Learner, example: Example) -> str:
    metric = learner.criterion.best
    before, after = (
        plus_minus(float(score), float("nan"), metric) for score in (example.scores[0], example.scores[-1])
    )
    name = name_of(metric, learner.criterion.to_json())
    return f"Test task {example.place}: its {name} is {before} before adaptation, {after} after."


def _image(learner: Learner, x: np.ndarray, about: str) -> Element:
    """An image as the data have it, from what the network takes."""
    from PIL import Image

    x = np.asarray(x, np.float32)
    if x.shape == learner.model.input_shape != learner.model.channels_last_shape is not None:  # channels first
        x = np.moveaxis(x, 0, -1)
    if isinstance(learner.inputs, Images):
        x = 1 - x if learner.inputs.invert else x
    elif np.isfinite(x).all() and (x.min() < 0 or x.max() > 1):  # in a unit of its own: from its least to its largest
        x = (x - x.min()) / max(float(np.ptp(x)), np.finfo(np.float32).tiny)
    pixels = np.rint(255 * np.nan_to_num(x).clip(0, 1)).astype(np.uint8)
    pixels = pixels[..., 0] if pixels.shape[-1] not in (3, 4) else pixels
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return element("img", src=f"data:image/png;base64,{data}", alt=about, width=pixels.shape[1], height=pixels.shape[0])


def _rows(learner: Learner, example: Example) -> Child:
    query, inputs = example.query, learner.inputs
    places = _kept(query)[:MOST_ROWS]
    x = np.asarray(query.x)
    features: Sequence[str] = getattr(inputs, "features", ()) or [f"x[{i}]" for i in range(x.shape[1])]
    if learner.loss.labels:
        truth = [_name(learner, example, label) for label in np.asarray(query.y)]
        said = [[_guess(learner, example, row) for row in example.predictions[step]] for step in (0, -1)]
    else:
        truth = _in_units(inputs, query.y)
        said = [_in_units(inputs, example.predictions[step]) for step in (0, -1)]
    rows = []
    for i in places:
        cells = [number(float(value)) for value in x[i, :MOST_COLUMNS]]
        rows.append([f"query {i}", truth[i], said[0][i], said[1][i], *cells])
    some = f", with {MOST_COLUMNS} of {x.shape[1]} features" if x.shape[1] > MOST_COLUMNS else ""
    scaled = ", standardised as the network takes them" if inputs.named else ""
    kept = len(_kept(example.support))
    titles = ["row", "the truth", "before", "after", *features[:MOST_COLUMNS]]
    return element(
        "section",
        element("h3", f"{example.what.capitalize()} task"),
        element("p", f"{_scored(learner, example)} It has {kept} rows to learn from.", class_="faint"),
        table(f"{len(rows)} query rows{some}{scaled}", titles, rows),
        aria_label=f"{example.what.capitalize()} task",
    )


def _in_units(inputs: Inputs, values: Any) -> list[str]:
    """Targets `[examples, targets]` in their own unit."""
    numbers = np.asarray(inputs.unscale(np.asarray(values, np.float64)))
    return [", ".join(number(float(each)) for each in row) for row in numbers]
