import dataclasses
import functools
import itertools
import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
from typing import Any, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import mtnets
from mtnets.errors import OptionError, RunError
from mtnets.files import read_json
from mtnets.inner import Meta
from mtnets.inner.task import Batch, Task
from mtnets.outer.phases import phases
from mtnets.outer.plan import make_plan
from mtnets.outer.program import Program
from mtnets.outer.settings import Training, TrainingOptions
from problems import gradient_at

FAST = {
    "meta_steps": 12,
    "validate_every": 4,
    "validation_tasks": 20,
    "test_tasks": 20,
    "log_every": 2,
    "progress": False,
}


@pytest.fixture(scope="module")
def tasks():
    return mtnets.tasks.sinusoid(shots=5)


@pytest.fixture(scope="module")
def network():
    return mtnets.models.mlp(1, 8, 8, 1)


def same(a, b):
    leaves = zip(jax.tree.leaves((a.meta, a.state)), jax.tree.leaves((b.meta, b.state)), strict=True)
    return all(np.array_equal(x, y) for x, y in leaves)


def test_learns_sine_curves(tasks):
    learner = mtnets.meta_train(
        mtnets.models.mlp(1, 20, 20, 1), mtnets.mt_net(0.02), tasks, meta_steps=3000, meta_lr=3e-3, progress=False
    )
    estimate = mtnets.evaluate(learner, tasks, 200)
    # the best function that ignores the task has a loss of about 3.1
    assert estimate.mean[1] < 2.6 < estimate.mean[0]


@pytest.mark.slow
def test_chunk_boundaries_do_not_matter(tasks, network):
    runs = [
        mtnets.meta_train(network, mtnets.mt_net(), tasks, **{**FAST, "log_every": every, "validate_every": 6})
        for every in (1, 5, 12)
    ]
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])


def test_same_seed_same_learner_and_another_seed_another(tasks, network):
    a, b, c = (mtnets.meta_train(network, mtnets.mt_net(), tasks, seed=s, **FAST) for s in (3, 3, 4))
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.slow
def test_seeds_side_by_side_equal_seeds_alone(tasks, network):
    together = mtnets.meta_train(network, mtnets.mt_net(), tasks, seed=[3, 4], **FAST)
    for learner, seed in zip(together, (3, 4), strict=True):
        alone = mtnets.meta_train(network, mtnets.mt_net(), tasks, seed=seed, **FAST)
        assert learner.record["meta_step"] == alone.record["meta_step"]
        for x, y in zip(jax.tree.leaves(learner.meta), jax.tree.leaves(alone.meta), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-5)


@pytest.fixture(scope="module")
def tiny():
    return mtnets.models.mlp(1, 4, 1, init_std=0.5)


