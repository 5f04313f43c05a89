"""Segmentation: an MT-net learns from four images with masks which of three striped kinds of objects is meant.

pip install 'mtnets[sklearn]'        python examples/segmentation_shapes.py        (some minutes on two cores)

A task draws three kinds of stripes; each image has an object of each, a disc or a square, and the mask is that of the
first kind. Targets are dense, one for each pixel, and the loss is that of Dice.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.ensemble import RandomForestClassifier

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
TASKS = min(30, 4 * STEPS)  # for validation, and for the test
LONG = min(60, 10 * STEPS)  # inner steps of what was not meta-trained
RATES = (0.01, 0.03)  # of Adam there
SIZE, IMAGES, KINDS = 20, 4, 3  # pixels of a side; images of support and query; kinds of objects in each
RADIUS = (3.0, 4.5)  # of an object, pixels
PERIOD = (2.5, 6.0)  # of its stripes, pixels
NOISE = 0.1  # standard deviation of a pixel
FILTERS, DILATIONS = 12, (1, 2, 2)  # of the convolutions
QUARTERS = SIZE / 4 * np.array([[1, 1], [1, 3], [3, 1], [3, 3]])  # where objects are, give or take a pixel


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Scenes:
    """Images of striped objects."""

    def sample(self, key):
        """One task: images x `[images, 20, 20]`, masks y `[images, 20, 20]` of 0 and 1."""
        key_stripes, key_images = jax.random.split(key)
        angle, period = jax.random.uniform(key_stripes, (2, KINDS))
        frequency = 2 * jnp.pi / (PERIOD[0] + (PERIOD[1] - PERIOD[0]) * period)
        waves = frequency[:, None] * jnp.stack([jnp.cos(jnp.pi * angle), jnp.sin(jnp.pi * angle)], 1)
        x, y = jax.vmap(lambda key: self.draw(key, waves))(jax.random.split(key_images, 2 * IMAGES))
        return mtnets.Task(mtnets.Batch(x[:IMAGES], y[:IMAGES]), mtnets.Batch(x[IMAGES:], y[IMAGES:]))

    def draw(self, key, waves):
        """An image and its mask, for stripes `[kinds, 2]` in radians per pixel."""
        keys = jax.random.split(key, 3)
        random = jax.random.uniform(keys[0], (KINDS, 5))
        centres = jax.random.permutation(keys[1], QUARTERS)[:KINDS] + 2 * random[:, :2] - 1
        places = jnp.stack(jnp.meshgrid(jnp.arange(SIZE) + 0.5, jnp.arange(SIZE) + 0.5, indexing="ij"), -1)
        away = jnp.abs(places - centres[:, None, None])  # [kinds, height, width, 2]
        distance = jnp.where(random[:, 2, None, None] < 0.5, jnp.hypot(*jnp.moveaxis(away, -1, 0)), away.max(-1))
        radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * random[:, 3]
        objects = (distance < radius[:, None, None]).astype(places.dtype)
        stripes = jnp.sin(jnp.einsum("hwd,kd->khw", places, waves) + 2 * jnp.pi * random[:, 4, None, None])
        return (objects * stripes).sum(0) + NOISE * jax.random.normal(keys[2], (SIZE, SIZE)), objects[0]


def init(key):
    """The parameters of three convolutions and a linear layer, for a seed."""
    sizes = [(9, FILTERS), (9 * FILTERS, FILTERS), (9 * FILTERS, FILTERS), (FILTERS, 1)]
    keys = jax.random.split(key, len(sizes))
    weights = {f"w{i}": jax.random.normal(keys[i], size) * (2 / size[0]) ** 0.5 for i, size in enumerate(sizes)}
    return weights | {f"b{i}": jnp.zeros(size[1]) for i, size in enumerate(sizes)}


def apply(p, x):
    """Logits `[images, height, width]` of images of the same shape.

    A convolution is a product of 3 × 3 neighbours and a matrix, which is fast where each task has its own weights; an
    image goes on at its opposite side.
    """
    h = x[..., None]
    for i, dilation in enumerate(DILATIONS):
        shifts = [(a, b) for a in (-dilation, 0, dilation) for b in (-dilation, 0, dilation)]
        neighbours = jnp.concatenate([jnp.roll(h, shift, (1, 2)) for shift in shifts], -1)
        h = jax.nn.relu(neighbours @ p[f"w{i}"] + p[f"b{i}"])
    return (h @ p["w3"] + p["b3"])[..., 0]


def overlap(prediction, batch):
    """Intersection over union of a mask and the predicted one, `[images]`."""
    predicted, actual = prediction > 0, batch.y > 0.5
    return jnp.sum(predicted & actual, (1, 2)) / jnp.maximum(jnp.sum(predicted | actual, (1, 2)), 1)


def dice(prediction, batch):
    """Dice coefficient of the two masks, `[images]`."""
    iou = overlap(prediction, batch)
    return 2 * iou / (1 + iou)


def rows(name, learner, steps, rates=(None,)):
    """Prints Dice and IoU after some steps: each number of steps has the inner rate that does best there on validation
    tasks, which choose the number of steps of the last column too."""
    settings = [{"inner_steps": steps, "inner_lr": rate} for rate in rates]
    valid = [mtnets.evaluate(learner, tasks, TASKS, seed=1, **each).mean for each in settings]
    best = np.argmax(valid, 0)
    tests = [mtnets.evaluate(learner, tasks, TASKS, **each) for each in settings]
    for metric in METRICS:
        scores = np.stack([test.each[metric] for test in tests])[best, :, np.arange(steps + 1)].T
        show(f"{name}: {metric}", scores, [0, 1, 5, 10, int(np.max(valid, 0).argmax())])


def show(name, scores, steps):
    """Prints the means of scores `[tasks, steps + 1]` with their 95 % intervals."""
    estimate = mtnets.Estimate("score", scores, np.zeros_like(scores))
    cells = [f"{estimate.mean[s]:.3f} ± {estimate.ci95[s]:.3f}" for s in steps]
    tuned = f" ({steps[-1]})" if len(steps) > 1 else ""
    print(f"{name:28}" + "".join(f"{cell:>15}" for cell in cells).rjust(75) + tuned, flush=True)


def windows(x):
    """The 7 × 7 pixels around each pixel, `[pixels, 49]`."""
    shifts = [(a, b) for a in range(-3, 4) for b in range(-3, 4)]
    return np.stack([np.roll(x, shift, (1, 2)) for shift in shifts], -1).reshape(-1, len(shifts))


def by_forest(task):
    """Scores of a random forest that tells pixels apart by their neighbourhoods."""
    (x, y, *_), query = jax.tree.map(np.asarray, task)
    forest = RandomForestClassifier(50, min_samples_leaf=3, random_state=0).fit(windows(x), y.ravel())
    logits = forest.predict_proba(windows(query.x))[:, 1].reshape(query.y.shape) - 0.5
    return [float(metric(logits, query).mean()) for metric in (dice, overlap)]


METRICS = {"Dice": mtnets.Metric(dice, higher_is_better=True), "IoU": mtnets.Metric(overlap, higher_is_better=True)}
tasks = Scenes()
network = mtnets.wrap((apply, init(jax.random.key(0))), (SIZE, SIZE), init=init)
options = {"loss": "dice", "metrics": METRICS, "meta_batch": 4, "validate_every": 0, "clip_norm": 10.0}
options |= {"meta_lr": 0.003, "schedule": "cosine"}


def without_inner_loop(meta_steps):
    """A learner that adapts by Adam, its network trained on all tasks at once for so many steps."""
    adam = mtnets.maml(RATES[0], inner_optimiser="adam")
    return mtnets.meta_train(network, adam, tasks, inner_steps=0, meta_steps=meta_steps, **options)


learner = mtnets.meta_train(network, mtnets.mt_net(0.5), tasks, inner_steps=3, meta_steps=STEPS, **options)
print(f"Dice and IoU on {TASKS} tasks, ± 95 %, after inner steps")
print(f"{'':28}" + "".join(f"{steps:>15}" for steps in (0, 1, 5, 10, "tuned (steps)")))
rows("MT-net", learner, 10)
rows("pretrained, then Adam", without_inner_loop(STEPS), LONG, RATES)
rows("from nothing, Adam", without_inner_loop(0), LONG, RATES)
scores = np.array([by_forest(tasks.sample(key)) for key in jax.random.split(jax.random.key(2), TASKS)])
for i, metric in enumerate(METRICS):
    show(f"random forest: {metric}", scores[:, i : i + 1], [0])
