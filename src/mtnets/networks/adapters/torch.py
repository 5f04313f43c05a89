"""PyTorch modules as models, and adapted weights back into PyTorch modules."""

import copy
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.errors import OptionError, first_line
from mtnets.networks.adapters.checks import check_params, check_state, checked
from mtnets.networks.model import Model, Norm, check_norm

if TYPE_CHECKING:
    import torch


def from_torch(
    network: "torch.nn.Module",
    input_shape: tuple[int, ...],
    *,
    norm: Norm = "none",
    input_dtype: Any = jnp.float32,
) -> Model:
    """A PyTorch module as a model, by torch2jax. It starts from the module's weights whatever the seed.

    JAX traces a copy of the module, operation by operation; PyTorch does not run it. Parameters keep PyTorch's names,
    and `to_state_dict` takes adapted ones back.

    Args:
      network: the module; it takes `[examples, *input_shape]`, with channels first.
      input_shape: shape of one input, without the batch axis.
      norm: what batch norm means, see `Model`. PyTorch divides the variance that it keeps by n − 1, so that `support`
        differs slightly from the same network in JAX.
      input_dtype: type of the inputs; an integer type for a network that begins with an embedding.

    Raises:
      OptionError: without PyTorch or torch2jax, for a `norm` that does not exist or does not fit the network, or for an
        operation that torch2jax does not know.

    References:
      torch2jax, https://github.com/samuela/torch2jax.
    """
    try:
        import torch
        from torch2jax import t2j
    except ImportError as error:
        raise OptionError("PyTorch modules need two more packages: pip install 'mtnets[torch]'.") from error
    check_norm(norm)

    def mode(learning: bool) -> Any:
        """A function of JAX: the module while it learns, or predicts."""
        module = copy.deepcopy(network).train(learning)
        for each in module.modules():
            if isinstance(each, torch.nn.modules.batchnorm._BatchNorm):
                each.train(learning or norm == "transductive")
                if norm == "support":
                    each.momentum = 1.0  # statistics of the support set alone
        return t2j(module)

    names = list(network.state_dict())
    weights = {name: _array(value) for name, value in network.named_parameters()}
    first_name = {name: _first_name(network, name) for name in names}
    buffers = {name: _array(network.state_dict()[name]) for name in names if first_name[name] not in weights}
    modes = {learning: mode(learning) for learning in (True, False)}

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        leaves = {name: params[first_name[name]] if first_name[name] in params else state[name] for name in names}
        leaves, x = jax.tree.map(jnp.asarray, (leaves, x))  # torch2jax does not take NumPy arrays
        y, after = modes[key is not None](x, state_dict=leaves, rng=key, return_state_dict=True)
        if key is None or norm not in ("support", "running"):
            return y, state
        return y, {name: after[name].astype(state[name].dtype) for name in state}

    check_params(weights)
    statistics = [name for name in buffers if name.rpartition(".")[2] in ("running_mean", "running_var")]
    check_state(statistics, norm)
    _check_operations(network, apply, (weights, buffers), input_shape, input_dtype)

    def init(key: Array) -> tuple[Any, Any]:
        return weights, buffers

    return checked(Model(init, apply, tuple(input_shape), norm, own_weights=True, input_dtype=input_dtype))


def to_state_dict(params: Mapping[str, Any], network: "torch.nn.Module") -> dict[str, "torch.Tensor"]:
    """A state dictionary for the module that a model was made of: `module.load_state_dict(...)` takes it.

    Args:
      params: weights by PyTorch's names, such as those of an adapted model, and statistics of batch norm if these
        moved too.
      network: the module. What `params` does not name keeps the module's values.

    Raises:
      OptionError: for weights that do not belong to this module.
    """
    import torch

    state = dict(network.state_dict())
    for name, value in params.items():
        if name not in state or tuple(state[name].shape) != tuple(value.shape):
            expected = tuple(state[name].shape) if name in state else "nothing"
            raise OptionError(f"The module has {expected} for {name} and the weights are {tuple(value.shape)}.")
    for name, old in state.items():
        if (value := params.get(_first_name(network, name))) is not None:
            state[name] = torch.from_numpy(np.array(value)).to(old.dtype)
    return state


def _first_name(network: "torch.nn.Module", name: str) -> str:
    """The first name of a parameter; tied parameters have several."""
    place, _, last = name.rpartition(".")
    value = getattr(network.get_submodule(place), last, None)
    return next((first for first, parameter in network.named_parameters() if parameter is value), name)


def _array(value: "torch.Tensor") -> Array:
    return jnp.asarray(value.detach().cpu().numpy())


def _check_operations(
    network: "torch.nn.Module", apply: Any, leaves: Any, input_shape: tuple[int, ...], dtype: Any
) -> None:
    """Raises OptionError for what torch2jax cannot trace."""
    x = jax.ShapeDtypeStruct((2, *input_shape), dtype)
    try:
        for key in (None, jax.random.key(0)):
            jax.eval_shape(lambda x, leaves, key=key: apply(*leaves, x, key)[0], x, leaves)
    except Exception as error:  # torch2jax raises AssertionError, NotImplementedError, TypeError and others
        layer = _failing_layer(network, error)
        raise OptionError(
            f"torch2jax cannot trace this PyTorch module{f', in its layer {layer}' if layer else ''}: "
            f"{type(error).__name__}: {first_line(error)}. "
            "Replace that operation, or write the network in JAX."
        ) from error


def _failing_layer(network: "torch.nn.Module", error: BaseException) -> str:
    """The name of the innermost module in the traceback of an error."""
    import torch

    trace, path = error.__traceback__, []
    while trace is not None:
        module = trace.tb_frame.f_locals.get("self")
        if isinstance(module, torch.nn.Module) and trace.tb_frame.f_code.co_name == "forward":
            path.append(module)
        trace = trace.tb_next
    name = ""
    for outer, inner in itertools.pairwise(path):  # the traceback shows copies, whose names are those within each other
        part = next((n for n, each in outer.named_modules() if each is inner), "")
        name = f"{name}.{part}".strip(".")
    return f"{name} ({type(path[-1]).__name__})" if name else ""