@pytest.mark.slow
def test_inner_rates_side_by_side_equal_rates_alone(tasks, tiny):
    """Each seed with each rate, rate by rate; learned rates start from their own, and validation uses it."""
    settings = {**FAST, "meta_steps": 4}
    together = mtnets.meta_train(tiny, mtnets.meta_sgd(), tasks, seed=[3, 4], inner_lr=[0.01, 0.05], **settings)
    expected = [(0.01, 3), (0.01, 4), (0.05, 3), (0.05, 4)]
    assert [(learner.inner_lr, learner.record["seed"]) for learner in together] == expected
    for learner, (rate, _) in zip(together, expected, strict=True):
        assert learner.inner_lr == learner.record["method"]["inner_lr"] == rate
    alone = mtnets.meta_train(tiny, mtnets.meta_sgd(0.05), tasks, seed=3, **settings)
    np.testing.assert_allclose(together[2].record["validation"], alone.record["validation"], rtol=1e-4)
    for x, y in zip(jax.tree.leaves(together[2].meta), jax.tree.leaves(alone.meta), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


PHASES = {"meta_batch": 2, "inner_steps": 2, "validate_every": 0, "progress": False}


@pytest.mark.slow
def test_phases(tasks, tiny):
    """A first-order meta-step with a multi-step loss, an exact one with the same, and a plain one, done by hand."""
    seed = 1
    run = functools.partial(mtnets.meta_train, tiny, mtnets.maml(0.05), tasks, seed=seed, **PHASES)
    begin = run(meta_steps=0)
    learner = run(meta_steps=3, first_order_steps=1, multi_step_loss=2, optimiser=optax.sgd(0.1))
    fomaml = dataclasses.replace(begin.inner, method=mtnets.fomaml())
    first_order, exact = (jax.jit(functools.partial(gradient_at, inner)) for inner in (fomaml, begin.inner))
    steps = [
        (first_order, jnp.array([0.0, 0.5, 0.5])),
        (exact, jnp.array([0.0, 0.25, 0.75])),
        (exact, None),
    ]
    meta, gradients = begin.meta, []
    for i, (gradient, weights) in enumerate(steps):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), 2)
        gradients.append(gradient(meta, {}, 0.05, tasks.train, keys, weights).gradient)
        if i == 1:  # the weights make a difference
            plain = exact(meta, {}, 0.05, tasks.train, keys, None).gradient
            close = [
                np.allclose(*pair, atol=1e-3) for pair in zip(*map(jax.tree.leaves, (plain, gradients[1])), strict=True)
            ]
            assert not any(close)
        meta = jax.tree.map(lambda a, g: a - 0.1 * g, meta, gradients[-1])
    for x, y in zip(jax.tree.leaves(learner.meta), jax.tree.leaves(meta), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_the_first_order_phase_keeps_the_pull_of_the_inner_problem(tasks, tiny):
    method = mtnets.imaml(0.05, estimator=mtnets.Implicit(proximal=3.0))
    plan = make_plan(tiny, method, tasks, options={"meta_steps": 4, "first_order_steps": 2})
    first, rest = (program.inner.method for _, program in phases(plan))
    assert (first.estimator, first.proximal) == (mtnets.FirstOrder(), 3.0)
    assert (rest.estimator, rest.proximal) == (mtnets.Implicit(proximal=3.0), 0.0)


@pytest.mark.slow
def test_resuming_across_the_end_of_a_phase(tasks, tiny, tmp_path):
    """Bit for bit, whatever programs the runs were cut into."""
    settings = {**PHASES, "first_order_steps": 2, "multi_step_loss": 5, "log_every": 3, "test_tasks": 2}
    run = functools.partial(mtnets.meta_train, tiny, mtnets.maml(0.05), tasks, **settings)
    run(meta_steps=4, out=tmp_path / "run")
    resumed = run(meta_steps=7, out=tmp_path / "run", resume=True)
    assert same(resumed, run(meta_steps=7))


def test_compiles_once(tasks, network, monkeypatch):
    traced = []
    original = Program.step
    monkeypatch.setattr(Program, "step", lambda self, *args: traced.append(1) or original(self, *args))
    mtnets.meta_train(network, mtnets.maml(), tasks, **FAST)
    assert len(traced) == 1  # for chunks of several lengths


@pytest.mark.slow
def test_keeps_the_best_learner(tasks, network):
    best = mtnets.meta_train(
        network, mtnets.maml(), tasks, meta_lr=0.5, **{**FAST, "meta_steps": 4, "validate_every": 1}
    )
    scores = [
        mtnets.meta_train(network, mtnets.maml(), tasks, meta_lr=0.5, **{**FAST, "meta_steps": n, "validate_every": 0})
        for n in range(1, 5)
    ]
    losses = [float(mtnets.evaluate(s, tasks.validation, 20, seed=20180606).mean[-1]) for s in scores]
    assert best.record["meta_step"] == 1 + int(np.argmin(losses))
    np.testing.assert_allclose(best.record["validation"], min(losses), rtol=1e-5)
    assert same(best, scores[int(np.argmin(losses))])


def test_default_optimiser_is_adam(tasks, network):
    ours = mtnets.meta_train(network, mtnets.maml(), tasks, **{**FAST, "validate_every": 0})
    theirs = mtnets.meta_train(
        network, mtnets.maml(), tasks, optimiser=optax.adam(1e-3), **{**FAST, "validate_every": 0}
    )
    for x, y in zip(jax.tree.leaves(ours.meta), jax.tree.leaves(theirs.meta), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "optimiser"),
    [
        ({"schedule": "cosine"}, optax.adam(optax.cosine_decay_schedule(1e-3, 12))),
        pytest.param({"clip_value": 0.01}, optax.chain(optax.clip(0.01), optax.adam(1e-3)), marks=pytest.mark.slow),
        pytest.param(
            {"clip_norm": 0.01},
            optax.chain(optax.clip_by_global_norm(0.01), optax.adam(1e-3)),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_schedule_and_clipping(tasks, network, settings, optimiser):
    ours = mtnets.meta_train(network, mtnets.maml(), tasks, **settings, **{**FAST, "validate_every": 0})
    theirs = mtnets.meta_train(network, mtnets.maml(), tasks, optimiser=optimiser, **{**FAST, "validate_every": 0})
    plain = mtnets.meta_train(network, mtnets.maml(), tasks, **{**FAST, "validate_every": 0})
    pairs = zip(*(jax.tree.leaves(learner.meta) for learner in (ours, theirs, plain)), strict=True)
    differences = []
    for x, y, z in pairs:
        np.testing.assert_allclose(x, y, atol=1e-6)
        differences.append(float(jnp.abs(x - z).max()))
    assert max(differences) > 1e-5


META = Meta({"w": jnp.ones(3)}, {"t": jnp.ones((2, 2))}, {"zeta": jnp.ones(2)}, loss={"a": jnp.ones(4)})


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_meta_rates_of_the_fold_and_of_the_rule(schedule):
    """Each part has an Adam of its own, after gradients were clipped all together."""
    training = Training(5, 1, 1, meta_lr=0.1, fold_lr=0.2, rule_lr=0.3, clip_norm=0.5, schedule=schedule)
    rates = {"params": 0.1, "fold": 0.2, "rule": 0.3, "loss": 0.1}
    decays = {
        name: optax.cosine_decay_schedule(rate, 5) if schedule == "cosine" else rate for name, rate in rates.items()
    }
    parts = {name: optax.adam(decay) for name, decay in decays.items()}
    optimiser, states = training.optimiser(), {name: adam.init(getattr(META, name)) for name, adam in parts.items()}
    state, meta = optimiser.init(META), META
    for key in jax.random.split(jax.random.key(0), 3):
        gradient = jax.tree.map(lambda leaf, key=key: jax.random.normal(key, leaf.shape), META)
        updates: Any
        updates, state = optimiser.update(gradient, state, meta)
        scale = jnp.minimum(1, 0.5 / jnp.linalg.norm(ravel_pytree(gradient)[0]))
        for name, adam in parts.items():
            clipped = jax.tree.map(lambda g, scale=scale: g * scale, getattr(gradient, name))
            expected, states[name] = adam.update(clipped, states[name])
            for x, y in zip(jax.tree.leaves(getattr(updates, name)), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-5)
        assert updates.head is None


@pytest.mark.parametrize("rates", [{}, {"fold_lr": 0.2}])
def test_weights_decay_and_nothing_else_does(rates):
    """AdamW by its equation: `θ ← θ − α (m̂ / (√v̂ + ε) + λ θ)`, with λ = 0 for what is no starting weight."""
    start = Meta({"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, {"t": jnp.ones((2, 2))}, {"zeta": jnp.ones(2)})
    training = Training(3, 1, 1, meta_lr=0.1, weight_decay=0.5, schedule="cosine", **rates)
    optimiser, meta = training.optimiser(), start
    state, noise = optimiser.init(start), np.random.default_rng(0)
    naive: dict[str, Any] = {name: [1.0, 0.0, 0.0] for name in "wbtz"}
    for step in range(3):
        gradient = jax.tree.map(lambda leaf: jnp.asarray(noise.normal(size=leaf.shape), jnp.float32), start)
        updates: Any
        updates, state = optimiser.update(gradient, state, meta)  # type: ignore[arg-type]
        meta = jax.tree.map(jnp.add, meta, updates)
        for name, g in zip("bwtz", jax.tree.leaves(gradient), strict=True):
            theta, m, v = naive[name]
            m, v = 0.9 * m + 0.1 * np.asarray(g), 0.999 * v + 0.001 * np.asarray(g) ** 2
            rate = rates.get("fold_lr", 0.1) if name == "t" else 0.1
            rate *= (1 + np.cos(np.pi * step / 3)) / 2
            adam = m / (1 - 0.9 ** (step + 1)) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
            naive[name] = [theta - rate * (adam + 0.5 * (name == "w") * theta), m, v]
    for name, leaf in zip("bwtz", jax.tree.leaves(meta), strict=True):
        np.testing.assert_allclose(leaf, naive[name][0], rtol=1e-5)
    assert meta.head is None


@pytest.mark.slow
def test_a_run_with_meta_rates_goes_on_from_its_checkpoint(tasks, tiny, tmp_path):
    settings = {**FAST, "fold_lr": 1e-2, "rule_lr": 1e-4, "meta_steps": 4, "validate_every": 0}
    whole = mtnets.meta_train(tiny, mtnets.mt_net(), tasks, **settings)
    for steps in (2, 4):
        run = {**settings, "meta_steps": steps}
        resumed = mtnets.meta_train(tiny, mtnets.mt_net(), tasks, out=tmp_path / "run", resume=True, **run)
    assert same(whole, resumed)
    plain = mtnets.meta_train(tiny, mtnets.mt_net(), tasks, **{**FAST, "meta_steps": 4, "validate_every": 0})
    assert not same(whole, plain)


def test_one_meta_rate_is_one_program():
    """Rates of their own that are left out change nothing in the compiled program."""

    def program(optimiser):
        return str(jax.make_jaxpr(lambda g: optimiser.update(g, optimiser.init(META), META))(META))

    training = Training(meta_steps=1, meta_batch=1, inner_steps=1, clip_norm=1.0)
    plain = optax.flatten(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)))
    assert program(training.optimiser()) == program(plain)
    assert program(dataclasses.replace(training, fold_lr=0.1).optimiser()) != program(plain)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fold_lr": 0.1}, "fold_lr is 0.1, but maml learns no arrays of its fold; leave it out"),
        ({"rule_lr": 0.1}, "rule_lr is 0.1, but maml learns no arrays of its rule; leave it out"),
        ({"rule_lr": 0.0}, "rule_lr is 0.0; it must be a number above 0, or 'same'"),
        ({"fold_lr": "slow"}, "fold_lr is 'slow'"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be at least 0"),
        ({"weight_decay": "on"}, "weight_decay is 'on'; it must be a number"),
        (
            {"weight_decay": 0.1, "optimiser": optax.sgd(0.1)},
            "weight_decay is 0.1, which the optimiser that is passed does not use; leave it out, or pass optax.adamw",
        ),
        (
            {"fold_lr": 0.1, "method": mtnets.t_net(), "optimiser": optax.sgd(0.1)},
            "fold_lr is 0.1, which the optimiser that is passed does not use",
        ),
    ],
)
def test_meta_rates_that_nothing_uses(tasks, network, options, words):
    method = options.pop("method", mtnets.maml())
    with pytest.raises(mtnets.OptionError, match=re.escape(words)):
        mtnets.meta_train(network, method, tasks, **FAST, **options)


def test_scores_that_are_not_finite_do_not_stop_training(tasks, network, tmp_path):
    """Some validation tasks explode: the latest learner is kept, and the log says null."""
    settings = {**FAST, "meta_steps": 4, "validate_every": 2, "skip_nonfinite": 4}
    learner = mtnets.meta_train(network, mtnets.maml(1e30), tasks, out=tmp_path / "run", **settings)
    assert learner.record["meta_step"] == 4
    assert learner.record["validation"] is None
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["validation"] for line in lines if "validation" in line] == [[None], [None]]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test"]["inner_steps"][1]["mean"] is None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Poisoned:
    """Sine-like tasks of which a share is not finite."""

    share: jax.Array

    def sample(self, key):
        x = jax.random.normal(key, (6, 1))
        bad = jax.random.bernoulli(jax.random.fold_in(key, 1), self.share)
        y = jnp.where(bad, jnp.nan, jnp.sin(x))
        return Task(Batch(x[:3], y[:3]), Batch(x[3:], y[3:]))


POISON = {"loss": "mse", "meta_batch": 2, "inner_steps": 1, "meta_steps": 20, "validate_every": 0, "progress": False}


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(network):
    with pytest.raises(RunError, match=r"meta-step 0 is not finite.*skip_nonfinite=100"):
        mtnets.meta_train(network, mtnets.maml(0.01), Poisoned(jnp.array(1.0)), **POISON)


def test_skipping_leaves_the_learner_as_it_was(network):
    tasks = Poisoned(jnp.array(0.3))
    learner = mtnets.meta_train(network, mtnets.maml(0.01), tasks, skip_nonfinite=20, **POISON)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(learner.meta))
    with pytest.raises(RunError, match=r"meta-step \d+ is not finite"):
        mtnets.meta_train(network, mtnets.maml(0.01), tasks, skip_nonfinite=2, **POISON)


