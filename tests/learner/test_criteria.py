"""Losses and metrics of the user's choice, from training through files to use."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets import OptionError, RunError
from mtnets.sklearn import FewShotClassifier, FewShotRegressor

FAST = {"meta_steps": 2, "validate_every": 0, "progress": False, "inner_steps": 2}
X = np.linspace(-2, 2, 6)[:, None].astype(np.float32)
Y = np.sin(X)


def network(outputs: int = 1) -> mtnets.Model:
    return mtnets.models.mlp(1, 8, outputs, init_std=0.3)


def train(outputs: int = 1, **options):
    return mtnets.meta_train(network(outputs), mtnets.mt_net(0.05), mtnets.tasks.sinusoid(shots=5), **(FAST | options))


def cubic(prediction, batch):
    return (jnp.abs(prediction - batch.y) ** 3).mean(1)


def smooth(predict, batch, key):
    slope = jax.vmap(jax.jacfwd(lambda x: predict(x[None])[0]))(batch.x)
    return batch.mean(jnp.square(predict(batch.x) - batch.y).mean(1)) + 0.1 * jnp.square(slope).mean()


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        ("huber", 1),
        pytest.param(mtnets.losses.Gaussian(), 2, marks=pytest.mark.slow),
        pytest.param(mtnets.losses.Quantile(levels=(0.1, 0.5, 0.9)), 3, marks=pytest.mark.slow),
    ],
)
def test_it_is_saved_and_predicts_the_same(loss, outputs, tmp_path) -> None:
    learner = train(outputs, loss=loss)
    learner.save(tmp_path)
    again = mtnets.load(tmp_path)
    assert again.criterion == learner.criterion
    np.testing.assert_array_equal(again.adapt(X, Y)(X), learner.adapt(X, Y)(X))
    learner.adapt(X, Y).save(tmp_path / "model")
    assert mtnets.load_adapted(tmp_path / "model").loss == learner.loss


@pytest.mark.slow
@pytest.mark.parametrize("loss", [pytest.param(cubic, marks=pytest.mark.slow), smooth])
def test_a_function_of_the_users_is_passed_again(loss, tmp_path) -> None:
    learner = train(loss=loss)
    learner.save(tmp_path)
    words = rf"The loss is a function of your own \(.*test_criteria:{loss.__name__}\).*load\(path, loss=\.\.\.\)"
    with pytest.raises(RunError, match=words):
        mtnets.load(tmp_path)
    again = mtnets.load(tmp_path, loss=loss)
    np.testing.assert_array_equal(again.adapt(X, Y)(X), learner.adapt(X, Y)(X))
    assert json.loads((tmp_path / "learner.json").read_text())["loss"] == {"custom": f"{__name__}:{loss.__name__}"}


@pytest.mark.slow
def test_the_inner_loss_is_that_of_the_support_set() -> None:
    """A learner of another inner loss adapts otherwise, and the same as one whose only loss it is."""
    squared, absolute, both = train(), train(loss="mae"), train(inner_loss="mae")
    step = {"inner_steps": 1}
    for learner in (absolute, both):
        object.__setattr__(learner, "learned", squared.learned)
    np.testing.assert_array_equal(both.adapt(X, Y, **step)(X), absolute.adapt(X, Y, **step)(X))
    assert not np.array_equal(both.adapt(X, Y, **step)(X), squared.adapt(X, Y, **step)(X))


def test_metrics_are_logged_scored_and_choose_the_best(tmp_path) -> None:
    def near(prediction, batch):
        return (jnp.abs(prediction - batch.y) < 0.5).mean(1)

    metrics = {"near": mtnets.Metric(near, higher_is_better=True), "r2": "r2"}
    settings = FAST | {"meta_steps": 4, "validate_every": 2, "log_every": 2, "validation_tasks": 5, "test_tasks": 6}
    learner = train(metrics=metrics, out=tmp_path / "run", **settings)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any({"near", "r2", "post_loss"} <= line.keys() for line in lines)
    result = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    assert result["metric"] == "near"
    assert set(result["metrics"]) == {"r2"}
    estimate = mtnets.evaluate(learner, mtnets.tasks.sinusoid(shots=5), 6)
    assert estimate.metric == "near"
    np.testing.assert_allclose(result["inner_steps"][-1]["mean"], estimate.mean[-1], rtol=1e-5)
    np.testing.assert_allclose(estimate.of("r2").mean[-1], result["metrics"]["r2"]["mean"][-1], rtol=1e-4)
    assert "r2 after 2" in str(estimate)
    with pytest.raises(OptionError, match="There is no score 'f1'; there are loss, near, r2"):
        estimate.of("f1")
    others = mtnets.evaluate(learner, mtnets.tasks.sinusoid(shots=5), 6, metrics={"mae": "mae"})
    assert others.metric == "mae"
    assert set(others.each) == {"loss", "mae"}
    resumed = train(metrics=metrics, out=tmp_path / "run", resume=True, **settings)
    np.testing.assert_array_equal(resumed.adapt(X, Y)(X), learner.adapt(X, Y)(X))
    without = mtnets.load(tmp_path / "run")  # the metric is a function of the user's
    assert [name for name, _ in without.criterion.metrics] == ["r2"]
    again = mtnets.load(tmp_path / "run", metrics={"near": metrics["near"], "mae": "mae"})
    assert {name for name, _ in again.criterion.metrics} == {"near", "r2", "mae"}


@pytest.mark.slow
def test_a_metric_may_see_the_network(tmp_path) -> None:
    """The error of a derivative, in training and in evaluation, against the adapted network itself."""

    def slope_error(predict, batch, key):
        slope = jax.vmap(jax.grad(lambda x: predict(x[None])[0, 0]))(batch.x)
        return batch.mean(jnp.abs(slope - jnp.cos(batch.x))[:, 0])

    def curves(rng):
        x = rng.uniform(-2, 2, (9, 1)).astype(np.float32)
        return (x[:5], np.sin(x[:5])), (x[5:], np.sin(x[5:]))

    tasks = mtnets.tasks.from_function(curves, loss="mse")
    metrics = {"slope": mtnets.Metric(slope_error, higher_is_better=False)}
    settings = FAST | {"meta_steps": 4, "validate_every": 2, "log_every": 2, "validation_tasks": 3, "test_tasks": 3}
    learner = mtnets.meta_train(network(), mtnets.maml(0.05), tasks, metrics=metrics, out=tmp_path / "run", **settings)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test"]["metric"] == "slope"
    for loss in ("mse", smooth):  # computed with the loss, or apart
        learner = mtnets.load(tmp_path / "run", loss=loss)
        estimate = mtnets.evaluate(learner, tasks, 2, metrics=metrics, seed=7)
        for scores, key in zip(estimate.scores, jax.random.split(jax.random.key(7), 2), strict=True):
            support, query = tasks.test.sample(jax.random.fold_in(key, 0))
            model = learner.adapt(support.x, support.y)

            def predict(x, model=model):
                return model.model.apply(model.params, model.state, x[None], None)[0][0, 0]

            slope = jax.vmap(jax.grad(predict))(jnp.asarray(query.x))
            assert scores[-1] == pytest.approx(float(jnp.abs(slope - jnp.cos(query.x)).mean()), rel=1e-4)
    with pytest.raises(OptionError, match=r"The metric 'a' returns \[4, 1\]; it must return one number\.$"):
        mtnets.evaluate(learner, tasks, 2, metrics={"a": lambda predict, batch, key: predict(batch.x)})
    with pytest.raises(OptionError, match=r"The metric 'a' cannot be computed \(ZeroDivisionError"):
        mtnets.evaluate(learner, tasks, 2, metrics={"a": lambda predict, batch, key: 1 / 0})


def test_what_a_network_and_a_loss_do_not_agree_on() -> None:
    with pytest.raises(OptionError, match="The network has 1 outputs; the loss gaussian needs 2 for each"):
        train(loss="gaussian")
    with pytest.raises(mtnets.DataError, match=r"with these outputs the loss quantile needs targets \[5, 2\]"):
        train(6, loss="quantile")
    with pytest.raises(OptionError, match=r"The loss returns \[5, 1\]; it must return one number per example"):
        train(loss=lambda prediction, batch: jnp.abs(prediction - batch.y))
    with pytest.raises(OptionError, match=r"The loss returns \[5\]; it must return one number\."):
        train(loss=lambda predict, batch, key: jnp.abs(predict(batch.x) - batch.y)[:, 0])
    with pytest.raises(OptionError, match=r"The metric 'a' returns \[10, 1\]"):
        train(metrics={"a": lambda prediction, batch: prediction})
    for loss, outputs in (("mse", 1), (mtnets.losses.Quantile(levels=(0.1, 0.9)), 2)):
        with pytest.raises(OptionError, match=r"The metric 'c' is of intervals, and the loss is (mse|quantile)"):
            train(outputs, loss=loss, metrics={"c": "coverage"})
    with pytest.raises(OptionError, match=r"The loss cannot be computed \(ZeroDivisionError"):
        train(loss=lambda prediction, batch: 1 / 0)


@pytest.mark.slow
def test_regressors_say_how_sure_they_are() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 1)), rng.normal(size=12)
    gaussian = FewShotRegressor(train(2, loss="gaussian")).fit(x, y)
    mean, std = gaussian.predict(x, return_std=True)
    np.testing.assert_array_equal(mean, gaussian.predict(x))
    interval = gaussian.predict_interval(x, 0.9)
    np.testing.assert_allclose(interval, np.stack([mean - 1.6448536 * std, mean + 1.6448536 * std], 1), rtol=1e-5)
    quantile = FewShotRegressor(train(3, loss="quantile")).fit(x, y)
    low, high = quantile.predict_interval(x, 0.9).T
    assert (low <= high).all()
    with pytest.raises(OptionError, match=r"coverage is 0\.5, which needs the levels 0\.25 and 0\.75"):
        quantile.predict_interval(x, 0.5)
    plain = FewShotRegressor(train()).fit(x, y)
    with pytest.raises(OptionError, match="mse says no intervals"):
        plain.predict_interval(x)
    with pytest.raises(OptionError, match="mse, which says no standard deviation"):
        plain.predict(x, return_std=True)
    with pytest.raises(OptionError, match=r"was trained with custom, .* use the learner itself"):
        FewShotClassifier(train(loss=cubic)).fit(x, y > 0)


@pytest.mark.slow
def test_dense_targets() -> None:
    """A region in a picture: targets of the shape of the inputs, by overlap and by labels of pixels."""

    def apply(params, x):
        return jnp.einsum("nhwc,co->nhwo", x, params["w"]) + params["b"]

    def regions(rng):
        x = rng.normal(size=(8, 5, 5, 2)).astype(np.float32)
        y = (x[..., :1] > 0).astype(np.float32)
        return (x[:4], y[:4]), (x[4:], y[4:])

    def labels(rng):
        (x, y), (query, query_y) = regions(rng)
        return (x, y[..., 0].astype(int)), (query, query_y[..., 0].astype(int))

    one = mtnets.wrap((apply, {"w": np.zeros((2, 1)), "b": np.zeros(1)}), (5, 5, 2))
    tasks = mtnets.tasks.from_function(regions, loss="dice")
    learner = mtnets.meta_train(one, mtnets.maml(1.0), tasks, **FAST)
    (x, y), (query, query_y) = regions(np.random.default_rng(7))
    model = learner.adapt(x, y, inner_steps=100)
    assert model(query).shape == (4, 5, 5, 1)
    assert float(jnp.mean((model(query) > 0) == query_y)) > 0.9
    two = mtnets.wrap((apply, {"w": np.zeros((2, 2)), "b": np.zeros(2)}), (5, 5, 2))
    tasks = mtnets.tasks.from_function(labels, loss="cross-entropy", ways=2)
    learner = mtnets.meta_train(two, mtnets.maml(1.0), tasks, **FAST)
    (x, y), (query, query_y) = labels(np.random.default_rng(7))
    assert float(jnp.mean(jnp.argmax(learner.adapt(x, y, inner_steps=100)(query), -1) == query_y)) > 0.9
    assert mtnets.evaluate(learner, tasks, 5).metric == "accuracy"
