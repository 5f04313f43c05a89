import dataclasses
import io

import jax
import numpy as np
import pytest

import mtnets
from mtnets.errors import DataError, OptionError
from mtnets.learner.evaluate import Estimate, evaluate


@pytest.fixture(scope="module")
def learner():
    tasks = mtnets.tasks.sinusoid(shots=5)
    settings = {"meta_steps": 0, "validate_every": 0, "progress": False}
    return mtnets.meta_train(mtnets.models.mlp(1, 6, 6, 1), mtnets.mt_net(), tasks, **settings)


@pytest.fixture(scope="module")
def tasks():
    return mtnets.tasks.sinusoid(shots=5)


def test_a_metric_that_is_not_defined_does_not_count_and_one_that_diverged_does():
    scores, losses = np.array([[1.0], [np.nan], [3.0]]), np.ones((3, 1))
    assert Estimate("auroc", scores, losses).mean == 2
    losses[1] = np.inf
    assert np.isnan(Estimate("auroc", scores, losses).mean)


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


def trained(model, tasks, method=None, **settings):
    settings = {"meta_steps": 0, "validate_every": 0, "progress": False} | settings
    return mtnets.meta_train(model, method or mtnets.mt_net(0.1), tasks, **settings)


def by_hand(learner, task, key, steps, read=lambda x: x):
    """The score of a task by `learner.adapt` and a prediction."""
    # masks are drawn from the same key however many steps follow
    model = learner.adapt(read(task.support.x), task.support.y, inner_steps=steps, key=key)
    prediction = model(read(task.query.x))
    if learner.loss.name == "mse":
        return np.mean((prediction - task.query.y) ** 2)
    return np.mean(np.argmax(prediction, axis=1) == task.query.y)


def assert_as_in_use(learner, tasks, read=lambda x: x, unit=1.0, count=4):
    """`evaluate` gives the scores that its tasks get by hand, with the same keys.

    Args:
      learner, tasks: what is evaluated.
      read: raw data of the learner from the inputs of a task.
      unit: of the scores by hand.
      count: of tasks.
    """
    scores = evaluate(learner, tasks, count, inner_steps=2, seed=7).scores
    for key, expected in zip(jax.random.split(jax.random.key(7), count), scores, strict=True):
        task = jax.tree.map(np.asarray, tasks.test.sample(jax.random.fold_in(key, 0)))
        ours = [by_hand(learner, task, jax.random.fold_in(key, 1), steps, read) / unit for steps in range(3)]
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_scores_are_those_of_use_in_regression(learner, tasks):
    assert_as_in_use(learner, tasks)


@pytest.mark.slow
@pytest.mark.parametrize(("ways", "norm"), [(3, "none"), (3, "support"), (5, "none")])
def test_scores_are_those_of_use_with_fewer_classes_than_outputs(ways, norm):
    """An output without a class would otherwise be predicted, and take part in the loss."""
    rng, y = np.random.default_rng(0), np.arange(20).repeat(9)
    x = rng.normal(size=(20, 4))[y] + rng.normal(size=(180, 4))

    def tasks(ways):
        return mtnets.tasks.arrays(x, y, ways=ways, shots=2, queries=6, splits=(5, 5, 10))

    learner = trained(mtnets.models.mlp(4, 8, 5, norm=norm), tasks(5))
    assert_as_in_use(learner, tasks(ways))


@pytest.mark.slow
def test_a_class_that_the_support_set_lacks_is_never_right():
    def make(rng):
        x, y = rng.normal(size=(12, 2)), np.arange(12) % 3
        return (x[:6][y[:6] < 2], y[:6][y[:6] < 2]), (x[6:], y[6:])

    tasks = mtnets.tasks.from_function(make, loss="cross-entropy", ways=3)
    learner = trained(None, tasks, mtnets.maml(0.1))
    assert_as_in_use(learner, tasks)
    assert evaluate(learner, tasks, 20).scores.max() <= 2 / 3


