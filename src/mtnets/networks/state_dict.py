"""The weights of a network under PyTorch's names and in PyTorch's layouts.

The layout of a weight is read off the operation that it enters, whatever library the network was written in: a kernel
`[inputs, units]` of Flax and a weight `[units, inputs]` of Equinox give the same result. Only leaves in no layer, such
as scales, offsets and statistics of normalisation, are recognised by their names.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtnets.arrays import to_bytes, to_numpy
from mtnets.errors import OptionError
from mtnets.files import replacing
from mtnets.networks.layers import Layer, find_layers, named
from mtnets.networks.model import Model
from mtnets.networks.programs import Use, first_uses, out_axes
from mtnets.networks.several import batch_like
from mtnets.trees import leaves_by_path

NAMES = {"scale": "weight", "offset": "bias", "bias": "bias", "mean": "running_mean", "var": "running_var"}
ELEMENTWISE = {"add", "sub", "mul", "div", "add_any"}


def state_dict(
    model: Model, params: Any, state: Any = None, *, flattened: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, np.ndarray]:
    """Weights and statistics in the form of the equivalent PyTorch module.

    Once converted to tensors, they can be passed to `module.load_state_dict`.

    | layer | here, for example | `weight` in PyTorch |
    |---|---|---|
    | dense; projections of attention, their axes flattened | `[inputs, units]` | `[units, inputs]` |
    | convolution of 1 to 3 axes, grouped or not | `[…, inputs / groups, units]` | `[units, inputs / groups, …]` |
    | transposed convolution, with a stride | `[…, inputs, units]` | `[inputs, units / groups, …]`, flipped |
    | embedding | `[entries, features]` | the same |

    Biases are flat. A layer has the name of its container: `layers.0.kernel` becomes `layers.0.weight`. Scales,
    offsets, means and variances of normalisation become `weight`, `bias`, `running_mean` and `running_var`. An offset
    without a scale, as in `mtnets.models.BatchNorm`, gets a weight of ones. Other vectors and numbers, and arrays that
    are added or multiplied, such as positional embeddings, are unchanged. Recurrent cells become the linear layers that
    they consist of.

    The PyTorch module must take images `[examples, channels, height, width]`, so that its `Flatten` puts channels
    first. The layer after a flattening then has its inputs in another order, and `flattened` must give the shape of one
    image. The module must also agree in all that is not a weight: ε (1e-3 in `mtnets.models.BatchNorm`), paddings,
    factors on embeddings, masked outputs. Batch norm with `norm="transductive"` is `track_running_stats=False`, and a
    transposed convolution of stride 1 is a convolution.

    Args:
      model: the network.
      params: its weights, for example those of an adapted model.
      state: its state. Defaults to none.
      flattened: layers whose inputs are flattened images, by name, with the shape of one image here, channels last:
        `{"head": (5, 5, 64)}`. Defaults to `model.flattened`.

    Raises:
      OptionError: for a weight that has no equivalent in PyTorch or whose use is not understood, and for a layer in
        `flattened` that does not exist or does not fit.
    """
    tree = {"params": params, "state": {} if state is None else state}
    x = batch_like(model.inputs, 2)
    forward = lambda tree: model.apply(tree["params"], tree["state"], x, None)[0]  # noqa: E731
    leaves = {path: to_numpy(leaf) for path, leaf in leaves_by_path(tree).items()}
    paths = list(leaves)
    uses = {paths[use.leaf.number]: use for use in first_uses(jax.make_jaxpr(forward)(tree).jaxpr)}
    images = dict(model.flattened if flattened is None else flattened)

    result: dict[str, np.ndarray] = {}
    rest = set(leaves)
    for layer, name in _named(model, find_layers(forward, tree), leaves):
        weight = _weight(layer, uses[layer.weight], leaves[layer.weight])
        if (shape := images.pop(name, None)) is not None:
            weight = _channels_first(name, weight, shape)
        result[_join(name, "weight")] = weight
        if layer.bias is not None:
            result[_join(name, "bias")] = leaves[layer.bias].reshape(-1)
        rest -= set(layer.paths)
    if images:
        known = ", ".join(name.removesuffix(".weight") for name in result if name.endswith("weight"))
        raise OptionError(f"flattened names {', '.join(images)}; the layers are {known}.")
    for path in paths:
        if path in rest and (other := _other(path, leaves[path], uses.get(path))) is not None:
            name, array = other
            if name in result:
                raise OptionError(f"Both {path} and another array would be {name} in PyTorch; rename one of them.")
            result[name] = array
    for name, array in list(result.items()):  # PyTorch's normalisation has no offset without a scale
        module, _, last = name.rpartition(".")
        if last == "bias" and _join(module, "weight") not in result:
            result[_join(module, "weight")] = np.ones_like(array)
    return {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in result.items()}


def save_state_dict(
    path: str | Path,
    model: Model,
    params: Any,
    state: Any = None,
    *,
    flattened: Mapping[str, tuple[int, ...]] | None = None,
) -> None:
    """Writes the result of `state_dict` as safetensors, for `safetensors.torch.load_file`.

    Args:
      path: of the file.
      model, params, state, flattened: as in `state_dict`.

    Raises:
      OptionError: as `state_dict`.
    """
    data = to_bytes(state_dict(model, params, state, flattened=flattened), {"format": "pt"})
    with replacing(path) as file:
        file.write(data)


def _named(model: Model, layers: Sequence[Layer], leaves: Mapping[str, Any]) -> list[tuple[Layer, str]]:
    """All layers, with the names of their PyTorch modules."""
    names: dict[str, str] = {}
    if model.naming is not None:
        naming = {name: (f"params.{w}", None if b is None else f"params.{b}") for name, (w, b) in model.naming.items()}
        chosen = {layer.weight: layer for layer in named(layers, naming, leaves)}
        layers = [chosen.get(layer.weight, layer) for layer in layers]
        names = {layer.weight: layer.name for layer in chosen.values()}
    return [(layer, names.get(layer.weight) or _plain(layer.name)) for layer in layers]


def _plain(path: str) -> str:
    """A path without the collections of its library, and with dots only."""
    path = re.sub(r"^(params|state\.(frozen|state)|state)(\.|$)", "", path)
    return re.sub(r"(/~)?/", ".", path.removeprefix("batch_stats."))


def _join(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _other(path: str, leaf: np.ndarray, use: Use | None) -> tuple[str, np.ndarray] | None:
    """Name and array of a leaf that is in no layer; None for a leaf that PyTorch does not need."""
    module, _, last = _plain(path).rpartition(".")
    place, _, kind = module.rpartition(".")
    if kind in ("mean_ema", "var_ema"):  # Haiku keeps an average and the terms that it is computed from
        return (_join(place, f"running_{kind[:-4]}"), leaf.reshape(-1)) if last == "average" else None
    if path.startswith("state.") and last.isdigit() and not module:
        raise OptionError(
            f"The network keeps its statistics by number ({last}, of shape {leaf.shape}), as Equinox does, and "
            "PyTorch needs names; use norm='transductive', or batch norm of another library."
        )
    if leaf.ndim >= 2 and not (use is not None and use.primitive in ELEMENTWISE):
        unused = "is not used, or only what is computed from it alone"
        how = unused if use is None else f"enters {use.primitive}, where its layout is not known"
        raise OptionError(
            f"{path.partition('.')[2]} {leaf.shape} {how}, so that it has no equivalent in PyTorch; export StableHLO "
            "(adapted.export) or ONNX (adapted.export_onnx)."
        )
    if last not in NAMES:
        return _join(module, last), leaf
    return _join(module, NAMES[last]), leaf.reshape([n for n in leaf.shape if n > 1] or [leaf.size])


def _weight(layer: Layer, use: Use, leaf: np.ndarray) -> np.ndarray:
    """A weight in PyTorch's layout."""
    array = np.flip(leaf, tuple(use.leaf.flipped))
    weight = {"gather": _table, "conv_general_dilated": _convolution, "dot_general": _dense}[use.primitive](use, array)
    if weight is None or use.leaf.scaled:
        raise OptionError(
            f"{layer.weight.partition('.')[2]} {layer.shape} enters {use.primitive} in a way that no layer of PyTorch "
            "does; export StableHLO (adapted.export) or ONNX (adapted.export_onnx)."
        )
    return weight


