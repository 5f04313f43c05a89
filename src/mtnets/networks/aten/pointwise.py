"""Operations on each element: arithmetic, comparisons, activations.

Where a function has a corner, its derivative there is the one that PyTorch takes.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy import special


def _unbroadcast_alpha(operation: Callable[[Any, Any], Array]) -> Callable[..., Array]:
    """`operation(x, alpha · y)`."""
    return lambda x, y, alpha=1: operation(x, y if alpha == 1 else alpha * y)


def _div(x: Any, y: Any, rounding_mode: str | None = None) -> Array:
    match rounding_mode:
        case None:
            return jnp.true_divide(x, y)
        case "floor":
            return jnp.floor_divide(x, y)
    quotient = jnp.true_divide(x, y)
    return jnp.trunc(quotient)


def _pow(x: Any, exponent: Any) -> Array:
    if isinstance(exponent, float) and exponent.is_integer():
        exponent = int(exponent)  # a product, with derivatives at 0
    return jnp.power(x, exponent)


def _clamp(x: Array, low: Any = None, high: Any = None) -> Array:
    x = x if low is None else jnp.where(x < low, low, x)
    return x if high is None else jnp.where(x > high, high, x)


def _hardtanh(x: Array, low: Any = -1, high: Any = 1) -> Array:
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x))


def _hardsigmoid(x: Array) -> Array:
    return _hardtanh(x, -3, 3) / 6 + 0.5


def _elu(x: Array, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Array:
    return scale * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0, x) * input_scale))


def _softplus(x: Array, beta: Any = 1, threshold: Any = 20) -> Array:
    return jnp.where(x * beta > threshold, x, jax.nn.softplus(x * beta) / beta)


def _prelu(x: Array, weight: Array) -> Array:
    if weight.ndim == 1 and weight.size > 1 and x.ndim > 1:
        weight = weight.reshape(-1, *(1,) * (x.ndim - 2))  # along the channels, which follow the examples
    return jnp.where(x > 0, x, weight * x)


def _glu(x: Array, dim: int = -1) -> Array:
    a, b = jnp.split(x, 2, dim)
    return a * jax.nn.sigmoid(b)


def _logit(x: Array, eps: float | None = None) -> Array:
    x = x if eps is None else _clamp(x, eps, 1 - eps)
    return jnp.log(x) - jnp.log1p(-x)


def _round(x: Array, decimals: int = 0) -> Array:
    return jnp.round(x, decimals)


def _xlogy(x: Any, y: Any) -> Array:
    return jnp.where(x == 0, 0, x * jnp.log(jnp.where(x == 0, 1, y)))


def _entropy(x: Array) -> Array:
    inside = jnp.where(x > 0, x, 1)
    return jnp.where(x > 0, -inside * jnp.log(inside), jnp.where(x == 0, 0, -jnp.inf))


def _lerp(x: Array, end: Array, weight: Any) -> Array:
    return x + weight * (end - x)


def _cast(x: Any, dtype: Any = None) -> Array:
    return jnp.asarray(x) if dtype is None else jnp.asarray(x).astype(dtype)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "abs": jnp.abs,
    "acos": jnp.arccos,
    "acosh": jnp.arccosh,
    "add": _unbroadcast_alpha(jnp.add),
    "addcdiv": lambda x, a, b, value=1: x + value * a / b,
    "addcmul": lambda x, a, b, value=1: x + value * a * b,
    "alias": lambda x: x,
    "asin": jnp.arcsin,
    "asinh": jnp.arcsinh,
    "atan": jnp.arctan,
    "atan2": jnp.arctan2,
    "atanh": jnp.arctanh,
    "bitwise_and": jnp.bitwise_and,
    "bitwise_left_shift": jnp.left_shift,
    "bitwise_not": jnp.invert,
    "bitwise_or": jnp.bitwise_or,
    "bitwise_right_shift": jnp.right_shift,
    "bitwise_xor": jnp.bitwise_xor,
    "ceil": jnp.ceil,
    "celu": lambda x, alpha=1.0: _elu(x, alpha, 1, 1 / alpha),
    "clamp": _clamp,
    "clamp_max": lambda x, high: _clamp(x, None, high),
    "clamp_min": _clamp,
    "clone": lambda x: x,
    "contiguous": lambda x: x,
    "copy": lambda x, source: jnp.broadcast_to(source, x.shape),
    "copysign": jnp.copysign,
    "cos": jnp.cos,
    "cosh": jnp.cosh,
    "deg2rad": jnp.deg2rad,
    "detach": jax.lax.stop_gradient,
    "digamma": special.digamma,
    "div": _div,
    "elu": _elu,
    "eq": jnp.equal,
    "erf": special.erf,
    "erfc": special.erfc,
    "erfinv": special.erfinv,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "floor": jnp.floor,
    "floor_divide": jnp.floor_divide,
    "fmax": jnp.fmax,
    "fmin": jnp.fmin,
    "fmod": jnp.fmod,
    "frac": lambda x: x - jnp.trunc(x),
    "ge": jnp.greater_equal,
    "gelu": lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
    "glu": _glu,
    "gt": jnp.greater,
    "hardshrink": lambda x, lambd=0.5: jnp.where(jnp.abs(x) <= lambd, 0, x),
    "hardsigmoid": _hardsigmoid,
    "hardswish": lambda x: x * _hardsigmoid(x),
    "hardtanh": _hardtanh,
    "heaviside": jnp.heaviside,
    "hypot": jnp.hypot,
    "isfinite": jnp.isfinite,
    "isinf": jnp.isinf,
    "isnan": jnp.isnan,
    "le": jnp.less_equal,
    "leaky_relu": lambda x, slope=0.01: jnp.where(x > 0, x, slope * x),
    "lerp": _lerp,
    "lgamma": special.gammaln,
    "lift_fresh_copy": lambda x: x,
    "log": jnp.log,
    "log10": jnp.log10,
    "log1p": jnp.log1p,
    "log2": jnp.log2,
    "log_sigmoid": jax.nn.log_sigmoid,
    "logaddexp": jnp.logaddexp,
    "logaddexp2": jnp.logaddexp2,
    "logical_and": jnp.logical_and,
    "logical_not": jnp.logical_not,
    "logical_or": jnp.logical_or,
    "logical_xor": jnp.logical_xor,
    "logit": _logit,
    "lt": jnp.less,
    "masked_fill": lambda x, mask, value: jnp.where(mask, value, x),
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "mish": lambda x: x * jnp.tanh(jax.nn.softplus(x)),
    "mul": jnp.multiply,
    "nan_to_num": lambda x, nan=0.0, posinf=None, neginf=None: jnp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf),
    "ne": jnp.not_equal,
    "neg": jnp.negative,
    "polygamma": special.polygamma,
    "positive": lambda x: x,
    "pow": _pow,
    "prelu": _prelu,
    "rad2deg": jnp.rad2deg,
    "reciprocal": jnp.reciprocal,
    "relu": jax.nn.relu,
    "relu6": lambda x: _hardtanh(x, 0, 6),
    "remainder": jnp.remainder,
    "round": _round,
    "rsqrt": jax.lax.rsqrt,
    "rsub": lambda x, y, alpha=1: y - alpha * x,
    "selu": jax.nn.selu,
    "sgn": jnp.sign,
    "sigmoid": jax.nn.sigmoid,
    "sign": jnp.sign,
    "signbit": jnp.signbit,
    "silu": jax.nn.silu,
    "sin": jnp.sin,
    "sinc": jnp.sinc,
    "sinh": jnp.sinh,
    "softplus": _softplus,
    "softshrink": lambda x, lambd=0.5: jnp.where(x > lambd, x - lambd, jnp.where(x < -lambd, x + lambd, 0)),
    "special_entr": _entropy,
    "special_i0e": special.i0e,
    "special_i1": special.i1,
    "special_i1e": special.i1e,
    "special_ndtr": special.ndtr,
    "special_ndtri": special.ndtri,
    "special_xlog1py": special.xlog1py,
    "special_zeta": special.zeta,
    "i0": special.i0,
    "sqrt": jnp.sqrt,
    "square": jnp.square,
    "sub": _unbroadcast_alpha(jnp.subtract),
    "tan": jnp.tan,
    "tanh": jnp.tanh,
    "tanhshrink": lambda x: x - jnp.tanh(x),
    "threshold": lambda x, threshold, value: jnp.where(x <= threshold, value, x),
    "true_divide": jnp.true_divide,
    "trunc": jnp.trunc,
    "where": jnp.where,
    "xlogy": _xlogy,
    "_conj": jnp.conj,
    "_prelu_kernel": lambda x, weight: jnp.where(x > 0, x, weight * x),
    "_local_scalar_dense": lambda x: x,
    "_to_copy": _cast,
    "to": _cast,
}

SCALARS: dict[str, Callable[..., Any]] = {
    # functions of Python's and PyTorch's that compute sizes; of traced numbers too
    "sym_float": lambda n: float(n) if isinstance(n, int) else n,
    "sym_int": lambda n: math.trunc(n) if isinstance(n, float) else n,
    "sym_max": max,
    "sym_min": min,
    "sym_not": lambda n: not n,
    "sym_ite": lambda condition, a, b: a if condition else b,
    "sym_sum": sum,
    "_sym_sqrt": math.sqrt,
}
