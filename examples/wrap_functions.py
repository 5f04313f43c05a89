"""A function and its parameters, without any library of networks, learn to learn sine curves.

python examples/wrap_functions.py        (half a minute on two cores)
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000


def init(key):
    """The parameters for a seed."""
    first, second = jax.random.split(key)
    w1, w2 = jax.random.normal(first, (1, 40)), jax.random.normal(second, (40, 1)) / 40**0.5
    return {"w1": w1, "b1": jnp.zeros(40), "w2": w2, "b2": jnp.zeros(1)}


def apply(p, x):
    """Predictions `[examples, 1]`."""
    return jnp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]


layers = {"inside": ("w1", "b1"), "head": ("w2", "b2")}  # optional names of your own
model = mtnets.wrap((apply, init(jax.random.key(0))), (1,), init=init, layers=layers)
method = mtnets.mt_net(0.01)
print(mtnets.summarise(model, method))
learner = mtnets.meta_train(model, method, mtnets.tasks.sinusoid(shots=10), meta_steps=STEPS, validate_every=0)

x = np.random.default_rng(0).uniform(-5, 5, (10, 1)).astype(np.float32)
adapted = learner.adapt(x, 3 * np.sin(x - 1), inner_steps=5)
grid = np.linspace(-5, 5, 200, dtype=np.float32)[:, None]
error = np.mean((apply(adapted.params, grid) - 3 * np.sin(grid - 1)) ** 2)
print(f"squared error {error:.3f} on the curve")
