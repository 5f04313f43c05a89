"""Classification tasks from NumPy arrays with labels."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray

from mtnets.arguments import Seed, checked_arguments
from mtnets.errors import DataError, OptionError
from mtnets.inner.task import Task
from mtnets.networks.model import Model
from mtnets.networks.models import Conv4, mlp
from mtnets.raw_arrays import check_real, check_unmasked, narrowed, read_array
from mtnets.tasks.families.splits import PARTS, check_splits
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.inputs.base import AS_THEY_ARE, Inputs
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.draws import check_episode, distinct
from mtnets.tasks.sampling.episodes import drawn_examples, episode
from mtnets.tasks.sampling.host_callback import HostRows, RowReader
from mtnets.tasks.sampling.sizes import Sizes

RECIPE = Recipe(inner_lr=0.1, inner_steps=5, meta_batch=16, meta_steps=10_000, inner_clip=10.0, clip_norm=10.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Labelled:
    """Tasks drawn from examples by class.

    Attributes:
      x: all examples, `[examples, ...]` float32 (uint8 for images), class after class; or rows that stay on the host.
      starts: where each class begins, `[classes]`.
      counts: examples of each class, `[classes]`.
      ways: classes of a task.
      sizes: support and query examples of each class.
      most: examples of the largest class, or of a task where that is more.
      inputs: how x become inputs of the network.
    """

    x: Array | HostRows
    starts: Array
    counts: Array
    ways: int = dataclasses.field(metadata={"static": True})
    sizes: Sizes = dataclasses.field(metadata={"static": True})
    most: int = dataclasses.field(metadata={"static": True})
    inputs: Inputs = dataclasses.field(default=AS_THEY_ARE, metadata={"static": True})

    def sample(self, key: Array) -> Task:
        """One task: support `[ways * shots, ...]`, query `[ways * queries, ...]`."""
        _, key_example = jax.random.split(key)
        classes = self.classes_of(key)
        places, weights = drawn_examples(key_example, self.counts[classes], self.most, self.sizes)
        return episode(self.inputs.scale(self.x[self.starts[classes][:, None] + places]), self.sizes.shots, weights)

    def classes_of(self, key: Array) -> Array:
        """The places of the classes of the task of a key, in order of its labels, `[ways]`."""
        return distinct(jax.random.split(key)[0], self.counts.shape, self.ways)


@checked_arguments
def arrays(
    x: ArrayLike,
    y: ArrayLike,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    fewest_shots: int | None = None,
    fewest_queries: int | None = None,
    splits: Sequence[float] | Mapping[str, Sequence[Any]] = (0.64, 0.16, 0.2),
    seed: Seed = 0,
    inputs: Images | None = None,
    on_host: bool | None = None,
) -> Family:
    """Few-shot classification from examples with labels. Each class is for training, validation or test.

    Args:
      x: examples, `[examples, ...]`, numbers; they are not scaled.
      y: labels, `[examples]`, of any kind that can be sorted.
      ways, shots, queries: of a task.
      fewest_shots, fewest_queries: of a class with fewer examples than shots + queries: tasks with it are padded, with
        examples of weight 0, which do not count. Queries are left out first, down to the fewest, and then shots. By
        default, no class may have fewer.
      splits: shares of the classes for training, validation and test; or the classes themselves, by `"train"`,
        `"validation"` and `"test"` (others are left out).
      seed: of the split by shares.
      inputs: how uint8 images `[examples, size, size, channels]` become inputs. By default, x are inputs already.
      on_host: whether x stays where it is, and the examples of a task are fetched as it is drawn. This is for data
        larger than memory: a `numpy.memmap` or an h5py dataset. Tasks are the same to the last bit; numbers are checked
        as they are read. Defaults to whether x is a `numpy.memmap`.

    Raises:
      OptionError: ways below 2, shots or queries below 1 or below their fewest, or splits that are not three shares
        above 0.
      DataError: shapes that do not fit each other, numbers that are not finite, labels that cannot be sorted, a split
        with fewer classes than ways, with an unknown class or one of another split, or a class with too few examples.
    """
    check_episode(ways, shots, queries)
    size = Sizes(shots, queries, fewest_shots, fewest_queries)
    check_unmasked(x, "x")
    stays = isinstance(x, np.memmap) if on_host is None else on_host
    examples: Any = x if stays and hasattr(x, "shape") and hasattr(x, "dtype") else read_array(x, "x")
    labels = read_array(y, "y")
    _check_examples(examples, labels, inputs, read=not stays)
    names, class_of, counts = _classes(labels)
    split = _named(names, splits) if isinstance(splits, Mapping) else _shared(len(names), splits, seed)
    _check_classes(split, names, counts, ways, size)
    dtype = np.float32 if inputs is None else np.uint8
    by_class = np.split(np.argsort(class_of, kind="stable"), np.cumsum(counts)[:-1])  # rows of each class, in order

    def distribution(members: NDArray[np.integer]) -> Labelled:
        rows, sizes = np.concatenate([by_class[member] for member in members]), counts[members]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return Labelled(
            HostRows(RowReader(examples, rows, dtype)) if stays else jnp.asarray(examples[rows], dtype),
            jnp.asarray(starts), jnp.asarray(sizes), ways, size, max(int(sizes.max()), size.total),
            inputs or AS_THEY_ARE,
        )  # fmt: skip

    def network() -> Model:
        if inputs is not None:
            return Conv4(filters=32, downsample="pool").build(ways, inputs.size, inputs.channels)
        if len(examples.shape) > 2:
            raise OptionError("Examples of this shape need a network of yours: meta_train(mtnets.wrap(...), ...).")
        return mlp(examples.shape[1], 64, 64, ways, init_std=0.1)

    train, validation, test = (distribution(split[part]) for part in PARTS)
    classes = {part: tuple(str(names[member]) for member in members) for part, members in split.items()}
    return Family(
        train, validation, test, "cross-entropy", RECIPE, network, inputs=inputs or AS_THEY_ARE, classes=classes
    )


def _check_examples(examples: Any, labels: NDArray[Any], inputs: Images | None, *, read: bool) -> None:
    """Raises DataError for shapes or types that do not fit, and, where they may be read, for numbers not finite."""
    if labels.ndim != 1 or len(examples.shape) < 2 or len(examples) != len(labels):
        raise DataError(
            f"x has shape {examples.shape} and y {labels.shape}; they must be [examples, ...] and [examples]."
        )
    if inputs is not None:
        inputs.check(examples, "x")
    check_real(examples, "x")
    if read and inputs is None:
        narrowed(examples, np.float32, "x")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError("y holds labels that are missing or infinite; leave such examples out.")


def _classes(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.integer], NDArray[np.integer]]:
    """The different labels in order, the place of each example's label among them, and how often each occurs."""
    try:
        names, class_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    except TypeError as error:
        raise DataError(f"y holds labels that cannot be sorted ({error}); make them all of one type.") from error
    return names, class_of, counts


