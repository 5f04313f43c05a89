"""Several labels at once: an MT-net learns the five tags of a new user from twenty items that the user has tagged.

pip install 'mtnets[sklearn]'        python examples/multi_label_tags.py        (three or four minutes on a busy core)

A task is one user. An item has 4 properties that nobody sees, and 20 features that depend on them in the same bent way
for all users; a user's tag is a yes where a direction of properties, the user's own, exceeds a threshold. What users
share, the bend, can be learned from other users; what they do not, from twenty items.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
TEST_TASKS, VALIDATION_TASKS = min(100, 4 * STEPS), min(50, 4 * STEPS)
LONG = min(100, 10 * STEPS)  # inner steps of what was not meta-trained
RATES = (0.001, 0.003, 0.01)  # of Adam there
PENALTIES = (0.1, 1.0, 10.0)  # C of scikit-learn's models
PROPERTIES, FEATURES, TAGS, WAVES = 4, 20, 5, 64
SUPPORT, QUERY = 20, 50  # items of a task
FIXED = np.random.default_rng(0)  # the same items for all users
FREQUENCIES, PHASES = FIXED.normal(size=(PROPERTIES, WAVES)), FIXED.uniform(0, 2 * np.pi, WAVES)
MIXING = FIXED.normal(size=(WAVES, FEATURES)) / WAVES**0.5
NOISE, SPREAD = 0.1, 0.5  # standard deviations, of features and of thresholds


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Users:
    """Random directions and thresholds of tags."""

    def sample(self, key):
        """One user: items x `[items, 20]`, tags y `[items, 5]` of 0 and 1."""
        keys = jax.random.split(key, 4)
        properties = jax.random.normal(keys[0], (SUPPORT + QUERY, PROPERTIES))
        x = jnp.sin(properties @ FREQUENCIES + PHASES) @ MIXING
        x += NOISE * jax.random.normal(keys[1], x.shape)
        directions = jax.random.normal(keys[2], (PROPERTIES, TAGS))
        scores = properties @ (directions / jnp.linalg.norm(directions, axis=0))
        y = (scores > SPREAD * jax.random.normal(keys[3], (TAGS,))).astype(x.dtype)
        return mtnets.Task(mtnets.Batch(x[:SUPPORT], y[:SUPPORT]), mtnets.Batch(x[SUPPORT:], y[SUPPORT:]))


def rows(name, learner, steps, rates=(None,)):
    """Prints AUROC and F1 after some steps: each number of steps has the inner rate that does best there on validation
    tasks, which choose the number of steps of the last column too."""
    settings = [{"inner_steps": steps, "inner_lr": rate} for rate in rates]
    valid = [mtnets.evaluate(learner, tasks, VALIDATION_TASKS, seed=1, **each).mean for each in settings]
    best = np.argmax(valid, 0)
    tests = [mtnets.evaluate(learner, tasks, TEST_TASKS, **each) for each in settings]
    for metric in ("auroc", "f1"):
        scores = np.stack([test.each[metric] for test in tests])[best, :, np.arange(steps + 1)].T
        show(f"{name}: {metric}", scores, [0, 1, 5, 10, int(np.max(valid, 0).argmax())])


def show(name, scores, steps):
    """Prints the means of scores `[tasks, steps + 1]` with their 95 % intervals."""
    estimate = mtnets.Estimate("score", scores, np.zeros_like(scores))
    cells = [f"{estimate.mean[s]:.3f} ± {estimate.ci95[s]:.3f}" for s in steps]
    tuned = f" ({steps[-1]})" if len(steps) > 1 else ""
    print(f"{name:30}" + "".join(f"{cell:>15}" for cell in cells).rjust(75) + tuned, flush=True)


def alone(make, user):
    """AUROC and F1 of a model of scikit-learn for each tag, by the metrics of mtnets."""
    (x, y, *_), query = jax.tree.map(np.asarray, user)
    logits = np.zeros(query.y.shape, np.float32)
    for tag in range(TAGS):
        if len(set(y[:, tag])) == 2:
            logits[:, tag] = make().fit(x, y[:, tag]).decision_function(query.x)
        else:  # an answer that is always the same
            logits[:, tag] = 2 * y[0, tag] - 1
    return [float(mtnets.METRICS[metric](jnp.asarray(logits), query)) for metric in ("auroc", "f1")]


def of_scikit_learn(name, family):
    """Prints the scores of a kind of model, at the penalty that does best on validation tasks."""
    users = [tasks.sample(key) for key in jax.random.split(jax.random.key(2), VALIDATION_TASKS + TEST_TASKS)]
    valid, test = users[:VALIDATION_TASKS], users[VALIDATION_TASKS:]
    models = [lambda c=c: make_pipeline(StandardScaler(), family(C=c)) for c in PENALTIES]
    best = max(models, key=lambda make: np.nanmean([alone(make, user)[0] for user in valid]))
    for metric, scores in zip(("auroc", "f1"), np.transpose([alone(best, user) for user in test]), strict=True):
        show(f"{name}: {metric}", scores[:, None], [0])


tasks = Users()
network = mtnets.models.mlp(FEATURES, 64, 64, TAGS, init_std=0.15)
options = {"loss": "binary", "metrics": {"auroc": "auroc", "f1": "f1"}}
options |= {"meta_batch": 4, "validate_every": 0, "clip_norm": 10.0, "schedule": "cosine"}


def without_inner_loop(meta_steps):
    """A learner that adapts by Adam, its network trained on all tasks at once for so many steps."""
    adam = mtnets.maml(RATES[0], inner_optimiser="adam")
    return mtnets.meta_train(network, adam, tasks, inner_steps=0, meta_steps=meta_steps, **options)


learner = mtnets.meta_train(network, mtnets.mt_net(0.5), tasks, inner_steps=5, meta_steps=STEPS, **options)
print(f"AUROC and F1 (means over tags) on {TEST_TASKS} tasks, ± 95 %, after inner steps")
print(f"{'':30}" + "".join(f"{steps:>15}" for steps in (0, 1, 5, 10, "tuned (steps)")))
rows("MT-net", learner, 10)
rows("pretrained, then Adam", without_inner_loop(STEPS), LONG, RATES)
rows("from nothing, Adam", without_inner_loop(0), LONG, RATES)
of_scikit_learn("logistic regression", LogisticRegression)
of_scikit_learn("support vector machine", SVC)
