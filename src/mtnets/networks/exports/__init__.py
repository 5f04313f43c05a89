"""Networks as programs that run without this library: StableHLO and ONNX. A program is run and compared with
the network before it is written.

Reading order: program, primitives, compared, stablehlo, onnx.
"""

from mtnets.networks.exports.onnx import export_onnx
from mtnets.networks.exports.program import Field, Program
from mtnets.networks.exports.stablehlo import export_stablehlo

__all__ = ["Field", "Program", "export_onnx", "export_stablehlo"]
