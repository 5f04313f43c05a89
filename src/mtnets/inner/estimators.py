"""Estimators: how the meta-gradient is taken from a task.

Each works on an episode (`mtnets.adapt.Episode`), which can be learned from a start and judged on its query set, and
returns `((loss, aux), gradient)` with respect to that start: the network's parameters, the fold's arrays, the rule's.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from mtnets.errors import OptionError
from mtnets.inner.seams import Estimator
from mtnets.trees import leaves_by_path, replace_leaves

Result = tuple[tuple[jax.Array, Any], Any]


def exact() -> Estimator:
    """Differentiates through the whole inner loop (Finn et al. 2017, arXiv 1703.03400)."""

    def gradient(episode: Any, start: Any) -> Result:
        return jax.value_and_grad(episode.objective, has_aux=True)(start)

    return Estimator("exact", gradient)


def first_order() -> Estimator:
    """Holds the gradients that enter the rule constant (Finn et al. 2017, section 5.2).

    For weights without a fold this is the query gradient at the adapted weights. A metric, masks and rates still learn,
    since the rule and the fold are differentiated.
    """
    return truncated(0)._replace(name="first-order")


def truncated(last_steps: int = 1) -> Estimator:
    """Differentiates through the last inner steps; the gradients of those before are held constant as in `first_order`.

    Args:
      last_steps: how many; 0 is first order, all of them exact.

    Raises:
      OptionError: if it is below 0.

    References:
      Shaban, Cheng, Hatch & Boots, Truncated Back-propagation for Bilevel Optimization, AISTATS 2019, arXiv 1810.10667.
    """
    if last_steps < 0:
        raise OptionError(f"last_steps is {last_steps}; it must be at least 0.")

    def gradient(episode: Any, start: Any) -> Result:
        return jax.value_and_grad(lambda start: episode.objective(start, last_steps=last_steps), has_aux=True)(start)

    return Estimator("truncated", gradient)


def trajectory() -> Estimator:
    """Mean over inner steps t of the exact gradient of one step, `L_query(w_t − Δ(w_t))`, with w_t on the trajectory
    held constant: WarpGrad's objective for all that does not move within a task.

    The start of the weights that move gets the mean of those gradients with respect to w_t, as if each were the start.
    No product of Jacobians runs along the trajectory, so that gradients neither vanish nor explode with its length.

    References:
      Flennerhag, Rusu, Pascanu, Visin, Yin & Hadsell, Meta-Learning with Warped Gradient Descent, ICLR 2020,
      arXiv 1909.00025; the objective for the start is left open there.
    """

    def gradient(episode: Any, start: Any) -> Result:
        return jax.value_and_grad(lambda start: episode.objective(start, one_by_one=True), has_aux=True)(start)

    return Estimator("trajectory", gradient, weighs_steps=False)


def implicit(cg_steps: int = 10, damping: float = 0.0) -> Estimator:
    """The gradient by the implicit function theorem, as if the inner problem `min L(w) + λ/2 |w − θ|²` had been solved:
    `λ (H + λ)⁻¹ ∇L_query` for the start θ, with the Hessian H of the support loss at the adapted weights.

    What does not move within a task gets its gradient through the minimum too. The inverse is approached by conjugate
    gradients, from products with H alone; memory does not grow with the number of inner steps. A learned rule gets no
    gradient, since the minimum does not depend on it.

    Args:
      cg_steps: steps of conjugate gradients.
      damping: added to λ in the inverse; where H has negative curvature, more than that.

    Raises:
      OptionError: for less than one step or a negative damping.

    References:
      Rajeswaran, Finn, Kakade & Levine, Meta-Learning with Implicit Gradients, NeurIPS 2019, arXiv 1909.04630.
    """
    if cg_steps < 1 or not 0 <= damping < float("inf"):
        raise OptionError(f"cg_steps is {cg_steps} and damping {damping}; they must be at least 1 and 0.")

    def gradient(episode: Any, start: Any) -> Result:
        strength = episode.inner.method.proximal
        adapted = jax.lax.stop_gradient(episode.adapt(start))
        weights = adapted.weights

        def query(meta: Any, weights: Any) -> Any:
            return episode.judge(*episode.network(meta, weights, adapted.state), adapted.support_loss)

        def slope(meta: Any, weights: Any) -> Any:
            """Gradient of the inner problem: zero at its solution."""
            leaves = leaves_by_path(meta.params)
            inner = jax.grad(lambda weights: episode.support_loss(meta, weights, adapted.state))(weights)
            return {path: g + strength * (weights[path] - leaves[path]) for path, g in inner.items()}

        (loss, aux), (direct, wanted) = jax.value_and_grad(query, (0, 1), has_aux=True)(start.meta, weights)
        # linearised once: each step of conjugate gradients is one product
        _, hessian = jax.linearize(lambda weights: slope(start.meta, weights), weights)

        def damped(v: Any) -> Any:
            return jax.tree.map(lambda hv, v: hv + damping * v, hessian(v), v)

        solved, _ = cg(damped, wanted, maxiter=cg_steps, tol=0.0)
        (through,) = jax.vjp(lambda meta: slope(meta, weights), start.meta)[1](solved)
        found = jax.tree.map(jnp.subtract, direct, through)
        return (loss, aux), start._replace(meta=found, folded=jax.tree.map(jnp.zeros_like, start.folded))

    return Estimator("implicit", gradient, blind=("rule",), weighs_steps=False)


def displacement() -> Estimator:
    """The way that the weights have gone, `θ − w`, after the inner steps and one more on the query set, as a gradient.

    The last step is one of plain gradient descent with α, whatever the method makes of gradients before; leaves that do
    not move within a task go that step alone. It differentiates through nothing, and so gives no
    gradient to a fold or a learned rule.

    References:
      Nichol, Achiam & Schulman, On First-Order Meta-Learning Algorithms, 2018, arXiv 1803.02999 (Reptile).
    """

    def gradient(episode: Any, start: Any) -> Result:
        adapted = episode.adapt(start)

        def judge(params: Any) -> Any:
            return episode.judge(params, adapted.state, adapted.support_loss)

        (loss, aux), last = jax.value_and_grad(judge, has_aux=True)(adapted.params)
        way = jax.tree.map(lambda g: episode.inner_lr * g, last)
        before, step = leaves_by_path(start.meta.params), leaves_by_path(way)
        moved = {path: before[path] - w + step[path] for path, w in adapted.weights.items()}
        nothing = jax.tree.map(jnp.zeros_like, start)
        return (loss, aux), nothing._replace(meta=nothing.meta._replace(params=replace_leaves(way, moved)))

    return Estimator("displacement", gradient, blind=("fold", "rule"), weighs_steps=False)


ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "exact": exact,
    "first-order": first_order,
    "truncated": truncated,
    "implicit": implicit,
    "displacement": displacement,
    "trajectory": trajectory,
}
