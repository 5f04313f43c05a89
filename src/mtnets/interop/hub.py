"""Learners on the Hugging Face Hub: a folder with the learner, and a model card that says what it is.

Only safetensors, JSON and the card are ever fetched, so that nothing which comes from there is run.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from mtnets.errors import OptionError, RunError
from mtnets.files import replacing
from mtnets.shipped import learners
from mtnets.tasks.inputs.table_inputs import Columns, listed

if TYPE_CHECKING:
    from mtnets.inner.methods import Method
    from mtnets.learner.learner import Learner
    from mtnets.networks.model import Model

WEIGHTS, RECORD, README = FILES = "learner.safetensors", "learner.json", "README.md"
LIBRARY = "mtnets"
TAGS = ("few-shot-learning", "meta-learning", "jax")
NORMS = {
    "none": "The network has no batch norm.",
    "support": "Batch norm uses statistics of the support set: no prediction depends on the others of its batch.",
    "running": "Batch norm uses averages that training carried along.",
    "transductive": "Batch norm uses statistics of the query batch itself, as in the papers of MAML and MT-net.",
}


def save_pretrained(learner: "Learner", folder: str | Path, *, licence: str | None = None) -> None:
    """Writes a learner into a folder as `Learner.save` does, and a model card `README.md` beside it.

    Args:
      learner: to be written.
      folder: where; made if it is not there.
      licence: as the Hub names it, for example `"mit"`; the one on record unless given, if any.
    """
    _write(learner, Path(folder), Path(folder).resolve().name, licence)


def from_pretrained(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    model: "Model | None" = None,
    method: "Method | None" = None,
    token: str | None = None,
) -> "Learner":
    """Reads a learner from a folder, from those that ship with the package, or from the Hub, in this order.

    Args:
      name_or_folder: a folder, the name of a learner that ships, or a repository such as `"user/name"`.
      revision: branch, tag or commit of the repository; its main branch unless given.
      model: the network, if it is not a built-in one.
      method: the method, if it is not one of `mtnets.METHODS`.
      token: for a private repository; the one that `hf auth login` keeps unless given.

    Raises:
      OptionError: for the Hub, without the extra `mtnets[hub]`.
      RunError: if there is no such repository or revision, it holds no learner, or the Hub cannot be reached; and as
        `mtnets.load`.
    """
    from mtnets.learner.learner import load  # which stands above: its methods are these functions

    name = str(name_or_folder)
    if Path(name).is_dir() or name in learners.names():
        return load(name, model=model, method=method)
    hub = _hub()
    with _reaching(name, revision):
        folder = hub.snapshot_download(
            name, revision=revision, token=token, allow_patterns=list(FILES), library_name=LIBRARY
        )
    if not (Path(folder) / WEIGHTS).is_file():
        raise RunError(f"The repository {name} has no {WEIGHTS}, so it holds no learner; name another one.")
    return load(folder, model=model, method=method)


def push_to_hub(
    learner: "Learner",
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    licence: str | None = None,
    commit_message: str = "Learner of mtnets",
) -> str:
    """Writes a learner with its model card into a repository of the Hub, which is made if it is not there.

    Args:
      learner: to be written.
      repo_id: `"user/name"`.
      private: whether a new repository is for its owner alone; one that is there stays as it is.
      token: that may write; the one that `hf auth login` keeps unless given.
      licence: as in `save_pretrained`.
      commit_message: of the commit.

    Returns:
      The address of the repository.

    Raises:
      OptionError: without the extra `mtnets[hub]`.
      RunError: if the token may not write there, or the Hub cannot be reached.
    """
    api = _hub().HfApi(token=token, library_name=LIBRARY)
    with tempfile.TemporaryDirectory() as folder:
        _write(learner, Path(folder), repo_id, licence)
        with _reaching(repo_id):
            address = api.create_repo(repo_id, private=private or None, exist_ok=True)
            api.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=commit_message, allow_patterns=list(FILES)
            )
    return str(address)


def model_card(learner: "Learner", name: str, licence: str | None = None) -> str:
    """A model card in Markdown: what a learner does, how it was trained, how to use it, and what it cannot do.

    Args:
      learner: that it is about.
      name: under which it can be loaded.
      licence: see `save_pretrained`.
    """
    licence = licence or learner.record.get("licence")
    front = {"library_name": LIBRARY, "tags": list(TAGS)} | ({"license": licence.lower()} if licence else {})
    # JSON is YAML
    header = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())
    parts = {
        f"# {name}": _about(learner),
        "## Use": _use(learner, name),
        "## How it was trained": _table(_protocol(learner)),
        "## Tasks": _table(learner.record.get("tasks") or {"tasks": "not recorded"}),
        "## Architecture": f"```\n{learner.model.summary(learner.method, learner.inner_steps)}\n```",
        "## Limits": "\n".join(f"- {limit}" for limit in _limits(learner)),
    }
    return f"---\n{header}\n---\n\n" + "\n\n".join(f"{title}\n\n{text}" for title, text in parts.items()) + "\n"


def _write(learner: "Learner", folder: Path, name: str, licence: str | None) -> None:
    learner.save(folder)
    with replacing(folder / README) as file:
        file.write(model_card(learner, name, licence).encode())


def _about(learner: "Learner") -> str:
    if learner.loss == "mse":
        what = (
            f"learns a new regression task, of {learner.outputs} output{'s' * (learner.outputs > 1)}, from its examples"
        )
    else:
        what = f"tells up to {learner.outputs} new classes apart, from a few examples of each"
    return (
        f"A few-shot learner: it {what}, by {learner.inner_steps} gradient step{'s' * (learner.inner_steps != 1)}. "
        f"Meta-trained by `{learner.method.name}` with mtnets, in JAX."
    )


def _use(learner: "Learner", name: str) -> str:
    columns = learner.inputs if isinstance(learner.inputs, Columns) else None
    own = "" if learner.model.config is not None else ", model=model"
    inputs = ", ".join(["examples", *map(str, learner.model.input_shape)])
    targets = f"[examples, {learner.outputs}]" if learner.loss == "mse" else f"labels 0 … {learner.outputs - 1}"
    adapt = f"learner.adapt(x_support, y_support)  # [{inputs}], {targets}"
    if columns is not None:
        names = [column.name for column in (*columns.columns, columns.target)]
        adapt = f"learner.adapt(support)  # a data frame with the columns {listed(names)}"
    elif (learner.record.get("tasks") or {}).get("family") == "tabular":
        adapt += ", standardised as mtnets.sklearn does"
    return (
        "```python\n"
        "import mtnets  # pip install 'mtnets[hub]'\n\n"
        f'learner = mtnets.Learner.from_pretrained("{name}"{own})\n'
        f"model = {adapt}\n"
        f"prediction = model{'' if learner.loss == 'mse' else '.probabilities'}({'query' if columns else 'x_query'})\n"
        "```"
    )


def _protocol(learner: "Learner") -> dict[str, Any]:
    """How it was trained, as far as that is on record."""
    record, training = learner.record, learner.record.get("training") or {}
    options = {k: v for k, v in learner.method.to_json().items() if k not in ("name", "inner_lr") and v is not None}
    metric = {"mse": "mean squared error", "cross-entropy": "accuracy"}[learner.loss]
    known = {
        "method": f"{learner.method.name} ({', '.join(f'{name}={value}' for name, value in options.items())})",
        "inner steps": learner.inner_steps,
        "inner rate α": learner.inner_lr,
        "batch norm": f"{learner.model.norm}. {NORMS[learner.model.norm]}",
        "loss": learner.loss,
        "raw data that it takes": (learner.inputs.to_json() or {}).get("kind"),
        "meta-steps": training.get("meta_steps"),
        "meta-batch": training.get("meta_batch"),
        "meta-rate": training.get("meta_lr"),
        "outer optimiser": record.get("optimiser"),
        "best learner at meta-step": record.get("meta_step"),
        "seed": record.get("seed"),
    }
    if record.get("validation") is not None:
        known["validation"] = f"{metric} {record['validation']:.4g} on {training.get('validation_tasks', '?')} tasks"
    return {name: value for name, value in known.items() if value is not None}


def _limits(learner: "Learner") -> list[str]:
    found = ["The scores are those of tasks like the ones that it was trained on; it knows nothing of others."]
    if learner.model.norm == "transductive":
        found.append(
            "Transductive batch norm: each prediction depends on the other inputs of its batch. For use, train with "
            "`norm='support'`."
        )
    if learner.model.config is None:
        found.append("The network is not a built-in one: its code is not here, and must be passed as `model=`.")
    if learner.loss == "cross-entropy":
        found.append(f"No more than {learner.outputs} classes.")
    if learner.record.get("validation") is None:
        found.append("No validation score is on record.")
    return found


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {_cell(value)} |" for name, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{name}={inner}" for name, inner in value.items())
    else:
        text = f"{value:g}" if isinstance(value, float | jnp.floating) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise OptionError("The Hugging Face Hub needs one more package: pip install 'mtnets[hub]'.") from error
    return huggingface_hub


@contextlib.contextmanager
def _reaching(name: str, revision: str | None = None) -> Iterator[None]:
    """What goes wrong on the way to the Hub, as one sentence with a remedy."""
    errors = _hub().errors
    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise RunError(
            f"The repository {name} has no revision {revision!r}; name a branch, tag or commit of it."
        ) from error
    except errors.GatedRepoError as error:
        raise RunError(
            f"The repository {name} asks for leave first; ask for it on its page, then hf auth login."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise RunError(
            f"There is no learner {name!r}: it is neither a folder, nor one that ships "
            f"({', '.join(learners.names())}), nor a repository of the Hub that this token may read. "
            "Look at the spelling; for a private one: hf auth login."
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise RunError(
            f"The Hub cannot be reached and {name} is not in its cache; look at the network, or name a folder that "
            "holds the learner."
        ) from error
    # errors of a connection are those of the library beneath, another one in each version
    except (*errors.HfHubHTTPError.__bases__, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise RunError(f"The token may not write to {name}; get one that may, and hf auth login.") from error
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
        raise RunError(f"The Hub did not serve {name}: {why}. Look at the network, or try again later.") from error
