"""Networks of the field, as Flax NNX modules."""

from collections.abc import Mapping
from typing import Any

from mtnets.errors import OptionError
from mtnets.networks.adapters import Warp
from mtnets.networks.model import Model
from mtnets.networks.models.conv4 import Conv4, conv4
from mtnets.networks.models.mlp import Mlp, mlp
from mtnets.networks.models.norm import BatchNorm

__all__ = ["BatchNorm", "Conv4", "Mlp", "Warp", "conv4", "mlp", "rebuild"]


def rebuild(config: Mapping[str, Any]) -> Model:
    """The model that `Model.config` describes."""
    options = dict(config)
    name = options.pop("network", None)
    if name == "mlp":
        return mlp(*options.pop("sizes"), **options)
    if name == "conv4":
        return conv4(**options)
    raise OptionError(f"There is no built-in network {name!r}; pass the model itself.")
