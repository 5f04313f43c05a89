"""Preconditioners: learned linear (or nearly linear) maps of a layer's gradient. With G a layer's gradient as a matrix,
`[inputs (+ 1 for the bias), units]`."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mtnets.errors import OptionError
from mtnets.inner.folds import product
from mtnets.inner.seams import Arrays, Rule, Setting
from mtnets.networks.layers import Layer

ONE = math.log(math.e - 1)  # softplus is 1 here


def unit_scale() -> Rule:
    """`Δ = G diag(s)` with a positive scale `s = softplus(ζ)` per output unit, all 1 at the start.

    References:
      Kang, Hwang, Eo, Kim & Rhee, Meta-Learning with a Geometry-Adaptive Preconditioner, CVPR 2023, arXiv 2304.01552
      (Approximate GAP).
    """

    def init(setting: Setting) -> Arrays:
        weights = {layer: setting.weights[layer.weight] for layer in setting.layers}
        return {layer.name: jnp.full(layer.units, ONE, weight.dtype) for layer, weight in weights.items()}

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        scales = {name: jax.nn.softplus(zeta) for name, zeta in arrays.items()}
        return _by_matrix(layers, lambda layer, g: g * scales[layer.name])

    return Rule(init, begin)


def singular_scale(*, biases: bool = True, beta: float = 1.0) -> Rule:
    """`Δ = U diag(s) Σ Vᵀ` for `G = U Σ Vᵀ`, with a positive scale `s_i = log(1 + exp(β ζ_i)) / β` for the i-th largest
    singular value, all 1 at the start.

    The singular vectors of the smaller side are taken as eigenvectors of its Gram matrix and held constant in the
    meta-gradient, as in the authors' code, which decomposes a detached gradient: their derivative does not exist where
    singular values coincide, and with fewer examples than units most of them are zero.

    Args:
      biases: whether the bias is one more row of G; otherwise its gradient stays as it is.
      beta: β of the softplus; a larger one lets s follow ζ more closely.

    Raises:
      OptionError: for a β that is not above 0.

    References:
      Kang, Hwang, Eo, Kim & Rhee, Meta-Learning with a Geometry-Adaptive Preconditioner, CVPR 2023, arXiv 2304.01552
      (GAP).
    """
    # Differs from Kang et al. (2023): their code does this to 4-D kernels of convolutions alone, without biases, and
    # with β = 2; here it is every layer, and by default with its bias and β = 1.
    if not 0 < beta < float("inf"):
        raise OptionError(f"beta is {beta}; it must be a number above 0.")
    one = 1 + math.log(-math.expm1(-beta)) / beta  # log(exp(β) − 1) / β, which does not overflow

    def init(setting: Setting) -> Arrays:
        weights = {layer: setting.weights[layer.weight] for layer in setting.layers}
        rows = {layer: layer.rows - (layer.bias is not None and not biases) for layer in weights}
        return {
            layer.name: jnp.full(min(rows[layer], layer.units), one, weight.dtype) for layer, weight in weights.items()
        }

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        scales = {name: jax.nn.softplus(beta * zeta) / beta for name, zeta in arrays.items()}

        def weights_alone(layer: Layer, g: Array) -> Array:
            return jnp.concatenate([precondition(layer, g[:-1]), g[-1:]])

        def precondition(layer: Layer, g: Array) -> Array:
            if layer.alike:  # as one unit, whose only singular value is its length
                return g * scales[layer.name]
            # work on the smaller side: units
            wide = layer.units > len(g)
            g = g.T if wide else g
            _, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(product(g.T, g)))
            vectors = vectors[:, ::-1]  # from the largest
            scaled = product(product(g, vectors) * scales[layer.name], vectors.T)
            return scaled.T if wide else scaled

        return _by_matrix(
            layers, lambda layer, g: (precondition if biases or layer.bias is None else weights_alone)(layer, g)
        )

    return Rule(init, begin, surrogate="gradient")


def kronecker_factors(factors: str = "oif") -> Rule:
    """`Δ = G ×₁ Mₒ ×₂ Mᵢ ×₃ M_f` on the outputs, inputs and filter positions of each weight, all factors the identity
    at the start; a bias is scaled element by element.

    Args:
      factors: which are learned, of `o`, `i` and `f`.

    Raises:
      OptionError: for other letters or none.

    References:
      Park & Oliva, Meta-Curvature, NeurIPS 2019, arXiv 1902.03356.
    """
    if not factors or set(factors) - set("oif"):
        raise OptionError(f"factors is {factors!r}; name some of o (outputs), i (inputs), f (filter positions): 'oif'.")

    def init(setting: Setting) -> Arrays:
        arrays: dict[str, dict[str, Array]] = {}
        for layer in setting.layers:
            dtype = setting.weights[layer.weight].dtype
            sizes = dict(zip("fio", _three_axes(layer), strict=True))
            arrays[layer.name] = {f: jnp.eye(n, dtype=dtype) for f, n in sizes.items() if f in factors and n > 1}
            if layer.bias is not None:
                arrays[layer.name]["bias"] = jnp.ones(layer.units, dtype)
        return arrays

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        def precondition(layer: Layer, g: Array) -> Array:
            learned = arrays[layer.name]
            weight, bias = (g, None) if layer.bias is None else (g[:-1], g[-1:])
            weight = weight.reshape(_three_axes(layer))
            for axis, factor in enumerate("fio"):
                if factor in learned:  # never that of units that are alike
                    product = jnp.tensordot(weight, learned[factor], (axis, 0), precision=jax.lax.Precision.HIGHEST)
                    weight = jnp.moveaxis(product, -1, axis)
            weight = weight.reshape(-1, layer.units)
            return weight if bias is None else jnp.concatenate([weight, bias * learned["bias"]])

        return _by_matrix(layers, precondition)

    return Rule(init, begin)


def context_bias(size: int) -> Rule:
    """`Δb = (G_b Cᵀ) C` for the bias of the first layer, with C `[size, units]` meta-learned; nothing else moves.

    This is CAVIA's context vector φ, zero at the start of a task and an input of the first layer, `x W + φ C + b`:
    a step of φ by `−α G_b Cᵀ` moves the bias `b + φ C` by just this, at every inner step.

    Args:
      size: elements of the context vector.

    Raises:
      OptionError: for a size below 1; at `init`, for a first layer without bias, or a network with batch norm, which
        subtracts whatever a bias adds.

    References:
      Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson, Fast Context Adaptation via Meta-Learning, ICML 2019,
      arXiv 1810.03642.
    """
    if size < 1:
        raise OptionError(f"context is {size}; the context vector needs at least 1 element.")

    def init(setting: Setting) -> Arrays:
        layer = setting.layers[0]
        if setting.norm != "none":
            raise OptionError(
                f"The network has batch norm ({setting.norm}), which takes away what a context vector adds to the "
                "first bias; use norm='none', or another method."
            )
        if layer.bias is None:
            raise OptionError(f"{layer.name} has no bias, through which a context vector would enter; give it one.")
        bound = 1 / (layer.rows - 1 + size) ** 0.5  # as for the other inputs of a layer, by its number of inputs
        dtype = setting.weights[layer.bias].dtype
        return jax.random.uniform(setting.key, (size, layer.units), dtype, -bound, bound)

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        def update(updates: Any, params: Any) -> Any:
            moved = {path: jnp.zeros_like(g) for path, g in updates.items()}
            path = layers[0].bias
            g = updates[path].reshape(1, -1)
            return moved | {path: product(product(g, arrays.T), arrays).reshape(updates[path].shape)}

        return optax.stateless(update)

    return Rule(init, begin)


def _by_matrix(layers: Sequence[Layer], f: Any) -> optax.GradientTransformation:
    """`f(layer, G)` for the gradient of each layer as a matrix."""

    def update(updates: Any, params: Any) -> Any:
        changed = dict(updates)
        for layer in layers:
            changed |= layer.leaves(f(layer, layer.matrix(updates)))
        return changed

    return optax.stateless(update)


def _three_axes(layer: Layer) -> tuple[int, int, int]:
    """Filter positions, inputs and units of a weight: `[kh, kw, inputs, units]` has `(kh · kw, inputs, units)`."""
    front = [size for axis, size in enumerate(layer.shape) if axis not in layer.out_axes]
    return math.prod(front[:-1]), front[-1] if front else 1, layer.units
