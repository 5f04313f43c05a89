"""A program is kept if it runs, and if its outputs are those of the network."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mtnets.errors import OptionError, first_line, warn
from mtnets.networks.exports.program import Function, Program

BATCHES = (1, 2, 5)  # with which a program is compared
EXACT, COARSE = 1e-4, 3e-2  # how far rounding may move outputs, relative to the largest; where products are less exact
BEYOND = 1e8  # masked outputs are far beyond


def equal_to(
    program: Program,
    forms: list[Callable[[], Function]],
    written: Callable[[Function], bytes],
    runnable: Callable[[bytes], Function | None],
    kind: str,
) -> bytes:
    """The first of several forms of a program that can be written, and whose outputs are those of its reference.

    Args:
      program: what it does.
      forms: functions that make it, written in other ways.
      written: `written(form)`, its bytes.
      runnable: `runnable(bytes)`, a function that runs them; None where they cannot be run here.
      kind: for messages.

    Raises:
      OptionError: if none can be written, runs, and predicts the same.
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
            difference = max(_difference(run, program, count) for count in BATCHES)
        except Exception as error:  # of many kinds, depending on the library
            reasons.append(_reason(error))
            continue
        if difference <= _tolerance(program):
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
    if "_DimExpr" in reason and "integer" in reason:  # what Python says of len(x) there
        return f"it asks how many examples there are ({reason}), for which x.shape[0] does and len(x) does not"
    return reason if name in reason else f"its operation {name} cannot be converted ({reason})"


def _difference(run: Function, program: Program, count: int) -> float:
    """The largest difference of a program's outputs to those of its reference, relative to their values."""
    args, named = program.made_up(count)
    outputs = run(*args, **named)
    expected = (program.reference or program.function)(*jax.tree.map(jnp.asarray, args), **named)
    pairs = zip(*(jax.tree.leaves(program.comparable(each)) for each in (outputs, expected)), strict=True)
    return max(_between(np.asarray(a, np.float64), np.asarray(b, np.float64), count) for a, b in pairs)


def _between(a: np.ndarray, b: np.ndarray, count: int) -> float:
    """The largest difference of an output to the one that is expected."""
    if a.shape != b.shape:
        raise OptionError(f"for {count} examples it returns {list(a.shape)} and the network {list(b.shape)}")
    size = np.abs(b[np.abs(b) < BEYOND]).max(initial=1e-30)
    return float(np.nan_to_num(np.abs(a - b) / np.maximum(np.abs(b), size), nan=np.inf).max(initial=0.0))


def _tolerance(program: Program) -> float:
    """How far rounding may move outputs, relative to the largest."""
    types = [leaf.dtype for leaf in jax.tree.leaves(program.outputs)]
    bits = min((jnp.finfo(dtype).bits for dtype in types if jnp.issubdtype(dtype, jnp.floating)), default=32)
    return EXACT if jax.default_backend() == "cpu" and bits >= 32 else COARSE  # a GPU has a precision of its own
