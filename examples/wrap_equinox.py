"""An Equinox network, which takes one image with channels first, becomes an MT-net: new characters from one drawing.

pip install equinox        python examples/wrap_equinox.py        (some minutes on two cores)
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 300
first, second, last = jax.random.split(jax.random.key(0), 3)

network = eqx.nn.Sequential(
    [
        eqx.nn.Lambda(lambda x: jnp.moveaxis(x, -1, 0)),  # the drawings have channels last
        eqx.nn.Conv2d(1, 16, 3, stride=4, key=first),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Conv2d(16, 16, 3, stride=2, key=second),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Lambda(jnp.ravel),
        eqx.nn.Linear(16 * 3 * 3, 5, key=last),
    ]
)
model = mtnets.wrap(network, input_shape=(28, 28, 1))  # starts from the network's own weights
method, tasks = mtnets.mt_net(0.1, inner_clip=10.0), mtnets.tasks.glyphs(ways=5, shots=1, queries=3)
print(mtnets.summarise(model, method))
learner = mtnets.meta_train(model, method, tasks, meta_steps=STEPS, meta_batch=8, inner_steps=2, validate_every=0)
print(mtnets.evaluate(learner, tasks, num_tasks=min(600, 4 * STEPS)))
