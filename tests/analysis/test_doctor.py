"""The doctor: a right learner is confirmed, in sentences, numbers and a picture."""

import json

import numpy as np
import pytest
from doctor_problems import learner_of, small_tasks, texts

from mtnets import OptionError, RunError, diagnose


@pytest.mark.slow
def test_a_right_learner_is_confirmed(tmp_path) -> None:
    """The MT-net: gradients of the network and the metric; masks are not asked about; everything is drawn."""
    report = diagnose(learner_of("mt_net"), small_tasks(), 20)
    assert report.checks.keys() == {"params", "fold"}
    assert max(check.error for check in report.checks.values()) < 1e-6
    assert report.unchecked.keys() == {"rule"}
    assert "confirm the exact meta-gradient of the network's parameters and the metric" in texts(report, "good")
    assert "straight through, by design" in texts(report, "note")
    assert "Adaptation helps" in texts(report, "good")
    assert report.units == {"layers.0": 4, "layers.1": 2}
    assert report.moving == {"layers.0": 0.5, "layers.1": 0.5}
    assert "layers.0 2.0 of 4" in texts(report, "note")
    assert all(0 <= report.ranks[name] <= units for name, units in report.units.items())
    np.testing.assert_allclose([*report.conditions.values(), *report.step_sizes.values()], 1)
    assert report.gradients.keys() >= {"params.layers.0.kernel", "fold.layers.1", "rule.mask.layers.0"}
    assert report.curve.scores.shape == (20, 6)
    assert report.parts.keys() == {"head", "body"}
    json.dumps(report.to_json(), allow_nan=False)
    assert str(report).count("\n") == len(report.findings) - 1
    report.plot(tmp_path / "doctor.png")
    assert (tmp_path / "doctor.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input() -> None:
    with pytest.raises(OptionError, match="num_tasks is 1; it must be from 2"):
        diagnose(learner_of("maml"), small_tasks(), 1)
    with pytest.raises(OptionError, match="inner_steps is 1; it must be at least that of training, 2"):
        diagnose(learner_of("maml"), small_tasks(), 10, inner_steps=1)
    with pytest.raises(RunError, match="tasks of your own; pass them"):
        diagnose(learner_of("maml"))
