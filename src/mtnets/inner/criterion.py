"""What a training learns by and judges by, in one value, and its record."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jax import Array

from mtnets.arguments import check
from mtnets.errors import OptionError, one_of
from mtnets.inner.losses import LOSSES, Binary, CrossEntropy, Dice, Gaussian, Quantile
from mtnets.inner.metrics import METRICS
from mtnets.inner.objective import LearnedLoss, Loss, Metric, Predict, import_path, loss_of
from mtnets.inner.task import Batch
from mtnets.named import Kind, from_text, to_text, with_options

LossLike = str | Loss | Callable[..., Any]
MetricLike = str | Metric | Callable[..., Any]
LOSS = "loss"  # the score that is the loss itself
_KIND = Kind("loss", "huber(delta=2.0)")


@dataclasses.dataclass(frozen=True)
class Criterion:
    """What a task is learned by and judged by.

    Attributes:
      loss: on the query set: what meta-training makes small.
      inner_loss: on the support set: what a task makes small.
      metrics: beside the loss, by name.
      best: the name of the score that chooses the best learner, `"loss"` or one of the metrics.
    """

    loss: Loss
    inner_loss: Loss
    metrics: tuple[tuple[str, Metric], ...] = ()
    best: str = LOSS

    @property
    def labels(self) -> bool:
        """Whether targets are labels of classes, in support and query sets."""
        return self.loss.labels and self.inner_loss.labels

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of the score that chooses is better."""
        return self.best != LOSS and bool(dict(self.metrics)[self.best].higher_is_better)

    def scores(self, predict: Predict, batch: Batch, key: Array) -> dict[str, Array]:
        """The metrics of a network on a batch, by name, scalars. Arguments are those of `Loss.value`."""

        def point(x: Any) -> Any:
            return self.loss.point(predict(x))

        return {name: metric.value(point if metric.of_points else predict, batch, key) for name, metric in self.metrics}

    def to_json(self) -> dict[str, Any]:
        """The record: names, options, and import paths of what is the user's; only what is not the default."""
        record = {"loss": loss_to_json(self.loss)}
        if self.inner_loss != self.loss:
            record["inner_loss"] = loss_to_json(self.inner_loss)
        if self != criterion(self.loss, self.inner_loss):
            record["metrics"] = {name: _metric_to_json(metric) for name, metric in self.metrics}
            record["best"] = self.best
        return record


def criterion(
    loss: LossLike,
    inner_loss: LossLike | None = None,
    metrics: Mapping[str, MetricLike] | None = None,
    best: str | None = None,
) -> Criterion:
    """Settles what the user gave.

    Args:
      loss: a name, with options or without (`"huber(delta=2.0)"`), one of the losses that ship, or a function of the
        user's.
      inner_loss: the same, on the support set. Defaults to the loss.
      metrics: by name: names of metrics that ship, metrics, or functions. Defaults to the accuracy for a loss of labels
        and to none for others.
      best: which of them chooses the best learner, or `"loss"`. Defaults to the first of the metrics that says whether
        higher is better, and to the loss without any.

    Raises:
      OptionError: for a name that does not exist, a metric of other targets than the loss has, or a `best` that does
        not say whether higher is better.
    """
    outer = as_loss(loss)
    if metrics is None:
        metrics = {"accuracy": "accuracy"} if isinstance(outer, CrossEntropy) else {}
    known = {name: as_metric(name, metric) for name, metric in metrics.items()}
    for name, metric in known.items():
        _check_targets(outer, name, metric)
        _check_interval(outer, name, metric)
    if isinstance(outer, LearnedLoss):
        raise OptionError(
            f"The loss {outer} is learned, and meta-training would make it small instead of the errors; give it as "
            "inner_loss=, beside a loss that is fixed."
        )
    if LOSS in known:
        raise OptionError("A metric is named 'loss', which is the name of the loss itself; use another name.")
    if best is None:
        best = next((name for name, metric in known.items() if metric.higher_is_better is not None), LOSS)
    elif best != LOSS:
        if best not in known:
            raise OptionError(f"best is {best!r}; it must be one of {', '.join((LOSS, *known))}.")
        if known[best].higher_is_better is None:
            raise OptionError(
                f"best is {best!r}, which does not say whether higher is better; say it: "
                f"metrics={{{best!r}: mtnets.Metric(function, higher_is_better=True)}}."
            )
    return Criterion(outer, outer if inner_loss is None else as_loss(inner_loss), tuple(known.items()), best)


def _check_targets(loss: Loss, name: str, metric: Metric) -> None:
    """Raises OptionError for a metric of labels beside a loss of numbers, or the reverse."""
    if _fits(loss, metric):
        return
    fitting = [each for each, shipped in METRICS.items() if _fits(loss, shipped)]
    targets = "labels, or of yes or no" if metric.targets == "any" else metric.targets
    raise OptionError(
        f"The metric {name!r} is of {targets}, and the loss {loss.name} of {loss.targets}; choose among "
        f"{', '.join(fitting)}."
    )