def test_skipped_meta_steps_change_nothing_at_all(network):
    """With the poison at a known meta-step, the learner after it is the one before it."""
    tasks = Poisoned(jnp.array(0.3))

    def after(steps):
        settings = {**POISON, "meta_steps": steps, "skip_nonfinite": 100}
        return mtnets.meta_train(network, mtnets.maml(0.01), tasks, **settings)

    learners = [after(n) for n in range(6)]
    unchanged = [same(a, b) for a, b in itertools.pairwise(learners)]
    keys = [jax.random.split(jax.random.fold_in(jax.random.key(0), i), 2) for i in range(5)]
    poisoned = [
        any(bool(jnp.isnan(tasks.sample(jax.random.fold_in(k, 0)).query.y).any()) for k in pair) for pair in keys
    ]
    assert unchanged == poisoned
    assert any(poisoned)
    assert not all(poisoned)


@pytest.mark.slow
def test_one_bad_seed_does_not_stop_the_others(network):
    """Seeds end at their first poisoned meta-step, in the middle of a chunk; the others go on."""
    tasks, seeds, steps = Poisoned(jnp.array(0.03)), list(range(6)), 10
    settings = {**POISON, "meta_steps": steps}

    def poisoned(seed, i):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), 2)
        return any(bool(jnp.isnan(tasks.sample(jax.random.fold_in(key, 0)).query.y).any()) for key in keys)

    first = [next((i for i in range(steps) if poisoned(seed, i)), None) for seed in seeds]
    assert None in first
    assert any(step is not None and step > 1 for step in first)
    learners = mtnets.meta_train(network, mtnets.maml(0.01), tasks, seed=seeds, **settings)
    assert [learner.record["failed"] for learner in learners] == first
    assert all(np.isfinite(leaf).all() for learner in learners for leaf in jax.tree.leaves(learner.meta))
    good, bad = first.index(None), next(i for i, step in enumerate(first) if step)
    with pytest.raises(RunError, match=f"meta-step {first[bad]} is not finite"):
        mtnets.meta_train(network, mtnets.maml(0.01), tasks, seed=seeds[bad], **settings)
    alone = mtnets.meta_train(network, mtnets.maml(0.01), tasks, seed=[seeds[good]], **settings)
    assert len(alone) == 1  # a list of seeds gives a list of learners
    for x, y in zip(jax.tree.leaves(alone[0].meta), jax.tree.leaves(learners[good].meta), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_run_folder(tasks, network, tmp_path):
    out = tmp_path / "run"
    learner = mtnets.meta_train(network, mtnets.mt_net(), tasks, out=out, **FAST)
    result = json.loads((out / "result.json").read_text())
    assert result["test"]["num_tasks"] == 20
    assert [step["step"] for step in result["test"]["inner_steps"]] == [0, 1]
    assert result["seconds_per_meta_step"] > 0
    assert result["compile_seconds"] > 0
    assert result["peak_memory_bytes"] > 1e7
    assert result["norm"] == "none"
    config = json.loads((out / "config.json").read_text())
    assert config["tasks"]["family"] == "sinusoid"
    assert config["method"]["name"] == "mt_net"
    assert config["method"]["inner_lr"] == 0.01
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "post_loss" in line] == [2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in lines if "validation" in line] == [4, 8, 12]
    assert lines[0]["moving"].keys() == {"layers.0", "layers.1", "layers.2"}
    assert same(learner, mtnets.load(out))
    with np.load(out / "scores.npz") as scores:
        assert scores["scores"].shape == (20, 2)
        np.testing.assert_allclose(scores["scores"].mean(0)[1], result["test"]["inner_steps"][1]["mean"], rtol=1e-5)


