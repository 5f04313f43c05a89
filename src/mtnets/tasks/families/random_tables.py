"""Random tabular tasks: what a learner for small tables is trained on, and how a table becomes its inputs."""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import DataError, OptionError
from mtnets.inner.task import Batch, Task
from mtnets.networks.model import Model
from mtnets.networks.models import mlp
from mtnets.tasks.families.sinusoid import between, check_counts
from mtnets.tasks.family import Family, Recipe

SOFT_LIMIT = 4.0  # spreads from the mean, beyond which values are pressed together
FACTORS = 8  # that correlated features have in common
HIDDEN = 16  # units of random networks


class Scale(NamedTuple):
    """Where the columns of a table lie.

    Attributes:
      mean: of each column, `[columns]`.
      spread: standard deviation of each column, shrunk, `[columns]`; infinite for one that does not vary.
    """

    mean: Any
    spread: Any


def scale_of(x: Any, weights: Any = None) -> Scale:
    """Mean and spread of the columns of a table `[rows, columns]` (NumPy or JAX).

    The standard deviation of a few rows is mostly chance. Its logarithms are drawn toward their mean over the columns
    by the share of their variance that chance explains (James-Stein): columns of one unit (pixels) get nearly one
    spread, columns of very different units keep their own.

    Args:
      x: the table.
      weights: 1 for each row that counts, 0 for the others, `[rows]`; all count unless given.
    """
    xp = x.__array_namespace__()
    weights = (xp.ones(len(x), dtype=x.dtype) if weights is None else weights)[:, None]
    rows = weights.sum()
    mean = (weights * x).sum(0) / rows
    free = xp.maximum(rows - 1, 1)
    variance = (weights * (x - mean) ** 2).sum(0) / free
    varies = variance > (10 * xp.finfo(x.dtype).eps * mean) ** 2  # more than rounding does
    log = xp.where(varies, xp.log(xp.where(varies, variance, 1)) / 2, 0)
    columns = xp.maximum(varies.sum(), 1)
    middle = log.sum() / columns
    between_columns = xp.where(varies, (log - middle) ** 2, 0).sum() / columns
    chance = (free + 1) / (2 * free**2)  # variance of the logarithm of a standard deviation of normal numbers, nearly
    kept = xp.maximum(between_columns - chance, 0) / xp.maximum(between_columns, 1e-6)
    return Scale(mean, xp.where(varies, xp.exp(middle + kept * (log - middle)), xp.inf))


