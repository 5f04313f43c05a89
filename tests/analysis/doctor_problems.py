"""Learners that are examined, on the small problems of the other tests."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from mtnets import METHODS, Diagnosis, Learned, Learner, Method, Model
from problems import Tasks, small_mlp, tasks_for


def small_tasks() -> Tasks:
    return tasks_for(small_mlp(), dtype=jnp.float32)


@functools.cache
def learner_of(name: str, model: Model | None = None, inner_lr: float = 0.05, **options) -> Learner:
    """Not trained: the start of a method, on the small network."""
    return untrained(model or small_mlp(), METHODS[name](inner_lr, **options), 2)


def untrained(model: Model, method: Method, inner_steps: int) -> Learner:
    params, state = model.init(jax.random.key(0))
    meta = method.init(model, params, jax.random.key(1), inner_lr=method.inner_lr, inner_steps=inner_steps)
    return Learner(model, method, Learned(meta, state, method.inner_lr), inner_steps, "mse")


def changed(learner: Learner, **arrays: Any) -> Learner:
    """The learner with other meta-parameters."""
    meta = learner.meta._replace(**arrays)
    return dataclasses.replace(learner, learned=learner.learned._replace(meta=meta))


def texts(diagnosis: Diagnosis, severity: str) -> str:
    return "\n".join(finding.text for finding in diagnosis.findings if finding.severity == severity)
