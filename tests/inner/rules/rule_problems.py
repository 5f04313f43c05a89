"""Two layers, a dense one and a convolution, and what rules make of their gradients."""

import jax
import numpy as np

from mtnets.inner.seams import Setting
from mtnets.networks.layers import Layer

LAYERS = (Layer("a", "a.w", "a.b", (2, 4), (1,)), Layer("b", "b.w", None, (3, 3, 4, 2), (3,)))
WEIGHTS = {"a.w": np.ones((2, 4)), "a.b": np.ones(4), "b.w": np.ones((3, 3, 4, 2))}


def noise(seed):
    """Normal noise of the shapes of the weights."""
    random = np.random.default_rng(seed)
    return {path: random.normal(size=leaf.shape) for path, leaf in WEIGHTS.items()}


def setting_of(layers=LAYERS, weights=WEIGHTS, inner_lr=0.5, steps=3, key=0):
    return Setting(layers, weights, {}, inner_lr, steps, jax.random.key(key))


def updates_of(transformation, gradients, params=WEIGHTS, move=False):
    """What an Optax transformation makes of a sequence of gradients, the weights moving along or not."""
    state, updates = transformation.init(params), []
    for gradient in gradients:
        update, state = transformation.update(gradient, state, params)
        updates.append({path: np.asarray(u) for path, u in update.items()})
        if move:
            params = {path: params[path] + updates[-1][path] for path in params}
    return updates


def begun(rule, arrays, inner_lr=0.5, key=0):
    """A rule at the start of a task."""
    return rule.begin(LAYERS, arrays, inner_lr, jax.random.key(key))
