"""Estimators: how the meta-gradient is taken from a task.

Each sees an episode, which can be learned from a start and judged on its query set, and returns
`((loss, (state, metrics)), gradient)` with respect to that start: the network's parameters, the fold's arrays, the
rule's.
"""

import dataclasses
from numbers import Integral, Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from mtnets.arguments import check_fields
from mtnets.errors import OptionError
from mtnets.inner.seams import Episode, Estimator, Meta, Part, Result, Start, Weights, added
from mtnets.trees import leaves_by_path, replace_leaves


@dataclasses.dataclass(frozen=True)
class Exact(Estimator):
    """Differentiates through the whole inner loop (Finn et al. 2017, arXiv 1703.03400).

    Attributes:
      remat_every: keep the weights after so many inner steps each, and compute what lies between again for the
        backward pass: less memory for more time; the gradient is the same. 0 keeps everything.

    Raises:
      OptionError: unless it is a whole number of at least 0.

    References:
      Chen, Xu, Zhang & Guestrin, Training Deep Nets with Sublinear Memory Cost, 2016, arXiv 1604.06174: the square root
      of the number of steps takes least.
    """

    name: ClassVar[str] = "exact"

    remat_every: int = added(0)

    def __post_init__(self) -> None:
        check_fields(self)
        if not (isinstance(self.remat_every, Integral) and self.remat_every >= 0):
            raise OptionError(f"remat_every is {self.remat_every!r}; it must be a whole number of at least 0.")

    def gradient(self, episode: Episode, start: Start) -> Result:
        def objective(start: Start) -> Any:
            return episode.objective(start, remat_every=self.remat_every)

        return jax.value_and_grad(objective, has_aux=True)(start)


@dataclasses.dataclass(frozen=True)
class FirstOrder(Estimator):
    """Holds the gradients that enter the rule constant (Finn et al. 2017, section 5.2).

    For weights without a fold this is the query gradient at the adapted weights. A metric, masks and rates still learn,
    since the rule and the fold are differentiated.
    """

    name: ClassVar[str] = "first-order"
    blind: ClassVar[tuple[Part, ...]] = ("loss",)

    def gradient(self, episode: Episode, start: Start) -> Result:
        return Truncated(0).gradient(episode, start)


@dataclasses.dataclass(frozen=True)
class Truncated(Estimator):
    """Differentiates through the last inner steps; the gradients of earlier steps are held constant as in `FirstOrder`.

    Attributes:
      last_steps: how many; 0 is first order, all of them exact.

    Raises:
      OptionError: unless it is a whole number of at least 0.

    References:
      Shaban, Cheng, Hatch & Boots, Truncated Back-propagation for Bilevel Optimization, AISTATS 2019, arXiv 1810.10667.
    """

    name: ClassVar[str] = "truncated"

    last_steps: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if not (isinstance(self.last_steps, Integral) and self.last_steps >= 0):
            raise OptionError(f"last_steps is {self.last_steps!r}; it must be a whole number of at least 0.")

    def gradient(self, episode: Episode, start: Start) -> Result:
        def objective(start: Start) -> Any:
            return episode.objective(start, last_steps=self.last_steps)

        return jax.value_and_grad(objective, has_aux=True)(start)


@dataclasses.dataclass(frozen=True)
class Trajectory(Estimator):
    """Mean over inner steps t of the exact gradient of one step, `L_query(w_t − Δ(w_t))`, with w_t on the trajectory
    held constant: WarpGrad's objective for everything that does not move within a task.

    The start of the weights that move gets the mean of those gradients with respect to w_t, as if each were the start.
    No product of Jacobians runs along the trajectory, so that gradients neither vanish nor explode with its length.

    References:
      Flennerhag, Rusu, Pascanu, Visin, Yin & Hadsell, Meta-Learning with Warped Gradient Descent, ICLR 2020,
      arXiv 1909.00025; the paper leaves the objective for the start open.
    """

    name: ClassVar[str] = "trajectory"
    weighs_steps: ClassVar[bool] = False

    def gradient(self, episode: Episode, start: Start) -> Result:
        return jax.value_and_grad(lambda start: episode.objective(start, one_by_one=True), has_aux=True)(start)


