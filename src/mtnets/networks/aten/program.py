"""Runs an exported PyTorch graph in JAX."""

import operator
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax import Array
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.fx import GraphModule, Node

from mtnets.errors import OptionError, first_line
from mtnets.networks.aten.operations import DRAWS, IGNORED, OPERATIONS, RANDOM, name_of
from mtnets.networks.aten.pointwise import SCALARS

UNUSED = {"device", "generator", "layout", "memory_format", "non_blocking", "pin_memory", "requires_grad", "copy"}
TORCH = os.path.dirname(str(torch.__file__)) + os.sep
CONTROL = {"cond", "wrap_with_set_grad_enabled", "with_effects"}
REMEDY = "Replace that operation, or write the network in JAX."
FRAME = re.compile(r'File "(.+?)", line (\d+), in \S+\n\s*(.*)')


class Program:
    """An exported module as a function of its weights and buffers, its inputs and a random key.

    Args:
      exported: the graph, decomposed as far as the table of operations asks for.
      learning: whether it may draw random numbers.

    Raises:
      OptionError: for an operation that the table does not have, or that draws random numbers for a prediction.
    """

    def __init__(self, exported: ExportedProgram, learning: bool) -> None:
        self._graph = exported.graph_module
        self._inputs = exported.graph_signature.input_specs
        self._outputs = exported.graph_signature.output_specs
        constants = {**exported.constants, **exported.state_dict}
        self._double = any(value.dtype is torch.float64 for value in exported.state_dict.values())
        self._constants = {
            str(spec.target): to_array(constants[str(spec.target)])
            for spec in self._inputs
            if spec.kind is InputKind.CONSTANT_TENSOR or (spec.kind is InputKind.BUFFER and not spec.persistent)
        }
        returned = [spec.arg for spec in self._outputs if spec.kind is OutputKind.USER_OUTPUT]
        if len(returned) != 1:
            raise OptionError(
                f"The PyTorch module returns {len(returned)} arrays; it must return one [examples, outputs]. Put it "
                "into a module whose forward picks that one."
            )
        if isinstance(returned[0], ConstantArgument):
            raise OptionError(
                f"The PyTorch module returns {returned[0].value!r}; it must return one array [examples, outputs]."
            )
        for node in _nodes(self._graph):
            _check(node, learning)

    def __call__(
        self, leaves: Mapping[str, Array], x: Mapping[str, Array] | Sequence[Array], key: Array | None
    ) -> tuple[Array, dict[str, Array]]:
        """The output, and the buffers that have changed.

        Args:
          leaves: parameters and persistent buffers by their names.
          x: inputs `[examples, ...]`, by the names of the module's arguments or in their order.
          key: what random operations draw from; None while the network predicts.
        """
        wide = jnp.float64 in {leaf.dtype for leaf in leaves.values()}
        run = _Run(key, wide and not self._double)
        inputs: list[Any] = []
        given = None if isinstance(x, Mapping) else iter(x)
        for spec in self._inputs:
            if spec.kind is InputKind.USER_INPUT:
                inputs.append(x[spec.arg.name] if given is None else next(given))  # type: ignore[call-overload]
            elif spec.target in self._constants:
                constant = self._constants[spec.target]
                inputs.append(constant.astype(run.dtype(str(constant.dtype))))
            else:
                inputs.append(leaves.get(str(spec.target)))
        outputs = run.graph(self._graph, inputs)
        changed: dict[str, Array] = {}
        y: Any = None
        for spec, output in zip(self._outputs, outputs, strict=True):
            if spec.kind is OutputKind.USER_OUTPUT:
                y = output
            elif spec.kind is OutputKind.BUFFER_MUTATION and spec.target in leaves:
                changed[str(spec.target)] = output
        return y, changed