def _check_classes(
    split: Mapping[str, NDArray[np.integer]],
    names: NDArray[Any],
    counts: NDArray[np.integer],
    ways: int,
    size: Sizes,
) -> None:
    """Raises DataError for a class with too few examples, or a split with too few classes."""
    for place in np.sort(np.concatenate(list(split.values()))):
        size.check(f"Class {names[place]}", int(counts[place]), "examples", "add examples, or leave the class out.")
    for part, members in split.items():
        if len(members) < ways:
            raise DataError(
                f"{len(members)} of {len(names)} classes are for {part}, fewer than the {ways} ways of a task; use "
                "fewer ways, other splits, or more classes."
            )


def _shared(count: int, shares: Sequence[float], seed: int) -> dict[str, NDArray[np.integer]]:
    """Classes 0 … count − 1, split by shares."""
    check_splits(shares)
    bounds = np.round(np.cumsum(shares) / sum(shares) * count).astype(int)[:2]
    return dict(zip(PARTS, np.split(np.random.default_rng(seed).permutation(count), bounds), strict=True))


def _named(names: NDArray[Any], splits: Mapping[str, Sequence[Any]]) -> dict[str, NDArray[np.integer]]:
    """The places in `names` of the classes of each split."""
    if splits.keys() != set(PARTS):
        raise OptionError(
            f"splits names {', '.join(map(repr, splits))}; it must name 'train', 'validation' and 'test'."
        )
    places = {name: i for i, name in enumerate(names.tolist())}
    split_of: dict[Any, str] = {}
    for split in PARTS:
        for name in splits[split]:
            if name not in places:
                raise DataError(
                    f"Class {name} of {split} is not among the labels of y; write it as there, or leave it out."
                )
            if name in split_of:
                raise DataError(f"Class {name} is in {split_of[name]} and in {split}; a class belongs to one split.")
            split_of[name] = split
    return {split: np.array([places[name] for name in splits[split]], int) for split in PARTS}