def test_a_run_folder_is_not_overwritten_by_accident(tasks, network, tmp_path):
    out = tmp_path / "run"
    mtnets.meta_train(network, mtnets.maml(), tasks, out=out, **FAST)
    with pytest.raises(RunError, match=r"run holds a run already.*resume=True.*overwrite=True"):
        mtnets.meta_train(network, mtnets.maml(), tasks, out=out, **FAST)
    mtnets.meta_train(network, mtnets.mt_net(), tasks, out=out, overwrite=True, **FAST)
    assert mtnets.load(out).method.name == "mt_net"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="not empty and holds no run"):
        mtnets.meta_train(network, mtnets.maml(), tasks, out=tmp_path / "other", overwrite=True, **FAST)
    assert (tmp_path / "other" / "thesis.tex").exists()


def test_a_run_of_an_earlier_version_is_resumed(tasks, network, tmp_path):
    """Whose configuration knew fewer options."""
    out = tmp_path / "run"
    run = functools.partial(mtnets.meta_train, network, mtnets.mt_net(), tasks, out=out, **FAST)
    first = run()
    config = json.loads((out / "config.json").read_text())
    assert "network" not in config["tasks"]  # which is not used
    del config["checksum"]
    config["method"] |= {"meta_gradient": "exact", "last_steps": None, "inner_clip": None}  # as version 0.1 wrote it
    config["training"] |= {"clip_norm": None, "clip_value": None, "devices": None, "tasks_at_once": None}
    for part, names in {
        "method": ("adapts", "proximal", "rates", "sides", "per_step_offsets", "estimator"),
        "training": ("multi_step_loss", "first_order_steps"),
        "model": ("warp",),
    }.items():
        for name in names:
            del config[part][name]
    config["tasks"]["network"] = {"hidden": [40, 40], "norm": "none"}  # though another was passed
    (out / "config.json").write_text(json.dumps(config))
    assert same(run(resume=True), first)
    config["training"]["tomorrow"] = 1
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"has training\.tomorrow = 1 and this one None"):
        run(resume=True)
    config["training"].pop("tomorrow")
    config["method"]["temperature"] = "high"  # damaged
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"has method\.[\w.]+ = "):
        run(resume=True)
    config["method"]["temperature"] = 1.0
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"has method\.sides = 1 and this one 2"):
        mtnets.meta_train(network, mtnets.mt_net(sides=2), tasks, out=out, resume=True, **FAST)


