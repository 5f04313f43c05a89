"""Random tables, on which learners for small tables are trained."""

import dataclasses
import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError
from mtnets.inner.task import Batch, Task
from mtnets.networks.model import Model
from mtnets.networks.models import mlp
from mtnets.precision import full_precision
from mtnets.tasks.family import Family, Options, Recipe
from mtnets.tasks.inputs.standardised_rows import StandardisedRows, scale_of, standardise
from mtnets.tasks.sampling.draws import between, check_counts

FACTORS = 8  # common factors of correlated features
HIDDEN = 16  # units of random networks


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class RandomTables(Options):
    """Random tables: rows of correlated features, some irrelevant, of one unit or many, and a random relation to y.

    Classes are clusters of one shape or of several, the largest of linear or network scores, or ranges of one score.
    Targets of regression are linear, additive, or computed by a random network, with noise. Every task has its own
    number of features, classes and support rows; rows are repeated in turn up to `examples`, which hardly changes the
    mean loss. Features are standardised by the task's own support rows, and so are targets of regression.

    Attributes:
      kind: classification, or regression.
      features: inputs of the network; a task has 1 to this many features, followed by zeros.
      classes: outputs of the network; a task has 2 to this many classes.
      shots: a task has 1 to this many support rows of each class; in regression `least` to `examples` in all.
      examples: support rows, with repetitions.
      least: fewest support rows of a task of regression; fewer say little of the spread of its targets.
      queries: query rows.
      hidden: units of each hidden layer of the usual network.
    """

    family: ClassVar[str] = "random-tables"

    kind: Literal["classification", "regression"] = "classification"
    features: int = 64
    classes: int = 10
    shots: int = 10
    examples: int = 40
    least: int = 4
    queries: int = 24
    hidden: tuple[int, ...] = (64,)

    @full_precision
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
        once = (jnp.arange(self.examples) < count).astype(x.dtype)  # each row, not its repetitions
        scale = scale_of(x[support], once)
        x_support, x_query = (standardise(rows, scale, self.features, real) for rows in (x[support], x[query]))
        y_support, y_query = y[support], y[query]
        if self.kind == "regression":
            scale = scale_of(y_support[:, None], once)
            y_support, y_query = ((rows[:, None] - scale.mean) / scale.spread for rows in (y_support, y_query))
            y_query = jnp.clip(y_query, -5, 5)  # few support rows may lie close by chance
        return Task(Batch(x_support, y_support), Batch(x_query, y_query))

    def _table(self, key: Array, rows: int) -> tuple[Array, Array, Array]:
        """Features `[rows, features]` of spread 1, those beyond the real ones zero; the importance of each,
        `[features]`; how many are real."""
        keys = jax.random.split(key, 8)
        real = _log_uniform(keys[0], 1, self.features)
        there = jnp.arange(self.features) < real
        shared = jax.random.uniform(keys[1])  # share of the variance that is common
        mixing = jax.random.normal(keys[2], (FACTORS, self.features))
        mixing = mixing * jnp.exp(-jnp.arange(FACTORS) * jax.random.uniform(keys[3]))[:, None]
        mixing = mixing / jnp.linalg.norm(mixing, axis=0)
        noise = jax.random.normal(keys[4], (rows, self.features))
        common = jax.random.normal(keys[5], (rows, FACTORS)) @ mixing
        x = jnp.where(there, jnp.sqrt(1 - shared) * noise + jnp.sqrt(shared) * common, 0)
        sparse_key, size_key = jax.random.split(keys[6])
        share = jax.random.uniform(keys[7], minval=0.1, maxval=1.5)  # beyond 1: all matter
        matters = there & (jax.random.uniform(sparse_key, there.shape) < share)
        matters = matters | (~matters.any() & (jnp.arange(self.features) == 0))
        importance = matters * jnp.exp(0.5 * jax.random.normal(size_key, there.shape))
        return x, importance / jnp.linalg.norm(importance), real

    def _labels(self, key: Array, x: Array, importance: Array) -> tuple[Array, Array, Array]:
        """Features, shifted where classes are clusters; labels `[rows]`; the number of classes."""
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
        most = jnp.maximum(sizes, 1)
        left = jnp.maximum(sizes - used, 1)
        support = starts[support_class] + (turn // ways) % most[support_class]
        query = starts[query_class] + (used + (asked // ways) % left[query_class]) % most[query_class]
        support, query = (jnp.clip(places, 0, len(y) - 1) for places in (support, query))
        return order[support], order[query]  # a class without rows takes those of its neighbour, with their labels

    def build(self) -> Family:
        """The family; one distribution serves for training, validation and test.

        Raises:
          OptionError: for another kind, a count below 1, or fewer than two classes or support rows.
        """
        if self.kind not in ("classification", "regression"):
            raise OptionError(f"kind is {self.kind!r}; it must be 'classification' or 'regression'.")
        check_counts(features=self.features, shots=self.shots, queries=self.queries)
        if self.classes < 2 or not 2 <= self.least <= self.examples:
            raise OptionError(
                f"classes is {self.classes}, least {self.least} and examples {self.examples}; classes and least must "
                "be at least 2, and examples at least least."
            )
        recipe = Recipe(inner_lr=0.1, inner_steps=5, meta_batch=16, meta_steps=3000)
        loss = "mse" if self.kind == "regression" else "cross-entropy"
        return Family(self, self, self, loss, recipe, self._model, options=self, inputs=self.inputs)

    @property
    def inputs(self) -> StandardisedRows:
        """How a table becomes inputs of a learner that was trained on these tasks."""
        return StandardisedRows(self.features, scales_targets=self.kind == "regression")

    def _model(self, each: int = 1) -> Model:
        return mlp(self.features, *self.hidden, each if self.kind == "regression" else self.classes, init_std=0.1)


def _log_uniform(key: Array, least: int, most: int) -> Array:
    """A whole number between two, small ones more often: its logarithm is uniform."""
    u = jax.random.uniform(key)
    return jnp.clip(jnp.exp(between(u, (math.log(least), math.log(most + 1)))).astype(jnp.int32), least, most)


def _standard(x: Array) -> Array:
    """Columns of mean 0 and spread 1."""
    return (x - x.mean(0)) / (x.std(0) + 1e-6)


def _network(key: Array, x: Array, importance: Array, outputs: int) -> Array:
    """Outputs of a random network with one hidden layer for the features that matter, `[rows, outputs]`."""
    keys = jax.random.split(key, 4)
    gain = between(jax.random.uniform(keys[0]), (0.5, 3.0))
    hidden = x @ (importance[:, None] * jax.random.normal(keys[1], (x.shape[1], HIDDEN)))
    hidden = jnp.tanh(gain * (hidden + jax.random.normal(keys[2], (HIDDEN,))))
    return hidden @ jax.random.normal(keys[3], (HIDDEN, outputs))


def _looks(key: Array, x: Array) -> Array:
    """Features as tables have them: some skewed, long-tailed, rounded or binary; of one unit or many."""
    keys = jax.random.split(key, 6)
    size = x.shape[1:]
    odd = jax.random.uniform(keys[0]) * jax.random.bernoulli(keys[1])  # share of the features that are not normal
    kind = jnp.where(jax.random.uniform(keys[2], size) < odd, jax.random.randint(keys[3], size, 1, 5), 0)
    cut = 0.5 * jax.random.normal(keys[4], size)
    shapes = [jnp.exp(jnp.clip(x, -4, 4)), x * jnp.abs(x), jnp.round(2 * x) / 2, (x > cut).astype(x.dtype)]
    x = jnp.select([kind == i for i in range(1, 5)], shapes, x)
    many = 2.0 * jax.random.bernoulli(keys[5])
    return x * jnp.exp(many * jax.random.normal(keys[4], size))
