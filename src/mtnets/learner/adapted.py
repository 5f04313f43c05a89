"""What comes out of adaptation: a plain network of the original architecture, alone or thousands at once."""

import dataclasses
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mtnets.arguments import Coverage, Key, Steps, check, checked_arguments
from mtnets.errors import DataError, OptionError, RunError
from mtnets.inner import Loss, loss_from_json, loss_to_json
from mtnets.learner.compiled import predict, predict_each
from mtnets.learner.data import check_predictions, of_task, to_inputs, to_queries
from mtnets.learner.exported import program_of
from mtnets.learner.spread import check_numbers, interval_of, std_of
from mtnets.learner.task_files import Precision, write_task
from mtnets.learner.tensors import (
    check_layout,
    fill,
    layout_to_json,
    read_tensors,
    reading,
    used_outputs,
    write_tensors,
)
from mtnets.networks.adapters import to_torch
from mtnets.networks.exports import export_onnx, export_stablehlo
from mtnets.networks.exports.stablehlo import PLATFORMS
from mtnets.networks.model import Model, outputs_of, with_classes
from mtnets.networks.models import model_from_config
from mtnets.networks.state_dict import save_state_dict, state_dict
from mtnets.raw_arrays import read_array, read_arrays
from mtnets.tasks import AS_THEY_ARE, Inputs, inputs_from_json
from mtnets.trees import leaves_by_path

if TYPE_CHECKING:
    import torch

    from mtnets.learner.learner import Learner


