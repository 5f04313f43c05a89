"""Poisson's equation, −u″ = f on [0, 1] with u(0) = u(1) = 0: a T-net learns to solve it for a forcing term that it has
never seen, in ten steps on the residual of the equation.

python examples/pinn_poisson.py        (three or four minutes on a busy core)

A task is one f, known at 20 points. Neither training nor a task is shown a solution: the loss differentiates the
network by its inputs (Raissi, Perdikaris & Karniadakis, Physics-Informed Neural Networks, 2019). Solutions, which are
known here, judge the result.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import Legendre, Polynomial

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
TEST_TASKS, VALIDATION_TASKS = min(100, 4 * STEPS), min(25, 4 * STEPS)
LONG = min(500, 10 * STEPS)  # inner steps of what was not meta-trained
RATES = (0.003, 0.01, 0.03)  # of Adam there
MODES, POINTS, WIDTH = 4, 20, 40
UNKNOWNS = 10  # of the polynomial
K = np.arange(1, MODES + 1)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Forcings:
    """`f(x) = Σₖ cₖ (kπ)² sin kπx`, whose solution is `u(x) = Σₖ cₖ sin kπx`, with `cₖ ~ N(0, k⁻⁴)`."""

    def sample(self, key):
        """One task: x `[points, 1]`; y `[points, 2]`, the forcing term and the solution."""
        key_c, key_x = jax.random.split(key)
        c = jax.random.normal(key_c, (MODES,)) / K**2
        x = jax.random.uniform(key_x, (2, POINTS, 1))
        y = jnp.sin(np.pi * K * x) @ jnp.stack([c * (np.pi * K) ** 2, c], 1)
        return mtnets.Task(mtnets.Batch(x[0], y[0]), mtnets.Batch(x[1], y[1]))


def equation(predict, batch, key):
    """Mean square of the residual, in units of π², and of the values at both ends."""

    def u(x):
        return predict(x.reshape(1, 1))[0, 0]

    residual = (jax.vmap(jax.grad(jax.grad(u)))(batch.x[:, 0]) + batch.y[:, 0]) / np.pi**2
    return jnp.mean(residual**2) + jnp.mean(predict(jnp.array([[0.0], [1.0]])) ** 2)


def error(prediction, batch):
    """Distance from the solution, relative to its size."""
    u = batch.y[:, 1:]
    return jnp.sqrt(jnp.sum((prediction - u) ** 2) / jnp.sum(u**2))


def init(key):
    """The parameters of a network with two hidden layers, for a seed."""
    first, second, third, bias = jax.random.split(key, 4)
    return {
        "w0": 5 * jax.random.normal(first, (1, WIDTH)),  # as many bends in [0, 1] as a solution has
        "b0": jax.random.uniform(bias, (WIDTH,), minval=-np.pi, maxval=np.pi),
        "w1": jax.random.normal(second, (WIDTH, WIDTH)) / WIDTH**0.5,
        "b1": jnp.zeros(WIDTH),
        "w2": jax.random.normal(third, (WIDTH, 1)) / WIDTH**0.5,
        "b2": jnp.zeros(1),
    }


def apply(p, x):
    """u at x `[points, 1]`."""
    return jnp.tanh(jnp.tanh(x @ p["w0"] + p["b0"]) @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]


def rows(name, learner, steps, rates=(None,)):
    """Prints the errors after some steps: each number of steps has the inner rate that does best there on validation
    tasks, which choose the number of steps of the last column too."""
    settings = [{"inner_steps": steps, "inner_lr": rate} for rate in rates]
    valid = [mtnets.evaluate(learner, tasks, VALIDATION_TASKS, seed=1, **each).mean for each in settings]
    tests = [mtnets.evaluate(learner, tasks, TEST_TASKS, **each).scores for each in settings]
    scores = np.stack(tests)[np.argmin(valid, 0), :, np.arange(steps + 1)].T
    show(name, scores, [0, 1, 5, 10, int(np.min(valid, 0).argmin())])


def show(name, scores, steps):
    """Prints the means of scores `[tasks, steps + 1]` with their 95 % intervals."""
    estimate = mtnets.Estimate("error", scores, scores)
    cells = [f"{estimate.mean[s]:.3f} ± {estimate.ci95[s]:.3f}" for s in steps]
    tuned = f" ({steps[-1]})" if len(steps) > 1 else ""
    print(f"{name:24}" + "".join(f"{cell:>15}" for cell in cells).rjust(75) + tuned, flush=True)


def by_polynomial(task):
    """Error of the polynomial, zero at both ends, that fits the equation best at its points: linear least squares."""
    ends = Polynomial([0, 1, -1])
    basis = [ends * Legendre.basis(k, [0, 1]).convert(kind=Polynomial) for k in range(UNKNOWNS)]
    (x, y, *_), query = jax.tree.map(np.float64, task)
    a = np.linalg.lstsq(np.hstack([-p.deriv(2)(x) for p in basis]), y[:, 0])[0]
    return error(np.hstack([p(query.x) for p in basis]) @ a[:, None], query)


tasks = Forcings()
network = mtnets.wrap((apply, init(jax.random.key(0))), (1,), init=init)
options = {"loss": equation, "metrics": {"error": mtnets.Metric(error, higher_is_better=False)}}
options |= {"meta_batch": 4, "validate_every": 0, "clip_norm": 10.0, "meta_lr": 0.003, "schedule": "cosine"}


def without_inner_loop(meta_steps):
    """A learner that adapts by Adam, its network trained on all tasks at once for so many steps."""
    adam = mtnets.maml(RATES[0], inner_optimiser="adam")
    return mtnets.meta_train(network, adam, tasks, inner_steps=0, meta_steps=meta_steps, **options)


method = mtnets.t_net(0.01, rates="weight", inner_clip=10.0)
learner = mtnets.meta_train(network, method, tasks, inner_steps=5, meta_steps=STEPS, **options)
print(f"Relative error on {TEST_TASKS} tasks, ± 95 %, after inner steps")
print(f"{'':24}" + "".join(f"{steps:>15}" for steps in (0, 1, 5, 10, "tuned (steps)")))
rows("T-net", learner, 10)
rows("pretrained, then Adam", without_inner_loop(STEPS), LONG, RATES)
rows("from nothing, Adam", without_inner_loop(0), LONG, RATES)
scores = [[by_polynomial(tasks.sample(key))] for key in jax.random.split(jax.random.key(2), TEST_TASKS)]
show("polynomial, least squares", np.array(scores), [0])
