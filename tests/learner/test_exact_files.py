"""Whatever a network, a fold or a rule consists of comes back from every kind of file, bit for bit."""

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtnets
from mtnets import RunError
from mtnets.arrays import TYPES, UNSEALED, from_bytes, sealed, to_bytes, to_numpy
from mtnets.inner import Learned, Meta
from mtnets.learner.adapted import AdaptedModel
from mtnets.learner.learner import Learner
from mtnets.learner.task_files import read_task
from mtnets.learner.tensors import read_tensors
from mtnets.networks.model import Model
from mtnets.networks.state_dict import save_state_dict, state_dict
from mtnets.outer.checkpoints import Checkpoints
from mtnets.trees import leaves_by_path
from samples import arrays

KINDS = [kind for kind in TYPES.values() if kind.itemsize < 8]  # those of JAX without double precision
FLOATS = [kind for kind in KINDS if jnp.issubdtype(kind, jnp.floating)]
ODD = st.text(st.sampled_from("ab.~/ é\n\"'-0"), max_size=4)
few = settings(max_examples=8, deadline=None)


def trees(kinds: Any, **options: Any) -> Any:
    """Dictionaries with odd names of arrays, and of lists of them."""
    leaves = arrays(kinds, **options).map(jnp.asarray)
    return st.dictionaries(ODD, leaves | st.lists(leaves, max_size=2), max_size=4)


states = trees(KINDS).map(lambda tree: {"tree": tree, "keys": jax.random.split(jax.random.key(len(tree)), 2)})
finite = trees(FLOATS).map(lambda tree: jax.tree.map(lambda a: jnp.nan_to_num(a, posinf=1, neginf=-1), tree))


def model_of(rest: Any, state: Any) -> Model:
    params = {"layer": jnp.ones((2, 1)), "rest": rest}
    return Model(lambda key: (params, state), lambda p, s, x, key: (x @ p["layer"], s), (2,))


def learner_of(model: Model, fold: Any = None, rule: Any = None) -> Learner:
    params, state = model.init(jax.random.key(0))
    return Learner(model, mtnets.maml(0.1), Learned(Meta(params, fold or {}, rule or {}), state, 0.1), 1, "mse")


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert to_numpy(x).tobytes() == to_numpy(y).tobytes()


@few
@given(trees(FLOATS), states)
def test_learners(rest, state) -> None:
    learner = learner_of(model_of(rest, state))
    with tempfile.TemporaryDirectory() as folder:
        learner.save(folder)
        again = mtnets.load(folder, model=learner.model)
    assert_same(again.meta, learner.meta)
    assert_same(again.state, learner.state)
    assert again.fingerprint == learner.fingerprint


@few
@given(trees(FLOATS), states)
def test_adapted_models(rest, state) -> None:
    model = model_of(rest, state)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapted"
        AdaptedModel(model, *model.init(jax.random.key(0)), used=jnp.array([True])).save(path)
        again = mtnets.load_adapted(path, model=model)
    assert_same((again.params, again.state), model.init(jax.random.key(0)))


@few
@given(finite, states, st.integers(0, 3))
def test_task_files(rest, state, seed) -> None:
    """What moved, signs of zeros among it."""
    learner = learner_of(model_of(rest, state))
    random = np.random.default_rng(seed)

    def change(leaf: Any) -> Any:
        some = random.integers(2, size=leaf.shape)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(seed), leaf.shape)
        return jnp.where(some, -leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf ^ 1, leaf).astype(leaf.dtype)

    moved = {path: change(leaf) for path, leaf in leaves_by_path(learner.meta.params).items()}
    after = jax.tree.map(change, state)
    adapted = AdaptedModel(learner.model, learner.meta.params, after, None, learner.inputs, learner, moved, 1)
    with tempfile.TemporaryDirectory() as folder:
        adapted.save_task(Path(folder) / "task", precision="full")
        again = read_task(Path(folder) / "task", learner)
    assert_same(again.moved, moved)
    assert_same(again.state, after)


@few
@given(st.dictionaries(st.sampled_from("abc"), arrays(FLOATS).filter(lambda a: a.ndim < 2), max_size=3))
def test_state_dictionaries(rest) -> None:
    model = model_of(jax.tree.map(jnp.asarray, rest), {})
    expected = state_dict(model, *model.init(jax.random.key(0)))
    with tempfile.TemporaryDirectory() as folder:
        save_state_dict(Path(folder) / "state", model, *model.init(jax.random.key(0)))
        found, _ = from_bytes((Path(folder) / "state").read_bytes())
    assert_same(found, expected)
    for name, array in rest.items():
        assert expected[f"rest.{name}"].tobytes() == array.tobytes()


@settings(max_examples=5, deadline=None)
@given(states)
def test_checkpoints(state) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoints", {})
        checkpoints.save(1, {"state": state})
        assert_same(checkpoints.restore(1, {"state": state}), {"state": state})


@pytest.mark.usefixtures("float64")
def test_double_precision(tmp_path) -> None:
    learner = learner_of(model_of({"a": jnp.full((), 1 / 3, jnp.float64)}, {"n": jnp.full((), 2**40, jnp.int64)}))
    learner.save(tmp_path)
    again = mtnets.load(tmp_path, model=learner.model)
    assert_same((again.meta, again.state), (learner.meta, learner.state))


def test_tied_arrays(tmp_path) -> None:
    """The same array under two names is two arrays in the file."""
    tied = jnp.ones((2, 2))
    learner = learner_of(model_of({"a": tied, "b": tied}, {"c": tied}))
    learner.save(tmp_path)
    assert_same(mtnets.load(tmp_path, model=learner.model).meta, learner.meta)