def test_resume_needs_the_same_configuration(tasks, network, tmp_path):
    out = tmp_path / "run"
    mtnets.meta_train(network, mtnets.maml(), tasks, out=out, **FAST)
    with pytest.raises(RunError, match=r"method\.name = maml and this one mt_net"):
        mtnets.meta_train(network, mtnets.mt_net(), tasks, out=out, resume=True, **FAST)
    with pytest.raises(RunError, match=r"seed = 0 and this one 1"):
        mtnets.meta_train(network, mtnets.maml(), tasks, out=out, resume=True, seed=1, **FAST)


@pytest.mark.slow
def test_a_longer_run_goes_on_from_a_shorter_one(tasks, network, tmp_path):
    settings = {**FAST, "validate_every": 6}
    mtnets.meta_train(network, mtnets.mt_net(), tasks, out=tmp_path / "run", **{**settings, "meta_steps": 6})
    longer = mtnets.meta_train(network, mtnets.mt_net(), tasks, out=tmp_path / "run", resume=True, **settings)
    assert same(longer, mtnets.meta_train(network, mtnets.mt_net(), tasks, **settings))
    with pytest.raises(RunError, match=r"checkpoint of meta-step 12 and meta_steps is 6"):
        mtnets.meta_train(
            network, mtnets.mt_net(), tasks, out=tmp_path / "run", resume=True, **{**settings, "meta_steps": 6}
        )
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["meta_steps"] == 12
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps.count(6) == 2  # its metrics and its validation, once each


