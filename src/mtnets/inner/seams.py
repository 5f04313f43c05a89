"""The contracts of the seams: what a fold, a rule and an estimator are.

The fourth seam, which layers move, is a choice among them; see `mtnets.methods.Method`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import optax
from jax import Array

from mtnets.networks.layers import Layer

Weights = Mapping[str, Array]  # leaves of the network, by path
Arrays = Any  # a pytree of meta-learned arrays


class Setting(NamedTuple):
    """What meta-learned arrays start from.

    Attributes:
      layers: the layers that move, in the order of their first use.
      weights: their leaves, by path.
      loose: leaves that belong to no layer, by path: scales and offsets of normalisation, for example.
      inner_lr: α.
      steps: inner steps of training.
      key: for what starts at random.
      norm: what batch norm means in the network.
    """

    layers: tuple[Layer, ...]
    weights: Weights
    loose: Weights
    inner_lr: Any
    steps: int
    key: Array
    norm: str = "none"


class FoldApply(Protocol):
    """See `Fold`."""

    def __call__(self, layers: Sequence[Layer], arrays: Arrays, weights: Weights, step: Any) -> dict[str, Array]: ...


class RuleBegin(Protocol):
    """See `Rule`."""

    def __call__(
        self, layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array
    ) -> optax.GradientTransformation: ...


class Fold(NamedTuple):
    """How the weights that a task moves become leaves of the network: a pair of pure functions.

    Attributes:
      init: `init(setting) -> arrays`, the meta-learned arrays at the start, which change nothing.
      apply: `apply(layers, arrays, weights, step) -> leaves`: the network's own weights, and whatever other leaves are
        different at this inner step.
      learns: whether it has arrays.
      spectra: `spectra(layers, arrays) -> {name: singular values of a metric, from the largest}`, for the reader, with
        arrays that are no tracers; metrics that are not finite are left out.
    """

    init: Callable[[Setting], Arrays]
    apply: FoldApply
    learns: bool = True
    spectra: Callable[[Sequence[Layer], Arrays], Mapping[str, np.ndarray]] = lambda layers, arrays: {}


class Rule(NamedTuple):
    """From the gradients of a task to its updates: a pair of pure functions, and a third for the reader.

    A rule is begun once per task, with a random key (there a mask is drawn). Its arrays get their gradient through the
    updates that it makes.

    Attributes:
      init: `init(setting) -> arrays`, the meta-learned arrays at the start.
      begin: `begin(layers, arrays, inner_lr, key) -> optax.GradientTransformation` for one task.
      moving: `moving(layers, arrays) -> {layer name: share of its units that a task moves}`.
      learns: whether it has arrays.
      surrogate: where automatic differentiation of its updates is not their derivative, by design, so that finite
        differences say something else: with respect to its `arrays` (straight through a mask) or to the `gradient`
        (singular vectors held constant).
    """

    init: Callable[[Setting], Arrays]
    begin: RuleBegin
    moving: Callable[[Sequence[Layer], Arrays], Mapping[str, Array]] = lambda layers, arrays: {}
    learns: bool = True
    surrogate: Literal["arrays", "gradient"] | None = None


class Estimator(NamedTuple):
    """How the meta-gradient is taken from one task.

    Attributes:
      name: as in `meta_gradient="exact"`.
      gradient: `gradient(episode, start) -> ((loss, aux), gradient with respect to the start)`; an episode is
        `mtnets.adapt.Episode`, a start `mtnets.adapt.Start`.
      blind: the parts, of `fold` and `rule`, to which it gives no gradient; it refuses a method that learns them.
      weighs_steps: whether it takes weights of the query losses on the way, as a multi-step loss needs.
    """

    name: str
    gradient: Callable[[Any, Any], tuple[tuple[Array, Any], Any]]
    blind: tuple[str, ...] = ()
    weighs_steps: bool = True
