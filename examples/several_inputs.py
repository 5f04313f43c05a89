"""Several inputs, a series and a table: an MT-net learns the heat demand of a new house from ten of its days.

pip install 'mtnets[sklearn]'        python examples/several_inputs.py        (a minute or two on two cores)

A task is one house. A day of it is a series, the temperature of 24 hours, and a table: people at home, wind, sun. Its
demand follows from both: the house keeps heat for some hours and is heated below some temperature, leaks with the wind
and gains by its windows; these numbers are the house's own.
"""

import dataclasses
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
TEST_TASKS, VALIDATION_TASKS = min(200, 4 * STEPS), min(50, 4 * STEPS)
LONG = min(100, 10 * STEPS)  # inner steps of what was not meta-trained
RATES = (0.001, 0.003, 0.01)  # of Adam there
HOURS, SUPPORT, QUERY = 24, 10, 30
NOISE = 0.1  # standard deviation of a demand, in kilowatts


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Houses:
    """Random houses, and ten and thirty random days of each."""

    def sample(self, key):
        """One house: temperatures in tens of degrees `[days, 24]`, tables `[days, 3]`, demands `[days, 1]`."""
        keys = jax.random.split(key, 6)
        days = SUPPORT + QUERY
        mean, swing, shift = jax.random.normal(keys[0], (3, days, 1)) * jnp.array([0.8, 0.3, 1.0])[:, None, None]
        hours = jnp.arange(HOURS) / HOURS
        series = mean + swing * jnp.sin(2 * jnp.pi * hours + shift) + 0.1 * jax.random.normal(keys[1], (days, HOURS))
        table = jax.random.uniform(keys[2], (days, 3))  # people, wind, sun
        keeps, below, leaks, gains, warms = jax.random.uniform(
            keys[3], (5,), minval=jnp.array([1, 0, 0.2, 0.2, 0.1]), maxval=jnp.array([8, 1.5, 1, 1, 0.5])
        )
        felt = jnp.exp(-jnp.arange(HOURS)[::-1] / keeps)
        outside = series @ (felt / felt.sum())
        cold = jax.nn.softplus(4 * (below - outside)) / 4
        demand = cold * (1 + leaks * table[:, 1]) - gains * table[:, 2] - warms * table[:, 0]
        y = (demand + NOISE * jax.random.normal(keys[4], (days,)))[:, None]
        support, query = (
            mtnets.Batch({"series": series[part], "table": table[part]}, y[part])
            for part in (slice(0, SUPPORT), slice(SUPPORT, days))
        )
        return mtnets.Task(support, query)


class Network(nnx.Module):
    """Features of the series, then layers for these and the table together."""

    def __init__(self, rngs):
        self.series = nnx.Linear(HOURS, 16, rngs=rngs)
        self.both = nnx.Linear(16 + 3, 40, rngs=rngs)
        self.hidden = nnx.Linear(40, 40, rngs=rngs)
        self.head = nnx.Linear(40, 1, rngs=rngs)

    def __call__(self, series, table):
        both = jnp.concatenate([self.series(series), table], axis=1)
        return self.head(nnx.relu(self.hidden(nnx.relu(self.both(both)))))


def row(name, learner, steps, rates=(None,)):
    """Prints the error after some steps: each number of steps has the inner rate that does best there on validation
    tasks, which choose the number of steps of the last column too."""
    settings = [{"inner_steps": steps, "inner_lr": rate} for rate in rates]
    valid = [mtnets.evaluate(learner, tasks, VALIDATION_TASKS, seed=1, **each).mean for each in settings]
    tests = [mtnets.evaluate(learner, tasks, TEST_TASKS, **each).scores for each in settings]
    scores = np.stack(tests)[np.argmin(valid, 0), :, np.arange(steps + 1)].T
    show(name, scores, [0, 1, 5, 10, int(np.min(valid, 0).argmin())])


def show(name, scores, steps):
    """Prints the means of squared errors `[tasks, steps + 1]` with their 95 % intervals."""
    estimate = mtnets.Estimate("loss", scores, scores)
    cells = [f"{estimate.mean[s]:.3f} ± {estimate.ci95[s]:.3f}" for s in steps]
    tuned = f" ({steps[-1]})" if len(steps) > 1 else ""
    print(f"{name:24}" + "".join(f"{cell:>15}" for cell in cells).rjust(75) + tuned, flush=True)


def of_scikit_learn(name, make):
    """Prints the error of a model that sees one house alone."""
    houses = [jax.tree.map(np.asarray, tasks.sample(key)) for key in jax.random.split(jax.random.key(2), TEST_TASKS)]
    errors = []
    for support, query in houses:
        x, x_query = (np.concatenate([part.x["series"], part.x["table"]], 1) for part in (support, query))
        prediction = make().fit(x, support.y[:, 0]).predict(x_query)
        errors.append(np.mean((prediction - query.y[:, 0]) ** 2))
    show(name, np.array(errors)[:, None], [0])


tasks = Houses()
network = mtnets.wrap(Network, {"series": (HOURS,), "table": (3,)}, norm="none")
options = {"loss": "mse", "meta_batch": 4, "validate_every": 0, "clip_norm": 10.0, "schedule": "cosine"}


def without_inner_loop(meta_steps):
    """A learner that adapts by Adam, its network trained on all tasks at once for so many steps."""
    adam = mtnets.maml(RATES[0], inner_optimiser="adam")
    return mtnets.meta_train(network, adam, tasks, inner_steps=0, meta_steps=meta_steps, **options)


learner = mtnets.meta_train(network, mtnets.mt_net(0.05), tasks, inner_steps=5, meta_steps=STEPS, **options)
print(f"Squared error in kW² on {TEST_TASKS} tasks, ± 95 %, after inner steps")
print(f"{'':24}" + "".join(f"{steps:>15}" for steps in (0, 1, 5, 10, "tuned (steps)")))
row("MT-net", learner, 10)
row("pretrained, then Adam", without_inner_loop(STEPS), LONG, RATES)
row("from nothing, Adam", without_inner_loop(0), LONG, RATES)
of_scikit_learn("ridge regression", lambda: RidgeCV(np.logspace(-3, 3, 13)))
warnings.simplefilter("ignore", ConvergenceWarning)  # from a kernel whose best width is at a bound
kernel = ConstantKernel() * RBF(3.0) + WhiteKernel(NOISE**2, "fixed")
of_scikit_learn("Gaussian process", lambda: GaussianProcessRegressor(kernel, normalize_y=True))
