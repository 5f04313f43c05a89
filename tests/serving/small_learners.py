"""Learners that compile quickly: nothing has trained them."""

import jax

import mtnets
from mtnets.inner import Inner, Learned, criterion
from mtnets.learner import Learner


def untrained(loss: str, *sizes: int, inner_steps: int = 2) -> Learner:
    """A perceptron of these sizes with MAML."""
    model, method, judges = mtnets.models.mlp(*sizes, init_std=0.5), mtnets.maml(0.1), criterion(loss)
    key = jax.random.key(0)
    params, state = model.init(key)
    meta = Inner(model, method, judges, inner_steps).init(params, key, 0.1)
    return Learner(model, method, Learned(meta, state, 0.1), inner_steps, judges)
