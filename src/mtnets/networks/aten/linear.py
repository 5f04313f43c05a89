"""Matrix products, attention, distances, linear algebra."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.networks.aten.random import dropout


def _linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    y = x @ weight.T
    return y if bias is None else y + bias


def _add_product(start: Array, a: Array, b: Array, *, beta: Any = 1, alpha: Any = 1) -> Array:
    product = a @ b
    product = product if alpha == 1 else alpha * product
    return product if beta == 0 else product + (start if beta == 1 else beta * start)


def _outer(start: Array, a: Array, b: Array, *, beta: Any = 1, alpha: Any = 1) -> Array:
    return beta * start + alpha * jnp.outer(a, b)


def _bilinear(a: Array, b: Array, weight: Array, bias: Array | None = None) -> Array:
    y = jnp.einsum("...oj,...j->...o", jnp.einsum("...i,oij->...oj", a, weight), b)
    return y if bias is None else y + bias


def _einsum(equation: str, operands: Sequence[Array], path: Any = None) -> Array:
    return jnp.einsum(equation, *operands)


def _attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    rng: Array | None = None,
) -> Array:
    """`softmax(q kᵀ · scale + mask) v`; rows in which all is masked are zero."""
    if enable_gqa:
        key, value = (jnp.repeat(a, query.shape[-3] // a.shape[-3], axis=-3) for a in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    logits = (query * scale) @ jnp.swapaxes(key, -1, -2)
    allowed = None
    if is_causal:
        allowed = jnp.tril(jnp.ones(logits.shape[-2:], bool))
    elif attn_mask is not None and attn_mask.dtype == bool:
        allowed = attn_mask
    elif attn_mask is not None:
        logits = logits + attn_mask
    wide = jnp.promote_types(logits.dtype, jnp.float32)  # 16 bits are summed in 32, as in PyTorch
    logits = logits.astype(wide)
    if allowed is None:
        weights = jax.nn.softmax(logits)
    else:
        weights = jax.nn.softmax(jnp.where(allowed, logits, jnp.finfo(wide).min))
        weights = jnp.where(allowed.any(-1, keepdims=True), weights, 0)
    weights = weights.astype(value.dtype)
    if dropout_p and rng is not None:
        weights = dropout(weights, dropout_p, rng=rng)
    return weights @ value


def _distances(a: Array, b: Array, p: float = 2.0, compute_mode: int | None = None) -> Array:
    """p-norms of all differences; their derivative at zero is zero."""
    difference = jnp.abs(a[..., :, None, :] - b[..., None, :, :])
    if p == 0:
        return (difference != 0).astype(a.dtype).sum(-1)
    if p == 1:
        return difference.sum(-1)
    if p == math.inf:
        return difference.max(-1)
    total = (jnp.square(difference) if p == 2 else jnp.where(difference == 0, 0, difference**p)).sum(-1)
    return jnp.where(total == 0, 0, jnp.where(total == 0, 1, total) ** (1 / p))


def _cross(a: Array, b: Array, *, dim: int = -1) -> Array:
    return jnp.cross(a, b, axis=dim)


def _triangular_solve(a: Array, b: Array, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Array:
    if not left:
        flipped = _triangular_solve(jnp.swapaxes(a, -1, -2), jnp.swapaxes(b, -1, -2), upper=not upper)
        return jnp.swapaxes(flipped, -1, -2)
    return jax.scipy.linalg.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)


def _solve(a: Array, b: Array, *, left: bool = True, check_errors: bool = False) -> tuple[Array, None, None, None]:
    if not left:
        a, b = jnp.swapaxes(a, -1, -2), jnp.swapaxes(b, -1, -2)
    vectors = b.ndim == 1 or b.shape == a.shape[:-1]
    x = jnp.linalg.solve(a, b[..., None])[..., 0] if vectors else jnp.linalg.solve(a, b)
    return (x if left else jnp.swapaxes(x, -1, -2)), None, None, None


OPERATIONS: dict[str, Callable[..., Any]] = {
    "addbmm": lambda start, a, b, beta=1, alpha=1: beta * start + alpha * (a @ b).sum(0),
    "addmm": _add_product,
    "addmv": _add_product,
    "addr": _outer,
    "baddbmm": _add_product,
    "bilinear": _bilinear,
    "bmm": jnp.matmul,
    "cdist": _distances,
    "dot": jnp.dot,
    "einsum": _einsum,
    "linalg_cholesky_ex": lambda a, upper=False, check_errors=False: (jnp.linalg.cholesky(a, upper=upper), None),
    "linalg_cross": _cross,
    "linalg_inv_ex": lambda a, check_errors=False: (jnp.linalg.inv(a), None),
    "linalg_matrix_exp": jax.scipy.linalg.expm,
    "linalg_qr": lambda a, mode="reduced": tuple(jnp.linalg.qr(a, mode)),
    "linalg_solve_triangular": _triangular_solve,
    "linear": _linear,
    "matmul": jnp.matmul,
    "mm": jnp.matmul,
    "mv": jnp.matmul,
    "trace": jnp.trace,
    "_cdist_forward": _distances,
    "_linalg_det": lambda a: (jnp.linalg.det(a), None, None),
    "_linalg_eigh": lambda a, uplo="L", compute_v=True: tuple(jnp.linalg.eigh(a, uplo)),
    "_linalg_slogdet": lambda a: (*jnp.linalg.slogdet(a), None, None),
    "_linalg_solve_ex": _solve,
    "_linalg_svd": lambda a, full_matrices=False, compute_uv=True, driver=None: tuple(
        jnp.linalg.svd(a, full_matrices=full_matrices)
    ),
}

RANDOM: dict[str, Callable[..., Any]] = {"scaled_dot_product_attention": _attention}
