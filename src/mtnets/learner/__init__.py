"""What a user holds after a training: the learner, the models that it adapts, their evaluation and files.

Reading order: tensors, data, compiled, task_files, exported, spread, adapted, adapted_ensemble, learner,
ensemble, meeting, evaluate, queries, conformal, predictions.
"""

from mtnets.learner.adapted import AdaptedModel, AdaptedModels, load_adapted
from mtnets.learner.adapted_ensemble import AdaptedEnsemble
from mtnets.learner.conformal import CALIBRATION_SEED, Conformal, conformal
from mtnets.learner.ensemble import Ensemble
from mtnets.learner.evaluate import TEST_SEED, Estimate, evaluate
from mtnets.learner.learner import Learner, load
from mtnets.learner.predictions import Predictions, predict_files

__all__ = [
    "CALIBRATION_SEED",
    "TEST_SEED",
    "AdaptedEnsemble",
    "AdaptedModel",
    "AdaptedModels",
    "Conformal",
    "Ensemble",
    "Estimate",
    "Learner",
    "Predictions",
    "conformal",
    "evaluate",
    "load",
    "load_adapted",
    "predict_files",
]
