"""One input of a network may be several arrays: shapes and types of a pytree, and how a network is called with one."""

import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mtnets.arguments import check
from mtnets.errors import OptionError

Shapes = Any  # sizes of one input, or a dictionary or tuple of such: `{"image": (28, 28, 1), "age": (1,)}`


def checked_shapes(input_shape: Any) -> Shapes:
    """The shape of one input, or those of several, with tuples for lists.

    Raises:
      OptionError: unless sizes are whole numbers of at least 1.
    """
    if isinstance(input_shape, Mapping) and input_shape and all(isinstance(name, str) for name in input_shape):
        return {name: checked_shapes(shape) for name, shape in sorted(input_shape.items())}
    if isinstance(input_shape, Sequence) and not isinstance(input_shape, str):
        if all(isinstance(size, numbers.Integral) and int(size) >= 1 for size in input_shape):
            return tuple(int(size) for size in input_shape)
        if all(isinstance(shape, Sequence | Mapping) and not isinstance(shape, str) for shape in input_shape):
            return tuple(checked_shapes(shape) for shape in input_shape)
    raise OptionError(
        f"input_shape is {input_shape!r}; it must be the sizes of one input without the batch axis, for example "
        "(28, 28, 1), or (3,) for three numbers; or for several inputs a dictionary or a tuple of such."
    )


def is_sizes(shape: Any) -> bool:
    """Whether a shape is that of one array."""
    return isinstance(shape, tuple) and all(isinstance(size, int) for size in shape)


def inputs_like(input_shape: Shapes, input_dtype: Any) -> Any:
    """Shapes and types of one input, a pytree of `jax.ShapeDtypeStruct`.

    Args:
      input_shape: as `checked_shapes` returns it.
      input_dtype: one type for all arrays, or a dictionary or tuple of types like that of shapes.

    Raises:
      OptionError: for what is no type, or types that are not as many as there are shapes.
    """
    shapes, structure = jax.tree.flatten(input_shape, is_leaf=is_sizes)
    several = isinstance(input_dtype, Mapping | tuple | list)
    dtypes = jax.tree.leaves(input_dtype, is_leaf=lambda leaf: leaf is None) if several else [input_dtype] * len(shapes)
    if len(dtypes) != len(shapes):
        raise OptionError(f"input_dtype has {len(dtypes)} types and input_shape {len(shapes)} shapes; name one each.")
    for dtype in dtypes:
        check("input_dtype", dtype, DTypeLike)
    return jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*each) for each in zip(shapes, dtypes, strict=True)])


def batch_like(like: Any, examples: Any, make: Callable[..., Any] = jnp.zeros) -> Any:
    """Inputs `[examples, ...]` of these shapes and types, each made by `make(shape, dtype)`."""
    return jax.tree.map(lambda leaf: make((examples, *leaf.shape), leaf.dtype), like)


def shapes_in_words(input_shape: Shapes, before: str = "examples") -> str:
    """`[examples, 28, 28, 1]`, or such for each of several inputs."""
    if is_sizes(input_shape):
        return f"[{', '.join([before, *map(str, input_shape)])}]"
    if isinstance(input_shape, Mapping):
        return "{" + ", ".join(f"{name!r}: {shapes_in_words(s, before)}" for name, s in input_shape.items()) + "}"
    return f"({', '.join(shapes_in_words(shape, before) for shape in input_shape)})"


def arguments_of(function: Callable[..., Any], x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a network is called with inputs: several in a tuple one after the other, several in a dictionary by keyword
    where these are names of its arguments, and all else as one argument."""
    if isinstance(x, tuple):
        return x, {}
    if isinstance(x, Mapping):
        try:
            inspect.signature(function).bind(**x)
        except (TypeError, ValueError):
            return (x,), {}
        return (), dict(x)
    return (x,), {}


def call_with(function: Callable[..., Any], x: Any, *more: Any, **options: Any) -> Any:
    """A network's output for inputs; see `arguments_of`."""
    args, named = arguments_of(function, x)
    return function(*args, *more, **named, **options)
