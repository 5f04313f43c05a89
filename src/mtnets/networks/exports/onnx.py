"""ONNX, which ONNX Runtime and others run in most languages: a program with its card among its metadata."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtnets.errors import OptionError
from mtnets.files import replacing
from mtnets.networks.exports.compared import equal_to
from mtnets.networks.exports.primitives import primitive
from mtnets.networks.exports.program import Function, Program, names_of

FATAL = 4  # of ONNX Runtime's severities: it would print errors of forms that another one replaces


def export_onnx(program: Program, path: str | Path) -> None:
    """Writes a program as ONNX, for any number of examples.

    With ONNX Runtime installed, its outputs are compared with those of the reference. The entries of the card are
    metadata of the model, as text or JSON.

    Args:
      program: what to write.
      path: of the file.

    Raises:
      OptionError: without the extra `mtnets[onnx]`, for an operation that ONNX does not have, and for a program that
        does not run or whose outputs differ from the reference; no file is left then.
    """
    try:
        import jax2onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise OptionError("ONNX needs more packages: pip install 'mtnets[onnx]'.") from error
    leaves, structure = jax.tree.flatten(program.any_number)
    output_names = names_of(program.outputs, "prediction")

    def written(form: Function) -> bytes:
        def positional(*parts: Any) -> Any:
            args, named = structure.unflatten(parts)
            return form(*args, **named)

        logger = logging.getLogger("onnx_ir")
        level = logger.level
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from other libraries, about each other
            logger.setLevel(logging.ERROR)
            try:
                names: dict[str, Any] = {"input_names": program.input_names, "output_names": output_names}
                model: Any = jax2onnx.to_onnx(positional, leaves, **names)
            finally:
                logger.setLevel(level)
        for key, value in program.card.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text
        return model.SerializeToString()

    def runnable(data: bytes) -> Function | None:
        try:
            import onnxruntime  # pyright: ignore[reportMissingImports]
        except ImportError:
            return None
        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL
        session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

        def run(*args: Any, **named: Any) -> Any:
            arrays = map(np.asarray, jax.tree.leaves((args, named)))
            results = session.run(None, dict(zip(program.input_names, arrays, strict=True)))
            return jax.tree.structure(program.outputs).unflatten(results)

        return run

    # jax2onnx replaces functions of other libraries while it traces, and not all that take the same arguments.
    forms = [lambda: program.function, lambda: primitive(program.function, program.any_number)]
    if program.alone:
        forms.append(lambda: primitive(program.one_by_one(), program.any_number))
    data = equal_to(program, forms, written, runnable, "ONNX")
    with replacing(path) as file:
        file.write(data)
