"""A function as the primitive operations of JAX that it consists of, in a form that converters know."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.compat import scanned, sub_programs
from mtnets.networks.exports.program import Arguments, Function
from mtnets.networks.programs import CALLS

POOLING: dict[str, tuple[Callable[..., Array], float]] = {
    "reduce_window_max": (jnp.maximum, -jnp.inf),
    "reduce_window_sum": (jnp.add, 0),
}


def primitive(function: Function, inputs: Arguments) -> Function:
    """The same function as the primitive operations of JAX that it consists of, with pooling made of maxima and sums of
    slices, padding of concatenations, and backward loops of forward ones: converters to ONNX know these for any number
    of examples.

    Args:
      function: of arguments by position and by name.
      inputs: shapes and types of them.
    """
    args, named = inputs
    closed, outputs = jax.make_jaxpr(function, return_shape=True)(*args, **named)  # before a converter replaces parts

    def run(*args: Any, **named: Any) -> Any:
        results = evaluated(closed.jaxpr, closed.consts, jax.tree.leaves((args, named)))
        return jax.tree.structure(outputs).unflatten(results)

    def evaluated(jaxpr: Any, consts: Any, args: Any) -> list[Any]:
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
        for eqn in jaxpr.eqns:
            operands = [var.val if hasattr(var, "val") else values[var] for var in eqn.invars]
            name, programs = eqn.primitive.name, sub_programs(eqn)
            if name in CALLS and programs:
                program = next(v for v in eqn.params.values() if getattr(v, "jaxpr", v) is programs[0])
                results = evaluated(programs[0], getattr(program, "consts", ()), operands)
            elif name in POOLING and all(d == 1 for d in eqn.params["base_dilation"]):
                results = [_pooled(operands[0], *POOLING[name], eqn.params)]
            elif name == "pad" and all(
                min(before, after) >= inside == 0 for before, after, inside in eqn.params["padding_config"]
            ):
                x, value = operands
                for axis, (before, after, _) in enumerate(eqn.params["padding_config"]):
                    x = _padded(x, value, axis, before, after)
                results = [x]
            elif name == "scan" and eqn.params["reverse"]:
                results = _forwards(operands, eqn, programs[0])
            else:
                results = eqn.primitive.bind(*operands, **eqn.params)
                results = results if eqn.primitive.multiple_results else [results]
            values |= dict(zip(eqn.outvars, results, strict=True))
        return [var.val if hasattr(var, "val") else values[var] for var in jaxpr.outvars]

    return run


def _forwards(operands: list[Any], eqn: Any, body: Any) -> list[Any]:
    """A loop that runs backwards, as one that runs forwards over flipped slices."""
    flipped = [jnp.flip(x, 0) if slices else x for x, slices in zip(operands, scanned(eqn, body), strict=True)]
    results = eqn.primitive.bind(*flipped, **eqn.params | {"reverse": False})
    inside = (len(var.aval.shape) for var in body.outvars)
    return [jnp.flip(y, 0) if y.ndim != ndim else y for y, ndim in zip(results, inside, strict=True)]


def _pooled(x: Array, combine: Callable[[Array, Array], Array], neutral: float, params: Any) -> Array:
    """Pooling, axis by axis: the slices of a window, combined."""
    keys = ("window_dimensions", "window_strides", "padding", "window_dilation")
    for axis, (size, stride, (before, after), dilation) in enumerate(zip(*(params[key] for key in keys), strict=True)):
        if (size, stride, before, after) == (1, 1, 0, 0):
            continue
        x = _padded(x, neutral, axis, before, after)
        span = (x.shape[axis] - dilation * (size - 1) - 1) // stride * stride + 1
        slices = [jax.lax.slice_in_dim(x, i * dilation, i * dilation + span, stride, axis) for i in range(size)]
        x = functools.reduce(combine, slices)
    return x


def _padded(x: Array, value: Any, axis: int, before: int, after: int) -> Array:
    """An array with a value before and after it along an axis."""
    if before == after == 0:
        return x
    value = jax.lax.slice_in_dim(x, 0, 1, axis=axis) * 0 + jnp.asarray(value, x.dtype)
    return jnp.concatenate([*[value] * before, x, *[value] * after], axis)
