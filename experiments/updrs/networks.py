"""Predictors that are networks: one that knows no patients, and the meta-trained ones."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.scores import by_rate
from experiments.updrs.data import Floats, Groups, joined, longest
from experiments.updrs.trials import Candidate, Predict, Trials, shifted
from mtnets import Batch, Learned, Learner, Method, Model, maml, meta_train
from mtnets.inner import Inner, adapt
from mtnets.learner import TEST_SEED
from mtnets.tasks import Family, Recipe, Rows

INNER_STEPS = 5
CLIP = 10.0  # norm of a task's gradient
QUERIES = 20  # of a task in meta-training
POOLED_BATCH = 64
FINE_TUNING = {"steps": (10, 100, 300), "inner_lr": (0.1, 0.3, 1.0)}
GRADIENT_DESCENT = maml(0.0, inner_clip=CLIP)


@dataclasses.dataclass(frozen=True)
class Setup:
    """How networks are trained; the same for all folds of a part.

    Attributes:
      model: the network.
      shots: support rows of a task.
      ahead: whether queries are later than the support.
      seeds: number of seeds.
      inner_lrs: inner rates to choose from.
      meta_steps: length of each meta-training.
      pooled_steps: length of the training that knows no patients.
    """

    model: Model
    shots: int
    ahead: bool
    seeds: int
    inner_lrs: Sequence[float]
    meta_steps: int
    pooled_steps: int

    def family(self, train: Rows, validation: Rows, inner_steps: int, meta_batch: int, meta_steps: int) -> Family:
        """Tasks from the rows of patients. Tests are not drawn from it."""
        recipe = Recipe(inner_lr=0.0, inner_steps=inner_steps, meta_batch=meta_batch, meta_steps=meta_steps)
        return Family(train, validation, validation, "mse", recipe, lambda: self.model)


def pooled(setup: Setup, groups: Mapping[str, Groups]) -> dict[str, list[Candidate]]:
    """A network trained on the rows of all training patients alike, for several lengths of training.

    It predicts without adaptation, shifted by the mean residual on the support, and fine-tuned on the support.
    """
    kept: dict[int, list[Learner]] = {}
    lengths = [setup.pooled_steps // 32 * k for k in (1, 4, 16, 32)]

    def keep(step: int, learners: list[Learner]) -> None:
        if step in lengths:
            kept[step] = learners

    # without inner steps, a task of the only group is a batch of rows
    rows = sum(len(y) for part in groups.values() for _, y in part.values())
    train, validation = (
        padded({"all": joined(groups[part])}, rows, shots=1, queries=POOLED_BATCH) for part in ("train", "validation")
    )
    meta_train(
        setup.model,
        GRADIENT_DESCENT,
        setup.family(train, validation, inner_steps=0, meta_batch=1, meta_steps=lengths[-1]),
        seed=list(range(setup.seeds)),
        schedule="cosine",
        validate_every=lengths[0],
        validation_tasks=1,  # the callback keeps the learners, not validation
        progress=False,
        callback=keep,
    )
    plain = [({"steps": step}, adapted(learners)) for step, learners in kept.items()]
    tuned = [
        Candidate(
            {"steps": step, "inner_steps": inner_steps, "inner_lr": rate},
            adapted([with_steps(learner, inner_steps, rate) for learner in learners]),
        )
        for step, learners in kept.items()
        for inner_steps in FINE_TUNING["steps"]
        for rate in FINE_TUNING["inner_lr"]
    ]
    return {
        "network": [Candidate(*each) for each in plain],
        "network_offset": [Candidate(setting, shifted(predict)) for setting, predict in plain],
        "network_fine_tuned": tuned,
    }


def with_steps(learner: Learner, inner_steps: int, inner_lr: float) -> Learner:
    """A learner with other inner steps and another inner rate."""
    learned = learner.learned._replace(inner_lr=inner_lr)
    return dataclasses.replace(learner, learned=learned, inner_steps=inner_steps)


def meta_trained(setup: Setup, method: Method, groups: Mapping[str, Groups]) -> list[Candidate]:
    """A network meta-trained with each inner rate, as it was when it did best on validation patients."""
    train, validation = (
        padded(groups[part], longest(groups), shots=setup.shots, queries=QUERIES, ahead=setup.ahead, split=part)
        for part in ("train", "validation")
    )
    learners = meta_train(
        setup.model,
        method,
        setup.family(train, validation, inner_steps=INNER_STEPS, meta_batch=4, meta_steps=setup.meta_steps),
        seed=list(range(setup.seeds)),
        inner_lr=setup.inner_lrs,
        schedule="cosine",
        # over the whole training, not a third of it: one program to compile instead of two
        multi_step_loss=setup.meta_steps if method.estimator.weighs_steps else 0,
        skip_nonfinite=setup.meta_steps,  # a run that fails must not end those beside it
        validate_every=max(1, setup.meta_steps // 7),
        tasks_at_once=1,
        progress=False,
    )
    return [
        Candidate({"inner_lr": rate, "meta_step": [each.record["meta_step"] for each in group]}, adapted(group))
        for rate, group in by_rate(learners, setup.inner_lrs)
    ]


def padded(groups: Groups, count: int, **options: Any) -> Rows:
    """Tasks from the rows of patients, padded to `count` rows: arrays of another shape need another program."""
    rows = Rows.of(groups, **options)
    padding = ((0, 0), (0, count - rows.x.shape[1]), (0, 0))
    return dataclasses.replace(rows, x=jnp.pad(rows.x, padding), y=jnp.pad(rows.y, padding))


def adapted(learners: Sequence[Learner]) -> Predict:
    """The predictor that adapts each of several learners to the support rows."""

    def predict(trials: Trials) -> Floats:
        support = Batch(_single(trials.support_x), _single(trials.support_y)[..., None])
        keys = jax.random.split(jax.random.key(TEST_SEED), len(trials.y))
        x = _single(trials.x)
        each = [_predict(learner.inner, learner.learned, support, x, keys) for learner in learners]
        return np.stack(each).astype(np.float64)

    return predict


def _single(array: Floats) -> Array:
    return jnp.asarray(array, jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def _predict(inner: Inner, learned: Learned, support: Batch, x: Array, keys: Array) -> Array:
    """Predictions `[trials, rows]` of one learner after its inner steps. Those that diverge are not finite."""

    def one(support: Batch, x: Array, key: Array) -> Array:
        network = adapt(inner, learned, support, key)
        return inner.model.apply(network.params, network.state, x, None)[0][:, 0]

    return jax.vmap(one)(support, x, keys)
