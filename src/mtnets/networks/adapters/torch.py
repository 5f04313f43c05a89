"""PyTorch modules as models, and adapted weights back into PyTorch modules."""

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError, first_line, warn
from mtnets.networks.adapters.checks import check_params, check_state, checked
from mtnets.networks.adapters.transform import FROZEN
from mtnets.networks.model import Model, Norm, check_norm
from mtnets.networks.several import Shapes, checked_shapes, inputs_like
from mtnets.trees import leaves_by_path

if TYPE_CHECKING:
    import torch

NEEDS_TORCH = "PyTorch modules need one more package: pip install 'mtnets[torch]'."
FIRST, LAST = (0, 1), (-1, -2)  # where a convolution's weight has units and inputs: in PyTorch; in JAX


class Adapted(Protocol):
    """What an adapted model has, as far as it goes back into a module."""

    @property
    def model(self) -> Model: ...
    @property
    def params(self) -> Any: ...
    @property
    def state(self) -> Any: ...


@checked_arguments
def from_torch(
    network: "torch.nn.Module",
    input_shape: Shapes,
    *,
    norm: Norm = "none",
    input_dtype: Any = jnp.float32,
) -> Model:
    """A PyTorch module as a model. It starts from the module's weights whatever the seed.

    `torch.export` writes a copy of the module as a graph of operations, once for learning and once for predicting, and
    JAX runs the graph; the module itself is left alone. Parameters keep PyTorch's names and shapes, but for the weights
    of convolutions, which are `[*kernel, inputs / groups, units]`, as JAX's are. What the module says counts:

    - Parameters with `requires_grad=False` are neither adapted nor meta-trained.
    - Sub-modules in `eval()` stay so while the rest learns: their dropout is off, their batch norm keeps its
      statistics. A module that is in `eval()` as a whole learns as if it were not.
    - Modules of 16 bits compute in their own precision; weights, gradients and everything meta-learned are float32.

    Args:
      network: the module; it takes `[examples, *input_shape]`, with channels first, and returns
        `[examples, outputs]`.
      input_shape: shape of one input, without the batch axis.
      norm: what batch norm means, see `Model`. `running` keeps averages with the momentum of each layer. PyTorch
        divides the variance that it keeps by n − 1, so that `support` differs slightly from the same network in JAX.
      input_dtype: type of the inputs; an integer type for a network that begins with an embedding.

    Raises:
      OptionError: without PyTorch; for a `norm` that does not exist or does not fit the network; for a module that
        `torch.export` cannot trace, or an operation that has no equivalent, with its layer and line.

    References:
      torch.export, https://docs.pytorch.org/docs/stable/export.html.
    """
    try:
        import torch

        from mtnets.networks.aten.program import to_array
        from mtnets.networks.aten.trace import Traced
    except ImportError as error:
        raise OptionError(NEEDS_TORCH) from error
    _check_module(network)
    check_norm(norm)
    input_shape = checked_shapes(input_shape)
    modules = _modes(network, norm)
    names = _names(network)
    tensors = {name: tensor for name, tensor in _tensors(network) if names.get(name) == name}
    learned = [n for n, t in tensors.items() if isinstance(t, torch.nn.Parameter) and t.is_floating_point()]
    held = [name for name in learned if not tensors[name].requires_grad]
    if learned and len(held) == len(learned):
        raise OptionError("All parameters of the module have requires_grad=False; leave something to learn.")
    narrow = {name: _dtype(t) for name, t in tensors.items() if t.is_floating_point() and t.itemsize < 4}
    arrays = {n: to_array(t).astype(jnp.float32) if n in narrow else to_array(t) for n, t in tensors.items()}
    kernels = _kernels(network, names)
    arrays |= {name: jnp.moveaxis(arrays[name], FIRST, LAST) for name in kernels}
    weights = {name: arrays[name] for name in learned}
    buffers = {name: arrays[name] for name in arrays if name not in weights}
    check_params(weights)
    statistics = _statistics(modules[True], norm)

    like = inputs_like(input_shape, input_dtype)
    computed = jax.tree.map(lambda leaf: tensors[learned[0]].dtype if _is_float(leaf) else _integers(leaf.dtype), like)
    programs = {mode: Traced(module, like, computed, mode) for mode, module in modules.items()}
    averages = _averages(network, modules[True]) if norm == "running" else []
    keeps_statistics = norm in ("support", "running")

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        leaves = {name: jnp.asarray(leaf) for name, leaf in {**params, **state}.items()}
        leaves |= {name: jax.lax.stop_gradient(leaves[name]) for name in held}
        leaves |= {name: leaves[name].astype(dtype) for name, dtype in narrow.items()}
        leaves |= {name: jnp.moveaxis(leaves[name], LAST, FIRST) for name in kernels}
        x = jax.tree.map(jnp.asarray, x)
        if learned[0] in narrow:
            x = jax.tree.map(lambda leaf: leaf.astype(narrow[learned[0]]) if _is_float(leaf) else leaf, x)
        y, changed = programs[key is not None]({name: leaves[first] for name, first in names.items()}, x, key)
        y = y.astype(jnp.promote_types(y.dtype, jnp.float32)) if jnp.issubdtype(y.dtype, jnp.floating) else y
        if key is None:
            return y, state
        for name in averages:
            mean = state[name]
            changed[name] = (
                mean + (changed[name] - mean) / changed[f"{name.rpartition('.')[0]}.num_batches_tracked".lstrip(".")]
            )
        changed = {n: a for n, a in changed.items() if n in state and (keeps_statistics or n not in statistics)}
        return y, {**state, **{name: array.astype(state[name].dtype) for name, array in changed.items()}}

    def init(key: Array) -> tuple[Any, Any]:
        return dict(weights), dict(buffers)

    layout = "kernels end with inputs and units" if kernels else ""
    options: dict[str, Any] = {"input_dtype": input_dtype, "fixed": tuple(held), "layout": layout}
    return checked(Model(init, apply, input_shape, norm, own_weights=True, **options))


