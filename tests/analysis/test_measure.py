"""Measurements of learners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from doctor_problems import changed, learner_of, small_tasks, texts, untrained

import mtnets
from mtnets import diagnose
from mtnets.analysis.measure import update_ranks


@pytest.mark.slow
def test_scores_are_those_of_evaluate() -> None:
    """The curve, and the head alone: as if the method adapted no other layer."""
    tasks = small_tasks()
    report = diagnose(learner_of("mt_net"), tasks, 20, finite_differences=False)
    np.testing.assert_allclose(
        report.curve.scores, mtnets.evaluate(learner_of("mt_net"), tasks, 20, inner_steps=5).scores, rtol=1e-5
    )
    maml = diagnose(learner_of("maml"), tasks, 20, finite_differences=False)
    anil = mtnets.evaluate(learner_of("anil"), tasks, 20)
    np.testing.assert_allclose(maml.parts["head"].scores, anil.scores, rtol=1e-5)
    assert maml.checks == maml.unchecked == {}


@pytest.mark.slow
def test_metrics_of_every_kind_are_examined() -> None:
    """On both sides, and stored in other ways than as a square."""
    learner = learner_of("t_net", sides=2, metric="diagonal")
    tasks = small_tasks()
    fold = learner.meta.fold | {"inputs": learner.meta.fold["inputs"] | {"layers.0": jnp.array([2.0, 2.0, 1e-5, -2.0])}}
    report = diagnose(changed(learner, fold=fold), tasks, 10, finite_differences=False)
    assert report.conditions.keys() == {f"{side}.layers.{i}" for side in ("inputs", "outputs") for i in range(2)}
    np.testing.assert_allclose(report.conditions["inputs.layers.0"], 2e5, rtol=1e-5)
    np.testing.assert_allclose(report.step_sizes["inputs.layers.0"], 3, rtol=1e-5)
    assert report.conditions["outputs.layers.1"] == report.step_sizes["outputs.layers.1"] == 1
    assert "The metric of inputs.layers.0 is nearly singular" in texts(report, "warning")


@pytest.mark.slow
def test_offsets_per_step_are_no_metric() -> None:
    """Even where there are as many of them as steps; the network's own, which they replace, are not complained of."""
    model = mtnets.models.mlp(3, 4, 2, norm="transductive")
    learner = untrained(model, mtnets.maml_plus_plus(0.05), 3)
    assert learner.meta.fold["offsets"]["norms.0.bias"].shape == (4, 4)
    report = diagnose(learner, small_tasks(), 10, finite_differences=False)
    assert report.conditions == report.step_sizes == {}
    assert report.gradients["params.norms.0.bias"] == 0
    assert "norms.0.bias" not in str(report)


@pytest.mark.slow
def test_ranks_are_at_most_what_moves() -> None:
    """Rounding is no update: what does not move has rank 0, and a layer of which one unit moves has rank 1."""
    tasks = mtnets.tasks.sinusoid()
    learner = mtnets.meta_train(
        mtnets.models.mlp(1, 40, 40, 1, init_std=0.3), mtnets.mt_net(0.1), tasks, meta_steps=2, validate_every=0,
        progress=False,
    )  # fmt: skip
    logits = jax.tree.map(lambda a: jnp.full_like(a, -1e9), learner.meta.rule)
    logits = jax.tree.map(lambda a: a.at[0].set(1e9) if a.shape == (40,) else a, logits)
    fold = jax.tree.map(lambda t: t + 0.1 * jax.random.normal(jax.random.key(0), t.shape), learner.meta.fold)
    ranks = update_ranks(changed(learner, rule=logits, fold=fold), tasks.test, jax.random.split(jax.random.key(1), 8))
    assert ranks == {"layers.0": 1, "layers.1": 1, "layers.2": 0}
