"""What a ResNet-18 of torchvision costs as a model, beside the same network in Flax NNX: CPU seconds.

    python benchmarks/torch_resnet.py            (5 minutes on 2 cores)

Prints how long wrapping takes, and medians of a second-order meta-gradient of MAML (2 tasks, 5 ways, 1 shot, 3 queries,
images 32×32), measured in turns. Needs mtnets[torch] and torchvision.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

import mtnets
from mtnets.networks.models.conv import conv

WAYS, SHOTS, QUERIES, TASKS, SIDE = 5, 1, 3, 2, 32


class Block(nnx.Module):
    """The basic block of a ResNet."""

    def __init__(self, inputs: int, units: int, stride: int, rngs: nnx.Rngs, how: Callable[..., Any]) -> None:
        self.first = _conv(inputs, units, 3, stride, rngs, how)
        self.second = _conv(units, units, 3, 1, rngs, how)
        self.short = None if stride == 1 else _conv(inputs, units, 1, stride, rngs, how)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.second(nnx.relu(self.first(x)))
        return nnx.relu(y + (x if self.short is None else self.short(x)))


class ResNet18(nnx.Module):
    """He et al. (2016), as torchvision has it, channels last."""

    def __init__(self, rngs: nnx.Rngs, how: Callable[..., Any]) -> None:
        self.stem = _conv(3, 64, 7, 2, rngs, how)
        stages = ((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2))
        self.blocks = nnx.Sequential(*(Block(*stage, rngs, how) for stage in (*stages, (512, 512, 1))))
        self.head = nnx.Linear(512, WAYS, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        padding: Any = ((1, 1), (1, 1))
        y = nnx.max_pool(nnx.relu(self.stem(x)), (3, 3), (2, 2), padding=padding)
        return self.head(self.blocks(y).mean((1, 2)))


def _conv(inputs: int, units: int, size: int, stride: int, rngs: nnx.Rngs, how: Callable[..., Any]) -> nnx.Sequential:
    padding = ((size // 2, size // 2),) * 2
    options: Any = {"strides": (stride, stride), "padding": padding, "use_bias": False, "conv_general_dilated": how}
    return nnx.Sequential(
        nnx.Conv(inputs, units, (size, size), rngs=rngs, **options), nnx.BatchNorm(units, epsilon=1e-5, rngs=rngs)
    )


def wrapped() -> mtnets.Model:
    """The module of torchvision as a model; prints what that takes."""
    import torchvision  # pyright: ignore[reportMissingImports]

    network = torchvision.models.resnet18(num_classes=WAYS)
    for which in ("first", "second"):
        start = time.process_time()
        model = mtnets.wrap(network, (3, SIDE, SIDE), norm="transductive")
        print(f"wrapping, the {which} time: {time.process_time() - start:.1f} s")
    return model


def meta_gradient(model: mtnets.Model) -> Callable[[], Any]:
    """One step of MAML for each task, compiled, and run once."""
    random = np.random.default_rng(0)
    params, state = model.init(jax.random.key(0))
    data = []
    for count in (WAYS * SHOTS, WAYS * QUERIES):
        x = random.normal(size=(TASKS, count, *model.input_shape)).astype(np.float32)
        data += [x, np.tile(np.eye(WAYS, dtype=np.float32)[np.arange(count) % WAYS], (TASKS, 1, 1))]

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return -(jax.nn.log_softmax(model.apply(params, state, x, jax.random.key(0))[0]) * y).sum(-1).mean()

    def adapted(params: Any, task: Any) -> jax.Array:
        gradient = jax.grad(loss)(params, *task[:2])
        return loss(jax.tree.map(lambda w, g: w - 0.01 * g, params, gradient), *task[2:])

    def step(params: Any) -> Any:
        add = lambda total, task: (jax.tree.map(jnp.add, total, jax.grad(adapted)(params, task)), None)  # noqa: E731
        return lax.scan(add, jax.tree.map(jnp.zeros_like, params), tuple(data))[0]

    program = jax.jit(step)
    run = lambda: jax.block_until_ready(program(params))  # noqa: E731
    run()
    return run


def main(args: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args(args).repeats
    of_nnx = lambda how: mtnets.wrap(lambda rngs: ResNet18(rngs, how), (SIDE, SIDE, 3), norm="transductive")  # noqa: E731
    models = {
        "PyTorch": wrapped(),
        "NNX with mtnets.models.conv": of_nnx(conv),
        "NNX with XLA's convolution": of_nnx(lax.conv_general_dilated),
    }
    steps = {name: meta_gradient(model) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, run in steps.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    for name, each in seconds.items():
        print(f"{name}: {statistics.median(each):.2f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
