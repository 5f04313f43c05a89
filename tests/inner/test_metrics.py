"""Metrics, against scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as theirs

from mtnets.errors import OptionError
from mtnets.inner import METRICS, Batch, Metric, criterion, fixed_key

RANDOM = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("float64")
LOGITS = RANDOM.normal(size=(40, 3))
LABELS = RANDOM.integers(0, 3, 40)
WEIGHTS = RANDOM.integers(0, 3, 40).astype(float)
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
CHOSEN = LOGITS.argmax(1)
ONE_HOT = np.eye(3)[LABELS]


def ours(name: str, prediction, y, weights=None) -> float:
    return float(METRICS[name](prediction, Batch(None, y, weights)))


CLASSES = {
    "accuracy": lambda w: theirs.accuracy_score(LABELS, CHOSEN, sample_weight=w),
    "balanced-accuracy": lambda w: theirs.balanced_accuracy_score(LABELS, CHOSEN, sample_weight=w),
    "f1": lambda w: theirs.f1_score(LABELS, CHOSEN, average="macro", sample_weight=w),
    "auroc": lambda w: theirs.roc_auc_score(ONE_HOT, PROBABILITIES, average="macro", sample_weight=w),
    "auprc": lambda w: theirs.average_precision_score(ONE_HOT, PROBABILITIES, average="macro", sample_weight=w),
    "log-score": lambda w: theirs.log_loss(LABELS, PROBABILITIES, sample_weight=w),
}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("name", CLASSES)
def test_of_classes(name: str, weights) -> None:
    np.testing.assert_allclose(ours(name, LOGITS, LABELS, weights), CLASSES[name](weights), rtol=1e-10)


def test_equal_scores_count_half_of_the_area() -> None:
    logits = np.stack([np.zeros(40), np.round(LOGITS[:, 0])], 1)
    labels = LABELS % 2
    yes = np.exp(logits[:, 1]) / np.exp(logits).sum(1)
    np.testing.assert_allclose(ours("auroc", logits, labels), theirs.roc_auc_score(labels, yes), rtol=1e-10)


def test_classes_that_the_task_does_not_use_do_not_count() -> None:
    labels = LABELS % 2
    batch = Batch(None, labels, outputs=np.array([True, True, False]))
    for name in CLASSES:
        found = float(METRICS[name](LOGITS, batch))
        np.testing.assert_allclose(found, ours(name, LOGITS[:, :2], labels), rtol=1e-10, err_msg=name)


def test_several_labels() -> None:
    """Yes or no for each output: a mean over outputs."""
    y = (RANDOM.normal(size=(40, 3)) > 0).astype(float)
    np.testing.assert_allclose(ours("auroc", LOGITS, y), theirs.roc_auc_score(y, LOGITS, average="macro"), rtol=1e-10)
    expected = theirs.average_precision_score(y, LOGITS, average="macro")
    np.testing.assert_allclose(ours("auprc", LOGITS, y), expected, rtol=1e-10)
    for weights in (None, WEIGHTS):
        expected = theirs.f1_score(y, LOGITS > 0, average="macro", sample_weight=weights)
        np.testing.assert_allclose(ours("f1", LOGITS, y, weights), expected, rtol=1e-10)


DENSE = RANDOM.normal(size=(4, 2, 5, 3))  # images of 2 × 5 pixels
PIXELS = RANDOM.integers(0, 3, (4, 2, 5))


@pytest.mark.parametrize("weights", [None, np.array([1.0, 0, 2, 0.5])], ids=["alike", "weighted"])
@pytest.mark.parametrize("name", [*CLASSES, "calibration-error"])
def test_dense_labels_count_as_so_many_examples(name: str, weights) -> None:
    """Each pixel as an example of the weight of its image; beside that, scikit-learn on flat arrays."""
    each = None if weights is None else np.repeat(weights, 10)
    found = ours(name, DENSE, PIXELS, weights)
    np.testing.assert_allclose(found, ours(name, DENSE.reshape(-1, 3), PIXELS.ravel(), each), rtol=1e-6)
    labels, chosen = PIXELS.ravel(), DENSE.reshape(-1, 3).argmax(1)
    if name == "f1":
        expected = theirs.f1_score(labels, chosen, average="macro", sample_weight=each)
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    if name == "balanced-accuracy":
        expected = theirs.balanced_accuracy_score(labels, chosen, sample_weight=each)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("weights", [None, np.array([1.0, 0, 2, 0.5])], ids=["alike", "weighted"])
@pytest.mark.parametrize("shape", [(4, 2, 5), (4, 2, 5, 1), (4, 2, 5, 3)], ids=str)
def test_dense_yes_or_no(shape: tuple[int, ...], weights) -> None:
    """A mask of an image: all pixels together, against scikit-learn on flat arrays."""
    logits, y = RANDOM.normal(size=(2, *shape)).round(1)  # some scores are equal
    y = (y > 0).astype(float)
    each = None if weights is None else np.repeat(weights, y[0].size)
    flat = y.ravel(), logits.ravel()
    expected = {
        "f1": theirs.f1_score(flat[0], flat[1] > 0, sample_weight=each),
        "auroc": theirs.roc_auc_score(*flat, sample_weight=each),
        "auprc": theirs.average_precision_score(*flat, sample_weight=each),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(ours(name, logits, y, weights), value, rtol=1e-10, err_msg=name)


def test_areas_of_many_pixels() -> None:
    """A hundred thousand elements, whose pairs would not fit in memory, in single precision."""
    y = (RANDOM.uniform(size=(10, 100, 100)) > 0.9).astype(np.float32)
    logits = (RANDOM.normal(size=y.shape) + y).astype(np.float32)
    area = theirs.roc_auc_score(y.ravel(), logits.ravel())
    precision = theirs.average_precision_score(y.ravel(), logits.ravel())
    assert ours("auroc", logits, y, np.ones(10, np.float32)) == pytest.approx(area, rel=1e-4)
    assert ours("auprc", logits, y, np.ones(10, np.float32)) == pytest.approx(precision, rel=1e-4)


@pytest.mark.parametrize("name", ["auroc", "auprc"])
def test_areas_of_a_network_that_diverged_are_nan(name: str) -> None:
    y = np.array([[0.0], [1], [1], [0]])
    assert np.isnan(ours(name, np.array([[0.0], [np.nan], [1], [2]]), y))
    assert np.isfinite(ours(name, np.array([[0.0], [np.inf], [-np.inf], [2]]), y))


@pytest.mark.parametrize("name", ["f1", "auroc", "auprc"])
@pytest.mark.parametrize(("loss", "fits"), [("binary", True), ("dice", True), ("cross-entropy", True), ("mse", False)])
def test_scores_of_yes_or_no_need_a_loss_of_such_targets(name: str, loss: str, fits: bool) -> None:
    if fits:
        assert criterion(loss, metrics={name: name}).best == name
    else:
        words = rf"^The metric '{name}' is of labels, or of yes or no, and the loss mse of numbers; choose among r2,"
        with pytest.raises(OptionError, match=words):
            criterion(loss, metrics={name: name})


@pytest.mark.parametrize("name", ["mae", "psnr", "coverage", "width"])
def test_dense_numbers_are_a_mean_over_places(name: str) -> None:
    y = RANDOM.normal(size=(4, 2, 5, 1))
    outputs = 2 if name in ("coverage", "width") else 1
    prediction, weights = RANDOM.normal(size=(4, 2, 5, outputs)), np.array([1.0, 0, 2, 0.5])
    flat = ours(name, prediction.reshape(-1, outputs), y.reshape(-1, 1), np.repeat(weights, 10))
    np.testing.assert_allclose(ours(name, prediction, y, weights), flat, rtol=1e-6)


@pytest.mark.parametrize("name", ["accuracy", "balanced-accuracy", "log-score", "calibration-error"])
def test_metrics_of_labels_refuse_dense_yes_or_no(name: str) -> None:
    with pytest.raises(OptionError, match=rf"^The metric {name} is of labels .*\[4, 2, 5\].*'f1'.*\.$"):
        ours(name, DENSE[..., 0], PIXELS.astype(float))


@pytest.mark.parametrize("name", ["accuracy", "balanced-accuracy", "log-score", "calibration-error"])
@pytest.mark.parametrize("examples", [3, 40])  # as many as outputs, too, where shapes would fit
def test_metrics_of_labels_refuse_several_yes_or_no(name: str, examples: int) -> None:
    with pytest.raises(OptionError, match=rf"^The metric {name} is of labels .*\[{examples}, 3\].*'f1'.*\.$"):
        ours(name, LOGITS[:examples], ONE_HOT[:examples])


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
def test_of_numbers(weights) -> None:
    y = LOGITS + RANDOM.normal(size=LOGITS.shape)
    np.testing.assert_allclose(
        ours("r2", LOGITS, y, weights), theirs.r2_score(y, LOGITS, sample_weight=weights), rtol=1e-10
    )
    expected = theirs.mean_absolute_error(y, LOGITS, sample_weight=weights)
    np.testing.assert_allclose(ours("mae", LOGITS, y, weights), expected, rtol=1e-10)
    error = theirs.mean_squared_error(y, LOGITS, sample_weight=weights)
    np.testing.assert_allclose(ours("psnr", LOGITS, y, weights), 10 * np.log10(1 / error), rtol=1e-10)


def test_calibration_error() -> None:
    """By the bins of its definition."""
    confidence, right = PROBABILITIES.max(1), CHOSEN == LABELS
    expected = 0.0
    for i in range(15):
        within = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if within.any():
            expected += within.mean() * abs(right[within].mean() - confidence[within].mean())
    np.testing.assert_allclose(ours("calibration-error", LOGITS, LABELS), expected, rtol=1e-10)


def test_intervals() -> None:
    """Of a normal distribution, and of the outermost quantiles."""
    y = RANDOM.normal(size=(10_000, 1))
    normal = np.concatenate([np.zeros_like(y), np.zeros_like(y)], 1)
    assert ours("coverage", normal, y) == pytest.approx(0.9, abs=0.01)
    assert ours("width", normal, y) == pytest.approx(2 * 1.6448536, rel=1e-6)
    levels = np.tile([[-1.0, 0.0, 1.0]], (10_000, 1))
    assert ours("coverage", levels, y) == pytest.approx(0.683, abs=0.01)
    assert ours("width", levels, y) == 2


def test_what_is_not_defined_is_nan() -> None:
    assert np.isnan(ours("auroc", LOGITS, np.zeros(40, int)))


def test_a_function_may_return_one_number_or_one_for_each_example() -> None:
    batch = Batch(None, np.arange(4.0), np.array([1.0, 1, 1, 0]))
    assert float(Metric(lambda prediction, batch: batch.y)(None, batch)) == 1
    assert float(Metric(lambda prediction, batch: batch.y.max())(None, batch)) == 3


def test_a_function_may_take_the_network() -> None:
    """It calls the network where it likes, and has the key; weights are its own affair."""
    batch = Batch(np.array([[1.0], [2.0]]), np.zeros((2, 1)), np.array([1.0, 0]))
    seen = []

    def steepest(predict, batch, key):
        seen.append(key)
        return jnp.max(jax.vmap(jax.grad(lambda x: predict(x[None])[0, 0]))(batch.x))

    metric = Metric(steepest, higher_is_better=False)
    assert metric.of_network
    assert float(metric.value(lambda x: x**3, batch, fixed_key())) == pytest.approx(12)
    assert jnp.array_equal(jax.random.key_data(seen[0]), jax.random.key_data(fixed_key()))
    with pytest.raises(
        OptionError, match="'steepest' is a function of the network itself, which predictions do not tell"
    ):
        metric(batch.x**3, batch)
    assert not METRICS["mae"].of_network


@pytest.mark.parametrize("function", [lambda prediction: 0.0, lambda a, b, c, d: 0.0, 3], ids=["one", "four", "none"])
def test_a_function_of_other_arguments_is_refused(function) -> None:
    words = r"^The metric .* cannot be called as metric\(prediction, batch\), .* nor as metric\(predict, batch, key\)"
    with pytest.raises(OptionError, match=words):
        Metric(function)


def test_of_points_of_the_network() -> None:
    """A metric of the network takes what its outputs stand for, where it asks for that."""

    def first(predict, batch, key):
        return predict(batch.x).shape[-1]

    metrics = {"outputs": Metric(first), "points": Metric(first, of_points=True)}
    judges = criterion("gaussian", metrics=metrics)
    batch = Batch(np.zeros((3, 1)), np.zeros((3, 1)))
    scores = judges.scores(lambda x: jnp.concatenate([x, x], 1), batch, fixed_key())
    assert {name: int(score) for name, score in scores.items()} == {"outputs": 2, "points": 1}


@pytest.mark.parametrize(("loss", "point"), [("gaussian", 0), ("quantile(levels=(0.1, 0.6))", 1), ("huber", 0)])
def test_scores_of_one_number_take_what_the_outputs_stand_for(loss, point) -> None:
    """Beside a mean stands its log-variance, beside one quantile another."""
    judges = criterion(loss, metrics={"mae": "mae", "r2": "r2"})
    outputs = np.random.default_rng(0).normal(size=(8, judges.loss.outputs_per_target))
    batch = Batch(np.zeros((8, 1)), np.random.default_rng(1).normal(size=(8, 1)))
    expected = outputs[:, point : point + 1]
    scores = judges.scores(lambda x: jnp.asarray(outputs), batch, fixed_key())
    np.testing.assert_allclose(scores["mae"], abs(expected - batch.y).mean(), rtol=1e-5)
    np.testing.assert_allclose(scores["r2"], theirs.r2_score(batch.y, expected), rtol=1e-5)
