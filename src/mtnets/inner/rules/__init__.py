"""Rules: from the gradients of a task to its updates. Each is an Optax transformation with meta-learned arrays."""

from mtnets.inner.rules.chain import chain, fixed
from mtnets.inner.rules.masks import MaskUse, element_mask, row_mask, sparse_mask, straight_through_mask
from mtnets.inner.rules.preconditioners import context_bias, kronecker_factors, singular_scale, unit_scale
from mtnets.inner.rules.rates import Rates, generated_rates, layer_step_rates, rate, sgd, weight_rates
from mtnets.inner.rules.transformations import INNER_OPTIMISERS, clip_norm, proximal

__all__ = [
    "INNER_OPTIMISERS",
    "MaskUse",
    "Rates",
    "chain",
    "clip_norm",
    "context_bias",
    "element_mask",
    "fixed",
    "generated_rates",
    "kronecker_factors",
    "layer_step_rates",
    "proximal",
    "rate",
    "row_mask",
    "sgd",
    "singular_scale",
    "sparse_mask",
    "straight_through_mask",
    "unit_scale",
    "weight_rates",
]