@pytest.mark.slow
def test_a_rule_with_numbers(tmp_path) -> None:
    """As the method of docs/add-a-method.md has, through a checkpoint too."""
    tasks, run = mtnets.tasks.sinusoid(shots=5), tmp_path / "run"
    options = {"meta_steps": 2, "inner_steps": 1, "meta_batch": 1, "test_tasks": 2, "progress": False}
    method = mtnets.maml_plus_plus(0.01, per_step_offsets=False)
    learner = mtnets.meta_train(mtnets.models.mlp(1, 4, 1), method, tasks, out=run, **options)
    assert_same(mtnets.load(run).meta, learner.meta)


def damaged(path: Path, **changes: Any) -> Path:
    """A copy of a file with another card; None takes an entry away."""
    tensors, metadata = from_bytes(path.read_bytes())
    card = {k: v for k, v in (json.loads(metadata["mtnets"]) | changes).items() if v is not None}
    other = path.with_name("damaged")
    card["checksum"] = UNSEALED  # which `changes` alone would break
    other.write_bytes(sealed(to_bytes(tensors, {"mtnets": json.dumps(card)})))
    return other


def test_odd_cards_of_learners(tmp_path) -> None:
    """Values of wrong types, and inputs that the network cannot take, are refused when the learner is loaded."""
    learner = dataclasses.replace(learner_of(mtnets.models.mlp(2, 3, 1)), inputs=mtnets.tasks.StandardisedRows(2))
    learner.save(tmp_path)
    path = tmp_path / "learner.safetensors"
    whole, rows = path.read_bytes(), {"kind": "standardised-rows", "features": 2}
    scale = {"mean": [0.0] * 3, "spread": [1.0] * 3}
    number = {"name": "a", "mean": 0.0, "spread": 1.0, "missing": False}
    for changes, words in (
        ({"inner_lr": "fast"}, "inner_lr is 'fast'; it must be a number"),
        ({"inner_lr": float("nan")}, "inner_lr is nan; it must be finite"),
        ({"inner_steps": 1.5}, "inner_steps is 1.5; it must be a whole number"),
        ({"inner_steps": -1}, "inner_steps is -1; it must be at least 0"),
        ({"loss": []}, r"loss is \[\]; it must be text"),
        ({"record": {"licence": 3}}, r"record\['licence'\] is 3"),
        ({"record": {"tasks": [1]}}, r"record\['tasks'\] is \[1\]"),
        ({"model": {"network": "mlp", "sizes": [1] * 1000}}, "An MLP of 1000 sizes is asked for; at most 300"),
        ({"inputs": {"kind": "images", "size": 10**9, "channels": 1}}, r"and the network takes \[2\]"),
        ({"inputs": {**rows, "features": 3}}, r"Rows have 3 features and the network takes \[2\]"),
        ({"inputs": {**rows, "row_scale": scale}}, "The scale has 3 features and the network 2"),
        ({"inputs": {**rows, "row_scale": {"mean": [0.0], "spread": [0.0]}}}, "one spread above 0 for each column"),
        ({"inputs": {"kind": "table", "columns": [number], "target": number, "task": "t"}}, "The table has 1 features"),
        ({"inputs": {"kind": "table", "columns": [{**number, "mean": "x"}], "target": number, "task": "t"}}, "mean is"),
    ):
        path.write_bytes(whole)
        shutil.copy(damaged(path, **changes), path)
        with pytest.raises(RunError, match=rf"is not a learner that this version of mtnets reads .*{words}"):
            mtnets.load(tmp_path)
    path.write_bytes(whole)
    mtnets.load(tmp_path)
    (tmp_path / "deep").write_bytes(to_bytes({}, {"mtnets": "[" * 10**5}))
    with pytest.raises(RunError, match=r"is damaged or no learner .*nested too deeply"):
        read_tensors(tmp_path / "deep")


def test_damaged_cards(tmp_path) -> None:
    learner = learner_of(mtnets.models.mlp(2, 3, 1))
    adapted = learner.adapt(np.ones((2, 2)), np.ones(2))
    adapted.save(tmp_path / "model")
    adapted.save_task(tmp_path / "task")
    for changes in ({"model": None}, {"inputs": None}, {"inputs": 3}, {"model": {"network": "none"}}, {"model": [1]}):
        with pytest.raises(RunError, match="is not an adapted model that this version of mtnets reads"):
            mtnets.load_adapted(damaged(tmp_path / "model", **changes))
    for changes in ({"inner_steps": None}, {"inner_steps": "two"}):
        with pytest.raises(RunError, match="is not a task that this version of mtnets reads"):
            learner.with_task(damaged(tmp_path / "task", **changes))
    steps = (name for name in from_bytes((tmp_path / "task").read_bytes())[0] if name.startswith("steps."))
    name = next(steps).removeprefix("steps.")
    for exponents in (3, {name: "one"}, {name: 0.5}):
        with pytest.raises(RunError, match=r"is not a task that this version of mtnets reads .* it must be"):
            learner.with_task(damaged(tmp_path / "task", exponents=exponents))
    for exponents, words in (
        ({"nothing": 1}, "has nothing.*, which this learner does not know"),
        ({name: 1000}, rf"it moves {name} beyond all numbers, in units of 2\^1000"),
        ({name: 10**6}, rf"it moves {name} beyond all numbers"),
    ):
        with pytest.raises(RunError, match=words):
            learner.with_task(damaged(tmp_path / "task", exponents=exponents))
    for path in ("model", "task"):
        (tmp_path / "list").write_bytes(to_bytes({}, {"mtnets": "[]"}))
        with pytest.raises(RunError, match=r"is damaged or no .* \(its card is \[\]\)"):
            mtnets.load_adapted(tmp_path / "list") if path == "model" else learner.with_task(tmp_path / "list")
