import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets.errors import OptionError
from mtnets.learner.evaluate import Estimate, evaluate


@pytest.fixture(scope="module")
def learner():
    tasks = mtnets.tasks.sinusoid(shots=5)
    settings = {"meta_steps": 3, "validate_every": 0, "progress": False}
    return mtnets.meta_train(mtnets.models.mlp(1, 6, 6, 1), mtnets.mt_net(), tasks, **settings)


@pytest.fixture(scope="module")
def tasks():
    return mtnets.tasks.sinusoid(shots=5)


def test_statistics_against_their_definitions():
    scores = np.random.default_rng(0).normal(size=(50, 3)) ** 2
    estimate = Estimate("loss", scores, scores)
    np.testing.assert_allclose(estimate.mean, scores.mean(0))
    np.testing.assert_allclose(estimate.ci95, 1.96 * scores.std(0, ddof=1) / np.sqrt(50))
    np.testing.assert_allclose(estimate.median, np.median(scores, 0))


def test_diverged_tasks_are_counted_and_the_mean_is_null():
    losses = np.array([[1.0, 0.5], [1.0, 9.9], [1.0, 10.1], [1.0, np.inf], [1.0, np.nan]])
    estimate = Estimate("loss", losses, losses)
    np.testing.assert_allclose(estimate.diverged, [0, 0.6])
    first, last = estimate.to_json()["inner_steps"]
    assert first == {"step": 0, "mean": 1.0, "ci95": 0.0, "median": 1.0, "diverged": 0.0, "loss": 1.0}
    assert last["mean"] is None
    assert last["ci95"] is None
    assert last["loss"] is None
    assert last["median"] == 10.1
    assert "5 tasks" in str(estimate)


def test_a_single_task_has_no_interval():
    assert Estimate("loss", np.ones((1, 2)), np.ones((1, 2))).to_json()["inner_steps"][0]["ci95"] is None


def test_scores_are_those_of_tasks_adapted_one_by_one(learner, tasks):
    """Against `learner.adapt`, for the tasks and keys that `evaluate` draws."""
    estimate = evaluate(learner, tasks, 5, inner_steps=2, seed=7)
    for key, scores in zip(jax.random.split(jax.random.key(7), 5), estimate.scores, strict=True):
        task = tasks.test.sample(jax.random.fold_in(key, 0))
        for steps in range(3):
            # masks are drawn from the same key however many steps follow
            model = learner.adapt(*task.support[:2], inner_steps=steps, key=jax.random.fold_in(key, 1))
            np.testing.assert_allclose(jnp.mean((model(task.query.x) - task.query.y) ** 2), scores[steps], rtol=1e-4)


@pytest.mark.parametrize("options", [{"tasks_at_once": 1}, {"tasks_at_once": 4}, {"devices": 1}, {"devices": 2}])
def test_batching_and_devices_change_nothing(learner, tasks, options):
    np.testing.assert_allclose(
        evaluate(learner, tasks, 12, **options).losses, evaluate(learner, tasks, 12).losses, rtol=1e-4, atol=1e-6
    )


def test_all_methods_see_the_same_tasks(learner, tasks):
    other = dataclasses.replace(learner, method=mtnets.mt_net(mask="mean"))
    np.testing.assert_array_equal(evaluate(learner, tasks, 9).losses[:, 0], evaluate(other, tasks, 9).losses[:, 0])


def test_masks_can_be_used_otherwise_at_test(learner, tasks):
    losses = {mask: evaluate(learner, tasks, 9, mask=mask).losses[:, 1] for mask in ("sample", "mean", "threshold")}
    np.testing.assert_array_equal(losses["sample"], evaluate(learner, tasks, 9).losses[:, 1])
    assert not np.allclose(losses["sample"], losses["mean"])
    assert not np.allclose(losses["threshold"], losses["mean"])


def test_saved_scores(learner, tasks, tmp_path):
    estimate = evaluate(learner, tasks, 9)
    estimate.save(tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz") as saved:
        np.testing.assert_array_equal(saved["scores"], estimate.scores)


def test_bad_options(learner, tasks):
    with pytest.raises(OptionError, match="num_tasks is 0"):
        evaluate(learner, tasks, 0)
    with pytest.raises(OptionError, match="inner_steps is -1"):
        evaluate(learner, tasks, 5, inner_steps=-1)
    with pytest.raises(OptionError, match="tasks_at_once is 0; it must be at least 1, or 'auto'"):
        evaluate(learner, tasks, 5, tasks_at_once=0)
    with pytest.raises(OptionError, match="devices is 0; it must be at least 1, or 'all'"):
        evaluate(learner, tasks, 5, devices=0)
    maml = dataclasses.replace(learner, method=mtnets.maml())
    with pytest.raises(OptionError, match="maml has no masks, and mask is 'mean'"):
        evaluate(maml, tasks, 5, mask="mean")
