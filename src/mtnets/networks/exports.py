"""Writes a network as a program that runs without this library: StableHLO or ONNX."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax import Array

from mtnets.errors import OptionError, first_line
from mtnets.files import replacing

PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(
    function: Callable[[Array], Array],
    input_shape: tuple[int, ...],
    input_dtype: Any,
    path: str | Path,
    platforms: tuple[str, ...] = PLATFORMS,
) -> None:
    """Writes a function as StableHLO, for any number of examples.

    `jax.export.deserialize` reads it wherever JAX runs.

    Args:
      function: from inputs `[examples, *input_shape]` to predictions `[examples, outputs]`.
      input_shape: shape of one input.
      input_dtype: type of the inputs.
      path: of the file.
      platforms: where the program will run, of `cpu`, `cuda`, `rocm` and `tpu`.

    Raises:
      OptionError: without the extra `mtnets[export]`.
    """
    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        raise OptionError("Writing StableHLO needs one more package: pip install 'mtnets[export]'.") from error
    (examples,) = jax.export.symbolic_shape("examples")
    inputs = jax.ShapeDtypeStruct((examples, *input_shape), input_dtype)
    exported = jax.export.export(jax.jit(function), platforms=platforms)(inputs)
    with replacing(path) as file:
        file.write(exported.serialize())


def export_onnx(
    function: Callable[[Array], Array], input_shape: tuple[int, ...], input_dtype: Any, path: str | Path
) -> None:
    """Writes a function as ONNX, for any number of examples.

    Args:
      function, input_shape, input_dtype, path: as in `export_stablehlo`.

    Raises:
      OptionError: without the extra `mtnets[onnx]`, or for an operation that ONNX does not have.
    """
    try:
        import jax2onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise OptionError("ONNX needs more packages: pip install 'mtnets[onnx]'.") from error
    inputs: Any = jax.ShapeDtypeStruct(("B", *input_shape), input_dtype)  # type: ignore[arg-type]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from other libraries, about each other
            model = jax2onnx.to_onnx(function, [inputs])
    except Exception as error:  # its plugins raise errors of many kinds
        raise OptionError(
            f"The network cannot be written as ONNX: {first_line(error)}. Write StableHLO: adapted.export(path)."
        ) from error
    with replacing(path) as file:
        file.write(model.SerializeToString())