@dataclasses.dataclass(frozen=True)
class Implicit(Estimator):
    """The gradient by the implicit function theorem, as if the inner problem `min L(w) + λ/2 |w − θ|²` had been solved:
    `λ (H + λ)⁻¹ ∇L_query` for the start θ, with the Hessian H of the support loss at the adapted weights.

    Everything that does not move within a task gets its gradient through the minimum too. The inverse is approximated
    by conjugate gradients, from products with H alone; memory does not grow with the number of inner steps. A learned
    rule gets no gradient, since the minimum does not depend on it.

    Attributes:
      proximal: λ; the inner loop has this pull toward the start.
      cg_steps: steps of conjugate gradients.
      damping: added to λ in the inverse; where H has negative curvature, it must be larger than that.

    Raises:
      OptionError: for a pull that is not above 0, less than one step or a negative damping.

    References:
      Rajeswaran, Finn, Kakade & Levine, Meta-Learning with Implicit Gradients, NeurIPS 2019, arXiv 1909.04630.
    """

    name: ClassVar[str] = "implicit"
    blind: ClassVar[tuple[Part, ...]] = ("rule",)
    weighs_steps: ClassVar[bool] = False
    starts_per_task: ClassVar[bool] = False

    proximal: float = 1.0
    cg_steps: int = 10
    damping: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if not (isinstance(self.proximal, Real) and 0 < self.proximal < float("inf")):
            raise OptionError(
                f"proximal is {self.proximal!r}; the implicit estimator needs a pull toward the start above 0, for "
                "example Implicit(proximal=1.0)."
            )
        if not (isinstance(self.cg_steps, Integral) and self.cg_steps >= 1):
            raise OptionError(f"cg_steps is {self.cg_steps!r}; it must be a whole number of at least 1.")
        if not (isinstance(self.damping, Real) and 0 <= self.damping < float("inf")):
            raise OptionError(f"damping is {self.damping!r}; it must be a number ≥ 0.")

    @property
    def pull(self) -> float:
        return self.proximal

    def gradient(self, episode: Episode, start: Start) -> Result:
        adapted = jax.lax.stop_gradient(episode.adapt(start))
        weights = adapted.weights

        def query(meta: Meta, weights: Weights) -> Any:
            return episode.judge(*episode.network(meta, weights, adapted.state), adapted.support_loss)

        def slope(meta: Meta, weights: Weights) -> dict[str, Any]:
            """Gradient of the inner problem: zero at its solution."""
            theta = leaves_by_path(meta.params)
            support = jax.grad(lambda weights: episode.support_loss(meta, weights, adapted.state))(weights)
            return {path: g + self.proximal * (weights[path] - theta[path]) for path, g in support.items()}

        (loss, aux), (direct, wanted) = jax.value_and_grad(query, (0, 1), has_aux=True)(start.meta, weights)
        # linearised once: each step of conjugate gradients is one product
        _, hessian = jax.linearize(lambda weights: slope(start.meta, weights), weights)

        def damped(v: Any) -> Any:
            return jax.tree.map(lambda hv, v: hv + self.damping * v, hessian(v), v)

        solved, _ = cg(damped, wanted, maxiter=self.cg_steps, tol=0.0)
        (through,) = jax.vjp(lambda meta: slope(meta, weights), start.meta)[1](solved)
        gradient = jax.tree.map(jnp.subtract, direct, through)
        return (loss, aux), Start(gradient, jax.tree.map(jnp.zeros_like, start.folded))


@dataclasses.dataclass(frozen=True)
class Displacement(Estimator):
    """The displacement `θ − w` of the weights after the inner steps and one more step on the query set, in the place of
    a gradient.

    The last step is one of plain gradient descent with α, whatever the method does to gradients before; leaves that do
    not move within a task take that step alone. Nothing is differentiated through, so that a fold or a learned rule
    gets no gradient.

    References:
      Nichol, Achiam & Schulman, On First-Order Meta-Learning Algorithms, 2018, arXiv 1803.02999 (Reptile).
    """

    name: ClassVar[str] = "displacement"
    blind: ClassVar[tuple[Part, ...]] = ("fold", "rule", "loss")
    weighs_steps: ClassVar[bool] = False
    starts_per_task: ClassVar[bool] = False

    def gradient(self, episode: Episode, start: Start) -> Result:
        adapted = episode.adapt(start)

        def judge(params: Any) -> Any:
            return episode.judge(params, adapted.state, adapted.support_loss)

        (loss, aux), query_gradient = jax.value_and_grad(judge, has_aux=True)(adapted.params)
        last_step = jax.tree.map(lambda g: episode.inner_lr * g, query_gradient)
        before, step = leaves_by_path(start.meta.params), leaves_by_path(last_step)
        displaced = {path: before[path] - w + step[path] for path, w in adapted.weights.items()}
        nothing = jax.tree.map(jnp.zeros_like, start)
        return (loss, aux), nothing._replace(meta=nothing.meta._replace(params=replace_leaves(last_step, displaced)))
