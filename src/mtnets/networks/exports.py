"""Writes a network as a program that runs without this library: StableHLO or ONNX. The program is run and compared with
the network before it is written."""

import functools
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.compat import scanned, sub_programs
from mtnets.errors import OptionError, first_line, warn
from mtnets.files import replacing
from mtnets.networks.programs import CALLS
from mtnets.networks.several import Shapes, batch_like, inputs_like

PLATFORMS = ("cpu", "cuda", "tpu")
BATCHES = (1, 2, 5)  # with which a program is compared
FATAL = 4  # of ONNX Runtime's severities: it would print errors of forms that another one replaces
POOLING: dict[str, tuple[Callable[..., Array], float]] = {
    "reduce_window_max": (jnp.maximum, -jnp.inf),
    "reduce_window_sum": (jnp.add, 0),
}
Function = Callable[[Any], Array]


def export_stablehlo(
    function: Function,
    input_shape: Shapes,
    input_dtype: Any,
    path: str | Path,
    platforms: tuple[str, ...] = PLATFORMS,
    *,
    reference: Function | None = None,
    alone: bool = True,
) -> None:
    """Writes a function as StableHLO, for any number of examples.

    `jax.export.deserialize` reads it wherever JAX runs. Where it can run here, its predictions are compared with those
    of the function.

    Args:
      function: from inputs `[examples, *input_shape]` to predictions `[examples, outputs]`.
      input_shape: shape of one input, or of several, as a network has them.
      input_dtype: type of the inputs.
      path: of the file.
      platforms: where the program will run, of `cpu`, `cuda`, `rocm` and `tpu`.
      reference: what the program is compared with. Defaults to the function.
      alone: whether the prediction for one example does not depend on the others.

    Raises:
      OptionError: without the extra `mtnets[export]`, for a function that cannot be traced for any number of examples,
        and for a program whose predictions differ from the reference; no file is left then.
    """
    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        raise OptionError("Writing StableHLO needs one more package: pip install 'mtnets[export]'.") from error

    like = inputs_like(input_shape, input_dtype)

    def written(form: Function) -> bytes:
        exported = jax.export.export(jax.jit(form), platforms=platforms)(_any_number(like))
        return bytes(exported.serialize())

    def runnable(data: bytes) -> Function | None:
        here = {"gpu": ("cuda", "rocm")}.get(jax.default_backend(), (jax.default_backend(),))
        return jax.export.deserialize(bytearray(data)).call if set(here) & set(platforms) else None

    forms = [lambda: function, *([lambda: _one_by_one(function)] if alone else [])]
    data = _equal_to(reference or function, forms, written, runnable, like, "StableHLO")
    with replacing(path) as file:
        file.write(data)


def export_onnx(
    function: Function,
    input_shape: Shapes,
    input_dtype: Any,
    path: str | Path,
    *,
    reference: Function | None = None,
    alone: bool = True,
) -> None:
    """Writes a function as ONNX, for any number of examples.

    With ONNX Runtime installed, its predictions are compared with those of the function.

    Args:
      function, input_shape, input_dtype, path, reference, alone: as in `export_stablehlo`.

    Raises:
      OptionError: without the extra `mtnets[onnx]`, for an operation that ONNX does not have, and for a program that
        does not run or whose predictions differ from the reference; no file is left then.
    """
    try:
        import jax2onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise OptionError("ONNX needs more packages: pip install 'mtnets[onnx]'.") from error
    like = inputs_like(input_shape, input_dtype)
    inputs = _any_number(like)
    leaves, structure = jax.tree.flatten(inputs)

    def written(form: Function) -> bytes:
        logger = logging.getLogger("onnx_ir")
        level = logger.level
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from other libraries, about each other
            logger.setLevel(logging.ERROR)
            try:
                model: Any = jax2onnx.to_onnx(lambda *parts: form(structure.unflatten(parts)), leaves)
            finally:
                logger.setLevel(level)
        return model.SerializeToString()

    def runnable(data: bytes) -> Function | None:
        try:
            import onnxruntime  # pyright: ignore[reportMissingImports]
        except ImportError:
            return None
        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL
        session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]
        return lambda x: session.run(None, dict(zip(names, map(np.asarray, jax.tree.leaves(x)), strict=True)))[0]

    # jax2onnx replaces functions of other libraries while it traces, and not all that take the same arguments.
    forms = [lambda: function, lambda: _primitive(function, inputs)]
    if alone:
        forms.append(lambda: _primitive(_one_by_one(function), inputs))
    data = _equal_to(reference or function, forms, written, runnable, like, "ONNX")
    with replacing(path) as file:
        file.write(data)


