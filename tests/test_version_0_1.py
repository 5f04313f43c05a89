"""Files that version 0.1 wrote load, and predict as they did: learners of every method, adapted models, task files, and
a run folder that goes on. `golden/0.1/expected.json` holds what version 0.1 predicted."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import mtnets
from mtnets.cli.configuration import read_config

GOLDEN = Path(__file__).parent / "golden" / "0.1"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
X, Y, QUERY = (np.array(EXPECTED[name]) for name in ("x", "y", "query"))
CURVES = sorted(path.name for path in (GOLDEN / "learners").iterdir() if path.name not in ("images", "table"))


def predicted(name):
    return np.array(EXPECTED["predictions"][name])


@pytest.mark.parametrize("name", CURVES)
def test_learners(name: str, tmp_path: Path) -> None:
    """And again after they are saved in today's format."""
    learner = mtnets.load(GOLDEN / "learners" / name)
    np.testing.assert_allclose(learner.adapt(X, Y)(QUERY), predicted(name), atol=1e-6)
    learner.save(tmp_path)
    again = mtnets.load(tmp_path)
    assert again.method == learner.method
    np.testing.assert_array_equal(again.adapt(X, Y)(QUERY), learner.adapt(X, Y)(QUERY))


def test_every_method_is_among_them() -> None:
    later = {"l2f"}
    assert set(CURVES) >= set(mtnets.METHODS) - later


@pytest.mark.slow
def test_a_learner_of_images() -> None:
    learner, pixels = mtnets.load(GOLDEN / "learners" / "images"), np.load(GOLDEN / "pixels.npy")
    model = learner.adapt(pixels[:3], np.array([0, 1, 2]))
    np.testing.assert_allclose(model(pixels[3:]), predicted("images"), atol=1e-5)


def test_a_learner_of_tables() -> None:
    learner, table = mtnets.load(GOLDEN / "learners" / "table"), EXPECTED["table"]
    support = {name: np.array(cells, object if None in cells else None) for name, cells in table["support"].items()}
    query = {name: np.array(cells) for name, cells in table["query"].items()}
    np.testing.assert_allclose(learner.adapt(support)(query), predicted("table"), atol=1e-5)


@pytest.mark.parametrize("name", ["mt_net", "mt_net-two"])
def test_adapted_models_and_task_files(name: str) -> None:
    learner = mtnets.load(GOLDEN / "learners" / name)
    for model in (
        mtnets.load_adapted(GOLDEN / f"adapted-{name}.safetensors"),
        learner.with_task(GOLDEN / f"{name}.task"),
    ):
        np.testing.assert_allclose(model(QUERY), predicted(f"adapted-{name}"), atol=1e-6)
    other = mtnets.load(GOLDEN / "learners" / "maml")
    with pytest.raises(mtnets.RunError, match="belongs to another learner"):
        other.with_task(GOLDEN / f"{name}.task")


def test_configurations() -> None:
    config = read_config("sinusoid", str(GOLDEN / "run" / "config.json"))
    assert config.tasks == mtnets.tasks.Sinusoid(shots=5, queries=10, network=mtnets.models.Mlp((4,), init_std=0.5))
    assert config.method == mtnets.mt_net(0.05, sides=2, inner_clip="off")
    assert (config.training["meta_steps"], config.training["validate_every"], config.seed) == (30, 10, 0)


@pytest.mark.slow
def test_a_run_goes_on(tmp_path: Path) -> None:
    """From its checkpoint, to where version 0.1 has got to."""
    shutil.copytree(GOLDEN / "run", tmp_path / "run")
    network = mtnets.models.Mlp(hidden=(4,), init_std=0.5)
    result = mtnets.run_training(
        None,
        mtnets.mt_net(0.05, sides=2),
        mtnets.tasks.sinusoid(shots=5, network=network),
        out=tmp_path / "run",
        resume=True,
        **EXPECTED["run"]["settings"],
    )
    np.testing.assert_allclose(result.learner.adapt(X, Y)(QUERY), EXPECTED["run"]["prediction"], rtol=1e-4, atol=1e-5)
    means = [
        [step["mean"] for step in test["inner_steps"]] for test in (result.test.to_json(), EXPECTED["run"]["result"])
    ]
    np.testing.assert_allclose(*means, rtol=1e-4)


def test_an_estimator_must_be_fitted_again() -> None:
    pytest.importorskip("sklearn", reason="needs mtnets[sklearn]")
    with pytest.raises(mtnets.RunError, match=r"pickled by mtnets 0\.1; fit it again"):
        pickle.loads((GOLDEN / "classifier.pickle").read_bytes())
