"""Classification tasks from NumPy arrays with labels."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray

from mtnets.errors import DataError, OptionError
from mtnets.inner.task import Task
from mtnets.networks.model import Model
from mtnets.networks.models import Conv4, mlp
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.inputs.inputs import AS_THEY_ARE
from mtnets.tasks.sampling.episodes import check_episode, episode
from mtnets.tasks.sampling.host_callback import HostRows

SPLITS = ("train", "validation", "test")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Labelled:
    """Tasks drawn from examples by class.

    Attributes:
      x: all examples, `[examples, ...]` float32 (uint8 for images), class after class; or where they are on the host.
      starts: where each class begins, `[classes]`.
      counts: examples of each class, `[classes]`.
      ways, shots, queries: of a task.
      most: examples of the largest class.
      inputs: how x become inputs; None where they are.
    """

    x: Array | HostRows
    starts: Array
    counts: Array
    ways: int = dataclasses.field(metadata={"static": True})
    shots: int = dataclasses.field(metadata={"static": True})
    queries: int = dataclasses.field(metadata={"static": True})
    most: int = dataclasses.field(metadata={"static": True})
    inputs: Images | None = dataclasses.field(default=None, metadata={"static": True})

    def sample(self, key: Array) -> Task:
        """One task: support `[ways * shots, ...]`, query `[ways * queries, ...]`."""
        key_class, key_example = jax.random.split(key)
        # the places of the largest of n random numbers are a sample without replacement, in random order
        _, drawn = jax.lax.top_k(jax.random.uniform(key_class, self.counts.shape), self.ways)
        scores = jax.random.uniform(key_example, (self.ways, self.most))
        absent = jnp.arange(self.most) >= self.counts[drawn][:, None]
        _, places = jax.lax.top_k(jnp.where(absent, -1.0, scores), self.shots + self.queries)
        x = self.x[self.starts[drawn][:, None] + places]
        return episode(x if self.inputs is None else self.inputs.to_inputs(x), self.shots)


def arrays(
    x: ArrayLike,
    y: ArrayLike,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    splits: Sequence[float] | Mapping[str, Sequence[Any]] = (0.64, 0.16, 0.2),
    seed: int = 0,
    inputs: Images | None = None,
    on_host: bool | None = None,
) -> Family:
    """Few-shot classification from examples with labels: classes are split into those of training, validation and test.

    Args:
      x: examples, `[examples, ...]`, numbers; they are not scaled.
      y: labels, `[examples]`, of any kind that can be sorted.
      ways, shots, queries: of a task.
      splits: shares of the classes for training, validation and test; or the classes themselves, by `"train"`,
        `"validation"` and `"test"` (others are left out).
      seed: another one is another split by shares.
      inputs: how uint8 images `[examples, size, size, channels]` become inputs; x are inputs already unless given.
      on_host: whether x stays where it is, and the examples of a task are fetched as it is drawn: for what is larger
        than memory, a `numpy.memmap` (which is left on the disk unless this is False) or an h5py dataset. Tasks are
        the same to the last bit. Whether numbers are finite is then checked as they are read.

    Raises:
      OptionError: ways below 2, shots or queries below 1, or splits that are not three shares above 0.
      DataError: shapes that do not fit each other, what is not finite, labels that cannot be sorted, a split with fewer
        classes than ways, with an unknown class or one of another split, or a class with fewer examples than shots +
        queries.
    """
    check_episode(ways, shots, queries)
    stays = isinstance(x, np.memmap) if on_host is None else on_host
    examples: Any = x if stays and hasattr(x, "shape") and hasattr(x, "dtype") else np.asarray(x)
    labels = np.asarray(y)
    if labels.ndim != 1 or len(examples.shape) < 2 or len(examples) != len(labels):
        raise DataError(
            f"x has shape {examples.shape} and y {labels.shape}; they must be [examples, ...] and [examples]."
        )
    if inputs is not None and (examples.dtype != np.uint8 or examples.shape[1:] != inputs.shape):
        shape = ", ".join(map(str, inputs.shape))
        raise DataError(f"x is {examples.dtype} {list(examples.shape)}; expected uint8 [examples, {shape}].")
    if examples.dtype.kind not in "fiub":
        raise DataError(f"x has type {examples.dtype}; it must be real numbers.")
    with np.errstate(over="ignore"):
        if not stays and not np.isfinite(examples.astype(np.float32)).all():
            raise DataError(f"x ({examples.dtype}) holds what is no finite number; remove or replace it.")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError("y holds labels that are missing or infinite; leave such examples out.")
    try:
        names, of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    except TypeError as error:
        raise DataError(f"y holds labels that cannot be sorted ({error}); make them all of one type.") from error
    classes = _named(names, splits) if isinstance(splits, Mapping) else _shared(len(names), splits, seed)
    used = np.sort(np.concatenate(list(classes.values())))
    small = used[counts[used] < shots + queries]
    if len(small):
        raise DataError(
            f"Class {names[small[0]]} has {counts[small[0]]} examples, fewer than {shots} shots + {queries} queries; "
            "use fewer, add examples, or leave the class out."
        )
    dtype = np.float32 if inputs is None else np.uint8
    by_class = np.split(np.argsort(of, kind="stable"), np.cumsum(counts)[:-1])  # the rows of each class, in order
    made = {}
    for split, members in classes.items():
        if len(members) < ways:
            raise DataError(
                f"{len(members)} of {len(names)} classes are for {split}, fewer than the {ways} ways of a task; use "
                "fewer ways, other splits, or more classes."
            )
        chosen = np.concatenate([by_class[i] for i in members])
        sizes = counts[members]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        made[split] = Labelled(
            HostRows(examples, chosen, dtype) if stays else jnp.asarray(examples[chosen], dtype),
            jnp.asarray(starts), jnp.asarray(sizes), ways, shots, queries, int(sizes.max()), inputs,
        )  # fmt: skip

    def network() -> Model:
        if inputs is not None:
            return Conv4(filters=32, downsample="pool").build(ways, inputs.size, inputs.channels)
        if len(examples.shape) > 2:
            raise OptionError("Examples of this shape need a network of yours: meta_train(mtnets.wrap(...), ...).")
        return mlp(examples.shape[1], 64, 64, ways, init_std=0.1)

    named = {split: tuple(str(names[i]) for i in members) for split, members in classes.items()}
    recipe = Recipe(inner_lr=0.1, inner_steps=5, meta_batch=16, meta_steps=10_000, inner_clip=10.0, clip_norm=10.0)
    return Family(
        made["train"],
        made["validation"],
        made["test"],
        "cross-entropy",
        recipe,
        network,
        inputs=inputs or AS_THEY_ARE,
        classes=named,
    )


def _shared(count: int, shares: Sequence[float], seed: int) -> dict[str, NDArray[np.integer]]:
    """Classes 0 … count − 1, split by shares."""
    if len(shares) != 3 or min(shares) <= 0:
        raise OptionError(f"splits is {tuple(shares)}; it must be three shares above 0: training, validation, test.")
    bounds = np.round(np.cumsum(shares) / sum(shares) * count).astype(int)[:2]
    return dict(zip(SPLITS, np.split(np.random.default_rng(seed).permutation(count), bounds), strict=True))


def _named(names: NDArray[Any], splits: Mapping[str, Sequence[Any]]) -> dict[str, NDArray[np.integer]]:
    """The places in `names` of the classes of each split."""
    if splits.keys() != set(SPLITS):
        raise OptionError(
            f"splits names {', '.join(map(repr, splits))}; it must name 'train', 'validation' and 'test'."
        )
    places = {name: i for i, name in enumerate(names.tolist())}
    owner: dict[Any, str] = {}
    for split in SPLITS:
        for name in splits[split]:
            if name not in places:
                raise DataError(
                    f"Class {name} of {split} is not among the labels of y; write it as there, or leave it."
                )
            if name in owner:
                raise DataError(f"Class {name} is in {owner[name]} and in {split}; each class belongs to one split.")
            owner[name] = split
    return {split: np.array([places[name] for name in splits[split]], int) for split in SPLITS}
