"""From a PyTorch module to a program: `torch.export`, quietly and on a copy."""

import contextlib
import functools
import io
import itertools
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import torch
from jax import Array

from mtnets.errors import OptionError, first_line
from mtnets.networks.aten.operations import name_of
from mtnets.networks.aten.program import REMEDY, TORCH, Program, users_line
from mtnets.networks.several import arguments_of, shapes_in_words

EXAMPLES = 3  # of the batch that is exported; PyTorch treats batches of one apart


class Traced:
    """A module as a function of JAX, for batches of any size.

    Where the module asks for the size of its batch in a way that only one size answers, it is exported for each size
    as it is needed.

    Args:
      module: a copy of the user's, in the mode that it is to run in.
      like: shapes of one input, or of several.
      dtypes: PyTorch's types of the inputs.
      learning: whether it may draw random numbers.

    Raises:
      OptionError: for a module that cannot be exported, or whose operations have no equivalent.
    """

    def __init__(self, module: torch.nn.Module, like: Any, dtypes: Any, learning: bool) -> None:
        self._module, self._like, self._dtypes, self._learning = module, like, dtypes, learning
        self._programs: dict[Any, Program] = {}  # by the number of examples; None for any number
        try:
            self._programs[None] = self._export(EXAMPLES, dynamic=True)
        except OptionError:
            raise
        except Exception as error:
            try:
                self._programs[EXAMPLES] = self._export(EXAMPLES, dynamic=False)
            except Exception:
                self._check_call()
                raise _refusal(module, error) from error

    def __call__(self, leaves: Mapping[str, Array], x: Any, key: Array | None) -> tuple[Array, dict[str, Array]]:
        """See `Program.__call__`."""
        count = len(jax.tree.leaves(x)[0])
        program = self._programs.get(None) or self._programs.get(count)
        if program is None:
            program = self._programs[count] = self._export(count, dynamic=False)
        args, named = arguments_of(self._module.forward, x)
        return program(leaves, named or jax.tree.leaves(args), key)

    def _check_call(self) -> None:
        """Raises OptionError for a module that PyTorch itself cannot call, or that returns no array."""
        args, named = self._inputs(EXAMPLES)
        try:
            with _quietly():
                y = self._module(*args, **named)
        except Exception as error:
            shapes = shapes_in_words(jax.tree.map(lambda leaf: leaf.shape, self._like))
            types = ", ".join(str(dtype).removeprefix("torch.") for dtype in jax.tree.leaves(self._dtypes))
            raise OptionError(
                f"The PyTorch module cannot take inputs {shapes} of {types}{_origin(self._module, error)}: "
                f"{type(error).__name__}: {first_line(error)}. Say other inputs (input_shape, input_dtype), or "
                "mend the module."
            ) from error
        if not isinstance(y, torch.Tensor | tuple | list | dict):
            raise OptionError(
                f"The PyTorch module returns {type(y).__name__}; it must return one array [examples, outputs]."
            )

    def _inputs(self, examples: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Zeros, as the arguments of the module."""
        x = jax.tree.map(lambda s, t: torch.zeros((examples, *s.shape), dtype=t), self._like, self._dtypes)
        return arguments_of(self._module.forward, x)

    def _export(self, examples: int, dynamic: bool) -> Program:
        args, named = self._inputs(examples)
        sizes = jax.tree.map(lambda _: {0: torch.export.Dim("examples")}, (args, named))
        shapes: Any = None
        if dynamic:
            shapes = sizes[1] if named else sizes[0]
        with _quietly(), _own_gradients_refused():
            exported = torch.export.export(self._module, args, named, dynamic_shapes=shapes, strict=False)
            _stop_gradients(exported.graph_module)
            exported = exported.run_decompositions(_decompositions())
        return Program(exported, self._learning)


@functools.cache
def _decompositions() -> Any:
    """PyTorch's own, but for what the table of operations has whole."""
    table = torch.export.default_decompositions()
    for operation in list(table):
        if name_of(operation) is not None:
            table.pop(operation)
    return table


def _stop_gradients(graph: Any) -> None:
    """Detaches what is computed under `torch.no_grad()`, which decompositions forget."""
    for node in list(graph.graph.nodes):
        if getattr(node.target, "__name__", None) == "wrap_with_set_grad_enabled" and node.args[0] is False:
            for output in list(node.users):
                with graph.graph.inserting_after(output):
                    detached = graph.graph.call_function(torch.ops.aten.detach.default, (output,))
                detached.meta = dict(output.meta)
                within = lambda user, new=detached: user is not new and user.op != "output"  # noqa: E731
                output.replace_all_uses_with(detached, delete_user_cb=within)
    graph.recompile()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without PyTorch's warnings and logs, nor its own short cuts for attention in predictions."""
    fast, disabled = torch.backends.mha.get_fastpath_enabled(), logging.root.manager.disable
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),  # where it prints graphs that it cannot go on with
            torch.enable_grad(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        logging.disable(disabled)


@contextlib.contextmanager
def _own_gradients_refused() -> Iterator[None]:
    """`torch.autograd.Function` is an error: only its forward pass would be in the graph."""

    def apply(function: Any, *args: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{function.__name__} is a torch.autograd.Function, whose gradient would be lost")

    original = vars(torch.autograd.Function)["apply"]
    torch.autograd.Function.apply = classmethod(apply)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.autograd.Function.apply = original


def _refusal(module: torch.nn.Module, error: BaseException) -> OptionError:
    """The error of a module that cannot be exported, with layer and line."""
    return OptionError(
        f"torch.export cannot trace the PyTorch module{_origin(module, error)}: {type(error).__name__}: "
        f"{first_line(error)}. {REMEDY}"
    )


def _origin(module: torch.nn.Module, error: BaseException) -> str:
    """`, in its layer name (Class), line 12 of net.py (y = f(x))` for an error of a module, as far as known."""
    frames = traceback.extract_tb(error.__traceback__)
    forward = next((i for i, frame in enumerate(frames) if frame.name == "forward"), len(frames))
    own = [frame for frame in frames[forward:] if not frame.filename.startswith((TORCH, __file__))]
    line = f", line {own[-1].lineno} of {Path(own[-1].filename).name} ({own[-1].line})" if own else ""
    return _failing_layer(module, error) + (line or users_line(str(error)))


def _failing_layer(network: torch.nn.Module, error: BaseException) -> str:
    """`, in its layer name (Class)` for the innermost module in the traceback of an error."""
    path, trace = [], error.__traceback__
    while trace is not None:
        module = trace.tb_frame.f_locals.get("self")
        if isinstance(module, torch.nn.Module) and trace.tb_frame.f_code.co_name == "forward":
            path.append(module)
        trace = trace.tb_next
    path = path[next((i for i, each in enumerate(path) if each is network), 0) :]
    name = ""
    for outer, inner in itertools.pairwise(path):
        part = next((n for n, each in outer.named_modules() if each is inner), "")
        name = f"{name}.{part}".strip(".")
    return f", in its layer {name} ({type(path[-1]).__name__})" if name else ""
