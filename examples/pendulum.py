"""System identification: an MT-net learns the motion of a new pendulum from two seconds of it.

pip install 'mtnets[sklearn]'        python examples/pendulum.py        (three or four minutes on a busy core)

A task is a pendulum of unknown length, mass and damping, driven by a known torque. The network is the acceleration.
What a task makes small is the error of one Runge-Kutta step with it; what training makes small is the error of another
whole trajectory, rolled out from its first state alone.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
TASKS = min(100, 4 * STEPS)  # for validation, and for the test
LONG = min(200, 10 * STEPS)  # inner steps of what was not meta-trained
RATES = (0.01, 0.03)  # of Adam there
DT, LENGTH = 0.1, 20  # of a step, s; steps of a trajectory
GRAVITY = 9.81  # m/s²
NOISE = 0.01  # standard deviation of measured angles (rad) and velocities (rad/s)
SMALLEST, LARGEST = np.array([0.5, 0.5, 0.1]), np.array([1.5, 1.5, 0.5])  # length, m; mass, kg; damping, N m s
START, TORQUE = np.array([2.0, 2.0]), 3.0  # largest angle, rad; velocity, rad/s; torque, N m
WIDTH, UNIT = 40, 10.0  # of the network; accelerations are some 10 rad/s²


def runge_kutta(acceleration, state, torque):
    """States `[examples, (angle, velocity)]` after one step, with torques `[examples, 1]` held."""

    def slope(s):
        return jnp.concatenate([s[:, 1:], acceleration(jnp.concatenate([s, torque], 1))], 1)

    a = slope(state)
    b = slope(state + DT / 2 * a)
    c = slope(state + DT / 2 * b)
    return state + DT / 6 * (a + 2 * b + 2 * c + slope(state + DT * c))


def trajectory(acceleration, start, torques):
    """States `[steps, 2]` after each step from a start `[2]`, with torques `[steps]`."""

    def step(state, torque):
        state = runge_kutta(acceleration, state, torque.reshape(1, 1))
        return state, state[0]

    return jax.lax.scan(step, start[None], torques)[1]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Pendulums:
    """`θ″ = (τ − c θ′) / (m l²) − g sin θ / l`, with l, m, c even between their bounds."""

    def sample(self, key):
        """One task: x `[steps, (angle, velocity, torque)]`; y `[steps, 3]`, the next angle and velocity and the
        acceleration. Support states are measured, those of the query set are exact."""
        keys = jax.random.split(key, 4)
        length, mass, damping = jax.random.uniform(keys[0], (3,), minval=SMALLEST, maxval=LARGEST)

        def acceleration(x):
            angle, velocity, torque = x[:, :1], x[:, 1:2], x[:, 2:]
            return (torque - damping * velocity) / (mass * length**2) - GRAVITY / length * jnp.sin(angle)

        def batch(start, torques, noise):
            states = jnp.concatenate([start[None], trajectory(acceleration, start, torques)])
            truth = acceleration(jnp.concatenate([states[:-1], torques[:, None]], 1))
            states += noise
            x = jnp.concatenate([states[:-1], torques[:, None]], 1)
            return mtnets.Batch(x, jnp.concatenate([states[1:], truth], 1))

        starts = START * jax.random.uniform(keys[1], (2, 2), minval=-1)
        torques = TORQUE * jax.random.uniform(keys[2], (2, LENGTH), minval=-1)
        noise = NOISE * jax.random.normal(keys[3], (LENGTH + 1, 2))
        return mtnets.Task(batch(starts[0], torques[0], noise), batch(starts[1], torques[1], 0.0))


def one_step(predict, batch, key):
    """Mean square error of the next states, per time."""
    return jnp.mean(((runge_kutta(predict, batch.x[:, :2], batch.x[:, 2:]) - batch.y[:, :2]) / DT) ** 2)


def rolled_out(predict, batch, key):
    """Root mean square error of the angle along the trajectory from its first state, rad."""
    angles = trajectory(predict, batch.x[0, :2], batch.x[:, 2])[:, 0]
    return jnp.sqrt(jnp.mean((angles - batch.y[:, 0]) ** 2))


def of_acceleration(prediction, batch):
    """Error of the acceleration at each state, rad/s²."""
    return jnp.abs(prediction - batch.y[:, 2:])[:, 0]


def init(key):
    """The parameters of a network with two hidden layers, for a seed."""
    sizes = [(4, WIDTH), (WIDTH, WIDTH), (WIDTH, 1)]
    keys = jax.random.split(key, len(sizes))
    weights = {f"w{i}": jax.random.normal(keys[i], size) / size[0] ** 0.5 for i, size in enumerate(sizes)}
    return weights | {f"b{i}": jnp.zeros(size[1]) for i, size in enumerate(sizes)}


def apply(p, x):
    """Accelerations `[examples, 1]`, rad/s², at x `[examples, (angle, velocity, torque)]`."""
    h = jnp.concatenate([jnp.sin(x[:, :1]), jnp.cos(x[:, :1]), x[:, 1:]], 1)
    h = jnp.tanh(jnp.tanh(h @ p["w0"] + p["b0"]) @ p["w1"] + p["b1"])
    return UNIT * (h @ p["w2"] + p["b2"])


def rows(name, learner, steps, rates=(None,)):
    """Prints both errors after some steps: each number of steps has the inner rate that does best there on validation
    tasks, which choose the number of steps of the last column too."""
    settings = [{"inner_steps": steps, "inner_lr": rate} for rate in rates]
    valid = [mtnets.evaluate(learner, tasks, TASKS, seed=1, **each).of("loss").mean for each in settings]
    best = np.argmin(valid, 0)
    tests = [mtnets.evaluate(learner, tasks, TASKS, **each) for each in settings]
    for metric in ("loss", "acceleration"):
        scores = np.stack([test.each[metric] for test in tests])[best, :, np.arange(steps + 1)].T
        show(name, metric, scores, [0, 1, 5, 10, int(np.min(valid, 0).argmin())])


def show(name, metric, scores, steps):
    """Prints the means of scores `[tasks, steps + 1]` with their 95 % intervals."""
    estimate = mtnets.Estimate("error", scores, np.zeros_like(scores))
    cells = [f"{estimate.mean[s]:.3f} ± {estimate.ci95[s]:.3f}" for s in steps]
    name += {"loss": ": angle", "acceleration": ": acceleration"}[metric]
    tuned = f" ({steps[-1]})" if len(steps) > 1 else ""
    print(f"{name:38}" + "".join(f"{cell:>15}" for cell in cells).rjust(75) + tuned, flush=True)


def features(x):
    """What the acceleration of a pendulum is linear in, each from −1 to 1 or so: angle, velocity and torque."""
    return np.concatenate([np.sin(x[:, :1]), x[:, 1:2] / 5, x[:, 2:] / TORQUE], 1)


def gaussian_process(x, y):
    """A Gaussian process of these features, its kernel fitted to the task."""
    kernel = ConstantKernel() * RBF(3.0, (0.1, 1e3)) + WhiteKernel(0.01, (1e-6, 1.0))
    model = GaussianProcessRegressor(kernel, normalize_y=True).fit(features(x), y)
    return lambda x: np.asarray(model.predict(features(x))).reshape(-1, 1)


def known_equation(x, y):
    """The three coefficients of the equation, by least squares."""
    coefficients = np.linalg.lstsq(features(x), y)[0]
    return lambda x: features(x) @ coefficients[:, None]


def of_model(name, fit):
    """Prints the errors of a model of the acceleration, fitted to the slopes of the measured velocity at the middle of
    each step."""
    errors = []
    for key in jax.random.split(jax.random.key(2), TASKS):
        (x, y, *_), query = jax.tree.map(np.float64, tasks.sample(key))
        middle = np.concatenate([(x[:, :2] + y[:, :2]) / 2, x[:, 2:]], 1)
        predict = fit(middle, (y[:, 1] - x[:, 1]) / DT)
        state, angles = query.x[:1, :2], []
        for torque in query.x[:, 2:, None]:
            state = np.asarray(runge_kutta(predict, state, torque[0][None]))
            angles.append(state[0, 0])
        angle = np.sqrt(np.mean((angles - query.y[:, 0]) ** 2))
        errors.append([angle, of_acceleration(predict(query.x), query).mean()])
    for metric, scores in zip(("loss", "acceleration"), np.transpose(errors), strict=True):
        show(name, metric, scores[:, None], [0])


tasks = Pendulums()
network = mtnets.wrap((apply, init(jax.random.key(0))), (3,), init=init)
options = {"loss": rolled_out, "inner_loss": one_step, "metrics": {"acceleration": of_acceleration}}
options |= {"meta_batch": 4, "validate_every": 0, "clip_norm": 10.0, "meta_lr": 0.003, "schedule": "cosine"}


def without_inner_loop(meta_steps):
    """A learner that adapts by Adam, its network trained on all tasks at once for so many steps."""
    adam = mtnets.maml(RATES[0], inner_optimiser="adam")
    return mtnets.meta_train(network, adam, tasks, inner_steps=0, meta_steps=meta_steps, **options)


method = mtnets.mt_net(0.01, rates="weight", inner_clip=10.0)
learner = mtnets.meta_train(network, method, tasks, inner_steps=5, meta_steps=STEPS, **options)
print(f"Errors of the angle (rad) and of the acceleration (rad/s²) on {TASKS} tasks, ± 95 %, after inner steps")
print(f"{'':38}" + "".join(f"{steps:>15}" for steps in (0, 1, 5, 10, "tuned (steps)")))
rows("MT-net", learner, 10)
rows("pretrained, then Adam", without_inner_loop(STEPS), LONG, RATES)
rows("from nothing, Adam", without_inner_loop(0), LONG, RATES)
of_model("Gaussian process", gaussian_process)
of_model("known equation", known_equation)