def _any_number(like: Any) -> Any:
    """Inputs of any number of examples."""
    (examples,) = jax.export.symbolic_shape("examples")
    return batch_like(like, examples, jax.ShapeDtypeStruct)


def _equal_to(
    reference: Function,
    forms: list[Callable[[], Function]],
    written: Callable[[Function], bytes],
    runnable: Callable[[bytes], Function | None],
    like: Any,
    kind: str,
) -> bytes:
    """The first of several forms of a function that can be written, and whose predictions are those of the reference.

    Args:
      reference: the function itself.
      forms: functions that make it, written in other ways.
      written: `written(form)`, its bytes.
      runnable: `runnable(bytes)`, a function that runs them; None where they cannot be run here.
      like: shapes and types of one input.
      kind: for messages.
    """
    reasons: list[str] = []
    for form in forms:
        try:
            data = written(form())
            run = runnable(data)
            if run is None:
                warn(
                    f"The program in {kind} cannot be run here, and so was not compared with the network"
                    + (": pip install onnxruntime." if kind == "ONNX" else "."),
                )
                return data
            difference = max(_difference(run, reference, like, count) for count in BATCHES)
        except Exception as error:  # of many kinds, depending on the library
            reasons.append(_reason(error))
            continue
        if difference <= _tolerance(reference, like):
            return data
        reasons.append(f"its predictions differ from the network's by {difference:.2g} of the largest")
    other = "ONNX: adapted.export_onnx(path)" if kind == "StableHLO" else "StableHLO: adapted.export(path)"
    raise OptionError(f"The network cannot be written as {kind}: {reasons[-1]}. Write {other}.")


def _reason(error: Exception) -> str:
    """The first line of an error, with the operation of JAX that was being converted, if it does not say it."""
    name, trace = "", error.__traceback__
    while trace is not None:  # converters name the equation so
        name = getattr(getattr(trace.tb_frame.f_locals.get("eqn"), "primitive", None), "name", name)
        trace = trace.tb_next
    reason = first_line(error)
    return reason if name in reason else f"its operation {name} cannot be converted ({reason})"


def _difference(run: Function, reference: Function, like: Any, count: int) -> float:
    """The largest difference of two functions on random inputs, relative to their values."""
    random = np.random.default_rng(count)

    def make(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        whole = jnp.issubdtype(dtype, jnp.integer)
        return (random.integers(0, 2, shape) if whole else random.normal(size=shape)).astype(dtype)

    x = batch_like(like, count, make)
    a, b = (np.asarray(f(jax.tree.map(jnp.asarray, x)), np.float64) for f in (run, reference))
    if a.shape != b.shape:
        raise OptionError(f"for {count} examples it returns {list(a.shape)} and the network {list(b.shape)}")
    ordinary = b[np.abs(b) < 1e8]  # masked outputs are far beyond
    size = np.abs(ordinary).max(initial=1e-30)
    return float(np.nan_to_num(np.abs(a - b) / np.maximum(np.abs(b), size), nan=np.inf).max(initial=0.0))


def _tolerance(reference: Function, like: Any) -> float:
    """How far rounding may move predictions, relative to the largest."""
    result = jax.eval_shape(reference, batch_like(like, 1, jax.ShapeDtypeStruct))
    exact = jax.default_backend() == "cpu" and jnp.finfo(result.dtype).bits >= 32
    return 1e-3 if exact else 3e-2  # a GPU multiplies in a precision of its own


def _one_by_one(function: Function) -> Function:
    """The same function of independent examples, which sees one of them at a time and so may ask how many there are."""
    return jax.vmap(lambda x: function(jax.tree.map(lambda part: part[None], x))[0])


def _primitive(function: Function, inputs: Any) -> Function:
    """The same function as the primitive operations of JAX that it consists of, with pooling made of maxima and sums of
    slices, padding of concatenations, and backward loops of forward ones: converters to ONNX know these for any number
    of examples."""
    closed = jax.make_jaxpr(function)(inputs)  # before the converter replaces functions

    def run(x: Any) -> Array:
        return evaluated(closed.jaxpr, closed.consts, jax.tree.leaves(x))[0]

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
