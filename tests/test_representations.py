"""What a console or a notebook shows of a value: one line, with what it is and how large."""

import dataclasses

import numpy as np
import pytest

import mtnets
from mtnets.learner import Estimate


@dataclasses.dataclass(frozen=True)
class Own(mtnets.Method, register=False):
    size: int = 3

    def parts(self):
        return mtnets.maml().parts()


@pytest.fixture(scope="module")
def learner() -> mtnets.Learner:
    return mtnets.load("sine-10shot")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (mtnets.maml(), "maml()"),
        (mtnets.mt_net(0.01, mask="mean"), "mt_net(inner_lr=0.01, mask='mean')"),
        (mtnets.maml(estimator=mtnets.Truncated(2)), "maml(estimator=Truncated(last_steps=2))"),
        (Own(size=4), "Own(size=4)"),
        (mtnets.models.mlp(1, 40, 40, 1), "<Model mlp: (1,) → 1, 1,761 numbers>"),
        (mtnets.models.conv4(5, norm="support"), "<Model conv4: (28, 28, 1) → 5, 112,005 numbers, norm support>"),
        (mtnets.Model(lambda key: 1 / 0, lambda *_: None, (2,)), "<Model of your own: (2,)>"),
        (mtnets.tasks.sinusoid(shots=5), "<Family sinusoid: shots 5, queries 10, loss mse>"),
        (
            mtnets.tasks.arrays(np.eye(12)[:, :4], np.arange(12).repeat(1) // 2, ways=2, queries=1, splits=(1, 1, 1)),
            "<Family Labelled: 2/2/2 classes, loss cross-entropy>",
        ),
        (
            Estimate("accuracy", np.array([[0.2, 1.0], [0.4, 0.5]]), np.ones((2, 2))),
            "<Estimate accuracy 0.7500 ± 0.4900 on 2 tasks after 1 inner step>",
        ),
        (
            Estimate("loss", np.ones((1, 3)), np.ones((1, 3)), stream=True),
            "<Estimate loss 1.0000 on 1 tasks along a stream>",
        ),
    ],
)
def test_one_line(value: object, text: str) -> None:
    assert repr(value) == text


def test_learners_and_what_they_adapt(learner: mtnets.Learner) -> None:
    network = "<Model mlp: (1,) → 1, 1,761 numbers>"
    assert repr(learner).startswith("<Learner t_net(")
    assert f" of {network} on sinusoid: loss " in repr(learner)
    assert repr(learner).endswith(f" on validation tasks, meta-step {learner.record['meta_step']:,}>")
    assert repr(dataclasses.replace(learner, record={})).endswith(f" of {network}>")
    x = np.zeros((1, 10, 1))
    assert repr(learner.adapt(x[0], x[0])) == f"<AdaptedModel of {network}, {learner.inner_steps} inner steps>"
    assert repr(learner.adapt_many(x, x)) == f"<AdaptedModels, 1 of {network}>"
