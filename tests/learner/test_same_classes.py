"""Labels that mean the same classes in all tasks, and labels that a support set has no example of."""

import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets import Batch, Task
from problems import One

COUNTS = {"meta_steps": 1, "meta_batch": 1, "inner_steps": 1, "validation_tasks": 2, "progress": False}
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def tasks(support, query, outputs=None) -> One:
    support, query = np.array(support, np.int32), np.array(query, np.int32)
    return One(Task(Batch(X[: len(support)], support, None, outputs), Batch(X[: len(query)], query, None, outputs)))


def trained(tasks, **options):
    model, method = mtnets.models.mlp(3, 4, 3), mtnets.maml(0.1)
    return mtnets.meta_train(model, method, tasks, loss="cross-entropy", **COUNTS, **options)


def test_a_query_whose_class_the_support_set_lacks_is_refused() -> None:
    with pytest.raises(mtnets.DataError, match=r"validation tasks .query set. have the label 2, of which"):
        trained(tasks([0, 1, 0], [0, 2]))
    learner = trained(tasks([0, 1, 0], [0, 2]), validate_every=0)
    with pytest.raises(mtnets.DataError, match=r"The tasks .query set. have the label 2, of which"):
        mtnets.evaluate(learner, tasks([0, 1, 0], [0, 2]), 2)


@pytest.mark.slow
def test_tasks_may_say_that_all_outputs_are_classes(tmp_path) -> None:
    same = tasks([0, 1, 0], [0, 2], jnp.ones(3, bool))
    learner = trained(same)
    assert mtnets.evaluate(learner, same, 2).losses.max() < 100
    learner.save(tmp_path)
    for each in (learner, mtnets.load(tmp_path)):
        probabilities = np.asarray(each.adapt(X[:3], [0, 1, 0]).probabilities(X))
        assert np.all(probabilities > 0), "no output is left out"


@pytest.mark.slow
def test_of_a_function() -> None:
    def make(rng):
        x = rng.normal(size=(6, 3))
        return (x[:3], [0, 1, 0]), (x[3:], [0, 1, 2])

    family = mtnets.tasks.from_function(make, loss="cross-entropy", ways=3, same_classes=True)
    learner = mtnets.meta_train(None, mtnets.maml(0.1), family, **COUNTS)
    assert learner.inputs.shared_classes
    assert mtnets.evaluate(learner, family, 2).losses.max() < 100
    with pytest.raises(mtnets.OptionError, match="same_classes is True, and classes of images"):
        mtnets.tasks.from_function(
            make, loss="cross-entropy", ways=3, same_classes=True, inputs=mtnets.tasks.Images(size=3, channels=1)
        )
