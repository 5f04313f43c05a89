"""Several masks, and several seeds, predict together; beside loops over their members."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import stats

import mtnets
from mtnets import AdaptedEnsemble, DataError, Ensemble, OptionError, RunError

X = np.linspace(-2, 2, 6)[:, None].astype(np.float32)
Y = np.sin(X)
NEW = np.linspace(-3, 3, 5)[:, None].astype(np.float32)


def learners_for(outputs=1, method=None, tasks=None, seeds=(0, 1, 2), **options):
    """Learners that were not trained: their starting weights differ."""
    network = mtnets.models.mlp(1, 8, outputs, init_std=0.3)
    settings = {"meta_steps": 0, "inner_steps": 2, "validate_every": 0, "progress": False, **options}
    family = tasks or mtnets.tasks.sinusoid(shots=5)
    return mtnets.meta_train(network, method or mtnets.mt_net(0.1), family, seed=list(seeds), **settings)


@pytest.fixture(scope="module")
def squared():
    return learners_for()


@pytest.fixture(scope="module")
def gaussian():
    return learners_for(2, loss="gaussian")


ROWS, LABELS = np.random.default_rng(0).normal(size=(180, 1)), np.arange(20).repeat(9)
CLASSES = mtnets.tasks.arrays(ROWS, LABELS, ways=4, shots=2, queries=3, splits=(5, 5, 10))


@pytest.fixture(scope="module")
def classifiers():
    return learners_for(4, tasks=CLASSES)


@pytest.mark.parametrize(
    "method",
    [
        mtnets.mt_net(0.1),
        *(pytest.param(m, marks=pytest.mark.slow) for m in (mtnets.mt_net_full(0.1), mtnets.m_net(0.1))),
    ],
)
def test_several_masks_are_adaptations_with_keys_of_their_own(method) -> None:
    learner, *_ = learners_for(method=method, seeds=(0, 1))
    key = jax.random.key(5)
    ensemble = learner.adapt(X, Y, masks=4, key=key)
    assert isinstance(ensemble, AdaptedEnsemble)
    alone = [learner.adapt(X, Y, key=each)(NEW) for each in jax.random.split(key, 4)]
    assert len(ensemble) == 4
    np.testing.assert_allclose(ensemble.each(NEW), np.stack(alone), rtol=1e-4, atol=1e-6)
    assert len({float(np.sum(each)) for each in ensemble.each(NEW)}) > 1
    np.testing.assert_array_equal(learner.adapt(X, Y, masks=2)(NEW), learner.adapt(X, Y, masks=2)(NEW))


def test_a_member_is_a_whole_model(squared, tmp_path) -> None:
    member = squared[0].adapt(X, Y, masks=3).members[1]
    member.save(tmp_path / "member")
    np.testing.assert_array_equal(mtnets.load_adapted(tmp_path / "member")(NEW), member(NEW))
    member.save_task(tmp_path / "task", precision="full")
    np.testing.assert_array_equal(squared[0].with_task(tmp_path / "task")(NEW), member(NEW))
    assert member.update(X, Y)(NEW).shape == (5, 1)


def test_several_seeds_are_adaptations_of_each(squared) -> None:
    ensemble = Ensemble(squared).adapt(X, Y, inner_steps=3)
    assert len(ensemble) == len(Ensemble(squared)) == 3
    for member, learner in zip(ensemble.members, squared, strict=True):
        np.testing.assert_array_equal(member(NEW), learner.adapt(X, Y, inner_steps=3)(NEW))
    both = Ensemble(squared).adapt(X, Y, masks=2)
    assert len(both) == 6
    np.testing.assert_allclose(both.each(NEW)[2:4], squared[1].adapt(X, Y, masks=2).each(NEW), rtol=1e-5)


def test_numbers_by_loops(squared) -> None:
    ensemble = Ensemble(squared).adapt(X, Y)
    mean, std = np.zeros((5, 1)), np.zeros((5, 1))
    for member in ensemble.members:
        mean += np.asarray(member(NEW)) / 3
    for member in ensemble.members:
        std += (np.asarray(member(NEW)) - mean) ** 2 / 3
    np.testing.assert_allclose(ensemble(NEW), mean, rtol=1e-5)
    np.testing.assert_allclose(ensemble.std(NEW), np.sqrt(std), rtol=1e-4)
    low, high = ensemble.interval(NEW, coverage=0.8)
    expected = stats.norm(mean, np.sqrt(std)).interval(0.8)
    np.testing.assert_allclose(np.stack([low, high]), np.stack(expected), rtol=1e-4)


def test_the_law_of_total_variance_by_loops(gaussian) -> None:
    ensemble = Ensemble(gaussian).adapt(X, Y)
    outputs = [np.asarray(member(NEW), np.float64) for member in ensemble.members]
    mean = sum(each[:, :1] for each in outputs) / 3
    second = sum(np.exp(each[:, 1:]) + each[:, :1] ** 2 for each in outputs) / 3  # moments of the mixture
    np.testing.assert_allclose(ensemble.std(NEW), np.sqrt(second - mean**2), rtol=1e-4)
    np.testing.assert_allclose(ensemble(NEW), np.concatenate([mean, np.log(second - mean**2)], 1), rtol=1e-4, atol=1e-5)
    one = gaussian[0].adapt(X, Y)
    np.testing.assert_allclose(one.std(NEW), np.exp(np.asarray(one(NEW))[:, 1:] / 2), rtol=1e-5)
    low, high = one.interval(NEW)
    np.testing.assert_allclose((high - low) / 2, 1.6448536 * one.std(NEW), rtol=1e-4)


def test_quantiles_are_averaged() -> None:
    learners = learners_for(3, loss="quantile")
    ensemble = Ensemble(learners).adapt(X, Y)
    outputs = np.mean([np.asarray(member(NEW)) for member in ensemble.members], axis=0)
    np.testing.assert_allclose(np.concatenate(ensemble.interval(NEW), 1), np.sort(outputs, 1)[:, [0, 2]], rtol=1e-5)
    np.testing.assert_allclose(
        np.concatenate(ensemble.members[0].interval(NEW), 1), np.sort(ensemble.members[0](NEW), 1)[:, [0, 2]]
    )
    with pytest.raises(OptionError, match=r"coverage is 0\.5, which needs the levels 0\.25 and 0\.75"):
        ensemble.interval(NEW, 0.5)


def test_labels_by_loops(classifiers) -> None:
    x, y = ROWS[:6], np.array([0, 1, 2, 0, 1, 2])  # of four classes
    for ensemble in (Ensemble(classifiers).adapt(x, y), classifiers[0].adapt(x, y, masks=3)):
        probabilities = np.zeros((5, 4))
        for member in ensemble.members:
            probabilities += np.asarray(member.probabilities(NEW)) / 3
        np.testing.assert_allclose(ensemble.probabilities(NEW), probabilities, rtol=1e-5)
        np.testing.assert_allclose(jax.nn.softmax(ensemble(NEW)), probabilities, rtol=1e-5)
        assert (np.asarray(ensemble(NEW))[:, 3] == -np.inf).all()
        np.testing.assert_array_equal(np.argmax(ensemble(NEW), 1), probabilities.argmax(1))
        for ask in (ensemble.std, ensemble.interval, ensemble.members[0].std, ensemble.members[0].interval):
            with pytest.raises(OptionError, match="The loss cross-entropy is of classes, which have no intervals"):
                ask(NEW)


def test_masks_that_make_no_sense(squared) -> None:
    learner = squared[0]
    for masks in (1, 0, -3, 1001, 2.5, "many"):
        with pytest.raises(OptionError, match=r"masks is .*; it must be a whole number from 2 to 1000 or None"):
            learner.adapt(X, Y, masks=masks)
    with pytest.raises(OptionError, match="inner_steps is 0, where no mask counts, and masks is 4"):
        learner.adapt(X, Y, masks=4, inner_steps=0)
    with pytest.raises(OptionError, match="start is one model, and masks is 4, for several"):
        learner.adapt(X, Y, masks=4, start=learner.adapt(X, Y))
    mean = dataclasses.replace(learner, method=dataclasses.replace(learner.method, mask="mean"))
    with pytest.raises(OptionError, match=r"mask is 'mean', which is the same each time, .* mask='sample'"):
        mean.adapt(X, Y, masks=4)
    for method in (mtnets.maml(0.1), mtnets.sparse_maml(0.1)):
        other, *_ = learners_for(method=method, seeds=(0, 1))
        with pytest.raises(OptionError, match=rf"{method.name} draws no masks, and masks is 4; .*mtnets\.Ensemble"):
            other.adapt(X, Y, masks=4)
    with pytest.raises(OptionError, match=r"maml draws no masks"):
        Ensemble(learners_for(method=mtnets.maml(0.1))).adapt(X, Y, masks=4)


def test_learners_that_are_no_ensemble(squared, gaussian, classifiers) -> None:
    with pytest.raises(OptionError, match="There are 1 learners; an ensemble needs at least 2"):
        Ensemble(squared[:1])
    with pytest.raises(OptionError, match="Learners 0 and 2 are the same"):
        Ensemble([squared[0], squared[1], squared[0]])
    with pytest.raises(OptionError, match=r"Learner 0 has the output shape \(1,\) and learner 1 \(2,\)"):
        Ensemble([squared[0], gaussian[0]])
    with pytest.raises(OptionError, match=r"Learner 0 has the loss Squared\(\) and learner 2 Huber\(delta=1\.0\)"):
        Ensemble([*squared[:2], *learners_for(loss="huber", seeds=(3, 4))])
    with pytest.raises(OptionError, match=r"Learner 0 has the inner loss Squared\(\) and learner 1 Absolute\(\)"):
        Ensemble([squared[0], *learners_for(inner_loss="mae", seeds=(3, 4))])
    scaled = dataclasses.replace(squared[1], inputs=mtnets.tasks.StandardisedRows(1, scales_targets=True))
    with pytest.raises(
        OptionError, match=r"has the inputs arrays of numbers, .* and learner 1 rows of up to 1 numbers"
    ):
        Ensemble([squared[0], scaled])
    for wrong in (squared[0], [squared[0], 3], None):
        with pytest.raises(OptionError, match="learners is"):
            Ensemble(wrong)
    with pytest.raises(DataError, match="y has shape"):
        Ensemble(squared).adapt(X, Y[:3])
    with pytest.raises(RunError, match=r"Learner 0 of the ensemble: Adaptation failed\. "):
        Ensemble(squared).adapt(X, 1e37 * Y, inner_steps=20)


def test_models_that_are_no_ensemble(squared, gaussian) -> None:
    one, other = squared[0].adapt(X, Y), gaussian[0].adapt(X, Y)
    with pytest.raises(OptionError, match="There are 1 members; an ensemble needs at least 2"):
        AdaptedEnsemble((one,))
    with pytest.raises(OptionError, match="Member 0 has the loss mse and member 1 gaussian"):
        AdaptedEnsemble((one, other))
    with pytest.raises(OptionError, match="Member 0 has the loss mse and member 1 unknown"):
        AdaptedEnsemble((one, dataclasses.replace(one, loss=None)))
    with pytest.raises(OptionError, match="does not tell its loss"):
        dataclasses.replace(one, loss=None).std(X)
    with pytest.raises(OptionError, match="The loss mse says no standard deviation; train with 'gaussian', or adapt"):
        one.std(X)
    with pytest.raises(OptionError, match="The loss mse says no standard deviation"):
        one.interval(X)
    with pytest.raises(OptionError, match=r"This model was trained with mse"):
        Ensemble(squared).adapt(X, Y).probabilities(X)
    for coverage in (0, 1, 1.5, "most", None):
        with pytest.raises(OptionError, match=r"coverage is .*; it must be a number between 0 and 1"):
            Ensemble(squared).adapt(X, Y).interval(X, coverage)
        with pytest.raises(OptionError, match=r"coverage is .*; it must be a number between 0 and 1"):
            other.interval(X, coverage)