def _fits(loss: Loss, metric: Metric) -> bool:
    """Whether a metric is of such targets as the loss has."""
    if loss.targets == "numbers" and metric in [METRICS[name] for name in ("f1", "auroc", "auprc")]:
        return isinstance(loss, Binary | Dice)  # numbers that are a yes or no
    return loss.targets == metric.targets or "any" in (loss.targets, metric.targets)


def _check_interval(loss: Loss, name: str, metric: Metric) -> None:
    """Raises OptionError for a metric of intervals where a loss that ships says none, or none that it can tell."""
    if metric not in (METRICS["coverage"], METRICS["width"]) or loss.name == "custom" or isinstance(loss, Gaussian):
        return
    if not (isinstance(loss, Quantile) and len(loss.levels) > 2):
        raise OptionError(
            f"The metric {name!r} is of intervals, and the loss is {loss}; use 'gaussian', or 'quantile' with three "
            "levels or more."
        )


def as_loss(loss: LossLike) -> Loss:
    """A loss by its name, by value, or of a function.

    Raises:
      OptionError: if there is none of this name, or a function cannot be called as a loss.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise OptionError(f"The loss is the class {loss.__name__}; call it: {loss.__name__}().")
    if isinstance(loss, str):
        return loss_from_text(loss)
    if callable(loss):
        return loss_of(loss)
    raise OptionError(f"loss is {loss!r}; it must be a name, a loss such as mtnets.losses.Huber(), or a function.")


def as_metric(name: str, metric: MetricLike) -> Metric:
    """A metric by its name, by value, or of a function.

    Raises:
      OptionError: if there is none of this name, or a function cannot be called as a metric.
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        if metric not in METRICS:
            raise OptionError(f"There is no metric {metric!r}; {one_of(metric, METRICS)}")
        return METRICS[metric]
    if callable(metric):
        return Metric(metric)
    raise OptionError(f"metrics[{name!r}] is {metric!r}; it must be a name, a mtnets.Metric or a function.")


def criterion_from_json(values: Mapping[str, Any], given: Mapping[str, Any]) -> Criterion:
    """The criterion that a record describes.

    Args:
      values: the record; those of version 0.1 hold the name of the loss alone.
      given: what the user passes in the place of what is not recorded: `loss`, `inner_loss`, `metrics`.

    Raises:
      OptionError: for a record that is none, or one with a function of the user's that is not passed.
    """
    loss = given.get("loss") or loss_from_json(values.get("loss"), "loss")
    inner = given.get("inner_loss")
    if inner is None and "inner_loss" in values:
        inner = loss_from_json(values["inner_loss"], "inner_loss")
    if "metrics" not in values:
        return criterion(loss, inner, given.get("metrics"))
    recorded = dict(values["metrics"]).items()
    metrics = {name: record for name, record in recorded if isinstance(record, str) and record in METRICS}
    metrics |= given.get("metrics") or {}
    best = values.get("best")
    return criterion(loss, inner, metrics, best if best in (LOSS, *metrics) else None)


def loss_to_json(loss: Loss) -> Any:
    """The record of a loss: its name, its name and options, or where a function of the user's comes from."""
    if type(loss) is LOSSES.get(loss.name):
        if loss == LOSSES[loss.name]():
            return loss.name
        options = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}  # type: ignore[arg-type]
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        return {"name": loss.name, **plain}
    return {"custom": import_path(getattr(loss, "function", type(loss)))}


def _metric_to_json(metric: Metric) -> Any:
    shipped = next((name for name, each in METRICS.items() if each == metric), None)
    return shipped or {"custom": import_path(metric.function)}


def loss_from_text(text: str) -> Loss:
    """The loss of a name, or of a name with options in brackets: `huber`, `quantile(levels=(0.1, 0.5, 0.9))`.

    Options are literals of Python, which are read and never evaluated.

    Raises:
      OptionError: for a name or an option that does not exist, or text of another form.
    """
    return from_text(text, LOSSES, _KIND)


def loss_to_text(loss: Loss) -> str:
    """A loss that ships as `loss_from_text` reads it, without options that have their usual values."""
    return to_text(loss.name, loss)


def loss_from_json(record: Any, argument: str = "loss") -> Loss:
    """The loss of a record. Never imports what a file names: that would execute it."""
    check(argument, record, str | Mapping)
    options = {"name": record} if isinstance(record, str) else dict(record)
    if "custom" in options:
        where = f" ({options['custom']})" if options["custom"] else ""
        raise OptionError(
            f"The {argument.replace('_', ' ')} is a function of your own{where}, which is not recorded; pass it: "
            f"load(path, {argument}=...)."
        )
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in LOSSES:
        raise OptionError(f"There is no loss {name!r}; {one_of(str(name), LOSSES)}")
    return with_options(name, options, LOSSES, _KIND)
