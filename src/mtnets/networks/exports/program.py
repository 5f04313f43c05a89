"""What is written as a program: a function of named arrays, what it is compared with, and what people read of it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtnets.networks.several import Shapes, batch_like, inputs_like
from mtnets.trees import path_of

Function = Callable[..., Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # by position and by name, as a function takes them
RANDOM_WHOLE = 2  # whole numbers below this are in the range of every embedding of two or more rows


class Field(NamedTuple):
    """An input or an output of a program.

    Attributes:
      shape: of one example.
      dtype: of its numbers.
      about: what they are, in words.
      values: categories, of which the numbers are places, counted from 0.
    """

    shape: tuple[int, ...]
    dtype: Any
    about: str
    values: tuple[str, ...] = ()

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """Shape and type of one example."""
        return jax.ShapeDtypeStruct(self.shape, self.dtype)

    def to_json(self, name: str) -> dict[str, Any]:
        """As plain values."""
        values = {"values": list(self.values)} if self.values else {}
        shape = ["examples", *self.shape]
        return {"name": name, "type": jnp.dtype(self.dtype).name, "shape": shape, "about": self.about, **values}


def names_of(tree: Any, alone: str) -> tuple[str, ...]:
    """A name for each array of a tree: `alone` for a single one, the names of a dictionary, `x0`, `x1` of a tuple."""
    paths = [path_of(keys) for keys, _ in jax.tree.leaves_with_path(tree)]
    return tuple(alone if not path else f"x{path}" if path[0].isdigit() else path for path in paths)


def random_inputs(like: Any, count: int, random: np.random.Generator) -> Any:
    """Made-up inputs `[count, ...]` of these shapes and types: normal numbers, and whole ones below `RANDOM_WHOLE`."""

    def make(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        whole = jnp.issubdtype(dtype, jnp.integer)
        return (random.integers(0, RANDOM_WHOLE, shape) if whole else random.normal(size=shape)).astype(dtype)

    return batch_like(like, count, make)


@dataclasses.dataclass(frozen=True)
class Program:
    """A function that is to run without this library, for any number of examples.

    Attributes:
      function: from inputs `[examples, ...]`, by position or by name, to an output, or a dictionary of outputs.
      like: shapes and types of one example, as the function takes it.
      reference: what it is compared with, from the same inputs to the same outputs. Defaults to the function.
      examples: `examples(count)`, inputs to compare with. Defaults to random numbers.
      comparable: the numbers to compare, of outputs. Defaults to the outputs themselves.
      alone: whether the prediction for one example does not depend on the others.
      card: what people need to call it, as plain values.
    """

    function: Function
    like: Arguments
    reference: Function | None = None
    examples: Callable[[int], Arguments] | None = None
    comparable: Callable[[Any], Any] = lambda outputs: outputs
    alone: bool = True
    card: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, function: Function, input_shape: Shapes, input_dtype: Any = jnp.float32, **more: Any) -> "Program":
        """The program of a function from inputs of a network, `[examples, *input_shape]`, or several such."""
        return cls(function, ((inputs_like(input_shape, input_dtype),), {}), **more)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs, in the order of `jax.tree.leaves`."""
        args, named = self.like
        return (*(name for arg in args for name in names_of(arg, "x")), *sorted(named))

    @functools.cached_property
    def outputs(self) -> Any:
        """Shapes and types of the outputs for one example."""
        args, named = batch_like(self.like, 1, jax.ShapeDtypeStruct)
        return jax.eval_shape(self.function, *args, **named)

    @functools.cached_property
    def any_number(self) -> Arguments:
        """Shapes and types of inputs of any number of examples, which is the same number wherever this is used."""
        (examples,) = jax.export.symbolic_shape("examples")
        return batch_like(self.like, examples, jax.ShapeDtypeStruct)

    def made_up(self, count: int) -> Arguments:
        """Inputs of so many examples, the same each time."""
        return (self.examples or (lambda count: random_inputs(self.like, count, np.random.default_rng(count))))(count)

    def one_by_one(self) -> Function:
        """The same function of independent examples, which sees one of them at a time and so may ask how many there
        are."""

        def alone(arguments: Arguments) -> Any:
            args, named = jax.tree.map(lambda part: part[None], arguments)
            return jax.tree.map(lambda output: output[0], self.function(*args, **named))

        return lambda *args, **named: jax.vmap(alone)((args, named))
