"""Mixtures of families."""

import numpy as np
import pytest

import mtnets
from mtnets import DataError, OptionError
from mtnets.tasks import mixture, polynomial, sinusoid
from samples import draw


def test_tasks_come_from_all_parts_in_proportion() -> None:
    low, high = (sinusoid(inputs=bounds) for bounds in ((-2.0, -1.0), (1.0, 2.0)))
    family = mixture([low, high], weights=[1, 3])
    for split in ("train", "validation", "test"):
        x = draw(getattr(family, split), 2000).support.x
        signs = np.sign(x)
        assert (signs == signs[:, :1]).all()  # a task is of one part
        assert abs((signs[:, 0] > 0).mean() - 0.75) < 0.05  # five standard errors


@pytest.mark.slow
def test_a_mixture_is_learned() -> None:
    family = mixture([sinusoid(), polynomial(order=1)])
    learner = mtnets.meta_train(None, mtnets.mt_net(), family, meta_steps=2, validate_every=0, progress=False)
    assert np.isfinite(mtnets.evaluate(learner, family, 4).mean).all()


def test_bad_input() -> None:
    with pytest.raises(OptionError, match="at least two families; got 1"):
        mixture([sinusoid()])
    with pytest.raises(OptionError, match="one number above 0 for each of 2"):
        mixture([sinusoid(), sinusoid()], weights=[1, 0])
    with pytest.raises(DataError, match=r"Family 2 has tasks .* use the same ways, shots"):
        mixture([sinusoid(), sinusoid(shots=5)])
