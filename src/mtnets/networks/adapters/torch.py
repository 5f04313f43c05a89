"""PyTorch modules as models, and their weights back."""

import copy
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.errors import OptionError
from mtnets.networks.adapters.functions import check_norm, check_params, check_state, checked
from mtnets.networks.model import Model, Norm

if TYPE_CHECKING:
    import torch


def from_torch(
    network: "torch.nn.Module",
    input_shape: tuple[int, ...],
    *,
    norm: Norm = "none",
    input_dtype: Any = jnp.float32,
) -> Model:
    """A PyTorch module as a model, through torch2jax; its weights are the starting point whatever the seed.

    The module is traced operation by operation into JAX and never run by PyTorch again; it stays as it is. Parameters
    keep PyTorch's names, and adapted ones go back by `to_state_dict`.

    Args:
      network: the module; it takes `[examples, *input_shape]`, channels first as PyTorch has them.
      input_shape: shape of one input, without the batch axis.
      norm: what batch norm means, see `Model`. (PyTorch's statistics for later divide by n − 1: `support` is not
        exactly what the same network is in JAX.)
      input_dtype: of the inputs; integers for a network that begins with an embedding.

    Raises:
      OptionError: without PyTorch or torch2jax; for a `norm` that does not exist or does not fit the network; for an
        operation that torch2jax does not know, naming it and the layer.

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
        """The module as it learns or predicts, traced by JAX."""
        module = copy.deepcopy(network).train(learning)
        for each in module.modules():
            if isinstance(each, torch.nn.modules.batchnorm._BatchNorm):
                each.train(learning or norm == "transductive")
                if norm == "support":
                    each.momentum = 1.0  # remembers the support set alone
        return t2j(module)

    names = list(network.state_dict())
    owned = {name: _array(value) for name, value in network.named_parameters()}
    shared = {name: _owner(network, name) for name in names}  # tied weights have several names
    buffers = {name: _array(network.state_dict()[name]) for name in names if shared[name] not in owned}
    modes = {learning: mode(learning) for learning in (True, False)}

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        leaves = {name: params[shared[name]] if shared[name] in params else state[name] for name in names}
        leaves, x = jax.tree.map(jnp.asarray, (leaves, x))  # torch2jax takes no NumPy arrays
        y, after = modes[key is not None](x, state_dict=leaves, rng=key, return_state_dict=True)
        kept = key is not None and norm in ("support", "running")
        return y, {name: after[name].astype(state[name].dtype) for name in state} if kept else state

    check_params(owned)
    statistics = [name for name in buffers if name.rpartition(".")[2] in ("running_mean", "running_var")]
    check_state(statistics, norm)
    _check_operations(network, apply, (owned, buffers), input_shape, input_dtype)
    return checked(Model(lambda key: (owned, buffers), apply, tuple(input_shape), norm, None, True, input_dtype))


def to_state_dict(params: Mapping[str, Any], network: "torch.nn.Module") -> dict[str, "torch.Tensor"]:
    """A state dictionary for the very module that a model was made of: `module.load_state_dict(...)`.

    Args:
      params: weights by PyTorch's names, such as those of an adapted model; with statistics of batch norm among them if
        these moved too.
      network: the module, for whatever else it holds.

    Raises:
      OptionError: for weights that are not those of this module.
    """
    import torch

    state = dict(network.state_dict())
    for name, value in params.items():
        if name not in state or tuple(state[name].shape) != tuple(value.shape):
            expected = tuple(state[name].shape) if name in state else "nothing"
            raise OptionError(f"The module has {expected} for {name} and the weights are {tuple(value.shape)}.")
    for name, old in state.items():
        if (found := params.get(_owner(network, name))) is not None:
            state[name] = torch.from_numpy(np.array(found)).to(old.dtype)
    return state


def _owner(network: "torch.nn.Module", name: str) -> str:
    """The first name of a tied parameter."""
    place, _, last = name.rpartition(".")
    value = getattr(network.get_submodule(place), last, None)
    return next((first for first, found in network.named_parameters() if found is value), name)


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
    except Exception as error:  # torch2jax raises what it likes: AssertionError, NotImplementedError, TypeError, …
        layer = _failing_layer(network, error)
        raise OptionError(
            f"torch2jax cannot trace this PyTorch module{f', in its layer {layer}' if layer else ''}: "
            f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}. "
            "Replace that operation, or write the network in JAX."
        ) from error


def _failing_layer(network: "torch.nn.Module", error: BaseException) -> str:
    """The name of the innermost module that the traceback of an error goes through: copies are found by their place."""
    import torch

    trace, path = error.__traceback__, []
    while trace is not None:
        module = trace.tb_frame.f_locals.get("self")
        if isinstance(module, torch.nn.Module) and trace.tb_frame.f_code.co_name == "forward":
            path.append(module)
        trace = trace.tb_next
    name = ""
    for outer, inner in itertools.pairwise(path):
        found = next((n for n, each in outer.named_modules() if each is inner), "")
        name = f"{name}.{found}".strip(".")
    return f"{name} ({type(path[-1]).__name__})" if name else ""
