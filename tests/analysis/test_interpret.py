"""What measurements mean: each fault is found and named."""

import json

import jax
import jax.numpy as jnp
import pytest
from doctor_problems import changed, learner_of, small_tasks, texts

from mtnets import diagnose


@pytest.mark.slow
def test_divergence_and_broken_gradients_are_found() -> None:
    report = diagnose(learner_of("maml", inner_lr=1e4), small_tasks(), 10, finite_differences=False)
    assert "of the tasks diverge within 2 inner steps. Try inner_clip" in texts(report, "warning")
    assert "Adaptation makes it worse" in texts(report, "warning")
    assert "smaller inner rate" in texts(report, "warning")
    assert "larger" not in str(report)
    learner = learner_of("maml")
    params = jax.tree.map(lambda leaf: leaf * jnp.nan, learner.meta.params)
    report = diagnose(changed(learner, params=params), small_tasks(), 10, finite_differences=False)
    assert "is not finite. Try a smaller inner rate" in texts(report, "warning")
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.slow
def test_what_does_not_learn_or_move_is_named() -> None:
    """A metric that has all but lost a direction, masks nearly shut, a step size far from α."""
    learner = learner_of("mt_net")
    fold = dict(learner.meta.fold) | {"layers.0": jnp.diag(jnp.array([9.0, 9.0, 9.0, 1e-6]))}
    mask = {"layers.0": jnp.full(4, -9.0), "layers.1": jnp.full(2, 9.0)}
    tasks = small_tasks()
    report = diagnose(changed(learner, fold=fold, rule={"mask": mask, "rate": {}}), tasks, 10, finite_differences=False)
    assert "The metric of layers.0 is nearly singular" in texts(report, "warning")
    assert "layers.0 × 61" in texts(report, "note")
    assert "Tasks hardly move layers.0" in texts(report, "note")
    assert "The mask of layers.1 lets nearly everything move" in texts(report, "note")
    assert report.ranks["layers.0"] == 0


@pytest.mark.slow
def test_the_estimator_of_the_training_is_named() -> None:
    report = diagnose(learner_of("fomaml"), small_tasks(), 10)
    assert "Training took the first-order one instead, which is not checked" in texts(report, "good")
