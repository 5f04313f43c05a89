"""Heads that do not fix the number of classes: ways to start the last layer for each task.

The units of such a head are classes, alike before the task is known: everything that a fold or a rule learns of one
serves all. So a network that was trained with five classes adapts to two, or to fifty.
"""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError
from mtnets.inner.folds import product
from mtnets.inner.task import Batch
from mtnets.networks.layers import Layer

HeadName = Literal["fixed", "shared", "prototypes", "ridge"]


class Head(abc.ABC):
    """How the last layer starts for a task. It compares by value.

    Attributes:
      described: in errors.
    """

    described: ClassVar[str] = "a head such as 'shared', 'prototypes' or 'ridge'"

    def init(self, layer: Layer, unit: Array) -> Any:
        """The meta-learned arrays at the start.

        Args:
          layer: the head, with one unit.
          unit: a unit of the network as it is made, `[rows, 1]`: its weights, then its bias where there is one.

        Raises:
          OptionError: for a layer that cannot start in this way.
        """
        return {}

    @abc.abstractmethod
    def start(self, arrays: Any, layer: Layer, features: Callable[[], Array], support: Batch) -> Array:
        """The head of a task as a matrix, `[rows, ways]`.

        Args:
          arrays: what was meta-learned.
          layer: the head, with as many units as the task has ways.
          features: what the head is applied to for the support set, `[examples, features]`.
          support: the examples, with labels `[examples]`.
        """


class Shared(Head):
    """All classes start from one vector, which is meta-learned.

    References:
      Ye & Chao, How to Train Your MAML to Excel in Few-Shot Classification, ICLR 2022, arXiv 2106.16245 (UNICORN-MAML).
    """

    def init(self, layer: Layer, unit: Array) -> Any:
        return {"unit": unit}

    def start(self, arrays: Any, layer: Layer, features: Callable[[], Array], support: Batch) -> Array:
        return jnp.repeat(arrays["unit"], layer.units, 1)


class Prototypes(Head):
    """`w_k = 2 c_k, b_k = −|c_k|²` with the mean c_k of the features of class k: at the start, logits are squared
    distances to the means of the classes. Nothing is meta-learned besides the network below.

    References:
      Triantafillou et al., Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples, ICLR 2020,
      arXiv 1903.03096, section 3 (Proto-MAML).
    """

    def init(self, layer: Layer, unit: Array) -> Any:
        if layer.bias is None:
            raise OptionError(f"{layer.name} has no bias, and the head 'prototypes' needs one; use another, or a bias.")
        return {}

    def start(self, arrays: Any, layer: Layer, features: Callable[[], Array], support: Batch) -> Array:
        x = features()
        classes = _one_hot(support, layer.units, x.dtype)
        total = classes.sum(0)
        means = product(classes.T, x) / jnp.where(total > 0, total, 1)[:, None]  # a class without examples is masked
        return jnp.concatenate([2 * means.T, -jnp.square(means).sum(1)[None]])


class Ridge(Head):
    """The ridge regression from features to classes, times a scale: `s Xᵀ (X Xᵀ + λ)⁻¹ Y`, one of the features being 1
    where the layer has a bias. λ and s are meta-learned; both are 1 at the start (our choice).

    The paper has an offset of all logits besides, which the softmax takes away, and no gradient steps after it; for
    that, adapt with `inner_steps=0`.

    References:
      Bertinetto, Henriques, Torr & Vedaldi, Meta-learning with differentiable closed-form solvers, ICLR 2019,
      arXiv 1805.08136 (R2-D2), equations 4 to 6.
    """

    def init(self, layer: Layer, unit: Array) -> Any:
        return {"log_ridge": jnp.zeros((), unit.dtype), "scale": jnp.ones((), unit.dtype)}

    def start(self, arrays: Any, layer: Layer, features: Callable[[], Array], support: Batch) -> Array:
        x = features()
        y = _one_hot(support, layer.units, x.dtype)
        if layer.bias is not None:
            x = jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], 1)
        if support.weights is not None:  # those of y are weights already
            x = x * jnp.sqrt(support.weights)[:, None]
            y = y / jnp.sqrt(jnp.where(support.weights > 0, support.weights, 1))[:, None]
        # in the examples, which are few
        gram = product(x, x.T) + jnp.exp(arrays["log_ridge"]) * jnp.eye(len(x), dtype=x.dtype)
        return arrays["scale"] * product(x.T, jax.scipy.linalg.solve(gram, y, assume_a="pos"))


HEADS: Mapping[str, Head | None] = {"fixed": None, "shared": Shared(), "prototypes": Prototypes(), "ridge": Ridge()}


def _one_hot(support: Batch, ways: int, dtype: Any) -> Array:
    """Which class each example has, `[examples, ways]`, times its weight."""
    classes = jax.nn.one_hot(support.y, ways, dtype=dtype)
    return classes if support.weights is None else classes * support.weights[:, None]
