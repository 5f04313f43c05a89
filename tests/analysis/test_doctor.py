"""The doctor: right learners are confirmed, and each fault is found and named."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets import METHODS, Learner, Model, OptionError, RunError, diagnose
from mtnets.analysis.doctor import Check, update_ranks
from problems import small_mlp, tasks_for

FLOAT32 = jnp.float32


@functools.cache
def learner_of(name: str, model: Model | None = None, inner_lr: float = 0.05, **options) -> Learner:
    """Not trained: the start of a method, on the small network."""
    model = model or small_mlp()
    method = METHODS[name](inner_lr, **options)
    params, state = model.init(jax.random.key(0))
    meta = method.init(jax.random.key(1), model.layers, params, inner_lr, 2)
    return Learner(model, method, meta, state, inner_lr, 2, "mse")


@functools.cache
def diagnosis(name: str):
    return learner_of(name).diagnose(tasks_for(small_mlp(), dtype=FLOAT32), 20)


def texts(found, severity: str) -> str:
    return "\n".join(f.text for f in found.findings if f.severity == severity)


def test_a_right_learner_is_confirmed(tmp_path) -> None:
    """The MT-net: gradients of the network and the metric; masks are not asked about; everything is drawn."""
    found = diagnosis("mt_net")
    assert found.checks.keys() == {"params", "fold"}
    assert max(check.error for check in found.checks.values()) < 1e-6
    assert found.unchecked.keys() == {"rule"}
    assert "confirm the exact meta-gradient of the network's parameters and the metric" in texts(found, "good")
    assert "straight through, by design" in texts(found, "note")
    assert "Adaptation helps" in texts(found, "good")
    assert found.units == {"layers.0": 4, "layers.1": 2}
    assert found.moving == {"layers.0": 0.5, "layers.1": 0.5}
    assert "layers.0 2.0 of 4" in texts(found, "note")
    assert all(0 <= found.ranks[name] <= units for name, units in found.units.items())
    np.testing.assert_allclose([*found.conditions.values(), *found.step_sizes.values()], 1)
    assert found.gradients.keys() >= {"params.layers.0.kernel", "fold.layers.1", "rule.mask.layers.0"}
    assert found.curve.scores.shape == (20, 6)
    assert found.parts.keys() == {"head", "body"}
    json.dumps(found.to_json(), allow_nan=False)
    assert str(found).count("\n") == len(found.findings) - 1
    found.plot(tmp_path / "doctor.png")
    assert (tmp_path / "doctor.png").read_bytes().startswith(b"\x89PNG")


def test_scores_are_those_of_evaluate() -> None:
    """The curve, and the head alone: as if the method adapted no other layer."""
    tasks, found = tasks_for(small_mlp(), dtype=FLOAT32), diagnosis("mt_net")
    np.testing.assert_allclose(
        found.curve.scores, mtnets.evaluate(learner_of("mt_net"), tasks, 20, inner_steps=5).scores, rtol=1e-5
    )
    maml = learner_of("maml").diagnose(tasks, 20, finite_differences=False)
    anil = mtnets.evaluate(learner_of("anil"), tasks, 20)
    np.testing.assert_allclose(maml.parts["head"].scores, anil.scores, rtol=1e-5)
    assert maml.checks == maml.unchecked == {}


def test_a_wrong_gradient_is_found() -> None:
    """A network that hides part of its computation from differentiation."""
    right = small_mlp()

    def apply(params, state, x, key):
        y, state = right.apply(params, state, x, key)
        return y + jax.lax.stop_gradient(y), state

    model = dataclasses.replace(right, apply=apply)
    found = diagnose(learner_of("maml", model), tasks_for(right, dtype=FLOAT32), 10)
    assert found.checks["params"].error > 0.1
    assert "finite differences say" in texts(found, "warning")
    assert "stop_gradient" in texts(found, "warning")


def test_divergence_and_broken_gradients_are_found() -> None:
    found = diagnose(
        learner_of("maml", inner_lr=1e4), tasks_for(small_mlp(), dtype=FLOAT32), 10, finite_differences=False
    )
    assert "of the tasks diverge within 2 inner steps. Try inner_clip" in texts(found, "warning")
    assert "Adaptation makes it worse" in texts(found, "warning")
    assert "smaller inner rate" in texts(found, "warning")
    assert "larger" not in str(found)
    learner = learner_of("maml")
    params = jax.tree.map(lambda leaf: leaf * jnp.nan, learner.meta.params)
    broken = dataclasses.replace(learner, meta=learner.meta._replace(params=params))
    found = diagnose(broken, tasks_for(small_mlp(), dtype=FLOAT32), 10, finite_differences=False)
    assert "is not finite. Try a smaller inner rate" in texts(found, "warning")
    json.dumps(found.to_json(), allow_nan=False)


def test_what_does_not_learn_or_move_is_named() -> None:
    """A metric that has all but lost a direction, masks nearly shut, a step size far from α."""
    learner = learner_of("mt_net")
    fold = dict(learner.meta.fold) | {"layers.0": jnp.diag(jnp.array([9.0, 9.0, 9.0, 1e-6]))}
    mask = {"layers.0": jnp.full(4, -9.0), "layers.1": jnp.full(2, 9.0)}
    meta = learner.meta._replace(fold=fold, rule={"mask": mask, "rate": {}})
    tasks = tasks_for(small_mlp(), dtype=FLOAT32)
    found = diagnose(dataclasses.replace(learner, meta=meta), tasks, 10, finite_differences=False)
    assert "The metric of layers.0 is nearly singular" in texts(found, "warning")
    assert "layers.0 × 61" in texts(found, "note")
    assert "Tasks hardly move layers.0" in texts(found, "note")
    assert "The mask of layers.1 lets nearly everything move" in texts(found, "note")
    assert found.ranks["layers.0"] == 0


def test_metrics_of_every_kind_are_examined() -> None:
    """On both sides, and stored in other ways than as a square."""
    learner = learner_of("t_net", sides=2, metric="diagonal")
    tasks = tasks_for(small_mlp(), dtype=FLOAT32)
    fold = learner.meta.fold | {"inputs": learner.meta.fold["inputs"] | {"layers.0": jnp.array([2.0, 2.0, 1e-5, -2.0])}}
    changed = dataclasses.replace(learner, meta=learner.meta._replace(fold=fold))
    found = diagnose(changed, tasks, 10, finite_differences=False)
    assert found.conditions.keys() == {f"{side}.layers.{i}" for side in ("inputs", "outputs") for i in range(2)}
    np.testing.assert_allclose(found.conditions["inputs.layers.0"], 2e5, rtol=1e-5)
    np.testing.assert_allclose(found.step_sizes["inputs.layers.0"], 3, rtol=1e-5)
    assert found.conditions["outputs.layers.1"] == found.step_sizes["outputs.layers.1"] == 1
    assert "The metric of inputs.layers.0 is nearly singular" in texts(found, "warning")


def test_a_method_of_held_vectors_is_not_asked() -> None:
    found = diagnose(learner_of("gap"), tasks_for(small_mlp(), dtype=FLOAT32), 10)
    assert found.checks == {}
    assert found.unchecked.keys() == {"params", "rule"}


def test_offsets_per_step_are_no_metric() -> None:
    """Even where there are as many of them as steps; the network's own, which they replace, are not complained of."""
    model = mtnets.models.mlp(3, 4, 2, norm="transductive")  # not the one of the tests in double precision
    params, state = model.init(jax.random.key(0))
    method = METHODS["maml_plus_plus"](0.05)
    meta = method.init(jax.random.key(1), model.layers, params, 0.05, 3)
    assert meta.fold["offsets"]["norms.0.bias"].shape == (4, 4)
    learner = Learner(model, method, meta, state, 0.05, 3, "mse")
    found = diagnose(learner, tasks_for(small_mlp(), dtype=FLOAT32), 10, finite_differences=False)
    assert found.conditions == found.step_sizes == {}
    assert found.gradients["params.norms.0.bias"] == 0
    assert "norms.0.bias" not in str(found)


def test_the_estimator_of_the_training_is_named() -> None:
    found = learner_of("fomaml").diagnose(tasks_for(small_mlp(), dtype=FLOAT32), 10)
    assert "this method trains with the first-order one, which is not it" in texts(found, "good")


def test_relative_errors() -> None:
    assert Check(2.0, 1.0).error == 0.5
    assert Check(0.0, 0.0).error == 0.0
    assert Check(5e-36, 0.0, 1e-9).error == 0.0
    assert Check(2e-9, 0.0, 1e-9).error == 1.0


def test_bad_input() -> None:
    with pytest.raises(OptionError, match="num_tasks is 1; an interval needs at least 2"):
        learner_of("maml").diagnose(tasks_for(small_mlp(), dtype=FLOAT32), 1)
    with pytest.raises(RunError, match="tasks of your own; pass them"):
        learner_of("maml").diagnose()


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
    learner = dataclasses.replace(learner, meta=learner.meta._replace(rule=logits, fold=fold))
    ranks = update_ranks(learner, tasks.test, jax.random.split(jax.random.key(1), 8))
    assert ranks == {"layers.0": 1, "layers.1": 1, "layers.2": 0}