def to_state_dict(adapted: Adapted | Mapping[str, Any], network: "torch.nn.Module") -> dict[str, "torch.Tensor"]:
    """A state dictionary for the module that a model was made of: `module.load_state_dict(...)` takes it.

    Args:
      adapted: an adapted model, whose weights and statistics of batch norm are taken; or arrays by PyTorch's names, in
        the shapes of `adapted.params`.
      network: the module. What `adapted` does not have keeps the module's values; there is a warning if these are
        statistics of batch norm that predictions depend on.

    Raises:
      OptionError: for weights that do not belong to this module.
    """
    import torch

    _check_module(network)
    if not isinstance(adapted, Mapping) and not hasattr(adapted, "params"):
        raise OptionError(
            f"adapted is {type(adapted).__name__}; it must be an adapted model, or arrays by their names."
        )
    whole = not isinstance(adapted, Mapping)
    arrays = _by_name(adapted.params) | _by_name(adapted.state) if whole else dict(adapted)
    state: dict[str, Any] = dict(network.state_dict())
    names = _names(network)
    kernels = _kernels(network, names)
    kept = {n: old.movedim(FIRST, LAST) if n in kernels else old for n, old in state.items()}
    for name, value in arrays.items():
        expected = tuple(kept[name].shape) if name in kept else "nothing"
        if expected != np.shape(value):
            raise OptionError(f"The module has {expected} for {name} and the weights are {tuple(np.shape(value))}.")
    missing = [n for n in state if names.get(n, n) not in arrays and n.endswith(("running_mean", "running_var"))]
    if missing:
        warn(
            f"The weights come without {', '.join(missing)}, so that the module's own statistics stay and its "
            "predictions may differ; pass the adapted model: to_state_dict(adapted, module), or use "
            "adapted.to_torch(module).",
        )
    for name, old in state.items():
        first = names.get(name, name)
        if (value := arrays.get(first)) is not None:
            tensor = torch.from_numpy(np.array(value, np.float32 if old.is_floating_point() else None)).to(old)
            state[name] = tensor.movedim(LAST, FIRST).contiguous() if first in kernels else tensor
    return state


def to_torch(adapted: Adapted, network: "torch.nn.Module") -> "torch.nn.Module":
    """A copy of a module with the weights and statistics of an adapted model, in `eval()`; see
    `AdaptedModel.to_torch`."""
    state = to_state_dict(adapted, network)
    module = copy.deepcopy(network)
    module.load_state_dict(state)
    if adapted.model.norm == "transductive":  # statistics of each batch in predictions too
        parts = dict(module.named_modules())
        for name, _ in _live_norms(_modes(network, "transductive")[True]):
            part: Any = parts[name]
            part.track_running_stats, part.running_mean, part.running_var = False, None, None
    return module.eval()


def _check_module(network: Any) -> None:
    """Raises OptionError for what is no module, for tensors without numbers and for complex parameters."""
    import torch

    if not isinstance(network, torch.nn.Module):
        raise OptionError(f"network is {type(network).__name__}; it must be a torch.nn.Module.")
    for name, tensor in _tensors(network):
        if torch.nn.parameter.is_lazy(tensor):
            raise OptionError(
                "The module has lazy layers, whose weights do not exist yet; call it once with an example."
            )
        if tensor.is_meta:
            raise OptionError(
                f"{name} is on the device meta, where it has no numbers; give the module its weights: "
                "module.to_empty(device='cpu'), then load_state_dict."
            )
        if isinstance(tensor, torch.nn.Parameter) and tensor.is_complex():
            raise OptionError(
                f"The parameter {name} is {tensor.dtype}; parameters must be of floating point. Keep its real and "
                "imaginary parts apart."
            )