class _Run:
    """One pass through a graph.

    Args:
      key: of random operations.
      wide: whether single precision is computed in double, because weights are double.
    """

    def __init__(self, key: Array | None, wide: bool) -> None:
        self._key, self._wide, self._drawn = key, wide, 0

    def dtype(self, name: str) -> Any:
        """The type of JAX for one of PyTorch."""
        name = name.removeprefix("torch.")
        name = "float64" if name == "float32" and self._wide else name
        return jax.dtypes.canonicalize_dtype(jnp.dtype(name))

    def graph(self, graph: GraphModule, inputs: Sequence[Any]) -> Any:
        """The outputs of a graph."""
        values: dict[Node, Any] = {}
        given = iter(inputs)
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(given)
            elif node.op == "get_attr":
                values[node] = _attribute(graph, node.target)
            elif node.op == "output":
                return self._value(node.args[0], values)
            else:
                try:
                    values[node] = self._call(node, values)
                except OptionError:
                    raise
                except Exception as error:
                    raise OptionError(f"{_place(node)}: {first_line(error)}.") from error
        raise AssertionError("a graph ends with its outputs")

    def _call(self, node: Node, values: Mapping[Node, Any]) -> Any:
        target: Any = node.target
        args = [self._value(arg, values) for arg in node.args]
        options = {k: self._value(arg, values) for k, arg in node.kwargs.items() if k not in UNUSED}
        if not isinstance(target, torch._ops.OpOverload):
            return self._control(_name(target), target, args, options)
        name = str(name_of(target))
        if name in OPERATIONS:
            result = OPERATIONS[name](*args, **options)
        elif name in IGNORED:
            result = None
        else:
            rng = None
            if self._key is not None:
                self._drawn += 1
                rng = jax.random.fold_in(self._key, self._drawn)
            result = (RANDOM if name in RANDOM else DRAWS)[name](*args, **options, rng=rng)
        return self._typed(result, node.meta.get("val"))

    def _control(self, name: str, target: Any, args: list[Any], options: dict[str, Any]) -> Any:
        """What is no operation on arrays: functions of sizes, and branches."""
        if name == "cond":
            branches = [lambda *operands, branch=branch: self.graph(branch, operands) for branch in args[1:3]]
            return jax.lax.cond(jnp.squeeze(args[0]), *branches, *args[3])
        if name == "wrap_with_set_grad_enabled":  # gradients were stopped when it was traced
            return self.graph(args[1], args[2:])
        if name == "with_effects":  # a check of values, in the order that a token gives
            return None, None
        function: Any = SCALARS.get(name, target)
        return function(*args, **options)

    def _typed(self, result: Any, like: Any) -> Any:
        """Results in the types that PyTorch computes."""
        if isinstance(result, list | tuple) and isinstance(like, list | tuple):
            return [self._typed(each, other) for each, other in zip(result, like, strict=False)]
        if result is None or not isinstance(like, torch.Tensor):
            return result
        return jnp.asarray(result).astype(self.dtype(str(like.dtype)))

    def _value(self, arg: Any, values: Mapping[Node, Any]) -> Any:
        if isinstance(arg, Node):
            return values[arg]
        if isinstance(arg, list | tuple):
            return [self._value(each, values) for each in arg]
        if isinstance(arg, torch.dtype):
            return self.dtype(str(arg))
        if isinstance(arg, torch.device | torch.layout | torch.memory_format):
            return None
        return arg


def to_array(value: torch.Tensor) -> Array:
    """A copy of a tensor."""
    value = value.detach().cpu()
    if value.dtype is torch.bfloat16:  # NumPy does not have it
        return jnp.asarray(value.float().numpy()).astype(jnp.bfloat16)
    return jnp.array(value.numpy())


def _attribute(graph: GraphModule, name: str) -> Any:
    value = operator.attrgetter(name)(graph)
    return to_array(value) if isinstance(value, torch.Tensor) else value


def _name(target: Any) -> str:
    name = getattr(target, "__name__", None)
    return name if isinstance(name, str) else str(target)


def _nodes(graph: GraphModule) -> Iterator[Node]:
    """All calls in a graph and those inside it."""
    for module in graph.modules():
        if isinstance(module, GraphModule):
            yield from (node for node in module.graph.nodes if node.op == "call_function")


def _check(node: Node, learning: bool) -> None:
    """Raises OptionError for an operation that cannot run."""
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload):
        effect = node.args[1] if _name(target) == "with_effects" else None
        if effect is not None and name_of(effect) not in IGNORED:
            raise OptionError(f"{_place(node)}: {effect} has no equivalent here. {REMEDY}")
        if isinstance(target, torch._ops.HigherOrderOperator) and _name(target) not in CONTROL:
            raise OptionError(f"{_place(node)}: {_name(target)} has no equivalent here. {REMEDY}")
        return
    name = name_of(target)
    if name is None:
        raise OptionError(f"{_place(node)}: {target} has no equivalent here. {REMEDY}")
    if name in DRAWS and not learning:
        raise OptionError(
            f"{_place(node)}: {target} draws random numbers for a prediction; draw them only `if self.training`."
        )


def _place(node: Node) -> str:
    """Layer, operation and line of a node, in words."""
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    kinds = [kind for _, kind in (node.meta.get("nn_module_stack") or {}).values()]
    layer = ""
    if stack:
        kind = kinds[-1] if isinstance(kinds[-1], str) else kinds[-1].__name__
        layer = f", in its layer {stack[-1]} ({kind.rpartition('.')[2]})" if stack[-1] else ""
    line = users_line(node.meta.get("stack_trace") or "")
    return f"The PyTorch module cannot run in JAX{layer}{line}"


def users_line(trace: str) -> str:
    """`, line 12 of net.py (y = f(x))` for the last frame of a traceback that is not PyTorch's own."""
    frames = [frame for frame in FRAME.findall(trace) if not frame[0].startswith(TORCH) and Path(frame[0]).suffix]
    if not frames:
        return ""
    path, number, code = frames[-1]
    return f", line {number} of {Path(path).name}" + (f" ({code.strip()})" if code.strip() else "")
