"""Learners that are described and pushed."""

import jax

import mtnets


def learner_of(model, method=None, **record):
    method = method or mtnets.mt_net(0.05)
    params, state = jax.jit(model.init)(jax.random.key(0))
    key, options = jax.random.key(1), {"inner_lr": 0.05, "inner_steps": 2}
    meta = jax.jit(lambda params: method.init(model, params, key, **options))(params)
    loss = "mse" if model.input_shape == (1,) else "cross-entropy"
    return mtnets.Learner(model, method, mtnets.Learned(meta, state, 0.05), 2, loss, record=record)


RECORD = {
    "tasks": {"family": "sinusoid", "shots": 5, "network": {"hidden": [6], "norm": "none"}},
    "training": {"meta_steps": 7000, "meta_batch": 4, "meta_lr": 0.001, "validation_tasks": 200},
    "seed": 3,
    "meta_step": 6500,
    "validation": 0.123456,
}
