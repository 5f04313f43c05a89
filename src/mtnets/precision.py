"""Products in full single precision, and the same bits in every process, where a GPU by itself gives neither.

NVIDIA's GPUs round what enters a product of float32 to TF32, with 10 bits after the point, and TPUs to bfloat16, with
7, unless a program says otherwise. A meta-gradient, which contains differences of gradients, suffers more than a
gradient does.
"""

import functools
import os
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

import jax

from mtnets.errors import OptionError

SETTINGS: Any = jax.config
P = ParamSpec("P")
T = TypeVar("T")
Precision = Literal["float32", "tf32", "bfloat16"]
NAMES = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": "bfloat16"}  # to JAX
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"  # no sums in the order of chance, no choice of kernels by their time


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """The function with its products, and those of its derivatives, in full single precision on every device.

    What JAX was told counts instead, by `jax.config.update("jax_default_matmul_precision", …)`, the variable
    `JAX_DEFAULT_MATMUL_PRECISION`, or `use_precision`; and what a product says itself. On a CPU nothing is rounded.
    """
    if getattr(function, "in_full_precision", False):
        return function

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if jax.default_backend() == "cpu" or SETTINGS.jax_default_matmul_precision is not None:
            return function(*args, **kwargs)
        with jax.default_matmul_precision("float32"):
            return function(*args, **kwargs)

    call.in_full_precision = True  # type: ignore[attr-defined]
    return call


def use_precision(precision: Precision) -> None:
    """What is left of float32 in products on a GPU or a TPU, in this process."""
    jax.config.update("jax_default_matmul_precision", NAMES[precision])


def precision_in_use() -> str:
    """The precision of products of float32 on the devices of this process, as JAX names it."""
    return "float32" if jax.default_backend() == "cpu" else SETTINGS.jax_default_matmul_precision or "float32"


def use_deterministic() -> None:
    """Makes a GPU give the same bits from the same program in every process, at the price of speed; CPUs do so anyway.

    Raises:
      OptionError: if JAX has started, since it reads this only then.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    if DETERMINISTIC in flags:
        return
    devices = SETTINGS.jax_num_cpu_devices
    try:  # JAX refuses another number once it has started, and says it in no other way
        jax.config.update("jax_num_cpu_devices", max(devices, 0) + 1)
        jax.config.update("jax_num_cpu_devices", devices)
    except RuntimeError:
        raise OptionError(
            "JAX has started, and reads only then whether it is to be deterministic; call use_deterministic before "
            f"anything is computed, or set XLA_FLAGS={DETERMINISTIC}."
        ) from None
    os.environ["XLA_FLAGS"] = " ".join([*flags, DETERMINISTIC])
