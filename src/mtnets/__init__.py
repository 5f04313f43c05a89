"""Few-shot learning by gradient descent: MT-nets, T-nets, MAML and their kin as points of one update rule.

import mtnets

tasks = mtnets.tasks.sinusoid(shots=10)
learner = mtnets.meta_train(mtnets.models.mlp(1, 40, 40, 1), mtnets.mt_net(inner_lr=0.01), tasks, meta_steps=60_000)
print(mtnets.evaluate(learner, tasks, num_tasks=600))
model = learner.adapt(x_support, y_support)
y = model(x_query)
"""

from pathlib import Path
from typing import Any

import lazy_loader

from mtnets import endings

__version__ = "0.2.0.dev0"

# Names are imported when they are used: JAX takes a second. The stub beside this file says where they are.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@endings.at_end
def _report(folder: Path, learner: Any, tasks: Any) -> Path:
    """A report in the folder of each run that has ended; here, since rooms do not import upwards."""
    from mtnets.reports import write_report

    return write_report(folder, learner, tasks)
