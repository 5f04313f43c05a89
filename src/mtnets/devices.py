"""Tasks on devices: how many at once, over which devices, and the mean or the stack of what each gives."""

import contextlib
import os
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from mtnets.arguments import check
from mtnets.errors import OptionError

AXIS = "tasks"
Devices = int | Literal["all"]
AtOnce = int | Literal["auto"]  # "auto": see `default_at_once`
ALL_TASKS = 10**6


def mean_over(f: Callable[[Any, Array], Any], context: Any, keys: Array, *, at_once: int = 1) -> Any:
    """Mean of `f(context, key)` over keys, in chunks of `at_once`, on one device."""

    @jax.jit  # traced once, for its shapes and for its use
    def total(context: Any, keys: Array) -> Any:
        if len(keys) == 1:  # a batch of one would turn every convolution and product into a batched one
            return f(context, keys[0])
        return jax.tree.map(lambda leaf: leaf.sum(0), jax.vmap(lambda key: f(context, key))(keys))

    chunks = keys.reshape(-1, largest_divisor(len(keys), at_once))
    if len(chunks) == 1:
        result = total(context, chunks[0])
    else:
        shapes = jax.eval_shape(total, context, chunks[0])
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        add = lambda sums, chunk: (jax.tree.map(jnp.add, sums, total(context, chunk)), None)  # noqa: E731
        result, _ = jax.lax.scan(add, zero, chunks)
    return jax.tree.map(lambda leaf: (leaf / len(keys)).astype(leaf.dtype), result)


def mean_of_devices(mean: Callable[[Any, Array], Any], context: Any, keys: Array, mesh: Mesh | None) -> Any:
    """Mean over devices of `mean(context, keys)`, where each device has its share of the keys."""
    if mesh is None or mesh.size == 1:
        return mean(context, keys)
    sharded = jax.shard_map(
        lambda context, keys: _mean_of_all(mean(context, keys)),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec(),
        check_vma=False,  # with the check, gradients of replicated values would be summed over devices already
    )
    return sharded(context, keys)


def _mean_of_all(tree: Any) -> Any:
    """The mean over devices of each leaf. They are exchanged as one vector of each type, since processes exchange one
    array after another, and each waits for an answer."""
    leaves, structure = jax.tree.flatten(tree)
    means = list(leaves)
    for dtype in dict.fromkeys(leaf.dtype for leaf in leaves):
        places = [i for i, leaf in enumerate(leaves) if leaf.dtype == dtype]
        vector = jax.lax.pmean(jnp.concatenate([leaves[i].ravel() for i in places]), AXIS).astype(dtype)
        parts = jnp.split(vector, np.cumsum([leaves[i].size for i in places])[:-1])
        for i, part in zip(places, parts, strict=True):
            means[i] = part.reshape(leaves[i].shape)
    return jax.tree.unflatten(structure, means)


def map_over(
    f: Callable[[Any, Any], Any], context: Any, keys: Any, *, at_once: int = 1, mesh: Mesh | None = None
) -> Any:
    """`f(context, key)` for every key (or pytree with a leading axis), stacked, in chunks of `at_once` per device."""

    def stacked(context: Any, keys: Any) -> Any:
        if at_once == 1:
            return jax.lax.map(lambda key: f(context, key), keys)
        return jax.lax.map(lambda key: f(context, key), keys, batch_size=min(at_once, _length(keys)))

    if mesh is None or mesh.size == 1:
        return stacked(context, keys)
    count = _length(keys)
    # devices have equally many: the last ones are repeated, and their results dropped
    places = jnp.minimum(jnp.arange(count + -count % mesh.size), count - 1)
    keys = jax.tree.map(lambda leaf: leaf[places], keys) if len(places) > count else keys
    specs = {"in_specs": (PartitionSpec(), PartitionSpec(AXIS)), "out_specs": PartitionSpec(AXIS)}
    result = jax.shard_map(stacked, mesh=mesh, **specs, check_vma=False)(context, keys)
    return jax.tree.map(lambda leaf: leaf[:count], result) if len(places) > count else result


def _length(tree: Any) -> int:
    return len(jax.tree.leaves(tree)[0])


def chosen_at_once(choice: AtOnce, params: Any, tasks: int, *, most: int = ALL_TASKS) -> int:
    """How many tasks a device runs at the same time: the number chosen; for `"auto"` that of `default_at_once`.

    Raises:
      OptionError: for a number below 1.
    """
    if choice == "auto":
        return default_at_once(params, tasks, most=most)
    if choice < 1:
        raise OptionError(f"tasks_at_once is {choice}; it must be at least 1, or 'auto'.")
    return choice


def default_at_once(params: Any, tasks: int, *, most: int = ALL_TASKS) -> int:
    """How many tasks a device runs at the same time by default.

    All of them on an accelerator. On a CPU all for small networks (below 30 000 parameters, where most of the time goes
    into starting each operation) and one for larger networks (where a batch of tasks only overflows the caches). A
    network with a weight of more than two axes, as convolutions have, counts as large: its work grows with the number
    of pixels. Measured by `benchmarks/batching.py`; see `results/batching.txt`.
    """
    leaves = jax.tree.leaves(params)
    large = sum(leaf.size for leaf in leaves) >= 30_000 or any(leaf.ndim > 2 for leaf in leaves)
    return 1 if jax.default_backend() == "cpu" and large else min(tasks, most)


def cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cores(devices: Devices = "all") -> None:
    """Makes JAX show this many CPU devices, `"all"` one per core; without effect once JAX has started.

    Raises:
      OptionError: for a number below 1.
    """
    _check(devices)
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores() if devices == "all" else devices)


def present(devices: Devices = "all") -> int:
    """How many of the devices asked for there are in this process.

    Raises:
      OptionError: for a number below 1.
    """
    _check(devices)
    count = len(jax.local_devices())
    return count if devices == "all" else min(devices, count)


def task_mesh(devices: Devices = "all", *, everywhere: bool = False) -> Mesh | None:
    """A mesh over the first `devices` devices, as far as there are so many; None for a single one.

    Args:
      devices: how many of a process.
      everywhere: whether those of all processes (`mtnets.processes`) are meant, or of this one alone.

    Raises:
      OptionError: for a number below 1.
    """
    count = present(devices)
    processes = range(jax.process_count()) if everywhere else [jax.process_index()]
    chosen = [device for process in processes for device in jax.local_devices(process)[:count]]
    return None if len(chosen) == 1 else Mesh(chosen, (AXIS,))


def largest_divisor(n: int, limit: int) -> int:
    """The largest divisor of `n` that is at most `limit`."""
    return next(d for d in range(max(1, min(n, limit)), 0, -1) if n % d == 0)


def _check(devices: Devices) -> None:
    check("devices", devices, Devices)
    if devices != "all" and devices < 1:
        raise OptionError(f"devices is {devices}; it must be at least 1, or 'all'.")
