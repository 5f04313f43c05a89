"""Neural fields: a network learns one drawn character, a grey value for each place, from a quarter of its pixels.

pip install 'mtnets[sklearn]'        python examples/neural_field.py        (some minutes on two cores)

A task is one image of 28 × 28 pixels, 196 of which are known; the others judge it, in decibels (PSNR). Characters of
test tasks are in no training task. The idea is that of Tancik et al., Learned Initializations for Optimizing
Coordinate-Based Neural Representations, CVPR 2021; sines of random directions (Fourier features) are the first layer.
"""

import dataclasses
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
TASKS = min(100, 4 * STEPS)  # for validation, and for the test
LONG = min(100, 10 * STEPS)  # inner steps of what was not meta-trained
RATES = (0.003, 0.01)  # of Adam there
SIZE, KNOWN = 28, 196  # pixels: side of an image, and known ones
WAVES, WIDTH = 32, 64
DIRECTIONS = 5.0 * np.random.default_rng(0).normal(size=(2, WAVES))  # radians per half side
KERNEL = ConstantKernel() * Matern(0.15, (0.03, 1.0), nu=1.5) + WhiteKernel(0.01)  # of the Gaussian process


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fields:
    """Images of a distribution of characters, one for each task."""

    characters: mtnets.Distribution

    def sample(self, key):
        """One task: places x `[pixels, 2]` from −1 to 1, grey values y `[pixels, 1]` from 0 to 1."""
        key_image, key_order = jax.random.split(key)
        image = self.characters.sample(key_image).support.x[0]
        centres = (2 * jnp.arange(SIZE) + 1) / SIZE - 1
        x = jnp.stack(jnp.meshgrid(centres, centres, indexing="ij"), -1).reshape(-1, 2)
        order = jax.random.permutation(key_order, SIZE**2)
        x, y = x[order], image.reshape(-1, 1)[order]
        return mtnets.Task(mtnets.Batch(x[:KNOWN], y[:KNOWN]), mtnets.Batch(x[KNOWN:], y[KNOWN:]))


def init(key):
    """The parameters for a seed."""
    sizes = [(2 * WAVES, WIDTH), (WIDTH, WIDTH), (WIDTH, 1)]
    keys = jax.random.split(key, len(sizes))
    weights = {f"w{i}": jax.random.normal(keys[i], size) * (2 / size[0]) ** 0.5 for i, size in enumerate(sizes)}
    return weights | {f"b{i}": jnp.zeros(size[1]) for i, size in enumerate(sizes)}


def apply(p, x):
    """Grey values `[pixels, 1]` at places `[pixels, 2]`."""
    waves = x @ DIRECTIONS
    h = jnp.concatenate([jnp.sin(waves), jnp.cos(waves)], 1)
    h = jax.nn.relu(jax.nn.relu(h @ p["w0"] + p["b0"]) @ p["w1"] + p["b1"])
    return h @ p["w2"] + p["b2"]


def rows(name, learner, steps, rates=(None,)):
    """Prints the PSNR after some steps: each number of steps has the inner rate that does best there on validation
    tasks, which choose the number of steps of the last column too."""
    settings = [{"inner_steps": steps, "inner_lr": rate} for rate in rates]
    valid = [mtnets.evaluate(learner, tasks.validation, TASKS, **each).mean for each in settings]
    tests = [mtnets.evaluate(learner, tasks, TASKS, **each).scores for each in settings]
    scores = np.stack(tests)[np.argmax(valid, 0), :, np.arange(steps + 1)].T
    show(name, scores, [0, 1, 5, 10, int(np.max(valid, 0).argmax())])


def show(name, scores, steps):
    """Prints the means of scores `[tasks, steps + 1]` with their 95 % intervals."""
    estimate = mtnets.Estimate("psnr", scores, np.zeros_like(scores))
    cells = [f"{estimate.mean[s]:.2f} ± {estimate.ci95[s]:.2f}" for s in steps]
    tuned = f" ({steps[-1]})" if len(steps) > 1 else ""
    print(f"{name:24}" + "".join(f"{cell:>15}" for cell in cells).rjust(75) + tuned, flush=True)


def by_process(task):
    """PSNR of a Gaussian process through the known pixels, its kernel fitted to them."""
    (x, y, *_), query = task
    process = GaussianProcessRegressor(KERNEL, normalize_y=True).fit(x, y[:, 0])
    return float(mtnets.METRICS["psnr"](jnp.asarray(process.predict(query.x)).reshape(-1, 1), query))


glyphs = mtnets.tasks.glyphs(ways=2, shots=1, queries=1)
train, validation, test = map(Fields, (glyphs.train, glyphs.validation, glyphs.test))
network = mtnets.wrap((apply, init(jax.random.key(0))), (2,), init=init)
recipe = mtnets.tasks.Recipe(inner_lr=0.1, inner_steps=3, meta_batch=4, meta_steps=STEPS)
tasks = mtnets.tasks.Family(train, validation, test, "mse", recipe, lambda: network)
options = {"metrics": {"psnr": "psnr"}, "validate_every": 0, "clip_norm": 10.0, "meta_lr": 0.003, "schedule": "cosine"}


def without_inner_loop(meta_steps):
    """A learner that adapts by Adam, its network trained on all tasks at once for so many steps."""
    adam = mtnets.maml(RATES[0], inner_optimiser="adam")
    return mtnets.meta_train(network, adam, tasks, inner_steps=0, meta_steps=meta_steps, **options)


method = mtnets.maml(0.1, rates="weight", inner_clip=10.0)
learner = mtnets.meta_train(network, method, tasks, **options)
print(f"PSNR on {TASKS} tasks, dB, ± 95 %, after inner steps")
print(f"{'':24}" + "".join(f"{steps:>15}" for steps in (0, 1, 5, 10, "tuned (steps)")))
rows("MAML, learned rates", learner, 10)
rows("pretrained, then Adam", without_inner_loop(STEPS), LONG, RATES)
rows("from nothing, Adam", without_inner_loop(0), LONG, RATES)
warnings.simplefilter("ignore", ConvergenceWarning)  # from a kernel whose best noise is at a bound
scores = [[by_process(test.sample(key))] for key in jax.random.split(jax.random.key(2), TASKS)]
show("Gaussian process", np.array(scores), [0])