@dataclasses.dataclass(frozen=True, eq=False)
class AdaptedModel:
    """A plain network of the original architecture, adapted to one task.

    Attributes:
      model: the architecture.
      params: its ordinary weights, metrics folded in.
      state: its state.
      used: which outputs the task uses, `[outputs]`; None for all.
      inputs: how raw data, such as images or tables, become inputs of the network.
      learner: what it was adapted by; None for a model that was read from a file of its own.
      moved: the weights that moved, before folding, by path; None as above.
      inner_steps: how many it took; None as above.
      loss: that of the learner; None for a model from a file that does not tell it: of version 0.1, or with a loss of
        the user's own.
      examples: how many it was adapted to, without those of weight 0; None for a model from a file.
    """

    model: Model
    params: Any
    state: Any
    used: Array | None = None
    inputs: Inputs = AS_THEY_ARE
    learner: "Learner | None" = None
    moved: Mapping[str, Array] | None = None
    inner_steps: int | None = None
    loss: Loss | None = None
    examples: int | None = None

    def __repr__(self) -> str:
        """`<AdaptedModel of <Model …>, 1 inner step, 3 of 5 outputs>`."""
        steps = "" if self.inner_steps is None else f", {self.inner_steps} inner step{'s' * (self.inner_steps != 1)}"
        used = "" if self.used is None else f", {int(self.used.sum())} of {len(self.used)} outputs"
        return f"<AdaptedModel of {self.model!r}{steps}{used}>"

    def __call__(self, x: Any) -> Array:
        """Predictions `[examples, outputs]` for inputs `[examples, ...]` or a table; logits of unused outputs are
        −∞.

        Raises:
          DataError: if shapes do not fit, or an input or a prediction is not finite.
        """
        inputs, count = to_queries(self.model, x, self.inputs, "x")
        outputs = np.asarray(predict(self.model, self.params, self.state, inputs))[:count]
        prediction = self.unscaled(outputs, self.inputs)
        check_predictions(prediction, inputs, logits=self._predicts_logits)
        return _masked(prediction, self.used, outputs.dtype)

    def probabilities(self, x: Any) -> Array:
        """Class probabilities `[examples, ways]`.

        Raises:
          OptionError: for a model of regression.
        """
        if self.loss is not None and not self.loss.labels:
            raise OptionError(
                f"This model was trained with {self.loss.name}: its outputs are numbers, not classes. Call the model "
                "itself: model(x)."
            )
        return jax.nn.softmax(self(x), axis=-1)

    def std(self, x: Any) -> np.ndarray:
        """Standard deviations of the targets, `[examples, targets]`, as the loss `gaussian` predicts them.

        Raises:
          OptionError: for a model whose loss says none.
        """
        check_numbers(self.loss)
        return std_of(self.loss, np.asarray(self(x))[None])  # type: ignore[arg-type]

    @checked_arguments
    def interval(self, x: Any, coverage: Coverage = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of central intervals, `[examples, targets]` each, as the losses `gaussian` and
        `quantile` predict them.

        Args:
          x: inputs, as for a prediction.
          coverage: the share of targets that are to lie within; with `quantile` that of two of its levels.

        Raises:
          OptionError: for a model whose loss says no interval of this coverage.
        """
        check_numbers(self.loss)
        return interval_of(self.loss, np.asarray(self(x))[None], coverage)  # type: ignore[arg-type]

    @checked_arguments
    def update(
        self,
        x: Any,
        y: Any = None,
        *,
        weights: Any = None,
        inner_steps: Steps | None = None,
        key: Key | None = None,
    ) -> "AdaptedModel":
        """Goes on adapting, from where it is, with these examples: all that are to count, old ones too.

        Args:
          x, y, weights, inner_steps, key: as in `Learner.adapt`; the same key draws the same masks. Features are
            scaled as they were.

        Raises:
          RunError: for a model that was read from a file of its own, without its learner; and as `Learner.adapt`.
        """
        learner, _ = self._origin("adapt anew: learner.adapt(x, y), or keep a task file: learner.with_task(path)")
        return learner.adapt(x, y, weights=weights, inner_steps=inner_steps, key=key, start=self)

    # --- files

    @checked_arguments
    def save(self, path: str | Path) -> Path:
        """Writes the weights and everything that is needed to use them as one safetensors file; `mtnets.load_adapted`
        reads it. Names in it are those of the network's parameters, below `params.`. Returns the path."""
        card = {
            "kind": "adapted model",
            "model": None if self.model.config is None else dict(self.model.config),
            **layout_to_json(self.model),
            "inputs": self.inputs.to_json(),
            "loss": None if self.loss is None else loss_to_json(self.loss),
        }
        if (ways := self.outputs) != self.model.outputs:
            card["ways"] = ways  # of a head that does not fix the number of classes
        parts = {"params": self.params, "state": self.state} | ({} if self.used is None else {"used": self.used})
        arrays = {f"{part}.{name}": leaf for part in parts for name, leaf in leaves_by_path(parts[part]).items()}
        write_tensors(path, arrays, card)
        return Path(path)

    @checked_arguments
    def save_task(self, path: str | Path, *, precision: Precision = "half") -> Path:
        """Writes what moved as a small safetensors file, which `learner.with_task(path)` applies on top of the learner.

        Weights that a mask held are not in it.

        Args:
          path: of the file.
          precision: `"full"` keeps every bit; `"half"` takes half the bytes, and rounds how far each weight moved to
            one part in 2 048.

        Returns:
          The path.

        Raises:
          RunError: for a model that was read from a file of its own, without its learner.
        """
        learner, moved = self._origin("use save(path)")
        write_task(path, self, learner, moved, precision)
        return Path(path)

    @checked_arguments
    def export(
        self,
        path: str | Path,
        *,
        raw: bool = True,
        classes: Sequence[str] | None = None,
        platforms: tuple[str, ...] = PLATFORMS,
    ) -> Path:
        """Writes the model as StableHLO, for any number of examples, and beside it a card, `path` + `.json`, which says
        how it is called: names, shapes and units of what goes in and comes out.

        What is written has been run and compared with this model, on examples that were made up.

        Args:
          path: of the file.
          raw: whether the program takes raw data and returns what they mean: pixels (uint8, of the size of the
            learner), rows of a table by its columns, or inputs of the network where there is nothing to prepare; and
            the most probable class with the probabilities of all, or numbers in units of the targets. Otherwise it is
            the bare network, from inputs (of tables, features that are not scaled) to logits or such numbers.
          classes: names of the classes, in the order of the labels, for the card. Defaults to those of a table.
          platforms: where the program will run, of `cpu`, `cuda`, `rocm` and `tpu`.

        Returns:
          The path of the program.

        Raises:
          OptionError: without the extra `mtnets[export]`, for a network that cannot be traced for any number of
            examples, names that are not one for each class, and a program whose predictions differ from those of this
            model; no file is left then.
        """
        export_stablehlo(program_of(self, raw, classes), path, platforms)
        return Path(path)

    @checked_arguments
    def export_onnx(self, path: str | Path, *, raw: bool = True, classes: Sequence[str] | None = None) -> Path:
        """Writes the model as ONNX, for any number of examples, with the card of `export` among its metadata.

        Args:
          path, raw, classes: as in `export`.

        Returns:
          The path.

        Raises:
          OptionError: without the extra `mtnets[onnx]`, for an operation that ONNX does not have, and as `export`.
        """
        export_onnx(program_of(self, raw, classes), path)
        return Path(path)

    @checked_arguments
    def state_dict(self, *, flattened: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, np.ndarray]:
        """The weights under the names and in the layouts of an equivalent PyTorch module; see
        `mtnets.networks.state_dict`."""
        return state_dict(self.model, self.params, self.state, flattened=flattened)

    @checked_arguments
    def save_state_dict(self, path: str | Path, *, flattened: Mapping[str, tuple[int, ...]] | None = None) -> Path:
        """Writes them as safetensors, for `safetensors.torch.load_file`. Returns the path."""
        save_state_dict(path, self.model, self.params, self.state, flattened=flattened)
        return Path(path)

    def to_torch(self, module: "torch.nn.Module") -> "torch.nn.Module":
        """A copy of the PyTorch module that the model was made of, with the adapted weights and, for batch norm, the
        statistics that belong to them, in `eval()`.

        It predicts what this model does for inputs as the network takes them, `[examples, *input_shape]`. What stands
        around the network is not in it: the preparation of images and tables, and the mask of outputs that the task
        does not use. Batch norm with `norm="transductive"` takes the statistics of each batch there too.

        Args:
          module: the module; it is left as it is.

        Raises:
          OptionError: for a module that this model was not made of.
        """
        return to_torch(self, module)

    def _origin(self, remedy: str) -> "tuple[Learner, Mapping[str, Array]]":
        """The learner, and the weights that moved."""
        if self.learner is None or self.moved is None:
            raise RunError(f"This model was read from a file of its own and knows no learner; {remedy}.")
        return self.learner, self.moved

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return outputs_of(self.model, self.params, self.state)

    @property
    def _predicts_logits(self) -> bool:
        """Whether the outputs may be logits of classes."""
        return self.loss is None or self.loss.labels

    def unscaled(self, outputs: Any, inputs: Inputs) -> Any:
        """Outputs in units of the targets."""
        return inputs.unscale(outputs) if self.loss is None else self.loss.unscaled(outputs, inputs.unscale)


@dataclasses.dataclass(frozen=True, eq=False)
class AdaptedModels:
    """Networks of the same architecture, each adapted to a task of its own.

    Attributes:
      like: one of them.
      params: their weights, stacked, `[tasks, ...]`.
      state: their state, stacked.
      moved: the weights that moved, before folding, stacked.
      inputs: how raw data become inputs of each.
      used: which outputs each uses, `[tasks, outputs]`; None for all.
    """

    like: AdaptedModel
    params: Any
    state: Any
    moved: Mapping[str, Array]
    inputs: tuple[Inputs, ...]
    used: Array | None = None

    def __repr__(self) -> str:
        return f"<AdaptedModels, {len(self)} of {self.like.model!r}>"

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.params)[0])

    def __getitem__(self, i: int) -> AdaptedModel:
        i = operator.index(i)
        if not -len(self) <= i < len(self):
            raise IndexError(f"There are {len(self)} models and no number {i}.")
        params, state, moved, used = jax.tree.map(lambda a: a[i], (self.params, self.state, self.moved, self.used))
        used = None if used is None or bool(used.all()) else used
        return dataclasses.replace(self.like, params=params, state=state, moved=moved, inputs=self.inputs[i], used=used)

    def __iter__(self) -> Iterator[AdaptedModel]:
        return (self[i] for i in range(len(self)))

    def __call__(self, x: Any) -> Array:
        """Predictions `[tasks, examples, outputs]` for inputs `[tasks, examples, ...]`, each by its own network.

        Raises:
          DataError: as for one model, naming the task.
        """
        arrays = read_arrays(x, "x") if self.like.model.takes_several else read_array(x, "x")
        for array in jax.tree.leaves(arrays):
            if array.ndim < 2 or len(array) != len(self):
                raise DataError(
                    f"x has shape {array.shape}; these are {len(self)} tasks: ({len(self)}, examples, ...)."
                )
        tasks = []
        for i, inputs in enumerate(self.inputs):
            with of_task(i):
                examples = jax.tree.map(lambda array, i=i: array[i], arrays)
                tasks.append(to_inputs(self.like.model, examples, inputs, "x"))
        stacked = jax.tree.map(lambda *parts: np.stack(parts), *tasks)
        outputs = np.asarray(predict_each(self.like.model, self.params, self.state, stacked))
        scaled = [self.like.unscaled(each, inputs) for each, inputs in zip(outputs, self.inputs, strict=True)]
        predictions = np.stack(scaled)
        check_predictions(predictions, stacked, logits=self.like._predicts_logits)
        return _masked(predictions, None if self.used is None else np.asarray(self.used)[:, None], outputs.dtype)


