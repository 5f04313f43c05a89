"""A number that is not finite is traced to what caused it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtnets
from mtnets import Batch, RunError
from mtnets.inner import Inner, Learned, Task, cause_in_training, criterion


def model_of(apply, **params):
    return mtnets.Model(lambda key: (params, {}), lambda p, s, x, k: (apply(p, x), s), (1,))


def cause(model, *, method=None, loss="mse", steps=1, y=None, x=None, state=None):
    """What is said of one task."""
    method = method or mtnets.maml(0.01)
    x = jnp.linspace(0.1, 1, 4)[:, None] if x is None else x
    batch = Batch(x, 1.5 * x if y is None else y)
    params, state = model.init(jax.random.key(0))
    meta = method.init(model, params, jax.random.key(0), inner_lr=0.01, inner_steps=steps)
    rate = 0.01 if method.inner_lr is None else method.inner_lr
    inner, keys = Inner(model, method, criterion(loss), steps), tuple(jax.random.split(jax.random.key(1)))
    return cause_in_training(inner, Learned(meta, state, rate), Task(batch, batch), keys)


linear = model_of(lambda p, x: x @ p["w"], w=jnp.ones((1, 1)))


def test_nothing_is_said_of_what_is_finite():
    assert cause(linear) is None


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("inputs or targets of a task hold NaN", {"model": linear, "y": jnp.full((4, 1), jnp.nan)}),
        (
            "What was meta-learned is not finite",
            {"model": model_of(lambda p, x: x @ p["w"], w=jnp.full((1, 1), jnp.inf))},
        ),
        (
            "A label is out of range: the network has 2 outputs, so labels go from 0 to 1",
            {
                "model": model_of(lambda p, x: x @ p["w"], w=jnp.ones((1, 2))),
                "loss": "cross-entropy",
                "y": jnp.array([0, 1, 2, 0]),
            },
        ),
        ("network returns NaN", {"model": model_of(lambda p, x: jnp.log(-x @ p["w"]), w=jnp.ones((1, 1)))}),
        (
            "compute in bfloat16",
            {
                "model": model_of(
                    lambda p, x: (x.astype(jnp.float16) @ p["w"].astype(jnp.float16) * 6e4 * 2).astype(jnp.float32),
                    w=jnp.ones((1, 1)),
                )
            },
        ),
        (
            "square root, a norm",
            {"model": model_of(lambda p, x: jnp.sqrt(x @ p["w"]), w=jnp.zeros((1, 1)))},
        ),
        ("grow beyond bounds within 60 inner steps", {"model": linear, "method": mtnets.maml(1e6), "steps": 60}),
        (
            "inner optimiser turns a finite gradient",
            {
                "model": model_of(lambda p, x: x @ p["w"] + 0 * p["v"].sum(), w=jnp.ones((1, 1)), v=jnp.ones((1, 1))),
                "method": mtnets.maml(
                    0.1, inner_optimiser=optax.stateless(lambda g, p: jax.tree.map(lambda g: g / 0.0, g))
                ),
            },
        ),
    ],
)
def test_the_cause_is_named(said, arguments):
    assert said in cause(**arguments)


def relu(p, x):
    return jax.nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"]


# one unit is always off, so that its gradient is zero
dead = model_of(relu, w1=jnp.ones((1, 3)), b1=jnp.array([0.0, 0.0, -10.0]), w2=jnp.full((3, 1), 0.5))


@pytest.mark.slow
def test_a_square_root_at_zero_in_the_inner_optimiser():
    said = cause(dead, method=mtnets.maml(1e-9, inner_optimiser=optax.scale_by_adam()), steps=2) or ""
    assert "derivative of the inner optimiser" in said
    assert "eps_root" in said
    assert cause(dead, method=mtnets.maml(1e-9, inner_optimiser="adam"), steps=2) is None


@pytest.mark.slow
def test_training_tells_the_cause_and_not_the_rate():
    def make(rng):
        x = rng.uniform(0, 1, (20, 1))
        return (x[:10], 1.5 * x[:10]), (x[10:], 1.5 * x[10:])

    method = mtnets.maml(1e-9, inner_optimiser=optax.scale_by_adam())
    tasks, settings = mtnets.tasks.from_function(make, loss="mse"), {"validate_every": 0, "progress": False}
    with pytest.raises(RunError, match=r"meta-step 0 is not finite\. The derivative of the inner optimiser.*eps_root"):
        mtnets.meta_train(dead, method, tasks, meta_steps=3, inner_steps=2, **settings)


def test_use_tells_the_cause():
    settings = {"meta_steps": 1, "validate_every": 0, "progress": False}
    learner = mtnets.meta_train(mtnets.models.mlp(1, 4, 1), mtnets.maml(0.01), mtnets.tasks.sinusoid(), **settings)
    x = np.linspace(-1, 1, 5)[:, None]
    with pytest.raises(RunError, match=r"Adaptation failed\. Weights or losses grow beyond bounds within 9 "):
        learner.adapt(x, 1e18 * x, inner_steps=9)
