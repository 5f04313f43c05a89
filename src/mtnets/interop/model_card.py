"""Model cards of learners, in Markdown."""

import json
from collections.abc import Mapping
from typing import Any

from mtnets.analysis.summary import summarise
from mtnets.arguments import checked_arguments
from mtnets.errors import printable
from mtnets.inner import method_to_json
from mtnets.learner.learner import Learner

LIBRARY = "mtnets"
TAGS = ("few-shot-learning", "meta-learning", "jax")
NORMS = {
    "none": "The network has no batch norm.",
    "support": "Batch norm uses statistics of the support set: no prediction depends on the others of its batch.",
    "running": "Batch norm uses averages over training.",
    "transductive": "Batch norm uses statistics of the query batch itself, as in the papers of MAML and MT-net.",
}
SCORES = {"mse": "mean squared error"}


@checked_arguments
def model_card(learner: Learner, name: str, licence: str | None = None) -> str:
    """A model card: what a learner does, how it was trained, how to use it, and what it cannot do.

    Args:
      learner: the learner.
      name: the repository of the Hub that it can be loaded from.
      licence: as the Hub names it, for example `"mit"`. Defaults to the one on record, if any.
    """
    licence = licence or learner.record.get("licence")
    front = {"library_name": LIBRARY, "tags": list(TAGS)} | ({"license": licence.lower()} if licence else {})
    header = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())  # JSON is YAML
    sections = {
        f"# {name}": _about(learner),
        "## Use": _use(learner, name),
        "## How it was trained": _table(_training(learner)),
        "## Tasks": _table(learner.record.get("tasks") or {"tasks": "not recorded"}),
        "## Architecture": f"```\n{summarise(learner.model, learner.method, learner.inner_steps)}\n```",
        "## Limits": "\n".join(f"- {limit}" for limit in _limits(learner)),
    }
    return f"---\n{header}\n---\n\n" + "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items()) + "\n"


def _about(learner: Learner) -> str:
    if not learner.loss.labels:
        outputs = f"{learner.outputs} output{'s' * (learner.outputs > 1)}"
        purpose = f"learns a new regression task, of {outputs}, from its examples"
    else:
        purpose = f"tells up to {learner.outputs} new classes apart, from a few examples of each"
    return (
        f"A few-shot learner: it {purpose}, by {learner.inner_steps} gradient step{'s' * (learner.inner_steps != 1)}. "
        f"Meta-trained by `{learner.method.name}` with mtnets, in JAX."
    )


def _use(learner: Learner, name: str) -> str:
    model = "" if learner.model.config is not None else ", model=model"
    targets = _shape(learner) if not learner.loss.labels else f"labels 0 … {learner.outputs - 1}"
    usage = learner.inputs.usage(learner.model.input_shape, targets)
    return (
        "```python\n"
        "import mtnets  # pip install 'mtnets[hub]'\n\n"
        f'learner = mtnets.load_from_hub("{name}"{model})\n'
        f"model = learner.adapt({usage.support})  # {usage.about}\n"
        f"prediction = model{'.probabilities' if learner.loss.labels else ''}({usage.query})\n"
        "```"
    )


def _shape(learner: Learner) -> str:
    """Of the targets."""
    shape = learner.loss.shape_of_targets(learner.output_shape)
    return "[examples, ...]" if shape is None else f"[examples, {', '.join(map(str, shape))}]"


def _described(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    return f"a function of its own ({loss['custom']})" if "custom" in loss else _call(loss)


def _training(learner: Learner) -> dict[str, Any]:
    """How it was trained, as far as that is on record."""
    record, training = learner.record, learner.record.get("training") or {}
    rows = {
        "method": _method(learner),
        "inner steps": learner.inner_steps,
        "inner rate α": float(learner.inner_lr),
        "batch norm": f"{learner.model.norm}. {NORMS[learner.model.norm]}",
        "loss": _described(learner.criterion.to_json()["loss"]),
        "raw data that it takes": learner.inputs.describe(),
        "meta-steps": training.get("meta_steps"),
        "meta-batch": training.get("meta_batch"),
        "meta-rate": training.get("meta_lr"),
        "outer optimiser": record.get("optimiser"),
        "best learner at meta-step": record.get("meta_step"),
        "seed": record.get("seed"),
    }
    if record.get("validation") is not None:
        tasks = training.get("validation_tasks", "?")
        best = learner.criterion.best
        score = SCORES.get(learner.loss.name, f"loss ({learner.loss.name})") if best == "loss" else best
        rows["validation"] = f"{score} {record['validation']:.4g} on {tasks} tasks"
    return {name: value for name, value in rows.items() if value is not None}


def _method(learner: Learner) -> str:
    """`mt_net (mask=sample, estimator=truncated (last_steps=2), …)`."""
    options = {name: value for name, value in method_to_json(learner.method).items() if name != "inner_lr"}
    return _call({name: value for name, value in options.items() if value is not None})


def _call(values: Mapping[str, Any]) -> str:
    options = [
        f"{name}={_call(value) if isinstance(value, Mapping) else value}"
        for name, value in values.items()
        if name != "name"
    ]
    return f"{values['name']} ({', '.join(options)})" if options else str(values["name"])


def _limits(learner: Learner) -> list[str]:
    limits = ["The scores hold for tasks like those of its training; nothing is known about others."]
    if learner.model.norm == "transductive":
        limits.append(
            "Transductive batch norm: each prediction depends on the other inputs of its batch. For use, train with "
            "`norm='support'`."
        )
    if learner.model.config is None:
        limits.append("The network is not a built-in one: its code is not here, and must be passed as `model=`.")
    if learner.loss.labels:
        limits.append(f"No more than {learner.outputs} classes.")
    if learner.record.get("validation") is None:
        limits.append("No validation score is on record.")
    return limits


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {_cell(value)} |" for name, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{name}={inner}" for name, inner in value.items())
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return printable(text.replace("|", "\\|").replace("\n", " "))