def _masked(predictions: np.ndarray, used: ArrayLike | None, dtype: np.dtype) -> Array:
    """Predictions, with −∞ for outputs that are not used. By NumPy, which compiles nothing for this many examples."""
    if used is not None:
        predictions = np.where(np.asarray(used), predictions, np.asarray(-np.inf, predictions.dtype))
    return jnp.asarray(predictions, dtype)


@checked_arguments
def load_adapted(path: str | Path, *, model: Model | None = None) -> AdaptedModel:
    """Reads what `AdaptedModel.save` wrote.

    Args:
      path: of the file.
      model: the network, if it is not a built-in one.

    Raises:
      RunError: if there is none, it is damaged, or its arrays do not fit its network.
    """
    arrays, card = read_tensors(path, "adapted model")
    with reading(path, "adapted model", passed=model is not None):
        if model is None:
            if card["model"] is None:
                raise RunError(f"The network in {path} is not a built-in one; pass it: load_adapted(path, model=...).")
            model = model_from_config(card["model"])
        check_layout(card, model, path)
        params, state = jax.eval_shape(model.init, jax.random.key(0))
        if "ways" in card:
            check("ways", card["ways"], int)
            params = with_classes(model, params, card["ways"])
        outputs, inputs, loss = outputs_of(model, params, state), inputs_from_json(card["inputs"]), card.get("loss")
        inputs.check_network(model.input_shape, outputs)
        check("loss", loss, str | Mapping | None)
        custom = isinstance(loss, Mapping) and "custom" in loss
        loss = None if loss is None or custom else loss_from_json(loss)
        used = used_outputs(arrays, outputs)
        trees = fill({"params": params, "state": state}, arrays, Path(path))
        return AdaptedModel(model, trees["params"], trees["state"], used, inputs, loss=loss)
