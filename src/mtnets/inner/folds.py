"""Folds: how the weights that a task moves become the weights that the network runs with.

`y = (x W + b) T = x (W T) + b T`: a metric T after a linear layer is a reparametrization of the layer's own weights. So
no layer is added, gradient descent on `W, b` sees `G Tᵀ` through automatic differentiation, and what comes out after
adaptation are plain weights of the original architecture.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.errors import OptionError
from mtnets.inner.seams import Arrays, Fold, Setting, Weights
from mtnets.networks.layers import Layer

Sides = Literal[1, 2]
Kind = Literal["full", "low-rank", "diagonal"]


def identity() -> Fold:
    """The weights as they are."""
    return Fold(lambda setting: {}, lambda layers, arrays, weights, step: dict(weights), learns=False)


class Square(NamedTuple):
    """A way to store a square matrix M, which is the identity at the start, and to multiply by it without forming it.
    Arrays with leading axes hold several matrices, one for each group of a convolution.

    Attributes:
      init: `init(shape, key, dtype) -> stored` for matrices `[..., n, n]`, `shape` being `(..., n)`.
      left: `left(stored, x) -> M x` for `x` `[..., n, columns]`.
      right: `right(x, stored) -> x M` for `x` `[..., rows, n]`.
      singular: `singular(stored) -> [..., n]`, the singular values of M.
    """

    init: Callable[[tuple[int, ...], Array, Any], Any]
    left: Callable[[Any, Array], Array]
    right: Callable[[Array, Any], Array]
    singular: Callable[[Any], np.ndarray]


def full() -> Square:
    """`M`, n² numbers."""

    def init(shape: tuple[int, ...], key: Array, dtype: Any) -> Array:
        return jnp.broadcast_to(jnp.eye(shape[-1], dtype=dtype), (*shape, shape[-1]))

    return Square(init, product, product, lambda m: np.linalg.svd(m, compute_uv=False))


def low_rank(rank: int) -> Square:
    """`M = I + U Vᵀ`, U and V being `[n, rank]`, or `[n, n]` for a larger rank: 2 n · rank numbers.

    V is zero at the start and the columns of U are random, of length about 1, so that V learns at once and U as soon as
    it has; as in LoRA (Hu et al. 2022, arXiv 2106.09685).
    """

    def init(shape: tuple[int, ...], key: Array, dtype: Any) -> dict[str, Array]:
        u = jax.random.normal(key, (*shape, min(rank, shape[-1])), dtype) / shape[-1] ** 0.5
        return {"U": u, "V": jnp.zeros_like(u)}

    def singular(m: Any) -> np.ndarray:
        # M maps the span of U and V to itself and is the identity on what is orthogonal to both
        q = np.linalg.qr(np.concatenate([m["U"], m["V"]], -1)).Q
        n, dimension = q.shape[-2:]
        u, v = (np.swapaxes(q, -1, -2) @ m[name] for name in "UV")
        inside = np.linalg.svd(np.eye(dimension) + u @ np.swapaxes(v, -1, -2), compute_uv=False)
        return np.concatenate([inside, np.ones((*inside.shape[:-1], n - dimension))], -1)

    return Square(
        init,
        lambda m, x: x + product(m["U"], product(m["V"].mT, x)),
        lambda x, m: x + product(product(x, m["U"]), m["V"].mT),
        singular,
    )


def diagonal() -> Square:
    """`M = diag(d)`, n numbers."""
    return Square(
        lambda shape, key, dtype: jnp.ones(shape, dtype),
        lambda d, x: d[..., :, None] * x,
        lambda x, d: x * d[..., None, :],
        np.abs,
    )


def metric(sides: Sides = 1, kind: Kind = "full", rank: int = 8) -> Fold:
    """`W, b ↦ W T, b T` with one square T per layer, the identity at the start.

    On the folded weights A = W T a gradient step of W reads `A ← A − α G Tᵀ T`: steepest descent under a metric.
    Layers with several output axes have one T on these axes flattened. A grouped convolution has one T for each group,
    `[groups, units / groups, units / groups]`: a block-diagonal one, since its groups see different inputs and only
    outputs of the same group can be mixed by its weights. For a depthwise convolution that is a diagonal.

    Args:
      sides: 1 for the paper's metric on outputs; 2 for one on inputs as well, `[W; b] ↦ S [W; b] T`, the bias being one
        input more, so that a step reads `A ← A − α S Sᵀ G Tᵀ T`. In a grouped convolution each group has its own S.
      kind: how T (and S) is stored. `full`: all of it, units² numbers. `low-rank`: `T = I + U Vᵀ` with U and V
        `[units, rank]`, for wide layers: time and memory are of order units · rank. `diagonal`: `T = diag(d)`.
      rank: columns of U and V for `low-rank`; at most the units of the layer (or group).

    Raises:
      OptionError: for other sides or kinds, or a rank that is no whole number above 0.

    References:
      Lee & Choi, Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace, ICML 2018,
      arXiv 1801.05558, equations 3-5. The kinds other than full are ours.
    """
    if sides not in (1, 2):
        raise OptionError(f"sides is {sides}; a metric has 1 (outputs) or 2 (outputs and inputs).")
    if kind not in get_args(Kind):
        raise OptionError(f"metric is {kind!r}; choose one of {', '.join(get_args(Kind))}.")
    if not isinstance(rank, int) or rank < 1:
        raise OptionError(f"rank is {rank}; T = I + U Vᵀ needs a whole number of columns above 0.")
    square = {"full": full(), "low-rank": low_rank(rank), "diagonal": diagonal()}[kind]

    def init(setting: Setting) -> Arrays:
        outputs, inputs = {}, {}
        for i, layer in enumerate(setting.layers):
            dtype, groups = setting.weights[layer.weight].dtype, () if layer.groups == 1 else (layer.groups,)
            keys = [jax.random.fold_in(setting.key, 2 * i + side) for side in range(2)]
            outputs[layer.name] = square.init((*groups, layer.units // layer.groups), keys[0], dtype)
            inputs[layer.name] = square.init((*groups, layer.rows), keys[1], dtype)
        return outputs if sides == 1 else {"outputs": outputs, "inputs": inputs}

    def apply(layers: Sequence[Layer], arrays: Arrays, weights: Weights, step: Any) -> dict[str, Array]:
        folded = dict(weights)
        for layer in layers:
            matrix = _by_group(layer, layer.matrix(weights))
            if sides == 2:
                matrix = square.left(arrays["inputs"][layer.name], matrix)
            outputs = arrays if sides == 1 else arrays["outputs"]
            folded |= layer.leaves(_side_by_side(layer, square.right(matrix, outputs[layer.name])))
        return folded

    def spectra(layers: Sequence[Layer], arrays: Arrays) -> dict[str, np.ndarray]:
        parts = {"": arrays} if sides == 1 else {f"{side}.": arrays[side] for side in ("inputs", "outputs")}
        singular = {}
        for side, stored in parts.items():
            for layer in layers:
                matrix = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), stored[layer.name])
                if all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(matrix)):
                    singular[side + layer.name] = np.sort(square.singular(matrix), None)[::-1]
        return singular

    return Fold(init, apply, spectra=spectra)


def _by_group(layer: Layer, matrix: Array) -> Array:
    """`[groups, rows, units / groups]` of a layer's matrix `[rows, units]`; the matrix itself if there is one group.
    Units that are alike are groups of one, which have all matrices in common."""
    if layer.alike:
        return matrix.T[:, :, None]
    if layer.groups == 1:
        return matrix
    return jnp.moveaxis(matrix.reshape(layer.rows, layer.groups, -1), 1, 0)


def _side_by_side(layer: Layer, blocks: Array) -> Array:
    """The inverse of `_by_group`."""
    if layer.alike:
        return blocks[:, :, 0].T
    return blocks if layer.groups == 1 else jnp.moveaxis(blocks, 0, 1).reshape(layer.rows, layer.units)


def step_offsets(fold: Fold) -> Fold:
    """A fold with separate values for each inner step of all vectors that belong to no layer: the offsets (and scales)
    of normalisation. They do not move within a task. Steps beyond those of training use the last values.

    References:
      Antoniou, Edwards & Storkey, How to train your MAML, ICLR 2019, arXiv 1810.09502, section 4 (BNWB).
    """

    def init(setting: Setting) -> Arrays:
        if not setting.vectors:
            raise OptionError(
                "Offsets per step need a network with normalisation, and this one has none: use norm='transductive' "
                "(or support, running), or per_step_offsets=False."
            )
        repeated = {path: jnp.repeat(leaf[None], setting.steps + 1, 0) for path, leaf in setting.vectors.items()}
        return {"offsets": repeated, "fold": fold.init(setting)}

    def apply(layers: Sequence[Layer], arrays: Arrays, weights: Weights, step: Any) -> dict[str, Array]:
        now = {path: leaf[jnp.minimum(step, len(leaf) - 1)] for path, leaf in arrays["offsets"].items()}
        return now | fold.apply(layers, arrays["fold"], weights, step)

    return Fold(init, apply, spectra=lambda layers, arrays: fold.spectra(layers, arrays["fold"]))


def product(a: Array, b: Array) -> Array:
    """A matrix product in full precision: a GPU's TF32 would round W even at T = I."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
