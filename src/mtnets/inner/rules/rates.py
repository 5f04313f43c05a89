"""Rates: α, learned rates, and rates that a small network generates as the task is learned."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mtnets.errors import OptionError
from mtnets.inner.folds import product
from mtnets.inner.rules.chain import by_step
from mtnets.inner.seams import Arrays, Rule, Setting
from mtnets.networks.layers import Layer

Rates = Literal["fixed", "weight", "layer-step"]


def rate(rates: Rates) -> Rule:
    """The rule for a choice of rates: α itself, or learned `weight` by weight, or by layer and step.

    Raises:
      OptionError: for another choice.
    """
    rules = {"fixed": sgd, "weight": weight_rates, "layer-step": layer_step_rates}
    if rates not in rules:
        raise OptionError(f"rates is {rates!r}; choose one of {', '.join(get_args(Rates))}.")
    return rules[rates]()


def sgd() -> Rule:
    """`Δ = −α G`."""
    return Rule(
        lambda setting: {},
        lambda layers, arrays, inner_lr, key: optax.scale(-inner_lr),
        learns=False,
        loose=True,
    )


def weight_rates(between: tuple[float, float] | None = None) -> Rule:
    """`Δ = −α ⊙ G` with one learned rate per weight, all α at the start.

    Args:
      between: rates start from uniform draws between these two instead.

    Raises:
      OptionError: for a lower end below 0 or an upper one that is not above it.

    References:
      Li, Zhou, Chen & Li, Meta-SGD, 2017, arXiv 1707.09835.
    """
    if between is not None and not 0 <= between[0] < between[1] < float("inf"):
        raise OptionError(f"between is {between}; it must be two numbers of at least 0, the smaller one first.")

    def init(setting: Setting) -> Arrays:
        if between is None:
            return {path: jnp.full_like(weight, setting.inner_lr) for path, weight in setting.weights.items()}
        keys = jax.random.split(setting.key, len(setting.weights))
        return {
            path: jax.random.uniform(key, weight.shape, weight.dtype, *between)
            for (path, weight), key in zip(setting.weights.items(), keys, strict=True)
        }

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        return optax.stateless(lambda updates, params: jax.tree.map(lambda a, g: -a * g, arrays, updates))

    return Rule(init, begin, loose=True)


def layer_step_rates() -> Rule:
    """`Δ = −α_lt G` with one learned rate per layer l and inner step t, all α at the start. A leaf in no layer
    counts as one.

    Steps beyond those of training use the last rate.

    References:
      Antoniou, Edwards & Storkey, How to train your MAML, ICLR 2019, arXiv 1810.09502, section 4 (LSLR).
    """

    def init(setting: Setting) -> Arrays:
        steps = max(1, setting.steps)
        in_layers = {path for layer in setting.layers for path in layer.paths}
        weights = {layer.name: setting.weights[layer.weight] for layer in setting.layers}
        weights |= {path: leaf for path, leaf in setting.weights.items() if path not in in_layers}
        return {name: jnp.full(steps, setting.inner_lr, weight.dtype) for name, weight in weights.items()}

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        names = {path: layer.name for layer in layers for path in layer.paths}

        def update(updates: Any, step: Array, params: Any) -> Any:
            now = {name: rates[jnp.minimum(step, len(rates) - 1)] for name, rates in arrays.items()}
            return {path: -now[names.get(path, path)] * g for path, g in updates.items()}

        return by_step(update)

    return Rule(init, begin, loose=True)


def generated_rates(*, detached: bool = False) -> Rule:
    """`w ← β w − α G`, where a perceptron of three layers generates a rate α_l and a decay β_l per layer l, at each
    inner step, from the means of every layer's weights and gradients: `(α, β) = (α⁰_t, β⁰_t) ⊙ g(means)`.

    At the start `g = 1`, `α⁰ = α` and `β⁰ = 1` for all steps t; steps beyond those of training use the last.

    Args:
      detached: whether the means of gradients are constants of the meta-gradient.

    References:
      Baik, Choi, Choi, Kim & Lee, Meta-Learning with Adaptive Hyperparameters, NeurIPS 2020, arXiv 2011.00209. There
      weight and bias are two layers; here they are one.
    """

    def init(setting: Setting) -> Arrays:
        count, steps = len(setting.layers), max(1, setting.steps)
        dtype = setting.weights[setting.layers[0].weight].dtype
        first, second = (
            jax.random.normal(jax.random.fold_in(setting.key, i), (2 * count, 2 * count), dtype) / (2 * count) ** 0.5
            for i in range(2)
        )
        zeros = jnp.zeros(2 * count, dtype)
        return {
            "rate": jnp.full((steps, count), setting.inner_lr, dtype),
            "decay": jnp.ones((steps, count), dtype),
            "first": {"w": first, "b": zeros},
            "second": {"w": second, "b": zeros},
            "third": {"w": jnp.zeros_like(first), "b": jnp.ones_like(zeros)},
        }

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        def means(leaves: Any) -> Array:
            return jnp.stack([layer.matrix(leaves).mean() for layer in layers])

        def dense(name: str, x: Array) -> Array:
            return product(x, arrays[name]["w"]) + arrays[name]["b"]

        def update(updates: Any, step: Array, params: Any) -> Any:
            of_gradients = means(updates)
            x = jnp.concatenate([jax.lax.stop_gradient(of_gradients) if detached else of_gradients, means(params)])
            factors = dense("third", jax.nn.relu(dense("second", jax.nn.relu(dense("first", x)))))
            step = jnp.minimum(step, len(arrays["rate"]) - 1)
            rates, decays = (
                arrays[name][step] * part for name, part in zip(("rate", "decay"), jnp.split(factors, 2), strict=True)
            )
            return {
                path: (decays[i] - 1) * params[path] - rates[i] * updates[path]
                for i, layer in enumerate(layers)
                for path in layer.paths
            }

        return by_step(update)

    # detached, finite differences disagree with the derivative, on purpose
    return Rule(init, begin, surrogate="gradient" if detached else None)
