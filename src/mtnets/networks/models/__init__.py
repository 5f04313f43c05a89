"""Networks of the few-shot literature, as Flax NNX modules, and what networks of your own are built with."""

from mtnets.networks.adapters import Warp
from mtnets.networks.model import model_from_config, register
from mtnets.networks.models.conv4 import Conv4, conv4
from mtnets.networks.models.film import FiLM
from mtnets.networks.models.meta_dropout import MetaDropout
from mtnets.networks.models.mlp import Mlp, mlp
from mtnets.networks.models.norm import BatchNorm

__all__ = ["BatchNorm", "Conv4", "FiLM", "MetaDropout", "Mlp", "Warp", "conv4", "mlp", "model_from_config", "register"]