def test_a_truncated_checkpoint_is_named(tasks, network, tmp_path):
    out = tmp_path / "run"
    mtnets.meta_train(network, mtnets.maml(), tasks, out=out, **FAST)
    file = out / "checkpoints" / "12.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(RunError, match=r"checkpoints/12.safetensors is damaged.*Remove it"):
        mtnets.meta_train(network, mtnets.maml(), tasks, out=out, resume=True, **FAST)


def test_a_full_disk_keeps_the_last_good_checkpoint(tasks, network, tmp_path, monkeypatch):
    out, sync = tmp_path / "run", os.fsync

    def full(handle):
        if (out / "checkpoints" / "4.safetensors").exists() and stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    settings = {**FAST, "checkpoint_every": 2}
    with pytest.raises(RunError, match=r"No space left on device.*meta-step 4 stays.*resume=True"):
        mtnets.meta_train(network, mtnets.mt_net(), tasks, out=out, **settings)
    monkeypatch.undo()
    resumed = mtnets.meta_train(network, mtnets.mt_net(), tasks, out=out, resume=True, **settings)
    assert same(resumed, mtnets.meta_train(network, mtnets.mt_net(), tasks, **settings))


SCRIPT = """
import mtnets
tasks = mtnets.tasks.sinusoid(shots=5)
mtnets.meta_train(
    mtnets.models.mlp(1, 8, 8, 1), mtnets.mt_net(), tasks, meta_steps=4000, validate_every=100, validation_tasks=20,
    test_tasks=20, log_every=20, checkpoint_every=20, progress=False, out={out!r}, resume=True,
)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    """SIGKILL at a random moment after the first checkpoint, then --resume, against a run left alone."""

    def start(out):
        return subprocess.Popen([sys.executable, "-c", SCRIPT.format(out=str(out))])

    process = start(tmp_path / "killed")
    checkpoints = tmp_path / "killed" / "checkpoints"
    deadline = time.monotonic() + 120
    while not any(p.stem.isdigit() for p in checkpoints.glob("*.safetensors")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(random.uniform(0, 1.5))  # the moment is random on purpose
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
    assert start(tmp_path / "killed").wait() == 0
    assert start(tmp_path / "alone").wait() == 0
    assert same(mtnets.load(tmp_path / "killed"), mtnets.load(tmp_path / "alone"))
    resumed, alone = (json.loads((tmp_path / name / "result.json").read_text())["test"] for name in ("killed", "alone"))
    assert resumed == alone


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"meta_batch": 0}, "meta_batch is 0"),
        ({"meta_lr": -1.0}, "meta_lr is -1.0"),
        ({"meta_lr": float("nan")}, "meta_lr is nan"),
        ({"devices": 0}, "devices is 0"),
        ({"log_every": 0}, "log_every is 0"),
        ({"meta_stepz": 3}, "no setting meta_stepz"),
        ({"loss": "hinge"}, "no loss 'hinge'"),
        ({"seed": []}, r"seed is \[\]"),
        ({"seed": [1, 1], "out": "somewhere"}, "The run seed-1 was asked for twice; name each seed"),
        ({"resume": True}, "resume and overwrite need the folder of a run"),
        ({"inner_lr": [0.1]}, r"inner_lr is \[0\.1\]; name several rates together with a list of seeds"),
        ({"inner_lr": [], "seed": [1]}, r"inner_lr is \[\]"),
        ({"inner_lr": [0.1, -1.0], "seed": [1]}, r"inner_lr is -1\.0"),
        ({"clip_norm": "none"}, "clip_norm is 'none'; it must be a number or 'off'"),
        ({"devices": "some"}, "devices is 'some'; it must be a whole number or 'all'"),
        ({"multi_step_loss": -1}, "multi_step_loss is -1"),
        ({"first_order_steps": -1}, "first_order_steps is -1"),
    ],
)
def test_bad_settings(tasks, network, settings, message):
    with pytest.raises(OptionError, match=message):
        mtnets.meta_train(network, mtnets.maml(), tasks, progress=False, **settings)


def test_options_for_type_checkers_are_the_settings():
    options, settings = get_type_hints(TrainingOptions), get_type_hints(Training)
    assert options == settings


def test_a_recipe_can_be_turned_off(network):
    """`off` is a choice, None leaves it to the task family."""
    family = dataclasses.replace(
        mtnets.tasks.sinusoid(), recipe=mtnets.tasks.Recipe(0.01, inner_clip=3.0, clip_norm=5.0)
    )
    chosen = {}
    for name, options, method in (
        ("family", {}, mtnets.maml()),
        ("off", {"clip_norm": "off"}, mtnets.maml(inner_clip="off")),
        ("own", {"clip_norm": 2.0}, mtnets.maml(inner_clip=1.0)),
    ):
        plan = make_plan(network, method, family, options=options)
        chosen[name] = plan.training.clip_norm, plan.method.inner_clip
    assert chosen == {"family": (5.0, 3.0), "off": ("off", "off"), "own": (2.0, 1.0)}


def test_the_result_of_a_run_comes_back_as_a_value(tasks, network, tmp_path):
    result = mtnets.run_training(network, mtnets.maml(), tasks, out=tmp_path / "run", **FAST)
    assert result.to_json() == read_json(tmp_path / "run" / "result.json")
    assert result.test.num_tasks == 20
    again = mtnets.run_training(network, mtnets.maml(), tasks, out=tmp_path / "run", resume=True, **FAST)
    assert again.seconds_per_meta_step == result.seconds_per_meta_step


def test_a_learner_is_kept_where_its_test_is_stopped(tasks, network, tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("mtnets.outer.train.evaluate_together", stopped)
    with pytest.raises(KeyboardInterrupt):
        mtnets.run_training(network, mtnets.maml(), tasks, out=tmp_path / "run", **FAST)
    assert mtnets.load(tmp_path / "run").record["meta_step"] > 0
    with pytest.raises(OptionError, match=r"seed is \[0, 1\]; it must be a whole number"):
        mtnets.run_training(network, mtnets.maml(), tasks, out=tmp_path / "more", seed=[0, 1], **FAST)


def test_starting_weights_and_tasks_do_not_share_a_key(tasks, network):
    """Those of the first meta-step were once drawn with the key of the starting weights."""
    start = mtnets.meta_train(network, mtnets.maml(), tasks, **{**FAST, "meta_steps": 0})
    shared = network.init(jax.random.split(jax.random.fold_in(jax.random.key(0), 0))[0])[0]
    assert not np.array_equal(jax.tree.leaves(start.meta.params)[1], jax.tree.leaves(shared)[1])


def test_a_multi_step_loss_needs_an_estimator_that_takes_one(tasks, network):
    for method in (mtnets.imaml(), mtnets.reptile(), mtnets.warp_grad()):
        with pytest.raises(OptionError, match=f"the {method.estimator.name} estimator takes no weights"):
            mtnets.meta_train(network, method, tasks, multi_step_loss=5, progress=False)


def test_a_bare_distribution_needs_everything_said(network):
    bare = Poisoned(jnp.array(0.0))
    with pytest.raises(OptionError, match="needs a network and a loss"):
        mtnets.meta_train(network, mtnets.maml(0.01), bare)
    with pytest.raises(OptionError, match="needs meta_steps, meta_batch, inner_steps"):
        mtnets.meta_train(network, mtnets.maml(0.01), bare, loss="mse")
    learner = mtnets.meta_train(network, mtnets.maml(0.01), bare, **POISON)
    assert learner.record["tasks"] == {"family": None}