def _modes(network: "torch.nn.Module", norm: Norm) -> dict[bool, "torch.nn.Module"]:
    """Two copies of a module: the one that learns (True) and the one that predicts."""
    import torch

    learns = {name for name, each in network.named_modules() if each.training}
    try:
        learning, predicting = copy.deepcopy(network).train(), copy.deepcopy(network).eval()
    except Exception as error:  # what the module holds may raise anything
        remedy = "Take out of it what copy.deepcopy cannot copy."
        if isinstance(error, RuntimeError):
            remedy = (
                "Weights that are computed from others need torch.nn.utils.parametrize, for example "
                "torch.nn.utils.parametrizations.weight_norm."
            )
        raise OptionError(f"The PyTorch module cannot be copied: {first_line(error)}. {remedy}") from error
    for (name, each), (_, predicts) in zip(learning.named_modules(), predicting.named_modules(), strict=True):
        each.training = each.training and (name in learns or not learns)
        if each.training and isinstance(each, torch.nn.modules.batchnorm._NormBase):
            predicts.training = norm == "transductive"
            if norm == "support" or each.momentum is None:  # statistics of this batch alone
                each.momentum = 1.0
    return {True: learning, False: predicting}


def _live_norms(learning: "torch.nn.Module") -> Iterator[tuple[str, Any]]:
    """Names and modules whose statistics are those of the batch while the network learns."""
    import torch

    for name, each in learning.named_modules():
        if each.training and isinstance(each, torch.nn.modules.batchnorm._NormBase):
            yield name, each


def _statistics(learning: "torch.nn.Module", norm: Norm) -> set[str]:
    """The names of all statistics that learning changes.

    Raises:
      OptionError: if they do not fit `norm`.
    """
    import torch

    tracked = {name: dict(each.named_buffers()) for name, each in _live_norms(learning) if each.track_running_stats}
    for name, each in _live_norms(learning):
        if name in tracked or isinstance(each, torch.nn.modules.instancenorm._InstanceNorm):
            continue
        if norm != "transductive":
            raise OptionError(
                f"Batch norm {name or type(each).__name__} has track_running_stats=False, so that a prediction "
                f"depends on its batch, and norm is {norm!r}; choose norm='transductive', or keep statistics."
            )
    check_state(tracked, norm)
    return {f"{name}.{buffer}".lstrip(".") for name, buffers in tracked.items() for buffer in buffers}


def _averages(network: "torch.nn.Module", learning: "torch.nn.Module") -> list[str]:
    """The names of statistics with `momentum=None`, which are means over all batches."""
    modules: Any = dict(network.named_modules())
    names = [
        name for name, each in _live_norms(learning) if each.track_running_stats and modules[name].momentum is None
    ]
    return [f"{name}.{statistic}".lstrip(".") for name in names for statistic in ("running_mean", "running_var")]


def _by_name(tree: Any) -> dict[str, Any]:
    """Arrays by PyTorch's names; `mtnets.frozen` puts some of them aside."""
    if isinstance(tree, Mapping) and tree.keys() == {FROZEN, "state"}:
        return leaves_by_path(tree[FROZEN]) | _by_name(tree["state"])
    return leaves_by_path(tree)


def _tensors(network: "torch.nn.Module") -> Iterator[tuple[str, "torch.Tensor"]]:
    """All parameters and buffers by all of their names."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _names(network: "torch.nn.Module") -> dict[str, str]:
    """The names of all parameters and persistent buffers, with the first name of each; tied ones have several."""
    saved: set[str] = set(network.state_dict())
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in _tensors(network) if name in saved}


def _kernels(network: "torch.nn.Module", names: Mapping[str, str]) -> set[str]:
    """The names of the weights of convolutions, which are kept in JAX's layout.

    There a CPU is faster: it runs loops over an array along the last axis, which is the 3 of a kernel 3×3 in PyTorch.
    """
    import torch

    layers = [(n, m) for n, m in network.named_modules() if isinstance(m, torch.nn.modules.conv._ConvNd)]
    weights = (f"{name}.weight".lstrip(".") for name, layer in layers if not layer.transposed)
    return {names[weight] for weight in weights if weight in names}  # one that is computed from others has no name


def _dtype(tensor: "torch.Tensor") -> Any:
    return jnp.dtype(str(tensor.dtype).removeprefix("torch."))


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _integers(dtype: Any) -> Any:
    """PyTorch's type for inputs that are not of floating point: its indices are int64."""
    import torch

    return torch.int64 if jnp.issubdtype(dtype, jnp.signedinteger) else getattr(torch, jnp.dtype(dtype).name)
