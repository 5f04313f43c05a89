"""Few-shot learning by gradient descent: MT-nets, T-nets, MAML and their kin as points of one update rule.

import mtnets

tasks = mtnets.tasks.sinusoid(shots=10)
learner = mtnets.meta_train(mtnets.models.mlp(1, 40, 40, 1), mtnets.mt_net(inner_lr=0.01), tasks, meta_steps=60_000)
print(mtnets.evaluate(learner, tasks, num_tasks=600))
model = learner.adapt(x_support, y_support)
y = model(x_query)
"""

from mtnets import tasks
from mtnets.analysis.catalogue import catalogue
from mtnets.analysis.doctor import Diagnosis, diagnose
from mtnets.analysis.summary import Summary
from mtnets.errors import DataError, MtnetsError, OptionError, RunError
from mtnets.inner.methods import (
    METHODS,
    Meta,
    Method,
    alfa,
    anil,
    approximate_gap,
    boil,
    cavia,
    fomaml,
    gap,
    imaml,
    m_net,
    maml,
    maml_plus_plus,
    meta_curvature,
    meta_sgd,
    method,
    mt_net,
    mt_net_full,
    reptile,
    sparse_maml,
    t_net,
    warp_grad,
)
from mtnets.inner.task import Batch, Distribution, Task
from mtnets.learner.adapted import AdaptedModel, AdaptedModels, load_adapted
from mtnets.learner.evaluate import Estimate, evaluate
from mtnets.learner.learner import Learner, load
from mtnets.networks import models
from mtnets.networks.adapters import (
    from_equinox,
    from_functions,
    from_haiku,
    from_linen,
    from_nnx,
    from_torch,
    frozen,
    in_precision,
    to_state_dict,
    wrap,
)
from mtnets.networks.model import Model
from mtnets.outer.train import meta_train

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "AdaptedModel",
    "AdaptedModels",
    "Batch",
    "DataError",
    "Diagnosis",
    "Distribution",
    "Estimate",
    "Learner",
    "Meta",
    "Method",
    "Model",
    "MtnetsError",
    "OptionError",
    "RunError",
    "Summary",
    "Task",
    "alfa",
    "anil",
    "approximate_gap",
    "boil",
    "catalogue",
    "cavia",
    "diagnose",
    "evaluate",
    "fomaml",
    "from_equinox",
    "from_functions",
    "from_haiku",
    "from_linen",
    "from_nnx",
    "from_torch",
    "frozen",
    "gap",
    "imaml",
    "in_precision",
    "load",
    "load_adapted",
    "m_net",
    "maml",
    "maml_plus_plus",
    "meta_curvature",
    "meta_sgd",
    "meta_train",
    "method",
    "models",
    "mt_net",
    "mt_net_full",
    "reptile",
    "sparse_maml",
    "t_net",
    "tasks",
    "to_state_dict",
    "warp_grad",
    "wrap",
]
