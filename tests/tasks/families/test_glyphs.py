from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets.errors import OptionError
from mtnets.inner.task import Task
from mtnets.tasks import Images, glyphs
from mtnets.tasks.families.glyphs import CONTROLS, SPLINE, STROKES, ink
from samples import draw

TASKS = 200


def nearest(task: Task) -> float:
    """Accuracy of the nearest support image in pixels."""
    tasks = len(task.query.x)
    support, query = task.support.x.reshape(tasks, -1, 784), task.query.x.reshape(tasks, -1, 784)
    apart = (support**2).sum(-1)[:, None] - 2 * query @ support.transpose(0, 2, 1)
    return float((np.take_along_axis(task.support.y, apart.argmin(-1), axis=1) == task.query.y).mean())


def test_shapes_and_range() -> None:
    task = draw(glyphs().train, TASKS)
    assert task.support.x.shape == (TASKS, 5, 28, 28, 1)
    assert task.query.x.shape == (TASKS, 25, 28, 28, 1)
    np.testing.assert_array_equal(task.support.y[0], range(5))
    shapes = jax.eval_shape(glyphs(ways=3, shots=2, queries=4).train.sample, jax.random.key(0))
    assert shapes.support.x.shape == (6, 28, 28, 1)
    assert shapes.query.y.shape == (12,)
    ink_share = task.support.x.mean((2, 3, 4))
    assert task.support.x.min() >= 0
    assert 0.9 < task.support.x.max() <= 1
    assert ink_share.min() > 0.005  # nothing is blank
    assert ink_share.max() < 0.5
    border = np.concatenate([task.query.x[:, :, [0, -1]].ravel(), task.query.x[:, :, :, [0, -1]].ravel()])
    assert border.mean() < 0.02  # characters stay in their frame


def test_hard_but_not_too_hard() -> None:
    accuracy = nearest(draw(glyphs().test, TASKS))
    assert 0.45 < accuracy < 0.75  # chance is 0.2


def test_a_key_is_a_task_and_drawings_differ() -> None:
    family = glyphs()
    one, same, other = (draw(family.train, TASKS, seed=seed).query.x for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.5
    drawings = one.reshape(TASKS, 5, 5, 784)
    assert (np.abs(drawings[:, :, 0] - drawings[:, :, 1]).max(-1) > 0.1).all()


def test_splits_and_seeds_share_no_character() -> None:
    family = glyphs()
    sources: list[Any] = [family.train, family.validation, family.test, glyphs(class_seed=1).train]
    shapes = [
        np.asarray(jax.jit(jax.vmap(source.character))(jnp.arange(1000, dtype=jnp.uint32))[0]).reshape(1000, -1)
        for source in sources
    ]
    assert len(np.unique(np.concatenate(shapes).round(5), axis=0)) == 4000


def test_splits_run_the_same_program() -> None:
    family = glyphs()
    assert jax.tree.structure(family.train) == jax.tree.structure(family.test)


def test_a_straight_stroke_is_an_even_line() -> None:
    across = jnp.linspace(6.0, 22.0, CONTROLS)
    strokes = jnp.broadcast_to(jnp.stack([across, jnp.full(CONTROLS, 14.0)])[:, None], (2, STROKES, CONTROLS))
    image = np.asarray(ink(strokes, jnp.array([1.0, 0, 0]), jnp.array(0.7)))[..., 0]
    middle = image[:, 8:20]
    np.testing.assert_allclose(middle, np.repeat(middle[:, :1], 12, axis=1), atol=0.02)
    assert image[13:15, 8:20].min() > 0.9
    assert image[:10].max() < 0.01
    assert image[:, :3].max() < 0.01


def test_the_spline_runs_from_the_first_to_the_last_control_point() -> None:
    np.testing.assert_allclose(SPLINE.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(SPLINE[[0, -1]], np.eye(CONTROLS)[[0, -1]], atol=1e-6)
    assert SPLINE.min() >= 0
    assert np.abs(np.diff(SPLINE, axis=0)).max() < 0.25


def test_family() -> None:
    family = glyphs(ways=7)
    assert family.inputs == Images(28, 1, invert=True)
    assert family.loss == "cross-entropy"
    with pytest.raises(OptionError, match="ways is 1"):
        glyphs(ways=1)