def _table(use: Use, array: np.ndarray) -> np.ndarray | None:
    """`[entries, features]`."""
    features = out_axes(use) or (array.ndim - 1,)
    return _arranged(array, [[axis for axis in range(array.ndim) if axis not in features], features])


def _dense(use: Use, array: np.ndarray) -> np.ndarray | None:
    """`[units, inputs]`; of a convolution by patches `[units, inputs, …]`."""
    units, (contracted, batch) = out_axes(use), (sides[use.position] for sides in use.eqn.params["dimension_numbers"])
    if units is None or batch:
        return None
    inputs = [axis for i in sorted(contracted) for axis in use.leaf.axes[i] or ()]
    whole = [axis for axis in range(array.ndim) if array.shape[axis] > 1]
    if array.ndim > 2 and len(contracted) == 1 and sorted([*units, *inputs]) == whole:  # a kernel made a matrix
        if units == (array.ndim - 1,):
            return np.moveaxis(array, (-1, -2), (0, 1))
        if units == (0,):  # in PyTorch's layout
            return array
    return _arranged(array, [units, inputs])


def _convolution(use: Use, array: np.ndarray) -> np.ndarray | None:
    """`[units, inputs / groups, …]`; of a transposed one `[inputs, units / groups, …]`, flipped."""
    options, shape = use.eqn.params, use.eqn.invars[use.position].aval.shape
    order = options["dimension_numbers"].rhs_spec
    if use.position != 1 or options["batch_group_count"] != 1:
        return None
    weight = _arranged(array, [use.leaf.axes[axis] or () for axis in order])
    if weight is None or weight.shape != tuple(shape[axis] for axis in order):
        return None
    if all(stride == 1 for stride in options["lhs_dilation"]):
        return weight
    blocks = weight.reshape(use.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    return np.flip(blocks.reshape(-1, *blocks.shape[2:]), tuple(range(2, weight.ndim)))


def _arranged(array: np.ndarray, axes: Sequence[Sequence[int]]) -> np.ndarray | None:
    """The array with each of these runs of its axes merged; None if an axis that is not of size one is in no run."""
    listed = [axis for run in axes for axis in run]
    others = [axis for axis in range(array.ndim) if axis not in listed]
    if None in listed or any(array.shape[axis] != 1 for axis in others):
        return None
    return array.transpose(*listed, *others).reshape([math.prod(array.shape[axis] for axis in run) for run in axes])


def _channels_first(name: str, weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A weight `[units, inputs]` with its inputs in PyTorch's order."""
    if weight.ndim != 2 or weight.shape[1] != math.prod(shape):
        raise OptionError(
            f"flattened says {shape} for {name}, whose weight is {weight.shape} in PyTorch; it must be the shape of "
            "one image, channels last."
        )
    return np.moveaxis(weight.reshape(len(weight), *shape), -1, 1).reshape(weight.shape)
