"""Weights whose order of axes has changed are not taken for others of the same shape."""

import dataclasses
from pathlib import Path

import pytest

import mtnets
from mtnets import RunError

OPTIONS = {"meta_steps": 0, "progress": False}
KEPT = mtnets.models.mlp(1, 3, 1)
CHANGED = dataclasses.replace(KEPT, layout="transposed")


@pytest.mark.parametrize(("saved", "present"), [(KEPT, CHANGED), (CHANGED, KEPT)])
def test_files_of_another_layout_are_refused(saved: mtnets.Model, present: mtnets.Model, tmp_path: Path) -> None:
    tasks = mtnets.tasks.sinusoid()
    options = {**OPTIONS, "test_tasks": 1}
    learner = mtnets.meta_train(saved, mtnets.maml(0.1), tasks, out=tmp_path / "run", **options)
    adapted = learner.adapt([[0.0], [1.0]], [[0.0], [1.0]])
    adapted.save(tmp_path / "adapted.safetensors")
    for load, path in ((mtnets.load, tmp_path / "run"), (mtnets.load_adapted, tmp_path / "adapted.safetensors")):
        assert load(path, model=saved).model.layout == saved.layout
        with pytest.raises(RunError, match=r"weights in .*layout 'transposed'.*train anew"):
            load(path, model=present)
    with pytest.raises(RunError, match=r"run has layout = "):
        mtnets.meta_train(present, mtnets.maml(0.1), tasks, out=tmp_path / "run", resume=True, **options)
