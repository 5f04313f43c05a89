"""Networks: models, their layers, networks of the literature, and adapters for other libraries.

Reading order: programs, layers, model, aten, adapters, models, state_dict, exports.
"""

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
from mtnets.networks.layers import Layer
from mtnets.networks.model import Model, Norm

__all__ = [
    "Layer",
    "Model",
    "Norm",
    "from_equinox",
    "from_functions",
    "from_haiku",
    "from_linen",
    "from_nnx",
    "from_torch",
    "frozen",
    "in_precision",
    "models",
    "to_state_dict",
    "wrap",
]