def standardise(x: Any, scale: Scale, features: int, real: Any = None) -> Any:
    """A table as inputs of a network: centred, in units of the spread, padded with zeros.

    Values far outside are pressed together (`4 tanh(z / 4)`), and everything is multiplied by √(features / real), so
    that the length of a row does not depend on how many columns are real.

    Args:
      x: the table, `[rows, columns]` (NumPy or JAX).
      scale: of the support rows.
      features: columns of the network.
      real: how many columns are real, if x has been padded already; all unless given.

    Raises:
      DataError: if the table has more columns than the network.
    """
    if x.shape[1] > features:
        raise DataError(
            f"X has {x.shape[1]} features, more than the {features} of this learner; choose among them first (for "
            "example sklearn.feature_selection.SelectKBest, or sklearn.decomposition.PCA), or use a learner of yours."
        )
    xp = x.__array_namespace__()
    z = SOFT_LIMIT * xp.tanh((x - scale.mean) / scale.spread / SOFT_LIMIT)
    z = z * (features / (x.shape[1] if real is None else real)) ** 0.5
    return xp.pad(z, ((0, 0), (0, features - x.shape[1])))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Tabular:
    """Random tables: rows of correlated features, some irrelevant, of one unit or many, and a random relation to y.

    Classes are clusters of one shape or of several, or the largest of linear or network scores, or ranges of one score.
    Targets of regression are linear, additive or a random network's, with noise. Every task has its own number of
    features, of classes and of support rows; rows are repeated in turn up to `examples`, which leaves the mean loss
    nearly as it is. Inputs are standardised by the task's own support rows, targets of regression too.

    Attributes:
      kind: classification, or regression.
      features: inputs of the network; a task has 1 to this many, zeros after them.
      classes: outputs of the network; a task has 2 to this many.
      shots: a task has 1 to this many support rows of each class; in regression `least` to `examples` in all.
      examples: support rows, repetitions among them.
      least: support rows of a task of regression at least; fewer say little of the spread of its targets.
      queries: query rows.
      hidden: units of each hidden layer of the usual network.
    """

    kind: Literal["classification", "regression"] = "classification"
    features: int = 64
    classes: int = 10
    shots: int = 10
    examples: int = 40
    least: int = 4
    queries: int = 24
    hidden: tuple[int, ...] = (64,)

    def sample(self, key: Array) -> Task:
        """One task: support `[examples, features]`, query `[queries, features]`, with labels `[rows]` or targets
        `[rows, 1]`."""
        table_key, y_key, pick_key, look_key = (jax.random.fold_in(key, i) for i in range(4))
        if self.kind == "regression":
            x, importance, real = self._table(table_key, self.examples + self.queries)
            y = self._targets(y_key, x, importance)
            count = _log_uniform(pick_key, self.least, self.examples)
            support = jnp.arange(self.examples) % count
            query = self.examples + jnp.arange(self.queries)
        else:
            x, importance, real = self._table(table_key, 2 * (self.examples + self.queries))
            x, y, ways = self._labels(y_key, x, importance)
            shots_key, order_key = jax.random.split(pick_key)
            count = jnp.minimum(ways * _log_uniform(shots_key, 1, self.shots), self.examples)
            support, query = self._balanced(order_key, y, ways, count)
        x = _looks(look_key, x) * (jnp.arange(self.features) < real)
        inputs = x[support]
        counted = (jnp.arange(self.examples) < count).astype(x.dtype)
        scale = scale_of(inputs, counted)
        inputs, ask = (standardise(rows, scale, self.features, real) for rows in (inputs, x[query]))
        learn, know = y[support], y[query]
        if self.kind == "regression":
            own = scale_of(learn[:, None], counted)
            learn, know = ((each[:, None] - own.mean) / own.spread for each in (learn, know))
            know = jnp.clip(know, -5, 5)  # few support rows may lie close by chance
        return Task(Batch(inputs, learn), Batch(ask, know))

    def _table(self, key: Array, rows: int) -> tuple[Array, Array, Array]:
        """Features `[rows, features]` of spread 1, those beyond the real ones zero; how much each matters
        `[features]`; how many are real."""
        keys = jax.random.split(key, 8)
        real = _log_uniform(keys[0], 1, self.features)
        there = jnp.arange(self.features) < real
        shared = jax.random.uniform(keys[1])  # share of the variance that is common
        mixing = jax.random.normal(keys[2], (FACTORS, self.features))
        mixing = mixing * jnp.exp(-jnp.arange(FACTORS) * jax.random.uniform(keys[3]))[:, None]
        mixing = mixing / jnp.linalg.norm(mixing, axis=0)
        own = jax.random.normal(keys[4], (rows, self.features))
        common = jax.random.normal(keys[5], (rows, FACTORS)) @ mixing
        x = jnp.where(there, jnp.sqrt(1 - shared) * own + jnp.sqrt(shared) * common, 0)
        sparse_key, size_key = jax.random.split(keys[6])
        share = jax.random.uniform(keys[7], minval=0.1, maxval=1.5)  # beyond 1: all matter
        matters = there & (jax.random.uniform(sparse_key, there.shape) < share)
        matters = matters | (~matters.any() & (jnp.arange(self.features) == 0))
        importance = matters * jnp.exp(0.5 * jax.random.normal(size_key, there.shape))
        return x, importance / jnp.linalg.norm(importance), real

    def _labels(self, key: Array, x: Array, importance: Array) -> tuple[Array, Array, Array]:
        """Features, which clusters shift; labels `[rows]`; how many classes."""
        keys = jax.random.split(key, 10)
        rows, classes = len(x), jnp.arange(self.classes)
        ways = _log_uniform(keys[0], 2, self.classes)
        kind = jax.random.choice(keys[1], 4, p=jnp.array([0.5, 0.2, 0.2, 0.1]))
        # clusters: a class is a centre and a shape
        clusters = jax.random.randint(keys[2], (rows,), 0, ways)
        apart = jnp.exp(jax.random.uniform(keys[3], minval=0.0, maxval=1.7))
        centres = apart * jax.random.normal(keys[4], (self.classes, self.features)) * importance
        shapes = jnp.exp(0.5 * jax.random.normal(keys[5], centres.shape) * jax.random.bernoulli(keys[6]))
        shifted = jnp.where(x == 0, 0, x * shapes[clusters] + centres[clusters])
        # scores: the largest one, or ranges of the first
        linear = x @ (importance[:, None] * jax.random.normal(keys[7], (self.features, self.classes)))
        scores = jnp.where(kind == 1, linear, _network(keys[8], x, importance, self.classes))
        noise = jax.random.uniform(keys[9], maxval=0.5)
        scores = _standard(scores) + noise * jax.random.normal(keys[2], scores.shape)
        largest = jnp.argmax(jnp.where(classes < ways, scores, -jnp.inf), axis=1)
        ranges = jnp.argsort(jnp.argsort(scores[:, 0])) * ways // rows
        order = jnp.argsort(jnp.where(classes < ways, jax.random.uniform(keys[3], classes.shape), 2))
        y = jnp.select([kind == 0, kind == 3], [clusters, order[ranges]], largest)
        return jnp.where(kind == 0, shifted, x), y.astype(jnp.int32), ways

    def _targets(self, key: Array, x: Array, importance: Array) -> Array:
        """Targets `[rows]`: a linear, an additive and a network part, mostly one of them, and noise."""
        keys = jax.random.split(key, 7)
        linear = x @ (importance * jax.random.normal(keys[0], importance.shape))
        bend = jnp.exp(jax.random.normal(keys[1], importance.shape))
        wave = jnp.sin(bend * x + between(jax.random.uniform(keys[2], importance.shape), (0, 2 * jnp.pi)))
        additive = wave @ (importance * jax.random.normal(keys[0], importance.shape))
        parts = jnp.stack([linear, additive, _network(keys[3], x, importance, 1)[:, 0]], axis=1)
        shares = jax.nn.softmax(3 * jax.random.normal(keys[4], (3,)) + jnp.array([1.0, 0.0, 0.0]))
        explained = jax.random.uniform(keys[5], minval=0.1)
        signal = _standard((_standard(parts) @ shares)[:, None])[:, 0]
        return jnp.sqrt(explained) * signal + jnp.sqrt(1 - explained) * jax.random.normal(keys[6], signal.shape)

    def _balanced(self, key: Array, y: Array, ways: Array, count: Array) -> tuple[Array, Array]:
        """Places of support and query rows: classes in turn, each row once where the class has enough."""
        order = jnp.lexsort((jax.random.uniform(key, y.shape), y))
        sizes = jnp.bincount(y, length=self.classes)
        starts = jnp.cumsum(sizes) - sizes
        turn = jnp.arange(self.examples) % count
        used = (count + ways - 1) // ways  # rows of a class in the support set
        asked = jnp.arange(self.queries)
        support_class, query_class = turn % ways, asked % ways
        # a class without rows is stood in for by its neighbour; labels are those of the rows
        pick = lambda which, place: order[jnp.clip(starts[which] + place, 0, len(y) - 1)]  # noqa: E731
        most = jnp.maximum(sizes, 1)
        left = jnp.maximum(sizes - used, 1)
        support = pick(support_class, (turn // ways) % most[support_class])
        query = pick(query_class, (used + (asked // ways) % left[query_class]) % most[query_class])
        return support, query

    def build(self) -> Family:
        """The family; a bare distribution serves for training, validation and test.

        Raises:
          OptionError: for another kind, a count below 1, or fewer than two classes or support rows.
        """
        if self.kind not in ("classification", "regression"):
            raise OptionError(f"kind is {self.kind!r}; it must be 'classification' or 'regression'.")
        check_counts(features=self.features, shots=self.shots, queries=self.queries)
        if self.classes < 2 or not 2 <= self.least <= self.examples:
            raise OptionError(
                f"classes is {self.classes}, least {self.least} and examples {self.examples}; there must be two "
                "classes, two rows at least, and examples not below least."
            )
        recipe = Recipe(inner_lr=0.1, inner_steps=5, meta_batch=16, meta_steps=3000)
        loss = "mse" if self.kind == "regression" else "cross-entropy"
        return Family(self, self, self, loss, recipe, self._model, options=self)

    def _model(self) -> Model:
        return mlp(self.features, *self.hidden, 1 if self.kind == "regression" else self.classes, init_std=0.1)


def _log_uniform(key: Array, least: int, most: int) -> Array:
    """A whole number between two, small ones more often: its logarithm is uniform."""
    u = jax.random.uniform(key)
    return jnp.clip(jnp.exp(between(u, (math.log(least), math.log(most + 1)))).astype(jnp.int32), least, most)


def _standard(x: Array) -> Array:
    """Columns of mean 0 and spread 1."""
    return (x - x.mean(0)) / (x.std(0) + 1e-6)


def _network(key: Array, x: Array, importance: Array, outputs: int) -> Array:
    """What a random network with one hidden layer makes of the features that matter, `[rows, outputs]`."""
    keys = jax.random.split(key, 4)
    gain = between(jax.random.uniform(keys[0]), (0.5, 3.0))
    hidden = x @ (importance[:, None] * jax.random.normal(keys[1], (x.shape[1], HIDDEN)))
    hidden = jnp.tanh(gain * (hidden + jax.random.normal(keys[2], (HIDDEN,))))
    return hidden @ jax.random.normal(keys[3], (HIDDEN, outputs))


def _looks(key: Array, x: Array) -> Array:
    """Features as tables have them: some skewed, with long tails, whole numbers or yes and no; of one unit or many."""
    keys = jax.random.split(key, 6)
    size = x.shape[1:]
    odd = jax.random.uniform(keys[0]) * jax.random.bernoulli(keys[1])  # share of the features that are not normal
    kind = jnp.where(jax.random.uniform(keys[2], size) < odd, jax.random.randint(keys[3], size, 1, 5), 0)
    cut = 0.5 * jax.random.normal(keys[4], size)
    shapes = [jnp.exp(jnp.clip(x, -4, 4)), x * jnp.abs(x), jnp.round(2 * x) / 2, (x > cut).astype(x.dtype)]
    x = jnp.select([kind == i for i in range(1, 5)], shapes, x)
    many = 2.0 * jax.random.bernoulli(keys[5])
    return x * jnp.exp(many * jax.random.normal(keys[4], size))