@pytest.mark.slow
def test_scores_are_those_of_use_on_images():
    """Raw pixels through `adapt`, also where tasks give them as they are."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1)).astype(np.uint8)
    options = {"ways": 3, "shots": 1, "queries": 2, "splits": (1, 1, 1)}
    images, y = mtnets.tasks.Images(8, 1, invert=True), np.arange(12).repeat(5)
    tasks = mtnets.tasks.arrays(pixels, y, inputs=images, **options)
    learner = trained(mtnets.models.conv4(4, filters=2, image_size=8, norm="support"), tasks)
    assert_as_in_use(learner, tasks)
    assert_as_in_use(learner, tasks, lambda x: np.rint(255 * (1 - x)).astype(np.uint8))
    raw = mtnets.tasks.arrays(pixels, y, **options)
    np.testing.assert_array_equal(evaluate(learner, raw, 4).scores, evaluate(learner, tasks, 4).scores)
    assert_as_in_use(learner, raw)
    other = mtnets.tasks.arrays(pixels, y, inputs=mtnets.tasks.Images(8, 1), **options)
    for unlike in (other, other.test):
        with pytest.raises(DataError, match=r"read them as in its training: .*invert=True"):
            evaluate(learner, unlike, 4)


@pytest.mark.slow
def test_scores_are_those_of_use_on_tables():
    rng = np.random.default_rng(0)
    table = {"who": np.arange(12).repeat(8), "a": rng.normal(5, 3, 96), "b": rng.choice(["x", "y"], 96)}
    table["y"] = 10 * table["a"] + rng.normal(size=96)
    tasks = mtnets.tasks.table(table, "who", "y", shots=4, queries=4)
    learner = trained(None, tasks)
    mean, spread = learner.inputs._scales
    spread_of_y, scale = learner.inputs.target.spread, learner.inputs.unscale
    for key in jax.random.split(jax.random.key(7), 3):
        task = tasks.test.sample(jax.random.fold_in(key, 0))
        raw, draw = task.support.x * spread + mean, jax.random.fold_in(key, 1)
        model = learner.adapt(raw, scale(task.support.y)[:, 0], key=draw)
        error = np.mean((model(task.query.x * spread + mean) - scale(task.query.y)) ** 2) / spread_of_y**2
        place = [k for k, other in enumerate(jax.random.split(jax.random.key(7), 3)) if (other == key).all()]
        np.testing.assert_allclose(error, evaluate(learner, tasks, 3, seed=7).scores[place[0], -1], rtol=1e-3)
    with pytest.raises(DataError, match="The table has changed since training"):
        evaluate(learner, mtnets.tasks.table(table, "who", "y", shots=4, queries=4, split_seed=1).test, 3)


@pytest.mark.slow
def test_raw_rows_are_standardised_as_in_use():
    rng, y = np.random.default_rng(0), np.arange(12).repeat(9)
    x = 1000 + 50 * (rng.normal(size=(12, 20))[y] + rng.normal(size=(108, 20)))
    tasks = mtnets.tasks.arrays(x, y, ways=3, shots=2, queries=6, splits=(1, 1, 1))
    learner = mtnets.load("tabular-classification")
    assert_as_in_use(learner, tasks)
    assert evaluate(learner, tasks, 20).mean[-1] > 0.6


def test_tasks_of_another_shape_get_a_sentence(learner):
    with pytest.raises(DataError, match=r"have inputs \[28, 28, 1\] and the network takes \[1\]"):
        evaluate(learner, mtnets.tasks.glyphs(), 4)
    with pytest.raises(DataError, match=r"x has shape .*; this learner needs .*28, 28, 1"):
        evaluate(mtnets.load("glyphs-5way-1shot"), mtnets.tasks.sinusoid(), 4)


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


def test_another_inner_rate_is_that_of_a_learner_which_has_it(learner, tasks):
    other = dataclasses.replace(learner, learned=learner.learned._replace(inner_lr=0.3))
    found = evaluate(learner, tasks, 9, inner_lr=0.3).losses
    np.testing.assert_array_equal(found, evaluate(other, tasks, 9).losses)
    assert not np.array_equal(found, evaluate(learner, tasks, 9).losses)
    still = evaluate(learner, tasks, 9, inner_lr=0).losses
    np.testing.assert_array_equal(still[:, 0], still[:, 1])


@pytest.mark.parametrize(
    ("name", "options"),
    [("maml", {"rates": "weight"}), ("mt_net", {"rates": "layer-step"}), ("meta_sgd", {}), ("alfa", {})],
)
def test_learned_rates_are_not_replaced(name, options, tasks):
    learner = trained(mtnets.models.mlp(1, 6, 1), tasks, mtnets.METHODS[name](0.1, **options))
    with pytest.raises(OptionError, match=f"inner_lr is 0.5, and the rates of {name} are learned"):
        evaluate(learner, tasks, 5, inner_lr=0.5)


def test_saved_scores(learner, tasks, tmp_path):
    estimate = evaluate(learner, tasks, 9)
    estimate.save(tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz") as saved:
        np.testing.assert_array_equal(saved["scores"], estimate.scores)


def test_damaged_scores_are_never_other_numbers(tmp_path):
    """NumPy compares the CRC-32 of each entry of the archive."""
    scores = np.linspace(0, 1, 18).reshape(9, 2)
    Estimate("loss", scores, scores).save(tmp_path / "scores.npz")
    whole, noticed = (tmp_path / "scores.npz").read_bytes(), 0
    for place in range(0, len(whole), 7):
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        try:
            with np.load(io.BytesIO(changed)) as saved:
                arrays = [saved["scores"], saved["losses"]]
        except Exception:  # of many kinds
            noticed += 1
            continue
        for array in arrays:
            np.testing.assert_array_equal(array, scores)
    assert noticed


def test_bad_options(learner, tasks):
    for count in (0, 9_999_999_999):
        with pytest.raises(OptionError, match=f"num_tasks is {count}; it must be from 1 to 10000000"):
            evaluate(learner, tasks, count)
    for seed in (-1, 2**32):  # of which JAX would take another one
        with pytest.raises(OptionError, match=f"seed is {seed}; it must be a whole number from 0 to"):
            evaluate(learner, tasks, 5, seed=seed)
    with pytest.raises(OptionError, match="inner_steps is -1"):
        evaluate(learner, tasks, 5, inner_steps=-1)
    with pytest.raises(OptionError, match="tasks_at_once is 0; it must be at least 1, or 'auto'"):
        evaluate(learner, tasks, 5, tasks_at_once=0)
    with pytest.raises(OptionError, match="devices is 0; it must be at least 1, or 'all'"):
        evaluate(learner, tasks, 5, devices=0)
    maml = dataclasses.replace(learner, method=mtnets.maml())
    for rate in (-0.1, np.inf, "fast"):
        with pytest.raises(OptionError, match=f"inner_lr is {rate!r}; it must be a number of at least 0"):
            evaluate(learner, tasks, 5, inner_lr=rate)
    with pytest.raises(OptionError, match="maml has no masks, and mask is 'mean'"):
        evaluate(maml, tasks, 5, mask="mean")
